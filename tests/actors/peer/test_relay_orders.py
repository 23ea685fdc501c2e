"""Every order of what may happen around an open relayed connection ends on a fresh one (recovery R4)."""

from itertools import permutations, product

import pytest

from actors.addresses import RELAYS
from actors.messages.node import CloseRelayed, OpenRelayed
from actors.messages.peer import LocalRelayChanged, RelayReady
from actors.peer.relay_states import Open
from tests.actors.peer.names import TO
from tests.actors.peer.test_relay_worker import FIRST, closed, evidence, gone, open_worker, opened, turn
from tests.kit.bench import Bench

TROUBLES = {"relay closed", "WG timeout"}
EVENTS = ("offer", *sorted(TROUBLES))
ORDERS = [order for count in (1, 2, 3) for order in permutations(EVENTS, count) if TROUBLES & set(order)]


class RelayEnd:
    """Does what it is asked for when the story lets it, in order; what is closed does not open any more."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._asked: list[OpenRelayed | CloseRelayed] = []
        self.opened = 0

    def look(self) -> None:
        for mail in self._bench.mail(RELAYS):
            if isinstance(mail, CloseRelayed):
                self._asked = [before for before in self._asked if before.generation != mail.generation]
            assert isinstance(mail, OpenRelayed | CloseRelayed)
            self._asked.append(mail)
            self.opened += isinstance(mail, OpenRelayed)

    def answer(self) -> None:
        self.look()
        while self._asked:
            asked = self._asked.pop(0)
            self._bench.tell((opened if isinstance(asked, OpenRelayed) else closed)(asked.generation))
            self.look()


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
@pytest.mark.parametrize("controller", [True, False])
def test_every_order_ends_on_a_fresh_path_without_another_offer(order: tuple[str, ...], controller: bool) -> None:
    for answers in product((True, False), repeat=len(order)):  # whether the relay end is heard before what comes next
        bench = open_worker(controller=controller)
        relay_end = RelayEnd(bench)
        for event, answered in zip(order, answers, strict=True):
            bench.tell({"offer": turn(2), "relay closed": gone(FIRST), "WG timeout": evidence(FIRST)}[event])
            if answered:
                relay_end.answer()
        relay_end.answer()
        assert isinstance(bench.state, Open), (order, answers)
        assert bench.state.generation > FIRST
        assert relay_end.opened == 1  # about one incarnation all of it is said once
        assert [mail for mail in bench.mail(TO.conn) if isinstance(mail, RelayReady)][-1:] != []
        told = [mail.generation for mail in bench.mail(TO.offer_listener) if isinstance(mail, LocalRelayChanged)]
        assert told[-1] == bench.state.generation  # so that our next offer says it


@pytest.mark.parametrize("order", list(permutations(EVENTS)), ids=", ".join)
def test_so_it_does_while_the_first_is_still_being_opened(order: tuple[str, ...]) -> None:
    bench = open_worker()
    relay_end = RelayEnd(bench)
    bench.tell(evidence(FIRST), closed(FIRST))  # the fresh one is on its way
    for event in order:
        bench.tell({"offer": turn(2), "relay closed": gone(FIRST), "WG timeout": evidence(FIRST)}[event])
    relay_end.answer()
    assert isinstance(bench.state, Open)
    assert bench.state.generation == FIRST + 1  # late words about the one before change nothing
