"""Macs and cookies against vectors of another library; load, and who is let in under it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wg import cookie, messages
from wg.constants import COOKIE_LATENCY, COOKIE_SECRET_MAX_AGE
from wg.cookie import CookieJar, HandshakeGate, TokenBucket
from wg.messages import NO_MAC, CookieReply, Initiation

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "wireguard_cookie.json").read_text())["vectors"]

BOB = b"B" * 32
HOME = bytes([192, 0, 2, 1, 0xCA, 0x6C])
INITIATION = Initiation(7, b"E" * 32, b"S" * 48, b"T" * 28)


class CountedEntropy:
    """Never the same bytes twice."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, length: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(length, "big")


def gate_under_load(now: float = 100.0) -> HandshakeGate:
    gate = HandshakeGate(BOB, CountedEntropy())
    flood = CookieJar(BOB).sign(INITIATION, now)
    while not gate.under_load(now):
        gate.admit(flood, b"flood!", now)
    return gate


def taken_cookie(verdict: object, jar: CookieJar, now: float) -> bool:
    assert isinstance(verdict, bytes)
    reply = messages.decode(verdict)
    assert isinstance(reply, CookieReply)
    return jar.consume(reply, now)


@pytest.mark.parametrize("vector", VECTORS)
def test_macs_and_cookies_match_another_library(vector: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {name: bytes.fromhex(value) for name, value in vector.items()}
    drawn = iter([raw["secret"], raw["nonce"]])
    monkeypatch.setattr(cookie, "LOAD_BURST", 0.0)  # under load from the first message on
    gate = HandshakeGate(raw["public_key"], lambda length: next(drawn))
    jar = CookieJar(raw["public_key"])
    message = messages.decode(raw["message"] + NO_MAC + NO_MAC)
    assert isinstance(message, Initiation)

    signed = jar.sign(message, 0.0)
    assert signed == raw["message"] + raw["mac1"] + NO_MAC
    reply = gate.admit(signed, raw["source"], 0.0)
    assert reply == raw["cookie_reply"]
    assert taken_cookie(reply, jar, 0.0)
    again = jar.sign(message, 0.0)
    assert again == raw["message"] + raw["mac1"] + raw["mac2"]
    assert gate.admit(again, raw["source"], 0.0) == "admitted"


def test_without_load_a_right_mac1_is_enough() -> None:
    gate, jar = HandshakeGate(BOB, CountedEntropy()), CookieJar(BOB)
    assert gate.admit(jar.sign(INITIATION, 0.0), HOME, 0.0) == "admitted"
    assert gate.counters.admitted == 1


@settings(deadline=None)
@given(st.integers(0, 132 * 8 - 1))
def test_any_bit_flipped_under_mac1_is_noticed(bit: int) -> None:
    gate = HandshakeGate(BOB, CountedEntropy())
    data = bytearray(CookieJar(BOB).sign(INITIATION, 0.0))
    data[bit // 8] ^= 1 << bit % 8
    assert gate.admit(data, HOME, 0.0) == "dropped"
    assert gate.counters.wrong_mac1 == 1


def test_a_message_for_another_key_is_dropped() -> None:
    gate = HandshakeGate(BOB, CountedEntropy())
    assert gate.admit(CookieJar(b"C" * 32).sign(INITIATION, 0.0), HOME, 0.0) == "dropped"


def test_under_load_a_cookie_lets_its_holder_in_from_its_own_address_only() -> None:
    gate, jar = gate_under_load(), CookieJar(BOB)
    assert taken_cookie(gate.admit(jar.sign(INITIATION, 100.0), HOME, 100.0), jar, 100.0)
    signed = jar.sign(INITIATION, 100.5)
    assert gate.admit(signed, HOME, 100.5) == "admitted"
    elsewhere = gate.admit(signed, bytes([192, 0, 2, 1, 0, 1]), 100.5)
    assert isinstance(elsewhere, bytes), "another port, another cookie"


def test_load_is_over_a_second_after_the_last_excess() -> None:
    gate = gate_under_load(100.0)
    assert gate.under_load(100.9)
    assert not gate.under_load(101.0)


def test_messages_with_a_wrong_mac1_are_no_load() -> None:
    gate = HandshakeGate(BOB, CountedEntropy())
    for _ in range(2000):
        gate.admit(bytes(148), HOME, 0.0)
    assert not gate.under_load(0.0)


def test_the_secret_changes_after_two_minutes_and_old_cookies_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookie, "LOAD_BURST", 0.0)
    monkeypatch.setattr(cookie, "LOAD_PER_S", 0.0)
    gate, jar = HandshakeGate(BOB, CountedEntropy()), CookieJar(BOB)
    assert taken_cookie(gate.admit(jar.sign(INITIATION, 0.0), HOME, 0.0), jar, 0.0)
    last = COOKIE_SECRET_MAX_AGE - COOKIE_LATENCY - 0.1
    signed = jar.sign(INITIATION, last)
    assert gate.admit(signed, HOME, last) == "admitted"
    assert jar.sign(INITIATION, last + 0.2)[-16:] == NO_MAC, "the holder stops first"
    assert isinstance(gate.admit(signed, HOME, COOKIE_SECRET_MAX_AGE), bytes)


def test_under_load_one_source_gets_a_burst_and_then_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookie, "LOAD_BURST", 0.0)
    monkeypatch.setattr(cookie, "LOAD_PER_S", 0.0)
    gate, jar = HandshakeGate(BOB, CountedEntropy()), CookieJar(BOB)
    assert taken_cookie(gate.admit(jar.sign(INITIATION, 0.0), HOME, 0.0), jar, 0.0)
    signed = jar.sign(INITIATION, 0.0)
    assert [gate.admit(signed, HOME, 0.0) for _ in range(7)] == ["admitted"] * 5 + ["dropped"] * 2
    assert gate.admit(signed, HOME, 0.05) == "admitted"
    assert gate.counters.rate_limited == 2


