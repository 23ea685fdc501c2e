"""Whether a path carries full-size messages: what is sent, and what is made of the answers."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from transport.relay.size_watch import (
    ANSWER_S,
    LEAST_SMALL,
    RECHECK_S,
    SPACING_S,
    TRIES,
    Narrow,
    Silent,
    Size,
    SizeWatch,
    Trying,
    Wide,
)

VERDICT_S = (TRIES - 1) * SPACING_S + ANSWER_S


class Path:
    """A path with a round trip, which loses what it is told to lose."""

    def __init__(self, watch: SizeWatch, *, rtt_s: float = 0.04, loses: set[Size] | None = None) -> None:
        self.watch, self.rtt_s, self.loses = watch, rtt_s, loses or set()
        self.loss, self.random = 0.0, Random(6)
        self.sent: list[tuple[float, Size]] = []
        self._answers: list[tuple[float, Size]] = []

    @property
    def state(self) -> object:
        return self.watch.state

    def run(self, until: float) -> None:
        while True:
            at = min([self.watch.due_at, *(at for at, _ in self._answers)])
            if at > until:
                return
            due = [answer for answer in self._answers if answer[0] <= at]
            self._answers = [answer for answer in self._answers if answer[0] > at]
            for _, size in due:
                self.watch.answered(size, at)
            for size in self.watch.handle_timeout(at):
                self.sent.append((at, size))
                if size not in self.loses and self.random.random() >= self.loss:
                    self._answers.append((at + self.rtt_s, size))


def test_a_good_path_is_known_after_one_round_trip_and_one_probe() -> None:
    path = Path(SizeWatch(0.0))
    path.run(0.05)
    assert path.state == Wide()
    assert path.sent == [(0.0, "full")]


def test_a_path_that_loses_what_is_large_is_narrow_in_less_than_three_seconds() -> None:
    path = Path(SizeWatch(0.0), loses={"full"})
    path.run(3.0)
    assert path.state == Narrow()
    assert [size for _, size in path.sent].count("full") == TRIES
    path.run(100.0)
    assert path.state == Narrow()
    assert path.sent[-1][0] < 3.0


def test_a_path_that_loses_everything_is_silent_which_is_no_verdict_on_its_size() -> None:
    path = Path(SizeWatch(0.0), loses={"full", "small"})
    path.run(3.0)
    silent = path.state
    assert silent == Silent()
    path.loses.clear()
    path.run(3.0 + RECHECK_S)
    assert path.state == Wide()


def test_a_path_that_shrinks_is_noticed_at_the_next_look_and_at_once_when_packets_were_lost() -> None:
    path = Path(SizeWatch(0.0))
    path.run(1.0)
    path.loses.add("full")
    path.run(RECHECK_S + VERDICT_S + 1.0)
    assert path.state == Narrow()

    hurried = Path(SizeWatch(0.0))
    hurried.run(1.0)
    hurried.loses.add("full")
    hurried.watch.doubt(1.0)
    hurried.run(1.0 + VERDICT_S)
    assert hurried.state == Narrow()


def test_a_long_round_trip_is_not_a_narrow_path() -> None:
    path = Path(SizeWatch(0.0), rtt_s=0.9)
    path.run(3.0)
    assert path.state == Wide()


def test_a_path_that_loses_a_fifth_both_ways_is_not_called_narrow() -> None:
    narrow = 0
    for seed in range(200):
        path = Path(SizeWatch(0.0))
        path.random, path.loss = Random(seed), 0.36  # a fifth there, a fifth back
        path.run(600.0)
        narrow += path.state == Narrow()
    assert narrow <= 4  # of 200 times ten minutes


def test_doubt_does_not_begin_anew_what_is_under_way() -> None:
    watch = SizeWatch(0.0)
    watch.handle_timeout(0.0)
    watch.doubt(0.1)
    assert watch.state == Trying(1, 0)


def test_a_call_before_its_time_does_nothing() -> None:
    watch = SizeWatch(5.0)
    assert watch.handle_timeout(4.9) == []


@given(st.lists(st.tuples(st.sampled_from(["full", "small", "doubt", "time"]), st.floats(0.0, 20.0)), max_size=60))
def test_every_state_but_narrow_has_a_way_out_and_narrow_needs_small_answers(inputs: list[tuple[str, float]]) -> None:
    watch, now, small = SizeWatch(0.0), 0.0, 0
    for kind, wait_s in inputs:
        now += wait_s
        if kind == "time":
            watch.handle_timeout(now)
        elif kind == "doubt":
            watch.doubt(now)
        else:
            small += kind == "small"
            watch.answered("full" if kind == "full" else "small", now)
        if watch.state == Narrow():
            assert small >= LEAST_SMALL
            return
        assert watch.due_at <= now + RECHECK_S
