"""What the snapshot files say: one JSON document per process in the run directory, written anew every second.

`homing status` reads nothing else, so it answers also when every actor hangs.  Times are CLOCK_BOOTTIME
seconds unless the name says otherwise.
"""

from typing import Literal

import msgspec

from actors.messages.recoveries import Recovered, Rung
from config.keys import PublicKey
from wg.paths import PathKind


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True, tag="peer_status"):
    """One peer, as the control side sees it; the Conn tells STATUS on every change."""

    peer: PublicKey
    name: str
    state: Literal["connecting", "connected", "doubtful", "idle", "parked"]  # connected: proven recently, nothing less
    path: PathKind | None
    relay_url: str | None = None
    reason: str = ""  # why it is not up, or not direct
    tried: tuple[str, ...] = ()  # while it is not direct: a line for each pair that the last search tried, 12 at most
    ours: bool | None = None  # None: nothing heard from it yet
    answers: bool = False  # connecting, while the remote answers our offers: it is there
    since_at: float = 0.0  # of this state
    recoveries: int = 0  # times a lost path was proven again
    last_recovery_s: float | None = None  # from noticing to proof
    last_recovery_cause: str = ""
    recovered: tuple[Recovered, ...] = ()  # one for each cause that there was
    rungs: dict[Rung, int] = {}  # how often each was climbed
    disruptions: int = 0  # actions of ours that closed or replaced what had carried packets
    budget_left: int | None = None  # of them, until a path is proven
    quarantined_at: float | None = None  # the budget was spent then; None: it is not
    quarantined_until: float | None = None
    quarantined_for: str = ""
    resets: int = 0  # by hand


class SignalStatus(msgspec.Struct, frozen=True, kw_only=True, tag="signal_status"):
    """The link to the signal server."""

    url: str
    connected: bool
    reason: str = ""  # why not, and how often it was tried
    since_at: float = 0.0


class RelayLinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One relay server that we use or try to."""

    url: str
    role: Literal["home", "foreign"]
    state: Literal["connecting", "connected", "waiting"]
    reason: str = ""
    since_at: float = 0.0
    transport: Literal["ws", "quic"] | None = None  # None: not connected
    quic_fault: str = ""  # why QUIC is wanted and not used


class RelaysStatus(msgspec.Struct, frozen=True, kw_only=True, tag="relays_status"):
    """All relay links."""

    links: tuple[RelayLinkStatus, ...]


class ControlStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The control side's part."""

    peers: tuple[PeerStatus, ...] = ()
    signal: SignalStatus | None = None
    relays: RelaysStatus | None = None


class TunnelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One peer, as the packet process sees it."""

    peer: PublicKey
    path: str  # "direct 192.0.2.7:51820", "relayed rels://host:443", or "" for none
    heard_direct_at: float | None
    heard_relayed_at: float | None
    handshake_at: float | None
    rtt_s: float | None  # of the last echo or handshake
    rx_bytes: int
    tx_bytes: int
    drops: dict[str, int]  # reason -> packets
    rtt_at: float | None = None  # when it was measured


class IceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The search for a direct path to one peer."""

    peer: PublicKey
    state: Literal["checking", "connected", "doubtful", "ended"]
    since_at: float
    pair: str = ""  # the one that was proven: "10.0.0.1 -> srflx 192.0.2.7:51820"
    reason: str = ""  # why it is doubtful, or ended
    tried: tuple[str, ...] = ()  # a line for each pair while there is none, 12 at most


class PacketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The packet process's part."""

    tunnels: tuple[TunnelStatus, ...] = ()
    drops: dict[str, int] = {}  # of packets that belong to no peer
    ice: tuple[IceStatus, ...] = ()  # one for each peer that speaks ICE
    stun: tuple[str, ...] = ()  # what each STUN server says of each of our addresses, a line each
    addresses: tuple[str, ...] = ()  # of this machine, a line each: whether peers are told of it, or why not


class RuntimeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the process's actor runtime fares."""

    actors: int = 0
    delivered: int = 0
    mailbox_depth: int = 0  # deepest now
    dead_letters: dict[str, int] = {}  # reason -> count
    overflow: dict[str, int] = {}  # message type and rule -> count
    restarts: int = 0
    gaps: int = 0
    counters: dict[str, int] = {}  # "offer_listener.repeated" -> what all actors of that role have counted


class ChildStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process that the supervisor watches."""

    process: str
    incarnation: int
    state: Literal["starting", "up", "hung", "waiting", "ended"]
    since_at: float  # of this state
    restarts: int = 0
    reason: str = ""  # of the last restart
    unhealthy: bool = False  # restarted more often than can pass for an accident


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor's part."""

    children: tuple[ChildStatus, ...] = ()
    draining: bool = False
    udp_port: int = 0  # that carries WireGuard and STUN now
    rebinds: int = 0  # times that the UDP sockets were bound anew, because nobody was proven
    interface_repairs: int = 0  # times that somebody set our interface down, or took its addresses or routes


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document."""

    process: str
    incarnation: int
    pid: int
    written_at: float
    started_at: float
    runtime: RuntimeStatus
    control: ControlStatus | None = None
    packet: PacketStatus | None = None
    agent: AgentStatus | None = None
