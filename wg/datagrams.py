"""WireGuard messages on their way: in batches that share all but their bytes, and by what they came or go."""

from typing import NamedTuple

from config.keys import PublicKey
from wg.paths import PathKind


class Endpoint(NamedTuple):
    """Where a peer's UDP socket is."""

    ip: str  # IPv4, or IPv6 without zone
    port: int
    zone: int = 0  # interface index of an IPv6 link-local address; 0: none

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class UdpBatch(NamedTuple):
    """Datagrams of one remote endpoint, in their order."""

    endpoint: Endpoint  # received: where they came from; to send: where they go
    local: bytes | None  # our address, 4 or 16 bytes: the one asked, from which the answer leaves; None: any
    ecn: int  # mark of the outer header (wg/ecn.py)
    datagrams: list[bytes]


class RelayedBatch(NamedTuple):
    """Payloads for one peer over one link to a relay server, in their order."""

    peer: PublicKey
    link: int
    payloads: list[bytes]


class DirectVia(NamedTuple):
    """By UDP between this endpoint and our address (4 or 16 bytes; None: any)."""

    endpoint: Endpoint
    local: bytes | None

    @property
    def kind(self) -> PathKind:
        """Which of a peer's two paths this is."""
        return "direct"

    @property
    def generation(self) -> int:
        """Direct paths have no incarnations."""
        return 0


class RelayedVia(NamedTuple):
    """Over this link, from or to the peer that the relay server knows by this key."""

    peer: PublicKey
    link: int
    generation: int  # the relayed connection's incarnation; 0: we have opened none on that link

    @property
    def kind(self) -> PathKind:
        """Which of a peer's two paths this is."""
        return "relayed"


Via = DirectVia | RelayedVia
"""What a message came by, and so where its answer goes."""
