"""A connection that carries little is given little to carry later."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from math import inf
from types import SimpleNamespace
from typing import Any, Final

import pytest
from picows import WSListener

from tests.transport.drivers.relays import PATIENCE_S, Party, hub, run
from transport.drivers import tcp_room
from transport.drivers.tcp_room import TcpRoom
from transport.drivers.websocket import Link, LinkOwner
from transport.relay.frames import peer_id
from transport.relay.send_room import LEAST_LEN, MOST_LEN
from transport.relay.server import QUEUE_LEAST_LEN

pytestmark = pytest.mark.process

SLOW_LEN, SLOW_S = 4096, 0.02  # read at once, and the time between
BUFFER_LEN: Final = 16 * 1024


class Sender(asyncio.Protocol):
    """Writes whenever it may."""

    room: TcpRoom
    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.paused = transport, False
        self.room = TcpRoom(self.transport, transport.get_extra_info("socket"))

    def pause_writing(self) -> None:
        self.paused = True
        self.room.filled()

    def resume_writing(self) -> None:
        self.paused = False
        self.room.emptied()

    def fill(self) -> None:
        while not self.paused:
            self.transport.write(bytes(1400))


async def until(condition: Callable[[], bool], step: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await step()


def test_a_slow_connection_gets_little_room_and_a_quick_one_gets_it_back() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_LEN)
            _, sender = await loop.create_connection(Sender, *listener.getsockname())
            far, _ = listener.accept()
        far.setblocking(False)
        near = sender.transport.get_extra_info("socket")

        async def read(wait_s: float) -> None:
            sender.fill()
            await asyncio.wait_for(loop.sock_recv(far, SLOW_LEN), PATIENCE_S)
            await asyncio.sleep(wait_s)

        assert sender.room.room_len == MOST_LEN
        await until(lambda: sender.room.room_len < MOST_LEN, lambda: read(SLOW_S))
        room_len = sender.room.room_len
        assert sender.transport.get_write_buffer_limits()[1] == room_len // 3
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) <= room_len
        await until(lambda: sender.room.room_len > room_len, lambda: read(0.0))
        far.close()
        sender.transport.abort()
        await asyncio.sleep(0)
        room_len = sender.room.room_len
        sender.room.filled()  # what is over has nothing to show
        sender.room.emptied()
        assert sender.room.room_len == room_len

    run(story)


class Pipe(asyncio.WriteTransport):
    """A transport with so much waiting in it, which calls `told` like asyncio's: from within too."""

    def __init__(self, told: WSListener) -> None:
        super().__init__()
        self.told, self.waiting_len, self.paused = told, 0, False
        self.high_len, self.low_len = 0, 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None
        self.high_len, self.low_len = high, low
        self.hold(self.waiting_len)

    def hold(self, waiting_len: int) -> None:
        self.waiting_len = waiting_len
        if not self.paused and waiting_len > self.high_len:
            self.paused = True
            self.told.pause_writing()
        elif self.paused and waiting_len <= self.low_len:
            self.paused = False
            self.told.resume_writing()


class Acknowledged:
    """A socket on which so much was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged_len = 0

    def setsockopt(self, *_: int) -> None: ...

    def getsockopt(self, _level: int, _option: int, length: int) -> bytes:
        return (bytes(120) + struct.pack("=Q", self.acknowledged_len)).ljust(length, b"\0")


def narrowed(told: WSListener, monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Return a transport that was full for a while, and whose bounds are below what waits when it has room again."""
    pipe, socket_, now = Pipe(told), Acknowledged(), [0.0]
    monkeypatch.setattr(tcp_room, "time", SimpleNamespace(monotonic=lambda: now[0]))
    vars(told)["_room"] = TcpRoom(pipe, socket_)
    pipe.hold(pipe.high_len + 1)
    now[0], socket_.acknowledged_len = 1.0, 1000
    pipe.hold(pipe.low_len)
    assert pipe.high_len == LEAST_LEN // 3
    assert pipe.paused, "what waited is more than may wait now"
    return pipe


def test_who_sends_is_held_back_by_narrower_bounds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []

    class Owner(LinkOwner):
        def writable(self, yes: bool) -> None:
            told.append(yes)

        def received(self, messages: list[bytes]) -> None: ...
        def pong(self) -> None: ...
        def doubted(self) -> None: ...
        def lost(self, reason: str) -> None: ...

    pipe = narrowed(Link(Owner()), monkeypatch)
    assert told == [False, False]
    pipe.hold(0)
    assert told[-1]


def test_a_server_holds_back_by_narrower_bounds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with hub() as relay:
            await Party(peer_id("alice")).login(relay.url)
            (connection,) = relay.server._connections.values()
            (held,) = relay.service._sockets.values()
            assert isinstance(held, WSListener)
            pipe = narrowed(held, monkeypatch)
            assert connection.stuck_at < inf
            pipe.hold(0)
            assert connection.stuck_at == inf

    run(story)


def test_a_server_queues_less_for_a_receiver_that_takes_little() -> None:
    async def story() -> None:
        async with hub() as relay:
            await Party(peer_id("alice")).login(relay.url)
            (connection,) = relay.server._connections.values()
            most_len = connection.max_queue_len
            relay.server.set_room(connection, MOST_LEN // 2)
            assert connection.max_queue_len == most_len // 2
            relay.server.set_room(connection, LEAST_LEN)
            assert connection.max_queue_len == QUEUE_LEAST_LEN
            relay.server.set_room(connection, MOST_LEN)
            assert connection.max_queue_len == most_len

    run(story)
