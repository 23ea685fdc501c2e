"""STUN messages to bytes and back: the vectors, what is signed, the limits, and bytes from anywhere."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from config.keys import Secret
from tests.transport.ice.vectors import (
    LONG_TERM_KEY,
    NETBIRD_PWD,
    RFC5769_PWD,
    TRANSACTION,
    attribute,
    attribute_head,
    lengthened,
    message_of,
    signature_of,
    vectors,
)
from transport.errors import LocalProtocolError
from transport.ice.attributes import COOKIE, MAX_ATTRIBUTES, MAX_IDS_LEN, MAX_TEXT_LEN, MAX_USERNAME_LEN
from transport.ice.stun import (
    HEADER_LEN,
    MAX_MESSAGE_LEN,
    UNKNOWN_ATTRIBUTE,
    BadStun,
    BindingError,
    BindingIndication,
    BindingRequest,
    BindingSuccess,
    CandidateIds,
    Kind,
    Message,
    Peek,
    decode,
    encode,
    is_stun,
    peek,
)
from wg.datagrams import Endpoint

RFC5769_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
PWD = Secret(b"a password of 22 bytes")
OTHER_PWD = Secret(b"some password of others")
IDS = CandidateIds("A" * 32, "B" * 32)
CHECK = BindingRequest(
    transaction=TRANSACTION,
    username="RemoteUfragAAAAA:LocalUfragBBBBBB",
    role="controlling",
    tie_breaker=0x0102030405060708,
    priority=2130706431,
    ids=IDS,
)

MESSAGES: list[Message] = [
    CHECK,
    BindingRequest(transaction=TRANSACTION),
    BindingRequest(transaction=TRANSACTION, role="controlled", tie_breaker=2**64 - 1, use_candidate=True, priority=0),
    BindingSuccess(transaction=TRANSACTION, mapped=Endpoint("192.0.2.1", 32853), ids=IDS),
    BindingSuccess(transaction=TRANSACTION, mapped=Endpoint("2001:db8::1", 0), software="homing"),
    BindingError(transaction=TRANSACTION, code=487, text="Role Conflict"),
    BindingError(transaction=TRANSACTION, code=UNKNOWN_ATTRIBUTE, not_understood=(0x14, 0x15, 0x7FFF)),
    BindingIndication(transaction=TRANSACTION, ids=IDS),
]

# --- vectors ---


def test_netbirds_request_is_read_and_written_byte_for_byte() -> None:
    assert decode(vectors()["netbird_request"], NETBIRD_PWD) == CHECK
    assert encode(CHECK, NETBIRD_PWD) == vectors()["netbird_request"]


def test_the_request_of_rfc_5769() -> None:
    assert decode(vectors()["rfc5769_request"], RFC5769_PWD) == BindingRequest(
        transaction=RFC5769_TRANSACTION,
        username="evtj:h6vY",
        role="controlled",
        tie_breaker=0x932FF9B151263B36,
        priority=0x6E0001FF,
        software="STUN test client",
    )


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("rfc5769_response_ipv4", Endpoint("192.0.2.1", 32853)),
        ("rfc5769_response_ipv6", Endpoint("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_the_responses_of_rfc_5769(name: str, mapped: Endpoint) -> None:
    message = BindingSuccess(transaction=RFC5769_TRANSACTION, mapped=mapped, software="test vector")
    assert decode(vectors()[name], RFC5769_PWD) == message
    # Ours differs in the padding alone, which is spaces there and zeros here: and so in what is computed of it.
    assert encode(message, RFC5769_PWD)[:-32] == vectors()[name][:-32].replace(b"vector ", b"vector\0")


def test_a_request_of_rfc_5769_that_asks_for_more_than_we_understand() -> None:
    message = decode(vectors()["rfc5769_long_term"], LONG_TERM_KEY)
    assert isinstance(message, BindingRequest)
    assert message.username == "マトリックス"
    assert message.unknown == (0x15, 0x14)  # NONCE, REALM


# --- round trips ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.builds(
    CandidateIds,
    st.text(st.characters(max_codepoint=127), max_size=64),
    st.text(st.characters(max_codepoint=127, exclude_characters=":"), max_size=64),
)
common = {
    "transaction": st.binary(min_size=12, max_size=12),
    "software": st.none() | texts,
    "ids": st.none() | ids,
}
ip_texts = st.ip_addresses().filter(lambda ip: getattr(ip, "ipv4_mapped", None) is None).map(str)
endpoints = st.builds(Endpoint, ip_texts, st.integers(0, 0xFFFF), st.just(0))
requests = st.builds(
    BindingRequest,
    **common,
    username=st.none() | texts,
    role=st.sampled_from(["controlling", "controlled"]),
    tie_breaker=st.integers(0, 2**64 - 1),
    priority=st.none() | st.integers(0, 2**32 - 1),
    use_candidate=st.booleans(),
)
successes = st.builds(BindingSuccess, **common, mapped=st.none() | endpoints)
errors = st.builds(
    BindingError,
    **common,
    code=st.integers(300, 699),
    text=texts,
    not_understood=st.lists(st.integers(0, 0xFFFF), max_size=MAX_ATTRIBUTES).map(tuple),
)
messages: st.SearchStrategy[Message] = requests | successes | errors | st.builds(BindingIndication, **common)


@given(messages, st.booleans(), st.booleans())
def test_what_is_written_is_read_back(message: Message, signed: bool, fingerprint: bool) -> None:
    datagram = encode(message, PWD if signed else None, fingerprint=fingerprint)
    assert is_stun(datagram)
    assert int.from_bytes(datagram[2:4]) == len(datagram) - HEADER_LEN
    assert decode(datagram) == message
    if signed:
        assert decode(datagram, PWD) == message
        assert bad(lambda: decode(datagram, OTHER_PWD)) == "integrity"
    else:
        assert bad(lambda: decode(datagram, PWD)) == "integrity"


@given(requests)
def test_a_peek_agrees_with_the_whole(message: BindingRequest) -> None:
    looked = peek(encode(message, PWD))
    username = (message.username or "").partition(":")[0]
    assert looked is not None
    assert (looked.kind, looked.transaction) == ("request", message.transaction)
    assert looked.ufrag == username or not username.isascii()


def test_a_peek_tells_answers_by_their_transaction_alone() -> None:
    looks = [peek(encode(message)) for message in MESSAGES[1:]]
    kinds: list[Kind] = ["request", "request", "success", "success", "error", "error", "indication"]
    assert looks == [Peek(kind, TRANSACTION, "") for kind in kinds]
    assert peek(encode(CHECK)) == Peek("request", TRANSACTION, "RemoteUfragAAAAA")


# --- what counts, and what is signed ---


def test_netbirds_attribute_may_be_absent_or_odd() -> None:
    plain = encode(BindingIndication(transaction=TRANSACTION), PWD)
    for value in (b"", b"no colon", "ä:b".encode(), b"a:" + b"b" * MAX_IDS_LEN):
        assert decode(lengthened(plain, attribute(0x8100, value)), PWD) == BindingIndication(transaction=TRANSACTION)
    # A candidate of theirs that keeps its prefix by a slip (signal spec 5.5).
    slip = decode(lengthened(plain, attribute(0x8100, b"candidate:aaa:bbb")), PWD)
    assert slip.ids == CandidateIds("candidate:aaa", "bbb")


def test_what_follows_the_signature_is_not_believed() -> None:
    signed = encode(BindingRequest(transaction=TRANSACTION, priority=1), PWD, fingerprint=False)
    forged = lengthened(
        signed,
        attribute(0x0025, b"")
        + attribute(0x0006, b"forged:name")
        + attribute(0x0024, bytes(4))
        + attribute(0x7777, b""),
    )
    assert decode(forged, PWD) == BindingRequest(transaction=TRANSACTION, priority=1)
    # And a signature after the fingerprint is none.
    fingerprinted = encode(BindingRequest(transaction=TRANSACTION))
    assert bad(lambda: decode(lengthened(fingerprinted, signature_of(fingerprinted, PWD)), PWD)) == "integrity"


def test_the_first_of_several_counts() -> None:
    assert decode(message_of(attribute(0x0024, bytes(4)), attribute(0x0024, b"\xff" * 4))) == BindingRequest(
        transaction=TRANSACTION, priority=0
    )


def test_a_wrong_fingerprint_is_told_from_a_wrong_signature() -> None:
    datagram = vectors()["netbird_request"]
    at = datagram.index(b"\x80\x28\x00\x04")
    assert bad(lambda: decode(flipped(datagram, at + 4), NETBIRD_PWD)) == "fingerprint"
    assert bad(lambda: decode(datagram, OTHER_PWD)) == "integrity"
    unprinted = datagram[:2] + (at - HEADER_LEN).to_bytes(2) + datagram[4:at]
    assert decode(unprinted, NETBIRD_PWD) == signed_part(CHECK)
    assert bad(lambda: decode(flipped(unprinted, at - 1), NETBIRD_PWD)) == "integrity"


def test_unknown_attributes_are_named_if_they_had_to_be_understood() -> None:
    datagram = message_of(attribute(0x7FFF, b"abc"), attribute(0x8000, b"x"), attribute(0x0003, bytes(4)))
    assert decode(datagram) == BindingRequest(transaction=TRANSACTION, unknown=(0x7FFF, 0x0003))


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        (b"\0\1\x80\x55" + bytes((192, 0, 2, 1)), Endpoint("192.0.2.1", 32853)),
        (b"\0\2\0\1" + bytes(15) + b"\1", Endpoint("::1", 1)),
        # A server whose one socket serves both families.
        (b"\0\2\0\1" + bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1)), Endpoint("192.0.2.1", 1)),
    ],
)
def test_an_address_that_is_not_masked_is_read_too(value: bytes, mapped: Endpoint) -> None:
    datagram = message_of(attribute(0x0001, value), kind=0x0101)
    assert decode(datagram) == BindingSuccess(transaction=TRANSACTION, mapped=mapped)
    both = message_of(attribute(0x0001, value), attribute(0x0020, b"\0\1\x21\x12" + COOKIE), kind=0x0101)
    assert decode(both) == BindingSuccess(transaction=TRANSACTION, mapped=Endpoint("0.0.0.0", 0))


# --- what is refused ---


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        (0x0001, attribute_head(0x0006, 9) + b"12345678"),  # breaks off
        (0x0001, attribute_head(0x0006, 0xFFFF)),
        (0x0001, attribute_head(0x0006, 514) + bytes(516)),
        (0x0001, attribute_head(0x0006, 1) + b"\xff\0\0\0"),  # no UTF-8
        (0x0001, attribute_head(0x0024, 3) + bytes(4)),
        (0x0001, attribute_head(0x0025, 1) + bytes(4)),
        (0x0001, attribute_head(0x8029, 4) + bytes(4)),
        (0x0001, attribute_head(0x8029, 8) + bytes(8) + attribute_head(0x802A, 8) + bytes(8)),  # both roles
        (0x0001, attribute_head(0x8022, MAX_TEXT_LEN + 1) + bytes(MAX_TEXT_LEN + 1)),
        (0x0001, attribute_head(0x8000, 0) * (MAX_ATTRIBUTES + 1)),
        (0x0101, attribute_head(0x0020, 0)),
        (0x0101, attribute_head(0x0020, 4) + b"\0\1\0\0"),
        (0x0101, attribute_head(0x0020, 8) + b"\0\2\0\0" + bytes(4)),  # IPv6 of 4 bytes
        (0x0101, attribute_head(0x0020, 8) + b"\0\3\0\0" + bytes(4)),
        (0x0101, attribute_head(0x0001, 20) + b"\0\1\0\0" + bytes(16)),
        (0x0111, b""),  # an error without a code
        (0x0111, attribute_head(0x0009, 3) + bytes(4)),
        (0x0111, attribute_head(0x0009, 4) + b"\0\0\2\0"),
        (0x0111, attribute_head(0x0009, 4) + b"\0\0\7\0"),
        (0x0111, attribute_head(0x0009, 4) + b"\0\0\4\x64"),
    ],
)
def test_what_does_not_fit_is_malformed(kind: int, attributes: bytes) -> None:
    assert bad(lambda: decode(message_of(attributes, kind=kind))) == "malformed"


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "malformed"),
        (vectors()["netbird_request"][:19], "malformed"),
        (vectors()["netbird_request"][:-4], "malformed"),
        (vectors()["netbird_request"] + bytes(4), "malformed"),
        (b"\0\1\0\1" + COOKIE + TRANSACTION + b"x", "malformed"),  # not a multiple of 4
        (b"\0\1\0\0" + b"\x21\x12\xa4\x43" + TRANSACTION, "malformed"),  # as before RFC 5389
        (b"\0\3\0\0" + COOKIE + TRANSACTION, "not_binding"),  # TURN
        (b"\x80\1\0\0" + COOKIE + TRANSACTION, "not_binding"),
    ],
)
def test_a_header_must_be_a_binding_messages(datagram: bytes, reason: str) -> None:
    assert bad(lambda: decode(datagram)) == reason


@pytest.mark.parametrize(
    "datagram", [b"\0\1\0\0" + b"\x21\x12\xa4\x43" + TRANSACTION, b"\0\3\0\0" + COOKIE + TRANSACTION]
)
def test_a_peek_sees_binding_messages_alone(datagram: bytes) -> None:
    assert peek(datagram) is None


def test_a_message_that_breaks_off_has_no_ufrag() -> None:
    assert peek(message_of(attribute_head(0x0006, 8))) == Peek("request", TRANSACTION, "")
    assert peek(message_of() + b"\0\6\0") == Peek("request", TRANSACTION, "")


def test_a_message_has_a_greatest_length() -> None:
    room = MAX_MESSAGE_LEN - HEADER_LEN - 4
    assert decode(message_of(attribute(0x8000, bytes(room))))
    assert bad(lambda: decode(message_of(attribute(0x8000, bytes(room + 4))))) == "malformed"
    assert peek(message_of(attribute(0x8000, bytes(room + 4)))) is None
    texts = BindingError(transaction=TRANSACTION, code=400, text="t" * 612, software="s" * 636)
    assert len(encode(texts, fingerprint=False)) == MAX_MESSAGE_LEN
    with pytest.raises(LocalProtocolError):
        encode(texts)
    ids = CandidateIds("a" * (MAX_IDS_LEN - 2), "b")
    assert decode(encode(BindingIndication(transaction=TRANSACTION, ids=ids))).ids == ids


@pytest.mark.parametrize(
    "message",
    [
        BindingIndication(transaction=b"short"),
        BindingRequest(transaction=TRANSACTION, username="u" * (MAX_USERNAME_LEN + 1)),
        BindingRequest(transaction=TRANSACTION, username="\ud800"),
        BindingRequest(transaction=TRANSACTION, priority=2**32),
        BindingRequest(transaction=TRANSACTION, role="controlled", tie_breaker=-1),
        BindingRequest(transaction=TRANSACTION, ids=CandidateIds("a" * MAX_IDS_LEN, "")),
        BindingRequest(transaction=TRANSACTION, software="s" * MAX_TEXT_LEN, username="u" * MAX_USERNAME_LEN),
        BindingSuccess(transaction=TRANSACTION, mapped=Endpoint("host", 1)),
        BindingSuccess(transaction=TRANSACTION, mapped=Endpoint("::x", 1)),
        BindingSuccess(transaction=TRANSACTION, mapped=Endpoint("192.0.2.1", 0x10000)),
        BindingError(transaction=TRANSACTION, code=299),
        BindingError(transaction=TRANSACTION, code=420, not_understood=(0x10000,)),
        BindingError(transaction=TRANSACTION, code=420, not_understood=(1,) * (MAX_ATTRIBUTES + 1)),
    ],
)
def test_what_would_not_fit_is_not_written(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="would do"):
        encode(message)


# --- bytes from anywhere ---


@given(st.binary(max_size=200))
@example(b"\0\1\0\0" + COOKIE + TRANSACTION)
def test_any_bytes_are_a_message_or_bad(datagram: bytes) -> None:
    read_all(datagram)
    read_all(b"\0\1" + max(0, len(datagram) - 20).to_bytes(2) + COOKIE + datagram[8:])


@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_message_is_bad_or_as_it_was(message: Message, data: st.DataObject) -> None:
    datagram = encode(message, PWD)
    at = data.draw(st.integers(0, len(datagram) - 1))
    changed = datagram[:at] + bytes((data.draw(st.integers(0, 255)),)) + datagram[at + 1 :]
    read_all(changed)
    try:
        got = decode(changed, PWD)
    except BadStun:
        return
    # Nobody changes what is signed, which is all but 0x8100 (and the lengths that hold it).
    assert signed_part(got) == signed_part(message)


@given(st.sampled_from(MESSAGES), st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=40))
def test_added_attributes_change_nothing_that_is_signed(message: Message, more: list[tuple[int, bytes]]) -> None:
    added = b"".join(attribute(kind, value) for kind, value in more)
    datagram = lengthened(encode(message, PWD), added)
    read_all(datagram)
    try:
        got = decode(datagram, PWD)
    except BadStun:
        assert len(datagram) > MAX_MESSAGE_LEN or len(more) > MAX_ATTRIBUTES - 8
        return
    assert signed_part(got) == signed_part(message)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 90), st.binary(max_size=24)), max_size=40))
def test_attributes_of_any_length_are_read_or_bad(parts: list[tuple[int, int, bytes]]) -> None:
    body = b"".join(attribute_head(kind, length) + value for kind, length, value in parts)
    for kind in (0x0001, 0x0011, 0x0101, 0x0111):
        read_all(message_of(body, kind=kind))


@given(st.integers(1, 4), st.binary(min_size=24, max_size=200))
def test_wireguard_is_never_taken_for_stun(kind: int, rest: bytes) -> None:
    assert not is_stun(bytes((kind, 0, 0, 0)) + COOKIE + rest)
    assert is_stun(b"\0\1\0\0" + COOKIE + rest)
    assert is_stun(bytes((kind, 1, 0, 0)) + COOKIE + rest)
    assert is_stun(b"\5\0\0\0" + COOKIE + rest)


@pytest.mark.parametrize("datagram", [b"", COOKIE, b"\0\1\0\0" + COOKIE, bytes(100), b"\0\1\0\0" + COOKIE + bytes(11)])
def test_the_rest_is_not_stun(datagram: bytes) -> None:
    assert not is_stun(datagram)
    assert peek(datagram) is None


# --- helpers ---


def bad(read: Callable[[], Message]) -> str:
    """Return the reason for which this is refused."""
    with pytest.raises(BadStun) as caught:
        read()
    assert str(caught.value).isprintable()
    return caught.value.reason


def read_all(datagram: bytes) -> None:
    """Read in every way; nothing but BadStun may come of it, and a peek finds whatever can be read."""
    looked = peek(datagram)
    is_stun(datagram)
    for key in (None, PWD):
        try:
            message = decode(datagram, key)
        except BadStun:
            continue
        assert looked is not None
        assert looked.transaction == message.transaction


def flipped(datagram: bytes, at: int) -> bytes:
    """Return the bytes with one bit of the one at `at` changed."""
    return datagram[:at] + bytes((datagram[at] ^ 1,)) + datagram[at + 1 :]


def signed_part(message: Message) -> Message:
    """Return the message without the one part that nobody signs."""
    return structs.replace(message, ids=None)
