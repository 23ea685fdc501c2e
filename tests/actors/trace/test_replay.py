"""A peer's machines in a real post office, what it remembers of them, and the same once more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.addresses import CONTROL_0, peer_addresses
from actors.effects import Effect
from actors.messages.node import HomeRelayChanged, OutsideEvent
from actors.messages.packet import RelayedOpened
from actors.messages.process import PeerSettings, ProcessRestarted, StartPeer
from actors.peer import guard
from actors.peer.conn import Conn
from actors.peer.ice_worker import IceWorker
from actors.peer.wiring import make_peer
from actors.runtime.post_office import PostOffice
from actors.trace.draws import Draws
from actors.trace.record import Record
from actors.trace.replay import NothingToReplay, Replayed, replay
from actors.trace.tape import Lost, Machines, Note, Tape
from tests.actors.trace.take_tape import TAPE
from tests.config.samples import BOB, CAROL
from transport.signal.messages import Description, HomingFields, OfferReceived
from wg.reports import HandshakeCompleted, PathHeard

ME = CAROL
TO = peer_addresses(BOB, (CONTROL_0,))
GROUP = f"peer/{BOB}"
RELAY = "rel://relay.test:1"
ROLES = ("conn", "guard", "offer_listener", "relay_worker", "ice_worker", "wg_watcher")


class Stage:
    """One peer's machines in a post office whose clock the test moves."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.drawn = 0
        self.office = PostOffice(CONTROL_0, 1, directory, clock=lambda: self.now)
        self.start()

    def start(self) -> None:
        start = StartPeer(settings=PeerSettings(peer=BOB, name="bob", allowed_ips=()), home_relay_url=RELAY)
        machines = make_peer(
            start, ME, (CONTROL_0,), rng=Draws(b"key"), entropy=self.entropy, first_generation=100, ice=True
        )
        self.office.start_group(GROUP, machines)

    def entropy(self, length: int) -> bytes:
        self.drawn += 1
        return bytes((self.drawn * 7 + number * 13) % 208 for number in range(length))

    def post(self, to: Any, *messages: msgspec.Struct) -> None:
        for message in messages:
            self.office.post(to, message)
            self.run(0.01)

    def run(self, seconds: float) -> None:
        """Let this much time pass; timers fire, mail is handled."""
        until = self.now + seconds
        while True:
            while self.office.turn():
                self.now += 1e-6
            due = self.office.timers.next_at()
            if due is None or due > until:
                self.now = max(self.now, until)
                return
            self.now = max(self.now, due)

    def state(self) -> Machines:
        encoded = self.office._machines(f"{GROUP}/")
        assert encoded
        return msgspec.msgpack.decode(encoded, type=Machines)

    def records(self) -> list[Record]:
        return list(self.office.ring().records)

    def story(self) -> None:
        """The peer answers, a relayed path is proven, goes silent, is lost, and comes again."""
        described = Description(
            ice=None, session=None, listen_port=51820, version="", relay_url=RELAY, relay_ip=None,
            homing=HomingFields(offer_id=1, relay_generation=1, relay_urls=(RELAY,)),
        )  # fmt: skip
        self.run(2.0)
        self.post(TO.offer_listener, OfferReceived(peer=BOB, description=described, nonce=b"n" * 24))
        self.post(TO.relay_worker, RelayedOpened(peer=BOB, generation=100, link=1))
        self.run(0.2)
        heard = PathHeard(peer=BOB, path="relayed", generation=100, heard_at=self.now)
        shaken = HandshakeCompleted(peer=BOB, path="relayed", generation=100, role="initiator", rtt_s=0.02)
        self.post(TO.wg_watcher, shaken, heard)
        self.run(70.0)
        self.post(TO.guard, OutsideEvent(kind="network_changed", detail="an address"))
        self.post(TO.wg_watcher, OutsideEvent(kind="resumed", detail="slept"))
        self.run(30.0)
        self.post(TO.relay_worker, ProcessRestarted(process="packet", incarnation=2))
        self.post(TO.ice_worker, ProcessRestarted(process="packet", incarnation=2))
        self.post(TO.conn, ProcessRestarted(process="packet", incarnation=2))
        self.post(TO.offer_listener, HomeRelayChanged(url=None, server_ip=None))
        self.run(120.0)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    built = Stage(tmp_path)
    yield built
    built.office.close()


def result_of(found: list[Replayed], role: str) -> Replayed:
    return next(one for one in found if one.actor.endswith(f"/{role}"))


def test_every_machine_answers_as_it_did(stage: Stage) -> None:
    state = stage.state()
    stage.story()
    found = replay(stage.records(), [state])
    assert {one.actor for one in found} == {f"{GROUP}/{role}" for role in ROLES}
    assert [(one.actor, one.first, one.ended) for one in found if one.first or one.ended] == []
    assert all(one.handled > 0 for one in found), found
    assert sum(one.handled for one in found) > 50


