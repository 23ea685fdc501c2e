"""Mail among the six actors of one peer."""

from typing import Literal

import msgspec

from actors.messages import node, packet, process
from config.keys import PublicKey
from transport.signal import messages as signal
from wg import reports
from wg.paths import DirectPath, PathKind

# --- offers and their turns ---


class SendOffer(msgspec.Struct, frozen=True, kw_only=True, tag="send_offer"):
    """The peer is owed an offer."""

    peer: PublicKey
    reason: str


class RelayTurn(msgspec.Struct, frozen=True, kw_only=True, tag="relay_turn"):
    """One offer or answer for the relay worker; its turn ends with RelayTurnDone (recovery R1)."""

    peer: PublicKey
    turn: int
    relay_url: str | None  # the remote's home instance URL
    relay_ip: str | None
    remote_generation: int = 0  # the remote's relayed connection to us; 0: none, or foreign
    ours: bool = False
    relay_urls: tuple[str, ...] = ()  # servers that a remote of ours reaches now
    relay_unreached: str | None = None  # where it would meet us, and cannot be


class RelayTurnDone(msgspec.Struct, frozen=True, kw_only=True, tag="relay_turn_done"):
    """The relay worker is ready for the next."""

    peer: PublicKey
    turn: int
    outcome: Literal["opened", "reused", "failed", "unavailable"]
    reason: str = ""


class IceTurn(msgspec.Struct, frozen=True, kw_only=True, tag="ice_turn"):
    """One offer or answer for the ICE worker."""

    peer: PublicKey
    turn: int
    ice: signal.IceCredentials | None
    session: signal.SessionId | None
    ours: bool = False


class IceTurnDone(msgspec.Struct, frozen=True, kw_only=True, tag="ice_turn_done"):
    """The ICE worker has taken it (it never takes long)."""

    peer: PublicKey
    turn: int
    outcome: Literal["taken", "kept", "no_ice"]


class RemoteKnown(msgspec.Struct, frozen=True, kw_only=True, tag="remote_known"):
    """What the remote's newest offer or answer says about its kind; told when that changes, and after RemoteIdle."""

    peer: PublicKey
    ours: bool
    ice: bool


class RemoteIdle(msgspec.Struct, frozen=True, kw_only=True, tag="remote_idle"):
    """A foreign remote said GO_IDLE; its next offer or answer is told by RemoteKnown."""

    peer: PublicKey


class PathHindered(msgspec.Struct, frozen=True, kw_only=True, tag="path_hindered"):
    """Why there is no path yet, in words for the operator; empty: this is in nobody's way any more."""

    peer: PublicKey
    by: Literal["offers", "server", "relay"]  # nobody answers; the relay server; the connection over it
    reason: str


# --- what we are, for our next offer ---


class LocalIceChanged(msgspec.Struct, frozen=True, kw_only=True, tag="local_ice_changed"):
    """Our ICE session for this peer; None: no ICE."""

    peer: PublicKey
    ice: signal.IceCredentials | None
    session: signal.SessionId | None


class LocalRelayChanged(msgspec.Struct, frozen=True, kw_only=True, tag="local_relay_changed"):
    """The generation of our relayed connection to this peer, as offers name it (relay_worker.py); 0: not known."""

    peer: PublicKey
    generation: int
    url: str | None = None  # where we meet, if not at our home
    unreached: str | None = None  # where we would meet, and cannot be


HomeRelayChanged = node.HomeRelayChanged
SearchGranted = node.SearchGranted


# --- paths ---


class RelayReady(msgspec.Struct, frozen=True, kw_only=True, tag="relay_ready"):
    """A relayed connection is open and may carry packets."""

    peer: PublicKey
    generation: int
    link: int
    url: str


class RelayLost(msgspec.Struct, frozen=True, kw_only=True, tag="relay_lost"):
    """That relayed connection is gone, for this reason."""

    peer: PublicKey
    generation: int
    reason: str


