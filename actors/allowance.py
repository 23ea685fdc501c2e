"""A rate with a burst, as a function of time."""


class Allowance:
    """So many at once, and one more every so many seconds."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst, self._every_s = burst, every_s
        self._full_at = float("-inf")  # when all are back

    def take(self, now: float) -> bool:
        """Take one, if one is left."""
        if self.next_at(now) > now:
            return False
        self._full_at = max(self._full_at, now) + self._every_s
        return True

    def next_at(self, now: float) -> float:
        """Return when one can be taken; `now`: at once."""
        return max(now, self._full_at - (self._burst - 1) * self._every_s)
