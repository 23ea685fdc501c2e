"""What a reader of the tap and of the ring sees."""

from typing import Any, ClassVar

import msgspec
import pytest
import zmq
from loguru import logger

from actors.effects import Effect
from actors.messages.peer import IceTurn
from actors.runtime import ring as rings
from actors.runtime.post_office import PostOffice
from actors.runtime.tap import run_key
from actors.trace.record import (
    Record,
    Ring,
    RingWanted,
    Tapped,
    decode_ring,
    decode_tapped,
    encode_wanted,
    fields_of,
    ring_name,
    tap_name,
)
from config.keys import PublicKey, Secret
from tests.actors.runtime.town import Collector, Doing, Note, Poke, Town, here, town
from transport.signal.messages import IceCredentials

BOB = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
SECRET = b"a password of 24 letters"
TURN = IceTurn(peer=BOB, turn=1, ice=IceCredentials(ufrag="abcd", pwd=Secret(SECRET)), session=None)


class IceCollector(Collector):
    inbox: ClassVar[Any] = IceTurn


class Reader:
    """A tape of one process's tap."""

    def __init__(self, place: Town, prefix: bytes = b"", process: str = "control-0") -> None:
        self._place = place
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.SUB)
        self.socket.set(zmq.SUBSCRIBE, prefix)
        self.socket.connect(f"ipc://{place.run_dir / tap_name(process, 1)}")
        self.tapped: list[Tapped] = []

    def records(self) -> list[Record]:
        """Return all that was published so far."""
        for office in self._place.offices:
            office.serve_tap()
        while self.socket.poll(1):
            _, data = self.socket.recv_multipart()
            self.tapped.append(decode_tapped(data))
        return [each.record for each in self.tapped]

    def close(self) -> None:
        self.socket.close(linger=0)
        self._context.term()


def watched(office: PostOffice) -> bool:
    office.serve_tap()
    return office.show is not None


def ask_ring(place: Town, wanted: bytes, process: str = "control-0") -> Ring:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REQ)
    try:
        socket.connect(f"ipc://{place.run_dir / ring_name(process, 1)}")
        socket.send(wanted)

        def answered() -> bool:
            for office in place.offices:
                office.serve_tap()
            return bool(socket.poll(1))

        place.until(answered)
        return decode_ring(socket.recv())
    finally:
        socket.close(linger=0)
        context.term()


def test_a_record_tells_what_became_of_a_message() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())
        office.add("poked", Doing(lambda message, now: [here("collector").send(Note(number=7, text="x"))]))
        office.post(here("poked"), Poke())
        place.clock.now += 1.0
        place.settle()
        poke, note = office.ring().records
        assert (poke.kind, poke.to, poke.sender, poke.tag) == ("delivered", "poked", "", "poke")
        assert (note.kind, note.to, note.sender, note.tag) == ("delivered", "collector", "poked@control-0", "note")
        assert (note.before, note.after) == ("Having", "Having")
        assert (note.cause, note.trace) == (poke.id, poke.id)
        assert (poke.sent_first, poke.sent_count) == (note.id, 1)
        assert (poke.sent_at, poke.at) == (1000.0, 1001.0)
        assert fields_of(note) == {"number": 7, "text": "x"}
        assert (note.process, note.incarnation) == ("control-0", 1)


def test_the_tap_shows_mail_while_somebody_listens_and_only_then() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())
        office.post(here("collector"), Note(number=1))
        place.settle()
        assert office.show is None
        reader = Reader(place)
        place.until(lambda: watched(office))
        office.post(here("collector"), Note(number=2))
        place.until(lambda: bool(reader.records()))
        assert [fields_of(record)["number"] for record in reader.records()] == [2]
        reader.close()
        place.until(lambda: not watched(office))


def test_a_prefix_chooses_actors() -> None:
    with town() as place:
        office = place.office()
        for name in ("peer/bob/guard", "peer/carol/guard"):
            office.add(name, Collector())
        reader = Reader(place, b"peer/bob/")
        place.until(lambda: watched(office))
        for name in ("peer/carol/guard", "peer/bob/guard"):
            office.post(here(name), Note(number=1))
        place.until(lambda: bool(reader.records()))
        assert [record.to for record in reader.records()] == ["peer/bob/guard"]
        reader.close()


def test_losses_are_shown_as_well() -> None:
    with town() as place:
        office = place.office()
        reader = Reader(place)
        place.until(lambda: watched(office))
        office.post(here("nobody"), TURN)
        place.until(lambda: bool(reader.records()))
        assert [(record.kind, record.reason) for record in reader.records()] == [("dead_letter", "unknown actor")]
        reader.close()


def test_a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        reader = Reader(place)
        place.until(lambda: watched(office))
        count = 0
        while office.tap.dropped == 0:
            for _ in range(500):
                count += 1
                office.post(here("collector"), Note(number=count, text="x" * 2000))
            place.settle()
        assert len(collector.heard) == count
        other = Reader(place, b"coll")
        place.until(lambda: len(office.tap.publisher.prefixes()) == 2)
        office.serve_tap()
        office.post(here("collector"), Note(number=-1))
        place.until(lambda: bool(other.records()))  # whoever reads is not held up either
        place.until(lambda: fields_of(reader.records()[0])["number"] == 1)
        office.post(here("collector"), Note(number=0))
        place.until(lambda: fields_of(reader.records()[-1])["number"] == 0)
        assert reader.tapped[-1].counts == {"": count + 2, "coll": 2}
        assert len(reader.tapped) < count
        reader.close()
        other.close()


