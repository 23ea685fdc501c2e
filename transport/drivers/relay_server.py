"""The relay server on real sockets: WebSocket in, WebSocket out, the core of transport/relay/server.py between.

Connections of another kind come in by `take_in` (transport/drivers/quic_server.py).

What one read brings in is worked off as a whole, and leaves with one write for each destination: at 1,400 bytes a
message the calls into the kernel would otherwise cost several times as much as everything else.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any, Final, Protocol

from loguru import logger
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from transport.drivers.tcp_room import TcpRoom
from transport.drivers.websocket import LINGER_S, QUIET, bound, end_of, fault_of, our_fault
from transport.relay.events import ConnectionClosed, PeerJoined
from transport.relay.frames import MAX_MESSAGE_LEN, PeerId, printed
from transport.relay.server import Connection, RelayServer
from transport.relay.urls import PATH

HTTP_TIMEOUT_S: Final = 5.0  # relay spec 2.2: for the request's head
BACKLOG: Final = 1024
READ_BUFFER_LEN: Final = 4096  # of an idle connection; it grows with traffic

TLS_HANDSHAKE_FAILED: Final = "SSL handshake failed"  # the words of picows' TLS

BINARY: Final = WSMsgType.BINARY
PING: Final = WSMsgType.PING
CLOSE: Final = WSMsgType.CLOSE


def boot_time() -> float:
    """Return CLOCK_BOOTTIME in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def on_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what the event loop met; a stranger who leaves amid the TLS handshake is no error of ours."""
    error, transport = context.get("exception"), context.get("transport")
    if context.get("message") != TLS_HANDSHAKE_FAILED or transport is None:
        loop.default_exception_handler(context)
        return
    peer = transport.get_extra_info("peername")
    # The library hands over the class of an error as well as an error.
    name = error.__name__ if isinstance(error, type) else type(error).__name__
    reason = f"{name}; does the client speak TLS, and trust this certificate?"
    logger.bind(address=f"{peer[0]}:{peer[1]}" if peer else "", reason=reason).debug("no TLS handshake")


class RelaySocket(Protocol):
    """One connection, whatever carries it."""

    @property
    def transport(self) -> str:
        """Return what carries it: "ws" or "quic"."""

    @property
    def address(self) -> str:
        """Where the client is, for people."""

    @property
    def open(self) -> bool:
        """Whether the connection still is there."""

    def send(self, messages: list[bytes]) -> None:
        """Send messages, in order."""

    def abort(self) -> None:
        """End the connection now."""


class Service:
    """One relay server process: its sockets, its timer, its log."""

    def __init__(self, server: RelayServer, now: Callable[[], float] = boot_time) -> None:
        self.server, self.now = server, now
        self._sockets: dict[int, RelaySocket] = {}
        self._listeners: list[asyncio.Server] = []
        self._armed_at = inf
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, host: str | None, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Take connections at this address (None: all); return the port.  Raises OSError."""
        listener = await ws_create_server(
            self._upgrade,
            host,
            port,
            ssl=tls,
            websocket_handshake_timeout=HTTP_TIMEOUT_S,
            logger_name=QUIET,
            enable_auto_pong=False,
            max_frame_size=MAX_MESSAGE_LEN,
            read_buffer_init_size=READ_BUFFER_LEN,
            backlog=BACKLOG,
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return any(listener.is_serving() for listener in self._listeners)

    def take_in(self, socket: RelaySocket) -> Connection | None:
        """Take a new connection; None: refuse it, the server is full or shutting down."""
        connection = self.server.accept(self.now())
        if connection is not None:
            self._sockets[connection.number] = socket
        return connection

    def clients(self, transport: str) -> int:
        """Return how many connections this transport carries, those that have not logged in included."""
        return sum(socket.transport == transport for socket in self._sockets.values())

    def peers(self, transport: str) -> int:
        """Return how many peers are logged in over this transport."""
        return sum(
            socket.transport == transport and self.server.is_peer(number) for number, socket in self._sockets.items()
        )

    async def drain(self) -> None:
        """Take nobody in any more, say Close to all, and return when it is said."""
        for listener in self._listeners:
            listener.close()
        leaving = list(self._sockets.values())
        self.server.shutdown()
        self.work_off()
        deadline = self.now() + LINGER_S
        while any(socket.open for socket in leaving) and self.now() < deadline:
            await asyncio.sleep(0.02)
        for socket in leaving:
            socket.abort()
        if self._timer is not None:
            self._timer.cancel()

    def work_off(self) -> None:
        """Send what is to be sent, close what is to be closed, and set the timer anew."""
        for connection, messages in self.server.data_to_send():
            socket = self._sockets.get(connection.number)
            if socket is not None:
                socket.send(messages)
        while (event := self.server.next_event()) is not None:
            match event:
                case PeerJoined(number, peer, replaced):
                    socket = self._sockets.get(number)
                    carried = socket.transport if socket is not None else ""
                    logger.bind(link=number, peer=_shown(peer), transport=carried, replaced=replaced).debug(
                        "peer joined"
                    )
                case ConnectionClosed():
                    self._on_closed(event)
        due_at = self.server.next_timeout()
        if due_at is not None and due_at < self._armed_at:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_at = due_at
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due_at - self.now()), self._on_timer)

    def _on_timer(self) -> None:
        self._armed_at, self._timer = inf, None
        self.server.handle_timeout(self.now())
        self.work_off()

    def _on_closed(self, event: ConnectionClosed) -> None:
        socket = self._sockets.pop(event.connection)
        level = "DEBUG" if event.expected else "WARNING"
        logger.bind(link=event.connection, peer=_shown(event.peer), address=socket.address, reason=event.reason).log(
            level, "link closed"
        )
        if not event.flush:
            socket.abort()

    def _upgrade(self, request: WSUpgradeRequest) -> "_Socket | WSUpgradeResponseWithListener | None":
        """Answer an HTTP request: None is 404 (relay spec 2.2)."""
        if request.path.split(b"?", 1)[0] != PATH.encode():
            return None
        headers = request.headers
        if (
            "websocket" not in headers.get("Upgrade", "").lower()
            or "upgrade" not in headers.get("Connection", "").lower()
        ):
            return _refusal(
                426, "this is a relay server's WebSocket", {"Upgrade": "websocket", "Connection": "Upgrade"}
            )
        headers["Connection"] = "Upgrade"  # picows knows no list of several, which proxies make
        if headers.get("Sec-WebSocket-Version") != "13" or len(headers.getall("Sec-WebSocket-Key", [])) != 1:
            return _refusal(400, "WebSocket version 13 and one key would do", {"Sec-WebSocket-Version": "13"})
        connection = self.server.accept(self.now())
        if connection is None:
            return _refusal(503, "the server is full or shutting down", {})
        socket = self._sockets[connection.number] = _Socket(self, connection)
        self.work_off()
        return socket


