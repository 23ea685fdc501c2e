"""What datagrams of strangers may cost: those that name an agent of ours, and then are not signed as they should be."""

from typing import Final

BAD_PER_SECOND: Final = 5.0  # of one source, once its burst is used up
BAD_BURST: Final = 20.0
ALL_BAD_PER_SECOND: Final = 500.0  # of all sources: checking a signature takes about 15 us
ALL_BAD_BURST: Final = 1000.0
MAX_SOURCES: Final = 1024


class Bucket:
    """Tokens that come back with time."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def has_token(self, now: float) -> bool:
        """Tell whether there is one."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        return self._tokens >= 1.0

    def take(self) -> None:
        """Take one, if there is one."""
        self._tokens = max(0.0, self._tokens - 1.0)


class Strangers:
    """Knows who has sent badly signed requests, and how many all have."""

    def __init__(self) -> None:
        self._all: Bucket | None = None
        self._sources: dict[str, Bucket] = {}  # who was bad last is last

    def admits(self, ip: str, now: float) -> bool:
        """Tell whether a request from there is worth the check of its signature."""
        bucket = self._sources.get(ip)
        return (self._all is None or self._all.has_token(now)) and (bucket is None or bucket.has_token(now))

    def blame(self, ip: str, now: float) -> None:
        """Take note that a request from there was badly signed."""
        self._all = self._all or Bucket(ALL_BAD_PER_SECOND, ALL_BAD_BURST, now)
        self._all.take()
        bucket = self._sources.pop(ip, None) or Bucket(BAD_PER_SECOND, BAD_BURST, now)
        bucket.take()
        self._sources[ip] = bucket
        if len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
