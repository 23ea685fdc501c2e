"""Is the peer's path proven, and how long ago?  The only liveness logic (recovery, proof and doubt).

    Unwatched --WatchPath--> Proving --heard--> Proven --silence, hint--> Probing --heard--> Proven
        ^                       |                                            |
        |                       +------limit------> Dead <----unanswered-----+
        +--WatchPath(None)--- (all); WatchPath(another) leads to Proving

That is the path in use; the one that stands by goes through the same states beside it.  Each is a PathWatch
(path_watch.py); here is what concerns both: who is told what, what a foreign peer's packet says, one timer.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, assert_never

from actors.addresses import ICE_AGENTS, PACKET, PeerAddresses
from actors.effects import Cancel, Effect, Later, Send
from actors.messages.node import OutsideEvent
from actors.messages.packet import SetIceInUse
from actors.messages.peer import (
    PathDead,
    PathDoubtful,
    PathProven,
    PathsHeard,
    ProveNow,
    RemoteKnown,
    TrafficHeard,
    WatchDue,
    WatchPath,
    WgWatcherInbox,
)
from actors.messages.process import ProcessRestarted
from actors.peer.path_watch import FRESH_S, PathWatch, Remote
from actors.peer.traffic import Traffic
from actors.peer.watch_states import Proven, Role, State, Unwatched
from config.keys import PublicKey
from wg.paths import PathKind
from wg.reports import EchoAnswered, GivenUp, HandshakeCompleted, PathHeard, PathSilent, RekeyUnanswered

IDLE_S = 50.0  # two keepalives of 25 s are missing; with the probes that follow, evidence by 55 s
IDLE_UNKEPT_S = 210.0  # without keepalives: as long as a handshake may be old
TRAFFIC_TOLD_S = 20.0  # from one TrafficHeard to the next


class WgWatcher:
    """Watches the path that carries this peer's packets, and its standby.

    `resumed_heard` says when the paths that outlived the control process were heard, `ours` whether the peer then was,
    `fruitless` how many relayed connections in a row were given up that nothing had come over.
    """

    inbox: ClassVar[object] = WgWatcherInbox

    def __init__(
        self,
        peer: PublicKey,
        addresses: PeerAddresses,
        *,
        controller: bool,
        keepalive: bool,
        entropy: Callable[[int], bytes],
        resumed_heard: Mapping[PathKind, float] | None = None,
        ours: bool | None = None,
        fruitless: int = 0,
        probing: bool = True,
    ) -> None:
        idle_s = IDLE_S if keepalive else IDLE_UNKEPT_S
        self._peer, self._to = peer, addresses
        self._remote = Remote(peer, addresses, controller, idle_s, probing, entropy, ours)
        self._resumed_heard = dict(resumed_heard or {})
        self._heard = dict(resumed_heard or {})  # when an authenticated packet came on each kind of path
        self._paths: dict[PathKind, PathWatch] = {
            "direct": PathWatch("direct", self._remote),
            "relayed": PathWatch("relayed", self._remote, fruitless),
        }
        self._in_use: PathKind | None = None
        self._due_at: float | None = None  # of WatchDue
        self._traffic = Traffic()  # on whichever path is in use
        self._traffic_told_at = float("-inf")
        self._ice_in_use: bool | None = None  # as the ICE agent was told; None: not told

    @property
    def state(self) -> State:
        """That of the path in use."""
        return Unwatched() if self._in_use is None else self._paths[self._in_use].state

    @property
    def standby(self) -> State:
        """That of the path that stands by."""
        match self._in_use:
            case None:
                return Unwatched()
            case "direct":
                return self._paths["relayed"].state
            case "relayed":
                return self._paths["direct"].state

    def handle(self, message: WgWatcherInbox, now: float) -> list[Effect]:
        """Work on one message."""
        effects = self._handle(message, now)
        judged = any(
            isinstance(e, Send) and isinstance(e.message, PathProven | PathDoubtful | PathDead) for e in effects
        )
        return [*effects, *([self._tell_heard()] if judged else []), *self._set_timer()]

    def _handle(self, message: WgWatcherInbox, now: float) -> list[Effect]:
        match message:
            case WatchPath():
                return self._on_watch(message, now)
            case RemoteKnown():
                return self._learn(message.ours, now)
            case HandshakeCompleted():
                return self._on_handshake(message, now)
            case PathHeard():
                return self._on_path_heard(message, now)
            case EchoAnswered():
                return self._on_echo(message, now)
            case PathSilent():
                return self._paths[message.path].silent(message.generation, message.sent_at, now)
            case ProveNow():
                return self._hint(message.reason, FRESH_S, now)
            case RekeyUnanswered() | GivenUp():
                return self._hint("a handshake went unanswered", FRESH_S, now)
            case OutsideEvent(kind="network_changed" | "resumed"):
                return self._hint(message.kind, 0.0, now)
            case OutsideEvent():
                return self._hint(message.kind, FRESH_S, now)
            case ProcessRestarted():
                return self._on_watch(WatchPath(peer=self._peer, path=None), now) if message.process == PACKET else []
            case WatchDue():
                self._due_at = None
                return self._on_due(now)
            case _:
                assert_never(message)

    # --- which paths ---

    def _on_watch(self, wanted: WatchPath, now: float) -> list[Effect]:
        roles: dict[PathKind, tuple[int, Role]] = {}
        if wanted.standby is not None:
            roles[wanted.standby] = (wanted.standby_generation, "standby")
        if wanted.path is not None:
            roles[wanted.path] = (wanted.generation, "in_use")
        if wanted.path != self._in_use:
            self._in_use, self._ice_in_use = wanted.path, None
        effects: list[Effect] = []
        for kind, path in self._paths.items():
            path.beside = len(roles) > 1
            if kind not in roles:
                path.end()
                continue
            (generation, role), before = roles[kind], path.watch
            if before is None or before.generation != generation:
                effects += path.begin(generation, role, now, self._resumed_heard.pop(kind, None))
            elif before.role != role:
                effects += path.turn(role, now)
        self._resumed_heard.clear()
        return effects

    def _learn(self, ours: bool, now: float) -> list[Effect]:
        self._remote.ours = ours
        for path in self._paths.values():
            path.remote_known(now)
        return []

    # --- proof ---

    def _on_handshake(self, completed: HandshakeCompleted, now: float) -> list[Effect]:
        self._remote.handshake_at = now
        if completed.rtt_s is not None:
            self._remote.rtt_s = completed.rtt_s
        # The response comes back the way that the initiation went.
        return self._on_heard(completed.path, completed.generation, now, round_trip=completed.role == "initiator")

    def _on_echo(self, answered: EchoAnswered, now: float) -> list[Effect]:
        if not self._paths[answered.path].asked(answered.token):
            return []  # to a probe of a series that has ended
        self._remote.rtt_s = answered.rtt_s
        learned = self._learn(ours=True, now=now)
        return [*learned, *self._on_heard(answered.path, answered.generation, now, round_trip=True)]

    def _on_path_heard(self, heard: PathHeard, now: float) -> list[Effect]:
        asked = not isinstance(self._paths[heard.path].state, Proven)
        effects = self._on_heard(heard.path, heard.generation, heard.heard_at)
        if asked:
            return effects  # it may be the answer to a probe
        if heard.path == self._in_use:
            return [*effects, *self._on_traffic(heard.path, now)]
        if heard.path == "relayed" and self._in_use == "direct" and self._remote.ours:
            effects += self._paths["direct"].doubted_by_remote(now)
        return effects

    def _on_heard(self, kind: PathKind, generation: int, heard_at: float, *, round_trip: bool = False) -> list[Effect]:
        effects: list[Effect] = []
        self._heard[kind] = max(heard_at, self._heard.get(kind, heard_at))
        watch = self._paths[kind].watch
        if watch is not None and (kind == "direct" or generation == watch.generation):
            effects = self._paths[kind].hear(heard_at, round_trip=round_trip)
        if self._remote.ours is False and self._in_use not in (kind, None):
            # They send relayed traffic from the direct endpoint: an answer counts from anywhere.
            effects += self._paths[self._in_use].hear(heard_at, round_trip=round_trip)
        return effects

    def _on_traffic(self, kind: PathKind, now: float) -> list[Effect]:
        """Tell who goes by it that there is traffic."""
        self._traffic.heard(now)
        busy = self._traffic.busy(now)
        if kind == "direct" and busy != self._ice_in_use:
            self._ice_in_use = busy
            return [ICE_AGENTS.send(SetIceInUse(peer=self._peer, in_use=busy))]
        if kind == "relayed" and busy and now - self._traffic_told_at >= TRAFFIC_TOLD_S:
            self._traffic_told_at = now
            return [self._to.guard.send(TrafficHeard(peer=self._peer))]
        return []

    def _tell_heard(self) -> Effect:
        direct_at, relayed_at = self._heard.get("direct"), self._heard.get("relayed")
        return self._to.offer_listener.send(PathsHeard(peer=self._peer, direct_at=direct_at, relayed_at=relayed_at))

    # --- doubt and time ---

    def _hint(self, why: str, fresh_s: float, now: float) -> list[Effect]:
        return [effect for path in self._paths.values() for effect in path.hint(why, fresh_s, now)]

    def _on_due(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for path in self._paths.values():
            if path.due_at is not None and path.due_at <= now:
                effects += path.on_due(now)
        return effects

    def _set_timer(self) -> list[Effect]:
        due_at = min((path.due_at for path in self._paths.values() if path.due_at is not None), default=None)
        if due_at == self._due_at:
            return []
        self._due_at = due_at
        return [Later(due_at, WatchDue()) if due_at is not None else Cancel(WatchDue)]
