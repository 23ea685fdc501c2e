"""A relay server with QUIC, its clients, and what lies between them, on the loopback and in the test's own loop."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from config.keys import Secret
from tests.transport.drivers.certificates import Files
from tests.transport.drivers.relays import PATIENCE_S, SECRET, Party, token
from transport.drivers.certificates import Trust
from transport.drivers.quic_link import dial_quic
from transport.drivers.quic_server import QuicListener
from transport.drivers.relay_server import Service, boot_time
from transport.relay.auth import key_of
from transport.relay.client import RelayClient
from transport.relay.events import LoggedIn
from transport.relay.frames import PeerId
from transport.relay.server import Limits, RelayServer

MESSAGE_LEN = 1350  # of a tunnel's MTU of 1280 (relay spec 2.4)
PAYLOAD_LEN = MESSAGE_LEN - 38


@dataclass
class QuicHub:
    """One server that listens for QUIC."""

    service: Service
    listener: QuicListener
    port: int

    @property
    def server(self) -> RelayServer:
        return self.service.server

    @property
    def url(self) -> str:
        return f"rels://127.0.0.1:{self.port}"


@asynccontextmanager
async def quic_hub(tls: Files, *, limits: Limits | None = None) -> AsyncIterator[QuicHub]:
    """A relay server on 127.0.0.1, drained at the end."""
    service = Service(RelayServer("rels://instance", key_of(SECRET), time.time, limits))
    listener = QuicListener(service, tls.certificate, tls.key)
    port = await listener.listen("127.0.0.1", 0)
    try:
        yield QuicHub(service, listener, port)
    finally:
        await service.drain()
        listener.close()


class QuicParty(Party):
    """A client whose link is QUIC."""

    def __init__(self, peer: PeerId, secret: Secret = SECRET) -> None:
        super().__init__(peer, secret)
        self.writables: list[bool] = []

    async def dial(
        self, url: str, trust: Trust, *, server_ip: str | None = None, message_len: int = MESSAGE_LEN
    ) -> "QuicParty":
        """Dial; the login follows by itself."""
        self.client = RelayClient(self.peer, token(self._secret), boot_time())
        self.quic = await dial_quic(url, server_ip, self, trust=trust, message_len=message_len)
        self._link = self.quic  # type: ignore[assignment]  # a link like the other
        self._work_off()
        return self

    async def joined(self, url: str, trust: Trust) -> "QuicParty":
        """Dial and wait for the server's answer."""
        await self.dial(url, trust)
        await self.until(lambda: self.of(LoggedIn))
        return self

    def writable(self, yes: bool) -> None:
        self.writables.append(yes)
        self._news.set()


async def becomes(true: Callable[[], object]) -> None:
    """Wait until this is true, of whatever tells no news."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


class Middle(asyncio.DatagramProtocol):
    """A NAT between one client and a server, which may change its address and port, and lose what it is told to."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._client: tuple[str, int] | None = None
        self.lose: Callable[[bytes, bool], bool] = lambda datagram, up: False
        """Given a datagram and whether it goes to the server."""
        self.lost = 0
        self.outer: socket.socket

    async def __aenter__(self) -> "Middle":
        loop = asyncio.get_running_loop()
        self._inner, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = int(self._inner.get_extra_info("sockname")[1])
        self._open("127.0.0.1")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._inner.close()
        self._close()

    @property
    def url(self) -> str:
        return f"rels://127.0.0.1:{self.port}"

    def move(self, ip: str = "127.0.0.1") -> None:
        """Take another port, and this address, towards the server; what comes to the old one is lost."""
        before = self.outer
        self._open(ip)
        asyncio.get_running_loop().remove_reader(before)
        before.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._client = addr
        if self.lose(data, True):
            self.lost += 1
            return
        self.outer.sendto(data, self._to)

    def _open(self, ip: str) -> None:
        self.outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outer.setblocking(False)
        self.outer.bind((ip, 0))
        asyncio.get_running_loop().add_reader(self.outer, self._on_outer)

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.outer)
        self.outer.close()

    def _on_outer(self) -> None:
        try:
            data = self.outer.recv(65536)
        except OSError:
            return
        if self.lose(data, False):
            self.lost += 1
        elif self._client is not None:
            self._inner.sendto(data, self._client)
