"""Batches sealed and opened, the limits of a keypair, and how three of them move."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wg.constants import (
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    TRANSPORT_OVERHEAD,
)
from wg.keypair import CROSSING_S, REKEY_AFTER_RECEIVE, Keypair, Keypairs, Role
from wg.messages import Buffer
from wg.noise import TransportKeys

MTU = 1420
ALICE_KEYS = TransportKeys(b"a" * 32, b"b" * 32)
BOB_KEYS = TransportKeys(b"b" * 32, b"a" * 32)


def make_pair() -> tuple[Keypair, Keypair]:
    return Keypair("initiator", ALICE_KEYS, 1, 2, now=0.0), Keypair("responder", BOB_KEYS, 2, 1, now=0.0)


# --- sealing and opening ---


def test_transport_data_is_header_ciphertext_and_tag() -> None:
    alice, _ = make_pair()
    alice.counter = 0x0102030405060708
    first, second = alice.seal([b"x" * 100, b""], MTU)
    assert struct.unpack_from("<IIQ", first) == (4, 2, 0x0102030405060708)
    assert struct.unpack_from("<IIQ", second) == (4, 2, 0x0102030405060709)
    assert (len(first), len(second)) == (112 + TRANSPORT_OVERHEAD, TRANSPORT_OVERHEAD)
    assert alice.counter == 0x010203040506070A


@settings(deadline=None)
@given(st.lists(st.binary(max_size=MTU), max_size=20), st.integers(0, 2**63))
def test_what_one_end_seals_the_other_opens(packets: list[bytes], counter: int) -> None:
    alice, bob = make_pair()
    alice.counter = counter
    counters, plaintexts = bob.open(alice.seal(packets, MTU))
    assert counters == [*range(counter, counter + len(packets))]
    for packet, plaintext in zip(packets, plaintexts, strict=True):
        assert plaintext is not None
        assert plaintext[: len(packet)] == packet
        assert plaintext[len(packet) :] == bytes(len(plaintext) - len(packet)), "padding is zeros"
        assert len(plaintext) == MTU or len(plaintext) % 16 == 0


@pytest.mark.parametrize(
    ("length", "mtu", "padded"), [(0, 1420, 0), (1, 1420, 16), (16, 1420, 16), (1409, 1420, 1420), (1420, 1420, 1420)]
)
def test_padding_fills_up_to_16_but_not_beyond_the_mtu(length: int, mtu: int, padded: int) -> None:
    alice, _ = make_pair()
    (datagram,) = alice.seal([b"x" * length], mtu)
    assert len(datagram) == padded + TRANSPORT_OVERHEAD


def test_a_packet_longer_than_the_mtu_is_not_padded() -> None:
    alice, _ = make_pair()
    (datagram,) = alice.seal([b"x" * 1421], 1420)
    assert len(datagram) == 1421 + TRANSPORT_OVERHEAD


def test_any_buffer_will_do() -> None:
    alice, bob = make_pair()
    packets: list[Buffer] = [bytearray(b"1" * 20), memoryview(b"2" * 16), b"3" * 16]
    datagrams = alice.seal(packets, MTU)
    _, plaintexts = bob.open([memoryview(datagrams[0]), bytearray(datagrams[1]), datagrams[2]])
    assert plaintexts == [b"1" * 20 + bytes(12), b"2" * 16, b"3" * 16]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(8, 63), st.integers(0, 7))
def test_forged_packets_cost_only_themselves(forged: list[bool], byte: int, bit: int) -> None:
    alice, bob = make_pair()
    datagrams = alice.seal([bytes([index]) * 32 for index in range(len(forged))], MTU)
    for index, is_forged in enumerate(forged):
        if is_forged:
            changed = bytearray(datagrams[index])
            changed[byte] ^= 1 << bit
            datagrams[index] = bytes(changed)
    _, plaintexts = bob.open(datagrams)
    assert plaintexts == [None if is_forged else bytes([index]) * 32 for index, is_forged in enumerate(forged)]


@settings(deadline=None)
@given(st.lists(st.binary(min_size=TRANSPORT_OVERHEAD, max_size=100), max_size=10))
def test_random_datagrams_do_not_authenticate(datagrams: list[bytes]) -> None:
    _, bob = make_pair()
    counters, plaintexts = bob.open(datagrams)
    assert counters == [int.from_bytes(datagram[8:16], "little") for datagram in datagrams]
    assert plaintexts == [None] * len(datagrams)


# --- limits ---


def test_a_keypair_sends_and_receives_for_180_s() -> None:
    alice, _ = make_pair()
    assert alice.may_send(1, REJECT_AFTER_TIME - 0.1)
    assert alice.may_receive(REJECT_AFTER_TIME - 0.1)
    assert not alice.may_send(1, REJECT_AFTER_TIME)
    assert not alice.may_receive(REJECT_AFTER_TIME)


def test_a_keypair_sends_no_more_messages_than_its_window_can_tell_apart() -> None:
    alice, _ = make_pair()
    alice.counter = REJECT_AFTER_MESSAGES - 2
    assert alice.may_send(2, 0.0)
    assert not alice.may_send(3, 0.0)


@pytest.mark.parametrize(("role", "renews"), [("initiator", True), ("responder", False)])
def test_by_age_the_initiator_alone_renews(role: Role, renews: bool) -> None:
    keypair = Keypair(role, ALICE_KEYS, 1, 2, now=0.0)
    assert not keypair.rekey_after_send(REKEY_AFTER_TIME - 0.1)
    assert keypair.rekey_after_send(REKEY_AFTER_TIME) is renews
    assert not keypair.rekey_after_receive(REKEY_AFTER_RECEIVE - 0.1)
    assert keypair.rekey_after_receive(REKEY_AFTER_RECEIVE) is renews


@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_by_messages_whoever_sent_them_renews(role: Role) -> None:
    keypair = Keypair(role, ALICE_KEYS, 1, 2, now=0.0)
    keypair.counter = REKEY_AFTER_MESSAGES - 1
    assert not keypair.rekey_after_send(0.0)
    keypair.seal([b""], MTU)
    assert keypair.rekey_after_send(0.0)


# --- rotation ---


class Rotation:
    """Keypairs named by their local index, and the indices that went back."""

    def __init__(self) -> None:
        self.released: list[int] = []
        self.keypairs = Keypairs(self.released.append)

    def initiated(self, index: int, now: float = 0.0) -> Keypair:
        keypair = Keypair("initiator", ALICE_KEYS, index, 0, now)
        self.keypairs.add_initiated(keypair)
        return keypair

    def answered(self, index: int, now: float = 0.0) -> Keypair:
        keypair = Keypair("responder", ALICE_KEYS, index, 0, now)
        self.keypairs.add_answered(keypair)
        return keypair

    def opened(self, keypair: Keypair, now: float = 0.0, *, peer_wins: bool = False) -> bool:
        changed = self.keypairs.on_opened(keypair, peer_wins=peer_wins)
        keypair.heard_at = now
        return changed

    def slots(self) -> Sequence[int | None]:
        three = (self.keypairs.previous, self.keypairs.current, self.keypairs.next)
        return [None if keypair is None else keypair.local_index for keypair in three]


def test_an_answered_initiation_is_current_at_once_and_the_last_one_previous() -> None:
    rotation = Rotation()
    for index in (1, 2, 3):
        rotation.initiated(index)
    assert rotation.slots() == [2, 3, None]
    assert rotation.released == [1]


def test_a_responder_moves_to_a_keypair_when_the_peer_has_used_it() -> None:
    rotation = Rotation()
    rotation.initiated(1)
    second = rotation.answered(2, now=120.0)
    assert rotation.slots() == [None, 1, 2]
    assert rotation.opened(second)
    assert rotation.slots() == [1, 2, None]
    assert not rotation.opened(second)


def test_the_peers_next_initiation_replaces_one_that_was_not_used() -> None:
    rotation = Rotation()
    rotation.answered(1)
    rotation.answered(2)
    assert rotation.slots() == [None, None, 2]
    assert rotation.released == [1]


def test_initiations_that_crossed_leave_the_peers_keypair_in_reach() -> None:
    rotation = Rotation()
    rotation.initiated(1)
    rotation.answered(2, now=120.0)
    rotation.initiated(3, now=120.0 + CROSSING_S)
    assert rotation.slots() == [1, 3, 2]


def test_a_keypair_that_may_have_been_used_unheard_is_kept_for_a_while() -> None:
    rotation = Rotation()
    rotation.initiated(1)
    rotation.answered(2, now=60.0)
    rotation.initiated(3, now=120.0)
    assert rotation.slots() == [2, 3, None]
    assert rotation.released == [1]


def test_an_unused_keypair_does_not_push_out_the_one_in_use() -> None:
    rotation = Rotation()
    first = rotation.initiated(1)
    rotation.answered(2, now=1.0)
    rotation.opened(first, now=60.0)
    rotation.initiated(3, now=120.0)
    assert rotation.slots() == [1, 3, None]
    assert rotation.released == [2]


@pytest.mark.parametrize(("peer_wins", "slots"), [(True, [2, 1, None]), (False, [1, 2, None])])
def test_after_a_crossing_both_ends_move_to_the_session_of_one(peer_wins: bool, slots: list[int | None]) -> None:
    answered_first = Rotation()
    theirs = answered_first.answered(1)
    answered_first.initiated(2, now=CROSSING_S)
    assert answered_first.opened(theirs, peer_wins=peer_wins) is peer_wins
    assert answered_first.slots() == slots

    initiated_first = Rotation()
    initiated_first.initiated(2)
    theirs = initiated_first.answered(1, now=CROSSING_S)
    assert initiated_first.opened(theirs, peer_wins=peer_wins) is peer_wins
    assert initiated_first.slots() == slots


def test_a_later_initiation_of_the_peer_wins_in_any_case() -> None:
    rotation = Rotation()
    rotation.initiated(1)
    theirs = rotation.answered(2, now=CROSSING_S + 0.1)  # it may have lost its keys
    assert rotation.opened(theirs, peer_wins=False)
    assert rotation.slots() == [1, 2, None]


def test_late_packets_of_a_used_keypair_move_nothing() -> None:
    rotation = Rotation()
    first = rotation.answered(1)
    rotation.opened(first)
    second = rotation.initiated(2, now=120.0)
    rotation.opened(second, now=121.0)
    assert not rotation.opened(first, now=122.0, peer_wins=True)
    assert rotation.slots() == [1, 2, None]


def test_a_keypair_is_found_by_its_index_while_it_is_kept() -> None:
    rotation = Rotation()
    rotation.initiated(1)
    second = rotation.answered(2)
    assert rotation.keypairs.by_index(2) is second
    rotation.keypairs.clear()
    assert rotation.keypairs.by_index(2) is None
    assert sorted(rotation.released) == [1, 2]
