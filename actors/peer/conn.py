"""Points WireGuard at the peer's path, and knows whether that is proven.

    Pathless --RelayReady--> Unproven --PathProven--> Proven --PathDoubtful--> Doubtful
       ^                        |  ^                    ^  |                      |  |
       |                        |  |                    +--|------PathProven------+  |
       |                     PathDead                      +------PathDead-----------+
       |                        v                          v
       +-------RelayLost----- Failed <---------------------+
       (from all of them; ProcessRestarted of the packet process does the same)

What is sent on is always watched: SetPath and WatchPath leave together (recovery R8).  Only `Proven` is shown as
connected.  A loss goes to the guard when its path is gone, after the evidence, the close and the rotation (R6).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, assert_never

from actors.addresses import PACKET, PEERS, STATUS, TUNNELS, PeerAddresses
from actors.effects import Effect
from actors.messages.node import PeerStarted
from actors.messages.packet import SetPath
from actors.messages.peer import (
    ConnInbox,
    PathDead,
    PathDoubtful,
    PathHindered,
    PathLost,
    PathProven,
    PathReady,
    RelayLost,
    RelayReady,
    RemoteIdle,
    RemoteKnown,
    WatchPath,
)
from actors.messages.process import ProcessRestarted
from actors.messages.status import PeerStatus
from config.keys import PublicKey
from wg.paths import RelayedPath

OTHERS_HANDSHAKE_S = 0.5  # who is not the controller leaves it this long to initiate the handshake

NOT_DIRECT = "direct paths are off: relayed"
NO_PROOF_YET = "waiting for a WireGuard packet over the relay"
NOTHING_YET = "nothing heard from the remote yet"

Label = Literal["connecting", "connected", "doubtful", "idle"]


@dataclass(frozen=True, slots=True)
class Relay:
    """A relayed connection that may carry packets."""

    link: int
    generation: int
    url: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A proven path is missing."""

    noticed_at: float
    cause: str


@dataclass(frozen=True, slots=True)
class Pathless:
    """There is no path; the guard and the relay worker are at it."""

    outage: Outage | None  # None: none was ever proven


@dataclass(frozen=True, slots=True)
class Unproven:
    """Packets go here, and nothing authenticated has come back yet; the watcher bounds it."""

    relay: Relay
    outage: Outage | None


@dataclass(frozen=True, slots=True)
class Proven:
    """The path works."""

    relay: Relay


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A probe went unanswered; the watcher proves the path or declares it dead."""

    relay: Relay
    outage: Outage


@dataclass(frozen=True, slots=True)
class Failed:
    """The watcher declared the path dead; the relay worker closes it."""

    relay: Relay
    outage: Outage | None


class Conn:
    """Chooses the path of one peer."""

    inbox: ClassVar[object] = ConnInbox

    def __init__(
        self,
        peer: PublicKey,
        name: str,
        addresses: PeerAddresses,
        *,
        controller: bool,
        first_generation: int,
        resumed: Relay | None = None,
    ) -> None:
        self._peer, self._name, self._to, self._first_generation = peer, name, addresses, first_generation
        self._handshake_after_s = 0.0 if controller else OTHERS_HANDSHAKE_S
        self._remote: RemoteKnown | None = None
        self._remote_idle = False
        self._hindrances = {"offers": "", "server": "", "relay": ""}
        self._recoveries = 0
        self._last_recovery_s: float | None = None
        self._last_recovery_cause = ""
        self._told: PeerStatus | None = None
        self.state: Pathless | Unproven | Proven | Doubtful | Failed = Pathless(outage=None)
        if resumed is not None:
            self.state = Unproven(resumed, outage=None)

    def start(self, now: float) -> list[Effect]:
        """Say that the peer's actors run; a path that the packet process still uses is watched, and left alone."""
        effects: list[Effect] = [PEERS.send(PeerStarted(peer=self._peer))]
        if isinstance(self.state, Unproven):
            effects.append(self._watch(self.state.relay))
        return [*effects, *self._tell(now)]

    def handle(self, message: ConnInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case RelayReady():
                effects = self._on_relay_ready(message)
            case RelayLost():
                effects = self._on_relay_lost(message, now)
            case PathProven():
                effects = self._on_proven(message)
            case PathDoubtful():
                effects = self._on_doubtful(message, now)
            case PathDead():
                effects = self._on_dead(message, now)
            case PathHindered():
                self._hindrances[message.by] = message.reason
                effects = []
            case RemoteKnown():
                self._remote, self._remote_idle = message, False
                effects = []
            case RemoteIdle():
                self._remote_idle = True
                effects = []
            case ProcessRestarted():
                effects = self._on_restarted(message, now)
            case _:
                assert_never(message)
        return [*effects, *self._tell(now)]

    def _on_relay_ready(self, ready: RelayReady) -> list[Effect]:
        if ready.generation < self._first_generation:
            return []  # of the relay worker before this one
        relay = Relay(ready.link, ready.generation, ready.url)
        assert isinstance(self.state, Pathless), self.state  # the one before was told lost
        self.state = Unproven(relay, self.state.outage)
        self._hindrances |= {"server": "", "relay": ""}
        path = RelayedPath(link=relay.link, generation=relay.generation)
        use = SetPath(peer=self._peer, path=path, handshake_after_s=self._handshake_after_s)
        return [TUNNELS.send(use), self._watch(relay)]

    def _on_relay_lost(self, lost: RelayLost, now: float) -> list[Effect]:
        if self._relay() is None or lost.generation != self._generation():
            return []  # lost with the packet process already
        none = SetPath(peer=self._peer, path=None)
        return [TUNNELS.send(none), *self._lose(lost.reason, now)]

    def _on_restarted(self, restarted: ProcessRestarted, now: float) -> list[Effect]:
        if restarted.process != PACKET or self._relay() is None:
            return []  # nothing of ours was in it
        return self._lose("the packet process was restarted", now)

    def _on_proven(self, proven: PathProven) -> list[Effect]:
        state = self.state
        if proven.generation != self._generation():
            return []  # about a path that is gone
        match state:
            case Unproven(relay=relay, outage=outage):
                self._count_recovery(outage, proven.heard_at)
                self.state = Proven(relay)
                return [self._to.guard.send(PathReady(peer=self._peer, path="relayed"))]
            case Doubtful(relay=relay):
                self.state = Proven(relay)
                return []  # the guard still counts on it
            case Proven() | Failed() | Pathless():
                return []  # known, or too late: its close is on the way
            case _:
                assert_never(state)

    def _on_doubtful(self, doubtful: PathDoubtful, now: float) -> list[Effect]:
        if isinstance(self.state, Proven) and doubtful.generation == self._generation():
            self.state = Doubtful(self.state.relay, Outage(now, doubtful.reason))
        return []  # of an old path, or of one that was never proven: it says nothing new

    def _on_dead(self, dead: PathDead, now: float) -> list[Effect]:
        relay = self._relay()
        if relay is not None and dead.generation == self._generation():
            self.state = Failed(relay, self._outage(dead.reason, now))
        return []  # the relay worker has the evidence, and tells when the path is closed

    def _lose(self, reason: str, now: float) -> list[Effect]:
        self.state = Pathless(self._outage(reason, now))
        unwatch = WatchPath(peer=self._peer, path=None)
        return [self._to.wg_watcher.send(unwatch), self._to.guard.send(PathLost(peer=self._peer, reason=reason))]

    def _watch(self, relay: Relay) -> Effect:
        return self._to.wg_watcher.send(WatchPath(peer=self._peer, path="relayed", generation=relay.generation))

    # --- what is true of the state, whichever it is ---

    def _relay(self) -> Relay | None:
        return None if isinstance(self.state, Pathless) else self.state.relay

    def _generation(self) -> int | None:
        relay = self._relay()
        return relay.generation if relay is not None else None

    def _outage(self, cause: str, now: float) -> Outage | None:
        """Return the outage that goes on, or the one that begins now."""
        match self.state:
            case Proven():
                return Outage(now, cause)
            case Doubtful(outage=outage):
                return Outage(outage.noticed_at, cause)
            case Pathless(outage=outage) | Unproven(outage=outage) | Failed(outage=outage):
                return outage
            case _:
                assert_never(self.state)

    def _count_recovery(self, outage: Outage | None, proven_at: float) -> None:
        if outage is not None:
            self._recoveries += 1
            self._last_recovery_s = max(proven_at - outage.noticed_at, 0.0)
            self._last_recovery_cause = outage.cause

    # --- status ---

    def _tell(self, now: float) -> list[Effect]:
        """Tell STATUS, if what it knows is not true any more."""
        label, reason = self._label()
        relay = self._relay()
        since_at = self._told.since_at if self._told is not None and self._told.state == label else now
        status = PeerStatus(
            peer=self._peer,
            name=self._name,
            state=label,
            path="relayed" if relay is not None else None,
            relay_url=relay.url if relay is not None else None,
            reason=reason,
            ours=self._remote.ours if self._remote is not None else None,
            since_at=since_at,
            recoveries=self._recoveries,
            last_recovery_s=self._last_recovery_s,
            last_recovery_cause=self._last_recovery_cause,
        )
        if status == self._told:
            return []
        self._told = status
        return [STATUS.send(status)]

    def _label(self) -> tuple[Label, str]:
        match self.state:
            case Proven():
                return "connected", NOT_DIRECT
            case Doubtful(outage=outage):
                return "doubtful", outage.cause
            case Unproven():
                return "connecting", NO_PROOF_YET
            case Failed(outage=outage):
                return "connecting", outage.cause if outage is not None else NO_PROOF_YET
            case Pathless(outage=outage):
                if self._remote_idle and not self._hindrances["offers"]:  # with them it does not wake either
                    return "idle", "the remote closed its side for want of traffic"
                offers, relay = self._hindrances["offers"], self._hindrances["server"] or self._hindrances["relay"]
                reason = "; ".join(text for text in (offers, relay) if text)
                return "connecting", reason or (outage.cause if outage is not None else NOTHING_YET)
            case _:
                assert_never(self.state)
