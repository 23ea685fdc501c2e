import msgpack  # type: ignore[import-untyped]  # the package ships neither types nor stubs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.envelope import (
    ID,
    SEQ,
    WIRE_VERSION,
    BadFrame,
    Envelope,
    Frame,
    FramePacker,
    is_envelope,
    unpack_frame,
)

ENVELOPE: Envelope = ("peer/abc/guard", "peer/abc/conn", 7, 2**61 + 3, 2**61 + 2, 2**61, 1234.5, 1, b"\x81\xa4type")

numbers = st.integers(min_value=0, max_value=2**63 - 1)
envelopes = st.tuples(
    st.text(),
    st.text(),
    numbers,
    numbers,
    numbers,
    numbers,
    st.floats(allow_nan=False),
    st.integers(0, 255),
    st.binary(),
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=30,
)


@given(st.lists(envelopes, max_size=5), numbers, numbers, numbers)
def test_a_frame_arrives_as_it_left(sent: list[Envelope], mine: int, theirs: int, first: int) -> None:
    frame = unpack_frame(FramePacker("control-0", mine, theirs).pack(first, sent))
    assert frame == Frame("control-0", mine, theirs, first, tuple(sent))
    assert all(is_envelope(item) for item in frame.envelopes)


def test_one_packer_packs_many_frames() -> None:
    packer = FramePacker("packet", 1, 2)
    frames = [unpack_frame(packer.pack(first, [ENVELOPE])) for first in (1, 2, 3)]
    assert [frame.first for frame in frames] == [1, 2, 3]


def test_another_wire_version_is_refused_by_its_number() -> None:
    with pytest.raises(BadFrame, match=f"wire version 9; this one speaks {WIRE_VERSION}"):
        unpack_frame(msgpack.packb([9, "control-0", 1, 1, 1, []]))


@pytest.mark.parametrize(
    "fields",
    [
        [WIRE_VERSION],
        [WIRE_VERSION, "control-0", 1, 1, 1, [], 0],
        [WIRE_VERSION, 5, 1, 1, 1, []],
        [WIRE_VERSION, "control-0", "1", 1, 1, []],
        [WIRE_VERSION, "control-0", 1, 1, 1, {}],
        [True, "control-0", 1, 1, 1, []],
        [WIRE_VERSION, "control-0", -1, 1, 1, []],
        [WIRE_VERSION, "control-0", 1, 1, 2**63, []],
        {},
        None,
    ],
)
def test_a_frame_of_another_shape_is_refused(fields: object) -> None:
    with pytest.raises(BadFrame):
        unpack_frame(msgpack.packb(fields))


@pytest.mark.parametrize("place", range(9))
def test_an_envelope_with_one_field_of_another_type_is_none(place: int) -> None:
    fields: list[object] = list(ENVELOPE)
    assert is_envelope(tuple(fields))
    fields[place] = None
    assert not is_envelope(tuple(fields))


@pytest.mark.parametrize("place", [SEQ, ID])
def test_an_envelope_whose_numbers_are_too_large_is_none(place: int) -> None:
    fields: list[object] = list(ENVELOPE)
    fields[place] = 2**63
    assert not is_envelope(tuple(fields))


def test_an_envelope_with_a_field_too_many_or_too_few_is_none() -> None:
    assert not is_envelope((*ENVELOPE, 0))
    assert not is_envelope(ENVELOPE[:-1])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    try:
        unpack_frame(data)
    except BadFrame:
        return


@given(anything)
def test_any_msgpack_is_a_frame_or_refused(value: object) -> None:
    try:
        frame = unpack_frame(msgpack.packb([WIRE_VERSION, "control-0", 1, 1, 1, value]))
    except BadFrame:
        assert not isinstance(value, list)
        return
    for item in frame.envelopes:
        is_envelope(item)


def test_deep_nesting_is_refused_not_followed() -> None:
    with pytest.raises(BadFrame):
        unpack_frame(b"\x91" * 100_000)


def test_a_length_that_lies_is_refused() -> None:
    with pytest.raises(BadFrame):
        unpack_frame(b"\xdd\xff\xff\xff\xff")
