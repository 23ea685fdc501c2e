from hypothesis import given
from hypothesis import strategies as st

from actors.allowance import Allowance

START = 1000.0


def test_an_allowance_is_a_burst_and_then_a_rate() -> None:
    allowance = Allowance(3, 10.0)
    assert [allowance.take(START) for _ in range(4)] == [True, True, True, False]
    assert allowance.next_at(START) == START + 10
    assert [allowance.take(START + 10) for _ in range(2)] == [True, False]
    assert [allowance.take(START + 100) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 30), max_size=80))
def test_an_allowance_is_kept_to_and_next_at_is_right(waits: list[float]) -> None:
    allowance, now, taken = Allowance(3, 10.0), START, 0
    for wait_s in waits:
        now += wait_s
        may = allowance.next_at(now) <= now
        assert allowance.take(now) == may
        taken += may
        assert taken <= 3 + (now - START) / 10
