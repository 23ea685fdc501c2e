"""How the kernel tells its links, addresses and routes: dumps and what they say (linux/rtnetlink.h).

An answer is many messages in several datagrams, the last of them DONE.
"""

import sys
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple

from transport.ice.interfaces import InterfaceAddress, Route
from transport.netlink import (
    ADDRESS,
    DELETE_ADDRESS,
    DELETE_LINK,
    DONE,
    ERROR,
    LINK,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_ROUTE,
    ROUTE,
    BadNetlink,
    attributes,
    encode,
    messages,
    text,
)

LINKS, ADDRESSES, ROUTES = NEW_LINK, NEW_ADDRESS, NEW_ROUTE  # types of answers; a request has the type 2 above
MAX_DUMPED: Final = 8192  # messages of one dump; a router of the internet's core has a million routes

_REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST, NLM_F_DUMP
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR: what was told changed meanwhile
_BODIES: Final = {LINKS: LINK, ADDRESSES: ADDRESS, ROUTES: ROUTE}
_NAME, _LINK_INFO, _INFO_KIND = 3, 18, 1  # IFLA_IFNAME, IFLA_LINKINFO and in it IFLA_INFO_KIND
_PEER_ADDRESS, _LOCAL_ADDRESS, _FLAGS = 1, 2, 8  # IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS
_DESTINATION, _LINK_OUT, _GATEWAY, _METRIC, _TABLE = 1, 4, 5, 6, 15  # RTA_DST, _OIF, _GATEWAY, _PRIORITY, _TABLE
_UNICAST, _TABLE_LOCAL, _CLONED = 1, 255, 0x200  # RTN_UNICAST, RT_TABLE_LOCAL, RTM_F_CLONED
_UP_AND_RUNNING: Final = 0x41  # IFF_UP, IFF_RUNNING
_LENGTHS: Final = {2: 4, 10: 16}  # bytes of an address: AF_INET, AF_INET6


class TooMany(Exception):
    """The kernel has more to tell than we want to know."""


class Link(NamedTuple):
    """One interface."""

    name: str
    kind: str  # empty: none is told
    running: bool


def dump_request(kind: int, sequence: int) -> bytes:
    """Return the request that asks for all LINKS, ADDRESSES or ROUTES, of every family."""
    return encode(kind + 2, _REQUEST_DUMP, sequence, bytes(_BODIES[kind].size))


class Dump:
    """The answer to one request, as its datagrams come in."""

    def __init__(self, kind: int, sequence: int) -> None:
        self.done = False
        self.interrupted = False  # ask again
        self.bodies: list[bytes] = []
        self._kind, self._sequence = kind, sequence

    def receive_data(self, data: bytes) -> None:
        """Take one datagram of the kernel.  Raises BadNetlink, TooMany; OSError if the kernel refused the request."""
        for kind, flags, sequence, body in messages(data):
            if sequence != self._sequence or self.done:
                continue  # an answer to another request, which was given up
            self.interrupted |= bool(flags & _INTERRUPTED)
            if kind in (ERROR, DONE):
                self._end(body)
            elif kind == self._kind:
                if len(self.bodies) >= MAX_DUMPED:
                    raise TooMany(f"more than {MAX_DUMPED} messages in one answer of the kernel")
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
        if len(body) < LINK.size:
            raise BadNetlink(f"link of {len(body)} bytes; {LINK.size} at least")
        _family, _hardware, index, flags, _change = LINK.unpack_from(body)
        told = dict(attributes(body[LINK.size :]))
        info = dict(attributes(told.get(_LINK_INFO, b"")))
        name, kind = text(told.get(_NAME, b"")), text(info.get(_INFO_KIND, b""))
        links[index] = Link(name, kind, flags & _UP_AND_RUNNING == _UP_AND_RUNNING)
    return links


def addresses_in(bodies: Iterable[bytes], links: dict[int, Link]) -> list[InterfaceAddress]:
    """Return the IPv4 and IPv6 addresses of these interfaces, in the kernel's order.  Raises BadNetlink."""
    found = []
    for body in bodies:
        if len(body) < ADDRESS.size:
            raise BadNetlink(f"address of {len(body)} bytes; {ADDRESS.size} at least")
        family, prefix_len, flags, _scope, index = ADDRESS.unpack_from(body)
        told = dict(attributes(body[ADDRESS.size :]))
        # On a link of two ends IFA_ADDRESS is the other one.
        address = told.get(_LOCAL_ADDRESS) or told.get(_PEER_ADDRESS) or b""
        link = links.get(index)
        if link is None or len(address) != _LENGTHS.get(family) or prefix_len > 8 * len(address):
            continue  # of a link that came meanwhile, or of another family
        found.append(
            InterfaceAddress(
                interface=link.name,
                index=index,
                ip=str(ip_address(address)),
                prefix_len=prefix_len,
                flags=_number(told[_FLAGS]) if _FLAGS in told else flags,
                kind=link.kind,
                running=link.running,
            )
        )
    return found


def routes_in(bodies: Iterable[bytes], links: dict[int, Link]) -> list[Route]:
    """Return where packets to others go, in the kernel's order: no local, cached or refusing routes.

    Raises BadNetlink.
    """
    found = []
    for body in bodies:
        if len(body) < ROUTE.size:
            raise BadNetlink(f"route of {len(body)} bytes; {ROUTE.size} at least")
        family, prefix_len, _source_len, _tos, table, _protocol, _scope, kind, flags = ROUTE.unpack_from(body)
        told = dict(attributes(body[ROUTE.size :]))
        table = _number(told[_TABLE]) if _TABLE in told else table
        if family not in _LENGTHS or kind != _UNICAST or table == _TABLE_LOCAL or flags & _CLONED:
            continue
        out = links.get(_number(told.get(_LINK_OUT, b"")))  # none: over several interfaces
        destination = _address(told.get(_DESTINATION, bytes(_LENGTHS[family])))
        found.append(
            Route(
                interface=out.name if out is not None else "",
                network=f"{destination}/{prefix_len}",
                gateway=_address(told.get(_GATEWAY, b"")),
                metric=_number(told.get(_METRIC, b"")),
                table=table,
            )
        )
    return found


def losers_in(data: bytes) -> set[tuple[int, str]]:
    """Return the addresses, by interface index, that news of the kernel say to be gone; "": all of an interface's.

    Raises BadNetlink.
    """
    losers = set()
    for message in messages(data):
        body = message.body
        if message.kind in (NEW_LINK, DELETE_LINK) and len(body) >= LINK.size:
            _family, _hardware, index, flags, _change = LINK.unpack_from(body)
            if message.kind == DELETE_LINK or flags & _UP_AND_RUNNING != _UP_AND_RUNNING:
                losers.add((index, ""))
        elif message.kind == DELETE_ADDRESS and len(body) >= ADDRESS.size:
            told = dict(attributes(body[ADDRESS.size :]))
            address = _address(told.get(_LOCAL_ADDRESS) or told.get(_PEER_ADDRESS) or b"")
            losers.add((ADDRESS.unpack_from(body)[4], address or "none"))
    return losers


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _address(value: bytes) -> str:
    return str(ip_address(value)) if len(value) in _LENGTHS.values() else ""