class IceReady(msgspec.Struct, frozen=True, kw_only=True, tag="ice_ready"):
    """ICE proposes this direct path, or says that it is not doubtful any more; WireGuard has to prove it."""

    peer: PublicKey
    generation: int  # a new one for each pair of each agent
    path: DirectPath
    words: str  # "10.0.0.1 -> srflx 192.0.2.7:51820"


class IceDoubtful(msgspec.Struct, frozen=True, kw_only=True, tag="ice_doubtful"):
    """ICE checks on that direct path go unanswered, or the remote has begun another session."""

    peer: PublicKey
    generation: int
    reason: str


class IceLost(msgspec.Struct, frozen=True, kw_only=True, tag="ice_lost"):
    """An ICE session of ours has come to its end, and another has taken its place (recovery R6)."""

    peer: PublicKey
    generation: int  # of the direct path that is gone with it; 0: it never had one
    reason: str
    tried: tuple[str, ...] = ()  # a line for each pair


class WatchPath(msgspec.Struct, frozen=True, kw_only=True, tag="watch_path"):
    """Watch these paths from now on, instead of those watched before: the one in use, and one that stands by."""

    peer: PublicKey
    path: PathKind | None  # None: there is none to watch
    generation: int = 0  # of the relayed connection, or the direct path
    standby: PathKind | None = None
    standby_generation: int = 0


class TrafficHeard(msgspec.Struct, frozen=True, kw_only=True, tag="traffic_heard"):
    """More than keepalives comes over the relay; told now and then."""

    peer: PublicKey


class ProveNow(msgspec.Struct, frozen=True, kw_only=True, tag="prove_now"):
    """A hint that the remote lost its side: probe the path unless something was heard within 2 s (recovery R4, R12)."""

    peer: PublicKey
    reason: str


class RelayEvidence(msgspec.Struct, frozen=True, kw_only=True, tag="relay_evidence"):
    """Evidence that the relayed path is stale (recovery R3).  generation 0: about whatever entry there is."""

    peer: PublicKey
    generation: int
    reason: str


class Distress(msgspec.Struct, frozen=True, kw_only=True, tag="distress"):
    """Our own trouble on a path: the ICE session rotates so that the remote sees it (recovery R6)."""

    peer: PublicKey
    path: PathKind
    reason: str
    generation: int = 0  # of the direct path; 0: whichever it is


class PathProven(msgspec.Struct, frozen=True, kw_only=True, tag="path_proven"):
    """An authenticated packet came over the watched path, after it was new or doubtful."""

    peer: PublicKey
    path: PathKind
    generation: int
    heard_at: float


class PathDoubtful(msgspec.Struct, frozen=True, kw_only=True, tag="path_doubtful"):
    """The first probe of the watched path went unanswered."""

    peer: PublicKey
    path: PathKind
    generation: int
    reason: str


class PathDead(msgspec.Struct, frozen=True, kw_only=True, tag="path_dead"):
    """The watched path is stale: the evidence is told to its worker as well."""

    peer: PublicKey
    path: PathKind
    generation: int
    reason: str


class PathReady(msgspec.Struct, frozen=True, kw_only=True, tag="path_ready"):
    """Conn to guard: the peer has a proven path; told again when that is another, or its standby comes or goes."""

    peer: PublicKey
    path: PathKind
    standby: bool = False  # of a direct path: a relayed connection is open too


class PathLost(msgspec.Struct, frozen=True, kw_only=True, tag="path_lost"):
    """Conn to guard: no path is left."""

    peer: PublicKey
    reason: str


class PeerQuarantined(msgspec.Struct, frozen=True, kw_only=True, tag="peer_quarantined"):
    """Conn to guard: the budget of disruptive actions is spent, so offers go out slowly (recovery R10)."""

    peer: PublicKey
    until: float  # unless a path is proven before
    reason: str


class MeetElsewhere(msgspec.Struct, frozen=True, kw_only=True, tag="meet_elsewhere"):
    """Conn to relay worker: nothing came over this relay server, so try another that both reach (recovery R11)."""

    peer: PublicKey


ResetPeer = process.ResetPeer


# --- timers ---


class OfferDue(msgspec.Struct, frozen=True, kw_only=True, tag="offer_due"):
    """Guard: time for the next offer."""


