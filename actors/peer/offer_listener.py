"""Which offers count, who must hear of them, and what our own say.

    Listening --SendOffer, while our home relay is down, or many peers have just lost it--> Holding
        |  ^---HoldDue: it goes out-----------------------------------------------------------/ ^
        |  ^---HomeRelayChanged(url), the one that we named last: the guard asks anew---------/ |
        \\------HomeRelayChanged(url), another; OutsideEvent, and the last one was not answered-/

    offer, answer --> relay: one in hand, one waiting (the latest) --RelayTurnDone--> the next
                 \\--> ICE:   the same, with the candidates after it --IceTurnDone---> the next

Offers and answers are one to the workers (signal spec 6.7).  Each worker has one in hand and one waiting; a newer one
replaces the waiting one (recovery R1).  Every offer is answered, once, as soon as it comes: what an answer says of us
does not depend on the offer, since the remote's new session does not change ours (recovery R6).

Between two of ours offers are numbered, so that one that was overtaken on its way is answered but not worked on.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Generic, Literal, TypeVar, assert_never

from actors.addresses import SIGNAL, PeerAddresses
from actors.effects import Cancel, Effect, Later
from actors.messages.node import OutsideEvent
from actors.messages.peer import (
    HoldDue,
    HomeRelayChanged,
    IceTurn,
    IceTurnDone,
    LocalIceChanged,
    LocalRelayChanged,
    OfferListenerInbox,
    PathHindered,
    PathsHeard,
    RelayTurn,
    RelayTurnDone,
    RemoteIdle,
    RemoteKnown,
    SendOffer,
)
from config.keys import PublicKey
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    Description,
    GoIdleReceived,
    HomingFields,
    IceCredentials,
    OfferReceived,
    PostDescription,
    SessionId,
)

HOLD_S = 1.0  # that an offer waits for our home relay: without its URL it is of no use to a peer that we meet there
RENAMED_S = 0.02  # from what makes an offer of ours stale or lost to the next: the guard may ask for one as well
TOGETHER_S = 1.0  # after our home relay went: peers that offer do so all for that reason
MAX_NONCES = 2048  # remembered, of sealed messages: of more than a minute, at twenty a second
MAX_BEHIND = 32  # candidates kept, the newest, behind the turn that waits
REORDERED = 1000  # offer numbers: further back than this is another run of the remote, not an overtaken offer

Turn = TypeVar("Turn", RelayTurn, IceTurn)


@dataclass(frozen=True, slots=True)
class Listening:
    """No offer of ours is kept back."""


@dataclass(frozen=True, slots=True)
class Holding:
    """An offer is owed, and waits for our home relay, or for its share of the time; HoldDue is set."""

    reason: str


@dataclass(slots=True)
class Turns(Generic[Turn]):
    """The offers of one worker: one in hand, one waiting."""

    in_hand: int | None = None
    waiting: Turn | None = None
    replaced: int = 0  # waiting ones that a newer one took the place of

    def offer(self, turn: Turn) -> Turn | None:
        """Take a turn; return it if the worker is free for it."""
        if self.in_hand is not None:
            self.replaced += self.waiting is not None
            self.waiting = turn
            return None
        self.in_hand = turn.turn
        return turn

    def done(self, turn: int) -> Turn | None:
        """The worker ended this turn; return the next."""
        if turn != self.in_hand:
            return None  # of the listener before this one: a peer's machines may be made anew while mail is on its way
        following, self.waiting = self.waiting, None
        self.in_hand = following.turn if following is not None else None
        return following


class OfferListener:
    """Serializes what the remote says, and says what we are."""

    inbox: ClassVar[object] = OfferListenerInbox

    def __init__(
        self,
        peer: PublicKey,
        addresses: PeerAddresses,
        *,
        first_offer_id: int,
        listen_port: int,
        version: str,
        home: HomeRelayChanged,
        rng: Random,
    ) -> None:
        self._peer, self._to, self._rng = peer, addresses, rng
        self._listen_port, self._version, self._home = listen_port, version, home
        self._together_until = float("-inf")  # other peers offer for the same reason as this one
        self._next_offer_id = self._next_turn = first_offer_id
        self._newest_remote_id = 0  # offer number of the remote's; 0: none, or foreign
        self._ice: IceCredentials | None = None
        self._session: SessionId | None = None
        self._relay_generation = 0
        self._heard = PathsHeard(peer=peer)
        self._relay_url: str | None = None  # where we meet, if not at our home
        self._relay_unreached: str | None = None  # where we would meet, and cannot be
        self._named: str | None = None  # the relay of our last offer or answer; None: there was none, or it had none
        self._described = False  # by an offer or an answer
        self._remote: RemoteKnown | None = None
        self._unanswered = 0  # offers sent since the remote last said something
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self._behind: deque[CandidateReceived] = deque(maxlen=MAX_BEHIND)
        self.relay_turns: Turns[RelayTurn] = Turns()
        self.ice_turns: Turns[IceTurn] = Turns()
        self.repeated = self.overtaken = 0  # messages that were not worked on, and why
        self.state: Listening | Holding = Listening()

    def handle(self, message: OfferListenerInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case OfferReceived():
                if self._is_repeated(message.nonce):
                    return []  # the same sealed message again: already answered and worked on
                effects = self._on_description(message.description)
                return [*effects, self._post("answer", message.description, now)]
            case AnswerReceived():
                return [] if self._is_repeated(message.nonce) else self._on_description(message.description)
            case CandidateReceived():
                return [] if self._is_repeated(message.nonce) else self._on_candidate(message)
            case GoIdleReceived():
                return [] if self._is_repeated(message.nonce) else self._on_go_idle()
            case SendOffer():
                return self._on_send_offer(message, now)
            case HoldDue():
                self.state = Listening()
                return self._offer(now)
            case RelayTurnDone():
                relay_turn = self.relay_turns.done(message.turn)
                return [self._to.relay_worker.send(relay_turn)] if relay_turn is not None else []
            case IceTurnDone():
                return self._on_ice_turn_done(message)
            case LocalIceChanged():
                self._ice, self._session = message.ice, message.session
                return []
            case LocalRelayChanged():
                self._relay_generation, self._relay_url = message.generation, message.url
                self._relay_unreached = message.unreached
                return []
            case PathsHeard():
                self._heard = message
                return []
            case HomeRelayChanged():
                return self._on_home_changed(message, now)
            case OutsideEvent():
                return self._on_signal_connected(message, now)
            case _:
                assert_never(message)

    @property
    def counters(self) -> dict[str, int]:
        """What was not worked on, and why."""
        replaced = self.relay_turns.replaced + self.ice_turns.replaced
        return {"replaced": replaced, "repeated": self.repeated, "overtaken": self.overtaken}

    def _is_repeated(self, nonce: bytes) -> bool:
        if nonce in self._nonces:
            self.repeated += 1
            return True
        self._nonces[nonce] = None
        if len(self._nonces) > MAX_NONCES:
            self._nonces.popitem(last=False)
        return False

    def _on_description(self, description: Description) -> list[Effect]:
        effects = self._hear(description)
        offer_id = description.homing.offer_id if description.homing is not None else 0
        if 0 < self._newest_remote_id - offer_id < REORDERED:
            self.overtaken += 1
            return effects  # a newer one came before it: what it says of the remote has passed
        self._newest_remote_id = offer_id
        return [*effects, *self._turns_for(description)]

    def _hear(self, description: Description) -> list[Effect]:
        """Tell who the remote is where that is news, and that it is there."""
        effects: list[Effect] = []
        known = RemoteKnown(peer=self._peer, ours=description.homing is not None, ice=description.ice is not None)
        if known != self._remote:
            self._remote = known
            effects += [self._to.conn.send(known), self._to.guard.send(known), self._to.wg_watcher.send(known)]
        return [*effects, *self._forget_unanswered()]

    def _forget_unanswered(self) -> list[Effect]:
        if not self._unanswered:
            return []
        self._unanswered = 0
        return [self._to.conn.send(PathHindered(peer=self._peer, by="offers", reason=""))]

    def _turns_for(self, description: Description) -> list[Effect]:
        homing, turn = description.homing, self._next_turn
        self._next_turn += 1
        relay_turn = self.relay_turns.offer(
            RelayTurn(
                peer=self._peer,
                turn=turn,
                relay_url=description.relay_url,
                relay_ip=description.relay_ip,
                remote_generation=homing.relay_generation if homing is not None else 0,
                ours=homing is not None,
                relay_urls=homing.relay_urls if homing is not None else (),
                relay_unreached=homing.relay_unreached if homing is not None else None,
            )
        )
        ice_turn = self.ice_turns.offer(
            IceTurn(
                peer=self._peer,
                turn=turn,
                ice=description.ice,
                session=description.session,
                ours=homing is not None,
            )
        )
        effects: list[Effect] = []
        if relay_turn is not None:
            effects.append(self._to.relay_worker.send(relay_turn))
        if ice_turn is not None:
            effects.append(self._to.ice_worker.send(ice_turn))
        return effects

    def _on_candidate(self, received: CandidateReceived) -> list[Effect]:
        """Hand a candidate on, behind the turn that came before it."""
        if self.ice_turns.waiting is not None:
            self._behind.append(received)
            return []
        return [self._to.ice_worker.send(received)]

    def _on_ice_turn_done(self, done: IceTurnDone) -> list[Effect]:
        turn = self.ice_turns.done(done.turn)
        if turn is None:
            return []
        behind = list(self._behind)
        self._behind.clear()
        return [self._to.ice_worker.send(turn), *(self._to.ice_worker.send(candidate) for candidate in behind)]

    def _on_go_idle(self) -> list[Effect]:
        if self._remote is not None and self._remote.ours:
            return []  # ours never say it, and keep their paths up
        self._remote = None  # so that its next offer is news, and wakes the guard
        self.relay_turns.waiting = self.ice_turns.waiting = None  # what it said before; answered already
        self._behind.clear()
        idle, to = RemoteIdle(peer=self._peer), self._to
        told = [to.guard.send(idle), to.conn.send(idle), to.relay_worker.send(idle), to.ice_worker.send(idle)]
        return [*told, *self._forget_unanswered()]

    def _on_send_offer(self, request: SendOffer, now: float) -> list[Effect]:
        if isinstance(self.state, Holding):
            return []  # one offer is owed already, and says whatever is true when it goes
        hold_s = 0.0 if self._home.url is not None or self._relay_url is not None else HOLD_S
        if self._home.spread_s and now < self._together_until:
            hold_s += self._rng.uniform(0.0, self._home.spread_s)
        if not hold_s:
            return self._offer(now)
        self.state = Holding(request.reason)
        return [Later(now + hold_s, HoldDue())]

    def _on_home_changed(self, home: HomeRelayChanged, now: float) -> list[Effect]:
        """Take note of our home relay; the guard hears of it too, and asks anew for what is owed still.

        Where the remote knows of another relay, or of none, it is told also if a path is proven by then: it could send
        to where nobody listens any more, or have no relayed connection to stand by.
        """
        self._home = home
        if home.url is None:
            self._together_until = now + TOGETHER_S
            return []
        if not self._described or (self._relay_url or home.url) == self._named:
            self.state = Listening()
            return [Cancel(HoldDue)]
        self.state = Holding("our home relay is another")
        return [Later(now + RENAMED_S + self._rng.uniform(0.0, home.spread_s), HoldDue())]

    def _on_signal_connected(self, event: OutsideEvent, now: float) -> list[Effect]:
        """Who has not answered may not have got what went into the link before: it is sent anew (recovery R14)."""
        if not self._unanswered or isinstance(self.state, Holding):
            return []
        self.state = Holding("the signal link is another")
        return [Later(now + RENAMED_S + self._rng.uniform(0.0, event.spread_s), HoldDue())]

    def _offer(self, now: float) -> list[Effect]:
        self._unanswered += 1
        reason = f"the remote has not answered any offer ({self._unanswered} sent)"
        hindered = PathHindered(peer=self._peer, by="offers", reason=reason)
        return [self._post("offer", None, now), self._to.conn.send(hindered)]

    def _post(self, kind: Literal["offer", "answer"], answers: Description | None, now: float) -> Effect:
        theirs = answers.homing if answers is not None else None
        home, elsewhere = self._home, self._relay_url
        homing = HomingFields(
            offer_id=self._next_offer_id,
            acknowledges=theirs.offer_id if theirs is not None else 0,
            relay_generation=self._relay_generation,
            relay_urls=tuple(url for url in (home.url, elsewhere) if url is not None),
            relay_unreached=self._relay_unreached if self._relay_unreached != home.url else None,  # the link is back
            heard_direct_ms=_age_ms(self._heard.direct_at, now),
            heard_relayed_ms=_age_ms(self._heard.relayed_at, now),
        )
        self._next_offer_id += 1
        self._named, self._described = elsewhere or home.url, True
        description = Description(
            ice=self._ice,
            session=self._session,
            listen_port=self._listen_port,
            version=self._version,
            relay_url=self._named,
            relay_ip=home.server_ip if elsewhere is None else None,
            homing=homing,
        )
        return SIGNAL.send(PostDescription(peer=self._peer, kind=kind, description=description))


def _age_ms(at: float | None, now: float) -> int | None:
    return None if at is None else max(int((now - at) * 1000), 0)
