"""Timers: mail to oneself, later.  One heap for all actors of a process.

An actor has at most one timer of each message type.  Each setting has an id of its own, which its mail carries: a timer
that was cancelled or set anew while its mail was on the way is recognised at delivery (`admit`) and dropped.
"""

import heapq
from dataclasses import dataclass

import msgspec

SLACK_S = 0.02  # a sleeping process wakes this much after the first timer, for all that are due by then
_COMPACT_FROM = 64


@dataclass(slots=True, eq=False)
class Timer:
    """One setting of a timer."""

    at: float
    id: int
    owner: str  # actor name
    message: msgspec.Struct
    cause: int  # the message that was handled when it was set
    trace: int


class Timers:
    """All timers that are set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._set: dict[str, dict[type[msgspec.Struct], Timer]] = {}
        self._count = 0  # in _set

    def __len__(self) -> int:
        return self._count

    def set(self, timer: Timer) -> None:
        """Set a timer; one of the same owner and message type is replaced."""
        mine = self._set.get(timer.owner)
        if mine is None:
            mine = self._set[timer.owner] = {}
        if type(timer.message) not in mine:
            self._count += 1
        mine[type(timer.message)] = timer
        heapq.heappush(self._heap, (timer.at, timer.id, timer))
        if len(self._heap) > _COMPACT_FROM + 2 * self._count:
            self._heap = [entry for entry in self._heap if self._is_set(entry[2])]
            heapq.heapify(self._heap)

    def cancel(self, owner: str, timer: type[msgspec.Struct]) -> None:
        """Forget the owner's timer of this type, also when its mail is already on the way."""
        mine = self._set.get(owner)
        if mine is not None and mine.pop(timer, None) is not None:
            self._count -= 1

    def forget(self, owner: str) -> None:
        """Forget all timers of this owner."""
        self._count -= len(self._set.pop(owner, ()))

    def of(self, owner: str) -> list[Timer]:
        """Return the timers that this owner has set."""
        return list(self._set.get(owner, {}).values())

    def due(self, now: float) -> list[Timer]:
        """Take out the timers whose time has come, earliest first; they stay set until `admit`."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if self._is_set(timer):
                taken.append(timer)
        return taken

    def next_at(self) -> float | None:
        """Return when the next timer is due; None: no timer is set."""
        while self._heap:
            at, _, timer = self._heap[0]
            if self._is_set(timer):
                return at
            heapq.heappop(self._heap)
        return None

    def admit(self, owner: str, timer: type[msgspec.Struct], timer_id: int) -> bool:
        """Whether a timer's mail still counts at its delivery; it is not set any more from then on."""
        mine = self._set.get(owner)
        if mine is None:
            return False
        current = mine.get(timer)
        if current is None or current.id != timer_id:
            return False
        del mine[timer]
        self._count -= 1
        return True

    def _is_set(self, timer: Timer) -> bool:
        mine = self._set.get(timer.owner)
        return mine is not None and mine.get(type(timer.message)) is timer
