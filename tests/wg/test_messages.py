"""Handshake messages between records and bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wg import messages
from wg.errors import InvalidMessage
from wg.messages import CookieReply, Initiation, MessageType, Response

U32 = st.integers(0, 2**32 - 1)


def exactly(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


RECORDS = st.one_of(
    st.builds(Initiation, U32, exactly(32), exactly(48), exactly(28), exactly(16), exactly(16)),
    st.builds(Response, U32, U32, exactly(32), exactly(16), exactly(16), exactly(16)),
    st.builds(CookieReply, U32, exactly(24), exactly(32)),
)


def test_an_initiation_is_laid_out_as_the_whitepaper_draws_it() -> None:
    message = Initiation(0x04030201, b"E" * 32, b"S" * 48, b"T" * 28, b"1" * 16, b"2" * 16)
    wire = b"\x01\0\0\0" + b"\x01\x02\x03\x04" + b"E" * 32 + b"S" * 48 + b"T" * 28 + b"1" * 16 + b"2" * 16
    assert messages.encode(message) == wire
    assert messages.decode(wire) == message


def test_a_response_is_laid_out_as_the_whitepaper_draws_it() -> None:
    message = Response(0x04030201, 0x08070605, b"E" * 32, b"0" * 16, b"1" * 16, b"2" * 16)
    wire = b"\x02\0\0\0" + bytes(range(1, 9)) + b"E" * 32 + b"0" * 16 + b"1" * 16 + b"2" * 16
    assert messages.encode(message) == wire
    assert messages.decode(wire) == message


def test_a_cookie_reply_is_laid_out_as_the_whitepaper_draws_it() -> None:
    message = CookieReply(0x04030201, b"N" * 24, b"C" * 32)
    wire = b"\x03\0\0\0" + b"\x01\x02\x03\x04" + b"N" * 24 + b"C" * 32
    assert messages.encode(message) == wire
    assert messages.decode(wire) == message


@settings(deadline=None)
@given(RECORDS)
def test_what_is_encoded_is_decoded(record: Initiation | Response | CookieReply) -> None:
    assert messages.decode(messages.encode(record)) == record
    assert messages.decode(memoryview(messages.encode(record))) == record


@settings(deadline=None)
@given(RECORDS, st.integers(-3, 3).filter(bool))
def test_no_other_length_will_do(record: Initiation | Response | CookieReply, difference: int) -> None:
    wire = (messages.encode(record) + bytes(3))[: len(messages.encode(record)) + difference]
    assert messages.message_type(wire) is None
    with pytest.raises(InvalidMessage, match=f"{len(wire)} bytes starting 0"):
        messages.decode(wire)


@settings(deadline=None)
@given(RECORDS, st.integers(1, 3), st.integers(1, 255))
def test_reserved_bytes_must_be_zero(record: Initiation | Response | CookieReply, at: int, value: int) -> None:
    wire = bytearray(messages.encode(record))
    wire[at] = value
    assert messages.message_type(wire) is None
    with pytest.raises(InvalidMessage):
        messages.decode(wire)


ANY_BYTES = st.binary(max_size=200)
ANY_BYTES_BEHIND_A_TYPE = st.builds(
    lambda kind, rest: bytes([kind, 0, 0, 0]) + rest, st.sampled_from(MessageType), st.binary(max_size=200)
)


@settings(deadline=None)
@given(ANY_BYTES | ANY_BYTES_BEHIND_A_TYPE)
def test_any_bytes_are_a_record_that_encodes_to_them_or_invalid(wire: bytes) -> None:
    try:
        record = messages.decode(wire)
    except InvalidMessage:
        assert messages.message_type(wire) in (None, MessageType.TRANSPORT)
    else:
        assert messages.encode(record) == wire


def test_transport_data_has_a_header_and_a_tag_at_least() -> None:
    assert messages.message_type(b"\x04\0\0\0" + bytes(28)) is MessageType.TRANSPORT
    assert messages.message_type(b"\x04\0\0\0" + bytes(2000)) is MessageType.TRANSPORT


@pytest.mark.parametrize("wire", [b"", b"\x04", b"\x04\0\0\0" + bytes(27), b"\x04\0\0\x01" + bytes(40), bytes(64)])
def test_what_is_no_message_has_no_type(wire: bytes) -> None:
    assert messages.message_type(wire) is None
