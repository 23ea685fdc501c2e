"""Opens, keeps and replaces the relayed connection to one peer.

    Closed  --RelayTurn, ReopenDue, HomeRelayChanged--> Opening
    Opening --RelayedOpened--> Open           --RelayedFailed--> Closed, with ReopenDue
            --another server, OpenDue--> Closing
    Open    --evidence--> Closing             --RelayedClosed, RelayedCloseDone--> Opening
    Closing --RelayedCloseDone, OpenDue--> Opening, or Closed where there is nothing to open

An offer that meets an open connection reuses it (recovery R2), unless there is evidence: the watcher's RelayEvidence,
RelayedClosed, a newer generation of the remote's connection, or another server.  With evidence the connection is
closed where it was opened, and reopened after the acknowledgement with the latest offer, at once (R3, R4, R5).
Evidence that meets no connection of ours is kept until an opening succeeds; each opening first closes whatever entry
there is.

Two generations: each opening has a number of its own, greater than any before.  Offers name another, that of the first
opening after our own evidence, and do so before it succeeds: left out of the first offer, the remote would reuse what
it has, and the second offer close what was proven since (R2).  What we reopened because the remote reopened keeps the
number that the remote knows, else each of two peers would take the other's reopening for news, for ever (R6 says the
same of ICE sessions).  What was reopened on our own evidence takes whatever number the remote names next for granted.

Where nobody comes to the server, or nothing over it, the controller goes on to another (meeting.py), and says so.
"""

from dataclasses import replace
from random import Random
from typing import ClassVar, assert_never

from actors.addresses import PACKET, RELAYS, PeerAddresses
from actors.effects import Cancel, Effect, Later
from actors.messages.node import CloseRelayed, HomeRelayChanged, OpenRelayed
from actors.messages.packet import RelayedClosed, RelayedCloseDone, RelayedFailed, RelayedOpened
from actors.messages.peer import (
    Distress,
    MeetElsewhere,
    OpenDue,
    PathHindered,
    ProveNow,
    RelayEvidence,
    RelayLost,
    RelayReady,
    RelayTurn,
    RelayTurnDone,
    RelayWorkerInbox,
    RemoteIdle,
    ReopenDue,
)
from actors.messages.process import ProcessRestarted
from actors.peer.meeting import NOT_HOME, Meeting
from actors.peer.naming import Naming
from actors.peer.relay_states import REPLACED, Closed, Closing, Open, Opening, Outcome
from actors.peer.reopening import Reopening
from config.keys import PublicKey

TURN_S = 3.0  # an opening that takes longer gives its turn back, so that a newer offer may name a better server
WOKE_S = 2 * TURN_S  # since the first of several offers: with one that comes later the remote has its time again
OPEN_S = 75.0  # more than a dial and a wait for the peer take (30 s each): the answer was lost
CLOSE_S = 2.0  # for the acknowledgement; later, whoever owed it is gone, and the connection with it


