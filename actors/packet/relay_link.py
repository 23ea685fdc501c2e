"""One link of RELAY_LINKS: its record, what its driver is asked to do, what it delivers, what its status says."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import msgspec

from actors.messages.packet import LinkOpened, LinkSnapshot, RelayedClosed, RelayedFailed, RelayedOpened
from config.keys import PublicKey
from config.schema import RelayCredentials
from transport.relay.auth import expiry_of
from transport.relay.client import HEALTH_TICK_S, Open, RelayClient
from transport.relay.frames import PeerId
from transport.relay.race import Transport, Won

DIAL_LIMIT_S = 30.0  # the driver gives up before; this is for a driver that does not answer
QUIC_LOGIN_S = 2.0  # with WebSocket to fall back on
FIRST_MESSAGES_S = HEALTH_TICK_S + 5.0  # QUIC that falls silent so early has carried no relay message


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect, by whichever transport comes first in a Race; then call `connected` or `lost`."""

    link: int
    url: str
    server_ip: str | None
    transports: tuple[Transport, ...] = ("ws",)


@dataclass(frozen=True, slots=True)
class SendMessages:
    """Send each as one WebSocket message, or QUIC datagram."""

    link: int
    messages: list[bytes]


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a WebSocket or QUIC ping; then call `pong` when it is answered."""

    link: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Close the connection, or stop dialling; nothing more is to be told of this link."""

    link: int


Request = Dial | SendMessages | Ping | Abort


@dataclass(frozen=True, slots=True)
class Serving:
    """How many links there are, and how many of them are open."""

    links: int
    open: int


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
    transport: Transport
    quic_fault: str  # why QUIC was wanted and is not used


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

    def opened(self, link: int) -> RelayedOpened:
        """The peer is there: return what the worker hears."""
        self.open = True
        return RelayedOpened(peer=self.peer, generation=self.generation, link=link)

    def failed(self, reason: str, *, reached: bool = False) -> RelayedFailed:
        """Return what the worker hears when the opening came to nothing."""
        return RelayedFailed(peer=self.peer, generation=self.generation, reason=reason, reached=reached)

    def closed(self, cause: Literal["link_closed", "peer_gone"], reason: str) -> RelayedClosed:
        """Return what the worker hears when it ended without our asking."""
        return RelayedClosed(peer=self.peer, generation=self.generation, cause=cause, reason=reason)


@dataclass(slots=True)
class Link:
    """One link."""

    number: int
    url: str
    since_at: float
    server_ip: str | None = None
    client: RelayClient | None = None  # None: dialling
    transport: Transport = "ws"
    quic_fault: str = ""  # why QUIC is wanted and not used
    quic_failed: bool = False  # it was tried for this link, and that is what came of it
    spare: bool = False  # logging in over QUIC, and WebSocket may be tried if that fails
    writable: bool = True
    server_doubted: bool = False  # something said that the server is gone
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

    def connected(self, client: RelayClient, server_ip: str | None, won: Won, *, spare: bool, now: float) -> None:
        """A dial has made it."""
        self.client, self.server_ip, self.since_at = client, server_ip, now
        self.transport, self.spare, self.writable = won.transport, spare, True
        if won.quic_fault:
            self.quic_fault, self.quic_failed = won.quic_fault, not won.quic_late

    def fall_back(self, reason: str, now: float) -> None:
        """QUIC could not log in: the link is dialled again, by WebSocket."""
        self.client, self.since_at, self.spare = None, now, False
        self.quic_fault, self.quic_failed = reason, True

    def told(self, reason: str) -> str:
        """Return why the link never opened: of both transports, if both were tried."""
        return f"{reason}; over QUIC: {self.quic_fault}" if self.quic_failed else reason

    def login_due_at(self) -> float | None:
        """Return when QUIC has had its time to log in; None: there is no such limit."""
        return self.since_at + QUIC_LOGIN_S if self.spare and self.instance_url is None else None

    def quic_is_to_blame(self, now: float) -> bool:
        """Return whether silence on this link is more likely QUIC's fault than the server's."""
        return self.transport == "quic" and not self.server_doubted and now < self.since_at + FIRST_MESSAGES_S

    def due_at(self) -> float | None:
        """Return when the link has something to do by itself."""
        if self.client is None:
            return self.since_at + DIAL_LIMIT_S
        at, login_at = self.client.next_timeout(), self.login_due_at()
        return at if at is None or login_at is None else min(at, login_at)

    def opened(self) -> LinkOpened:
        """Return what the control side is told of a link that is open."""
        assert self.instance_url is not None
        return LinkOpened(
            link=self.number,
            instance_url=self.instance_url,
            server_ip=self.server_ip,
            transport=self.transport,
            quic_fault=self.quic_fault,
        )

    def snapshot(self) -> LinkSnapshot:
        """Return what a new control process is told."""
        return LinkSnapshot(
            link=self.number,
            url=self.url,
            instance_url=self.instance_url,
            server_ip=self.server_ip,
            transport=self.transport,
            quic_fault=self.quic_fault,
        )

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
            transport=self.transport,
            quic_fault=self.quic_fault,
        )


def token_hint(credentials: RelayCredentials | None, now_unix_s: float) -> str:
    """Say what is known of our side of a refused login: a token is a time, so it may be old, or our clock wrong."""
    clock = f"our clock says {datetime.fromtimestamp(now_unix_s, UTC):%Y-%m-%d %H:%M} UTC"
    issued = credentials.token if credentials is not None else None
    expiry = expiry_of(issued) if issued is not None else None
    if expiry is None or expiry >= now_unix_s:
        return clock
    return f"our token expired {int(now_unix_s - expiry)} s ago, renew [relay] token_file; {clock}"
