"""What a STUN server answers, to whom, how often, and at what length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.keys import Secret
from tests.transport.ice.vectors import TRANSACTION, attribute, message_of, vectors
from transport.ice.attributes import COOKIE
from transport.ice.responder import (
    MAX_SOURCES,
    SOURCE_BURST,
    SOURCE_PER_S,
    TOTAL_BURST,
    StunResponder,
)
from transport.ice.stun import (
    UNKNOWN_ATTRIBUTE,
    BindingError,
    BindingIndication,
    BindingRequest,
    BindingSuccess,
    decode,
    encode,
)
from wg.datagrams import Endpoint

CLIENT, CLIENT_6 = Endpoint("192.0.2.7", 40000), Endpoint("2001:db8::7", 40000)
PLAIN = encode(BindingRequest(transaction=TRANSACTION), fingerprint=False)
PRINTED = encode(BindingRequest(transaction=TRANSACTION))


def responder() -> StunResponder:
    return StunResponder(now=0.0)


def answered(stun: StunResponder, times: int, source: Endpoint = CLIENT, now: float = 0.0) -> int:
    """Return how many of this many requests get an answer."""
    return sum(stun.respond(PLAIN, source, now) is not None for _ in range(times))


@pytest.mark.parametrize(("source", "address_len"), [(CLIENT, 12), (CLIENT_6, 24)])
@pytest.mark.parametrize("request_", [PLAIN, PRINTED])
def test_a_client_learns_where_it_comes_from(request_: bytes, source: Endpoint, address_len: int) -> None:
    stun = responder()
    answer = stun.respond(request_, source, 0.0)
    assert answer is not None
    assert decode(answer) == BindingSuccess(transaction=TRANSACTION, mapped=source)
    assert len(answer) == len(request_) + address_len  # with a fingerprint if the request has one
    assert (stun.answered, stun.drops) == (1, {})


def test_requests_of_others_are_answered_without_their_password() -> None:
    answer = responder().respond(vectors()["rfc5769_request"], CLIENT, 0.0)
    assert answer is not None
    message = decode(answer)
    assert isinstance(message, BindingSuccess)
    assert message.mapped == CLIENT


def test_what_must_be_understood_and_is_not_is_named() -> None:
    request = message_of(attribute(0x0003, bytes(4)), attribute(0x7FFF, b""))
    answer = responder().respond(request, CLIENT, 0.0)
    assert answer is not None
    assert decode(answer) == BindingError(
        transaction=TRANSACTION, code=UNKNOWN_ATTRIBUTE, not_understood=(0x0003, 0x7FFF)
    )


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "no_request"),
        (b"hello", "no_request"),
        (bytes(20), "no_request"),
        (b"\0\1\0\0" + b"\x21\x12\xa4\x43" + TRANSACTION, "no_request"),  # as before RFC 5389
        (b"\0\3\0\0" + COOKIE + TRANSACTION, "no_request"),  # TURN
        (encode(BindingSuccess(transaction=TRANSACTION, mapped=CLIENT)), "no_request"),
        (encode(BindingError(transaction=TRANSACTION, code=400)), "no_request"),
        (encode(BindingIndication(transaction=TRANSACTION)), "no_request"),
        (encode(BindingRequest(transaction=TRANSACTION), Secret(b"pwd")) + b"more", "malformed"),
        (PRINTED[:-1] + bytes((PRINTED[-1] ^ 1,)), "fingerprint"),
    ],
)
def test_everything_else_gets_no_answer_and_is_counted(datagram: bytes, reason: str) -> None:
    stun = responder()
    assert stun.respond(datagram, CLIENT, 0.0) is None
    assert (stun.answered, stun.drops) == (0, {reason: 1})


def test_two_servers_do_not_answer_each_other() -> None:
    answer = responder().respond(PLAIN, CLIENT, 0.0)
    assert answer is not None
    assert responder().respond(answer, CLIENT, 0.0) is None


# --- rates ---


def test_a_source_has_a_rate() -> None:
    stun = responder()
    assert answered(stun, 500) == SOURCE_BURST
    assert stun.drops == {"source_rate": 500 - SOURCE_BURST}
    assert answered(stun, 500, now=1.0) == SOURCE_PER_S
    assert answered(stun, 10, Endpoint("192.0.2.8", 40000), now=1.0) == 10


def test_the_ports_of_an_address_and_the_addresses_of_a_network_are_one_source() -> None:
    stun = responder()
    assert sum(answered(stun, 1, Endpoint("192.0.2.7", port)) for port in range(1, 400)) == SOURCE_BURST
    assert sum(answered(stun, 1, Endpoint(f"2001:db8::{n:x}", 1)) for n in range(1, 400)) == SOURCE_BURST
    assert answered(stun, 1, Endpoint("2001:db8:0:0:9900::1", 1)) == 0
    assert answered(stun, 1, Endpoint("2001:db8:0:1::1", 1)) == 1
    assert answered(stun, 1, Endpoint("192.0.2.8", 1)) == 1


def test_all_sources_together_have_a_rate() -> None:
    stun = responder()
    sources = [Endpoint(f"10.{n // 250}.{n % 250}.1", 1) for n in range(1000)]
    assert sum(answered(stun, 10, source) for source in sources) == TOTAL_BURST
    assert stun.drops == {"total_rate": 10_000 - TOTAL_BURST}
    assert answered(stun, 1, CLIENT, now=0.1) == 1


def test_one_greedy_source_leaves_the_rest_to_others() -> None:
    stun = responder()
    answered(stun, int(2 * TOTAL_BURST))
    assert answered(stun, 10, CLIENT_6) == 10


def test_the_table_of_rates_is_bounded() -> None:
    stun = responder()
    for n in range(MAX_SOURCES + 10):
        stun.respond(PLAIN, Endpoint(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", 1), n / 1000)
    assert len(stun._sources) == MAX_SOURCES
    assert stun.sources_forgotten == 10


# --- bytes from anywhere ---

parts = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=34)


@given(parts, st.booleans(), st.binary(max_size=40), st.sampled_from([CLIENT, CLIENT_6]))
def test_an_answer_is_longer_by_the_address_at_most(
    parts: list[tuple[int, bytes]], known: bool, junk: bytes, source: Endpoint
) -> None:
    stun = responder()
    kinds = (0x8022, 0x8028, 0x0006, 0x0024)
    attributes = [attribute(kinds[kind % 4] if known else kind, value) for kind, value in parts]
    for datagram in (message_of(*attributes), junk, message_of(*attributes) + junk):
        answer = stun.respond(datagram, source, 0.0)
        if answer is not None:
            assert len(answer) <= len(datagram) + (12 if source == CLIENT else 24)
            assert decode(answer).transaction == TRANSACTION
    assert stun.answered + stun.drops.total() == 3
