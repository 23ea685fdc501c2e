"""The few requests of rtnetlink(7) that one interface needs, by hand: a library for all of them costs 20 MB."""

import errno
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass

from transport.netlink import (
    ADDRESS,
    DELETE_LINK,
    DELETE_ROUTE,
    ERROR,
    GET_LINK,
    LINK,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_ROUTE,
    ROUTE,
    BadNetlink,
    attribute,
    attributes,
    encode,
    messages,
    text,
)

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANSWER_LEN = 65536
ANSWER_S = 5.0  # the kernel answers at once

_ERROR_CODE = struct.Struct("=i")
_U32 = struct.Struct("=I")

_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_IFLA_IFNAME, _IFLA_MTU, _IFLA_IFALIAS = 3, 4, 20
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD = 1, 2, 0x02
_RTA_DST, _RTA_OIF = 1, 4
_IFF_UP = 1
_TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _SCOPE_LINK, _UNICAST = 254, 4, 0, 253, 1


@dataclass(frozen=True, slots=True)
class FoundLink:
    """An interface that is there."""

    index: int
    alias: str
    up: bool


class Netlink:
    """A socket to the kernel's routing part.  Every method raises OSError with the kernel's reason."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(ANSWER_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def find_link(self, name: str) -> FoundLink | None:
        """Return the interface, None if there is none of this name."""
        body = LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        try:
            answer = self._ask(GET_LINK, _REQUEST, body)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        _family, _type, index, flags, _change = LINK.unpack_from(answer)
        alias = dict(attributes(answer[LINK.size :])).get(_IFLA_IFALIAS, b"")
        return FoundLink(index, text(alias), bool(flags & _IFF_UP))

    def set_link(self, index: int, *, alias: str, mtu: int) -> None:
        """Name the owner of the interface and set its MTU, in bytes."""
        options = attribute(_IFLA_IFALIAS, alias.encode()) + attribute(_IFLA_MTU, _U32.pack(mtu))
        self._ask(NEW_LINK, _REQUEST | _ACK, LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + options)

    def set_link_up(self, index: int) -> None:
        """Let packets pass."""
        self._ask(NEW_LINK, _REQUEST | _ACK, LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP))

    def delete_link(self, index: int) -> None:
        """Remove the interface, with its addresses and routes."""
        self._ask(DELETE_LINK, _REQUEST | _ACK, LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))

    def add_address(self, index: int, address: Interface) -> None:
        """Give the interface an address; the kernel adds the route to its network."""
        head = ADDRESS.pack(_family(address), address.network.prefixlen, _IFA_F_NODAD, _SCOPE_UNIVERSE, index)
        options = attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
        self._ask(NEW_ADDRESS, _REQUEST | _ACK | _CREATE | _EXCL, head + options)

    def add_route(self, index: int, network: Network) -> None:
        """Send this network's packets to the interface.  Raises FileExistsError rather than replace another route."""
        self._ask(NEW_ROUTE, _REQUEST | _ACK | _CREATE | _EXCL, _route(index, network))

    def delete_route(self, index: int, network: Network) -> None:
        """Take the route away again."""
        self._ask(DELETE_ROUTE, _REQUEST | _ACK, _route(index, network))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send one request and return the body of its answer, b"" for a plain acknowledgement."""
        self._sequence += 1
        self._socket.send(encode(kind, flags, self._sequence, body))
        while True:
            try:
                answers = [one for one in messages(self._socket.recv(ANSWER_LEN)) if one.sequence == self._sequence]
            except BadNetlink as error:
                raise OSError(errno.EPROTO, str(error)) from None
            for answer in answers:
                if answer.kind != ERROR:
                    return answer.body
                code = -_ERROR_CODE.unpack_from(answer.body)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return b""


def _family(of: Interface | Network) -> int:
    return socket.AF_INET if of.version == 4 else socket.AF_INET6


def _route(index: int, network: Network) -> bytes:
    scope = _SCOPE_LINK if network.version == 4 else _SCOPE_UNIVERSE
    head = ROUTE.pack(_family(network), network.prefixlen, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, scope, _UNICAST, 0)
    return head + attribute(_RTA_DST, network.network_address.packed) + attribute(_RTA_OIF, _U32.pack(index))
