"""One virtual clock, and what is to happen by it."""

import heapq
from collections.abc import Callable


class Agenda:
    """Lets things happen at their times; what is due at one moment, in the order in which it was asked for."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0

    def at(self, at: float, call: Callable[[], None]) -> None:
        """Have something happen at this time, or now if that is past."""
        self._asked += 1
        heapq.heappush(self._heap, (max(self.now, at), self._asked, call))

    def next_at(self) -> float | None:
        """Return when the next thing happens; None: nothing is left."""
        return self._heap[0][0] if self._heap else None

    def step(self) -> None:
        """Let everything happen that is due now, what it leads to at once included."""
        heap = self._heap
        while heap and heap[0][0] <= self.now:
            heapq.heappop(heap)[2]()

    def run_until(self, end: float) -> None:
        """Run until this time."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, call = pop(heap)
            call()
        self.now = max(self.now, end)
