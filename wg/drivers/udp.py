"""The UDP sockets: one per address family, both on the WireGuard port, datagrams in batches (Linux).

Each datagram comes with the address that it was sent to and the mark of its header, and leaves with those it is given.
The supervisor opens the sockets and hands them down; the packet process reads and writes.
"""

import errno
import os
import socket
import struct
import sys
from collections import deque

from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import ECN_MASK

BATCH_LEN = 64  # datagrams read a wake-up, so that the other descriptors get their turn
BUFFER_LEN = 4 * 1024 * 1024  # bytes, each way: what a burst needs while Python does something else
BACKLOG_LEN = 1024  # datagrams kept while the socket's own buffer is full
MAX_DATAGRAM_LEN = 65535
PORT_ATTEMPTS = 16  # to find a port that is free in both families

# Not in Python's socket module: values of Linux.
_IP_PKTINFO, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 8, 10, 23, 0
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_PKTINFO4 = struct.Struct("=I4s4s")  # interface, our address (sending: the source), destination in the header
_PKTINFO6 = struct.Struct("=16sI")
_INT = struct.Struct("=i")
_ANCILLARY_LEN = socket.CMSG_SPACE(_PKTINFO6.size) + socket.CMSG_SPACE(_INT.size)

_Ancillary = list[tuple[int, int, bytes]]


class PortUnavailable(Exception):
    """The port cannot be bound; the message says what was seen and what would do."""


def open_udp(port: int) -> list[socket.socket]:
    """Bind `port` (0: the kernel picks one) for IPv4 and, where the host has it, IPv6.  Raises PortUnavailable."""
    for _ in range(PORT_ATTEMPTS):
        sockets = [_bind(socket.AF_INET, port)]
        try:
            sockets.append(_bind(socket.AF_INET6, sockets[0].getsockname()[1]))
        except _NoSuchFamily:
            return sockets
        except PortUnavailable:
            sockets[0].close()
            if port != 0:
                raise
        else:
            return sockets
    raise PortUnavailable("found no UDP port that is free for both IPv4 and IPv6: set listen_port in [node]")


class UdpDriver:
    """Batches of datagrams on one bound socket, which may have been inherited."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.family = sock.family
        self.fd = sock.fileno()
        self.drops: dict[str, int] = {}  # why the kernel did not take or give a datagram -> how many
        self._backlog: deque[UdpBatch] = deque()
        self._backlog_len = 0

    @property
    def blocked(self) -> bool:
        """The socket's buffer is full: `flush` when it can be written; until then read nothing more from the host."""
        return bool(self._backlog)

    def receive(self) -> list[UdpBatch]:
        """Return up to BATCH_LEN datagrams; neighbours from one endpoint share a batch."""
        batches: list[UdpBatch] = []
        recvmsg = self.socket.recvmsg
        address_before: object = None
        ancillary_before: object = None
        datagrams: list[bytes] = []
        try:
            for _ in range(BATCH_LEN):
                datagram, ancillary, _flags, address = recvmsg(MAX_DATAGRAM_LEN, _ANCILLARY_LEN)
                if address != address_before or ancillary != ancillary_before:
                    address_before, ancillary_before, datagrams = address, ancillary, []
                    local, ecn = _local_and_ecn(ancillary)
                    zone = address[3] if self.family == socket.AF_INET6 else 0
                    endpoint = Endpoint(address[0].partition("%")[0], address[1], zone)
                    batches.append(UdpBatch(endpoint, local, ecn, datagrams))
                datagrams.append(datagram)
        except BlockingIOError:
            pass
        except OSError as error:  # of the host, not of a datagram; what came before it counts
            self._count(errno.errorcode.get(error.errno or 0, "unknown"), 1)
        return batches

    def send(self, batch: UdpBatch) -> None:
        """Send a batch of this socket's family, behind what still waits.  What the kernel refuses is counted."""
        rest = batch if self._backlog else self._send(batch)
        if rest is None:
            return
        kept = rest.datagrams[: BACKLOG_LEN - self._backlog_len]
        if len(kept) < len(rest.datagrams):
            self._count("backlog_full", len(rest.datagrams) - len(kept))
        if kept:
            self._backlog.append(rest._replace(datagrams=kept))
            self._backlog_len += len(kept)

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._backlog:
            batch = self._backlog.popleft()
            self._backlog_len -= len(batch.datagrams)
            rest = self._send(batch)
            if rest is not None:
                self._backlog.appendleft(rest)
                self._backlog_len += len(rest.datagrams)
                return

    def close(self) -> None:
        """Close the socket; what waits is lost."""
        self.socket.close()

    def _send(self, batch: UdpBatch) -> UdpBatch | None:
        """Send the datagrams of the batch.  Returns those that the buffer had no room for, None if all went."""
        endpoint, local, ecn, datagrams = batch
        six = self.family == socket.AF_INET6
        address = (endpoint.ip, endpoint.port, 0, endpoint.zone) if six else (endpoint.ip, endpoint.port)
        ancillary = _ancillary(six, local, ecn)
        sendmsg = self.socket.sendmsg
        for sent, datagram in enumerate(datagrams):
            try:
                sendmsg((datagram,), ancillary, 0, address)
            except BlockingIOError:
                return batch._replace(datagrams=datagrams[sent:])
            except OSError as error:
                if local is not None:  # most likely the address that was asked is not ours any more
                    return self._send(batch._replace(local=None, datagrams=datagrams[sent:]))
                self._count(errno.errorcode.get(error.errno or 0, "unknown"), 1)
        return None

    def _count(self, reason: str, datagrams: int) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + datagrams


class _NoSuchFamily(Exception):
    """The host has no IPv6."""


def _bind(family: socket.AddressFamily, port: int) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        if family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT:
            raise _NoSuchFamily from None
        raise
    try:
        _set_options(sock)
        sock.bind(("", port))  # all of our addresses
    except OSError as error:
        sock.close()
        match error.errno:
            case errno.EADDRINUSE:
                reason = f"UDP port {port} is in use: stop the other program, or set another listen_port in [node]"
            case errno.EACCES | errno.EPERM:
                reason = f"no privilege to bind UDP port {port}: set a listen_port of 1024 or above in [node]"
            case errno.EADDRNOTAVAIL if family == socket.AF_INET6:
                raise _NoSuchFamily from None
            case _:
                reason = f"cannot bind UDP port {port}: {os.strerror(error.errno or 0)}"
        raise PortUnavailable(reason) from None
    return sock


def _set_options(sock: socket.socket) -> None:
    for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_LEN)
        except PermissionError:  # without CAP_NET_ADMIN up to net.core.rmem_max and wmem_max
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_LEN)
    # Outer datagrams may be fragmented: a black hole for large ones would be a tunnel that only pings.
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)


def _local_and_ecn(ancillary: _Ancillary) -> tuple[bytes | None, int]:
    """Return our address and the mark that the kernel told with a datagram."""
    local, ecn = None, 0
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            local = value[4:8]
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            local = value[:16]
        elif (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            ecn = int.from_bytes(value, sys.byteorder) & ECN_MASK  # TOS comes as one byte, the traffic class as an int
    return local, ecn


def _ancillary(six: bool, local: bytes | None, ecn: int) -> _Ancillary:
    """Return what makes the kernel send from `local` with this mark."""
    ancillary: _Ancillary = []
    if local is not None and six:
        ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(local, 0)))
    elif local is not None:
        ancillary.append((socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, local, bytes(4))))
    if ecn and six:
        ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(ecn)))
    elif ecn:
        ancillary.append((socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(ecn)))
    return ancillary