class RelayWorker:
    """Opens, keeps and replaces the relayed connection to one peer."""

    inbox: ClassVar[object] = RelayWorkerInbox

    def __init__(
        self,
        peer: PublicKey,
        addresses: PeerAddresses,
        *,
        controller: bool,
        first_generation: int,
        home_url: str | None,
        rng: Random,
        resumed: tuple[int, str] | None = None,
    ) -> None:
        self._peer, self._to, self._controller, self._reopening = peer, addresses, controller, Reopening(rng)
        self._next_generation = first_generation
        self._latest: RelayTurn | None = None  # the newest offer, kept for the openings that nobody asks for
        self._evidence: str | None = None  # against an entry that we hold no handle of
        self._own_evidence = False  # the next opening is made on it
        self.state: Closed | Opening | Open | Closing = Closed("no offer or answer from the remote yet")
        self.meeting = Meeting(controller=controller, home_url=home_url, url=resumed[1] if resumed else None)
        self._naming = Naming(peer, addresses, self.meeting, 0 if resumed else first_generation)
        if resumed is not None:
            generation, url = resumed
            self._latest = RelayTurn(peer=peer, turn=0, relay_url=url, relay_ip=None)
            self.meeting.learn(self._latest)
            self.state = Open(generation, url, against=0)

    def start(self, _now: float) -> list[Effect]:
        """Have offers name what will be opened first, or the place of what outlived the control process."""
        return [self._naming.tell()]

    def handle(self, message: RelayWorkerInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case RelayTurn():
                self._latest = message
                return [*self._naming.learn(message), *self._on_turn(message, now)]
            case RelayEvidence():
                return self._on_evidence(message, now)
            case MeetElsewhere():
                return self._on_meet_elsewhere(now)
            case RemoteIdle():
                self._latest = None
                return [*self._naming.learn(None), *self._on_remote_idle(now)]
            case HomeRelayChanged():
                return self._on_home_changed(message.url, now)
            case RelayedOpened():
                return self._on_opened(message)
            case RelayedFailed():
                return self._on_failed(message, now)
            case RelayedClosed():
                return self._on_closed(message, now)
            case RelayedCloseDone():
                return self._on_acknowledged(message, now)
            case ProcessRestarted():
                return self._on_packet_restarted(now) if message.process == PACKET else []
            case OpenDue():
                return self._on_open_due(now)
            case ReopenDue():
                assert isinstance(self.state, Closed), self.state
                return [*(self._naming.move_on(now) if self.meeting.url() is None else []), *self._open(None, now)]
            case _:
                assert_never(message)

    @property
    def counters(self) -> dict[str, int]:
        """What was done where relays led nowhere."""
        return {"moves": self._naming.moves}

    # --- offers ---

    def _on_turn(self, turn: RelayTurn, now: float) -> list[Effect]:
        state = self.state
        match state:
            case Closed():
                return self._open(turn.turn, now)
            case Opening():
                return [*self._end(state.turn, "failed", REPLACED), *self._join(state, turn, now)]
            case Open():
                return self._reuse(state, turn, now)
            case Closing():
                self.state = replace(state, turn=turn.turn)
                return self._end(state.turn, "failed", REPLACED)  # the new one is opened after the acknowledgement
            case _:
                assert_never(state)

    def _join(self, state: Opening, turn: RelayTurn, now: float) -> list[Effect]:
        if (url := self.meeting.url()) not in (None, state.url):
            return self._close(state.generation, turn=turn.turn, lost=None, distress=False, now=now)
        if url is None or self.meeting.is_out_of_reach(url):  # the next offer may name a place, or a better one
            self.state = replace(state, turn=None)
            why = f"we do not reach relay {url}" if url else self.meeting.lack()
            return [*self._end(turn.turn, "unavailable", why), Later(state.since_at + OPEN_S, OpenDue())]
        offered_at = state.offered_at
        if offered_at is None or now >= offered_at + WOKE_S:
            offered_at = now
        self.state = replace(
            state, turn=turn.turn, against=turn.remote_generation or state.against, offered_at=offered_at
        )
        return [Later(min(max(offered_at + TURN_S, now), state.since_at + OPEN_S), OpenDue())]

    def _reuse(self, state: Open, turn: RelayTurn, now: float) -> list[Effect]:
        url = self.meeting.url()
        if url not in (None, state.url):
            lost = f"the pair moves from relay {state.url} to {url}"
            return self._close(state.generation, turn=turn.turn, lost=lost, distress=False, now=now)
        if 0 < state.against < turn.remote_generation:
            lost = "the remote opened its relayed connection anew"
            return self._close(state.generation, turn=turn.turn, lost=lost, distress=False, now=now)
        self.state = replace(state, against=max(state.against, turn.remote_generation))
        prove = ProveNow(peer=self._peer, reason="an offer met an open relayed connection")
        return [*self._end(turn.turn, "reused"), self._to.wg_watcher.send(prove)]

    def _on_home_changed(self, url: str | None, now: float) -> list[Effect]:
        moved, state = self._naming.settle(url), self.state
        match state:
            case Closed():
                wanted = self._controller and self.meeting.url() is not None
                return [*moved, *(self._open(None, now) if wanted else [])]
            case Opening():
                if self.meeting.url() in (None, state.url):
                    return moved
                close = self._close(state.generation, turn=state.turn, lost=None, distress=False, now=now)
                return [*moved, *close]
            case Open() | Closing():
                return moved  # it works where it is until an offer names another; what is closing opens there anyway
            case _:
                assert_never(state)

    def _on_remote_idle(self, now: float) -> list[Effect]:
        state, lost = self.state, "the remote went idle"
        match state:
            case Closed():
                self.state = Closed(lost)
                return [Cancel(ReopenDue)]
            case Opening():
                close = self._close(state.generation, turn=None, lost=None, distress=False, now=now)
                return [*self._end(state.turn, "failed", lost), *close]
            case Open():
                return self._close(state.generation, turn=None, lost=lost, distress=False, now=now)
            case Closing():
                self.state = replace(state, turn=None)
                return self._end(state.turn, "failed", lost)
            case _:
                assert_never(state)

    # --- evidence ---

    def _on_evidence(self, evidence: RelayEvidence, now: float) -> list[Effect]:
        state = self.state
        match state:
            case Open():
                if evidence.generation not in (0, state.generation):
                    return []  # about one that has been replaced
                return self._close(state.generation, turn=None, lost=evidence.reason, distress=True, now=now)
            case Closed() | Opening():
                if evidence.generation == 0:
                    self._evidence = evidence.reason
                return []  # the other generations are gone already
            case Closing():
                if state.lost is not None and evidence.generation in (0, state.generation):
                    self.state = replace(state, distress=True)
                return []  # the close that it asks for is on its way
            case _:
                assert_never(state)

    def _on_meet_elsewhere(self, now: float) -> list[Effect]:
        state = self.state  # what is open is another connection than the one that nothing came over
        moved = self._naming.move_on(now) if not isinstance(state, Open) else []
        if not moved or not isinstance(state, Opening):
            return moved  # what is opened next is opened there
        return [*moved, *self._close(state.generation, turn=state.turn, lost=None, distress=False, now=now)]

    def _on_closed(self, closed: RelayedClosed, now: float) -> list[Effect]:
        state = self.state
        if not isinstance(state, Open) or state.generation != closed.generation:
            return []  # of one that we close, or that has been replaced: told by its own acknowledgement
        self._renew()
        self.meeting.unreached = state.url if closed.cause == "link_closed" else None
        return [*self._lose(state.generation, closed.reason), *self._open(None, now)]

    def _on_packet_restarted(self, now: float) -> list[Effect]:
        """What the packet process held is gone; nothing is left to close."""
        state, self._evidence = self.state, None
        match state:
            case Closed():
                return []  # ReopenDue, or an offer, opens
            case Opening():
                return self._open(state.turn, now)
            case Open():
                self._renew()
                return [*self._lose(state.generation, "the packet process was restarted"), *self._open(None, now)]
            case Closing():
                return self._on_close_done(state, now)
            case _:
                assert_never(state)

    # --- what came of opening and closing ---

    def _on_opened(self, opened: RelayedOpened) -> list[Effect]:
        state = self.state
        if not isinstance(state, Opening) or state.generation != opened.generation:
            return []  # it is being closed, or has been replaced
        self.state = Open(state.generation, state.url, state.against)
        self._evidence = None
        self._reopening.worked()
        self._own_evidence = False
        ready = RelayReady(peer=self._peer, generation=state.generation, link=opened.link, url=state.url)
        return [
            Cancel(OpenDue),
            self._hindered(""),
            *self._naming.unreached(None),
            self._to.conn.send(ready),
            *self._end(state.turn, "opened"),
        ]

    def _on_failed(self, failed: RelayedFailed, now: float) -> list[Effect]:
        state = self.state
        if not isinstance(state, Opening) or state.generation != failed.generation:
            return []  # it is being closed, or has been replaced
        told = self._naming.unreached(None if failed.reached else state.url)
        return [*told, *self._fail(state, failed.reason, now)]

    def _on_acknowledged(self, done: RelayedCloseDone, now: float) -> list[Effect]:
        state = self.state
        if isinstance(state, Closed | Opening) or state.generation != done.generation:
            return []  # of an older close: its limit was over before it was acknowledged
        if isinstance(state, Closing):
            return self._on_close_done(state, now)
        self._renew()  # we took it over while the worker before us closed it
        return [*self._lose(state.generation, "the worker before this one closed it"), *self._open(None, now)]

    def _on_close_done(self, state: Closing, now: float) -> list[Effect]:
        effects: list[Effect] = [Cancel(OpenDue)]
        if state.distress:
            distress = Distress(peer=self._peer, path="relayed", reason=state.lost or "")
            effects.append(self._to.ice_worker.send(distress))
            self._renew()
        if state.lost is not None:
            effects += self._lose(state.generation, state.lost)
        return effects + self._open(state.turn, now, entry_closed=True)

    def _on_open_due(self, now: float) -> list[Effect]:
        state = self.state
        match state:
            case Closing():
                return self._on_close_done(state, now)
            case Opening(turn=int() as turn) if now < state.since_at + OPEN_S:
                self.state = replace(state, turn=None)
                reason = f"the remote has not come to relay {state.url} yet"
                told = [self._hindered(reason), *self._end(turn, "failed", reason)]
                if moved := self._naming.move_on(now):
                    close = self._close(state.generation, turn=None, lost=None, distress=False, now=now)
                    return [*told, *moved, *close]
                return [*told, Later(state.since_at + OPEN_S, OpenDue())]
            case Opening():
                return self._close(state.generation, turn=state.turn, lost=None, distress=False, now=now)
            case Closed() | Open():
                raise AssertionError(state)
            case _:
                assert_never(state)

    # --- opening, closing, failing ---

    def _renew(self) -> None:
        """Have offers say from now on that what we had is no more."""
        self._naming.generation, self._own_evidence = self._next_generation, True

    def _open(self, turn: int | None, now: float, *, entry_closed: bool = False) -> list[Effect]:
        """Open with the latest offer; `turn` is in hand and ends with what comes of it."""
        url = self.meeting.url()
        if self._latest is None or url is None:
            return self._give_up(turn, now)
        if self._evidence is not None and not entry_closed:
            return self._close(0, turn=turn, lost=None, distress=False, now=now)
        generation = self._next_generation
        self._next_generation += 1
        self._reopening.begun()
        against = 0 if self._own_evidence else self._latest.remote_generation
        told: list[Effect] = []
        if self.meeting.is_out_of_reach(url):  # the next offer may name a better one
            turn, told = None, self._end(turn, "unavailable", f"we do not reach relay {url}")
        self.state = Opening(generation, url, now, turn, against, now if turn is not None else None)
        server_ip = self._latest.relay_ip if url == self._latest.relay_url else None
        return [
            Cancel(ReopenDue),
            Later(now + (OPEN_S if turn is None else TURN_S), OpenDue()),
            RELAYS.send(OpenRelayed(peer=self._peer, generation=generation, url=url, server_ip=server_ip)),
            *told,
        ]

    def _give_up(self, turn: int | None, now: float) -> list[Effect]:
        again: Effect = Cancel(ReopenDue)
        reason = self.meeting.lack()
        if reason == NOT_HOME:
            away_until = self._reopening.homeless(now)
            if self._latest is not None and self._latest.relay_url is not None:
                again = Later(away_until, ReopenDue())
        self.state = Closed(reason)
        return [Cancel(OpenDue), again, self._hindered(reason), *self._end(turn, "unavailable", reason)]

    def _fail(self, state: Opening, reason: str, now: float) -> list[Effect]:
        self.state = Closed(reason)
        return [
            Cancel(OpenDue),
            Later(self._reopening.failed(state.since_at, now), ReopenDue()),
            self._hindered(reason),
            *self._naming.move_on(now, offer=False),  # whether the remote is there at all is not known
            *self._end(state.turn, "failed", reason),
        ]

    def _close(
        self, generation: int, *, turn: int | None, lost: str | None, distress: bool, now: float
    ) -> list[Effect]:
        self.state = Closing(generation, turn, lost, distress)
        close = CloseRelayed(peer=self._peer, generation=generation)
        return [Cancel(ReopenDue), Later(now + CLOSE_S, OpenDue()), RELAYS.send(close)]

    def _lose(self, generation: int, reason: str) -> list[Effect]:
        lost = RelayLost(peer=self._peer, generation=generation, reason=reason)
        return [self._naming.tell(), self._to.conn.send(lost)]

    def _end(self, turn: int | None, outcome: Outcome, reason: str = "") -> list[Effect]:
        if turn is None:
            return []
        done = RelayTurnDone(peer=self._peer, turn=turn, outcome=outcome, reason=reason)
        return [self._to.offer_listener.send(done)]

    def _hindered(self, reason: str) -> Effect:
        return self._to.conn.send(PathHindered(peer=self._peer, by="relay", reason=reason))
