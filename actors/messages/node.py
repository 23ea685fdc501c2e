"""Mail of the node's own actors: which peers run, the signal link, the relay links, status."""

from typing import Literal

import msgspec

from actors.messages import packet, process, status
from config.keys import PublicKey
from transport.signal import messages as signal


class OutsideEvent(msgspec.Struct, frozen=True, kw_only=True, tag="outside_event"):
    """Something changed outside that all peers should prove their paths after (recovery R12)."""

    kind: Literal["signal_connected", "relay_connected", "network_changed", "resumed", "configuration_changed"]
    detail: str = ""
    spread_s: float = 0.0  # over how long the peers' offers spread; PEERS fills it in


# --- signal ---


# The driver's own events (transport/signal/client.py) are mail as they are.
SignalConnected = signal.SignalConnected
SignalDisconnected = signal.SignalDisconnected
SignalPostFailed = signal.SignalPostFailed


class KnownPeers(msgspec.Struct, frozen=True, kw_only=True, tag="known_peers"):
    """Whose mail counts; anybody else's is dropped and counted."""

    peers: frozenset[PublicKey]


class SearchWanted(msgspec.Struct, frozen=True, kw_only=True, tag="search_wanted"):
    """A guard would look for a direct path to a peer that is relayed; said once more, the newest counts."""

    peer: PublicKey
    eager: bool  # there is traffic, or something changed outside


class SearchGranted(msgspec.Struct, frozen=True, kw_only=True, tag="search_granted"):
    """It is this peer's turn (the node's budget of ICE retries, recovery R10)."""

    peer: PublicKey


class SearchesDue(msgspec.Struct, frozen=True, kw_only=True, tag="searches_due"):
    """SIGNAL: time for the next peer that waits for its turn."""


SignalInbox = (
    signal.OfferReceived
    | signal.AnswerReceived
    | signal.CandidateReceived
    | signal.GoIdleReceived
    | signal.PostDescription
    | signal.PostCandidate
    | SignalConnected
    | SignalDisconnected
    | SignalPostFailed
    | KnownPeers
    | SearchWanted
    | SearchesDue
)


class SignalLinkWanted(msgspec.Struct, frozen=True, kw_only=True, tag="signal_link_wanted"):
    """SIGNAL (re)started: tell it again whether the link is up."""


class SignalLinkDoubted(msgspec.Struct, frozen=True, kw_only=True, tag="signal_link_doubted"):
    """The network changed, or we resumed: see whether the link is still there (recovery R12)."""

    reason: str


SignalLinkInbox = signal.PostDescription | signal.PostCandidate | KnownPeers | SignalLinkWanted | SignalLinkDoubted

# --- relays ---


class HomeRelayChanged(msgspec.Struct, frozen=True, kw_only=True, tag="home_relay_changed"):
    """Our home relay server as offers name it; None: not connected.

    RELAYS tells PEERS, which tells the peers' offer listeners and relay workers: so whoever is started meanwhile
    neither misses it nor hears of it in the wrong order.
    """

    url: str | None
    server_ip: str | None
    spread_s: float = 0.0  # within which offers for this reason go out, one peer's now, another's then


class OpenRelayed(msgspec.Struct, frozen=True, kw_only=True, tag="open_relayed"):
    """Open this incarnation of the relayed connection to a peer, on the server with this instance URL.

    RELAYS dials the server if it must; the relay worker hears RelayedOpened or RelayedFailed."""

    peer: PublicKey
    generation: int
    url: str
    server_ip: str | None = None


class CloseRelayed(msgspec.Struct, frozen=True, kw_only=True, tag="close_relayed"):
    """Close that incarnation where it was opened.

    The relay worker hears RelayedCloseDone, whatever there was to close.
    """

    peer: PublicKey
    generation: int  # 0: whatever entry there is for this peer (recovery R3)


class LinkRetryDue(msgspec.Struct, frozen=True, kw_only=True, tag="link_retry_due"):
    """RELAYS: time to look which servers to dial, which openings have waited too long, what has idled out."""


class ChangeHome(msgspec.Struct, frozen=True, kw_only=True, tag="change_home"):
    """STATUS to RELAYS: nobody is proven, and nothing comes over our home: try another server (recovery R11)."""


class KeyUsedElsewhere(msgspec.Struct, frozen=True, kw_only=True, tag="key_used_elsewhere"):
    """SIGNAL to RELAYS: another agent has our key, and the two displace each other wherever they log in (S21)."""


RelaysInbox = (
    OpenRelayed
    | CloseRelayed
    | ChangeHome
    | KeyUsedElsewhere
    | LinkRetryDue
    | KnownPeers
    | packet.LinkOpened
    | packet.LinkClosed
    | packet.RelayLinksSnapshot
    | process.ProcessRestarted
)

# --- peers ---


class PeerStarted(msgspec.Struct, frozen=True, kw_only=True, tag="peer_started"):
    """The peer's six actors run: PEERS makes up for what changed since it sent StartPeer."""

    peer: PublicKey


class StartPeersDue(msgspec.Struct, frozen=True, kw_only=True, tag="start_peers_due"):
    """Time to start peers that wait: after a failure, or because the packet process did not tell what it holds."""


class TellEventsDue(msgspec.Struct, frozen=True, kw_only=True, tag="tell_events_due"):
    """Time to tell outside events that were held, or to tell more peers of one."""


PeersInbox = (
    process.PeersConfigured
    | process.PeerFailed
    | PeerStarted
    | HomeRelayChanged
    | process.ProcessRestarted
    | packet.TunnelsSnapshot
    | packet.RelayLinksSnapshot
    | packet.IceAgentsSnapshot
    | OutsideEvent
    | StartPeersDue
    | TellEventsDue
)

# --- status ---


class SnapshotDue(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot_due"):
    """Time to write the status document."""


class PeerForgotten(msgspec.Struct, frozen=True, kw_only=True, tag="peer_forgotten"):
    """The peer is not configured any more."""

    peer: PublicKey


StatusInbox = status.PeerStatus | status.SignalStatus | status.RelaysStatus | PeerForgotten | SnapshotDue
