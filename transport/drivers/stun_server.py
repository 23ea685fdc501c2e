"""The STUN service on real sockets: one for each address family, the core of transport/ice/responder.py between.

An answer leaves from the address that was asked, which a client behind a NAT or a firewall needs.
"""

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from transport.drivers.relay_server import boot_time
from transport.ice.responder import StunResponder
from wg.drivers.udp import UdpDriver

PORT_ATTEMPTS: Final = 16  # to find a port that is free in both families
BUFFER_LEN: Final = 1024 * 1024  # bytes
NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_IP_PKTINFO: Final = 8  # Linux; not in Python's socket module


class StunService:
    """The STUN service of one process, on its loop."""

    def __init__(self, now: Callable[[], float] = boot_time) -> None:
        self.responder = StunResponder(now())
        self._now = now
        self._drivers: list[UdpDriver] = []

    @property
    def drops(self) -> Counter[str]:
        """Datagrams that got no answer, by reason: the responder's, and what the kernel did not take or give."""
        forgotten = Counter(source_forgotten=self.responder.sources_forgotten)
        return sum((Counter(driver.drops) for driver in self._drivers), forgotten + Counter(self.responder.drops))

    async def listen(self, port: int) -> int:
        """Take requests at this UDP port (0: a free one) of every address; return the port.  Raises OSError."""
        self._drivers = [UdpDriver(sock) for sock in _bind(port)]
        for driver in self._drivers:
            asyncio.get_running_loop().add_reader(driver.fd, self._on_readable, driver)
        return int(self._drivers[0].socket.getsockname()[1])

    def close(self) -> None:
        """Close the sockets; no request is answered any more."""
        loop = asyncio.get_running_loop()
        for driver in self._drivers:
            loop.remove_reader(driver.fd)
            loop.remove_writer(driver.fd)
            driver.close()

    def _on_readable(self, driver: UdpDriver) -> None:
        now = self._now()
        for batch in driver.receive():
            answers = [
                answer
                for datagram in batch.datagrams
                if (answer := self.responder.respond(datagram, batch.endpoint, now)) is not None
            ]
            if answers:
                driver.send(batch._replace(datagrams=answers, ecn=0))
        if driver.blocked:
            # Nothing more is read until what is answered has gone out.
            loop = asyncio.get_running_loop()
            loop.remove_reader(driver.fd)
            loop.add_writer(driver.fd, self._on_writable, driver)

    def _on_writable(self, driver: UdpDriver) -> None:
        driver.flush()
        if not driver.blocked:
            loop = asyncio.get_running_loop()
            loop.remove_writer(driver.fd)
            loop.add_reader(driver.fd, self._on_readable, driver)


def _bind(port: int) -> list[socket.socket]:
    """Return a socket for IPv4 and, where the host has it, one for IPv6."""
    for _ in range(PORT_ATTEMPTS):
        four = _bind_one(socket.AF_INET, port)
        try:
            return [four, _bind_one(socket.AF_INET6, four.getsockname()[1])]
        except OSError as error:
            if error.errno in NO_IPV6:
                return [four]
            four.close()
            if port != 0:
                raise
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _bind_one(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        # As much as the system allows: after a network comes back, all agents behind it ask at once.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_LEN)
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock
