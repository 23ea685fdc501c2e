"""Messages of rtnetlink(7) <-> bytes: what asks, tells and changes links, addresses and routes (linux/rtnetlink.h).

    0        4      6       8          12      16
    +--------+------+-------+----------+-------+----------------------+------------
    | length | type | flags | sequence | port  | fixed part of a type | attributes
    +--------+------+-------+----------+-------+----------------------+------------

    attribute: length (of head and value), type | value, padded to 4 bytes

Numbers are in the host's byte order; messages and attributes begin at multiples of 4.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from transport.errors import RemoteProtocolError

ERROR, DONE = 2, 3  # message types of every answer; ERROR with the code 0 acknowledges
NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETE_ADDRESS = 20, 21
NEW_ROUTE, DELETE_ROUTE = 24, 25

LINK: Final = struct.Struct("=BxHiII")  # family, hardware type, index, flags, which flags change
ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
# family, length of the destination's and the source's prefix, tos, table, protocol, scope, type, flags
ROUTE: Final = struct.Struct("=BBBBBBBBI")

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF  # the two bits above say how the value is laid out


class BadNetlink(RemoteProtocolError):
    """What the kernel said is no netlink."""


class Message(NamedTuple):
    """One message."""

    kind: int
    flags: int
    sequence: int
    body: bytes  # fixed part and attributes


def encode(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one message to the kernel."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram.  Raises BadNetlink."""
    position = 0
    while position < len(data):
        if position + _HEADER.size > len(data):
            raise BadNetlink(f"netlink header of {len(data) - position} bytes; {_HEADER.size} would do")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            raise BadNetlink(f"netlink message of length {length}; {len(data) - position} bytes are there")
        yield Message(kind, flags, sequence, data[position + _HEADER.size : position + length])
        position += _aligned(length)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute.  Raises BadNetlink."""
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if not _ATTRIBUTE.size <= length <= len(data) - position:
            raise BadNetlink(f"netlink attribute of length {length}; {len(data) - position} bytes are there")
        yield kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + length]
        position += _aligned(length)


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    return (_ATTRIBUTE.pack(length, kind) + value).ljust(_aligned(length), b"\0")


def text(value: bytes) -> str:
    """Return what a string attribute says."""
    return str(value.partition(b"\0")[0], "utf-8", "replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
