"""WebSocket or QUIC: which of the dials to a relay server becomes its link, without I/O (relay spec 2.5).

    both dialled --QUIC has proven itself---------------------------> QUIC
        |
        +--WebSocket is ready--> grace --QUIC has proven itself-----> QUIC
        |                          \\----QUIC failed, or time over---> WebSocket
        +--one failed--> the other alone --ready or failed----------> that one, or none

QUIC survives a change of our address, so it is preferred; but it may not cost more than it gives.  The grace is a share
of what WebSocket's own dial took, at the least what QUIC's cryptography and delayed acknowledgements take beside it: by
that much a connection is late where UDP does not pass.  What is decided stays: QUIC that comes later tears down no
healthy link.
"""

from dataclasses import dataclass
from typing import Final, Literal

Transport = Literal["ws", "quic"]

GRACE_SHARE: Final = 0.5  # of the time that WebSocket's dial took
GRACE_S: Final = (0.25, 0.4)  # at the least, and at the most


@dataclass(frozen=True, slots=True)
class Won:
    """One dial is the link from now on; the other is to be closed."""

    transport: Transport
    quic_fault: str = ""  # of WebSocket: why QUIC is not used; "": it was not tried
    quic_late: bool = False  # QUIC did not fail, it was only not there in time


WEBSOCKET: Final = Won("ws")
"""Nothing else was tried."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Neither came to anything."""

    reason: str


class Race:
    """One dial of a server by one transport, or by both at once."""

    def __init__(self, transports: tuple[Transport, ...], now: float) -> None:
        self._running = set(transports)
        self._faults: dict[Transport, str] = {}
        self._begun_at = now
        self._websocket_is_ready = False
        self._grace_until: float | None = None
        self._grace_s = 0.0
        self.outcome: Won | Lost | None = None

    def ready(self, transport: Transport, now: float) -> None:
        """Take note that a dial succeeded: of QUIC, that full-size messages have passed."""
        if self.outcome is not None:
            return
        self._running.discard(transport)
        if transport == "quic":
            self.outcome = Won("quic")
            return
        self._websocket_is_ready = True
        low, high = GRACE_S
        self._grace_s = min(max(GRACE_SHARE * (now - self._begun_at), low), high)
        self._grace_until = now + self._grace_s
        self._settle()

    def failed(self, transport: Transport, reason: str) -> None:
        """Take note that a dial failed, or that its connection ended before the race did."""
        if self.outcome is not None:
            return
        self._running.discard(transport)
        self._faults[transport] = reason
        if transport == "ws":
            self._websocket_is_ready, self._grace_until = False, None
        self._settle()

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        if self.outcome is None and self._grace_until is not None and now >= self._grace_until:
            late = f"not proven {1000 * self._grace_s:.0f} ms after WebSocket was there; does UDP pass?"
            self.outcome = Won("ws", quic_fault=late, quic_late=True)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called next; None: never."""
        return None if self.outcome is not None else self._grace_until

    def _settle(self) -> None:
        """Decide, if nobody is left to wait for."""
        if self._running:
            return
        if self._websocket_is_ready:
            self.outcome = Won("ws", quic_fault=self._faults.get("quic", ""))
        elif set(self._faults) == {"ws", "quic"}:
            self.outcome = Lost(f"{self._faults['ws']}; over QUIC: {self._faults['quic']}")
        else:
            self.outcome = Lost("; ".join(self._faults.values()))
