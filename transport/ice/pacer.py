"""Gives the agents of one node turns to check a pair, so that all of them together stay below a rate."""

from math import inf
from typing import Final

TURN_S: Final = 0.005  # between two ordinary checks of all agents: the least that RFC 8445 section 14.2 allows


class Pacer:
    """Hands out turns to all agents, first come, first served."""

    def __init__(self, turn_s: float = TURN_S) -> None:
        self._turn_s = turn_s
        self._free_at = -inf

    def turn(self, now: float) -> float:
        """Return when the caller may send its next check: `now`, or later."""
        at = max(now, self._free_at)
        self._free_at = at + self._turn_s
        return at


class Turns:
    """One agent's turns: it holds at most one, and asks for it when it has something to check."""

    def __init__(self, pacer: Pacer, pace_s: float) -> None:
        self._pacer, self._pace_s = pacer, pace_s
        self._turn_at: float | None = None  # None: not asked for
        self._free_at = -inf

    def next_at(self, due_at: float) -> float:
        """Return when to `take` for something that is due at `due_at`."""
        return max(due_at, self._free_at) if self._turn_at is None else self._turn_at

    def take(self, due_at: float, now: float) -> bool:
        """Tell whether to check now."""
        if self._turn_at is None:
            if self.next_at(due_at) > now:
                return False
            self._turn_at = self._pacer.turn(now)
        if now < self._turn_at:
            return False
        self._turn_at, self._free_at = None, now + self._pace_s
        return True
