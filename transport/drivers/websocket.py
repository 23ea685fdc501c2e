"""WebSocket links to relay servers, and what both ends of them share (relay spec 2.2; picows does the framing).

One relay message is one unfragmented binary frame; anything else that is no ping or pong ends the link.  There are no
extensions, no subprotocol, and no closing handshake: a link that is over is aborted.

Both ends bound what waits to be sent (tcp_room.py), and above that the owner is told to hold back.
"""

import asyncio
import logging
import os
import socket
import ssl
from typing import Any, Final, Protocol

from picows import (
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from transport.drivers.certificates import certificate_fault, client_context
from transport.drivers.tcp_repeats import repeat_soon
from transport.drivers.tcp_room import TcpRoom
from transport.drivers.tcp_signs import tcp_signs
from transport.relay.frames import MAX_MESSAGE_LEN
from transport.relay.signs import Signs
from transport.relay.urls import RelayUrl, parse_relay_url

DIAL_TIMEOUT_S: Final = 10.0  # TCP, TLS and WebSocket together
DIRECT_TIMEOUT_S: Final = 4.0  # the same, to a server IP that the remote told us
HAPPY_EYEBALLS_S: Final = 0.25  # RFC 8305: from one address to the next
LINGER_S: Final = 1.0  # for a last message to leave
READ_LEN: Final = 64 * 1024
IP_MTU_DISCOVER: Final = 10  # linux/in.h
IP_PMTUDISC_DONT: Final = 0

QUIET: Final = logging.getLogger("homing.picows")
"""picows' own log, which would repeat what our facts say, as often as a stranger likes."""
QUIET.propagate = False
QUIET.addHandler(logging.NullHandler())


class DialFailed(Exception):
    """The server could not be reached; the message says what was tried and what was seen."""


class LinkOwner(Protocol):
    """Who is told what happens on a link."""

    def received(self, messages: list[bytes]) -> None:
        """Take what came in one read, in order."""

    def pong(self) -> None:
        """Take note that a ping was answered."""

    def doubted(self) -> None:
        """Take note of a hint that the server is gone: anybody may have given it."""

    def writable(self, yes: bool) -> None:
        """Hold back, or go on."""

    def lost(self, reason: str) -> None:
        """Take note that the link ended; nothing follows."""


class Link(WSListener):
    """One link to a relay server, from the client's side."""

    too_narrow: Final = False  # TCP carries messages of any size

    def __init__(self, owner: LinkOwner) -> None:
        self._owner: LinkOwner | None = owner
        self._messages: list[bytes] = []
        self._transport: WSTransport | None = None
        self._socket: Any = None
        self._room: TcpRoom | None = None
        self._fault = ""

    @property
    def server_ip(self) -> str | None:
        """The address of the server; None: the link is over."""
        peer = self._socket.getpeername() if self._socket is not None else None
        return str(peer[0]) if peer else None

    def send(self, messages: list[bytes]) -> None:
        """Send messages, one frame each; several leave in full segments."""
        transport = self._transport
        if transport is None:
            return
        corked = len(messages) > 1
        if corked:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for message in messages:
            transport.send(WSMsgType.BINARY, message)
        if corked:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def ping(self) -> None:
        """Send a WebSocket ping; the owner hears of its pong."""
        if self._transport is not None:
            self._transport.send_ping()

    def signs(self) -> Signs | None:
        """Return what the kernel has seen of the server; None: the link is over."""
        return tcp_signs(self._socket) if self._socket is not None else None

    def abort(self) -> None:
        """End the link without another word to the owner; what was sent before may still leave."""
        self._owner = None
        if self._transport is not None:
            linger(self._transport)

    # --- picows calls these ---

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin."""
        if self._owner is None:  # given up while it was dialled
            transport.disconnect(False)
            return
        self._transport = transport
        self._socket, self._room = bound(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame."""
        try:
            self._take(transport, frame)
        except Exception as error:
            our_fault(error, transport)

    def pause_writing(self) -> None:
        """Pass on that the transport is full."""
        if self._room is not None:
            self._room.filled()
        if self._owner is not None:
            self._owner.writable(False)

    def resume_writing(self) -> None:
        """Pass on that the transport has room."""
        has_room = self._room is None or self._room.emptied()
        if self._owner is not None and has_room:
            self._owner.writable(True)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End."""
        owner, self._owner, self._transport, self._socket = self._owner, None, None, None
        if owner is not None:
            try:
                owner.lost(self._fault or end_of(transport))
            except Exception as error:
                our_fault(error, transport)

    def _take(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._owner is None:
            return
        if (fault := fault_of(frame)) is not None:
            self._fault = fault
            transport.disconnect(False)
        elif frame.msg_type == WSMsgType.BINARY:
            self._messages.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        else:
            self._owner.pong()
        if self._messages and (frame.last_in_buffer or self._fault):
            messages, self._messages = self._messages, []
            self._owner.received(messages)


async def dial(url: str, server_ip: str | None, owner: LinkOwner, *, ca: bytes | None = None) -> Link:
    """Connect to a relay server, at `server_ip` first if one is given.  `ca`: PEM, None for the system's roots.

    Raises DialFailed, or InvalidRelayUrl.
    """
    parsed = parse_relay_url(url)
    failures = []
    for ip in [server_ip, None] if server_ip not in {None, parsed.host} else [None]:
        try:
            return await _attempt(parsed, ip, owner, ca)
        except DialFailed as failure:
            failures.append(f"{url}{f' at {ip}' if ip else ''}: {failure}")
    raise DialFailed("; ".join(failures))


async def _attempt(url: RelayUrl, ip: str | None, owner: LinkOwner, ca: bytes | None) -> Link:
    limit_s = DIAL_TIMEOUT_S if ip is None else DIRECT_TIMEOUT_S
    link = Link(owner)
    try:
        async with asyncio.timeout(limit_s):
            # The URL's host stays in the Host header and as TLS name, also when another address is dialled.
            how: dict[str, Any] = {"happy_eyeballs_delay": HAPPY_EYEBALLS_S}
            if ip is not None:
                how = {"socket_factory": lambda _url: _connect(ip, url.port)}
            _transport, accepted = await ws_connect(
                lambda request, response: _accepted(link, request, response),
                url.websocket_url,
                ssl_context=client_context(ca) if url.secure else None,
                websocket_handshake_timeout=limit_s,  # cancelling this call would leave the connection open
                logger_name=QUIET,
                enable_auto_pong=False,
                max_frame_size=MAX_MESSAGE_LEN,
                max_redirects=0,
                **how,
            )
    except TimeoutError:
        link.abort()
        raise DialFailed(f"no answer within {limit_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise DialFailed(await certificate_fault(error, ip or url.host, url.port, url.host, ca)) from None
    except ssl.SSLError as error:
        raise DialFailed(f"TLS failed ({(error.reason or str(error)).lower()}); does the server speak TLS?") from None
    except socket.gaierror as error:
        raise DialFailed(f"the name {url.host!r} was not resolved ({error.strerror})") from None
    except ConnectionRefusedError:
        raise DialFailed("connection refused; no server listens there") from None
    except ConnectionResetError:
        hint = "; does the server speak TLS?" if url.secure else ""
        raise DialFailed(f"the connection was reset{hint}") from None
    except OSError as error:
        # asyncio puts words of its own in strerror.
        text = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        raise DialFailed(text.lower()) from None
    except WSHandshakeError as error:
        status = f"HTTP {error.response.status.value}" if error.response is not None else "no HTTP"
        raise DialFailed(f"{status} instead of a relay's WebSocket at /relay") from None
    except WSError as error:
        raise DialFailed(str(error)) from None
    except asyncio.CancelledError:
        link.abort()
        raise
    if accepted is not link:
        raise DialFailed("the server closed the connection instead of answering")
    return link


def _accepted(link: Link, _request: WSUpgradeRequest, response: WSUpgradeResponse) -> Link:
    for header in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
        if header in response.headers:
            raise DialFailed(f"the server chose a {header} that nobody offered")
    return link


async def _connect(ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (ip, port))
    except BaseException:
        connection.close()
        raise
    return connection


# --- what both ends share ---


def bound(transport: WSTransport) -> tuple[Any, TcpRoom]:
    """Set up a fresh connection; return its socket, and the bound of what waits on it."""
    connection = transport.underlying_transport.get_extra_info("socket")
    room = TcpRoom(transport.underlying_transport, connection)
    repeat_soon(connection)
    let_routers_fragment(connection)
    inner = transport.underlying_transport.get_protocol()
    assert isinstance(inner, asyncio.BufferedProtocol), "picows reads into a buffer of its own"
    transport.underlying_transport.set_protocol(_BoundedReads(inner))
    return connection, room


def let_routers_fragment(connection: Any) -> None:
    """Have packets that are too long for a link on their way cut there, not dropped (recovery S18).

    Where ICMP is blocked TCP would never learn of that link, and send what is dropped for ever.
    """
    if connection.family == socket.AF_INET:  # in IPv6 routers never do
        connection.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)


class _BoundedReads(asyncio.BufferedProtocol):
    """Hands picows at most READ_LEN bytes at once.

    Its buffer would grow to whatever the kernel holds, several MB for a fast sender: memory, and bursts that overrun
    the receivers' queues while the other connections wait.
    """

    def __init__(self, inner: asyncio.BufferedProtocol) -> None:
        self._inner = inner

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._inner.get_buffer(sizehint))[:READ_LEN]

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def fault_of(frame: WSFrame) -> str | None:
    """Return what is wrong with a WebSocket frame, or None (relay spec 2.2)."""
    if frame.msg_type == WSMsgType.CLOSE:
        return f"the other end closed the WebSocket (code {int.from_bytes(frame.get_payload_as_bytes()[:2])})"
    if frame.rsv1 or frame.rsv2 or frame.rsv3:
        return "a WebSocket frame of an extension that nobody offered"
    if frame.msg_type == WSMsgType.TEXT:
        return "a text message; relay messages are binary"
    if frame.msg_type == WSMsgType.CONTINUATION or not frame.fin:
        return "a fragmented message; a relay message is one frame"
    if frame.msg_type == WSMsgType.BINARY and not frame.payload_size:
        return "an empty message"
    return None


def end_of(transport: WSTransport) -> str:
    """Return why a connection ended that nobody here ended."""
    closing = transport.close_handshake
    if closing is not None and closing.sent is not None:
        return f"a broken WebSocket frame: {closing.sent.reason}"
    return "the other end closed the connection"


def our_fault(error: Exception, transport: WSTransport) -> None:
    """Tell the loop of a bug of ours, which picows would keep to itself, and end the connection that met it."""
    asyncio.get_running_loop().call_exception_handler({"message": "a relay link's owner failed", "exception": error})
    transport.disconnect(False)


def linger(transport: WSTransport) -> None:
    """Close a connection when what was sent has left, or after LINGER_S at the latest."""
    transport.disconnect(True)
    asyncio.get_running_loop().call_later(LINGER_S, transport.underlying_transport.abort)
