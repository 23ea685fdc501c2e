"""The in-session echo: is this path alive, and how long does it take (recovery, proof and doubt).

A transport packet whose plaintext is no IP packet, because its first byte is 0: the kernel's WireGuard and wireguard-go
drop it after decryption, having counted it as proof that the peer lives.

    byte   0        1        2 .. 9
           0        kind     token, little-endian
"""

import struct
from enum import IntEnum

_ECHO = struct.Struct("<BBQ")
ECHO_LEN = _ECHO.size
FIRST_BYTE = 0  # of an IP packet it is 0x4_ or 0x6_
MAX_TOKEN = 2**64 - 1


class EchoKind(IntEnum):
    """Asks, or answers."""

    REQUEST = 1
    ANSWER = 2


def encode_echo(kind: EchoKind, token: int) -> bytes:
    """Return the plaintext of an echo, 10 bytes before WireGuard's padding."""
    return _ECHO.pack(FIRST_BYTE, kind, token)


def decode_echo(plaintext: bytes) -> tuple[EchoKind, int] | None:
    """Return kind and token, or None if this is no echo that we know; padding behind it is ignored."""
    if len(plaintext) < ECHO_LEN:
        return None
    first, kind, token = _ECHO.unpack_from(plaintext)
    if first != FIRST_BYTE or kind not in (EchoKind.REQUEST, EchoKind.ANSWER):
        return None
    return EchoKind(kind), token
