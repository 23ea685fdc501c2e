"""Points WireGuard at the peer's better path, and knows whether that is proven.

    Pathless --RelayReady, IceReady--> Unproven --PathProven--> Proven --PathDoubtful--> Doubtful
       ^                                 |  ^                    |  ^                      |  |
       |                                 |  +---it takes over----+  +------PathProven------+  |
       |                                 v                       v                            v
       +---RelayLost, IceLost-------- Failed <------------PathDead----------------------------+
       (from all of them; ProcessRestarted of the packet process does the same)

Which ways there are, relayed and direct, and how each stands, is in the state; what packets take follows from that
(ways.py).  What is sent on is always watched: SetPath and WatchPath leave together (recovery R8).  Only `Proven` is
shown as connected: then at least one of the ways that packets take is proven (R13).  A loss goes to the guard when the
last way is gone, after the evidence, the close and the rotation (R6).
"""

from dataclasses import replace
from typing import ClassVar, assert_never

from actors.addresses import PACKET, PEERS, STATUS, TUNNELS, PeerAddresses
from actors.effects import Cancel, Effect, Later
from actors.messages.node import PeerStarted
from actors.messages.packet import KeepRecovery, RenewHandshake, SetPath
from actors.messages.peer import (
    ConnInbox,
    DirectDue,
    Distress,
    IceDoubtful,
    IceLost,
    IceReady,
    MeetElsewhere,
    PathDead,
    PathDoubtful,
    PathHindered,
    PathLost,
    PathProven,
    PathReady,
    PeerQuarantined,
    ProveNow,
    RelayEvidence,
    RelayLost,
    RelayReady,
    RemoteIdle,
    RemoteKnown,
    ResetPeer,
    WatchPath,
)
from actors.messages.process import ProcessRestarted
from actors.messages.recoveries import Rung
from actors.peer.account import NO_PROOF_YET, Account, Label, Outage
from actors.peer.budget import Quarantine
from actors.peer.conn_states import Doubtful, Failed, Held, Pathless, Proven, State, Unproven
from actors.peer.recovery import Recovery
from actors.peer.ways import Choice, Direct, Relay, Standing, Way, Ways
from config.keys import PublicKey
from wg.paths import Path, PathKind

OTHERS_HANDSHAKE_S = 0.5  # who is not the controller leaves it this long to initiate the handshake
OTHERS_DIRECT_S = 5.0  # and a foreign one this long to come over a new direct path (signal spec 5.11)


