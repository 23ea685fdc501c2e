"""When a failed actor starts again, and when its whole process must.

An actor of the node fails alone and starts again in place: 0.2 s later, doubling up to 30 s, jitter 50 to 100 %; after
60 s of health the doubling is forgotten.  More than five such failures in 60 s in one process mean that starting anew
here does not help: the process ends, and the supervisor starts another.  The six actors of a peer fail together, and
PEERS decides when they start again (process.PeerFailed).

A message that made its actor raise is poison: it is never delivered again, but kept for inspection, its body redacted.
"""

import random
from collections import deque
from dataclasses import dataclass

from actors.messages.envelope import Envelope

FIRST_WAIT_S = 0.2
MAX_WAIT_S = 30.0
JITTER = 0.5  # a wait lies between this part of it and all of it
HEALTHY_S = 60.0
MAX_FAILURES = 5
WINDOW_S = 60.0
QUARANTINE_LEN = 32


class ActorsFailing(Exception):
    """The process cannot keep its actors running; it should exit non-zero, and be started anew."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that an actor raised on."""

    at: float
    actor: str
    tag: str
    envelope: Envelope  # body redacted
    error: str
    where: str  # file and line that raised


class Supervision:
    """Counts the failures of a process's own actors."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES + 1)
        self._waits: dict[str, tuple[int, float]] = {}  # actor -> doublings, when it starts again
        self.quarantine: deque[Poison] = deque(maxlen=QUARANTINE_LEN)

    def wait_after_failure(self, actor: str, now: float, error: str) -> float:
        """Return how long (s) this actor should rest.  Raises ActorsFailing when that is not the way out."""
        self._failures.append(now)
        if len(self._failures) > MAX_FAILURES and now - self._failures[0] <= WINDOW_S:
            raise ActorsFailing(
                f"{len(self._failures)} failures of actors in {WINDOW_S:.0f} s, the last in {actor}: {error}"
            )
        doublings, started_at = self._waits.get(actor, (0, now))
        if now - started_at >= HEALTHY_S:
            doublings = 0
        wait = min(FIRST_WAIT_S * 2.0**doublings, MAX_WAIT_S) * self._rng.uniform(JITTER, 1.0)
        self._waits[actor] = (doublings + 1, now + wait)
        return wait

    def forget(self, actor: str) -> None:
        """Forget an actor that has ended."""
        self._waits.pop(actor, None)


def describe(error: BaseException) -> str:
    """Return the error's type and text in one short line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200]


def origin_of(error: BaseException) -> str:
    """Return file and line that raised."""
    traceback, where = error.__traceback__, "?"
    while traceback is not None:
        where = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where
