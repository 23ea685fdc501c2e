"""Whether the selected pair lives (RFC 7675), as a function of checks sent, answers, signs of life and time.

Resting --due--> Asking --answer missing--> Doubting --no sign of life for long enough--> Dead
   ^               |                           |
   +---answered----+---------answered----------+
"""

import random
from dataclasses import dataclass
from math import inf
from typing import Literal

from transport.ice.timing import Timing

JITTER = (0.8, 1.2)  # of the wait between checks, so that peers do not keep step (RFC 7675 section 5.1)
LEAST_MISSING = 5  # answers, before a pair is dead: one stall of our own process must not kill it
RTT_GAIN = 0.125  # of a new round trip in the smoothed one (RFC 6298)

ConsentAction = Literal["check", "doubtful", "dead"]


@dataclass(frozen=True, slots=True)
class Resting:
    """The last check was answered."""

    check_at: float


@dataclass(frozen=True, slots=True)
class Asking:
    """A check is under way."""

    since: float
    missing_at: float


@dataclass(frozen=True, slots=True)
class Doubting:
    """Answers are missing."""

    since: float  # when the first check without an answer was sent
    check_at: float
    missing: int


@dataclass(frozen=True, slots=True)
class Dead:
    """Given up."""


class Consent:
    """Watches the selected pair.  After every call, what `handle_timeout` returns is to be done, in order."""

    def __init__(self, timing: Timing, rng: random.Random, now: float, *, rtt_s: float | None, in_use: bool) -> None:
        self._timing, self._rng, self._in_use = timing, rng, in_use
        self.rtt_s = rtt_s  # smoothed; None: not measured
        self.answered_at = now
        self.heard_at = now  # last sign of life, answers included
        self.state: Resting | Asking | Doubting | Dead = Resting(self._next_at(now))

    @property
    def doubtful(self) -> bool:
        """So many answers are missing that other pairs, and other paths, are worth a try."""
        return isinstance(self.state, Doubting) and self.state.missing >= self._timing.doubtful_after

    @property
    def doubted_since(self) -> float | None:
        """When the first check was sent whose answer is missing; None: none is."""
        return self.state.since if isinstance(self.state, Doubting) else None

    def set_in_use(self, in_use: bool, now: float) -> None:
        """Take note whether the pair carries traffic."""
        if in_use != self._in_use:
            self._in_use = in_use
            if isinstance(self.state, Resting):
                self.state = Resting(max(now, self._next_at(self.answered_at)))

    def answered(self, rtt_s: float, now: float) -> None:
        """Take note of an answer to one of our checks."""
        self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + RTT_GAIN * (rtt_s - self.rtt_s)
        self.answered_at = self.heard_at = now
        if not isinstance(self.state, Dead):
            self.state = Resting(self._next_at(now))

    def heard(self, now: float) -> None:
        """Take note of a sign of life: a check of the remote's, or an authenticated WireGuard packet on this pair."""
        self.heard_at = now

    def ask_at(self, at: float) -> None:
        """Check at `at`, or sooner: there is a hint that something changed."""
        if isinstance(self.state, Resting):
            self.state = Resting(min(self.state.check_at, at))

    def next_timeout(self) -> float:
        """Return when to call `handle_timeout`; inf: never."""
        match self.state:
            case Resting(check_at):
                return check_at
            case Asking(_, missing_at):
                return missing_at
            case Doubting(_, check_at):
                return check_at
            case Dead():
                return inf

    def handle_timeout(self, now: float) -> list[ConsentAction]:
        """Return what is due: a check to send, the news that the pair is doubtful, or dead."""
        match self.state:
            case Resting(check_at) if now >= check_at:
                self.state = Asking(now, now + self._patience_s())
                return ["check"]
            case Asking(since, missing_at) if now >= missing_at:
                self.state = Doubting(since, now + self._timing.recheck_s, 1)
                return ["doubtful", "check"] if self._timing.doubtful_after == 1 else ["check"]
            case Doubting(since, check_at, missing) if now >= check_at:
                if missing >= LEAST_MISSING and now >= self._dead_at(since):
                    self.state = Dead()
                    return ["dead"]
                self.state = Doubting(since, now + self._timing.recheck_s, missing + 1)
                return ["doubtful", "check"] if missing + 1 == self._timing.doubtful_after else ["check"]
            case _:
                return []

    def _next_at(self, since: float) -> float:
        timing, jitter = self._timing, self._rng.uniform(*JITTER)
        if self._in_use:
            return since + timing.check_every_s * jitter
        at = since + timing.check_idle_s * jitter
        return at - (at - timing.beat_phase_s) % timing.beat_s

    def _patience_s(self) -> float:
        return self._timing.answer_wait_s + (self.rtt_s or 0.0)

    def _dead_at(self, since: float) -> float:
        """Return when the pair is dead; the round trip on top, so that a late answer still counts."""
        alive_at = max(since, self.heard_at)
        dead_after_s = self._timing.dead_after_s if self._in_use else self._timing.dead_idle_s
        return min(alive_at + dead_after_s, since + self._timing.deaf_after_s) + (self.rtt_s or 0.0)
