"""The four message types: record <-> bytes (whitepaper sections 5.4.2, 5.4.3, 5.4.6, 5.4.7).

Each starts with its type in one byte and three reserved zero bytes; integers are little-endian.

    type 1  handshake initiation  148   sender 4, ephemeral 32, static 32+16, timestamp 12+16, mac1 16, mac2 16
    type 2  handshake response     92   sender 4, receiver 4, ephemeral 32, empty 0+16, mac1 16, mac2 16
    type 3  cookie reply           64   receiver 4, nonce 24, cookie 16+16
    type 4  transport data      >= 32   receiver 4, counter 8, packet n+16

Transport data is sealed and opened in batches by `keypair`.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from wg.constants import COOKIE_LEN, COOKIE_NONCE_LEN, KEY_LEN, MAC_LEN, TAG_LEN, TIMESTAMP_LEN, TRANSPORT_OVERHEAD
from wg.errors import InvalidMessage

Buffer = bytes | bytearray | memoryview

NO_MAC = bytes(MAC_LEN)


class MessageType(IntEnum):
    """The first byte; read with the three reserved ones as a little-endian 32-bit integer."""

    INITIATION = 1
    RESPONSE = 2
    COOKIE_REPLY = 3
    TRANSPORT = 4


class Initiation(NamedTuple):
    """Type 1: the initiator's ephemeral, and its static and timestamp, sealed."""

    sender: int
    ephemeral: bytes
    sealed_static: bytes  # 32 + 16 bytes
    sealed_timestamp: bytes  # 12 + 16 bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC


class Response(NamedTuple):
    """Type 2: the responder's ephemeral, and the proof that it has the keys."""

    sender: int
    receiver: int
    ephemeral: bytes
    sealed_empty: bytes  # 0 + 16 bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC


class CookieReply(NamedTuple):
    """Type 3: under load; the sender of the handshake message `receiver` shall prove that it owns its address."""

    receiver: int
    nonce: bytes
    sealed_cookie: bytes  # 16 + 16 bytes


HandshakeMessage = Initiation | Response | CookieReply

INITIATION = struct.Struct(f"<II{KEY_LEN}s{KEY_LEN + TAG_LEN}s{TIMESTAMP_LEN + TAG_LEN}s{MAC_LEN}s{MAC_LEN}s")
RESPONSE = struct.Struct(f"<III{KEY_LEN}s{TAG_LEN}s{MAC_LEN}s{MAC_LEN}s")
COOKIE_REPLY = struct.Struct(f"<II{COOKIE_NONCE_LEN}s{COOKIE_LEN + TAG_LEN}s")

_HANDSHAKE_LENS = {
    MessageType.INITIATION: INITIATION.size,
    MessageType.RESPONSE: RESPONSE.size,
    MessageType.COOKIE_REPLY: COOKIE_REPLY.size,
}


def message_type(datagram: Buffer) -> MessageType | None:
    """Return the type of a message whose type word and length are right, else None."""
    if len(datagram) < TRANSPORT_OVERHEAD:
        return None
    (word,) = struct.unpack_from("<I", datagram)
    if word == MessageType.TRANSPORT:
        return MessageType.TRANSPORT
    for kind, length in _HANDSHAKE_LENS.items():
        if word == kind and len(datagram) == length:
            return kind
    return None


def encode(message: HandshakeMessage) -> bytes:
    """Return the bytes of a handshake message."""
    match message:
        case Initiation():
            return INITIATION.pack(MessageType.INITIATION, *message)
        case Response():
            return RESPONSE.pack(MessageType.RESPONSE, *message)
        case CookieReply():
            return COOKIE_REPLY.pack(MessageType.COOKIE_REPLY, *message)


def decode(datagram: Buffer) -> HandshakeMessage:
    """Return the handshake message in a datagram.  Raises InvalidMessage; never looks at the macs."""
    match message_type(datagram):
        case MessageType.INITIATION:
            return Initiation(*INITIATION.unpack(datagram)[1:])
        case MessageType.RESPONSE:
            return Response(*RESPONSE.unpack(datagram)[1:])
        case MessageType.COOKIE_REPLY:
            return CookieReply(*COOKIE_REPLY.unpack(datagram)[1:])
        case _:
            raise InvalidMessage(
                f"{len(datagram)} bytes starting {bytes(datagram[:4]).hex() or 'with nothing'}; a handshake message is "
                "type 1 of 148 bytes, type 2 of 92 or type 3 of 64"
            )
