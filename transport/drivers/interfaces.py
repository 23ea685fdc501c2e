"""Reads the host's addresses from the kernel, and hears when they change (rtnetlink).

Neither needs a privilege; reading takes less than a millisecond.
"""

import errno
import socket
from typing import Final

from transport.ice.interfaces import InterfaceAddress
from transport.ice.rtnetlink import ADDRESSES, LINKS, BadNetlink, Dump, addresses_in, dump_request, links_in

ATTEMPTS: Final = 5  # an answer during which something changed may lack anything
TIMEOUT_S: Final = 2.0  # for what the kernel answers at once
# Multicast groups: links come and go, IPv4 and IPv6 addresses do (RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR).
CHANGES: Final = 0x1 | 0x10 | 0x100
MAX_NEWS: Final = 64  # datagrams read at once
DATAGRAM_LEN: Final = 64 * 1024  # bytes; the kernel sends half of that at most


def read_addresses() -> list[InterfaceAddress]:
    """Return the addresses of all interfaces of this network namespace.  Raises OSError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(TIMEOUT_S)
            return _read(kernel)
    except BadNetlink as error:
        raise OSError(errno.EPROTO, str(error)) from None


class AddressWatch:
    """Hears that links or addresses of this network namespace changed; what they are now is to be read anew."""

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

    def forget(self) -> None:
        """Read what was told, unseen.  With more news than that the descriptor stays readable."""
        for _ in range(MAX_NEWS):
            try:
                self._kernel.recv(DATAGRAM_LEN)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: so much changed that some of it was not told

    def close(self) -> None:
        """Hear no more."""
        self._kernel.close()


def _read(kernel: socket.socket) -> list[InterfaceAddress]:
    for attempt in range(ATTEMPTS):
        links = _dump(kernel, LINKS, 2 * attempt + 1)
        addresses = _dump(kernel, ADDRESSES, 2 * attempt + 2)
        if not (links.interrupted or addresses.interrupted):
            break
    return addresses_in(addresses.bodies, links_in(links.bodies))


def _dump(kernel: socket.socket, kind: int, sequence: int) -> Dump:
    kernel.send(dump_request(kind, sequence))
    dump = Dump(kind, sequence)
    while not dump.done:
        dump.receive_data(kernel.recv(DATAGRAM_LEN))
    return dump
