"""The server against a foreign client over real sockets: what signal spec 2.3 to 2.7 promises one."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.transport.signal.ends import PATIENCE_S, RawClient, end_of, peer_key, read, serving, until
from transport.signal import rpc
from transport.signal.body import Envelope, encode_envelope
from transport.signal.server import Limits

pytestmark = pytest.mark.process

ALICE, BOB, CAROL = peer_key(1), peer_key(2), peer_key(3)

# A client's library bounds what it takes unread by the stream's window; this many messages of this size are beyond it.
BIG_LEN, BIG_COUNT = 600_000, 12

HTTP2_PING, HTTP2_GOAWAY = 6, 7  # frame types


def mail(receiver: str, body: bytes = b"sealed", sender: str = ALICE) -> bytes:
    return encode_envelope(Envelope(sender, receiver, body))


def on_a_loop(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(story)
    def run() -> None:
        asyncio.run(story())

    return run


@on_a_loop
async def test_mail_reaches_the_receiver_before_the_reply_and_unchanged() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        stream = await client.registered(BOB)
        odd = mail(BOB) + bytes.fromhex("9a0601ff")  # with a field that the server does not know
        assert await client.send(odd) == b""
        assert server.counters["messages_forwarded_total"] == 1
        assert await read(stream) == odd


@on_a_loop
async def test_mail_of_one_sender_keeps_its_order() -> None:
    async with serving() as (_, port), RawClient(port) as client:
        stream = await client.registered(BOB)
        sent = [mail(BOB, bytes([number])) for number in range(50)]
        for message in sent:
            await client.send(message)
        assert [await read(stream) for _ in sent] == sent


@on_a_loop
async def test_mail_to_oneself_is_routed_like_any_other() -> None:
    async with serving() as (_, port), RawClient(port) as client:
        stream = await client.registered(ALICE)
        await client.send(mail(ALICE))
        assert await read(stream) == mail(ALICE)


@on_a_loop
async def test_unknown_receivers_get_the_same_reply() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        assert await client.send(mail(BOB)) == b""
        assert await client.send(mail("dummy", b"")) == b""  # the health check of clients before v0.73
        assert await client.send(b"") == b""
        assert server.counters["message_forward_failures_total.not_connected"] == 3


@on_a_loop
async def test_a_stream_without_the_header_is_refused() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        status = await end_of(client.stream(None))
        assert status == ("FAILED_PRECONDITION", "missing connection header: x-wiretrustee-peer-id")
        assert server.counters["registration_failures_total.missing_id"] == 1


@on_a_loop
async def test_any_header_value_is_an_id() -> None:
    async with serving() as (_, port), RawClient(port) as client:
        for key in ("not a key", ""):
            stream = await client.registered(key)
            await client.send(mail(key))
            assert await read(stream) == mail(key)


@on_a_loop
async def test_the_newest_stream_wins_and_the_old_one_is_told() -> None:
    async with serving() as (server, port), RawClient(port) as old, RawClient(port) as new:
        first = await old.registered(BOB)
        second = await new.registered(BOB)
        assert await end_of(first) == ("UNKNOWN", "peer registered again")
        await old.send(mail(BOB))
        assert await read(second) == mail(BOB)
        assert server.active_peers == 1


@on_a_loop
async def test_of_many_streams_at_once_one_is_left_and_all_others_are_told() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        ends = [asyncio.create_task(end_of(client.stream(BOB))) for _ in range(100)]
        await until(lambda: sum(task.done() for task in ends) == 99)
        told = [task.result() for task in ends if task.done()]
        assert set(told) == {("UNKNOWN", "peer registered again")}
        assert server.active_peers == 1
        for task in ends:
            task.cancel()


@on_a_loop
async def test_a_half_closed_stream_goes_on_and_what_is_written_on_it_is_not_routed() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        carol = await client.registered(CAROL)
        bob = await client.registered(BOB)
        await carol.write(mail(BOB, b"on the stream"))
        await carol.done_writing()
        for receiver, stream in ((CAROL, carol), (BOB, bob)):
            await client.send(mail(receiver))
            assert await read(stream) == mail(receiver)
        assert server.active_peers == 2


@on_a_loop
async def test_a_client_that_goes_is_forgotten() -> None:
    async with serving() as (server, port):
        async with RawClient(port) as client:
            (await client.registered(BOB)).cancel()
            await until(lambda: server.active_peers == 0)
            await client.registered(BOB)
            assert server.active_peers == 1
        await until(lambda: server.active_peers == 0)


@on_a_loop
async def test_a_client_that_pings_is_never_sent_away() -> None:
    # Raw HTTP/2 (RFC 9113 section 6.7), since grpcio's own client keeps itself from pinging too often.
    pings = 12  # 6 minutes of a real client's; with the library's defaults the third ends the connection
    async with serving() as (_, port), asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000"))
        acknowledged = 0
        for number in range(pings):
            writer.write(bytes.fromhex("000008 06 00 00000000") + number.to_bytes(8))
        while acknowledged < pings:
            head = await reader.readexactly(9)
            body = await reader.readexactly(int.from_bytes(head[:3]))
            assert head[3] != HTTP2_GOAWAY, body
            acknowledged += head[3] == HTTP2_PING and head[4] == 1
        writer.close()


@on_a_loop
async def test_a_receiver_that_does_not_read_delays_nobody_else_and_is_cut_off() -> None:
    async with serving(Limits(delivery_s=1.0)) as (server, port), RawClient(port) as slow, RawClient(port) as client:
        stuck = await slow.registered(CAROL)
        bob = await client.registered(BOB)
        flood = [asyncio.create_task(client.send(mail(CAROL, bytes(BIG_LEN)))) for _ in range(BIG_COUNT)]
        await until(lambda: server.counters["messages_forwarded_total"] > 0)
        await client.send(mail(BOB))
        assert await read(bob) == mail(BOB)
        assert not all(task.done() for task in flood)
        assert set(await asyncio.gather(*flood)) == {b""}  # a sender hears nothing of it
        assert server.counters["message_forward_failures_total.timeout"] > 0
        assert server.active_peers == 1
        assert await end_of(stuck) == ("UNAVAILABLE", "the client read nothing for 1 s")


@on_a_loop
async def test_the_queue_of_a_receiver_is_bounded() -> None:
    limits = Limits(delivery_s=PATIENCE_S, queued_len=2 * BIG_LEN)
    async with serving(limits) as (server, port), RawClient(port) as slow, RawClient(port) as client:
        await slow.registered(CAROL)
        flood = [asyncio.create_task(client.send(mail(CAROL, bytes(BIG_LEN)))) for _ in range(BIG_COUNT)]
        await until(lambda: server.counters["message_forward_failures_total.overflow"] > 0)
        await slow.channel.close()
        assert set(await asyncio.gather(*flood)) == {b""}


@on_a_loop
async def test_registrations_are_bounded_but_a_client_may_come_back() -> None:
    async with serving(Limits(registrations=1)) as (_, port), RawClient(port) as client, RawClient(port) as other:
        await client.registered(ALICE)
        assert (await end_of(other.stream(BOB)))[0] == "RESOURCE_EXHAUSTED"
        await other.registered(ALICE)


@on_a_loop
async def test_bytes_that_are_no_envelope_and_messages_too_long_cost_one_call() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        stream = await client.registered(BOB)
        for wrong, code in ((b"\xff", "INTERNAL"), (mail(BOB, bytes(5 << 20)), "RESOURCE_EXHAUSTED")):
            with pytest.raises(rpc.RpcError) as caught:
                await client.send(wrong)
            assert f"StatusCode.{code}" in repr(caught.value)
        assert server.counters["message_forward_failures_total.malformed"] == 1
        await client.send(mail(BOB))
        assert await read(stream) == mail(BOB)


@on_a_loop
async def test_a_stopping_server_sends_its_clients_away_with_a_reason() -> None:
    async with serving() as (server, port), RawClient(port) as client:
        stream = await client.registered(BOB)
        ended = asyncio.create_task(end_of(stream))
        await server.stop()
        assert await ended == ("UNAVAILABLE", "the signal server is stopping")


@on_a_loop
async def test_a_port_in_use_is_noticed() -> None:
    async with serving() as (_, port):
        with pytest.raises(RuntimeError):
            async with serving(port=port):
                pass