@pytest.mark.parametrize("arrives", ["delivered", "dead"])
def test_secrets_are_in_no_record_and_not_in_the_ring_itself(arrives: str) -> None:
    with town() as place:
        office = place.office()
        if arrives == "delivered":
            office.add("ice", IceCollector())
        reader = Reader(place)
        place.until(lambda: watched(office))
        office.post(here("ice"), TURN)
        place.until(lambda: bool(reader.records()))
        reader.close()
        shown = [reader.tapped[0].record, *office.ring().records, *ask_ring(place, encode_wanted(RingWanted())).records]
        assert len(shown) == 3
        for record in shown:
            assert record.tag == "ice_turn"
            assert SECRET not in record.body
            assert fields_of(record)["ice"]["pwd"][0].startswith(b"secret:")
        assert len({record.body for record in shown}) == 1
        kept = bytes(office.tap.ring._frames._buffer)
        assert b"secret:" in kept
        assert SECRET not in kept


def test_poison_in_quarantine_has_no_secrets() -> None:
    def does(message: Any, now: float) -> list[Effect]:
        raise ValueError("no")

    class Raising(Doing):
        inbox: ClassVar[Any] = IceTurn

    with town() as place:
        office = place.office()
        office.add("ice", Raising(does), remake=IceCollector)
        office.post(here("ice"), TURN)
        place.settle()
        assert SECRET not in repr(office.wards.policy.quarantine).encode()
        assert SECRET not in repr(office.ring()).encode()


def test_a_body_that_cannot_be_decoded_is_not_shown() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())
        office.post(here("collector"), Poke())  # of a type that the catalogue does not know
        place.settle()
        assert [record.body for record in office.ring().records] == [b""]


def test_the_ring_answers_readers_with_what_they_want() -> None:
    with town() as place:
        office = place.office()
        for name in ("a", "b"):
            office.add(name, Collector())
        for number in range(4):
            office.post(here("ab"[number % 2]), Note(number=number))
            place.settle()
            place.clock.now += 1.0
        everything = ask_ring(place, encode_wanted(RingWanted()))
        assert (everything.process, everything.incarnation, everything.overwritten) == ("control-0", 1, 0)
        assert [fields_of(record)["number"] for record in everything.records] == [0, 1, 2, 3]
        late = ask_ring(place, encode_wanted(RingWanted(since=1002.0)))
        assert [fields_of(record)["number"] for record in late.records] == [2, 3]
        only_b = ask_ring(place, encode_wanted(RingWanted(actor="b")))
        assert [fields_of(record)["number"] for record in only_b.records] == [1, 3]
        assert ask_ring(place, b"\xc1 nonsense").records == ()


def test_two_watch_at_once_and_one_that_stops_reading_is_not_noticed() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        first, second = Reader(place), Reader(place, b"coll")
        place.until(lambda: watched(office) and len(office.tap.publisher.prefixes()) == 2)
        office.post(here("collector"), Note(number=1))
        place.until(lambda: len(first.records()) == 1 and len(second.records()) == 1)
        for number in range(2, 40):
            office.post(here("collector"), Note(number=number))
            place.settle()
            place.until(lambda: len(second.records()) == len(collector.heard))
        assert len(collector.heard) == 39
        for reader in (first, second):
            reader.close()


def test_machines_that_have_no_plain_form_are_left_out() -> None:
    with town() as place:
        office = place.office()
        for actor in ("collector", "peer/bob/collector"):
            office.add(actor, Collector())
        for prefix in ("", "collector", "peer/bob/", "peer/carol/"):
            answer = ask_ring(place, encode_wanted(RingWanted(actor=prefix, machines=True)))
            assert (answer.records, answer.machines) == ((), b"")


def test_the_rings_memory_is_fixed() -> None:
    with town() as place:
        office = place.office(ring_len=100)
        office.add("collector", Collector())
        for number in range(3000):
            office.post(here("collector"), Note(number=number, text="x" * 500))
            if number % 100 == 0:
                place.settle()
        place.settle()
        ring = office.ring()
        assert [fields_of(record)["number"] for record in ring.records[-50:]] == list(range(2950, 3000))
        assert 50 < len(ring.records) <= 100
        assert ring.overwritten == 3000 - len(ring.records)
        assert len(office.tap.ring._frames._buffer) == 100 * rings.BYTES_PER_RECORD + rings.ROOM_FOR_A_FRAME
        assert len(office.tap.ring._deliveries._buffer) == 100 * rings.DELIVERY.size


def test_a_long_body_is_not_shown_but_its_record_is() -> None:
    with town() as place:
        office = place.office()
        office.add("collector", Collector())
        office.post(here("collector"), Note(number=1, text="x" * rings.MAX_BODY_LEN))
        place.settle()
        (record,) = office.ring().records
        assert (record.tag, record.body) == ("note", b"")


def test_all_processes_of_a_run_share_the_redaction_key() -> None:
    with town() as place:
        key = run_key(place.run_dir)
        assert run_key(place.run_dir) == key
        assert len(key) == 32
        assert [path.name for path in place.run_dir.iterdir()] == ["redaction.key"]


def test_mail_is_logged_only_when_that_is_wanted() -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="DEBUG", filter="actors.runtime.tap")
    with town() as place:
        for process, log_mail in (("control-0", False), ("packet", True)):
            office = place.office(process, log_mail=log_mail)
            office.add("ice", IceCollector())
            office.post(here("ice", process), TURN)
            place.settle()
    logger.remove(sink)
    assert len(lines) == 1
    assert "delivered ice_turn  -> ice: Having -> Having, sent 0" in lines[0]
    assert SECRET.decode() not in lines[0]


def test_ids_of_two_processes_do_not_meet() -> None:
    with town() as place:
        control, packet = place.pair()
        assert abs(control.next_id - packet.next_id) > 1 << 39
        assert max(control.next_id, packet.next_id) < 1 << 63
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(control.next_id)) == control.next_id
