"""Relay clients and servers on real sockets: what passes, what is refused, and how it is told."""

import asyncio
import re
import socket
import struct
import time
from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import pytest

from config.keys import Secret
from tests.transport.drivers import certificates
from tests.transport.drivers.relays import Forwarder, Party, free_port, hub, run, stranger
from transport.drivers import websocket
from transport.drivers.websocket import READ_LEN, DialFailed, dial
from transport.relay.events import LinkClosed, LoggedIn, PeerGone, PeerOnline
from transport.relay.frames import MAX_MESSAGE_LEN, MAX_PAYLOAD_LEN, peer_id
from transport.relay.server import AUTH_TIMEOUT_S, Limits

pytestmark = pytest.mark.process

ALICE, BOB, CAROL = peer_id("alice"), peer_id("bob"), peer_id("carol")

# --- clients and server ---


def test_two_clients_find_each_other_and_pass_packets_both_ways() -> None:
    async def story() -> None:
        async with hub() as relay:
            alice = await Party(ALICE).login(relay.url)
            alice.open(BOB)
            bob = await Party(BOB).login(relay.url)
            bob.open(ALICE)
            await alice.until(lambda: alice.of(PeerOnline))
            await bob.until(lambda: bob.of(PeerOnline))
            assert alice.of(LoggedIn) == [LoggedIn("rel://instance")]
            assert alice.link.server_ip == "127.0.0.1"
            sent = [bytes([number % 256]) * (number * 88) for number in range(100)] + [bytes(MAX_PAYLOAD_LEN)]
            alice.send(BOB, *sent)
            bob.send(ALICE, b"one", b"")
            await bob.until(lambda: len(bob.payloads()) == len(sent))
            await alice.until(lambda: len(alice.payloads()) == 2)
            assert bob.payloads() == sent
            assert alice.payloads() == [b"one", b""]
            bob.link.abort()
            await alice.until(lambda: alice.of(PeerGone))
            assert relay.server.peers == 1

    run(story)


def test_routers_may_cut_packets_that_are_too_long() -> None:
    async def story() -> None:
        async with hub() as relay:
            alice = await Party(ALICE).login(relay.url)
            discovery = alice.link._socket.getsockopt(socket.IPPROTO_IP, websocket.IP_MTU_DISCOVER)
            assert discovery == websocket.IP_PMTUDISC_DONT

    run(story)


def test_a_receiver_that_does_not_read_delays_nobody() -> None:
    async def story() -> None:
        async with hub(limits=Limits(queue_len=100_000)) as relay:
            alice, carol = await Party(ALICE).login(relay.url), await Party(CAROL).login(relay.url)
            slow = await Party(BOB).login(relay.url)
            assert slow.link._transport is not None
            slow.link._transport.underlying_transport.pause_reading()
            for number in range(1, 200):
                alice.send(BOB, *[bytes(1400)] * 100)
                alice.send(CAROL, b"quick")
                await carol.until(lambda count=number: len(carol.payloads()) == count)  # type: ignore[misc]
            assert relay.server.drops["queue_full"] > 0
            assert relay.server.drops.keys() == {"queue_full"}

    run(story)


def test_a_burst_is_read_in_bounded_parts_and_arrives_whole() -> None:
    async def story() -> None:
        async with hub(limits=Limits(queue_len=50_000_000)) as relay:
            alice, bob = await Party(ALICE).login(relay.url), await Party(BOB).login(relay.url)
            for _ in range(50):
                alice.send(BOB, *[bytes(1400)] * 100)
            await bob.until(lambda: len(bob.payloads()) == 5000)
            # One message may have been begun in the part before.
            assert max(sum(map(len, batch)) for batch in bob.batches) <= READ_LEN + MAX_MESSAGE_LEN

    run(story)


def test_a_wrong_secret_is_refused() -> None:
    async def story() -> LinkClosed:
        async with hub() as relay:
            return await (await Party(ALICE, Secret(b"a guess")).connect(relay.url)).closed()

    closed = run(story)
    assert "the relay refused our secret or token" in closed.reason
    assert not closed.was_open


def test_a_login_of_the_same_peer_ends_the_older_link() -> None:
    async def story() -> LinkClosed:
        async with hub() as relay:
            older = await Party(ALICE).login(relay.url)
            await Party(ALICE).login(relay.url)
            assert relay.server.peers == relay.server.connections == 1
            return await older.closed()

    assert run(story).was_open


