"""Mail between the control side and the packet process."""

from typing import Literal

import msgspec

from actors.messages.recoveries import Kept
from config.keys import PublicKey, Secret
from transport.signal.messages import IceCredentials, SessionId
from wg.datagrams import Endpoint
from wg.paths import DirectPath, Path, PathKind

# --- to the tunnels ---


class ConfigurePeer(msgspec.Struct, frozen=True, kw_only=True, tag="configure_peer"):
    """Make or change a WireGuard peer.  Same settings as before: nothing happens; its session and path stay."""

    peer: PublicKey
    allowed_ips: tuple[str, ...]  # prefixes
    persistent_keepalive_s: int  # 0: off
    preshared_key: Secret | None = None


class RemovePeer(msgspec.Struct, frozen=True, kw_only=True, tag="remove_peer"):
    """Forget a WireGuard peer, its keys and its paths."""

    peer: PublicKey


class SetPath(msgspec.Struct, frozen=True, kw_only=True, tag="set_path"):
    """Send this peer's packets this way from now on.  The newest SetPath of a peer counts."""

    peer: PublicKey
    path: Path | None  # None: there is none; packets wait, bounded
    standby: Path | None = None  # also sent on while the path is doubtful (recovery R9)
    handshake_after_s: float | None = (
        None  # start a handshake after this if no keypair is valid by then; None: only when there is traffic
    )


class ProbePath(msgspec.Struct, frozen=True, kw_only=True, tag="probe_path"):
    """Send an in-session echo on this path; EchoAnswered tells that it came back.  Without a keypair: a handshake."""

    peer: PublicKey
    path: PathKind
    token: int  # 63 bits


class InitiateHandshake(msgspec.Struct, frozen=True, kw_only=True, tag="initiate_handshake"):
    """Send a handshake initiation on the current path, at most one per REKEY_TIMEOUT (probes a foreign peer)."""

    peer: PublicKey


class RenewHandshake(msgspec.Struct, frozen=True, kw_only=True, tag="renew_handshake"):
    """Forget this peer's sessions, cookies and timestamps, and begin as if it had never been met (recovery R11)."""

    peer: PublicKey


class KeepRecovery(msgspec.Struct, frozen=True, kw_only=True, tag="keep_recovery"):
    """Conn to TUNNELS: keep this for the peer's actors after us; TunnelsSnapshot tells it to them (recovery R10)."""

    peer: PublicKey
    kept: Kept


class TunnelsSnapshotWanted(msgspec.Struct, frozen=True, kw_only=True, tag="tunnels_snapshot_wanted"):
    """A control process (re)started: tell PEERS what the tunnels hold now."""


TunnelsInbox = (
    ConfigurePeer
    | RemovePeer
    | SetPath
    | ProbePath
    | InitiateHandshake
    | RenewHandshake
    | KeepRecovery
    | TunnelsSnapshotWanted
)


class TunnelSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the packet process knows of one peer."""

    peer: PublicKey
    path: Path | None
    heard_direct_at: float | None = None  # last authenticated packet credited to the path; None: never
    heard_relayed_at: float | None = None
    handshake_at: float | None = None  # last completed; None: never
    standby: Path | None = None  # what its packets are sent on besides
    kept: Kept | None = None  # of its recovery


class TunnelsSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag="tunnels_snapshot"):
    """Answer to TunnelsSnapshotWanted."""

    tunnels: tuple[TunnelSnapshot, ...]


# --- to the relay links ---


class OpenLink(msgspec.Struct, frozen=True, kw_only=True, tag="open_link"):
    """Dial a relay server and authenticate.  Ends with LinkOpened or LinkClosed."""

    link: int  # this incarnation's number, never reused
    url: str  # rel://host[:port] or rels://...
    server_ip: str | None = None  # dialled first, with the URL's host as TLS name (relay spec 2.5)


class CloseLink(msgspec.Struct, frozen=True, kw_only=True, tag="close_link"):
    """Say Close and close.  Ends with LinkClosed; an unknown link is already closed."""

    link: int


class OpenOnLink(msgspec.Struct, frozen=True, kw_only=True, tag="open_on_link"):
    """Subscribe to the peer on this link.  The relay worker hears RelayedOpened once it is there, or RelayedFailed."""

    peer: PublicKey
    generation: int  # this incarnation of the relayed connection
    link: int
    wait_s: float = 30.0  # how long for the peer to appear


class CloseOnLink(msgspec.Struct, frozen=True, kw_only=True, tag="close_on_link"):
    """Close this incarnation, also while it opens.  Always acknowledged to the relay worker by RelayedCloseDone."""

    peer: PublicKey
    generation: int
    link: int


class RelayLinksSnapshotWanted(msgspec.Struct, frozen=True, kw_only=True, tag="relay_links_snapshot_wanted"):
    """A control process (re)started: tell RELAYS which links and relayed connections there are."""


class ProveLinksNow(msgspec.Struct, frozen=True, kw_only=True, tag="prove_links_now"):
    """The network changed, or we resumed: ping every relay server, and soon give up one that is silent (R12)."""

    reason: str


RelayLinksInbox = OpenLink | CloseLink | OpenOnLink | CloseOnLink | RelayLinksSnapshotWanted | ProveLinksNow


# --- from the relay links ---


class LinkOpened(msgspec.Struct, frozen=True, kw_only=True, tag="link_opened"):
    """The relay server accepted us."""

    link: int
    instance_url: str  # how the server names itself; offers carry it
    server_ip: str | None  # of the live connection
    transport: Literal["ws", "quic"] = "ws"
    quic_fault: str = ""  # why QUIC is wanted and not used


class LinkClosed(msgspec.Struct, frozen=True, kw_only=True, tag="link_closed"):
    """The link ended, or could not be opened.  Comes before the RelayedClosed of the connections on it."""

    link: int
    reason: str
    was_open: bool
    half_open: bool = False  # nothing came any more, and nobody had closed it


class RelayedOpened(msgspec.Struct, frozen=True, kw_only=True, tag="relayed_opened"):
    """The remote is online on that server: packets may flow."""

    peer: PublicKey
    generation: int
    link: int


class RelayedFailed(msgspec.Struct, frozen=True, kw_only=True, tag="relayed_failed"):
    """The opening came to nothing."""

    peer: PublicKey
    generation: int
    reason: str
    reached: bool = False  # the server, where the remote did not come


class RelayedClosed(msgspec.Struct, frozen=True, kw_only=True, tag="relayed_closed"):
    """An open connection ended without our asking: the link broke, or the remote left the server (checked)."""

    peer: PublicKey
    generation: int
    cause: Literal["link_closed", "peer_gone"]
    reason: str


class RelayedCloseDone(msgspec.Struct, frozen=True, kw_only=True, tag="relayed_close_done"):
    """Acknowledges a close; also when there was nothing to close."""

    peer: PublicKey
    generation: int


class LinkSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One link to a relay server."""

    link: int
    url: str  # as dialled
    instance_url: str | None  # None: not open yet
    server_ip: str | None = None
    transport: Literal["ws", "quic"] = "ws"
    quic_fault: str = ""  # why QUIC is wanted and not used


class RelayedSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One relayed connection."""

    peer: PublicKey
    generation: int
    link: int
    open: bool


class RelayLinksSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag="relay_links_snapshot"):
    """Answer to RelayLinksSnapshotWanted."""

    links: tuple[LinkSnapshot, ...]
    connections: tuple[RelayedSnapshot, ...]


# --- to the ICE agents ---


class OpenIceAgent(msgspec.Struct, frozen=True, kw_only=True, tag="open_ice_agent"):
    """Gather, check and nominate.

    The same again changes nothing; with another session, ours or the remote's, the peer's former agent is let go
    without a word.
    """

    peer: PublicKey
    session: SessionId  # ours
    remote_session: SessionId | None  # None: an old peer that has none
    local: IceCredentials
    remote: IceCredentials
    controlling: bool
    ours: bool  # the remote is one of ours: quicker, and another pair may take over


class AddRemoteCandidate(msgspec.Struct, frozen=True, kw_only=True, tag="add_remote_candidate"):
    """The remote may be reached here.  For the agent of this session of ours; for another it is dropped and counted."""

    peer: PublicKey
    session: SessionId
    candidate: str  # signal spec 5.5, not parsed


class CloseIceAgent(msgspec.Struct, frozen=True, kw_only=True, tag="close_ice_agent"):
    """Let go of the agent of this session of ours.  Acknowledged by IceAgentClosed, also when there is none."""

    peer: PublicKey
    session: SessionId


class SetIceInUse(msgspec.Struct, frozen=True, kw_only=True, tag="set_ice_in_use"):
    """Whether the direct path to this peer carries packets: its pair is checked more often then.

    It holds for the agent that is there; a new one is not in use.
    """

    peer: PublicKey
    in_use: bool


class ProveIceNow(msgspec.Struct, frozen=True, kw_only=True, tag="prove_ice_now"):
    """The network changed, or we resumed: read our addresses again, check every selected pair (recovery R12)."""

    reason: str


class IceAgentsSnapshotWanted(msgspec.Struct, frozen=True, kw_only=True, tag="ice_agents_snapshot_wanted"):
    """A control process (re)started: tell PEERS which agents there are."""


IceAgentsInbox = OpenIceAgent | AddRemoteCandidate | CloseIceAgent | SetIceInUse | ProveIceNow | IceAgentsSnapshotWanted


# --- from the ICE agents, to the peer's ICE worker ---


class LocalCandidateFound(msgspec.Struct, frozen=True, kw_only=True, tag="local_candidate_found"):
    """The remote should be told of this candidate of ours (trickle, RFC 8838)."""

    peer: PublicKey
    session: SessionId
    candidate: str  # as it is signalled


class IcePairProven(msgspec.Struct, frozen=True, kw_only=True, tag="ice_pair_proven"):
    """This is the direct path: the first of this agent, another than before, or the same, which answers again."""

    peer: PublicKey
    session: SessionId
    remote_session: SessionId | None
    path: DirectPath
    local: str  # our address
    remote_kind: Literal["host", "srflx", "prflx", "relay"]  # of the remote's candidate
    rtt_s: float | None
    reason: str = ""


class IcePairDoubtful(msgspec.Struct, frozen=True, kw_only=True, tag="ice_pair_doubtful"):
    """Answers on the selected pair are missing.  IcePairProven or IceAgentEnded follows."""

    peer: PublicKey
    session: SessionId
    reason: str


class IceAgentEnded(msgspec.Struct, frozen=True, kw_only=True, tag="ice_agent_ended"):
    """There will be no pair any more in this session.  The remote's checks are answered until the agent is closed."""

    peer: PublicKey
    session: SessionId
    reason: str
    tried: tuple[str, ...]  # a line for each pair, 12 at most: "10.0.0.1 -> srflx 192.0.2.7:51820: 7 checks, no answer"


class IceAgentClosed(msgspec.Struct, frozen=True, kw_only=True, tag="ice_agent_closed"):
    """Acknowledges CloseIceAgent."""

    peer: PublicKey
    session: SessionId


class IceAgentSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One agent, as a control process that starts anew must know it to go on with it."""

    peer: PublicKey
    session: SessionId
    remote_session: SessionId | None
    local: IceCredentials
    controlling: bool
    ours: bool
    state: Literal["checking", "connected", "ended"]
    reason: str = ""  # why it ended
    selected: Endpoint | None = None  # the remote's end of the pair; None: there is none
    local_ip: str = ""  # our end of it
    remote_kind: Literal["host", "srflx", "prflx", "relay"] = "host"
    rtt_s: float | None = None
    doubtful: bool = False  # IcePairDoubtful was told, and nothing since


class IceAgentsSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag="ice_agents_snapshot"):
    """Answer to IceAgentsSnapshotWanted."""

    agents: tuple[IceAgentSnapshot, ...]
