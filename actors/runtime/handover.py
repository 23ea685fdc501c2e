"""The way by which the packet process gets other UDP sockets while it runs: descriptors over a UNIX socket.

The supervisor holds the sockets, so a packet process that is started later begins with the newest ones.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress

from loguru import logger

from wg.drivers.udp import PortUnavailable, open_udp

MAX_SOCKETS = 4  # in one message
MAX_MESSAGE_LEN = 16  # bytes


class UdpSockets:
    """The sockets of an agent, as the supervisor holds them."""

    def __init__(self, configured_port: int) -> None:
        """`configured_port` 0: the kernel picks one.  Raises PortUnavailable."""
        self._configured_port = configured_port
        self._sockets = open_udp(configured_port)
        self._to_packet: socket.socket | None = None
        self.port: int = self._sockets[0].getsockname()[1]
        self.rebinds = 0

    @property
    def fds(self) -> tuple[int, ...]:
        """Their descriptors."""
        return tuple(each.fileno() for each in self._sockets)

    def channel(self) -> socket.socket:
        """Return the other end of a new way to the packet process; to be closed here once it has started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._close_channel()
        self._to_packet = ours
        return theirs

    def rebind(self, *, elsewhere: bool) -> bool:
        """Open others, on another port or on the configured one, and hand them over; False: they stay as they are."""
        wanted = 0 if elsewhere else self._configured_port
        if wanted == self.port:
            return False
        try:
            sockets = open_udp(wanted)
        except PortUnavailable as error:
            logger.error("the UDP sockets stay as they are: {}", error)
            return False
        before, self._sockets = self._sockets, sockets
        self.rebinds += 1
        self.port = sockets[0].getsockname()[1]
        if self._to_packet is not None:
            with suppress(OSError):  # it has ended, and the next one begins with these
                socket.send_fds(self._to_packet, [str(self.port).encode()], self.fds)
        for each in before:
            each.close()
        return True

    def close(self) -> None:
        """Close everything."""
        self._close_channel()
        for each in self._sockets:
            each.close()

    def _close_channel(self) -> None:
        if self._to_packet is not None:
            self._to_packet.close()
            self._to_packet = None


def receive(channel: socket.socket) -> tuple[int, Iterable[socket.socket]] | None:
    """Return the port and the sockets that came; None: nothing, or the supervisor is gone."""
    try:
        message, fds, _, _ = socket.recv_fds(channel, MAX_MESSAGE_LEN, MAX_SOCKETS)
    except OSError:
        return None
    return (int(message), [socket.socket(fileno=fd) for fd in fds]) if message and fds else None
