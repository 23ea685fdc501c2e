"""The relay server's QUIC side (relay spec 2.3): connections come and go here, the core behind them is the Service's.

What a stranger can make us keep is bounded: half-open connections in all and for each address, none of them longer
than 10 s.  When there are more than a few, an address must first prove that it is one, with a token that we keep no
state for (RFC 9000 section 8.1.2).  Packets that are nobody's are counted and answered by nothing.
"""

import asyncio
import heapq
import os
import socket
from collections import Counter
from itertools import count
from math import inf
from pathlib import Path
from typing import Final

from aioquic.buffer import Buffer as QuicBuffer  # type: ignore[attr-defined]  # the library re-exports it unmarked
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from transport.drivers.certificates import UnusableCertificate, server_context
from transport.drivers.quic_connection import RelayQuic
from transport.drivers.quic_settings import CID_LEN, SMALL_LEN, configuration
from transport.drivers.quic_socket import QuicSocket
from transport.drivers.quic_udp import QuicUdp, Train, open_quic_socket
from transport.drivers.relay_server import Service
from wg.datagrams import Endpoint

RETRY_ABOVE: Final = 8  # half-open connections, from which on an address must prove itself
STALE_TIMERS: Final = 1024  # entries that something earlier replaced, kept until they are swept out
MAX_HALF_OPEN: Final = 128
MAX_HALF_OPEN_OF_ONE: Final = 16  # of one IPv4 address, or one IPv6 network of 64 bits


