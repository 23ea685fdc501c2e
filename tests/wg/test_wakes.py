"""Wake-ups: the earliest counts, nobody is woken twice for one, and the heap stays small."""

from hypothesis import given
from hypothesis import strategies as st

from wg.wakes import SLACK, Wakes


def test_the_earliest_of_several_times_counts() -> None:
    wakes: Wakes[str] = Wakes()
    wakes.arm("bob", 5.0)
    wakes.arm("bob", 3.0)
    wakes.arm("bob", 9.0)
    wakes.arm("carol", 4.0)
    assert wakes.next_at() == 3.0
    assert list(wakes.due(4.5)) == ["bob", "carol"]
    assert wakes.next_at() is None


def test_whoever_is_armed_again_while_woken_waits_for_the_next_round() -> None:
    wakes: Wakes[str] = Wakes()
    wakes.arm("bob", 1.0)
    for who in wakes.due(2.0):
        wakes.arm(who, 1.5)
    assert wakes.next_at() == 1.5
    assert list(wakes.due(2.0)) == ["bob"]


def test_the_forgotten_are_not_woken() -> None:
    wakes: Wakes[str] = Wakes()
    wakes.arm("bob", 1.0)
    wakes.forget("bob")
    assert wakes.next_at() is None
    assert list(wakes.due(2.0)) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=60))
def test_each_is_woken_at_the_earliest_of_its_times(orders: list[tuple[int, int]]) -> None:
    wakes: Wakes[int] = Wakes()
    earliest: dict[int, int] = {}
    for who, at in orders:
        wakes.arm(who, at)
        earliest[who] = min(at, earliest.get(who, at))
    for now in range(101):
        expected = {who for who, at in earliest.items() if at == now}
        assert set(wakes.due(now)) == expected


def test_overtaken_times_do_not_pile_up() -> None:
    wakes: Wakes[str] = Wakes()
    for at in range(10_000, 0, -1):
        wakes.arm("bob", at)
    assert len(wakes._heap) <= 2 + SLACK + 1
    assert list(wakes.due(1.0)) == ["bob"]
