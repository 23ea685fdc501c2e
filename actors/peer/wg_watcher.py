"""Is the path proven, and how long ago?  The only liveness logic (recovery, proof and doubt).

    Unwatched --WatchPath--> Proving --heard--> Proven --silence, hint--> Probing --heard--> Proven
        ^                       |                                            |
        |                       +------limit------> Dead <----unanswered-----+
        +--WatchPath(None)--- (all); WatchPath(another) leads to Proving

Only authenticated packets prove (R13): a report of one, a completed handshake, an answered echo.

    remote     first probe                       probe                     doubtful    evidence
    ours       at once                           echo at 0, 0.3, 0.9 s     0.3 s       1.2 to 1.5 s after the first
    foreign    10 s of one-way silence, a hint   handshake at 0, 5 s       5 s         7 s after the first
    unknown    as foreign                        both                      5 s         7 s

More echoes are sent, 0.6 s apart, where the last ones were answered late: a path that loses packets is not dead.
Without traffic the path is silent between keepalives, and probed after two of them are missing.  With probing off,
what is left is the age of the last handshake (signal spec 8.6).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, assert_never

from actors.addresses import PACKET, TUNNELS, PeerAddresses
from actors.effects import Cancel, Effect, Later
from actors.messages.node import OutsideEvent
from actors.messages.packet import InitiateHandshake, ProbePath
from actors.messages.peer import (
    Distress,
    PathDead,
    PathDoubtful,
    PathProven,
    ProveNow,
    RelayEvidence,
    RemoteKnown,
    WatchDue,
    WatchPath,
    WgWatcherInbox,
)
from actors.messages.process import ProcessRestarted
from config.keys import PublicKey
from wg.paths import PathKind
from wg.reports import EchoAnswered, GivenUp, HandshakeCompleted, PathHeard, PathSilent, RekeyUnanswered

FRESH_S = 2.0  # heard more recently than this: a hint needs no probe (recovery R4)
ONE_WAY_S = 10.0  # of silence are healthy with a foreign peer: KEEPALIVE_TIMEOUT of the whitepaper
IDLE_S = 50.0  # two keepalives of 25 s are missing; with the probes that follow, evidence by 55 s
IDLE_UNKEPT_S = 210.0  # without keepalives: as long as a handshake may be old
LATE_S = 0.5  # a timer later than this was starved, and so may be the answer that it would miss

ECHO_WAITS_S = (0.3, 0.6)  # after the first echo, and after each further one
ECHOES = 3
MAX_MORE_ECHOES = 3
LAST_WAIT_S = (0.3, 0.6)  # least and most after the last echo; three round trips in between
HANDSHAKE_WAIT_S = 5.0  # REKEY_TIMEOUT of the whitepaper
HANDSHAKES = 2
LAST_HANDSHAKE_WAIT_S = 2.0

OTHERS_PROBE_S = 0.5  # who is not the controller leaves it this long to begin on a new path
PROVING_WAIT_S = 1.0  # between echoes on a path that was never proven, after the first two
OURS_PROVING_S = 10.0  # a path never proven for this long is evidence; doubles while nothing is
PROVING_S = 30.0
MAX_PROVING_S = 180.0
FLOOR_FIRST_S = 30.0  # with probing off: the first handshake
FLOOR_S = 210.0  # and each following one: REKEY_AFTER_TIME, REKEY_ATTEMPT_TIME
REPEAT_S = 5.0  # evidence is repeated while the dead path is still to be watched

MAX_TOKEN = 2**63


@dataclass(frozen=True, slots=True)
class Watch:
    """The path that packets are sent on."""

    path: PathKind
    generation: int  # of the relayed connection; 0: direct
    since_at: float


@dataclass(frozen=True, slots=True)
class Probes:
    """A series of probes; WatchDue is set to `due_at`."""

    due_at: float  # the next one, or the verdict
    sent: int = 0  # 0: the first one is still to come
    tokens: tuple[int, ...] = ()  # of the echoes


@dataclass(frozen=True, slots=True)
class Unwatched:
    """The peer has no path."""


@dataclass(frozen=True, slots=True)
class Proving:
    """Nothing has been heard on this path yet; WatchDue is set."""

    watch: Watch
    limit_at: float
    probes: Probes


@dataclass(frozen=True, slots=True)
class Proven:
    """Heard; WatchDue is set to when silence would be too long."""

    watch: Watch
    heard_at: float


@dataclass(frozen=True, slots=True)
class Probing:
    """Heard once, and silent, or hinted at; WatchDue is set."""

    watch: Watch
    heard_at: float
    probes: Probes
    doubtful: bool
    why: str


@dataclass(frozen=True, slots=True)
class Dead:
    """The evidence was told; WatchDue repeats it until another path is to be watched."""

    watch: Watch
    reason: str


class WgWatcher:
    """Watches the one path that carries this peer's packets."""

    inbox: ClassVar[object] = WgWatcherInbox

    def __init__(
        self,
        peer: PublicKey,
        addresses: PeerAddresses,
        *,
        controller: bool,
        keepalive: bool,
        entropy: Callable[[int], bytes],
        resumed_heard_at: float | None = None,
        probing: bool = True,
    ) -> None:
        self._peer, self._to, self._controller, self._entropy = peer, addresses, controller, entropy
        self._idle_s = IDLE_S if keepalive else IDLE_UNKEPT_S
        self._resumed_heard_at, self._probing = resumed_heard_at, probing
        self._ours: bool | None = None  # None: nothing heard from it yet, in this process
        self._handshake_at: float | None = None  # last completed, on any path
        self._rtt_s = LAST_WAIT_S[1] / 3
        self._more_echoes = 0  # that this path's loss has taught us to send
        self._fruitless = 0  # paths in a row that were never proven
        self.state: Unwatched | Proving | Proven | Probing | Dead = Unwatched()

    def handle(self, message: WgWatcherInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case WatchPath():
                return self._on_watch(message, now)
            case RemoteKnown():
                self._ours = message.ours
                return []
            case HandshakeCompleted():
                return self._on_handshake(message, now)
            case PathHeard():
                return self._on_heard(message.path, message.generation, message.heard_at)
            case EchoAnswered():
                return self._on_echo(message, now)
            case PathSilent():
                return self._on_silent(message, now)
            case ProveNow():
                return self._on_hint(message.reason, FRESH_S, now)
            case RekeyUnanswered() | GivenUp():
                return self._on_hint("a handshake went unanswered", FRESH_S, now)
            case OutsideEvent(kind="network_changed" | "resumed"):
                return self._on_hint(message.kind, 0.0, now)
            case OutsideEvent():
                return self._on_hint(message.kind, FRESH_S, now)
            case ProcessRestarted():
                return self._unwatch() if message.process == PACKET else []
            case WatchDue():
                return self._on_due(now)
            case _:
                assert_never(message)

    # --- which path ---

    def _on_watch(self, wanted: WatchPath, now: float) -> list[Effect]:
        if wanted.path is None:
            return self._unwatch()
        watch = Watch(wanted.path, wanted.generation, now)
        heard_at, self._resumed_heard_at = self._resumed_heard_at, None
        if heard_at is not None and now - heard_at < self._idle_s:
            # It may have ended while nobody here could be told: proven for now, and probed at once.
            self.state = Proven(watch, heard_at)
            return [self._proven(watch, heard_at), *self._probe_from(now, "the control process was restarted", now)]
        least_s = OURS_PROVING_S if self._ours else PROVING_S
        limit_at = now + min(least_s * 2.0 ** min(self._fruitless, 8), MAX_PROVING_S)
        first_at = now if self._controller else now + OTHERS_PROBE_S
        if not self._probing:
            first_at = limit_at = now + FLOOR_FIRST_S
        self.state = Proving(watch, limit_at, Probes(first_at))
        return [Later(first_at, WatchDue())]

    def _unwatch(self) -> list[Effect]:
        self.state = Unwatched()
        return [Cancel(WatchDue)]

    # --- proof ---

    def _on_handshake(self, completed: HandshakeCompleted, now: float) -> list[Effect]:
        self._handshake_at = now
        if completed.rtt_s is not None:
            self._rtt_s = completed.rtt_s
        return self._on_heard(completed.path, completed.generation, now)

    def _on_echo(self, answered: EchoAnswered, now: float) -> list[Effect]:
        state = self.state
        if not isinstance(state, Proving | Probing) or answered.token not in state.probes.tokens:
            return []  # to a probe of a series that has ended
        self._ours, self._rtt_s = True, answered.rtt_s
        return self._on_heard(answered.path, answered.generation, now)

    def _on_heard(self, path: PathKind, generation: int, heard_at: float) -> list[Effect]:
        state = self.state
        if isinstance(state, Unwatched | Dead):
            return []  # nobody asks; or the path is being closed already
        watch = state.watch
        on_it = path == watch.path and generation in (watch.generation, 0)  # 0: on its link, before it was open
        if heard_at < watch.since_at or not (on_it or self._ours is False):
            return []  # of an older connection, or of another path: only a foreign peer's answer counts from anywhere
        return self._hear(heard_at)

    def _hear(self, heard_at: float) -> list[Effect]:
        state = self.state
        match state:
            case Proving():
                self._fruitless = 0
                return [self._proven(state.watch, heard_at), *self._rest(state.watch, heard_at)]
            case Proven():
                self.state = replace(state, heard_at=max(state.heard_at, heard_at))
                return []  # WatchDue looks at what was heard until then
            case Probing():
                more = 1 if state.probes.sent > 1 else -1
                self._more_echoes = min(max(self._more_echoes + more, 0), MAX_MORE_ECHOES)
                proven = [self._proven(state.watch, heard_at)] if state.doubtful else []
                return [*proven, *self._rest(state.watch, max(state.heard_at, heard_at))]
            case Unwatched() | Dead():
                raise AssertionError(state)
            case _:
                assert_never(state)

    def _rest(self, watch: Watch, heard_at: float) -> list[Effect]:
        self.state = Proven(watch, heard_at)
        return [Later(self._silent_too_long_at(watch, heard_at), WatchDue())]

    def _silent_too_long_at(self, watch: Watch, heard_at: float) -> float:
        if self._probing:
            return heard_at + self._idle_s
        first_at = watch.since_at + FLOOR_FIRST_S
        return first_at if self._handshake_at is None else max(first_at, self._handshake_at + FLOOR_S)

    # --- doubt ---

    def _on_silent(self, silent: PathSilent, now: float) -> list[Effect]:
        state = self.state
        if not isinstance(state, Proven):
            return []  # in doubt already, or beyond it
        if silent.path != state.watch.path or silent.generation not in (state.watch.generation, 0):
            return []  # about a path that packets do not take any more
        if state.heard_at >= silent.sent_at:
            return []  # heard since, as a foreign peer may be on the other path
        why = "sent and nothing heard"
        return self._probe_from(now if self._ours else silent.sent_at + ONE_WAY_S, why, now)

    def _on_hint(self, why: str, fresh_s: float, now: float) -> list[Effect]:
        match self.state:
            case Proven(heard_at=heard_at) | Probing(heard_at=heard_at, probes=Probes(sent=0)):
                return self._probe_from(now, why, now) if now - heard_at >= fresh_s else []
            case _:
                return []  # probed already, or nothing to probe

    def _probe_from(self, first_at: float, why: str, now: float) -> list[Effect]:
        assert isinstance(self.state, Proven | Probing), self.state
        if not self._probing:
            return []  # the age of the handshake decides alone
        self.state = Probing(self.state.watch, self.state.heard_at, Probes(first_at), doubtful=False, why=why)
        return self._on_due(now) if first_at <= now else [Later(first_at, WatchDue())]

    # --- time ---

    def _on_due(self, now: float) -> list[Effect]:
        state = self.state
        match state:
            case Proving():
                return self._on_proving_due(state, now)
            case Proven():
                silent_at = self._silent_too_long_at(state.watch, state.heard_at)
                if now < silent_at:
                    return [Later(silent_at, WatchDue())]
                if not self._probing:
                    return self._die(state.watch, "no new WireGuard handshake in time", now)
                return self._probe_from(now, "idle and nothing heard", now)
            case Probing():
                return self._on_probing_due(state, now)
            case Dead():
                return self._die(state.watch, state.reason, now)
            case Unwatched():
                raise AssertionError(state)
            case _:
                assert_never(state)

    def _on_proving_due(self, state: Proving, now: float) -> list[Effect]:
        if now >= state.limit_at:
            self._fruitless += 1
            waited_s = now - state.watch.since_at
            way = "over the relay" if state.watch.path == "relayed" else "on the direct path"
            return self._die(state.watch, f"no WireGuard packet came back {way} for {waited_s:.0f} s", now)
        sent, wait_s = state.probes.sent, HANDSHAKE_WAIT_S
        if self._ours:
            wait_s = ECHO_WAITS_S[sent] if sent < len(ECHO_WAITS_S) else PROVING_WAIT_S
        effects, probes = self._probe(state.watch, state.probes, min(now + wait_s, state.limit_at))
        self.state = replace(state, probes=probes)
        return effects

    def _on_probing_due(self, state: Probing, now: float) -> list[Effect]:
        sent, late = state.probes.sent, state.probes.sent > 0 and now > state.probes.due_at + LATE_S
        needed = ECHOES + self._more_echoes if self._ours else HANDSHAKES
        if sent >= needed and not late:
            return self._die(state.watch, f"{state.why}, and {sent} probes went unanswered", now)
        effects, probes = self._probe(state.watch, state.probes, now + self._wait_s(min(sent + 1, needed), needed))
        self.state = replace(state, probes=probes, doubtful=state.doubtful or (sent > 0 and not late))
        if self.state.doubtful and not state.doubtful:
            reason = f"{state.why}, and a probe went unanswered"
            doubtful = PathDoubtful(
                peer=self._peer, path=state.watch.path, generation=state.watch.generation, reason=reason
            )
            effects.append(self._to.conn.send(doubtful))
        return effects

    def _wait_s(self, sent: int, needed: int) -> float:
        """Return how long to wait after that many probes of a series."""
        if not self._ours:
            return HANDSHAKE_WAIT_S if sent < needed else LAST_HANDSHAKE_WAIT_S
        if sent == needed:
            return min(max(3 * self._rtt_s, LAST_WAIT_S[0]), LAST_WAIT_S[1])
        return ECHO_WAITS_S[min(sent, len(ECHO_WAITS_S)) - 1]

    def _probe(self, watch: Watch, probes: Probes, due_at: float) -> tuple[list[Effect], Probes]:
        """Probe once, and look again at `due_at`.

        A peer of ours whose keys are gone cannot answer an echo: the second one brings a handshake with it.
        """
        effects: list[Effect] = [Later(due_at, WatchDue())]
        tokens = probes.tokens
        if self._ours is not False:
            token = int.from_bytes(self._entropy(8), "big") % MAX_TOKEN
            effects.append(TUNNELS.send(ProbePath(peer=self._peer, path=watch.path, token=token)))
            tokens = (*tokens, token)[-(ECHOES + MAX_MORE_ECHOES) :]
        if not self._ours or probes.sent > 0:
            effects.append(TUNNELS.send(InitiateHandshake(peer=self._peer)))
        return effects, Probes(due_at, probes.sent + 1, tokens)

    # --- verdicts ---

    def _proven(self, watch: Watch, heard_at: float) -> Effect:
        return self._to.conn.send(
            PathProven(peer=self._peer, path=watch.path, generation=watch.generation, heard_at=heard_at)
        )

    def _die(self, watch: Watch, reason: str, now: float) -> list[Effect]:
        """Tell the evidence to who can act on it, then to the Conn (recovery R6's order)."""
        self.state = Dead(watch, reason)
        if watch.path == "relayed":
            told: Effect = self._to.relay_worker.send(
                RelayEvidence(peer=self._peer, generation=watch.generation, reason=reason)
            )
        else:
            told = self._to.ice_worker.send(Distress(peer=self._peer, path=watch.path, reason=reason))
        dead = PathDead(peer=self._peer, path=watch.path, generation=watch.generation, reason=reason)
        return [told, self._to.conn.send(dead), Later(now + REPEAT_S, WatchDue())]
