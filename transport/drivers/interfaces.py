"""Reads the host's addresses from the kernel (rtnetlink).  Needs no privilege; takes less than a millisecond."""

import errno
import socket
from typing import Final

from transport.ice.interfaces import InterfaceAddress
from transport.ice.rtnetlink import ADDRESSES, LINKS, BadNetlink, Dump, addresses_in, dump_request, links_in

ATTEMPTS: Final = 5  # an answer during which something changed may lack anything
TIMEOUT_S: Final = 2.0  # for what the kernel answers at once
DATAGRAM_LEN: Final = 64 * 1024  # bytes; the kernel sends half of that at most


def read_addresses() -> list[InterfaceAddress]:
    """Return the addresses of all interfaces of this network namespace.  Raises OSError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(TIMEOUT_S)
            return _read(kernel)
    except BadNetlink as error:
        raise OSError(errno.EPROTO, str(error)) from None


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
