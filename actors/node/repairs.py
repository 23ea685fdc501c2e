"""How often we undo what somebody else does to our interface: at once, but not for ever (nobody wins such a fight)."""

from collections import deque

MAX_REPAIRS = 5  # within MEMORY_S are made at once; beyond them one in PAUSE_S
PAUSE_S = 60.0
MEMORY_S = 360.0  # longer than it takes to make so many with pauses: who goes on is met with pauses


class RepairBudget:
    """Says when the next repair may be."""

    def __init__(self) -> None:
        self._done_at: deque[float] = deque(maxlen=MAX_REPAIRS)

    def repaired(self, now: float) -> None:
        """Take note of a repair."""
        self._done_at.append(now)

    def spent(self, now: float) -> bool:
        """Tell whether there were so many repairs that somebody must be against them."""
        return len(self._done_at) == MAX_REPAIRS and now - self._done_at[0] < MEMORY_S

    def wait_s(self, now: float) -> float:
        """Return how long the next repair has to wait; 0: it may be made."""
        return max(self._done_at[-1] + PAUSE_S - now, 0.0) if self.spent(now) else 0.0
