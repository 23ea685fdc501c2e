"""The signal server as the simulator has it bears what the real one bears."""

from random import Random
from typing import Any

import pytest

from config.keys import PublicKey
from tests.kit.agenda import Agenda
from tests.kit.net import Conditions
from tests.simulator.acts import Acts
from tests.simulator.faults import OffersForced, Slept
from tests.simulator.scenario import pair
from tests.simulator.servers import KEEPALIVE_S, KEEPALIVE_TIMEOUT_S, WINDOW, SignalHost
from tests.simulator.simulation import Simulation
from tests.simulator.wires import Stream, Wires
from transport.signal.messages import PostCandidate

ALICE, BOB = PublicKey("a" * 43 + "="), PublicKey("b" * 43 + "=")


class Client:
    def __init__(self) -> None:
        self.got: list[Any] = []
        self.ended: list[str] = []

    def received(self, stream: Stream, item: Any) -> None:
        self.got.append(item[0])

    def lost(self, stream: Stream, reason: str) -> None:
        self.ended.append(reason)


class Desk:
    """A signal server with Bob registered, and Alice who posts."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.wires = Wires(self.agenda, Random(1), Conditions(latency_s=0.01))
        self.server, self.bob = SignalHost(self.agenda, Random(1)), Client()
        self.at_bob = self.wires.stream("bob", "signal", self.bob, self.server)
        self.at_bob.send(("register", BOB), to_server=True)
        self.at_alice = self.wires.stream("alice", "signal", Client(), self.server)
        self.pass_time(1.0)

    def pass_time(self, seconds: float) -> None:
        self.agenda.run_until(self.agenda.now + seconds)

    def post(self) -> None:
        self.at_alice.send(("post", 1, ALICE, PostCandidate(peer=BOB, candidate="a story")), to_server=True)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_receiver_that_reads_nothing_gets_what_a_window_holds_and_the_rest_is_counted(desk: Desk) -> None:
    desk.wires.away.add("bob")
    for _ in range(WINDOW + 10):
        desk.post()
    desk.pass_time(1.0)
    desk.wires.away.clear()
    desk.pass_time(5.0)
    assert desk.bob.got == ["registered", *["mail"] * WINDOW]
    assert desk.server.overflow == 10
    desk.post()
    desk.pass_time(1.0)
    assert len(desk.bob.got) == WINDOW + 2


def test_a_client_that_answers_no_ping_is_forgotten_and_hears_of_it_when_it_is_back(desk: Desk) -> None:
    desk.wires.away.add("bob")
    desk.pass_time(KEEPALIVE_S + KEEPALIVE_TIMEOUT_S)
    desk.post()
    desk.wires.away.clear()
    desk.pass_time(60.0)
    assert desk.bob.got == ["registered"]
    assert desk.bob.ended == ["connection reset by peer"]


def test_one_that_is_back_in_time_is_kept(desk: Desk) -> None:
    for _ in range(3):
        desk.wires.away.add("bob")
        desk.pass_time(KEEPALIVE_TIMEOUT_S - 1.0)
        desk.wires.away.clear()
        desk.pass_time(2 * KEEPALIVE_S)
    desk.post()
    desk.pass_time(1.0)
    assert desk.bob.got == ["registered", "mail"]


def test_offers_forced_for_a_minute_at_one_that_sleeps_fill_no_mailbox() -> None:
    sim = Simulation(pair(per_second=0.0), seed=1)
    sim.boot()
    Acts(
        sim,
        (
            Slept(at_s=10.0, for_s=70.0, agent="node1"),
            OffersForced(at_s=12.0, for_s=60.0, every_s=0.2),
        ),
    )
    sim.run_for(100.0)
    assert sim.by_name["node1"].world.deepest <= WINDOW
    assert sim.all_proven()
