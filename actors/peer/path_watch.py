"""The liveness of one of a peer's two paths (wg_watcher.py has both).

    Unwatched --begin--> Proving --heard--> Proven --silence, hint--> Probing --heard--> Proven
        ^                   |                                            |
        |                   +------limit------> Dead <----unanswered-----+
        +--end--- (all); begin, with another incarnation, leads to Proving

Only authenticated packets prove (recovery R13): a report of one, a completed handshake, an answered echo.

    remote     first probe                       probe                     doubtful    evidence
    ours       at once                           echo at 0, 0.3, 0.9 s     0.3 s       1.2 to 1.5 s after the first
    foreign    10 s of one-way silence, a hint   handshake at 0, 5 s       5 s         7 s after the first
    unknown    as foreign                        both                      5 s         7 s

More echoes are sent, 0.6 s apart, where some of the last ones were lost: a path that loses packets is not dead.
Without traffic the path is silent between keepalives, and probed after two of them are missing.  With probing off,
what is left is the age of the last handshake (signal spec 8.6).

The path that stands by is watched as well.  A relayed connection beside a direct path carries nothing, so it is probed
every 20 s (ours alone, for a foreign peer would roam to it).  A direct path that stands by is doubtful, and packets go
both ways.  A new or doubtful direct path between ours is proven by an answered echo only, since what is heard on it
says nothing of the way there.  Of a way there that is cut, the remote's packets on the relay tell: it doubts the path.
Where there is another path beside, doubt alone has packets go both ways, and the verdict has time for many echoes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from actors.addresses import TUNNELS, PeerAddresses
from actors.effects import Effect
from actors.messages.packet import InitiateHandshake, ProbePath
from actors.messages.peer import Distress, PathDead, PathDoubtful, PathProven, RelayEvidence
from actors.peer.watch_states import Dead, Probes, Probing, Proven, Proving, Role, State, Unwatched, Watch
from config.keys import PublicKey
from wg.paths import PathKind

FRESH_S = 2.0  # heard more recently than this: a hint needs no probe (recovery R4)
ONE_WAY_S = 10.0  # of silence are healthy with a foreign peer: KEEPALIVE_TIMEOUT of the whitepaper
LATE_S = 0.5  # a timer later than this was starved, and so may be the answer that it would miss

ECHO_WAITS_S = (0.3, 0.6)  # after the first echo, and after each further one
ECHOES = 3
IDLE_ECHOES = 8  # evidence at 55 s of silence
MORE_ECHOES = 3.0  # in the following series, for each echo that was lost; and fewer for each first one answered
FEWER_ECHOES = 0.25
MAX_MORE_ECHOES = 9.0
LAST_WAIT_S = (0.3, 0.6)  # least and most after the last echo; three round trips in between
HANDSHAKE_WAIT_S = 5.0  # REKEY_TIMEOUT of the whitepaper
HANDSHAKES = 2
LAST_HANDSHAKE_WAIT_S = 2.0
PATIENT_ECHOES = 15  # in 9 s; with one packet in five lost each way, all of them are once in 4.5 million times
MAX_ECHOES = PATIENT_ECHOES  # remembered
STANDBY_S = 20.0  # from what was heard on a standby to its next probe; with those that follow, evidence by 30 s

OTHERS_PROBE_S = 0.5  # who is not the controller leaves it this long to begin on a new path
PROVING_WAIT_S = 1.0  # between echoes on a path that was never proven, after the first two
OURS_PROVING_S = 10.0  # a path never proven for this long is evidence; doubles while nothing is
PROVING_S = 30.0
MAX_PROVING_S = 180.0
DIRECT_PROVING_S = {True: 4.0, False: 12.0}  # ours, foreign: ICE has checked it, and the relay waits
FLOOR_FIRST_S = 30.0  # with probing off: the first handshake
FLOOR_S = 210.0  # and each following one: REKEY_AFTER_TIME, REKEY_ATTEMPT_TIME
REPEAT_S = 5.0  # evidence is repeated while the dead path is still to be watched

IDLE = "idle and nothing heard"
MAX_TOKEN = 2**63


@dataclass(slots=True)
class Remote:
    """What both of a peer's paths have to know."""

    peer: PublicKey
    to: PeerAddresses
    controller: bool  # we are
    idle_s: float  # without traffic, silence for so long is too long
    probing: bool
    entropy: Callable[[int], bytes]
    ours: bool | None = None  # None: nothing heard from it yet, in this process
    handshake_at: float | None = None  # last completed, on any path
    rtt_s: float = LAST_WAIT_S[1] / 3


