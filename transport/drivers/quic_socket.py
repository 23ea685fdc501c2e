"""One QUIC connection of the relay server, between its listener and the Service (transport/drivers/quic_server.py)."""

from collections import Counter
from math import inf
from typing import Final, Protocol

from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired

from transport.drivers.quic_connection import HIGH_WATER_LEN, LOW_WATER_LEN, RelayQuic
from transport.drivers.quic_settings import ALPN, MAX_PACKET_LEN, SMALL_LEN
from transport.drivers.quic_udp import QuicUdp, Train
from transport.drivers.relay_server import Service
from transport.relay.frames import HEADER_LEN, PEER_ID_LEN
from transport.relay.server import Connection
from wg.datagrams import Endpoint

HANDSHAKE_S: Final = 10.0  # relay spec 2.3
MAX_PRESENCE_IDS: Final = (SMALL_LEN - 64 - HEADER_LEN) // PEER_ID_LEN  # what any path carries


class Listener(Protocol):
    """What a connection asks of its listener."""

    drops: Counter[str]
    service: Service

    def send_soon(self, quic_socket: "QuicSocket") -> None:
        """Flush this connection when what is being worked on is done."""

    def forget(self, quic_socket: "QuicSocket") -> None:
        """Drop what leads to a connection that is over."""

    def no_longer_half_open(self, quic_socket: "QuicSocket") -> None:
        """Count a connection out whose handshake is done, or that is over before."""

    def name(self, quic_socket: "QuicSocket", cid: bytes) -> None:
        """Lead packets with this connection id to this connection."""

    def unname(self, quic_socket: "QuicSocket", cid: bytes) -> None:
        """Forget a connection id that was retired."""

    def schedule(self, quic_socket: "QuicSocket", at: float) -> None:
        """Call `on_timer` of this connection at this time, or before."""


class QuicSocket:
    """One connection (transport.drivers.relay_server.RelaySocket)."""

    transport = "quic"

    def __init__(self, listener: Listener, udp: QuicUdp, quic: RelayQuic, endpoint: Endpoint, source: str) -> None:
        self.quic, self.udp, self.source = quic, udp, source
        self.local: bytes | None = None  # our address that the client sends to
        self.cids: set[bytes] = set()
        self.half_open = True
        self.scheduled_at = inf
        self.open = True
        self._listener, self._service = listener, listener.service
        self._endpoint = endpoint
        self._began_at = self._service.now()
        self._connection: Connection | None = None  # None: the handshake is not done
        self._full = False

    @property
    def address(self) -> str:
        """Where the client is now."""
        at = self.quic.get_peer_address()
        return str(at if isinstance(at, Endpoint) else self._endpoint)

    def send(self, messages: list[bytes]) -> None:
        """Queue messages; those that do not fit a datagram are dropped and counted."""
        self.quic.send_messages(messages)
        self._listener.send_soon(self)

    def abort(self) -> None:
        """End the connection now; what was sent before leaves first."""
        if self.open:
            now = self._service.now()
            if self.quic.end is None:
                self.flush(now)
                self.quic.finish()
            if self._connection is not None:
                self._service.server.connection_lost(self._connection, "the server ended it")
            self._over(now)

    def on_timer(self, now: float) -> None:
        """Do what is due."""
        if not self.open:
            return
        due_at = self.quic.get_timer()
        if due_at is not None and now >= due_at:
            self.quic.handle_timer(now)
        if self.half_open and now >= self._began_at + HANDSHAKE_S:
            self._listener.drops["handshake_too_slow"] += 1
            self.abort()
            return
        self.work_off(now)

    def work_off(self, now: float) -> None:
        """Pass on what came in."""
        quic = self.quic
        for event in quic.events():
            if isinstance(event, ConnectionIdIssued):
                self._listener.name(self, event.connection_id)
            elif isinstance(event, ConnectionIdRetired):
                self._listener.unname(self, event.connection_id)
        if self._connection is None and quic.established and quic.end is None:
            self._accept(now)
        messages, quic.inbox = quic.inbox, []
        if self._connection is not None:
            receive, connection = self._service.server.receive_data, self._connection
            for message in messages:
                receive(connection, message, now)
        if quic.end is not None:
            self._on_end(now)
        elif quic._state is QuicConnectionState.FIRSTFLIGHT:
            self._listener.drops["no_handshake"] += 1  # nothing in it could be read
            self._over(now)
        else:
            self._listener.send_soon(self)

    def flush(self, now: float) -> None:
        """Send what is to be sent, and see when to look again."""
        if not self.open:
            return
        quic = self.quic
        self._transmit(quic.flush(now))
        if self._connection is not None:
            if not self._full and quic.waiting_len > HIGH_WATER_LEN:
                self._full = True
                self._service.server.set_writable(self._connection, False, now)
            elif self._full and quic.waiting_len < LOW_WATER_LEN:
                self._full = False
                self._service.server.set_writable(self._connection, True, now)
                self._service.work_off()
        due_at = quic.get_timer()
        if self.half_open:
            due_at = min(due_at or inf, self._began_at + HANDSHAKE_S)
        if due_at is not None:
            self._listener.schedule(self, due_at)

    def _accept(self, now: float) -> None:
        self._listener.no_longer_half_open(self)
        if not self.quic.takes_datagrams or self.quic.tls.alpn_negotiated != ALPN:
            self._listener.drops["other_protocol"] += 1
            self.quic.finish(1, f"this is a relay: {ALPN}, with datagrams")
            return
        connection = self._service.take_in(self)
        if connection is None:
            self._listener.drops["full"] += 1
            self.quic.finish(1, "the server is full or shutting down")
            return
        self._connection = connection
        connection.max_peer_ids = MAX_PRESENCE_IDS
        # The client finds out whether so much arrives, and takes another transport if not.
        self.quic.max_packet_len = MAX_PACKET_LEN

    def _on_end(self, now: float) -> None:
        end = self.quic.end
        assert end is not None, "asked for at the end"
        if self.half_open:
            self._listener.drops["handshake_failed"] += 1
        elif self._connection is not None:
            reason = "the other end closed the connection"
            if end.error_code:
                reason = f"QUIC error {end.error_code:#x}: {end.reason_phrase[:100]}"
            self._service.server.connection_lost(self._connection, reason)
        self._over(now)

    def _over(self, now: float) -> None:
        if self.open:
            self._transmit(self.quic.flush(now))
            self.open = False
            self._listener.forget(self)

    def _transmit(self, datagrams: list[tuple[bytes, Endpoint]]) -> None:
        at = 0
        while at < len(datagrams):
            endpoint, end = datagrams[at][1], at + 1
            while end < len(datagrams) and datagrams[end][1] is endpoint:
                end += 1
            self.udp.send(Train(endpoint, self.local, [datagram for datagram, _ in datagrams[at:end]]))
            at = end
