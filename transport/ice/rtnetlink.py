"""How the kernel tells its links and addresses: rtnetlink dumps, requests and answers (linux/rtnetlink.h).

    0        4      6       8          12      16
    +--------+------+-------+----------+-------+----------------------+------------
    | length | type | flags | sequence | port  | fixed part           | attributes
    +--------+------+-------+----------+-------+----------------------+------------

Numbers are in the host's byte order; messages and attributes begin at multiples of 4.  An answer is many messages in
several datagrams, the last of them DONE.
"""

import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

from transport.errors import RemoteProtocolError
from transport.ice.interfaces import InterfaceAddress

LINKS, ADDRESSES = 16, 20  # message types: RTM_NEWLINK, RTM_NEWADDR; a request for a dump has the type 2 above

_ERROR, _DONE = 2, 3
_REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST, NLM_F_DUMP
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR: what was told changed meanwhile
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")  # family, hardware type, index, flags, change
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ATTRIBUTE: Final = struct.Struct("=HH")
_NAME, _LINK_INFO, _INFO_KIND = 3, 18, 1  # IFLA_IFNAME, IFLA_LINKINFO and in it IFLA_INFO_KIND
_PEER_ADDRESS, _LOCAL_ADDRESS, _FLAGS = 1, 2, 8  # IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS
_TYPE_MASK: Final = 0x3FFF  # the two bits above say how the value is laid out
_UP_AND_RUNNING: Final = 0x41  # IFF_UP, IFF_RUNNING
_LENGTHS: Final = {2: 4, 10: 16}  # bytes of an address: AF_INET, AF_INET6


class BadNetlink(RemoteProtocolError):
    """The kernel's answer is no answer to our request."""


class Link(NamedTuple):
    """One interface."""

    name: str
    kind: str  # empty: none is told
    running: bool


def dump_request(kind: int, sequence: int) -> bytes:
    """Return the request that asks for all LINKS or all ADDRESSES, of every family."""
    body = bytes(_LINK.size if kind == LINKS else _ADDRESS.size)
    return _HEADER.pack(_HEADER.size + len(body), kind + 2, _REQUEST_DUMP, sequence, 0) + body


class Dump:
    """The answer to one request, as its datagrams come in."""

    def __init__(self, kind: int, sequence: int) -> None:
        self.done = False
        self.interrupted = False  # ask again
        self.bodies: list[bytes] = []
        self._kind, self._sequence = kind, sequence

    def receive_data(self, data: bytes) -> None:
        """Take one datagram of the kernel.  Raises BadNetlink; OSError if the kernel refused the request."""
        position = 0
        while position < len(data) and not self.done:
            if position + _HEADER.size > len(data):
                raise BadNetlink(f"netlink header of {len(data) - position} bytes; {_HEADER.size} would do")
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, position)
            if not _HEADER.size <= length <= len(data) - position:
                raise BadNetlink(f"netlink message of length {length}; {len(data) - position} bytes are there")
            body = data[position + _HEADER.size : position + length]
            position += length + 3 & ~3
            if sequence != self._sequence:
                continue  # an answer to another request, which was given up
            self.interrupted |= bool(flags & _INTERRUPTED)
            if kind in (_ERROR, _DONE):
                self._end(body)
            elif kind == self._kind:
                self.bodies.append(body)

    def _end(self, body: bytes) -> None:
        self.done = True
        error = -int.from_bytes(body[:4], sys.byteorder, signed=True) if len(body) >= 4 else 0
        if error:
            raise OSError(error, "the kernel does not tell its addresses")


def links_in(bodies: Iterable[bytes]) -> dict[int, Link]:
    """Return the interfaces by index.  Raises BadNetlink."""
    links: dict[int, Link] = {}
    for body in bodies:
        if len(body) < _LINK.size:
            raise BadNetlink(f"link of {len(body)} bytes; {_LINK.size} at least")
        _family, _hardware, index, flags, _change = _LINK.unpack_from(body)
        attributes = dict(_attributes(body[_LINK.size :]))
        info = dict(_attributes(attributes.get(_LINK_INFO, b"")))
        name, kind = _text(attributes.get(_NAME, b"")), _text(info.get(_INFO_KIND, b""))
        links[index] = Link(name, kind, flags & _UP_AND_RUNNING == _UP_AND_RUNNING)
    return links


def addresses_in(bodies: Iterable[bytes], links: dict[int, Link]) -> list[InterfaceAddress]:
    """Return the IPv4 and IPv6 addresses of these interfaces, in the kernel's order.  Raises BadNetlink."""
    found = []
    for body in bodies:
        if len(body) < _ADDRESS.size:
            raise BadNetlink(f"address of {len(body)} bytes; {_ADDRESS.size} at least")
        family, prefix_len, flags, _scope, index = _ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[_ADDRESS.size :]))
        # On a link of two ends IFA_ADDRESS is the other one.
        address = attributes.get(_LOCAL_ADDRESS) or attributes.get(_PEER_ADDRESS) or b""
        link = links.get(index)
        if link is None or len(address) != _LENGTHS.get(family) or prefix_len > 8 * len(address):
            continue  # of a link that came meanwhile, or of another family
        found.append(
            InterfaceAddress(
                interface=link.name,
                index=index,
                ip=str(ip_address(address)),
                prefix_len=prefix_len,
                flags=int.from_bytes(attributes[_FLAGS], sys.byteorder) if _FLAGS in attributes else flags,
                kind=link.kind,
                running=link.running,
            )
        )
    return found


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if not _ATTRIBUTE.size <= length <= len(data) - position:
            raise BadNetlink(f"netlink attribute of length {length}; {len(data) - position} bytes are there")
        yield kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + length]
        position += length + 3 & ~3


def _text(value: bytes) -> str:
    return str(value.partition(b"\0")[0], "utf-8", "replace")