class Conn:
    """Chooses the path of one peer.

    `ours` is whether the remote was one of ours, where that is known; not `ice`, direct paths are off here.
    """

    inbox: ClassVar[object] = ConnInbox

    def __init__(
        self,
        peer: PublicKey,
        name: str,
        addresses: PeerAddresses,
        *,
        controller: bool,
        first_generation: int,
        resumed: Held | None = None,
        ours: bool | None = None,
        ice: bool = False,
    ) -> None:
        self._peer, self._to, self._first_generation = peer, addresses, first_generation
        self._controller, self._ours = controller, ours
        self._handshake_after_s = 0.0 if controller else OTHERS_HANDSHAKE_S
        held = resumed or Held()
        self._recovery = Recovery(held.kept, held.carried())
        self._kept = self._recovery.kept()  # as the packet process has it
        self._account = Account(peer, name, self._recovery, ice=ice, ours=ours)
        self._quarantine: Quarantine | None = None  # as the guard was told
        self._paths: tuple[Path | None, Path | None] = (None, None)  # as the packet process was told
        self._watched = WatchPath(peer=peer, path=None)  # as the watcher was told
        self._guarded: PathReady | None = None  # as the guard was told; None: that there is none, or nothing
        self._proven_at = 0.0  # when what was proven last was heard
        self._choice = Choice(None)
        self.state: State = Pathless(outage=None)
        self._paths = (held.path, held.standby)
        if held.ways != Ways():
            self.state = Unproven(held.ways, outage=None)

    def start(self, now: float) -> list[Effect]:
        """Say that the peer's actors run; a path that the packet process still uses is watched, and left alone."""
        return [PEERS.send(PeerStarted(peer=self._peer)), *self._settle(self._ways(), "", now)]

    def handle(self, message: ConnInbox, now: float) -> list[Effect]:
        """Work on one message."""
        return [*self._on(message, now), *self._keep()]

    def _on(self, message: ConnInbox, now: float) -> list[Effect]:
        match message:
            case RelayReady():
                return self._on_relay_ready(message, now)
            case RelayLost():
                return self._on_relay_lost(message, now)
            case IceReady():
                return self._on_ice_ready(message, now)
            case IceDoubtful():
                return self._on_ice_doubtful(message, now)
            case IceLost():
                return self._on_ice_lost(message, now)
            case PathProven():
                return self._on_proven(message, now)
            case PathDoubtful():
                return self._on_doubtful(message, now)
            case PathDead():
                return self._on_dead(message, now)
            case DirectDue():
                return self._on_direct_due(now)
            case PathHindered():
                self._account.hindrances[message.by] = message.reason
                return self._settle(self._ways(), "", now)
            case RemoteKnown():
                self._ours = message.ours
                self._account.know(message)
                return self._settle(self._ways(), "", now)
            case RemoteIdle():
                self._account.remote_idle = True
                return self._settle(self._ways(), "", now)
            case ProcessRestarted():
                return self._on_restarted(message, now)
            case ResetPeer():
                return self._on_reset(message)
            case _:
                assert_never(message)

    # --- ways come and go ---

    def _on_relay_ready(self, ready: RelayReady, now: float) -> list[Effect]:
        if ready.generation < self._first_generation:
            return []  # of the relay worker before this one
        ways = self._ways()
        assert ways.relay is None, ways  # the one before was told lost
        self._account.hindrances |= {"server": "", "relay": ""}
        self._recovery.relay_opened(ready.url)
        return self._settle(replace(ways, relay=Relay(ready.link, ready.generation, ready.url)), "", now)

    def _on_relay_lost(self, lost: RelayLost, now: float) -> list[Effect]:
        ways = self._ways()
        if ways.relay is None or ways.relay.generation != lost.generation:
            return []  # lost with the packet process already
        if ways.relay.standing != "dead":
            self._recovery.failed("relay")
        return self._settle(replace(ways, relay=None), lost.reason, now)

    def _on_ice_ready(self, ready: IceReady, now: float) -> list[Effect]:
        ways = self._ways()
        if ready.generation < self._first_generation:
            return []  # of the ICE worker before this one
        if ways.direct is not None and ways.direct.generation == ready.generation:
            return []  # it answers again: the watcher is about to see whether WireGuard does
        awaited = self._ours is not True and not self._controller and ways.relay is not None
        direct = Direct(ready.path, ready.generation, awaited=awaited)
        timer = [Later(now + OTHERS_DIRECT_S, DirectDue()) if awaited else Cancel(DirectDue)]
        return [*timer, *self._settle(replace(ways, direct=direct), "", now)]

    def _on_ice_doubtful(self, doubtful: IceDoubtful, now: float) -> list[Effect]:
        if (direct := self._ways().direct) is not None and direct.generation == doubtful.generation:
            self._recovery.doubted(direct, now, by_ice=True)
        stood = self._stand("direct", doubtful.generation, "doubtful", doubtful.reason, now)
        return [*stood, self._to.wg_watcher.send(ProveNow(peer=self._peer, reason=doubtful.reason))]

    def _on_ice_lost(self, lost: IceLost, now: float) -> list[Effect]:
        ways = self._ways()
        self._account.lost(lost)
        rung: Rung | None = None
        if (direct := ways.direct) is not None and direct.generation == lost.generation:
            ways = replace(ways, direct=None)
            if direct.standing != "dead":
                proven = _is_proven(ways.relay)
                rung = self._recovery.given_up(direct, lost.reason, now, cause="ice", proven=proven)
        return [Cancel(DirectDue), *self._climb(rung), *self._settle(ways, lost.reason, now)]

    def _on_direct_due(self, now: float) -> list[Effect]:
        ways = self._ways()
        if ways.direct is None:
            return []
        return self._settle(replace(ways, direct=replace(ways.direct, awaited=False)), "", now)

    def _on_restarted(self, restarted: ProcessRestarted, now: float) -> list[Effect]:
        if restarted.process != PACKET:
            return []
        self._kept = Recovery().kept()
        if self._ways() == Ways():
            return []  # no path of ours was in it
        self._paths = (None, None)
        self._recovery.failed("packet_restarted")
        return [Cancel(DirectDue), *self._settle(Ways(), "the packet process was restarted", now)]

    def _on_reset(self, reset: ResetPeer) -> list[Effect]:
        """Begin anew with this peer: its session, its relayed connection, its handshake, its offers."""
        self._recovery.reset()
        why = "reset by hand"
        return [
            self._to.ice_worker.send(Distress(peer=self._peer, path="direct", reason=why)),
            self._to.relay_worker.send(RelayEvidence(peer=self._peer, generation=0, reason=why)),
            TUNNELS.send(RenewHandshake(peer=self._peer)),
            self._to.guard.send(reset),
        ]

    # --- how they stand ---

    def _on_proven(self, proven: PathProven, now: float) -> list[Effect]:
        self._proven_at = proven.heard_at
        if (way := self._way(proven.path)) is not None and way.generation == proven.generation:
            self._recovery.proven(proven.path, proven.generation, proven.heard_at)
        return self._stand(proven.path, proven.generation, "proven", "", now)

    def _on_doubtful(self, doubtful: PathDoubtful, now: float) -> list[Effect]:
        way = self._way(doubtful.path)
        if way is not None and way.generation == doubtful.generation:
            self._recovery.doubted(way, now)
        if doubtful.path == "relayed" or self._ours is True or way is None or way.generation != doubtful.generation:
            return self._stand(doubtful.path, doubtful.generation, "doubtful", doubtful.reason, now)
        # Towards a foreign peer one path at a time: on doubt the relay, and a new session (recovery R9).
        distress = Distress(peer=self._peer, path="direct", generation=doubtful.generation, reason=doubtful.reason)
        dead = PathDead(peer=self._peer, path="direct", generation=doubtful.generation, reason=doubtful.reason)
        stood = self._on_dead(dead, now)
        return [self._to.ice_worker.send(distress), *stood]

    def _on_dead(self, dead: PathDead, now: float) -> list[Effect]:
        ways, way, rung = self._ways(), self._way(dead.path), None
        if way is not None and way.generation == dead.generation and way.standing != "dead":
            other = ways.direct if dead.path == "relayed" else ways.relay
            rung = self._recovery.given_up(way, dead.reason, now, proven=_is_proven(other))
        return [*self._climb(rung), *self._stand(dead.path, dead.generation, "dead", dead.reason, now)]

    def _climb(self, rung: Rung | None) -> list[Effect]:
        """Do what is on this rung, where no other actor does it by itself (recovery R11)."""
        match rung:
            case "other_relay":
                return [self._to.relay_worker.send(MeetElsewhere(peer=self._peer))]
            case "handshake":
                return [TUNNELS.send(RenewHandshake(peer=self._peer))]
            case _:
                return []

    def _stand(self, kind: PathKind, generation: int, standing: Standing, reason: str, now: float) -> list[Effect]:
        ways, way = self._ways(), self._way(kind)
        if way is None or way.generation != generation or way.standing == "dead":
            return []  # about a way that is gone, or too late: its end is under way
        if standing == "doubtful" and way.standing == "unproven":
            return []  # it says nothing new of one that was never proven
        if isinstance(way, Relay):
            return self._settle(replace(ways, relay=replace(way, standing=standing)), reason, now)
        proven = replace(way, standing=standing, awaited=way.awaited and standing != "proven")
        return self._settle(replace(ways, direct=proven), reason, now)

    # --- what follows from it ---

    def _settle(self, ways: Ways, cause: str, now: float) -> list[Effect]:
        """Make what is sent on, watched and told follow from the ways that there are now."""
        choice = ways.choose(ours=self._ours is True)
        before, carried = self.state, {(way.kind, way.generation) for way in self._choice.carrying()}
        in_use = choice.in_use
        if isinstance(in_use, Relay) and in_use.standing == "proven" and carried and _name(in_use) not in carried:
            # It takes over from a direct path, and was heard a while ago: the watcher probes it now.
            ways = replace(ways, relay=replace(in_use, standing="resumed"))
            choice = ways.choose(ours=self._ours is True)
        self.state = self._state_of(ways, choice, cause, now)
        self._choice = choice
        if isinstance(in_use, Relay) and ways.direct is not None and ways.direct.standing in ("doubtful", "dead"):
            self._recovery.ladder.note("warm_relay")
        lost = isinstance(self.state, Pathless) and not isinstance(before, Pathless)
        return [
            *self._direct_packets(choice),
            *self._tell_guard(choice, cause, now, lost=lost),
            *self._tell_status(now),
        ]

    def _state_of(self, ways: Ways, choice: Choice, cause: str, now: float) -> State:
        outage, proven = self._outage(cause, now), choice.proven()
        if proven is not None:
            if outage is not None and not isinstance(self.state, Proven) and outage.missing != _name(proven):
                self._recovery.recovered(outage.cause, max(self._proven_at - outage.noticed_at, 0.0))
            return Proven(ways)
        standings = {way.standing: way for way in choice.carrying()}
        if (doubtful := standings.get("doubtful")) is not None:
            return Doubtful(ways, outage or Outage(now, cause, _name(doubtful)))
        if not standings:
            return Pathless(outage)
        return Failed(ways, outage) if standings.keys() == {"dead"} else Unproven(ways, outage)

    def _outage(self, cause: str, now: float) -> Outage | None:
        """Return the outage that goes on, or the one that begins now unless something is proven."""
        match self.state:
            case Proven():
                proven = self._choice.proven()
                return Outage(now, cause, _name(proven) if proven is not None else None)
            case Doubtful(outage=outage):
                return replace(outage, cause=cause) if cause else outage
            case Pathless(outage=outage) | Unproven(outage=outage) | Failed(outage=outage):
                return outage
            case _:
                assert_never(self.state)

    def _direct_packets(self, choice: Choice) -> list[Effect]:
        """Tell the packet process and the watcher, if it is anything new to them."""
        effects: list[Effect] = []
        paths, in_use, standby = choice.paths(), choice.in_use, choice.standby
        if paths != self._paths:
            self._paths, (path, copy) = paths, paths
            after_s = self._handshake_after_s if path is not None else None
            set_path = SetPath(peer=self._peer, path=path, standby=copy, handshake_after_s=after_s)
            effects.append(TUNNELS.send(set_path))
        watched = WatchPath(
            peer=self._peer,
            path=in_use.kind if in_use is not None else None,
            generation=in_use.generation if in_use is not None else 0,
            standby=standby.kind if standby is not None else None,
            standby_generation=standby.generation if standby is not None else 0,
        )
        if watched != self._watched:
            self._watched = watched
            effects.append(self._to.wg_watcher.send(watched))
        return effects

    def _tell_guard(self, choice: Choice, cause: str, now: float, *, lost: bool) -> list[Effect]:
        if lost:
            self._guarded, self._quarantine = None, None
            return [self._to.guard.send(PathLost(peer=self._peer, reason=cause)), *self._tell_quarantine(now)]
        proven, relay = choice.proven(), self._ways().relay
        if proven is None:
            return self._tell_quarantine(now)
        standby = isinstance(proven, Direct) and relay is not None and relay.standing != "dead"
        ready = PathReady(peer=self._peer, path=proven.kind, standby=standby)
        if ready == self._guarded:
            return []
        self._guarded = ready
        return [self._to.guard.send(ready)]

    def _tell_quarantine(self, now: float) -> list[Effect]:
        quarantine = self._recovery.budget.quarantine(now)
        if quarantine is None or quarantine == self._quarantine:
            return []
        self._quarantine = quarantine
        quarantined = PeerQuarantined(peer=self._peer, until=quarantine.until, reason=quarantine.reason)
        return [self._to.guard.send(quarantined)]

    def _tell_status(self, now: float) -> list[Effect]:
        label: Label
        match self.state:
            case Proven():
                label, reason = "connected", ""
            case Doubtful(outage=Outage(cause=cause)):
                label, reason = "doubtful", cause
            case Unproven():
                label, reason = "connecting", NO_PROOF_YET
            case Failed(outage=outage):
                label, reason = "connecting", outage.cause if outage is not None else NO_PROOF_YET
            case Pathless(outage=outage):
                label, reason = self._account.why_no_way(outage)
            case _:
                assert_never(self.state)
        status = self._account.news(label, reason, self._choice, self._choice.proven(), now)
        return [STATUS.send(status)] if status is not None else []

    def _keep(self) -> list[Effect]:
        """Leave with the packet process what a control process after this one must know."""
        kept = self._recovery.kept()
        if kept == self._kept:
            return []
        self._kept = kept
        return [TUNNELS.send(KeepRecovery(peer=self._peer, kept=kept))]

    # --- what is true of the state, whichever it is ---

    def _ways(self) -> Ways:
        return Ways() if isinstance(self.state, Pathless) else self.state.ways

    def _way(self, kind: PathKind) -> Way | None:
        return self._ways().relay if kind == "relayed" else self._ways().direct


def _is_proven(way: Way | None) -> bool:
    return way is not None and way.standing == "proven"


def _name(way: Way) -> tuple[PathKind, int]:
    return way.kind, way.generation
