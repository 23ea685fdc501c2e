from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from actors.addresses import AGENT, PEERS, process_actor
from actors.effects import Address, Machine
from actors.messages.process import (
    Drain,
    Drained,
    GapFound,
    PeerFailed,
    PeerSettings,
    Ping,
    Pong,
    ProcessRestarted,
    SaveSnapshot,
    StartPeer,
    StopPeer,
)
from actors.runtime.process_actor import DRAIN_LOOK_S, RESYNC_WAIT_S, OfficeHost, ProcessActor, add_process_actor
from actors.runtime.snapshot import snapshot_path
from config.keys import PublicKey
from tests.actors.runtime.town import Collector, Note, here, town
from tests.kit.bench import BENCHES, Bench

BOB = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
START = StartPeer(settings=PeerSettings(peer=BOB, name="bob", allowed_ips=("10.0.0.2/32",)))
CONN: Address[Any] = here(f"peer/{BOB}/conn")
PEERS_ACTOR: Address[Any] = here("peers")


class FakeHost:
    """A process that only remembers what it was told."""

    process, incarnation = "control-0", 4

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.is_quiet = True
        self.error: Exception | None = None

    def start_peer(self, request: StartPeer) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(request)

    def stop_peer(self, request: StopPeer) -> None:
        self.told.append(request)

    def connect(self, process: str, incarnation: int) -> None:
        self.told.append((process, incarnation))

    def concerned(self) -> list[Address[ProcessRestarted]]:
        return [CONN, PEERS_ACTOR]

    def save_snapshot(self, document: bytes) -> None:
        self.told.append(document)

    def shut_ingress(self, reason: str) -> None:
        self.told.append(reason)

    def quiet(self) -> bool:
        return self.is_quiet


both_ways = pytest.mark.parametrize("bench_of", BENCHES)


@both_ways
def test_a_ping_is_answered_to_the_supervisors_agent(bench_of: type[Bench]) -> None:
    with bench_of(ProcessActor(FakeHost())) as bench:
        bench.tell(Ping(token=9))
        assert bench.mail(AGENT) == [Pong(process="control-0", incarnation=4, token=9)]


@both_ways
def test_peers_are_started_and_stopped(bench_of: type[Bench]) -> None:
    host = FakeHost()
    with bench_of(ProcessActor(host)) as bench:
        bench.tell(START, StopPeer(peer=BOB))
        assert host.told == [START, StopPeer(peer=BOB)]


@both_ways
def test_a_peer_that_cannot_be_made_is_told_and_hurts_nobody_else(bench_of: type[Bench]) -> None:
    host = FakeHost()
    host.error = ValueError("no such thing")
    with bench_of(ProcessActor(host)) as bench:
        bench.tell(START)
        assert bench.mail(PEERS) == [PeerFailed(peer=BOB, actor="process", error="ValueError: no such thing")]


@both_ways
def test_a_restarted_process_is_connected_and_passed_on_to_whom_it_concerns(bench_of: type[Bench]) -> None:
    host, news = FakeHost(), ProcessRestarted(process="packet", incarnation=8)
    with bench_of(ProcessActor(host)) as bench:
        bench.tell(news)
        assert host.told == [("packet", 8)]
        assert bench.mail(CONN) == bench.mail(PEERS_ACTOR) == [news]


@both_ways
def test_after_a_gap_both_ends_resync(bench_of: type[Bench]) -> None:
    with bench_of(ProcessActor(FakeHost())) as bench:
        bench.tell(GapFound(process="packet", incarnation=8, missing=3))
        theirs = ProcessRestarted(process="packet", incarnation=8)
        assert bench.mail(CONN) == bench.mail(PEERS_ACTOR) == [theirs]
        ours = ProcessRestarted(process="control-0", incarnation=4)
        assert bench.mail(process_actor("packet")) == [ours]


@both_ways
def test_many_gaps_make_one_resync_at_a_time_and_none_is_forgotten(bench_of: type[Bench]) -> None:
    with bench_of(ProcessActor(FakeHost())) as bench:
        for process in ("packet", "packet", "control-1", "packet"):
            bench.tell(GapFound(process=process, incarnation=8, missing=1))
        first = len(bench.mail(process_actor("packet")))
        assert (first, bench.mail(process_actor("control-1"))) == (1, [])
        bench.advance(RESYNC_WAIT_S + 0.1)
        assert len(bench.mail(process_actor("packet"))) == 1
        assert len(bench.mail(process_actor("control-1"))) == 1
        bench.advance(60.0)
        assert bench.mail(process_actor("packet")) == []


