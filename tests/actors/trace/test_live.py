"""The readers of taps and rings against real sockets, whose other ends are in this thread."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq

from actors.trace.live import REORDER_S, Past, Taps, read_rings
from actors.trace.record import (
    Record,
    Ring,
    Tapped,
    decode_wanted,
    encode_ring,
    encode_tapped,
    ring_name,
    tap_name,
)
from tests.actors.trace.records import NOW, record
from transport.drivers.zmq import Publisher, ipc

pytestmark = pytest.mark.process

Context = zmq.Context[zmq.Socket[bytes]]
MAX_TRIES = 500  # of 10 ms


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    made.set(zmq.BLOCKY, False)  # else a socket that is dropped with mail for nobody holds its end up for ever
    yield made
    made.destroy(linger=0)


def publisher(context: Context, directory: Path, process: str, incarnation: int = 7) -> Publisher:
    return Publisher(context, ipc(directory / tap_name(process, incarnation)), 1000)


def heard(
    taps: Taps, until: Callable[[list[Record]], bool], during: Callable[[], object] = lambda: None
) -> list[Record]:
    """Read until there is enough, at a time long after all records."""
    found: list[Record] = []
    for _ in range(MAX_TRIES):
        during()
        found += taps.read(0.01, NOW + 1000)
        if until(found):
            return found
    raise AssertionError(f"only {found}")


def subscribed(taps: Taps, *publishers: Publisher) -> None:
    """Wait until the taps know that somebody listens."""
    heard(taps, lambda _: all(one.prefixes() == (b"",) for one in publishers))


def tell(tap: Publisher, one: Record, counts: Mapping[str, int] | None = None) -> None:
    assert tap.publish(one.to.encode(), encode_tapped(Tapped(0, one, dict(counts or {}))))


def test_records_of_several_processes_come_in_the_order_of_time(tmp_path: Path, context: Context) -> None:
    control, packet = publisher(context, tmp_path, "control-0"), publisher(context, tmp_path, "packet")
    with Taps(tmp_path) as taps:
        subscribed(taps, control, packet)
        tell(packet, record(at=NOW + 0.02, id=2, process="packet"))
        tell(control, record(at=NOW + 0.03, id=3))
        tell(control, record(at=NOW + 0.01, id=1))
        found: list[Record] = []
        for _ in range(MAX_TRIES):
            found += taps.read(0.01, NOW + 0.01 + REORDER_S / 2)  # nothing is due yet
            if taps._count == 3:
                break
        assert found == []
        assert [one.id for one in taps.read(0.0, NOW + 0.025 + REORDER_S)] == [1, 2]
        assert [one.id for one in taps.rest()] == [3]


def test_a_process_that_starts_anew_is_followed(tmp_path: Path, context: Context) -> None:
    first = publisher(context, tmp_path, "packet", 7)
    with Taps(tmp_path) as taps:
        subscribed(taps, first)
        first.close()
        (tmp_path / tap_name("packet", 7)).unlink(missing_ok=True)
        second = publisher(context, tmp_path, "packet", 8)
        subscribed(taps, second)
        tell(second, record(id=9, incarnation=8))
        assert [one.id for one in heard(taps, bool)] == [9]


def test_a_tap_that_no_one_owns_and_nonsense_on_one_disturb_nothing(tmp_path: Path, context: Context) -> None:
    (tmp_path / tap_name("control-1", 3)).touch()
    (tmp_path / "tap-without-number.sock").touch()
    tap = publisher(context, tmp_path, "packet")
    with Taps(tmp_path) as taps:
        subscribed(taps, tap)
        assert tap.publish(b"x", b"\xc1 no record")
        tell(tap, record(id=5))
        assert [one.id for one in heard(taps, bool)] == [5]
        assert taps.unreadable == 1


def test_what_did_not_come_is_counted_from_the_first_word_on(tmp_path: Path, context: Context) -> None:
    tap = publisher(context, tmp_path, "packet")
    with Taps(tmp_path) as taps:
        subscribed(taps, tap)
        tell(tap, record(process="packet"), {"": 100})
        tell(tap, record(process="packet"), {"": 105, "peer/": 7})
        heard(taps, lambda found: len(found) == 2)
        assert taps.lost == 4
        tell(tap, record(process="packet"), {"": 1})  # nobody had listened for a moment
        heard(taps, bool)
        assert taps.lost == 4


def test_a_reader_that_reads_no_more_stops_nobody(tmp_path: Path, context: Context) -> None:
    tap = publisher(context, tmp_path, "packet")
    big = encode_tapped(Tapped(0, record(body=bytes(4000))))
    with Taps(tmp_path) as taps:
        subscribed(taps, tap)
        taken = 0
        while tap.publish(b"x", big):  # returns at once, whatever the reader does
            taken += 1
            assert taken < 100_000
        with Taps(tmp_path) as others:

            def go_on() -> None:
                tap.prefixes()  # or who has come is not known
                tap.publish(b"x", encode_tapped(Tapped(0, record(id=8))))  # found full once more, maybe

            heard(others, bool, go_on)  # nor does it blind another
    assert taken > 0


class Rings:
    """Processes that answer for their rings, when they are given the time."""

    def __init__(self, context: Context, directory: Path) -> None:
        self.asked: list[float] = []
        self.socket = context.socket(zmq.REP)
        self.socket.bind(ipc(directory / ring_name("packet", 7)))

    def answer(self, data: bytes) -> None:
        assert self.socket.poll(10_000), "nobody asked"
        self.asked.append(decode_wanted(self.socket.recv()).since)
        self.socket.send(data)


def read_with(context: Context, directory: Path, data: bytes | None, limit_s: float) -> tuple[Past, Rings]:
    """Read the rings in this thread while another plays the process (None: it never answers)."""
    rings = Rings(context, directory)
    with ThreadPoolExecutor(1) as other:
        answering = other.submit(rings.answer, data) if data is not None else None
        past = read_rings(directory, NOW, limit_s)
        if answering is not None:
            answering.result(10)
    return past, rings


def test_the_past_is_read_from_the_newest_ring_of_each_process(tmp_path: Path, context: Context) -> None:
    (tmp_path / ring_name("packet", 3)).touch()
    ring = Ring("packet", 7, 0, (record(id=1), record(id=2)))
    past, rings = read_with(context, tmp_path, encode_ring(ring), 30.0)
    assert past == Past((ring,), ())
    assert rings.asked == [NOW]


def test_a_process_that_does_not_answer_is_named(tmp_path: Path, context: Context) -> None:
    assert read_with(context, tmp_path, None, 0.05)[0] == Past((), ("packet",))


def test_an_answer_that_is_no_ring_counts_as_none(tmp_path: Path, context: Context) -> None:
    assert read_with(context, tmp_path, b"\xc1", 30.0)[0] == Past((), ("packet",))


def test_no_rings_at_all(tmp_path: Path) -> None:
    assert read_rings(tmp_path, NOW, 30.0) == Past((), ())
