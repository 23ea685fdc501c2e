"""By which transports a relay server is dialled: what the operator wants, what QUIC needs, and where it has failed."""

from dataclasses import dataclass
from typing import Final, Literal

from transport.relay.fallback import FallbackWindows
from transport.relay.race import Transport

Mode = Literal["auto", "ws", "quic"]

NOT_TRUSTED: Final = "a rel:// URL is dialled by QUIC only with [relay] fingerprints or ca_file"


@dataclass(frozen=True, slots=True)
class Choice:
    """How to dial."""

    transports: tuple[Transport, ...]  # (): nothing may be dialled
    quic_fault: str = ""  # why QUIC is wanted and not among them


class Transports:
    """Chooses for each URL."""

    def __init__(self, mode: Mode, *, trusted: bool) -> None:
        """Without `trusted`, only certificates of the system's roots count, which no rel:// server has."""
        self.mode = mode
        self._trusted = trusted
        self._windows = FallbackWindows()

    def choose(self, url: str, now: float) -> Choice:
        """Return how to dial this server now."""
        if self.mode == "ws":
            return Choice(("ws",))
        pinned = self.mode == "quic"
        if url.startswith("rel://") and not self._trusted:
            return Choice(() if pinned else ("ws",), NOT_TRUSTED)
        if pinned:
            return Choice(("quic",))
        fault = self._windows.avoids(url, now)
        return Choice(("quic", "ws")) if fault is None else Choice(("ws",), fault)

    def quic_failed(self, url: str, reason: str, now: float) -> None:
        """Leave QUIC out for a while: it failed where WebSocket does not."""
        self._windows.failed(url, reason, now)
