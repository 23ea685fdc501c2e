"""Reads the host's addresses and routes from the kernel, and hears when they change (rtnetlink).

Neither needs a privilege; reading takes less than a millisecond.
"""

import errno
import socket
from typing import Final

from transport.ice.interfaces import HostNetwork
from transport.ice.rtnetlink import (
    ADDRESSES,
    LINKS,
    ROUTES,
    Dump,
    TooMany,
    addresses_in,
    dump_request,
    links_in,
    losers_in,
    routes_in,
)
from transport.netlink import BadNetlink

ATTEMPTS: Final = 5  # an answer during which something changed may lack anything
TIMEOUT_S: Final = 2.0  # for what the kernel answers at once
# Multicast groups: links, addresses and routes come and go (RTMGRP_LINK, _IPV4_IFADDR, _ROUTE, _IPV6_IFADDR, _ROUTE).
CHANGES: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
MAX_NEWS: Final = 64  # datagrams read at once
DATAGRAM_LEN: Final = 64 * 1024  # bytes; the kernel sends half of that at most


def read_network() -> HostNetwork:
    """Return the addresses of all interfaces of this network namespace, and the routes.  Raises OSError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(TIMEOUT_S)
            return _read(kernel)
    except BadNetlink as error:
        raise OSError(errno.EPROTO, str(error)) from None


class AddressWatch:
    """Hears that links, addresses or routes of this network namespace changed; what they are now is to be read anew."""

    def __init__(self) -> None:
        """Raises OSError where there is no such watch."""
        self._kernel = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._kernel.bind((0, CHANGES))
        except OSError:
            self._kernel.close()
            raise
        self.fd = self._kernel.fileno()

    def news(self) -> set[tuple[int, str]]:
        """Read what was told, and return what was lost (losers_in).  With more news the descriptor stays readable."""
        losers: set[tuple[int, str]] = set()
        for _ in range(MAX_NEWS):
            try:
                losers |= losers_in(self._kernel.recv(DATAGRAM_LEN))
            except BlockingIOError:
                break
            except (OSError, BadNetlink):
                continue  # ENOBUFS: so much changed that some of it was not told
        return losers

    def close(self) -> None:
        """Hear no more."""
        self._kernel.close()


def _read(kernel: socket.socket) -> HostNetwork:
    for attempt in range(ATTEMPTS):
        links = _dump(kernel, LINKS, 2 * attempt + 1)
        addresses = _dump(kernel, ADDRESSES, 2 * attempt + 2)
        if not (links.interrupted or addresses.interrupted):
            break
    named = links_in(links.bodies)
    try:
        # Last: what a dump that is given up has still to say is in the way of the next answer.
        routes = routes_in(_dump(kernel, ROUTES, 2 * ATTEMPTS + 1).bodies, named)
    except TooMany:
        return HostNetwork(addresses_in(addresses.bodies, named), None)
    return HostNetwork(addresses_in(addresses.bodies, named), routes)


def _dump(kernel: socket.socket, kind: int, sequence: int) -> Dump:
    kernel.send(dump_request(kind, sequence))
    dump = Dump(kind, sequence)
    while not dump.done:
        dump.receive_data(kernel.recv(DATAGRAM_LEN))
    return dump