def test_an_ipv6_network_of_64_bits_is_one_source_and_its_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookie, "LOAD_BURST", 0.0)
    monkeypatch.setattr(cookie, "LOAD_PER_S", 0.0)
    monkeypatch.setattr(cookie, "MAX_SOURCES", 2)
    gate = HandshakeGate(BOB, CountedEntropy())

    def try_from(network: int, host: int) -> object:
        source, jar = network.to_bytes(8, "big") + host.to_bytes(8, "big") + b"\0\1", CookieJar(BOB)
        assert taken_cookie(gate.admit(jar.sign(INITIATION, 0.0), source, 0.0), jar, 0.0)
        return gate.admit(jar.sign(INITIATION, 0.0), source, 0.0)

    assert [try_from(1, host) for host in range(6)] == ["admitted"] * 5 + ["dropped"]
    assert try_from(2, 0) == "admitted"
    assert try_from(1, 9) == "dropped"
    assert try_from(3, 0) == "admitted"
    assert gate.counters.sources_forgotten == 1
    assert try_from(1, 9) == "dropped", "the source heard longest ago was forgotten, not this one"


def test_a_cookie_reply_may_answer_either_of_the_last_two_messages() -> None:
    gate, jar = gate_under_load(), CookieJar(BOB)
    older, newer = (jar.sign(INITIATION._replace(sender=sender), 100.0) for sender in (1, 2))
    for message in (older, newer):
        assert taken_cookie(gate.admit(message, HOME, 100.0), jar, 100.0)


def test_a_cookie_reply_to_something_else_is_refused() -> None:
    gate, jar, stranger = gate_under_load(), CookieJar(BOB), CookieJar(BOB)
    verdict = gate.admit(stranger.sign(INITIATION._replace(ephemeral=b"X" * 32), 100.0), HOME, 100.0)
    signed = jar.sign(INITIATION, 100.0)
    assert not taken_cookie(verdict, jar, 100.0), "right index, another mac1"
    verdict = gate.admit(signed, HOME, 100.0)
    assert isinstance(verdict, bytes)
    elsewhere = verdict[:4] + bytes([9, 0, 0, 0]) + verdict[8:]
    assert not taken_cookie(elsewhere, jar, 100.0), "right mac1, another index"
    assert taken_cookie(verdict, jar, 100.0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.binary(min_size=24, max_size=24), st.binary(min_size=32, max_size=32))
def test_random_cookie_replies_are_refused(receiver: int, nonce: bytes, sealed: bytes) -> None:
    jar = CookieJar(BOB)
    jar.sign(INITIATION._replace(sender=receiver), 0.0)
    assert not jar.consume(CookieReply(receiver, nonce, sealed), 0.0)
    assert jar.sign(INITIATION, 0.0)[-16:] == NO_MAC


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=200), st.binary(max_size=40))
def test_random_messages_never_get_through_the_gate(data: bytes, source: bytes) -> None:
    assert HandshakeGate(BOB, CountedEntropy()).admit(data, source, 0.0) == "dropped"


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 10.0), max_size=100))
def test_a_bucket_never_gives_more_than_burst_and_rate_allow(times: list[float]) -> None:
    bucket = TokenBucket(per_s=3.0, burst=4.0)
    taken = sum(bucket.take(now) for now in sorted(times))
    assert taken <= 4 + 3 * max(times, default=0.0)