class QuicListener:
    """The UDP sockets of one relay server, and all QUIC connections on them."""

    def __init__(self, service: Service, certificate: Path, key: Path) -> None:
        """Take the same PEM files as the WebSocket side.  Raises UnusableCertificate."""
        server_context(str(certificate), str(key))  # says in one line what is wrong with them
        self.drops: Counter[str] = Counter()
        """Datagrams and connections that were not served, by reason."""
        self.service = service
        self._config = configuration(client=False)
        try:
            self._config.load_cert_chain(certificate, key)
        except (ValueError, IndexError) as error:
            raise UnusableCertificate(f"{certificate} and {key}: not usable for QUIC ({error})") from None
        self._tokens = QuicRetryTokenHandler()
        self._sockets: list[QuicUdp] = []
        self._by_cid: dict[bytes, QuicSocket] = {}
        self._half_open: Counter[str] = Counter()  # by source
        self._dirty: dict[QuicSocket, None] = {}  # they have something to send
        self._flushing = False
        self._numbers = count()
        self._timers: list[tuple[float, int, QuicSocket]] = []
        self._armed_at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def half_open(self) -> int:
        """Connections whose handshake is not done."""
        return self._half_open.total()

    @property
    def config(self) -> QuicConfiguration:
        """What connections are made with."""
        return self._config

    async def listen(self, host: str | None, port: int) -> int:
        """Take connections at this address (None: all of ours, both families); return the port.  Raises OSError."""
        addresses = (
            {int(socket.AF_INET): "", int(socket.AF_INET6): ""} if host is None else await _addresses(host, port)
        )
        for family, address in addresses.items():
            try:
                udp = QuicUdp(open_quic_socket(family, address, port), self._receive)
            except OSError:
                if host is None and self._sockets:
                    continue  # a host without IPv6
                raise
            self._sockets.append(udp)
            port = udp.port
        return port

    def close(self) -> None:
        """Take nobody in any more and end every connection."""
        self._closed = True
        for quic_socket in list(dict.fromkeys(self._by_cid.values())):
            quic_socket.abort()
        for udp in self._sockets:
            udp.close()
        if self._timer is not None:
            self._timer.cancel()

    def send_soon(self, quic_socket: QuicSocket) -> None:
        """Flush this connection when what is being worked on is done."""
        self._dirty[quic_socket] = None
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def forget(self, quic_socket: QuicSocket) -> None:
        """Drop what leads to a connection that is over."""
        for cid in quic_socket.cids:
            self._by_cid.pop(cid, None)
        quic_socket.scheduled_at = inf
        self.no_longer_half_open(quic_socket)

    def no_longer_half_open(self, quic_socket: QuicSocket) -> None:
        """Count a connection out whose handshake is done, or that is over before."""
        if quic_socket.half_open:
            quic_socket.half_open = False
            self._half_open[quic_socket.source] -= 1
            if not self._half_open[quic_socket.source]:
                del self._half_open[quic_socket.source]

    def name(self, quic_socket: QuicSocket, cid: bytes) -> None:
        """Lead packets with this connection id to this connection."""
        quic_socket.cids.add(cid)
        self._by_cid[cid] = quic_socket

    def unname(self, quic_socket: QuicSocket, cid: bytes) -> None:
        """Forget a connection id that was retired."""
        quic_socket.cids.discard(cid)
        self._by_cid.pop(cid, None)

    def schedule(self, quic_socket: QuicSocket, at: float) -> None:
        """Call `on_timer` of this connection at this time, or before."""
        if at < quic_socket.scheduled_at:
            quic_socket.scheduled_at = at
            heapq.heappush(self._timers, (at, next(self._numbers), quic_socket))
            if len(self._timers) > STALE_TIMERS + 2 * len(self._by_cid):
                self._timers = [timer for timer in self._timers if timer[0] == timer[2].scheduled_at]
                heapq.heapify(self._timers)
            self._arm()

    # --- inputs ---

    def _receive(self, udp: QuicUdp, trains: list[Train]) -> None:
        now = self.service.now()
        self._flushing = True  # once, at the end
        try:
            for quic_socket in self._take(udp, trains, now):
                quic_socket.work_off(now)
            self.service.work_off()
        finally:
            self._flush()

    def _take(self, udp: QuicUdp, trains: list[Train], now: float) -> list[QuicSocket]:
        """Give datagrams to their connections; return those that got any."""
        by_cid = self._by_cid
        touched: dict[QuicSocket, None] = {}
        for endpoint, local, datagrams in trains:
            for datagram in datagrams:
                quic_socket = by_cid.get(datagram[1 : 1 + CID_LEN]) if datagram and not datagram[0] & 0x80 else None
                if quic_socket is None:
                    quic_socket = self._of_long_header(udp, datagram, endpoint, local, now)
                    if quic_socket is None:
                        continue
                quic_socket.udp, quic_socket.local = udp, local
                quic_socket.quic.take(datagram, endpoint, now)
                touched[quic_socket] = None
        return list(touched)

    def _flush(self) -> None:
        self._flushing = False
        now = self.service.now()
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for quic_socket in dirty:
                quic_socket.flush(now)

    def _on_timer(self) -> None:
        self._timer, self._armed_at = None, inf
        now = self.service.now()
        while self._timers and self._timers[0][0] <= now:
            at, _, quic_socket = heapq.heappop(self._timers)
            if at == quic_socket.scheduled_at:
                quic_socket.scheduled_at = inf
                quic_socket.on_timer(now)
        self.service.work_off()
        self._arm()

    def _arm(self) -> None:
        if self._timers and self._timers[0][0] < self._armed_at:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_at = self._timers[0][0]
            wait_s = max(0.0, self._armed_at - self.service.now())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer)

    # --- strangers ---

    def _of_long_header(
        self, udp: QuicUdp, datagram: bytes, endpoint: Endpoint, local: bytes | None, now: float
    ) -> QuicSocket | None:
        """Return the connection that this datagram belongs to or begins; None: it was dealt with."""
        try:
            header = pull_quic_header(QuicBuffer(data=datagram), host_cid_length=CID_LEN)
        except ValueError:
            self.drops["no_quic"] += 1
            return None
        known = self._by_cid.get(header.destination_cid)
        if known is not None:
            return known
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION or header.version is None:
            self.drops["unknown_connection"] += 1
            return None
        if len(datagram) < SMALL_LEN:
            self.drops["too_short"] += 1  # and so nothing to answer: it would be more than was asked
            return None
        if header.version not in self._config.supported_versions:
            self.drops["other_version"] += 1
            answer = encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=self._config.supported_versions,
            )
            udp.send(Train(endpoint, local, [answer]))
            return None
        if header.packet_type is not QuicPacketType.INITIAL:
            self.drops["unknown_connection"] += 1
            return None
        return self._begin(udp, header, endpoint, local, now)

    def _begin(
        self, udp: QuicUdp, header: QuicHeader, endpoint: Endpoint, local: bytes | None, now: float
    ) -> QuicSocket | None:
        source = _source(endpoint.ip)
        if self._closed or self._half_open.total() >= MAX_HALF_OPEN or self._half_open[source] >= MAX_HALF_OPEN_OF_ONE:
            self.drops["half_open_full"] += 1
            return None
        original, retried = header.destination_cid, None
        if header.token:
            try:
                original = self._tokens.validate_token(
                    address=endpoint, destination_cid=header.destination_cid, token=header.token, now=now
                )
                retried = header.destination_cid
            except (ValueError, OverflowError):
                self.drops["wrong_token"] += 1
                return None
        elif self._half_open.total() >= RETRY_ABOVE:
            self.drops["retry"] += 1
            udp.send(Train(endpoint, local, [self._retry(header, endpoint, now)]))
            return None
        quic = RelayQuic(self._config, original_destination_connection_id=original, retry_source_connection_id=retried)
        quic_socket = QuicSocket(self, udp, quic, endpoint, source)
        self._half_open[source] += 1
        self.name(quic_socket, header.destination_cid)
        self.name(quic_socket, quic.host_cid)
        return quic_socket

    def _retry(self, header: QuicHeader, endpoint: Endpoint, now: float) -> bytes:
        source_cid = os.urandom(CID_LEN)
        token = self._tokens.create_token(
            address=endpoint,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source_cid,
            now=now,
        )
        assert header.version is not None, "asked for a known version only"
        return encode_quic_retry(
            version=header.version,
            source_cid=source_cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )


async def _addresses(host: str, port: int) -> dict[int, str]:
    """Return one address of each family."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    by_family: dict[int, str] = {}
    for family, _type, _protocol, _name, address in found:
        by_family.setdefault(int(family), str(address[0]))
    return by_family


def _source(ip: str) -> str:
    """Return whose half-open connections are counted together: an IPv4 address, or an IPv6 network of 64 bits."""
    if ":" not in ip:
        return ip
    return socket.inet_pton(socket.AF_INET6, ip)[:8].hex()
