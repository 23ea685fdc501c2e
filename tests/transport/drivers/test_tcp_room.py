"""A connection that carries little is given little to carry later."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from tests.transport.drivers.relays import PATIENCE_S, Party, hub, run
from transport.drivers.tcp_room import TcpRoom
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
