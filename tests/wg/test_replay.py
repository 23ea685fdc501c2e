"""The receive window, and what duplicates say about paths."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wg import replay
from wg.constants import REJECT_AFTER_MESSAGES, WINDOW_LEN
from wg.replay import CREDIT_S, PathCredits, ReplayWindow


def test_each_counter_is_accepted_once() -> None:
    window = ReplayWindow()
    assert [window.accept(counter) for counter in (0, 1, 0, 5, 3, 3, 5, 4)] == [
        True,
        True,
        False,
        True,
        True,
        False,
        False,
        True,
    ]


def test_the_window_reaches_back_exactly_its_length() -> None:
    window = ReplayWindow()
    assert window.accept(WINDOW_LEN + 10)
    assert window.accept(11)
    assert not window.accept(10)


def test_a_jump_over_the_whole_window_forgets_what_was_before() -> None:
    window = ReplayWindow()
    assert window.accept(0)
    assert window.accept(2**60)
    assert not window.accept(0)
    assert window.accept(2**60 - WINDOW_LEN + 1)
    assert not window.accept(2**60)


def test_counters_beyond_the_limit_are_refused() -> None:
    window = ReplayWindow()
    assert not window.accept(REJECT_AFTER_MESSAGES)
    assert not window.accept(2**64 - 1)
    last = [REJECT_AFTER_MESSAGES - 1, REJECT_AFTER_MESSAGES]
    assert window.accept_batch(last) == [True, False]


def test_a_batch_longer_than_the_window_is_accepted_whole() -> None:
    window = ReplayWindow()
    assert all(window.accept_batch([*range(2 * WINDOW_LEN)]))
    assert not any(window.accept_batch([*range(2 * WINDOW_LEN)]))


def test_an_empty_batch_is_nothing() -> None:
    assert ReplayWindow().accept_batch([]) == []


class Model:
    """RFC 6479 as a set of everything that was ever accepted."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()

    def accept(self, counter: int) -> bool:
        too_old = counter <= max(self.accepted, default=-1) - WINDOW_LEN
        if too_old or counter in self.accepted or counter >= REJECT_AFTER_MESSAGES:
            return False
        self.accepted.add(counter)
        return True


STEPS = st.integers(-30, 30) | st.integers(-WINDOW_LEN - 2, WINDOW_LEN + 2)
RUNS = st.lists(st.tuples(STEPS, st.integers(1, 80), st.booleans()), max_size=30)


@settings(deadline=None)
@given(st.integers(0, 2**62), RUNS)
def test_batches_in_any_order_agree_with_a_model_that_never_forgets(
    start: int, runs: list[tuple[int, int, bool]]
) -> None:
    window, model, at = ReplayWindow(), Model(), start
    for step, length, backwards in runs:
        at = max(0, at + step)
        counters = [*range(at, at + length)]
        if backwards:
            counters.reverse()
        assert window.accept_batch(counters) == [model.accept(counter) for counter in counters]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20000), max_size=60))
def test_single_counters_agree_with_the_model(counters: list[int]) -> None:
    window, model = ReplayWindow(), Model()
    assert [window.accept(counter) for counter in counters] == [model.accept(counter) for counter in counters]


# --- duplicates ---


def test_the_first_duplicate_on_another_path_credits_it() -> None:
    credits_ = PathCredits()
    credits_.accepted("direct", [1, 2, 3], 10.0)
    assert credits_.seen_on("relayed", 2, 10.5)
    assert not credits_.seen_on("relayed", 2, 10.5), "the second of it"
    assert credits_.seen_on("relayed", 3, 10.5)


def test_a_duplicate_on_the_path_that_delivered_credits_nothing() -> None:
    credits_ = PathCredits()
    credits_.accepted("direct", [1, 2, 3], 10.0)
    assert not credits_.seen_on("direct", 2, 10.1)


def test_a_duplicate_that_comes_too_late_credits_nothing() -> None:
    credits_ = PathCredits()
    credits_.accepted("direct", [1], 10.0)
    assert not credits_.seen_on("relayed", 1, 10.0 + CREDIT_S + 0.01)


def test_only_what_another_path_delivered_counts_when_they_take_turns() -> None:
    credits_ = PathCredits()
    credits_.accepted("direct", [1, 2, 4, 5], 10.0)
    credits_.accepted("relayed", [3], 10.0)
    assert not credits_.seen_on("relayed", 3, 10.1)
    assert credits_.seen_on("direct", 3, 10.1)
    assert credits_.seen_on("relayed", 4, 10.1)


def test_a_counter_that_was_never_accepted_credits_nothing() -> None:
    credits_ = PathCredits()
    credits_.accepted("direct", [1, 9], 10.0)
    assert not credits_.seen_on("relayed", 5, 10.1)


def test_what_is_remembered_is_bounded() -> None:
    credits_ = PathCredits()
    for counter in range(0, 10 * replay.MAX_RUNS, 2):
        credits_.accepted("direct", [counter], 10.0)
    assert credits_.forgotten == 4 * replay.MAX_RUNS
    assert not credits_.seen_on("relayed", 0, 10.0)
    assert credits_.seen_on("relayed", 10 * replay.MAX_RUNS - 2, 10.0)


def test_steady_traffic_in_order_forgets_nothing_too_early() -> None:
    credits_ = PathCredits()
    for counter in range(20_000):
        credits_.accepted("direct", [counter], counter / 10_000)
    assert credits_.forgotten == 0
    assert credits_.seen_on("relayed", 19_999 - 9_000, 2.0)


def test_the_paths_remembered_are_bounded() -> None:
    credits_ = PathCredits()
    credits_.accepted("direct", [1], 10.0)
    for number in range(replay.MAX_PATHS + 1):
        assert credits_.seen_on(f"relayed {number}", 1, 10.0)
    assert credits_.seen_on("relayed 0", 1, 10.0), "credited longest ago, so forgotten"
