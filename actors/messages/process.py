"""Mail of the processes themselves: lifecycle, progress, drain.  Never merged, never dropped."""

import msgspec

from config.keys import PublicKey, Secret
from wg.paths import PathKind


class PeerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One configured peer, keys read."""

    peer: PublicKey
    name: str
    allowed_ips: tuple[str, ...]
    persistent_keepalive_s: int = 25  # 0: off
    preshared_key: Secret | None = None


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What the packet process still holds of a peer whose actors start anew; they begin from this, not from nothing."""

    path: PathKind | None  # in use now
    relay_generation: int | None = None  # the open relayed connection, and where
    relay_link: int | None = None
    relay_url: str | None = None
    heard_direct_at: float | None = None
    heard_relayed_at: float | None = None


class StartPeer(msgspec.Struct, frozen=True, kw_only=True, tag="start_peer"):
    """Make this peer's six actors here, or start them anew if they exist."""

    settings: PeerSettings
    resumed: Resumed | None = None
    home_relay_url: str | None = None  # what RELAYS would have told them
    home_relay_ip: str | None = None


class StopPeer(msgspec.Struct, frozen=True, kw_only=True, tag="stop_peer"):
    """Stop and forget this peer's six actors."""

    peer: PublicKey


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """The progress watchdog asks: does mail still pass through the mailboxes of this process?"""

    token: int


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """Answer to a Ping."""

    process: str
    incarnation: int
    token: int


class ProcessReady(msgspec.Struct, frozen=True, kw_only=True, tag="process_ready"):
    """A process has its actors running."""

    process: str
    incarnation: int


class ProcessRestarted(msgspec.Struct, frozen=True, kw_only=True, tag="process_restarted"):
    """Another process has a new incarnation: what it held is gone."""

    process: str
    incarnation: int


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain"):
    """Take nothing new in, work off what there is, say Drained."""

    reason: str


class Drained(msgspec.Struct, frozen=True, kw_only=True, tag="drained"):
    """Nothing is left to do here; waiting for the end."""

    process: str


class PeerFailed(msgspec.Struct, frozen=True, kw_only=True, tag="peer_failed"):
    """An actor of this peer raised; its six are suspended until StartPeer."""

    peer: PublicKey
    actor: str
    error: str  # type and message, no values


class SaveSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag="save_snapshot"):
    """Write this document as the process's snapshot file (write, rename; /run is memory)."""

    document: bytes  # JSON


class PeersConfigured(msgspec.Struct, frozen=True, kw_only=True, tag="peers_configured"):
    """The configuration's peers, all of them: at start, and again after a reload."""

    peers: tuple[PeerSettings, ...]


ProcessInbox = StartPeer | StopPeer | Ping | Drain | SaveSnapshot | ProcessRestarted
AgentInbox = Pong | ProcessReady | Drained
