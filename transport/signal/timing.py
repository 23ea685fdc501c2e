"""When the signal link is doubted, given up and tried again: pure functions of time (signal spec 6.2 and 6.4)."""

from dataclasses import dataclass
from enum import Enum, auto
from random import Random


@dataclass(frozen=True, slots=True)
class Timing:
    """The link's patience, in seconds."""

    registration_s: float = 10.0  # for the registration header
    silence_s: float = 30.0  # nothing heard: probe (signal spec 6.4)
    probe_s: float = 10.0  # for a probe to come back
    doubt_s: float = 2.0  # a post has no reply yet: probe
    doubt_probe_s: float = 5.0  # for that probe to come back
    send_deadlines_s: tuple[float, ...] = (10.0, 10.0, 10.0, 15.0)  # of the attempts at one message (signal spec 2.5)

    quick_s: float = 0.5  # mean wait of the first attempts: a server that was restarted is back in a second
    quick_tries: int = 10
    interval_s: float = 0.8  # mean wait of the first attempt after those (signal spec 6.2)
    multiplier: float = 1.7
    max_interval_s: float = 10.0
    steady_s: float = 10.0  # a link that lived this long starts the waits anew (recovery R10)

    displaced_s: float = 900.0  # wait after the second displacement: at most 6 an hour from two clients (recovery S21)
    displaced_memory_s: float = 3600.0


class Step(Enum):
    """What the watchdog wants done."""

    NOTHING = auto()
    PROBE = auto()  # send a heartbeat to oneself
    GIVE_UP = auto()  # the link is dead: make a new one


class Watchdog:
    """Doubts one stream when nothing comes, and believes again when something does.

    A heartbeat to oneself crosses the whole server, so it proves what no answer to a ping does: that mail would come.
    """

    def __init__(self, now: float, timing: Timing) -> None:
        self._timing = timing
        self._heard_at = now
        self._give_up_at: float | None = None  # None: no probe is out

    def heard(self, now: float) -> None:
        """A message came on the stream."""
        self._heard_at, self._give_up_at = now, None

    def suspect(self, now: float) -> Step:
        """A post is without reply for `doubt_s`: the link may be half-open."""
        limit = now + self._timing.doubt_probe_s
        if self._give_up_at is None:
            self._give_up_at = limit
            return Step.PROBE
        self._give_up_at = min(self._give_up_at, limit)
        return Step.NOTHING

    def next_timeout(self) -> float:
        """Return when handle_timeout has something to do, unless something is heard before."""
        return self._heard_at + self._timing.silence_s if self._give_up_at is None else self._give_up_at

    def handle_timeout(self, now: float) -> Step:
        """Return what the passing of time asks for."""
        if now < self.next_timeout():
            return Step.NOTHING
        if self._give_up_at is not None:
            return Step.GIVE_UP
        self._give_up_at = now + self._timing.probe_s
        return Step.PROBE

    def silent_s(self, now: float) -> float:
        """Return how long nothing was heard."""
        return now - self._heard_at


class Backoff:
    """How long to wait before the next attempt at a link.

    The first waits are short, since most servers that go away are back in a second; then they grow as signal spec 6.2
    says.  Being replaced by another client with our key is waited out much longer from the second time on, because the
    two would replace each other for ever.
    """

    def __init__(self, rng: Random, timing: Timing) -> None:
        self._rng, self._timing = rng, timing
        self._failures = 0
        self._displaced_at: float | None = None  # last time

    def after_failure(self, lived_s: float) -> float:
        """Return the wait after a link that stood for `lived_s` (0: it never did)."""
        timing = self._timing
        if lived_s >= timing.steady_s:
            self._failures = 0
        self._failures += 1
        slow_tries = self._failures - timing.quick_tries
        if slow_tries <= 0:
            return timing.quick_s * self._rng.uniform(0.5, 1.5)
        # The exponent is bounded, because a float is: after 20 the largest interval is long reached.
        interval_s = min(timing.max_interval_s, timing.interval_s * timing.multiplier ** min(slow_tries - 1, 20))
        return self._rng.uniform(0.0, 2 * interval_s)

    def after_displacement(self, now: float) -> float:
        """Return the wait after another client registered with our key."""
        before, self._displaced_at = self._displaced_at, now
        if before is None or now - before > self._timing.displaced_memory_s:
            return self._timing.quick_s * self._rng.uniform(0.5, 1.5)
        return self._timing.displaced_s * self._rng.uniform(1.0, 1.25)