class WatchDue(msgspec.Struct, frozen=True, kw_only=True, tag="watch_due"):
    """WG watcher: time to look at the path again."""


class HoldDue(msgspec.Struct, frozen=True, kw_only=True, tag="hold_due"):
    """Offer listener: the home relay has kept the offer waiting for long enough."""


class OpenDue(msgspec.Struct, frozen=True, kw_only=True, tag="open_due"):
    """Relay worker: an opening or closing has taken too long."""


class ReopenDue(msgspec.Struct, frozen=True, kw_only=True, tag="reopen_due"):
    """Relay worker: time to try an opening that failed again."""


class StableDue(msgspec.Struct, frozen=True, kw_only=True, tag="stable_due"):
    """Guard: the path has been proven for long enough to forget the backoff (recovery R10)."""


class UpgradeDue(msgspec.Struct, frozen=True, kw_only=True, tag="upgrade_due"):
    """Guard: time for an offer to a peer that has a path and could have a better one."""


class IceDue(msgspec.Struct, frozen=True, kw_only=True, tag="ice_due"):
    """ICE worker: the agent has not said for too long what became of it."""


class CandidatesDue(msgspec.Struct, frozen=True, kw_only=True, tag="candidates_due"):
    """ICE worker: time to tell a foreign remote our candidates once more (signal spec 5.7)."""


class DirectDue(msgspec.Struct, frozen=True, kw_only=True, tag="direct_due"):
    """Conn: a foreign controller has had its time to come over the direct path (signal spec 5.11)."""


ConnInbox = (
    RelayReady
    | RelayLost
    | IceReady
    | IceDoubtful
    | IceLost
    | PathProven
    | PathDoubtful
    | PathDead
    | PathHindered
    | RemoteKnown
    | RemoteIdle
    | process.ProcessRestarted
    | ResetPeer
    | DirectDue
)
GuardInbox = (
    PathReady
    | PathLost
    | PeerQuarantined
    | ResetPeer
    | SearchGranted
    | IceLost
    | RemoteKnown
    | RemoteIdle
    | node.OutsideEvent
    | reports.LocalTraffic
    | TrafficHeard
    | OfferDue
    | UpgradeDue
    | StableDue
)


class PathsHeard(msgspec.Struct, frozen=True, kw_only=True, tag="paths_heard"):
    """WG watcher to offer listener, when its verdict on a path is another: what came last, for offers to say (R14)."""

    peer: PublicKey
    direct_at: float | None = None  # an authenticated packet; None: never
    relayed_at: float | None = None


OfferListenerInbox = (
    signal.OfferReceived
    | signal.AnswerReceived
    | signal.CandidateReceived
    | signal.GoIdleReceived
    | SendOffer
    | RelayTurnDone
    | IceTurnDone
    | LocalIceChanged
    | LocalRelayChanged
    | HomeRelayChanged
    | PathsHeard
    | node.OutsideEvent
    | HoldDue
)
RelayWorkerInbox = (
    RelayTurn
    | RelayEvidence
    | MeetElsewhere
    | RemoteIdle
    | HomeRelayChanged
    | packet.RelayedOpened
    | packet.RelayedFailed
    | packet.RelayedClosed
    | packet.RelayedCloseDone
    | process.ProcessRestarted
    | OpenDue
    | ReopenDue
)
IceWorkerInbox = (
    IceTurn
    | Distress
    | signal.CandidateReceived
    | packet.LocalCandidateFound
    | packet.IcePairProven
    | packet.IcePairDoubtful
    | packet.IceAgentEnded
    | packet.IceAgentClosed
    | RemoteIdle
    | process.ProcessRestarted
    | CandidatesDue
    | IceDue
)
WgWatcherInbox = (
    WatchPath
    | ProveNow
    | RemoteKnown
    | node.OutsideEvent
    | reports.HandshakeCompleted
    | reports.PathHeard
    | reports.PathSilent
    | reports.EchoAnswered
    | reports.RekeyUnanswered
    | reports.GivenUp
    | process.ProcessRestarted
    | WatchDue
)
