"""Who is to be woken when: one wake-up per peer, the earliest of all at hand.

With a thousand peers, of which one is due, the other 999 are not looked at.
"""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

SLACK = 64  # entries beyond two a sleeper before what was overtaken is swept out


class Wakes(Generic[T]):
    """A heap of wake-ups.  Waking somebody too early is harmless, so a later time never replaces an earlier one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._armed: dict[T, float] = {}
        self._count = 0  # breaks ties, so that sleepers are never compared

    def arm(self, who: T, at: float) -> None:
        """Wake `who` at `at`, unless that happens earlier anyway."""
        armed_at = self._armed.get(who)
        if armed_at is not None and armed_at <= at:
            return
        self._armed[who] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, who))
        if len(self._heap) > 2 * len(self._armed) + SLACK:
            self._heap = [entry for entry in self._heap if self._armed.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def forget(self, who: T) -> None:
        """Do not wake `who`."""
        self._armed.pop(who, None)

    def next_at(self) -> float | None:
        """Return the earliest wake-up; None: there is none."""
        while self._heap and self._armed.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[T]:
        """Yield each of those whose time has come, once, also if they are armed again meanwhile."""
        for _ in range(len(self._armed)):
            at = self.next_at()
            if at is None or at > now:
                return
            _, _, who = heapq.heappop(self._heap)
            del self._armed[who]
            yield who
