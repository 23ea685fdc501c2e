"""One link of RELAY_LINKS: its record, what its driver is asked to do, what it delivers, what its status says."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from config.keys import PublicKey
from transport.relay.client import Open, RelayClient
from transport.relay.frames import PeerId

DIAL_LIMIT_S = 30.0  # the driver gives up before; this is for a driver that does not answer


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect; then call `connected` or `lost`."""

    link: int
    url: str
    server_ip: str | None


@dataclass(frozen=True, slots=True)
class SendMessages:
    """Send each as one WebSocket message."""

    link: int
    messages: list[bytes]


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a WebSocket ping; then call `pong` when it is answered."""

    link: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Close the connection, or stop dialling; nothing more is to be told of this link."""

    link: int


Request = Dial | SendMessages | Ping | Abort


@dataclass(frozen=True, slots=True)
class Packets:
    """What a link delivered from one peer."""

    peer: PublicKey
    link: int
    generation: int  # of the relayed connection that is open there; 0: none is
    payloads: list[bytes]


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One link, for the snapshot file."""

    link: int
    url: str
    state: Literal["dialling", "logging_in", "open"]
    instance_url: str | None
    server_ip: str | None
    since_at: float
    rtt_s: float | None  # of the last answered ping
    rx_bytes: int  # of packets, their headers on the link included
    tx_bytes: int


class RelayLinksStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All links, and what was not passed on, by reason."""

    links: tuple[LinkStatus, ...]
    drops: dict[str, int]


@dataclass(slots=True)
class Connection:
    """One relayed connection."""

    peer: PublicKey
    generation: int
    wait_s: float
    open: bool = False


@dataclass(slots=True)
class Link:
    """One link."""

    number: int
    url: str
    since_at: float
    server_ip: str | None = None
    client: RelayClient | None = None  # None: dialling
    writable: bool = True
    rx_bytes: int = 0
    tx_bytes: int = 0
    connections: dict[PeerId, Connection] = field(default_factory=dict)

    @property
    def instance_url(self) -> str | None:
        """How the server names itself; None: the link is not open."""
        match self.client:
            case RelayClient(state=Open(instance_url)):
                return instance_url
        return None

    def due_at(self) -> float | None:
        """Return when the link has something to do by itself."""
        return self.since_at + DIAL_LIMIT_S if self.client is None else self.client.next_timeout()

    def status(self) -> LinkStatus:
        """Return what the snapshot file says."""
        state: Literal["dialling", "logging_in", "open"] = "dialling"
        if self.client is not None:
            state = "logging_in" if self.instance_url is None else "open"
        return LinkStatus(
            link=self.number,
            url=self.url,
            state=state,
            instance_url=self.instance_url,
            server_ip=self.server_ip,
            since_at=self.since_at,
            rtt_s=self.client.rtt_s if self.client is not None else None,
            rx_bytes=self.rx_bytes,
            tx_bytes=self.tx_bytes,
        )