class PathWatch:
    """Watches the direct or the relayed path.  `due_at` says when to call `on_due`; None: not before other news."""

    def __init__(self, kind: PathKind, remote: Remote, fruitless: int = 0) -> None:
        self._kind, self._remote = kind, remote
        self._more_echoes = 0.0  # that this path's loss has taught us to send
        self._fruitless = fruitless  # incarnations in a row that were never proven
        self.beside = False  # the other path is watched too
        self.due_at: float | None = None
        self.state: State = Unwatched()

    @property
    def watch(self) -> Watch | None:
        """What is watched."""
        return None if isinstance(self.state, Unwatched) else self.state.watch

    # --- which path ---

    def begin(self, generation: int, role: Role, now: float, heard_at: float | None = None) -> list[Effect]:
        """Watch this incarnation from now on; `heard_at` if it is known to have been proven."""
        watch = Watch(self._kind, generation, now, role)
        if heard_at is not None and now - heard_at < self._remote.idle_s:
            # It may have ended while nobody here could be told: proven for now, and probed at once.
            proven = self._proven(watch, heard_at)
            self._rest(watch, heard_at)
            return [proven, *self._probe_from(now, "the control process was restarted", now)]
        self._prove(watch, now)
        return []

    def turn(self, role: Role, now: float) -> list[Effect]:
        """Watch the same path for another purpose."""
        state = self.state
        assert not isinstance(state, Unwatched)
        watch = replace(state.watch, role=role)
        match state:
            case Proving():
                if self.due_at is None:
                    self._prove(watch, now)  # listened to until now
                else:
                    self.state = replace(state, watch=watch)
                return []
            case Proven() | Probing():
                self.state = replace(state, watch=watch)
                # What takes over was probed long ago, and what gives way is in doubt: either is probed at once.
                if role == "in_use" and self._kind == "relayed":
                    return self._doubt_at_once("it takes over from the direct path", now)
                if role == "standby" and self._kind == "direct":
                    return self._doubt_at_once("it is doubtful", now)
                if isinstance(state, Proven):
                    self._rest(watch, state.heard_at)
                return []
            case Dead():
                self.state = replace(state, watch=watch)
                return []
            case _:
                assert_never(state)

    def end(self) -> None:
        """Watch it no more."""
        self.state, self.due_at = Unwatched(), None

    def _prove(self, watch: Watch, now: float) -> None:
        remote = self._remote
        limit_at = now + self._proving_s()
        # With a session an echo is all that is sent; without one, a handshake, and two would cross.
        alone = self._kind == "direct" and remote.handshake_at is not None
        first_at = now if remote.controller or alone else now + OTHERS_PROBE_S
        if not remote.probing:
            first_at = limit_at = now + FLOOR_FIRST_S
        self.state = Proving(watch, limit_at, Probes(first_at))
        # A foreign peer is probed where packets go.  Elsewhere it is listened to, and who put the path there bounds it.
        self.due_at = first_at if watch.role == "in_use" or remote.ours else None

    def _proving_s(self) -> float:
        if self._kind == "direct":
            return DIRECT_PROVING_S[bool(self._remote.ours)]
        least_s = OURS_PROVING_S if self._remote.ours else PROVING_S
        return min(least_s * 2.0 ** min(self._fruitless, 8), MAX_PROVING_S)

    def remote_known(self, now: float) -> None:
        """The remote turned out to be ours, or foreign: a standby of ours is to be probed."""
        if self.watch is not None and self.due_at is None and self._remote.ours:
            self.due_at = now

    # --- proof ---

    def asked(self, token: int) -> bool:
        """Return whether this is the token of an echo that has not been given up."""
        return isinstance(self.state, Proving | Probing) and token in self.state.probes.tokens

    def hear(self, heard_at: float, *, round_trip: bool) -> list[Effect]:
        """Take note of an authenticated packet on this path; `round_trip`: it answers what we sent on it."""
        state = self.state
        if isinstance(state, Unwatched | Dead):
            return []  # nobody asks; or the path is being closed already
        if heard_at < state.watch.since_at:
            return []  # of an older incarnation
        match state:
            case Proving():
                if not round_trip and self._kind == "direct" and self._remote.ours:
                    return []  # the way there may be cut
                self._fruitless = 0
                self._rest(state.watch, heard_at)
                return [self._proven(state.watch, heard_at)]
            case Proven():
                self.state = replace(state, heard_at=max(state.heard_at, heard_at))
                return []  # on_due looks at what was heard until then
            case Probing():
                answer_wanted = state.answer_wanted or (self._kind == "direct" and state.watch.role == "standby")
                if not round_trip and answer_wanted:
                    self.state = replace(state, heard_at=max(state.heard_at, heard_at))
                    return []  # the way there may be cut
                self._learn_loss(state.probes, heard_at)
                proven = [self._proven(state.watch, heard_at)] if state.doubtful else []
                self._rest(state.watch, max(state.heard_at, heard_at))
                return proven
            case _:
                assert_never(state)

    def _learn_loss(self, probes: Probes, heard_at: float) -> None:
        lost = probes.sent - 1
        if lost > 0 and heard_at < probes.sent_at + self._remote.rtt_s / 2:
            lost -= 1  # too early to be the answer to the last one
        more = MORE_ECHOES * lost if lost > 0 else -FEWER_ECHOES
        self._more_echoes = min(max(self._more_echoes + more, 0.0), MAX_MORE_ECHOES)

    def _rest(self, watch: Watch, heard_at: float) -> None:
        self.state = Proven(watch, heard_at)
        self.due_at = self._silent_too_long_at(watch, heard_at)

    def _silent_too_long_at(self, watch: Watch, heard_at: float) -> float | None:
        remote = self._remote
        if watch.role == "standby":
            return heard_at + STANDBY_S if remote.ours and remote.probing else None
        if remote.probing:
            return heard_at + remote.idle_s
        first_at = watch.since_at + FLOOR_FIRST_S
        return first_at if remote.handshake_at is None else max(first_at, remote.handshake_at + FLOOR_S)

    # --- doubt ---

    def silent(self, generation: int, sent_at: float, now: float) -> list[Effect]:
        """Something was sent on this path at `sent_at`, and nothing heard on it since."""
        state = self.state
        if not isinstance(state, Proven):
            return []  # in doubt already, or beyond it
        if generation not in (state.watch.generation, 0):
            return []  # about one that packets do not take any more
        if state.heard_at >= sent_at:
            return []  # heard since, as a foreign peer may be on the other path
        return self._probe_from(now if self._remote.ours else sent_at + ONE_WAY_S, "sent and nothing heard", now)

    def hint(self, why: str, fresh_s: float, now: float) -> list[Effect]:
        """Probe the path, unless something was heard on it within `fresh_s`."""
        match self.state:
            case Proven(heard_at=heard_at) | Probing(heard_at=heard_at, probes=Probes(sent=0)):
                return self._probe_from(now, why, now) if now - heard_at >= fresh_s else []
            case _:
                return []  # probed already, or nothing to probe

    def doubted_by_remote(self, now: float) -> list[Effect]:
        """Ask: the remote, one of ours, sends by the other path too.  What is heard on this one is no answer."""
        if not isinstance(self.state, Proven):
            return []  # asked already
        return self._probe_from(now, "the remote uses the relay too", now, answer_wanted=True)

    def _probe_from(
        self, first_at: float, why: str, now: float, *, in_doubt: bool = False, answer_wanted: bool = False
    ) -> list[Effect]:
        state = self.state
        assert isinstance(state, Proven | Probing), state
        if not self._remote.probing or (state.watch.role == "standby" and not self._remote.ours):
            return []  # the age of the handshake decides alone, or nothing can be asked
        self.state = Probing(state.watch, state.heard_at, Probes(first_at), in_doubt, why, answer_wanted)
        self.due_at = first_at
        return self.on_due(now) if first_at <= now else []

    def _doubt_at_once(self, why: str, now: float) -> list[Effect]:
        state = self.state
        if self._kind == "direct" and isinstance(state, Probing) and state.doubtful:
            return []  # its series goes on
        return self._probe_from(now, why, now, in_doubt=True)

    # --- time ---

    def on_due(self, now: float) -> list[Effect]:
        """Do what is due at `now`."""
        state = self.state
        match state:
            case Proving():
                return self._on_proving_due(state, now)
            case Proven():
                silent_at = self._silent_too_long_at(state.watch, state.heard_at)
                if silent_at is None or now < silent_at:
                    self.due_at = silent_at
                    return []
                if not self._remote.probing:
                    return self._die(state.watch, "no new WireGuard handshake in time", now)
                return self._probe_from(now, IDLE, now)
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
            way = "over the relay" if self._kind == "relayed" else "on the direct path"
            return self._die(state.watch, f"no WireGuard packet came back {way} for {waited_s:.0f} s", now)
        sent, wait_s = state.probes.sent, HANDSHAKE_WAIT_S
        if self._remote.ours:
            wait_s = ECHO_WAITS_S[sent] if sent < len(ECHO_WAITS_S) else PROVING_WAIT_S
        effects, probes = self._probe(state.watch, state.probes, min(now + wait_s, state.limit_at), now)
        self.state = replace(state, probes=probes)
        return effects

    def _on_probing_due(self, state: Probing, now: float) -> list[Effect]:
        sent, late = state.probes.sent, state.probes.sent > 0 and now > state.probes.due_at + LATE_S
        needed = self._needed(state)
        if sent >= needed and not late:
            return self._die(state.watch, f"{state.why}, and {sent} probes went unanswered", now)
        wait_s = self._wait_s(min(sent + 1, needed), needed)
        effects, probes = self._probe(state.watch, state.probes, now + wait_s, now)
        self.state = replace(state, probes=probes, doubtful=state.doubtful or (sent > 0 and not late))
        if self.state.doubtful and not state.doubtful:
            effects.append(self._doubtful(state.watch, f"{state.why}, and a probe went unanswered"))
        return effects

    def _needed(self, state: Probing) -> int:
        """Return how many probes unanswered are evidence."""
        if not self._remote.ours:
            return HANDSHAKES
        if self.beside:
            return PATIENT_ECHOES
        return max(ECHOES + int(self._more_echoes), IDLE_ECHOES if state.why == IDLE else 0)

    def _wait_s(self, sent: int, needed: int) -> float:
        """Return how long to wait after that many probes of a series."""
        if not self._remote.ours:
            return HANDSHAKE_WAIT_S if sent < needed else LAST_HANDSHAKE_WAIT_S
        if sent == needed:
            return min(max(3 * self._remote.rtt_s, LAST_WAIT_S[0]), LAST_WAIT_S[1])
        return ECHO_WAITS_S[min(sent, len(ECHO_WAITS_S)) - 1]

    def _probe(self, watch: Watch, probes: Probes, due_at: float, now: float) -> tuple[list[Effect], Probes]:
        """Probe once, and look again at `due_at`.

        A peer of ours whose keys are gone cannot answer an echo: the second one brings a handshake with it.
        """
        self.due_at = due_at
        effects: list[Effect] = []
        peer, ours, tokens = self._remote.peer, self._remote.ours, probes.tokens
        if ours is not False:
            token = int.from_bytes(self._remote.entropy(8), "big") % MAX_TOKEN
            effects.append(TUNNELS.send(ProbePath(peer=peer, path=watch.path, token=token)))
            tokens = (*tokens, token)[-MAX_ECHOES:]
        if watch.role == "in_use" and (not ours or probes.sent > 0):
            effects.append(TUNNELS.send(InitiateHandshake(peer=peer)))
        return effects, Probes(due_at, probes.sent + 1, tokens, now)

    # --- verdicts ---

    def _proven(self, watch: Watch, heard_at: float) -> Effect:
        remote = self._remote
        proven = PathProven(peer=remote.peer, path=watch.path, generation=watch.generation, heard_at=heard_at)
        return remote.to.conn.send(proven)

    def _doubtful(self, watch: Watch, reason: str) -> Effect:
        remote = self._remote
        doubtful = PathDoubtful(peer=remote.peer, path=watch.path, generation=watch.generation, reason=reason)
        return remote.to.conn.send(doubtful)

    def _die(self, watch: Watch, reason: str, now: float) -> list[Effect]:
        """Tell the evidence to who can act on it, then to the Conn (recovery R6's order)."""
        self.state, self.due_at = Dead(watch, reason), now + REPEAT_S
        peer, to, generation = self._remote.peer, self._remote.to, watch.generation
        if self._kind == "relayed":
            told: Effect = to.relay_worker.send(RelayEvidence(peer=peer, generation=generation, reason=reason))
        else:
            distress = Distress(peer=peer, path="direct", generation=generation, reason=reason)
            told = to.ice_worker.send(distress)
        return [told, to.conn.send(PathDead(peer=peer, path=watch.path, generation=generation, reason=reason))]
