"""What an end of a relay link reports to its owner."""

from dataclasses import dataclass, field

from transport.relay.frames import PeerId

# --- of a client ---


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server accepted us."""

    instance_url: str  # how the server names itself


@dataclass(frozen=True, slots=True)
class PeerOnline:
    """A peer that was opened is on the server: packets may flow."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerAbsent:
    """A peer that was opened did not appear in time."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PeerGone:
    """A peer that was online left the server, and a fresh subscription did not find it (recovery R3)."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PacketsReceived:
    """Payloads from a peer, in order; whoever it is, opened or not."""

    peer: PeerId
    payloads: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PingWanted:
    """The driver should send a WebSocket ping, and call `receive_pong` when its answer comes."""


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The link is over.  What lies in `data_to_send` may still be sent; then the driver aborts the connection."""

    reason: str
    was_open: bool
    refused: bool = False  # the server ended it instead of answering our login
    half_open: bool = False  # nothing came any more, and nobody had closed it


ClientEvent = LoggedIn | PeerOnline | PeerAbsent | PeerGone | PacketsReceived | PingWanted | LinkClosed

# --- of a server ---


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A connection logged in."""

    connection: int
    peer: PeerId
    replaced: bool  # it took the place of an older connection of the same peer


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The server is done with this connection: the driver aborts it, after what is left to send if `flush`."""

    connection: int
    peer: PeerId | None  # None: it had not logged in
    reason: str
    expected: bool  # nothing that an operator must hear of
    flush: bool = False


ServerEvent = PeerJoined | ConnectionClosed
