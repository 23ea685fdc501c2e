"""How much may wait to be sent on a relay link: what the link carries in half a second.

What waits is delay to every packet behind it.  On a link of 100 Mbit/s nobody feels 192 kB; on one that packet loss has
brought down to 60 kB/s they are three seconds, and whoever sends through the tunnel had better be told by a drop.

Measured is what the other end acknowledged while the link was full, the only time at which it shows what it carries.
"""

from typing import Final

WAIT_S: Final = 0.5
MEASURE_S: Final = 0.5  # of being full, in one piece or several; TCP that begins slowly doubles several times in it
MOST_LEN: Final = 192 * 1024  # bytes; also of a link that was never full
LEAST_LEN: Final = 48 * 1024  # a burst of one segment that the TUN device hands over whole


class SendRoom:
    """The room of one link."""

    def __init__(self) -> None:
        self.room_len = MOST_LEN
        """Bytes that may wait."""
        self._full_from: tuple[int, float] | None = None  # bytes acknowledged until then, and when
        self._carried_len, self._full_s = 0, 0.0

    def filled(self, acknowledged_len: int, now: float) -> None:
        """Take note that the link is full.  `acknowledged_len`: bytes that the other end has acknowledged so far."""
        self._full_from = acknowledged_len, now

    def emptied(self, acknowledged_len: int, now: float) -> bool:
        """Take note that the link has room; tell whether `room_len` is another now."""
        if self._full_from is None:
            return False
        len_before, since = self._full_from
        self._full_from = None
        self._carried_len += acknowledged_len - len_before
        self._full_s += now - since
        if self._full_s < MEASURE_S:
            return False
        before, carried_len = self.room_len, self._carried_len * WAIT_S / self._full_s
        self.room_len = max(LEAST_LEN, min(round(carried_len), MOST_LEN))
        self._carried_len, self._full_s = 0, 0.0
        return self.room_len != before
