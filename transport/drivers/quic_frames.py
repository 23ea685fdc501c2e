"""Payloads of QUIC packets that hold DATAGRAM frames and nothing else (RFC 9221 section 4)."""

from typing import Final

from aioquic.quic.packet import QuicFrameType

FRAME_HEADER_LEN: Final = 3  # type, length in two bytes

_TYPE: Final = int(QuicFrameType.DATAGRAM_WITH_LENGTH)
_TYPE_BYTE: Final = _TYPE.to_bytes()


def datagram_frame(message: bytes) -> tuple[bytes, bytes]:
    """Return the frame's header and its data, a message of up to 16383 bytes."""
    return _TYPE_BYTE + (0x4000 | len(message)).to_bytes(2), message


def messages_of(payload: bytes) -> list[bytes] | None:
    """Return the messages of a payload; None: it holds something else, or a length of more than two bytes."""
    at, end, messages = 0, len(payload), []
    while at < end:
        if payload[at] != _TYPE or at + 2 > end:
            return None
        length = payload[at + 1]
        at += 2
        if length >= 0x40:
            if length >= 0x80 or at >= end:
                return None
            length = (length & 0x3F) << 8 | payload[at]
            at += 1
        if at + length > end:
            return None
        messages.append(payload[at : at + length])
        at += length
    return messages or None
