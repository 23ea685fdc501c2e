"""One UDP socket that carries QUIC: datagrams in trains, as the kernel takes and gives them (Linux).

Equal datagrams for one endpoint leave with one call (UDP_SEGMENT) and come in with one (UDP_GRO), which costs a
fraction of a call for each.  No datagram is ever fragmented: QUIC's probes of the path's size would prove nothing.
"""

import asyncio
import errno
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from wg.datagrams import Endpoint

BUFFER_LEN: Final = 4 * 1024 * 1024  # bytes, each way
TRAINS: Final = 16  # read in one wake-up, so that others get their turn
BACKLOG_LEN: Final = 256  # trains kept while the socket's own buffer is full
MAX_TRAIN_LEN: Final = 65000
MAX_TRAIN: Final = 44  # datagrams; older kernels take 64

# Not in Python's socket module: values of Linux.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IP_PKTINFO, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 8, 10, 23, 3
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ICMP: Final = frozenset({2, 3})  # origins of an error: ICMP, ICMPv6
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_PKTINFO4: Final = struct.Struct("=I4s4s")  # interface, our address, destination in the header
_PKTINFO6: Final = struct.Struct("=16sI")
_SEGMENT: Final = struct.Struct("=H")
_INT: Final = struct.Struct("=i")
_ERROR: Final = struct.Struct("=IB")  # errno, origin; what follows is not looked at
_RECVERR: Final = frozenset({_IP_RECVERR, _IPV6_RECVERR})
_TOLD_LEN: Final = 256  # an error with the address of who told it
_ANCILLARY_LEN: Final = socket.CMSG_SPACE(_PKTINFO6.size) + socket.CMSG_SPACE(_INT.size)

