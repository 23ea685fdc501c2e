import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.peer import SendOffer
from actors.trace.record import (
    Record,
    Ring,
    RingWanted,
    Tapped,
    UnreadableRecord,
    decode_record,
    decode_ring,
    decode_tapped,
    decode_wanted,
    encode_record,
    encode_ring,
    encode_tapped,
    encode_wanted,
    fields_of,
)
from config.keys import PublicKey

OFFER = SendOffer(peer=PublicKey("bob"), reason="started")
RECORD = Record(
    at=12.5,
    process="control-0",
    kind="delivered",
    to="peer/bob/offer_listener",
    sender="peer/bob/guard@control-0",
    id=2**61 + 1,
    tag="send_offer",
    body=msgspec.msgpack.encode(OFFER),
    before="Idle",
    after="Waiting",
)
DECODERS: list[Callable[[bytes], Any]] = [decode_record, decode_tapped, decode_wanted, decode_ring]


def test_what_was_encoded_comes_back() -> None:
    ring = Ring("control-0", 3, 7, (RECORD, RECORD))
    assert decode_record(encode_record(RECORD)) == RECORD
    assert decode_tapped(encode_tapped(Tapped(5, RECORD))) == Tapped(5, RECORD)
    assert decode_wanted(encode_wanted(RingWanted(3.5, "peer/"))) == RingWanted(3.5, "peer/")
    assert decode_ring(encode_ring(ring)) == ring


def test_a_record_of_a_later_version_reads_and_one_of_an_earlier_has_defaults() -> None:
    fields = msgspec.msgpack.decode(encode_record(RECORD))
    assert decode_record(msgspec.msgpack.encode([*fields, "something new"])) == RECORD
    assert decode_record(msgspec.msgpack.encode(fields[:3])) == Record(at=12.5, process="control-0", kind="delivered")


def test_the_messages_fields_are_there_by_name_also_of_a_type_that_nobody_knows() -> None:
    assert fields_of(RECORD) == {"peer": "bob", "reason": "started"}
    unknown = msgspec.structs.replace(RECORD, tag="?", body=msgspec.msgpack.encode({"type": "?", "new": 1}))
    assert fields_of(unknown) == {"new": 1}


@given(st.binary(max_size=60))
def test_a_body_of_any_bytes_has_fields_or_none(body: bytes) -> None:
    assert isinstance(fields_of(msgspec.structs.replace(RECORD, body=body)), dict)


def test_what_was_seen_is_said() -> None:
    with pytest.raises(UnreadableRecord, match="3 bytes that are no trace record"):
        decode_record(b"\xc1ab")


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: str(decode.__name__))
def test_any_bytes_are_a_record_or_refused(decode: Callable[[bytes], Any]) -> None:
    @given(st.binary(max_size=80) | st.recursive(st.integers() | st.text(), st.lists).map(_encode))
    def each(data: bytes) -> None:
        with contextlib.suppress(UnreadableRecord):
            decode(data)

    each()


def _encode(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:
        return b""
