"""The relay server's socket side against strangers: other requests, broken frames, pings without end."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.transport.drivers.relays import PATIENCE_S, Hub, hub, run, token
from transport.drivers import relay_server
from transport.relay.codec import encode
from transport.relay.frames import MAX_MESSAGE_LEN, Auth, AuthResponse, peer_id

pytestmark = pytest.mark.process

ALICE = peer_id("alice")
ANSWER = encode(AuthResponse("rel://instance"))

UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: %b\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: %b\r\n\r\n"
)
OURS = UPGRADE % (b"/relay", b"Upgrade", b"13")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (OURS, 101),
        (UPGRADE % (b"/relay?x=1", b"keep-alive, Upgrade", b"13"), 101),
        (OURS[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 101),
        (UPGRADE % (b"/", b"Upgrade", b"13"), 404),
        (UPGRADE % (b"/relay/", b"Upgrade", b"13"), 404),
        (UPGRADE % (b"/relay", b"close", b"13"), 426),
        (UPGRADE % (b"/relay", b"Upgrade", b"8"), 400),
        (OURS[:-2] + b"Sec-WebSocket-Key: BAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400),
        (b"GET /relay HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"POST /relay HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
    ],
)
def test_requests_are_answered_as_a_relay_does(request_head: bytes, status: int) -> None:
    async def story() -> bytes:
        async with hub() as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(request_head)
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return head

    head = run(story)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"extensions" not in head.lower()


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x82aaaahi",  # text
        b"\x02\x82aaaahi",  # the first of several
        b"\x80\x82aaaahi",  # a continuation
        b"\x82\x80aaaa",  # empty
        b"\xc2\x82aaaahi",  # of an extension
        b"\x82\x02hi",  # not masked
        b"\x83\x80aaaa",  # of no known kind
        b"\x88\x80aaaa",  # close
        b"\x82\xfe" + struct.pack("!H", MAX_MESSAGE_LEN + 1) + bytes(MAX_MESSAGE_LEN + 5),
        b"\x82\xff" + b"\xff" * 12,  # of 2^64 - 1 bytes
        b"\x82\x82\0\0\0\0\x01\x63",  # no relay frame
    ],
)
def test_a_client_that_sends_what_no_client_sends_is_closed(frame: bytes) -> None:
    async def story() -> None:
        async with hub() as relay, logged_in(relay) as (reader, writer):
            writer.write(frame)
            while await reader.read(4096):
                pass
            async with asyncio.timeout(PATIENCE_S):
                while relay.server.connections:
                    await asyncio.sleep(0.005)

    run(story)


def test_a_ping_is_answered_with_its_own_words() -> None:
    async def story() -> None:
        async with hub() as relay, logged_in(relay) as (reader, writer):
            writer.write(b"\x89\x84\0\0\0\0ping")
            assert await reader.readexactly(6) == b"\x8a\x04ping"

    run(story)


def test_pings_of_a_client_that_does_not_read_do_not_fill_the_server() -> None:
    async def story() -> None:
        async with hub() as relay, logged_in(relay) as (_, writer):
            (socket,) = relay.service._sockets.values()
            assert isinstance(socket, relay_server._Socket)
            assert socket._ws is not None
            kept = socket._ws.underlying_transport.get_write_buffer_size
            pings = b"\x89\xfd\0\0\0\0".ljust(6 + 125, b"p") * 1000
            for _ in range(200):  # 26 MB
                writer.write(pings)
                await writer.drain()
                assert kept() < 1_000_000

    run(story)


@asynccontextmanager
async def logged_in(relay: Hub) -> AsyncIterator[Streams]:
    """A connection that speaks bytes, after its login."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    login = encode(Auth(ALICE, token().value))
    writer.write(OURS + b"\x82" + bytes((0x80 | len(login),)) + bytes(4) + login)  # with a mask of zeros
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(2 + len(ANSWER)) == b"\x82" + bytes((len(ANSWER),)) + ANSWER
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
