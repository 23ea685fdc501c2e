import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wg.ecn import CE, ECT_0, ECT_1, NOT_ECT, decapsulated, ecn_of

# Inner mark, outer mark -> inner mark after the tunnel (RFC 6040, figure 4; Not-ECT with CE passes, as in WireGuard).
TABLE = {
    (NOT_ECT, NOT_ECT): NOT_ECT,
    (NOT_ECT, ECT_0): NOT_ECT,
    (NOT_ECT, ECT_1): NOT_ECT,
    (NOT_ECT, CE): NOT_ECT,
    (ECT_0, NOT_ECT): ECT_0,
    (ECT_0, ECT_0): ECT_0,
    (ECT_0, ECT_1): ECT_1,
    (ECT_0, CE): CE,
    (ECT_1, NOT_ECT): ECT_1,
    (ECT_1, ECT_0): ECT_1,
    (ECT_1, ECT_1): ECT_1,
    (ECT_1, CE): CE,
    (CE, NOT_ECT): CE,
    (CE, ECT_0): CE,
    (CE, ECT_1): CE,
    (CE, CE): CE,
}


@pytest.mark.parametrize(("inner", "outer"), TABLE)
def test_marks_cross_as_the_rfc_says_in_both_families(inner: int, outer: int) -> None:
    for packet in (ipv4(0xA8 | inner), ipv6(0xA8 | inner)):
        after = decapsulated(packet, outer)
        assert ecn_of(after) == TABLE[inner, outer]
        assert (after[0], after[2:10], after[12:]) == (packet[0], packet[2:10], packet[12:])


@given(st.binary(min_size=20, max_size=20), st.integers(0, 3))
def test_the_ipv4_header_checksum_stays_right(header: bytes, outer: int) -> None:
    packet = with_checksum(b"\x45" + header[1:])
    assert header_sum(decapsulated(packet, outer)) == 0xFFFF


def ipv4(tos: int) -> bytes:
    return with_checksum(
        struct.pack(">BBHHHBBH4s4s", 0x45, tos, 24, 7, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\2") + b"abcd"
    )


def ipv6(traffic_class: int) -> bytes:
    return struct.pack(">IHBB16s16s", 6 << 28 | traffic_class << 20 | 0xBEEF, 4, 59, 64, bytes(16), bytes(16)) + b"abcd"


def with_checksum(packet: bytes) -> bytes:
    packet = packet[:10] + b"\0\0" + packet[12:]
    return packet[:10] + (0xFFFF - header_sum(packet)).to_bytes(2, "big") + packet[12:]


def header_sum(packet: bytes) -> int:
    total: int = sum(struct.unpack_from(">10H", packet))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
