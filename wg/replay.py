"""The receive window: no counter twice, none too old (RFC 6479; whitepaper section 5.4.6).

Only counters of authenticated packets may be shown to it: a forged one would shut out the real ones behind it.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from wg.constants import REJECT_AFTER_MESSAGES, WINDOW_LEN

CREDIT_S = 1.0  # how long after its first arrival a duplicate still speaks for another path (recovery R13)
MAX_RUNS = 256  # 12 s of traffic in order; the more losses, the less
MAX_PATHS = 8
RUN_S = 0.05  # arrivals within it count as one moment

_ALL = (1 << WINDOW_LEN) - 1


class ReplayWindow:
    """Remembers which of the last WINDOW_LEN counters were accepted.

    An integer serves as bitmap, bit n standing for the n-th counter below the highest: a run of new counters, however
    long, costs one shift and one or.
    """

    def __init__(self) -> None:
        self.highest = -1  # accepted so far; -1: none
        self._seen = 0

    def accept(self, counter: int) -> bool:
        """Return whether the counter is new, and remember it."""
        if counter > self.highest:
            if counter >= REJECT_AFTER_MESSAGES:
                return False
            self._advance(counter, 1)
            return True
        age = self.highest - counter
        if age >= WINDOW_LEN or self._seen >> age & 1:
            return False
        self._seen |= 1 << age
        return True

    def accept_batch(self, counters: list[int]) -> list[bool]:
        """Do the same for many, in their order."""
        if not counters:
            return []
        if counters[0] > self.highest and counters[-1] < REJECT_AFTER_MESSAGES and _consecutive(counters):
            self._advance(counters[-1], len(counters))
            return [True] * len(counters)
        return [self.accept(counter) for counter in counters]

    def _advance(self, counter: int, count: int) -> None:
        """Make `counter` the highest, with the `count` counters that end with it seen."""
        shift = counter - self.highest
        kept = self._seen << shift if shift < WINDOW_LEN else 0  # a counter may jump by 2**60: never shift by that
        self._seen = (kept | (1 << count) - 1) & _ALL
        self.highest = counter


@dataclass(slots=True)
class _Run:
    """Consecutive counters that one path delivered at one moment."""

    path: Hashable
    first: int
    last: int
    at: float


class PathCredits:
    """Decides whether a duplicate proves the path that it came on (recovery R13).

    A packet sent over two paths is accepted from the faster one only, and yet has proven both.  So the first duplicate
    on a path counts for it, if another path delivered that counter at most CREDIT_S ago.  To tell first from second
    without remembering every packet, a path is credited for ever higher counters only: a duplicate that a later one
    overtook credits nothing, and need not.
    """

    def __init__(self) -> None:
        self.forgotten = 0  # runs pushed out before CREDIT_S was over; their duplicates credit nothing
        self._runs: deque[_Run] = deque()  # in order of time
        self._credited: dict[Hashable, int] = {}  # path -> the highest counter that credited it as a duplicate

    def accepted(self, path: Hashable, counters: list[int], now: float) -> None:
        """Remember that these counters passed the window on this path."""
        if not counters:
            return
        if _consecutive(counters):
            self._remember(path, counters[0], counters[-1], now)
            return
        for counter in counters:
            self._remember(path, counter, counter, now)

    def seen_on(self, path: Hashable, counter: int, now: float) -> bool:
        """Return whether a duplicate of this counter credits this path, and remember that it did."""
        if counter <= self._credited.get(path, -1):
            return False
        for run in reversed(self._runs):
            if now - run.at > CREDIT_S:
                return False
            if run.first <= counter <= run.last and run.path != path:
                self._credit(path, counter)
                return True
        return False

    def _remember(self, path: Hashable, first: int, last: int, now: float) -> None:
        newest = self._runs[-1] if self._runs else None
        if newest and newest.last + 1 == first and newest.path == path and now - newest.at <= RUN_S:
            newest.last = last
            return
        self._runs.append(_Run(path, first, last, now))
        if len(self._runs) > MAX_RUNS:
            oldest = self._runs.popleft()
            self.forgotten += now - oldest.at <= CREDIT_S

    def _credit(self, path: Hashable, counter: int) -> None:
        self._credited.pop(path, None)
        self._credited[path] = counter
        if len(self._credited) > MAX_PATHS:
            del self._credited[next(iter(self._credited))]  # the one credited longest ago


def _consecutive(counters: list[int]) -> bool:
    first, count = counters[0], len(counters)
    return count == 1 or (counters[-1] == first + count - 1 and counters == [*range(first, first + count)])
