"""Real relay servers and clients on the loopback, in the test's own loop."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from config.keys import Secret
from tests.transport.drivers.certificates import Files
from transport.drivers.certificates import server_context
from transport.drivers.relay_server import Service, boot_time
from transport.drivers.websocket import Link, dial
from transport.relay.auth import key_of, make_token
from transport.relay.client import RelayClient
from transport.relay.events import ClientEvent, LinkClosed, LoggedIn, PacketsReceived, PingWanted
from transport.relay.frames import PeerId
from transport.relay.server import Limits, RelayServer

SECRET = Secret(b"verysecret")
PATIENCE_S = 10.0  # for what takes milliseconds on an idle machine

T = TypeVar("T")


def run(story: Callable[[], Awaitable[T]]) -> T:
    """Run a test's story on a loop of its own."""

    async def bounded() -> T:
        async with asyncio.timeout(4 * PATIENCE_S):
            return await story()

    return asyncio.run(bounded())


@dataclass
class Hub:
    """One listening server."""

    service: Service
    port: int
    scheme: str

    @property
    def server(self) -> RelayServer:
        return self.service.server

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"


@asynccontextmanager
async def hub(tls: Files | None = None, *, limits: Limits | None = None) -> AsyncIterator[Hub]:
    """A relay server on 127.0.0.1, drained at the end."""
    service = Service(RelayServer("rel://instance", key_of(SECRET), time.time, limits))
    port = await service.listen("127.0.0.1", 0, _context(tls))
    try:
        yield Hub(service, port, "rel" if tls is None else "rels")
    finally:
        await service.drain()


def _context(tls: Files | None) -> ssl.SSLContext | None:
    return server_context(str(tls.certificate), str(tls.key)) if tls is not None else None


class Party:
    """A client with its link, which does what a packet process would."""

    def __init__(self, peer: PeerId, secret: Secret = SECRET) -> None:
        self.peer = peer
        self.events: list[ClientEvent] = []
        self.batches: list[list[bytes]] = []  # as they were read
        self.doubts = 0  # hints that the server is gone
        self._secret = secret
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.client: RelayClient
        self._link: Link | None = None  # None: still dialling

    async def connect(self, url: str, *, server_ip: str | None = None, ca: bytes | None = None) -> "Party":
        """Dial; the login follows by itself."""
        self.client = RelayClient(self.peer, token(self._secret), boot_time())
        self._link = await dial(url, server_ip, self, ca=ca)
        self._work_off()
        return self

    @property
    def link(self) -> Link:
        """The link, dialled."""
        assert self._link is not None
        return self._link

    async def login(self, url: str, *, ca: bytes | None = None) -> "Party":
        """Dial and wait for the server's answer."""
        await self.connect(url, ca=ca)
        await self.until(lambda: self.of(LoggedIn))
        return self

    def open(self, peer: PeerId) -> None:
        self.client.open(peer, 30.0, boot_time())
        self._work_off()

    def send(self, peer: PeerId, *payloads: bytes) -> None:
        self.client.send(peer, payloads, boot_time())
        self._work_off()

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def payloads(self) -> list[bytes]:
        return [payload for event in self.of(PacketsReceived) for payload in event.payloads]

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until this is true; news come one at a time."""
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def closed(self) -> LinkClosed:
        await self.until(lambda: self.of(LinkClosed))
        (event,) = self.of(LinkClosed)
        return event

    # --- what the link tells ---

    def received(self, messages: list[bytes]) -> None:
        self.batches.append(messages)
        for message in messages:
            self.client.receive_data(message, boot_time())
        self._work_off()

    def pong(self) -> None:
        self.client.receive_pong(boot_time())
        self._work_off()

    def doubted(self) -> None:
        self.doubts += 1
        self._news.set()

    def writable(self, yes: bool) -> None:
        pass

    def lost(self, reason: str) -> None:
        self.client.connection_lost(reason)
        self._work_off()

    def _on_timer(self) -> None:
        self.client.handle_timeout(boot_time())
        self._work_off()

    def _work_off(self) -> None:
        if self._link is None:
            return
        self.link.send(self.client.data_to_send())
        while (event := self.client.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, PingWanted):
                self.link.ping()
            elif isinstance(event, LinkClosed):
                self.link.abort()
        if self._timer is not None:
            self._timer.cancel()
        if (at := self.client.next_timeout()) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - boot_time()), self._on_timer)
        self._news.set()


class Forwarder:
    """A TCP forwarder that can stop forwarding without closing anything, as a NAT that forgot does."""

    def __init__(self, port: int) -> None:
        self._to, self._tasks, self._flowing = port, set[asyncio.Task[None]](), asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> "Forwarder":
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def stop(self) -> None:
        self._flowing.clear()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", self._to)
        for source, target in ((reader, onward[1]), (onward[0], writer)):
            task = asyncio.get_running_loop().create_task(self._copy(source, target))
            self._tasks.add(task)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._flowing.wait()
            target.write(data)
        target.close()


@asynccontextmanager
async def stranger(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server that reads one HTTP request and gives an answer to it; yields its port."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = answer(await reader.read(4096))
        writer.write(answered)
        if answered.startswith(b"HTTP/1.1 101"):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(on_connection, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


def token(secret: Secret = SECRET) -> Secret:
    """Return a token that a server with this secret takes."""
    return make_token(key_of(secret), time.time())


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> Path:
    """Write a file that is its owner's alone."""
    path.write_text(text)
    path.chmod(0o600)
    return path
