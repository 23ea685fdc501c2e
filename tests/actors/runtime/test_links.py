from hypothesis import given
from hypothesis import strategies as st

from actors.runtime import links
from actors.runtime.links import Arrivals


def test_a_link_without_loss_misses_nothing() -> None:
    arrivals = Arrivals("packet", 1)
    assert [arrivals.missing_before(first, 2) for first in (1, 3, 5)] == [0, 0, 0]
    assert [arrivals.missing_in_pair("a", "b", seq) for seq in (1, 2, 3)] == [0, 0, 0]


def test_a_gap_is_told_once_and_by_its_size() -> None:
    arrivals = Arrivals("packet", 1)
    arrivals.missing_before(1, 2)
    assert [arrivals.missing_before(first, 1) for first in (8, 9)] == [5, 0]
    assert [arrivals.missing_in_pair("a", "b", seq) for seq in (1, 4, 5)] == [0, 2, 0]


def test_after_a_gap_on_the_link_the_pairs_are_not_told_again() -> None:
    arrivals = Arrivals("packet", 1)
    arrivals.missing_before(1, 1)
    arrivals.missing_in_pair("a", "b", 1)
    assert arrivals.missing_before(5, 1) == 3
    assert arrivals.missing_in_pair("a", "b", 4) == 0


def test_the_first_that_is_heard_may_have_any_number() -> None:
    assert Arrivals("packet", 1).missing_in_pair("a", "b", 17) == 0


def test_a_new_actor_of_an_old_name_begins_at_one() -> None:
    arrivals = Arrivals("packet", 1)
    arrivals.missing_in_pair("a", "b", 17)
    assert arrivals.missing_in_pair("a", "b", 1) == 0
    assert arrivals.missing_in_pair("a", "b", 3) == 1


def test_numbering_that_runs_backwards_is_a_gap_of_unknown_size() -> None:
    arrivals = Arrivals("packet", 1)
    arrivals.missing_before(1, 9)
    assert arrivals.missing_before(4, 1) == 1
    arrivals.missing_in_pair("a", "b", 9)
    assert arrivals.missing_in_pair("a", "b", 5) == 1


def test_what_is_remembered_of_one_receiver_is_bounded() -> None:
    arrivals = Arrivals("packet", 1)
    for number in range(links.MAX_PAIRS + 10):
        arrivals.missing_in_pair("a", f"sender {number}", 5)
    assert len(arrivals.pairs["a"]) <= links.MAX_PAIRS


@given(st.lists(st.integers(1, 5), max_size=30), st.sets(st.integers(0, 29)))
def test_whatever_frames_are_lost_the_sum_is_what_is_missing(counts: list[int], lost: set[int]) -> None:
    arrivals, first, missing = Arrivals("packet", 1), 1, 0
    for number, count in enumerate(counts):
        if number not in lost:
            missing += arrivals.missing_before(first, count)
        first += count
    missing += arrivals.missing_before(first, 0)
    assert missing == sum(count for number, count in enumerate(counts) if number in lost)
