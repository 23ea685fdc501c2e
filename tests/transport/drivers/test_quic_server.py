"""What strangers send to a relay server's QUIC port: what is answered, what is only counted, and what it costs us."""

import asyncio
import random
import socket

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion
from loguru import logger

from tests.transport.drivers import certificates
from tests.transport.drivers.certificates import Files
from tests.transport.drivers.quic import PAYLOAD_LEN, QuicParty, becomes, quic_hub
from tests.transport.drivers.quic_strangers import client, still_serves, stranger
from tests.transport.drivers.relays import run
from transport.drivers import quic_server
from transport.drivers.certificates import Trust
from transport.drivers.quic_settings import SMALL_LEN
from transport.drivers.relay_server import boot_time
from transport.drivers.websocket import DialFailed
from transport.relay.codec import encode
from transport.relay.frames import MAX_MESSAGE_LEN, Auth, HealthCheck, Transport, peer_id
from transport.relay.server import Limits

pytestmark = pytest.mark.process

ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def trust(tls: Files) -> Trust:
    return Trust(ca=tls.ca)


# --- other protocols ---


def test_another_alpn_is_refused_with_its_alert(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            other.connect(QuicConnection(configuration=client(tls, alpn_protocols=["h3"])))
            await becomes(lambda: other.reason)
            assert other.reason.startswith("0x178")
            assert relay.listener.drops == {"handshake_failed": 1}
            assert relay.listener.half_open == 0
            await still_serves(relay, trust)

    run(story)


def test_another_version_is_told_ours(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            unknown = b"\xc0\x1a\x2a\x3a\x4a" + b"\x08" + bytes(8) + b"\x08" + bytes(range(8))
            other.send(unknown.ljust(SMALL_LEN, b"\0"))
            await becomes(lambda: other.heard)
            assert other.heard[0].endswith(int(QuicProtocolVersion.VERSION_1).to_bytes(4))
            other.send(unknown.ljust(SMALL_LEN - 1, b"\0"))  # too short to be answered
            await becomes(lambda: relay.listener.drops["too_short"])
            assert len(other.heard) == 1
            assert relay.listener.drops["other_version"] == 1
            await still_serves(relay, trust)

    run(story)


def test_a_client_of_tls_1_2_is_refused(tls: Files, trust: Trust) -> None:
    class Old(QuicConnection):
        def _initialize(self, peer_cid: bytes) -> None:
            super()._initialize(peer_cid)
            self.tls._supported_versions = [0x0303]

    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            other.connect(Old(configuration=client(tls)))
            await becomes(lambda: other.reason)
            assert other.reason.startswith("0x146")  # protocol_version
            assert relay.listener.drops == {"handshake_failed": 1}
            await still_serves(relay, trust)

    run(story)


def test_a_client_without_datagrams_is_told_what_this_is(tls: Files) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            other.connect(QuicConnection(configuration=client(tls, max_datagram_frame_size=None)))
            await becomes(lambda: other.reason)
            assert other.reason == "0x1 this is a relay: nb-quic, with datagrams"
            assert relay.listener.drops == {"other_protocol": 1}

    run(story)


def test_a_stream_ends_the_connection_and_says_why(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            quic = QuicConnection(configuration=client(tls))
            other.connect(quic)
            await becomes(lambda: relay.server.connections)
            quic._remote_max_streams_bidi = 1
            quic._remote_max_data = quic._remote_max_stream_data_bidi_remote = 1000
            quic.send_stream_data(0, b"GET /")
            other.flush()
            await becomes(lambda: other.reason)
            assert other.reason == "0x4 Too many streams open"
            assert relay.server.connections == 0
            await still_serves(relay, trust)

    run(story)


def test_a_full_server_says_so(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls, limits=Limits(connections=1)) as relay:
            await QuicParty(ALICE).joined(relay.url, trust)
            with pytest.raises(DialFailed, match="the server is full or shutting down"):
                await QuicParty(BOB).dial(relay.url, trust)

    run(story)


# --- bytes ---


def test_garbage_is_counted_and_neither_answered_nor_logged(tls: Files, trust: Trust) -> None:
    lines: list[str] = []
    handler = logger.add(lines.append, level=0)

    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            draw = random.Random(6)
            sent = [draw.randbytes(draw.choice((1, 5, 20, 60, SMALL_LEN))) for _ in range(400)]
            for datagram in sent:
                other.send(datagram)
                await asyncio.sleep(0)
            await becomes(lambda: relay.listener.drops.total() == len(sent))
            versions = relay.listener.drops["other_version"]
            await becomes(lambda: len(other.heard) >= versions)
            assert len(other.heard) == versions
            assert all(len(answer) < SMALL_LEN for answer in other.heard)
            assert relay.listener.half_open == len(relay.listener._by_cid) == 0
            assert lines == []
            await still_serves(relay, trust)

    run(story)
    logger.remove(handler)


def test_an_empty_datagram_is_nothing(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:  # asyncio itself sends none
                plain.sendto(b"", ("127.0.0.1", relay.port))
            await becomes(lambda: relay.listener.drops["no_quic"])
            await still_serves(relay, trust)

    run(story)


@pytest.mark.parametrize(
    "message",
    [b"", b"\x01", b"\x02\x06", b"\x01\x63", encode(HealthCheck()), encode(Auth(ALICE, bytes(50))), bytes(1100)],
)
def test_a_first_datagram_that_is_no_login_ends_the_connection(tls: Files, trust: Trust, message: bytes) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            quic = QuicConnection(configuration=client(tls))
            other.connect(quic)
            await becomes(lambda: relay.server.connections)
            quic.send_datagram_frame(message)
            other.flush()
            await becomes(lambda: other.reason)
            assert other.reason == "0x0 normal closure"
            assert relay.server.connections == 0
            await still_serves(relay, trust)

    run(story)


def test_a_logged_in_client_may_send_nonsense_to_itself_and_no_one_else_suffers(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            bob = await QuicParty(BOB).joined(relay.url, trust)
            alice.link.send([b"\x01\x08short", b"\x01\x03tiny", encode(Transport(BOB, bytes(PAYLOAD_LEN)))])
            await bob.until(bob.payloads)
            assert relay.server.drops["bad_frame"] == 2
            alice.link.send([b"\x01\x63"])
            await alice.closed()
            bob.send(BOB, b"fine")
            await bob.until(lambda: b"fine" in bob.payloads())

    run(story)


def test_a_datagram_frame_longer_than_announced_is_a_violation(tls: Files) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            quic = QuicConnection(configuration=client(tls, max_datagram_size=20_000))
            quic._max_datagram_size = SMALL_LEN
            other.connect(quic)
            await becomes(lambda: relay.server.connections)
            quic._max_datagram_size = 20_000
            quic.send_datagram_frame(bytes(16_400))
            other.flush()
            await becomes(lambda: other.reason)
            assert other.reason == "0xa Unexpected DATAGRAM frame"
            assert MAX_MESSAGE_LEN < 16_383

    run(story)


def test_timers_that_something_earlier_replaced_are_swept_out(
    tls: Files, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quic_server, "STALE_TIMERS", 16)

    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            listener = relay.listener
            (connection,) = set(listener._by_cid.values())
            for number in range(1000):
                connection.scheduled_at = boot_time() + 100.0
                listener.schedule(connection, boot_time() + 20.0 - number / 100)
                assert len(listener._timers) <= 17 + 2 * len(listener._by_cid)
            alice.send(ALICE, b"still here")
            await alice.until(alice.payloads)

    run(story)


def test_a_listener_that_closes_ends_its_connections(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            relay.listener.close()
            closed = await alice.closed()
            assert closed.reason == "the relay server closed the QUIC connection (code 0, 'normal closure')"
            assert relay.server.connections == 0
            assert relay.listener._by_cid == {}

    run(story)


# --- where it listens ---


def test_the_answer_leaves_from_the_address_that_was_asked(tls: Files) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            port = await relay.listener.listen(None, 0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.bind(("127.0.0.1", 0))
                asker.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendto(asker, b"\xc0\x1a\x2a\x3a\x4a\0\0".ljust(SMALL_LEN, b"\0"), ("127.0.0.5", port))
                _, source = await loop.sock_recvfrom(asker, 2000)
            assert source == ("127.0.0.5", port)

    run(story)


def test_a_port_that_is_taken_is_an_error(tls: Files) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            with pytest.raises(OSError, match="in use"):
                await relay.listener.listen("127.0.0.1", relay.port)

    run(story)
