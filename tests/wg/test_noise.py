"""The handshake against vectors of a general Noise implementation, and against tampering."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.keys import InvalidKey
from wg import noise
from wg.errors import HandshakeRejected
from wg.keypair import Keypair
from wg.messages import Initiation, Response
from wg.noise import LocalStatic, RemoteStatic

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "wireguard_noise.json").read_text())["vectors"]
# RFC 7748 section 6.1 asks for the check; these encode points of order 1, 2, 4 and 8 (and 0 and 1 again, not reduced).
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
]
NO_PSK = bytes(32)


class Ends(NamedTuple):
    alice: LocalStatic
    bob: LocalStatic
    to_bob: RemoteStatic
    to_alice: RemoteStatic


def make_ends(alice_private: bytes = b"a" * 32, bob_private: bytes = b"b" * 32) -> Ends:
    alice, bob = LocalStatic(alice_private), LocalStatic(bob_private)
    return Ends(alice, bob, RemoteStatic(alice, bob.public), RemoteStatic(bob, alice.public))


ENDS = make_ends()
INITIATION, INITIATED = noise.create_initiation(
    ENDS.alice, ENDS.to_bob, sender=1, ephemeral_private=b"e" * 32, timestamp=b"T" * 12
)


def respond(initiation: Initiation, preshared_key: bytes = NO_PSK) -> tuple[Response, noise.TransportKeys]:
    checked = noise.check_initiation(noise.read_initiation(ENDS.bob, initiation), ENDS.to_alice)
    return noise.create_response(checked, sender=2, ephemeral_private=b"f" * 32, preshared_key=preshared_key)


@pytest.mark.parametrize("vector", VECTORS)
def test_both_roles_match_a_general_noise_implementation(vector: dict[str, str]) -> None:
    raw = {name: bytes.fromhex(value) for name, value in vector.items()}
    ends = make_ends(raw["initiator_static"], raw["responder_static"])
    initiation, initiated = noise.create_initiation(
        ends.alice, ends.to_bob, sender=1, ephemeral_private=raw["initiator_ephemeral"], timestamp=raw["timestamp"]
    )
    assert initiation.ephemeral + initiation.sealed_static + initiation.sealed_timestamp == raw["message_1"]

    read = noise.read_initiation(ends.bob, initiation)
    assert read.remote == ends.alice.public
    checked = noise.check_initiation(read, ends.to_alice)
    assert checked.timestamp == raw["timestamp"]
    response, bob_keys = noise.create_response(
        checked, sender=2, ephemeral_private=raw["responder_ephemeral"], preshared_key=raw["preshared_key"]
    )
    assert response.ephemeral + response.sealed_empty == raw["message_2"]
    assert (response.sender, response.receiver) == (2, 1)

    alice_keys = noise.consume_response(ends.alice, initiated, response, preshared_key=raw["preshared_key"])
    assert (alice_keys.send, alice_keys.receive) == (bob_keys.receive, bob_keys.send)
    first = b"first data of the initiator"
    (data,) = Keypair("initiator", alice_keys, 1, 2, now=0.0).seal([first], mtu=len(first))
    assert data[16:] == raw["initiator_data"]
    first = b"first data of the responder"
    (data,) = Keypair("responder", bob_keys, 2, 1, now=0.0).seal([first], mtu=len(first))
    assert data[16:] == raw["responder_data"]


def test_an_initiation_is_for_the_owner_of_one_key_only() -> None:
    with pytest.raises(HandshakeRejected, match="static key does not authenticate"):
        noise.read_initiation(LocalStatic(b"x" * 32), INITIATION)


def test_an_initiation_is_from_the_owner_of_its_static_key_only() -> None:
    mallory = RemoteStatic(ENDS.bob, LocalStatic(b"m" * 32).public)
    with pytest.raises(HandshakeRejected, match="timestamp does not authenticate"):
        noise.check_initiation(noise.read_initiation(ENDS.bob, INITIATION), mallory)


def test_a_response_with_another_preshared_key_is_rejected_and_the_right_one_still_taken() -> None:
    response, _ = respond(INITIATION, preshared_key=b"p" * 32)
    with pytest.raises(HandshakeRejected, match="handshake response does not authenticate"):
        noise.consume_response(ENDS.alice, INITIATED, response, preshared_key=b"q" * 32)
    keys = noise.consume_response(ENDS.alice, INITIATED, response, preshared_key=b"p" * 32)
    assert len(keys.send) == len(keys.receive) == 32


def test_an_initiation_may_be_checked_and_answered_twice() -> None:
    assert respond(INITIATION) == respond(INITIATION)


@pytest.mark.parametrize("public", LOW_ORDER)
def test_keys_of_low_order_are_refused_wherever_they_come_from(public: bytes) -> None:
    with pytest.raises(InvalidKey, match="low order"):
        RemoteStatic(ENDS.alice, public)
    with pytest.raises(HandshakeRejected, match="low order"):
        noise.read_initiation(ENDS.bob, INITIATION._replace(ephemeral=public))
    response, _ = respond(INITIATION)
    with pytest.raises(HandshakeRejected, match="low order"):
        noise.consume_response(ENDS.alice, INITIATED, response._replace(ephemeral=public), preshared_key=NO_PSK)


@settings(deadline=None)
@given(st.sampled_from(["ephemeral", "sealed_static", "sealed_timestamp"]), st.integers(0, 8 * 28 - 1))
def test_any_bit_flipped_in_an_initiation_is_noticed(field: str, bit: int) -> None:
    tampered = Initiation(**{**INITIATION._asdict(), field: flip(getattr(INITIATION, field), bit)})
    with pytest.raises(HandshakeRejected):
        noise.check_initiation(noise.read_initiation(ENDS.bob, tampered), ENDS.to_alice)


@settings(deadline=None)
@given(st.sampled_from(["ephemeral", "sealed_empty"]), st.integers(0, 8 * 16 - 1))
def test_any_bit_flipped_in_a_response_is_noticed(field: str, bit: int) -> None:
    response, _ = respond(INITIATION)
    tampered = Response(**{**response._asdict(), field: flip(getattr(response, field), bit)})
    with pytest.raises(HandshakeRejected):
        noise.consume_response(ENDS.alice, INITIATED, tampered, preshared_key=NO_PSK)


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=48, max_size=48), st.binary(min_size=28, max_size=28))
def test_random_initiations_are_rejected(ephemeral: bytes, sealed_static: bytes, sealed_timestamp: bytes) -> None:
    with pytest.raises(HandshakeRejected):
        noise.read_initiation(ENDS.bob, Initiation(1, ephemeral, sealed_static, sealed_timestamp))


def test_no_key_shows_in_a_repr() -> None:
    _, keys = respond(INITIATION)
    shown = repr(keys) + repr(INITIATED) + repr(ENDS.alice) + repr(ENDS.to_bob)
    assert not any(secret.hex() in shown or repr(secret) in shown for secret in (*keys, b"a" * 32, b"e" * 32))


def flip(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