def test_a_full_server_says_so() -> None:
    async def story() -> None:
        async with hub(limits=Limits(connections=1)) as relay:
            await Party(ALICE).login(relay.url)
            with pytest.raises(DialFailed, match="HTTP 503"):
                await Party(BOB).connect(relay.url)

    run(story)


def test_a_server_that_drains_says_close() -> None:
    async def story() -> LinkClosed:
        async with hub() as relay:
            alice = await Party(ALICE).login(relay.url)
            draining = asyncio.ensure_future(relay.service.drain())
            closed = await alice.closed()
            await draining
            with pytest.raises(DialFailed, match="refused"):
                await Party(BOB).connect(relay.url)
            return closed

    assert run(story).reason == "the relay server said Close"


def test_a_link_whose_packets_vanish_is_noticed_while_in_use() -> None:
    async def story() -> LinkClosed:
        async with hub() as relay, Forwarder(relay.port) as forwarder:
            alice = await Party(ALICE).login(f"rel://127.0.0.1:{forwarder.port}")
            alice.send(ALICE, b"echo")
            await alice.until(alice.payloads)
            forwarder.stop()
            alice.send(ALICE, b"echo")
            return await alice.closed()

    closed = run(story)
    assert closed.reason.startswith("half-open: nothing heard")
    assert closed.was_open


def test_pings_are_answered() -> None:
    async def story() -> None:
        async with hub() as relay:
            alice = await Party(ALICE).login(relay.url)
            alice.client.prove_now(time.clock_gettime(time.CLOCK_BOOTTIME))
            alice._on_timer()
            await alice.until(lambda: alice.client.rtt_s is not None)

    run(story)


# --- TLS ---


def test_tls_with_the_right_ca_and_name_passes_packets(tmp_path: Path) -> None:
    async def story() -> None:
        tls = certificates.make(tmp_path)
        async with hub(tls) as relay:
            alice, bob = [await Party(peer).login(relay.url, ca=tls.ca) for peer in (ALICE, BOB)]
            alice.send(BOB, *[bytes(1400)] * 200)
            await bob.until(lambda: len(bob.payloads()) == 200)

    run(story)


@pytest.mark.parametrize(
    ("made_for", "days", "trusted", "says"),
    [
        ("localhost", (-1, 30), False, "the certificate of localhost is signed by nobody we trust"),
        ("other.example", (-1, 30), True, "the certificate there is not for localhost"),
        (
            "localhost",
            (-9, -2),
            True,
            "the certificate of localhost has expired: valid from 20.* to 20.* UTC, this",
        ),
        ("localhost", (1, 30), True, "is not valid yet: valid from 20.* UTC to 20.* UTC, this machine's clock says 20"),
    ],
)
def test_a_wrong_certificate_is_told_in_one_line(
    tmp_path: Path, made_for: str, days: tuple[float, float], trusted: bool, says: str
) -> None:
    async def story() -> None:
        tls = certificates.make(tmp_path, made_for, from_days=days[0], to_days=days[1])
        other = certificates.make(tmp_path, "unrelated")
        async with hub(tls) as relay:
            with pytest.raises(DialFailed, match=says) as caught:
                await Party(ALICE).connect(relay.url, ca=tls.ca if trusted else other.ca)
            assert "\n" not in str(caught.value)

    run(story)


def test_a_server_ip_is_dialled_with_the_urls_host_as_tls_name_and_host_header(tmp_path: Path) -> None:
    async def story() -> None:
        tls = certificates.make(tmp_path, "relay.invalid")
        async with hub(tls) as relay:
            url = f"rels://relay.invalid:{relay.port}"  # a name that nobody can resolve
            alice = await Party(ALICE).connect(url, server_ip="127.0.0.1", ca=tls.ca)
            await alice.until(lambda: alice.of(LoggedIn))
            assert alice.link._transport is not None
            assert alice.link._transport.request.headers["Host"] == f"relay.invalid:{relay.port}"

    run(story)


def test_a_server_ip_that_does_not_answer_gives_way_to_the_urls_host() -> None:
    async def story() -> None:
        async with hub() as relay:
            await Party(ALICE).connect(relay.url, server_ip="127.0.0.2")
            with pytest.raises(DialFailed, match=r"at 127\.0\.0\.2: connection refused.*; .*not resolved"):
                await Party(BOB).connect(f"rel://relay.invalid:{relay.port}", server_ip="127.0.0.2")

    run(story)