class _Socket(WSListener):
    """One connection."""

    transport = "ws"

    def __init__(self, service: Service, connection: Connection) -> None:
        self._service, self._server, self._now = service, service.server, service.now
        self._connection = connection
        self._full = False
        self._ws: WSTransport | None = None
        self._room: TcpRoom | None = None
        self.address = ""

    @property
    def open(self) -> bool:
        """Whether the connection still is there."""
        return self._ws is not None

    def send(self, messages: list[bytes]) -> None:
        """Send messages, one unmasked frame each, with one write."""
        if self._ws is None:
            return
        if len(messages) == 1:
            self._ws.send(BINARY, messages[0])
            return
        parts = []
        for message in messages:
            parts.append(_frame_header(len(message)))
            parts.append(message)
        self._ws.underlying_transport.write(b"".join(parts))

    def abort(self) -> None:
        """End the connection now."""
        if self._ws is not None:
            self._ws.disconnect(False)

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin."""
        self._ws = transport
        _connection, self._room = bound(transport)
        peer = transport.underlying_transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else ""
        if self._connection.closed:
            self.abort()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame; at the last of a read, send what came of them all."""
        extended = frame.rsv1 or frame.rsv2 or frame.rsv3
        try:
            if frame.msg_type is BINARY and frame.fin and frame.payload_size and not extended:
                self._server.receive_data(self._connection, frame.get_payload_as_bytes(), self._now())
            elif (fault := fault_of(frame)) is not None:
                self._server.connection_lost(self._connection, fault, expected=frame.msg_type is CLOSE)
            elif frame.msg_type is PING and not self._full:
                # A stranger who pings without reading must not fill our memory.
                transport.send_pong(frame.get_payload_as_bytes())
            if frame.last_in_buffer:
                self._service.work_off()
        except Exception as error:
            our_fault(error, transport)

    def pause_writing(self) -> None:
        """Hold the core back: the transport is full."""
        self._full = True
        if self._room is not None:
            self._room.filled()
        self._server.set_writable(self._connection, False, self._now())

    def resume_writing(self) -> None:
        """Let the core go on."""
        self._full = False
        if self._room is not None:
            has_room = self._room.emptied()
            self._server.set_room(self._connection, self._room.room_len)
            if not has_room:
                return
        self._server.set_writable(self._connection, True, self._now())
        self._service.work_off()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End."""
        self._ws = None
        self._server.connection_lost(self._connection, end_of(transport))
        self._service.work_off()


@cache
def _frame_header(length: int) -> bytes:
    """Return the header of a server's binary frame: FIN, opcode 2, no mask (RFC 6455 section 5.2)."""
    if length < 126:
        return bytes((0x82, length))
    return bytes((0x82, 126)) + length.to_bytes(2)


def _refusal(status: int, body: str, headers: dict[str, str]) -> WSUpgradeResponseWithListener:
    response = WSUpgradeResponse.create_error_response(status, body.encode(), headers)
    return WSUpgradeResponseWithListener(response, None)


def _shown(peer: PeerId | None) -> str:
    return printed(peer)[:12] if peer is not None else ""
