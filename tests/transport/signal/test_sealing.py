from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import Box
from nacl.public import PrivateKey as BoxPrivateKey
from nacl.public import PublicKey as BoxPublicKey

from config.keys import PublicKey, Secret, encode_key
from tests.transport.signal.vectors import A_KEY, B_KEY, A, B, public_key_of, vectors
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.signal.body import MAX_BODY_LEN
from transport.signal.sealing import NONCE_LEN, OVERHEAD_LEN, Sealer

VECTORS = vectors()


def fixed_nonce(length: int) -> bytes:
    assert length == NONCE_LEN
    return VECTORS["nonce"]


def test_the_keys_are_the_spec_s() -> None:
    assert encode_key(VECTORS["a_public"]) == A
    assert encode_key(VECTORS["b_public"]) == B
    assert Box(BoxPrivateKey(A_KEY.value), BoxPublicKey(VECTORS["b_public"])).shared_key() == VECTORS["shared_key"]


@pytest.mark.parametrize(("name", "to"), [("offer", B), ("idle", B), ("heartbeat", A)])
def test_sealed_bodies_are_the_spec_s_bytes_both_ways(name: str, to: PublicKey) -> None:
    body, sealed = VECTORS[f"{name}_body"], VECTORS[f"{name}_sealed"]
    assert Sealer(A_KEY, fixed_nonce).seal(body, to) == sealed
    receiver = Sealer(B_KEY if to == B else A_KEY, fixed_nonce)
    assert receiver.open(sealed, A) == (body, VECTORS["nonce"])


@given(st.binary(max_size=200))
def test_any_bytes_open_or_are_the_remote_s_fault(sealed: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Sealer(B_KEY, fixed_nonce).open(sealed, A)


@given(st.integers(0, len(VECTORS["offer_sealed"]) * 8 - 1))
def test_one_changed_bit_is_noticed(bit: int) -> None:
    damaged = bytearray(VECTORS["offer_sealed"])
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        Sealer(B_KEY, fixed_nonce).open(bytes(damaged), A)


NO_KEYS = ["", "A", A[:-1], A + "\n", A + A, "\u00e9" * 44, "-" * 44, encode_key(bytes(31)), f"{A[:-2]}9="]


@pytest.mark.parametrize("text", NO_KEYS)
def test_a_sender_that_is_no_key_or_not_spelled_canonically_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="sender's key"):
        Sealer(B_KEY, fixed_nonce).open(VECTORS["offer_sealed"], text)


@given(st.text(max_size=60))
def test_any_sender_text_is_refused_without_harm(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Sealer(B_KEY, fixed_nonce).open(VECTORS["offer_sealed"], text)


@pytest.mark.parametrize("point", [bytes(32), bytes([1]) + bytes(31)])
def test_a_low_order_key_is_refused_both_ways(point: bytes) -> None:
    sealer, text = Sealer(B_KEY, fixed_nonce), PublicKey(encode_key(point))
    with pytest.raises(RemoteProtocolError):
        sealer.open(VECTORS["offer_sealed"], text)
    with pytest.raises(LocalProtocolError):
        sealer.seal(b"", text)


def test_lengths_are_bounded() -> None:
    sealer = Sealer(A_KEY, fixed_nonce)
    longest = sealer.seal(bytes(MAX_BODY_LEN), A)
    assert len(longest) == MAX_BODY_LEN + OVERHEAD_LEN
    assert sealer.open(longest, A)[0] == bytes(MAX_BODY_LEN)
    with pytest.raises(LocalProtocolError, match="limit"):
        sealer.seal(bytes(MAX_BODY_LEN + 1), A)
    with pytest.raises(RemoteProtocolError, match="would do"):
        sealer.open(longest + b"x", A)
    with pytest.raises(RemoteProtocolError, match="would do"):
        sealer.open(bytes(OVERHEAD_LEN - 1), A)


def test_more_peers_than_boxes_are_served_all_the_same() -> None:
    numbers = count()
    alice = Sealer(A_KEY, lambda length: next(numbers).to_bytes(length), max_boxes=3)
    keys = [Secret(bytes([number]) * 32) for number in range(1, 9)]
    for key in (*keys, *keys):
        sealed = alice.seal(b"to you", public_key_of(key))
        assert Sealer(key, fixed_nonce).open(sealed, A)[0] == b"to you"