# --- servers that are none ---


def test_nobody_listening_is_told() -> None:
    async def story() -> None:
        port = free_port()
        with pytest.raises(DialFailed, match=f"rel://127.0.0.1:{port}: connection refused"):
            await Party(ALICE).connect(f"rel://127.0.0.1:{port}")

    run(story)


def test_no_route_is_told_in_the_words_of_the_system() -> None:
    async def story() -> None:
        with pytest.raises(DialFailed, match=r"^rel://255\.255\.255\.255:80: network is unreachable$"):
            await Party(ALICE).connect("rel://255.255.255.255:80")

    run(story)


@pytest.mark.parametrize(
    ("scheme", "answer", "says"),
    [
        ("rel", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404 instead of a relay's WebSocket"),
        ("rel", b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "HTTP 302"),
        ("rel", b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP instead of a relay's WebSocket"),
        ("rel", b"", "closed the connection instead of answering"),
        ("rels", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does the server speak TLS"),
        ("rels", b"", "the connection was reset; does the server speak TLS"),
    ],
)
def test_a_server_of_another_kind_is_told(scheme: str, answer: bytes, says: str) -> None:
    async def story() -> None:
        async with stranger(lambda _: answer) as port:
            with pytest.raises(DialFailed, match=says):
                await Party(ALICE).connect(f"{scheme}://127.0.0.1:{port}")

    run(story)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "DIAL_TIMEOUT_S", 0.2)

    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(DialFailed, match=r"no answer within 0\.2 s"):
                await Party(ALICE).connect(f"rel://127.0.0.1:{port}")

    run(story)


@pytest.mark.parametrize("header", ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat"])
def test_what_nobody_offered_is_not_accepted(header: str) -> None:
    async def story() -> None:
        async with stranger(lambda request: accepted(request, header)) as port:
            with pytest.raises(DialFailed, match="nobody offered"):
                await Party(ALICE).connect(f"rel://127.0.0.1:{port}")

    run(story)


BAD_FRAMES = [
    (b"\x81\x02hi", "a text message"),
    (b"\x02\x02hi", "a fragmented message"),
    (b"\x00\x02hi", "a fragmented message"),
    (b"\x82\x00", "an empty message"),
    (b"\xc2\x02hi", "an extension that nobody offered"),
    (b"\x82\x7e" + struct.pack("!H", MAX_MESSAGE_LEN + 1) + bytes(MAX_MESSAGE_LEN + 1), "exceeding max allowed size"),
    (b"\x82\x82aaaahi", "masked frame from server"),
    (b"\x88\x02\x03\xe9", "closed the WebSocket \\(code 1001\\)"),
]


@pytest.mark.parametrize(("frame", "says"), BAD_FRAMES)
def test_a_frame_that_no_relay_sends_ends_the_link_with_the_reason(frame: bytes, says: str) -> None:
    async def story() -> LinkClosed:
        async with stranger(lambda request: accepted(request) + frame) as port:
            return await (await Party(ALICE).connect(f"rel://127.0.0.1:{port}")).closed()

    closed = run(story)
    assert re.search(says, closed.reason), closed.reason


def test_a_dial_that_is_cancelled_leaves_no_connection() -> None:
    async def story() -> None:
        async with hub() as relay:
            for turns in range(30):
                url = f"rel://127.0.0.1:{relay.port}"  # no name: to look one up is many turns
                dialling = asyncio.ensure_future(dial(url, None, Party(ALICE)))
                for _ in range(turns):  # of the loop: at any point of the handshake
                    await asyncio.sleep(0)
                if not dialling.cancel():
                    (await dialling).abort()
            async with asyncio.timeout(AUTH_TIMEOUT_S / 2):  # before the server would close them by itself
                while relay.server.connections:
                    await asyncio.sleep(0.01)

    run(story)


def accepted(request: bytes, header: str = "") -> bytes:
    """Return the answer of a WebSocket server to this request, with one header more."""
    (key,) = re.findall(rb"Sec-WebSocket-Key: (\S+)", request)
    proof = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines += [b"Sec-WebSocket-Accept: " + proof, *filter(None, [header.encode()])]
    return b"\r\n".join(lines) + b"\r\n\r\n"
