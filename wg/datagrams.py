"""Datagrams as they come off a UDP socket and go onto one: in batches that share all but their bytes."""

from typing import NamedTuple


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