def test_it_begins_anywhere(stage: Stage) -> None:
    stage.story()
    state = stage.state()
    stage.run(300.0)
    found = replay(stage.records(), [state])
    assert all(one.first is None and not one.ended for one in found)
    assert result_of(found, "guard").handled > 5


def test_a_changed_wait_shows(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    state = stage.state()
    stage.story()
    monkeypatch.setattr(guard, "FIRST_RETRY_S", 4.0)
    found = replay(stage.records(), [state])
    first = result_of(found, "guard").first
    assert first is not None
    assert first.record.tag == "offer_due"
    assert [line[:7] for line in first.diff if line[0] in "+-"] == ["-timer ", "+timer "]
    assert all(one.first is None for one in found if not one.actor.endswith("/guard"))


@pytest.mark.parametrize(
    ("machine", "tag", "said"),
    [(Conn, "path_proven", "state"), (IceWorker, "process_restarted", "send")],
)
def test_a_machine_that_does_nothing_any_more_shows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, machine: Any, tag: str, said: str
) -> None:
    state = stage.state()
    stage.story()
    real = machine.handle

    def lazy(self: Any, message: Any, now: float) -> list[Effect]:
        return [] if type(message).__struct_config__.tag == tag else real(self, message, now)

    monkeypatch.setattr(machine, "handle", lazy)
    changed = [one for one in replay(stage.records(), [state]) if one.first]
    (first,) = [one.first for one in changed if one.first]
    assert first.record.tag == tag
    assert any(line.startswith(f"-{said}") for line in first.diff), first.diff


def test_a_machine_that_raises_shows(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    state = stage.state()
    stage.story()

    def broken(*_: Any) -> list[Effect]:
        raise LookupError("a bug")

    monkeypatch.setattr(guard.Guard, "handle", broken)
    first = result_of(replay(stage.records(), [state]), "guard").first
    assert first is not None
    assert "+raised LookupError: a bug" in first.diff


def test_where_mail_is_missing_it_ends_and_says_so(stage: Stage) -> None:
    state = stage.state()
    stage.story()
    records = stage.records()
    changing = [one for one in records if one.to == TO.conn.actor and one.before != one.after]
    without = [one for one in records if one is not changing[1]]
    (ended,) = result_of(replay(without, [state]), "conn").ended
    assert ended.startswith("mail is missing before #")
    lost: list[Note] = [state, Lost(since=state.at, at=state.at + 1, count=3)]
    assert all(one.handled == 0 and "too slow" in one.ended[0] for one in replay(records, lost))


def test_machines_made_anew_end_it_until_the_next_state(stage: Stage) -> None:
    state = stage.state()
    stage.run(10.0)
    start = StartPeer(settings=PeerSettings(peer=BOB, name="bob", allowed_ips=()))
    renewed = Record(
        at=stage.now, process=CONTROL_0, kind="delivered", to="process", tag="start_peer", id=1, incarnation=1,
        body=msgspec.msgpack.encode(start),
    )  # fmt: skip
    stage.now += 0.001
    stage.start()
    later = stage.state()
    stage.story()
    records = sorted([*stage.records(), renewed], key=lambda one: one.at)
    found = replay(records, [later, state])
    assert all(one.first is None and one.ended in ([], ["the machines were made anew"]) for one in found)
    assert result_of(found, "conn").handled > 5


# --- a tape from two real agents ---


def stored() -> tuple[list[Record], list[Note]]:
    with TAPE.open("rb") as file:
        tape = Tape(file)
        return list(tape), tape.notes


def test_a_tape_from_real_agents_is_answered_as_it_was() -> None:
    found = replay(*stored())
    assert [(one.actor, one.first, one.ended) for one in found if one.first or one.ended] == []
    assert {one.actor.rpartition("/")[2] for one in found} == set(ROLES)
    assert all(one.handled > 2 for one in found), found


@pytest.mark.parametrize("role", ROLES)
def test_each_machine_that_is_changed_shows_on_it(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    (changed,) = [one for one in make_machines().values() if type(one).__module__.endswith(f".{role}")]
    real = type(changed).handle

    def doubled(self: Any, message: Any, now: float) -> list[Effect]:
        return [each for each in real(self, message, now) for _ in range(2)]

    monkeypatch.setattr(type(changed), "handle", doubled)
    differing = {one.actor.rpartition("/")[2] for one in replay(*stored()) if one.first}
    assert differing == {role}


def make_machines() -> dict[str, Any]:
    start = StartPeer(settings=PeerSettings(peer=BOB, name="bob", allowed_ips=()))
    made = make_peer(start, ME, (CONTROL_0,), rng=Draws(b""), entropy=bytes, first_generation=1)
    return dict(made)


def test_a_tape_without_states_is_refused() -> None:
    with pytest.raises(NothingToReplay, match="tells of no machine's state"):
        replay([], [])
