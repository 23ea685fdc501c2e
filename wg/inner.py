"""The IP packets inside: whose they are, where they go, and how long they really are.

IPv4 has its total length in bytes 2-3, source in 12-15, destination in 16-19; IPv6 the length behind its 40-byte header
in bytes 4-5, source in 8-23, destination in 24-39.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

IPV4_HEADER_LEN = 20  # bytes, without options
IPV6_HEADER_LEN = 40


def destination_of(packet: bytes) -> bytes | None:
    """Return the destination address, 4 or 16 bytes; None: this is no IP packet."""
    if len(packet) >= IPV4_HEADER_LEN and packet[0] >> 4 == 4:
        return packet[16:20]
    if len(packet) >= IPV6_HEADER_LEN and packet[0] >> 4 == 6:
        return packet[24:40]
    return None


class Checked(NamedTuple):
    """What came out of a tunnel, sorted."""

    packets: list[bytes]  # IP packets without padding, from allowed sources
    others: list[bytes]  # first byte 0: in-session messages, padding still on
    malformed: int  # neither, or longer than what holds them
    not_allowed: int  # IP packets with a source address that is not the peer's


def checked(plaintexts: Iterable[bytes | None], is_allowed: Callable[[bytes], bool]) -> Checked:
    """Sort decrypted transport data; keepalives (empty) and what was dropped before (None) are passed over.

    `is_allowed` is asked once per run of packets with one source.
    """
    packets: list[bytes] = []
    others: list[bytes] = []
    malformed = not_allowed = 0
    allowed_source = None
    for plaintext in plaintexts:
        if not plaintext:
            continue
        held = len(plaintext)
        version = plaintext[0] >> 4
        if version == 4 and held >= IPV4_HEADER_LEN:
            header_len = IPV4_HEADER_LEN
            length = plaintext[2] << 8 | plaintext[3]
            source = plaintext[12:16]
        elif version == 6 and held >= IPV6_HEADER_LEN:
            header_len = IPV6_HEADER_LEN
            length = IPV6_HEADER_LEN + (plaintext[4] << 8 | plaintext[5])
            source = plaintext[8:24]
        elif plaintext[0] == 0:
            others.append(plaintext)
            continue
        else:
            malformed += 1
            continue
        if source != allowed_source:
            if not is_allowed(source):
                not_allowed += 1
                continue
            allowed_source = source
        if length == held:
            packets.append(plaintext)
        elif header_len <= length < held:
            packets.append(plaintext[:length])
        else:
            malformed += 1
    return Checked(packets, others, malformed, not_allowed)
