"""DATAGRAM frames."""

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # the library re-exports it unmarked
from hypothesis import given
from hypothesis import strategies as st

from transport.drivers.quic_frames import FRAME_HEADER_LEN, datagram_frame, messages_of

MESSAGES = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


@given(MESSAGES)
def test_what_is_packed_is_found_again(messages: list[bytes]) -> None:
    payload = b"".join(part for message in messages for part in datagram_frame(message))
    assert len(payload) == sum(map(len, messages)) + FRAME_HEADER_LEN * len(messages)
    assert messages_of(payload) == messages


@given(MESSAGES)
def test_lengths_of_one_byte_are_understood_as_the_library_writes_them(messages: list[bytes]) -> None:
    buffer = Buffer(capacity=4096)
    for message in messages:
        buffer.push_uint_var(0x31)
        buffer.push_uint_var(len(message))
        buffer.push_bytes(message)
    assert messages_of(buffer.data) == messages


@given(st.binary(max_size=60).map(lambda tail: b"\x31" + tail) | st.binary(max_size=60))
def test_whatever_comes_yields_messages_that_were_in_it_or_nothing(payload: bytes) -> None:
    found = messages_of(payload)
    assert found is None or sum(map(len, found)) + 2 * len(found) <= len(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\x31", b"\x31\x40", b"\x31\x02x", b"\x31\x80\0\0\0", b"\x30x", b"\x31\x01x\0"]
)
def test_anything_else_is_the_library_s(payload: bytes) -> None:
    assert messages_of(payload) is None
