"""Tapes: whole, cut off, of another version, and none at all."""

from contextlib import suppress
from io import BytesIO

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.trace.record import encode_record
from actors.trace.tape import Header, Lost, Machines, NotATape, Note, Tape, encode_header, encode_note
from tests.actors.trace.records import NOW, record
from tests.config.samples import BOB

HEADER = Header(node="alice", made_unix_s=1.0, wall_offset_s=2.0, names={BOB: "bob"})
RECORDS = [record(at=NOW + number, id=number) for number in range(1, 6)]
WHOLE = encode_header(HEADER) + b"".join(map(encode_record, RECORDS))


def test_a_tape_is_read_as_it_was_written() -> None:
    tape = Tape(BytesIO(WHOLE))
    assert tape.header == HEADER
    assert list(tape) == RECORDS
    assert (tape.unreadable, tape.cut) == (0, False)


def test_a_tape_may_end_at_any_byte() -> None:
    ends = [len(encode_header(HEADER))]
    for one in RECORDS:
        ends.append(ends[-1] + len(encode_record(one)))
    for length in range(ends[0], len(WHOLE)):
        tape = Tape(BytesIO(WHOLE[:length]))
        assert list(tape) == RECORDS[: sum(end <= length for end in ends[1:])]
        assert tape.cut is (length not in ends)
    for length in range(ends[0]):
        with pytest.raises(NotATape):
            Tape(BytesIO(WHOLE[:length]))


def test_what_a_later_version_adds_is_left_out() -> None:
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode_record(RECORDS[0])), "a new field"])
    data = encode_header(HEADER) + msgspec.msgpack.encode({"drawn": 7}) + longer
    tape = Tape(BytesIO(data))
    assert list(tape) == RECORDS[:1]
    assert (tape.notes, tape.unreadable, tape.cut) == ([], 0, False)


def test_notes_are_read_beside_the_records() -> None:
    notes: list[Note] = [
        Machines(at=NOW, process="control-0", incarnation=7, frozen={"nodes": [], "roots": {}}),
        Lost(since=NOW, at=NOW + 1, count=3),
    ]
    broken = msgspec.msgpack.encode({"item": "lost", "at": "soon"})
    data = encode_header(HEADER) + encode_note(notes[0]) + encode_record(RECORDS[0]) + broken + encode_note(notes[1])
    tape = Tape(BytesIO(data))
    assert (list(tape), tape.notes, tape.unreadable) == (RECORDS[:1], notes, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"# a text\n", "no tape"),
        (msgspec.msgpack.encode({"tape": "other"}), "no tape"),
        (msgspec.msgpack.encode({"tape": "homing", "version": 2}), "version 2; this homing reads 1"),
        (msgspec.msgpack.encode({"tape": "homing", "version": 1, "node": 7}), "its header"),
        (b"\xdd\xff\xff\xff\xff" + b"\x90" * 100, "no tape"),
    ],
)
def test_what_is_no_tape_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(NotATape, match=said):
        Tape(BytesIO(data))


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_header_end_somewhere(data: bytes) -> None:
    tape = Tape(BytesIO(WHOLE + data))
    assert list(tape)[:5] == RECORDS


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tape_or_none(data: bytes) -> None:
    with suppress(NotATape):
        assert Tape(BytesIO(data)).header.tape == "homing"