@both_ways
def test_a_gap_of_a_process_that_restarts_meanwhile_is_settled_by_that(bench_of: type[Bench]) -> None:
    with bench_of(ProcessActor(FakeHost())) as bench:
        bench.tell(GapFound(process="packet", incarnation=8, missing=1))
        bench.tags()
        bench.tell(GapFound(process="packet", incarnation=8, missing=1))
        bench.tell(ProcessRestarted(process="packet", incarnation=9))
        bench.tags()
        bench.advance(60.0)
        assert bench.tags() == []


@both_ways
def test_drained_is_said_once_nothing_waits_any_more(bench_of: type[Bench]) -> None:
    host = FakeHost()
    host.is_quiet = False
    with bench_of(ProcessActor(host)) as bench:
        bench.tell(Drain(reason="SIGTERM"))
        bench.advance(10 * DRAIN_LOOK_S)
        assert host.told == ["SIGTERM"]
        assert bench.mail(AGENT) == []
        host.is_quiet = True
        bench.advance(DRAIN_LOOK_S)
        assert bench.mail(AGENT) == []  # one look is not enough
        bench.advance(DRAIN_LOOK_S)
        assert bench.mail(AGENT) == [Drained(process="control-0")]


@both_ways
def test_a_draining_process_starts_no_peers(bench_of: type[Bench]) -> None:
    host = FakeHost()
    with bench_of(ProcessActor(host)) as bench:
        bench.tell(Drain(reason="SIGTERM"), START)
        assert host.told == ["SIGTERM"]


# --- in a real post office ---


class Concerned(Collector):
    inbox: ClassVar[Any] = ProcessRestarted | Note


def process(place: Any, make_peer: Callable[[StartPeer], dict[str, Machine]], **settings: Any) -> Any:
    office = place.office()
    add_process_actor(office, OfficeHost(office, make_peer, **settings))
    return office


def test_a_peers_actors_run_after_start_peer_and_are_gone_after_stop_peer() -> None:
    made: list[Collector] = []

    def make_peer(request: StartPeer) -> dict[str, Machine]:
        made.append(Collector())
        return {f"peer/{request.settings.peer}/conn": made[-1]}

    with town() as place:
        office = process(place, make_peer)
        office.post(process_actor("control-0"), START)
        office.post(process_actor("control-0"), START)
        place.settle()
        office.post(CONN, Note(number=1))
        place.settle()
        assert [machine.numbers for machine in made] == [[], [1]]
        office.post(process_actor("control-0"), StopPeer(peer=BOB))
        place.settle()
        assert list(office.shells) == ["process"]


def test_a_gap_reaches_the_machines_of_both_processes() -> None:
    with town() as place:
        control, packet = place.pair()
        here_concerned, there_concerned = Concerned(), Concerned()
        for office, machine in ((control, here_concerned), (packet, there_concerned)):
            add_process_actor(office, OfficeHost(office))
            office.add("concerned", machine)
        link = control.dispatch.links["packet"]
        link.number("", "concerned")  # as if one had been refused
        control.post(here("concerned", "packet"), Note(number=1))
        link.number("", "concerned")
        control.post(here("concerned", "packet"), Note(number=2))
        place.until(lambda: bool(here_concerned.heard) and len(there_concerned.heard) == 3)
        assert here_concerned.heard == [ProcessRestarted(process="packet", incarnation=1)]
        assert ProcessRestarted(process="control-0", incarnation=1) in there_concerned.heard


def test_a_snapshot_is_written_to_the_run_directory() -> None:
    with town() as place:
        office = process(place, lambda request: {})
        office.post(process_actor("control-0"), SaveSnapshot(document=b'{"process": "control-0"}'))
        place.settle()
        assert snapshot_path(place.run_dir, "control-0").read_bytes() == b'{"process": "control-0"}'


def test_a_process_is_not_drained_while_its_drivers_are_busy_or_mail_waits() -> None:
    busy = [True]
    with town() as place:
        agent = place.office("supervisor")
        drained = Drainee()
        agent.add(AGENT.actor, drained)
        told: list[str] = []
        office = process(place, lambda request: {}, on_drain=told.append, is_idle=lambda: not busy)
        office.connect("supervisor", 1)
        office.post(process_actor("control-0"), Drain(reason="SIGTERM"))
        for _ in range(10):
            place.settle()
            place.clock.now += 1.0
        assert told == ["SIGTERM"]
        assert drained.heard == []
        busy.clear()

        def done() -> bool:
            place.clock.now += 0.01
            return bool(drained.heard)

        place.until(done)
        assert drained.heard == [Drained(process="control-0")]


class Drainee(Collector):
    inbox: ClassVar[Any] = Drained
