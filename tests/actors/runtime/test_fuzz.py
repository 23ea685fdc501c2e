"""Whatever bytes reach the ROUTER: they are counted, and the post office goes on."""

from typing import Any

import msgpack  # type: ignore[import-untyped]  # the package ships neither types nor stubs
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.messages.envelope import MAX_ID, WIRE_VERSION, FramePacker
from actors.runtime.post_office import PostOffice
from tests.actors.runtime.town import Collector, Note, Town, town
from transport.drivers.zmq import Sender, ipc, mail_name

numbers = st.integers(-(2**63), 2**64 - 1)
small = st.sampled_from([0, 1, 2, 3, 7])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
bodies = st.one_of(
    st.binary(max_size=40),
    values.map(msgspec.msgpack.encode),
    st.fixed_dictionaries({"type": st.sampled_from(["note", "stop_actor", "ping", "?"]), "number": values}).map(
        msgspec.msgpack.encode
    ),
)
ids = st.integers(0, 2**63 - 1) | st.integers(0, 9)
envelopes = st.tuples(
    st.sampled_from(["collector", "collector", "nobody", ""]),
    st.sampled_from(["a", "b", ""]),
    small | numbers,
    ids | numbers,
    ids | numbers,
    ids | numbers,
    st.floats(),
    st.integers(0, 255),
    bodies,
)
frames = st.tuples(
    st.sampled_from([WIRE_VERSION, WIRE_VERSION, WIRE_VERSION, 9]),
    st.sampled_from(["control-0", "control-0/outlet", "packet", "", "x" * 300]) | st.integers(0, 99).map(str),
    st.sampled_from([1, 1, 1, 2, 2**40]),
    st.sampled_from([1, 1, 1, 2]),
    small | numbers,
    st.lists(envelopes | values, max_size=4),
).map(msgpack.packb)
data = st.binary(max_size=120) | frames


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(data, min_size=1, max_size=10))
def test_any_frames_are_taken_or_counted_and_never_raise(sent: list[bytes]) -> None:
    with town() as place:
        office, collector = prepared(place)
        sender = Sender(office._context, ipc(place.run_dir / mail_name("packet", 1)))
        for each in sent:
            assert sender.send(each)
        sender.send(FramePacker("control-1", 1, 1).pack(1, [fresh_note()]))
        place.until(lambda: Note(number=77) in collector.heard or "collector" not in office.shells)
        sender.close()
        assert office.wards.failures == 0
        office.ring()
        office.status()


def test_the_reception_itself_never_raises() -> None:
    with town() as place:
        office, _ = prepared(place)

        @settings(max_examples=300, deadline=None)
        @given(st.lists(data, max_size=6))
        def each(sent: list[bytes]) -> None:
            for one in sent:
                office._reception.take(one)
            for shell in list(office.shells.values()):
                shell.run(100)
            assert office.wards.failures == 0
            if "collector" not in office.shells:
                office.add("collector", Collector())

        each()
        assert office.status().dead_letters["bad frame"] > 0
        before = office.status().delivered
        office._reception.take(FramePacker("fresh", 1, 1).pack(1, [fresh_note()]))
        assert office.shells["collector"].run(1) == 1
        assert office.status().delivered == before + 1


def test_a_gap_of_any_size_is_told() -> None:
    with town() as place:
        office, _ = prepared(place)
        for first in (1, MAX_ID, 0):
            office._reception.take(FramePacker("control-1", 1, 1).pack(first, [fresh_note()]))
        place.settle()
        assert office.status().gaps == 2
        assert office.wards.failures == 0


def test_a_sender_of_a_thousand_names_is_bounded() -> None:
    with town() as place:
        office, _ = prepared(place)
        for number in range(1000):
            office._reception.take(FramePacker(f"process-{number}", 1, 1).pack(1, [fresh_note()]))
        assert len(office._reception._senders) <= 256
        assert office.status().dead_letters["stale"] > 700


def prepared(place: Town) -> tuple[PostOffice, Collector]:
    office, collector = place.office("packet"), Collector()
    office.add("collector", collector)
    return office, collector


def fresh_note() -> Any:
    return ("collector", "a", 1, 1 << 50, 0, 1 << 50, 0.0, 0, msgspec.msgpack.encode(Note(number=77)))