UNUSABLE: Final = frozenset({errno.EINVAL, errno.EADDRNOTAVAIL, errno.EBADF, errno.ENODEV, errno.ENOTSOCK})
"""What a socket says whose address or device is no more; a new one may do."""
NO_TRAINS: Final = frozenset({errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
MAX_TOLD: Final = 64  # of what routers told, thrown away at once


class Train(NamedTuple):
    """Datagrams of one endpoint, in their order."""

    endpoint: Endpoint
    local: bytes | None  # our address that was asked, 4 or 16 bytes; None: not told
    datagrams: list[bytes]


class QuicUdp:
    """A socket on the running loop."""

    def __init__(
        self,
        sock: socket.socket,
        receive: Callable[["QuicUdp", list[Train]], None],
        refused: Callable[[], None] | None = None,
    ) -> None:
        """`refused` is called when the host there said that nobody listens at the port (ICMP), which anybody may forge.

        It is for a socket with one endpoint: nothing says which datagram was refused.
        """
        self.drops: Counter[str] = Counter()  # why the kernel did not take a datagram -> how many
        self.broken = False  # the socket says that it is unusable
        self._socket, self._receive, self._refused = sock, receive, refused
        if refused is not None:
            _hear_errors(sock)
        self._six = sock.family == socket.AF_INET6
        self._segments = True
        self._backlog: deque[Train] = deque()
        self._buffer = bytearray(65536)
        self._view = memoryview(self._buffer)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._on_readable)

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._socket.getsockname()[1])

    def send(self, train: Train) -> None:
        """Send datagrams; what the kernel refuses is counted."""
        if self._socket.fileno() < 0:
            return
        if not self._backlog and self._sent(train):
            return
        if len(self._backlog) < BACKLOG_LEN:
            self._backlog.append(train)
        else:
            self.drops["backlog_full"] += len(train.datagrams)

    def close(self) -> None:
        """Close the socket; what waits is lost."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    def _on_readable(self) -> None:
        trains: list[Train] = []
        recvmsg_into, view = self._socket.recvmsg_into, self._view
        try:
            for _ in range(TRAINS):
                length, ancillary, _flags, address = recvmsg_into([view], _ANCILLARY_LEN)
                step, local = length, None
                for level, kind, value in ancillary:
                    if level == _SOL_UDP:
                        step = _INT.unpack(value)[0] if kind == _UDP_GRO else length
                    elif kind == (socket.IPV6_PKTINFO if self._six else _IP_PKTINFO):
                        local = value[:16] if self._six else value[4:8]
                endpoint = (
                    Endpoint(address[0].partition("%")[0], address[1], address[3])
                    if self._six
                    else Endpoint(address[0], address[1])
                )
                if 0 < step < length:
                    data = bytes(view[:length])
                    datagrams = [data[at : at + step] for at in range(0, length, step)]
                else:
                    datagrams = [bytes(view[:length])]
                trains.append(Train(endpoint, local, datagrams))
        except OSError as error:
            told = self._told() if not trains else 0
            if not told and not isinstance(error, BlockingIOError):
                self._count(error, 1)
        if trains:
            self._receive(self, trains)

    def _sent(self, train: Train) -> bool:
        """Send; False if the socket is full, with nothing of it counted as sent."""
        ancillary = self._ancillary(train.local)
        ip, port, zone = train.endpoint
        address = (ip, port, 0, zone) if self._six else (ip, port)
        left, trains, told = train.datagrams, self._segments, False
        while left:
            part = left[: _train_len(left)] if trains else left[:1]
            extra = [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT.pack(len(part[0])))] if len(part) > 1 else []
            try:
                self._socket.sendmsg(part, ancillary + extra, 0, address)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._on_writable)
                if left is train.datagrams:
                    return False
                self._backlog.appendleft(train._replace(datagrams=left))
                return True
            except OSError as error:
                if not told and self._told():
                    told = True  # of datagrams before these, which have not left yet
                    continue
                if len(part) > 1:  # a device that takes no trains, or not of this length
                    trains = False
                    self._segments = self._segments and error.errno not in NO_TRAINS
                    continue
                if train.local is not None and error.errno != errno.EMSGSIZE:
                    # Most likely the address that was asked is not ours any more.
                    ancillary, train = [], train._replace(local=None)
                    continue
                self._count(error, len(part))
            left = left[len(part) :]
        return True

    def _told(self) -> int:
        """Take what routers and hosts told of datagrams that had left; return how much.

        It waits in a queue of its own, wakes us until it is taken, and makes the next call fail in its place.
        """
        if self._refused is None:
            return 0
        told: Counter[int] = Counter()
        for _ in range(MAX_TOLD):
            try:
                _data, ancillary, _flags, _address = self._socket.recvmsg(0, _TOLD_LEN, socket.MSG_ERRQUEUE)
            except OSError:
                break
            # What the kernel itself refused, the call said that it refused.
            errors = (_ERROR.unpack_from(value) for _level, kind, value in ancillary if kind in _RECVERR)
            told.update(code for code, origin in errors if origin in _ICMP)
        if told[errno.ECONNREFUSED]:
            self._loop.call_soon(self._refused)
        for code, times in told.items():
            self.drops[errno.errorcode.get(code, "unknown")] += times
        return told.total()

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._socket)
        while self._backlog:
            train = self._backlog.popleft()
            if not self._sent(train):
                self._backlog.appendleft(train)
                return

    def _ancillary(self, local: bytes | None) -> list[tuple[int, int, bytes]]:
        if local is None:
            return []
        if self._six:
            return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(local, 0))]
        return [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, local, bytes(4)))]

    def _count(self, error: OSError, datagrams: int) -> None:
        self.drops[errno.errorcode.get(error.errno or 0, "unknown")] += datagrams
        self.broken = self.broken or error.errno in UNUSABLE


def open_quic_socket(family: int, host: str, port: int) -> socket.socket:
    """Return a bound socket for QUIC.  `host` empty: all of our addresses.  Raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_LEN)
            except PermissionError:  # without CAP_NET_ADMIN up to net.core.rmem_max and wmem_max
                sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_LEN)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _hear_errors(sock: socket.socket) -> None:
    """Have errors reported that came back by ICMP, as a socket without a fixed endpoint else does not."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _train_len(datagrams: list[bytes]) -> int:
    """Return how many of the first may leave as one train: all as long as the first, the last one maybe shorter."""
    longest = len(datagrams[0])
    run = 0
    for datagram in datagrams[: min(MAX_TRAIN, MAX_TRAIN_LEN // max(longest, 1))]:
        if len(datagram) > longest:
            break
        run += 1
        if len(datagram) < longest:
            break
    return max(run, 1)
