"""For how long a URL is not dialled over QUIC, after that failed where WebSocket did not (relay spec 6.4)."""

from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 600.0
LONGEST_S: Final = 3600.0
MAX_URLS: Final = 256


@dataclass(frozen=True, slots=True)
class _Window:
    until: float
    length_s: float
    reason: str


class FallbackWindows:
    """The windows of all URLs that this process dials."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def failed(self, url: str, reason: str, now: float) -> None:
        """Open a window of 10 min; after one that passed, of twice its length, up to 60 min.  An open one stays."""
        window = self._windows.pop(url, None)
        if window is None:
            window = _Window(now + FIRST_S, FIRST_S, reason)
        elif now >= window.until:
            length_s = min(2 * window.length_s, LONGEST_S)
            window = _Window(now + length_s, length_s, reason)
        self._windows[url] = window
        if len(self._windows) > MAX_URLS:
            del self._windows[next(iter(self._windows))]

    def avoids(self, url: str, now: float) -> str | None:
        """Return why QUIC is not to be dialled now; None: it may be."""
        window = self._windows.get(url)
        return window.reason if window is not None and now < window.until else None
