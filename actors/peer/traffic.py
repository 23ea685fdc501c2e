"""Does more than keepalives come over a path?  Told from how often it is heard, once a second at the most.

A keepalive comes every 25 s, a handshake or a probe makes one or two reports more: three within four seconds are
traffic.
"""

from collections import deque

HEARD = 3
WITHIN_S = 4.0
LULL_S = 30.0  # without traffic: there is none any more


class Traffic:
    """Of one path."""

    def __init__(self) -> None:
        self._heard: deque[float] = deque(maxlen=HEARD)
        self._busy_at: float | None = None

    def heard(self, now: float) -> None:
        """Take note of one report."""
        self._heard.append(now)
        if len(self._heard) == HEARD and now - self._heard[0] <= WITHIN_S:
            self._busy_at = now

    def busy(self, now: float) -> bool:
        """Whether there is traffic."""
        return self._busy_at is not None and now - self._busy_at < LULL_S
