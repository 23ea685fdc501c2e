"""The offer listener and the relay worker together, against everything that may come in any order."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import PACKET, RELAYS, SIGNAL
from actors.messages.node import CloseRelayed, HomeRelayChanged, OpenRelayed
from actors.messages.packet import RelayedClosed, RelayedCloseDone, RelayedFailed, RelayedOpened
from actors.messages.peer import (
    IceTurn,
    IceTurnDone,
    LocalRelayChanged,
    RelayEvidence,
    RelayTurn,
    RelayTurnDone,
    RemoteIdle,
    ReopenDue,
)
from actors.messages.process import ProcessRestarted
from actors.peer.offer_listener import OfferListener
from actors.peer.relay_states import Closed, Closing, Open, Opening
from actors.peer.relay_worker import OPEN_S, RelayWorker
from tests.actors.peer.names import BOB, HOME, OTHER, THEIRS, TO, offer
from tests.kit.bench import Bench
from tests.kit.world import World
from transport.signal.messages import PostDescription

HOME_UP = HomeRelayChanged(url=HOME, server_ip=None)


def offer_listener() -> OfferListener:
    rng = Random(1)
    return OfferListener(BOB, TO, first_offer_id=1, listen_port=0, version="0.1.0", home=HOME_UP, rng=rng)


class Pair:
    """Both machines, and a relay end that does as it is told when the story lets it."""

    def __init__(self, *, controller: bool) -> None:
        self.offer_listener = offer_listener()
        self.relay_worker = RelayWorker(
            BOB, TO, controller=controller, first_generation=1, home_url=HOME, rng=Random(1)
        )
        self.listener, self.worker = Bench(self.offer_listener), Bench(self.relay_worker)
        self.controller = controller
        self.opens: list[int] = []  # generations asked for, that nothing has come of
        self.closes: list[int] = []  # not acknowledged
        self.asked: list[int] = []  # every generation ever opened
        self.urls: dict[int, str] = {}  # generation -> where
        self.accused: set[int] = set()  # generations with evidence against them
        self.newer = False  # an offer named a newer generation of the remote's: it may close what is open
        self.outcomes: list[str] = []
        self.offers = self.answers = 0
        self._url = THEIRS

    def step(self, step: str) -> None:
        state = self.worker.state
        match step:
            case "offer" | "other server" | "newer":
                if step == "other server":
                    self._url = OTHER if self._url == THEIRS else THEIRS
                self.offers += 1
                self.newer |= step == "newer"
                moved = step == "other server" and not self.controller  # which stays at its own home
                if isinstance(state, Open) and (moved or (step == "newer" and state.against > 0)):
                    self.accused.add(state.generation)
                self.listener.tell(offer(self.offers, self._url, generation=self.offers if step == "newer" else 0))
            case "opened" if self.opens:
                self.worker.tell(RelayedOpened(peer=BOB, generation=self.opens.pop(0), link=1))
            case "failed" if self.opens:
                self.worker.tell(RelayedFailed(peer=BOB, generation=self.opens.pop(0), reason="no"))
            case "gone" if isinstance(state, Open):
                self.accused.add(state.generation)
                gone = RelayedClosed(peer=BOB, generation=state.generation, cause="peer_gone", reason="it left")
                self.worker.tell(gone)
            case "late gone" if self.asked:
                late = self.asked[0]
                if not (isinstance(state, Open | Opening) and state.generation == late):
                    self.worker.tell(RelayedClosed(peer=BOB, generation=late, cause="peer_gone", reason="it left"))
            case "evidence" if isinstance(state, Open):
                self.accused.add(state.generation)
                self.worker.tell(RelayEvidence(peer=BOB, generation=state.generation, reason="silence"))
            case "old evidence" if self.asked:
                if not (isinstance(state, Open) and state.generation == self.asked[0]):
                    self.worker.tell(RelayEvidence(peer=BOB, generation=self.asked[0], reason="silence"))
            case "evidence of none":
                if isinstance(state, Open):
                    self.accused.add(state.generation)
                self.worker.tell(RelayEvidence(peer=BOB, generation=0, reason="silence"))
            case "close done" if self.closes:
                self.worker.tell(RelayedCloseDone(peer=BOB, generation=self.closes.pop(0)))
            case "home" | "away":
                changed = HOME_UP if step == "home" else HomeRelayChanged(url=None, server_ip=None)
                self.worker.tell(changed)
                self.listener.tell(changed)
            case "packet process":
                if isinstance(state, Open):
                    self.accused.add(state.generation)
                self.opens, self.closes = [], []
                self.worker.tell(ProcessRestarted(process=PACKET, incarnation=2))
            case "idle":
                if isinstance(state, Open):
                    self.accused.add(state.generation)
                self.worker.tell(RemoteIdle(peer=BOB))
            case "time":
                self.worker.advance(1.1)
                self.listener.advance(1.1)
        self._settle()

    def _settle(self) -> None:
        """Carry the mail between the two, and check what must hold after every step."""
        while True:
            turns = [mail for mail in self.listener.mail(TO.relay_worker) if isinstance(mail, RelayTurn)]
            done = [mail for mail in self.worker.mail(TO.offer_listener) if isinstance(mail, RelayTurnDone)]
            ice = [mail for mail in self.listener.mail(TO.ice_worker) if isinstance(mail, IceTurn)]
            if not turns and not done and not ice:
                break
            self.outcomes += [end.outcome for end in done]
            self.listener.tell(*(IceTurnDone(peer=BOB, turn=turn.turn, outcome="no_ice") for turn in ice), *done)
            self.worker.tell(*turns)
        for mail in self.worker.mail(RELAYS):
            if isinstance(mail, OpenRelayed):
                assert all(mail.generation > before for before in self.asked), "a generation was opened twice"
                self.asked.append(mail.generation)
                self.urls[mail.generation] = mail.url
                self.opens.append(mail.generation)
            elif isinstance(mail, CloseRelayed):
                self.closes.append(mail.generation)
                self.opens = [generation for generation in self.opens if generation != mail.generation]
        self.answers += sum(
            isinstance(mail, PostDescription) and mail.kind == "answer" for mail in self.listener.mail(SIGNAL)
        )
        self._check()

    def _check(self) -> None:
        state = self.worker.state
        assert self.answers == self.offers
        if isinstance(state, Open):
            assert state.generation not in self.accused, "a stale connection is in use"
        if isinstance(state, Closing) and state.lost is not None and state.generation not in self.accused:
            moved = self.urls[state.generation] != self._url
            assert moved or self.newer, "a healthy connection was closed"
            self.accused.add(state.generation)
        if isinstance(state, Closed):
            url = self.relay_worker.meeting.url()
            assert url is None or ReopenDue in self.worker.timers, "closed with no way out"
        elif not isinstance(state, Open):
            assert self.worker.timers, "no way out of this state"


STEPS = st.sampled_from(
    [
        "offer",
        "offer",
        "other server",
        "newer",
        "opened",
        "opened",
        "failed",
        "gone",
        "late gone",
        "evidence",
        "old evidence",
        "evidence of none",
        "close done",
        "close done",
        "home",
        "away",
        "packet process",
        "idle",
        "time",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=40), st.booleans())
def test_in_any_order_offers_are_answered_turns_end_and_only_stale_connections_go(
    steps: list[str], controller: bool
) -> None:
    pair = Pair(controller=controller)
    for step in steps:
        pair.step(step)
    for step in ["home", "offer", *["close done", "opened", "time"] * 8]:
        pair.step(step)
    assert isinstance(pair.worker.state, Open)
    assert pair.offer_listener.relay_turns.in_hand is None
    assert pair.offer_listener.relay_turns.waiting is None


@settings(deadline=None)
@given(st.lists(st.sampled_from(["offer", "opened", "time", "home", "old evidence", "late gone"]), max_size=60))
def test_without_evidence_nothing_is_ever_closed(steps: list[str]) -> None:  # recovery R2
    pair = Pair(controller=False)
    for step in ["offer", "opened", *steps]:
        pair.step(step)
    assert pair.asked == [1]
    assert pair.closes == []
    assert set(pair.outcomes) <= {"opened", "reused"}


def test_offers_that_keep_coming_do_not_prolong_an_opening_that_nobody_answers() -> None:
    world = World()
    listener = offer_listener()
    worker = RelayWorker(BOB, TO, controller=False, first_generation=1, home_url=HOME, rng=Random(1))
    world.add({TO.offer_listener: listener, TO.relay_worker: worker})
    begun, number = world.now, 0
    while not any(isinstance(mail, CloseRelayed) for mail in world.mail(RELAYS)):
        assert world.now - begun < OPEN_S + 1
        number += 1
        world.post(TO.offer_listener, offer(number))
        world.run_for(1.0)
    assert world.now - begun > OPEN_S - 1
    world.post(TO.relay_worker, RelayedCloseDone(peer=BOB, generation=1))
    world.run_for(0.0)
    assert [type(mail) for mail in world.mail(RELAYS)] == [OpenRelayed]
    assert listener.relay_turns.in_hand is not None  # the turn waits for what comes of that


class Chasers:
    """Two relay workers that tell each other of their connections by offers."""

    def __init__(self) -> None:
        self.workers = [
            Bench(RelayWorker(BOB, TO, controller=index == 0, first_generation=1, home_url=HOME, rng=Random(index)))
            for index in range(2)
        ]
        self.told = [0, 0]
        self.on_the_way: list[list[int]] = [[], []]  # generations named in offers to each
        self.turns = [0, 0]
        self.busy = [False, False]
        self.closes = 0

    def offer(self, who: int) -> None:
        self.on_the_way[1 - who].append(self.told[who])

    def deliver(self, who: int) -> None:
        if not self.on_the_way[who] or self.busy[who]:
            return
        self.turns[who] += 1
        self.busy[who] = True
        turn = RelayTurn(
            peer=BOB,
            turn=self.turns[who],
            relay_url=HOME,
            relay_ip=None,
            remote_generation=self.on_the_way[who].pop(0),
            ours=True,
        )
        self.workers[who].tell(turn)
        self.look(who)

    def evidence(self, who: int) -> None:
        state = self.workers[who].state
        if isinstance(state, Open):
            self.workers[who].tell(RelayEvidence(peer=BOB, generation=state.generation, reason="silence"))
            self.look(who)

    def relay_end(self, who: int) -> None:
        state = self.workers[who].state
        if isinstance(state, Opening):
            self.workers[who].tell(RelayedOpened(peer=BOB, generation=state.generation, link=1))
        elif isinstance(state, Closing):
            self.workers[who].tell(RelayedCloseDone(peer=BOB, generation=state.generation))
        self.look(who)

    def look(self, who: int) -> None:
        worker = self.workers[who]
        for mail in worker.mail(TO.offer_listener):
            if isinstance(mail, LocalRelayChanged):
                self.told[who] = mail.generation
            elif isinstance(mail, RelayTurnDone):
                self.busy[who] = False
        self.closes += sum(isinstance(mail, CloseRelayed) for mail in worker.mail(RELAYS))

    def round(self) -> None:
        for who in (0, 1):
            self.offer(who)
        for _ in range(4 + len(self.on_the_way[0]) + len(self.on_the_way[1])):
            for who in (0, 1):
                self.deliver(who)
                self.relay_end(who)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["offer", "deliver", "evidence", "relay_end"]), st.integers(0, 1)), max_size=60)
)
def test_two_ends_that_see_each_other_reopen_settle(steps: list[tuple[str, int]]) -> None:  # recovery R3 (e), S14
    chasers = Chasers()
    for step, who in steps:
        getattr(chasers, step)(who)
    for _ in range(3):
        chasers.round()
    before = chasers.closes
    for _ in range(10):
        chasers.round()
    assert chasers.closes == before
    assert all(isinstance(worker.state, Open) for worker in chasers.workers)
