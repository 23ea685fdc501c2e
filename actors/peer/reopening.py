"""How soon an opening that failed is made again."""

from random import Random

FIRST_REOPEN_S = 1.0  # from one failed opening's start to the next; doubles
LONGEST_REOPEN_S = 5.0  # an opening costs two messages, and one that waits for the remote takes 30 s by itself
LEAST_REOPEN_S = 0.2  # from its failure
JITTER = 0.2
HOMELESS_S = 2.0  # that our own relay may be away before we meet at the remote's


class Reopening:
    """The openings of one relayed connection that failed in a row."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._failures = rng, 0
        self._homeless_until: float | None = None  # None: there was a place to open at, the last time

    def begun(self) -> None:
        """There is a place to open at."""
        self._homeless_until = None

    def homeless(self, now: float) -> float:
        """Return from when on the pair meets at the remote's home, ours being away."""
        if self._homeless_until is None:
            self._homeless_until = now + HOMELESS_S
        return max(self._homeless_until, now)

    def failed(self, since_at: float, now: float) -> float:
        """Return when to open again after one that began at `since_at`."""
        wait_s = min(FIRST_REOPEN_S * 2.0 ** min(self._failures, 16), LONGEST_REOPEN_S)
        self._failures += 1
        return max(since_at + wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER), now + LEAST_REOPEN_S)

    def worked(self) -> None:
        """Begin with short waits again."""
        self._failures = 0
