"""Mail of the processes themselves: lifecycle, progress, drain.  Never merged, never dropped."""

from typing import Literal

import msgspec

from actors.messages.packet import IceAgentSnapshot
from actors.messages.recoveries import Kept
from config.keys import PublicKey, Secret
from wg.paths import DirectPath, PathKind


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
    direct: DirectPath | None = None  # where packets go, or are sent too
    standby: PathKind | None = None  # what they are sent on besides `path`
    ice: IceAgentSnapshot | None = None  # the live agent
    kept: Kept | None = None  # of its recovery


class StartPeer(msgspec.Struct, frozen=True, kw_only=True, tag="start_peer"):
    """Make this peer's six actors here, or start them anew if they exist."""

    settings: PeerSettings
    resumed: Resumed | None = None
    home_relay_url: str | None = None  # what RELAYS would have told them
    home_relay_ip: str | None = None


class StopPeer(msgspec.Struct, frozen=True, kw_only=True, tag="stop_peer"):
    """Stop and forget this peer's six actors."""

    peer: PublicKey


class ResetPeer(msgspec.Struct, frozen=True, kw_only=True, tag="reset_peer"):
    """The operator wants this peer recovered, whatever it seems to be; its Conn tells the others."""

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


# --- inside the supervisor: AGENT decides, HOST has the operating system do it ---


class StartProcess(msgspec.Struct, frozen=True, kw_only=True, tag="start_process"):
    """Start a fresh interpreter for this process.  It ends with ProcessExited, also when it cannot be started."""

    process: str
    incarnation: int
    others: dict[str, int]  # incarnations of the other children


class EndProcess(msgspec.Struct, frozen=True, kw_only=True, tag="end_process"):
    """Tell the process to close its sockets and exit (SIGTERM)."""

    process: str
    incarnation: int


class DumpProcess(msgspec.Struct, frozen=True, kw_only=True, tag="dump_process"):
    """Have the process write the stacks of its threads to its log; a stopped one cannot."""

    process: str
    incarnation: int


class KillProcess(msgspec.Struct, frozen=True, kw_only=True, tag="kill_process"):
    """End the process without asking it (SIGKILL)."""

    process: str
    incarnation: int


class InspectProcess(msgspec.Struct, frozen=True, kw_only=True, tag="inspect_process"):
    """Look what the kernel says about the process.  Answered by ProcessInspected."""

    process: str
    incarnation: int


class ProcessInspected(msgspec.Struct, frozen=True, kw_only=True, tag="process_inspected"):
    """Whether any thread of the process wants the processor now."""

    process: str
    incarnation: int
    activity: Literal["runnable", "waiting", "stopped", "gone"]


class ProcessExited(msgspec.Struct, frozen=True, kw_only=True, tag="process_exited"):
    """The process is no more; nothing of it runs."""

    process: str
    incarnation: int
    status: str  # "exit code 1", "killed by SIGKILL", "cannot be started: ..."


class Announce(msgspec.Struct, frozen=True, kw_only=True, tag="announce"):
    """Tell the service manager (sd_notify) and the log how the agent is."""

    kind: Literal["ready", "alive", "status", "stopping"]
    text: str = ""
    healthy: bool = True  # False: a child is restarted more often than can pass for an accident


class AgentStopped(msgspec.Struct, frozen=True, kw_only=True, tag="agent_stopped"):
    """Every child is gone: leave the loop."""


class ShutdownWanted(msgspec.Struct, frozen=True, kw_only=True, tag="shutdown_wanted"):
    """Drain and stop; said again while that lasts: stop at once."""

    reason: str


class RebindWanted(msgspec.Struct, frozen=True, kw_only=True, tag="rebind_wanted"):
    """STATUS to AGENT: nobody is proven, so perhaps nothing comes through for our UDP port (recovery R11)."""

    reason: str
    elsewhere: bool = True  # on a port that the kernel picks; False: on the configured one


class RebindSockets(msgspec.Struct, frozen=True, kw_only=True, tag="rebind_sockets"):
    """Open UDP sockets on another port, or on the configured one again, and hand them to the packet process."""

    reason: str
    elsewhere: bool = True


class AgentDue(msgspec.Struct, frozen=True, kw_only=True, tag="agent_due"):
    """Time to ping the children, and to look at the ones that do not answer."""


class GapFound(msgspec.Struct, frozen=True, kw_only=True, tag="gap_found"):
    """Mail of that process did not arrive: the runtime tells its own process actor, which has both ends resync."""

    process: str
    incarnation: int
    missing: int  # messages


class ResyncDue(msgspec.Struct, frozen=True, kw_only=True, tag="resync_due"):
    """Process actor: time to have the processes resynced whose mail went missing since the last time."""


class DrainDue(msgspec.Struct, frozen=True, kw_only=True, tag="drain_due"):
    """Process actor: time to look whether everything has been worked off."""


class StopActor(msgspec.Struct, frozen=True, kw_only=True, tag="stop_actor"):
    """The actor ends after the mail before this; its shell takes it, no machine sees it (ActorRef.stop)."""


ProcessInbox = StartPeer | StopPeer | Ping | Drain | SaveSnapshot | ProcessRestarted | GapFound | ResyncDue | DrainDue
AgentInbox = (
    Pong
    | ProcessReady
    | Drained
    | ProcessExited
    | ProcessInspected
    | PeersConfigured
    | ShutdownWanted
    | RebindWanted
    | AgentDue
)
HostInbox = (
    StartProcess | EndProcess | DumpProcess | KillProcess | InspectProcess | RebindSockets | Announce | AgentStopped
)
