"""What strangers' requests may cost: those that name an agent of ours, and then may not be signed as they should be."""

from typing import Final

from wg.cookie import TokenBucket

UNKNOWN_PER_S: Final = 500.0  # from places where no agent knows its remote to be; a signature costs about 15 us
UNKNOWN_BURST: Final = 1000.0
BLAMED_PER_S: Final = 5.0  # of a source that has sent a badly signed request
BLAMED_BURST: Final = 20.0
MAX_SOURCES: Final = 1024


class Strangers:
    """Decides whose requests are worth the check of a signature."""

    def __init__(self) -> None:
        self._all = TokenBucket(UNKNOWN_PER_S, UNKNOWN_BURST)
        self._blamed: dict[str, TokenBucket] = {}  # by IP; who was blamed last is last

    def admits(self, ip: str, now: float) -> bool:
        """Tell whether a request from there is worth a look."""
        blamed = self._blamed.get(ip)
        return (blamed is None or blamed.take(now)) and self._all.take(now)

    def blame(self, ip: str, now: float) -> None:
        """Take note that a request from there was badly signed."""
        bucket = self._blamed.pop(ip) if ip in self._blamed else TokenBucket(BLAMED_PER_S, BLAMED_BURST, now)
        self._blamed[ip] = bucket
        if len(self._blamed) > MAX_SOURCES:
            del self._blamed[next(iter(self._blamed))]
