"""The causal tree of a message."""

from hypothesis import given
from hypothesis import strategies as st

from actors.trace.record import Record
from actors.trace.tree import MAX_BRANCHES, Tree, find, tree_of
from tests.actors.trace.records import NOW, record


def story(*pairs: tuple[int, int]) -> list[Record]:
    """Return records of these ids and causes, in the order of time."""
    return [record(id=number, cause=cause, at=NOW + place) for place, (number, cause) in enumerate(pairs)]


def shown(tree: Tree) -> list[tuple[int, int, int]]:
    return [(one.depth, one.record.id, one.left_out) for one in tree.branches]


ONE = story((1, 0), (2, 1), (3, 1), (4, 2), (5, 3), (6, 4))


def test_the_way_from_the_root_and_all_that_followed() -> None:
    tree = tree_of(ONE, ONE[1])
    assert shown(tree) == [(0, 1, 1), (1, 2, 0), (2, 4, 0), (3, 6, 0)]
    assert [one.record.id for one in tree.branches if one.chosen] == [2]
    assert tree.whole


def test_all_of_it() -> None:
    tree = tree_of(ONE, ONE[1], everything=True)
    assert shown(tree) == [(0, 1, 0), (1, 2, 0), (2, 4, 0), (3, 6, 0), (1, 3, 0), (2, 5, 0)]


def test_causes_that_are_no_longer_remembered() -> None:
    tree = tree_of(ONE[3:], ONE[5])
    assert shown(tree) == [(0, 4, 0), (1, 6, 0)]
    assert not tree.whole


def test_a_message_that_was_lost_has_its_place_and_a_delivery_counts_more() -> None:
    lost = record(id=2, cause=1, kind="dropped", reason="over its bound")
    assert [one.record.kind for one in tree_of([ONE[0], lost], lost).branches] == ["delivered", "dropped"]
    assert [one.record.kind for one in tree_of([ONE[0], ONE[1], lost], ONE[0]).branches] == ["delivered"] * 2


def test_no_more_than_can_be_read() -> None:
    many = story((1, 0), *((number, 1) for number in range(2, 2 * MAX_BRANCHES)))
    tree = tree_of(many, many[0])
    assert len(tree.branches) == MAX_BRANCHES
    assert tree.branches[0].left_out == len(many) - MAX_BRANCHES


def test_an_id_is_found_whole_or_by_its_last_digits() -> None:
    records = story((7_000_123_456, 0), (123_456, 0), (8_000_000_001, 0), (9_000_000_001, 0))
    assert [one.id for one in find(records, 123_456)] == [123_456]  # whole
    assert [one.id for one in find(records, 7_000_123_456)] == [7_000_123_456]
    assert [one.id for one in find(records, 1)] == [8_000_000_001, 9_000_000_001]
    assert find(records, 2) == []


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=30), st.booleans())
def test_any_records_at_all_make_a_tree_that_ends(pairs: list[tuple[int, int]], everything: bool) -> None:
    """Also causes that go round in a circle."""
    records = story(*pairs)
    tree = tree_of(records, records[0], everything=everything)
    assert 1 <= len(tree.branches) <= MAX_BRANCHES
    assert sum(one.chosen for one in tree.branches) >= 1
