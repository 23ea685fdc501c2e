"""Relay links over QUIC on real sockets: what passes, how a path is judged, and what survives a change of address."""

import asyncio
import errno
import socket
from pathlib import Path

import pytest

from config.keys import Secret
from tests.transport.drivers import certificates
from tests.transport.drivers.certificates import Files
from tests.transport.drivers.quic import MESSAGE_LEN, PAYLOAD_LEN, Middle, QuicParty, becomes, quic_hub
from tests.transport.drivers.relays import Party, free_port, hub, run
from transport.drivers import quic_client, quic_link
from transport.drivers.certificates import Trust, fingerprint
from transport.drivers.quic_connection import HIGH_WATER_LEN
from transport.drivers.quic_link import TooNarrow
from transport.drivers.quic_server import QuicListener
from transport.drivers.quic_settings import MAX_PACKET_LEN, SMALL_LEN
from transport.drivers.quic_socket import MAX_PRESENCE_IDS
from transport.drivers.quic_udp import open_quic_socket
from transport.drivers.relay_server import boot_time
from transport.drivers.websocket import DialFailed
from transport.relay import size_watch
from transport.relay.events import LinkClosed, LoggedIn, PeerGone, PeerOnline
from transport.relay.frames import peer_id
from transport.relay.size_watch import Wide
from wg.datagrams import Endpoint

pytestmark = pytest.mark.process

ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def trust(tls: Files) -> Trust:
    return Trust(ca=tls.ca)


# --- client and server ---


def test_two_clients_find_each_other_and_pass_packets_both_ways(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            alice.open(BOB)
            bob = await QuicParty(BOB).joined(relay.url, trust)
            bob.open(ALICE)
            await alice.until(lambda: alice.of(PeerOnline))
            await bob.until(lambda: bob.of(PeerOnline))
            assert alice.of(LoggedIn) == [LoggedIn("rels://instance")]
            assert alice.quic.server_ip == "127.0.0.1"
            sent = [bytes([number % 256]) * number for number in range(0, PAYLOAD_LEN, 7)] + [bytes(PAYLOAD_LEN)]
            alice.send(BOB, *sent)
            bob.send(ALICE, b"one", b"")
            await bob.until(lambda: len(bob.payloads()) == len(sent))
            await alice.until(lambda: len(alice.payloads()) == 2)
            assert bob.payloads() == sent
            assert alice.payloads() == [b"one", b""]
            bob.quic.abort()
            await alice.until(lambda: alice.of(PeerGone))
            assert relay.server.peers == relay.service.clients("quic") == 1

    run(story)


def test_a_client_by_quic_and_one_by_websocket_meet(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with hub() as relay:
            listener = QuicListener(relay.service, tls.certificate, tls.key)
            port = await listener.listen("127.0.0.1", 0)
            alice = await QuicParty(ALICE).joined(f"rels://127.0.0.1:{port}", trust)
            from_web = await Party(BOB).login(relay.url)
            alice.send(BOB, bytes(PAYLOAD_LEN))
            await from_web.until(from_web.payloads)
            from_web.send(ALICE, b"back")
            await alice.until(alice.payloads)
            assert relay.service.clients("quic") == relay.service.clients("ws") == 1
            listener.close()

    run(story)


def test_a_ping_is_answered(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            pongs = asyncio.Event()
            alice.pong = pongs.set  # type: ignore[method-assign]
            alice.quic.ping()
            await asyncio.wait_for(pongs.wait(), 5.0)

    run(story)


def test_a_wrong_secret_is_refused(tls: Files, trust: Trust) -> None:
    async def story() -> LinkClosed:
        async with quic_hub(tls) as relay:
            return await (await QuicParty(ALICE, Secret(b"a guess")).dial(relay.url, trust)).closed()

    closed = run(story)
    assert "the relay refused our secret or token" in closed.reason
    assert closed.refused


def test_a_server_that_drains_says_close_and_takes_nobody(tls: Files, trust: Trust) -> None:
    async def story() -> LinkClosed:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            draining = asyncio.ensure_future(relay.service.drain())
            closed = await alice.closed()
            await draining
            with pytest.raises(DialFailed, match="the server is full or shutting down"):
                await QuicParty(BOB).dial(relay.url, trust)
            return closed

    assert run(story).reason == "the relay server said Close"


def test_more_presence_than_a_datagram_holds_is_split(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            everybody = [peer_id(f"peer {number}") for number in range(3 * MAX_PRESENCE_IDS)]
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            (connection,) = relay.server._by_peer.values()
            assert connection.max_peer_ids == MAX_PRESENCE_IDS
            for peer in everybody:
                alice.client.open(peer, 30.0, boot_time())
            alice._work_off()
            await becomes(lambda: len(connection.wants_online) == len(everybody))
            for peer in everybody:  # all at once, as after the restart of a large network
                relay.server._tell(connection, peer, online=True)
            relay.service.work_off()
            await alice.until(lambda: len(alice.of(PeerOnline)) == len(everybody))

    run(story)


# --- sizes ---


@pytest.fixture
def quick_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_watch, "SPACING_S", 0.03)
    monkeypatch.setattr(size_watch, "ANSWER_S", 0.3)


@pytest.mark.usefixtures("quick_verdicts")
def test_a_path_that_loses_what_is_large_is_not_used_and_both_sizes_are_told(tls: Files, trust: Trust) -> None:
    async def story() -> str:
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:
            middle.lose = lambda datagram, _up: len(datagram) > SMALL_LEN
            with pytest.raises(TooNarrow) as failed:
                await QuicParty(ALICE).dial(middle.url, trust)
            return str(failed.value)

    assert run(story).endswith(
        f"datagrams of up to {SMALL_LEN} bytes pass, of {MESSAGE_LEN + 30} bytes, "
        f"which a message of {MESSAGE_LEN} needs, do not"
    )


@pytest.mark.usefixtures("quick_verdicts")
@pytest.mark.parametrize("up", [True, False])
def test_a_path_that_shrinks_one_way_ends_the_link_as_too_narrow(tls: Files, trust: Trust, up: bool) -> None:
    async def story() -> tuple[LinkClosed, bool]:
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:
            if up:
                alice = await QuicParty(ALICE).joined(middle.url, trust)
                middle.lose = lambda datagram, up: up and len(datagram) > SMALL_LEN
                for _ in range(20):
                    alice.send(BOB, bytes(PAYLOAD_LEN))
                    await asyncio.sleep(0.01)
            else:  # which the first messages to ourselves find out
                middle.lose = lambda datagram, up: not up and len(datagram) > SMALL_LEN
                alice = await QuicParty(ALICE).joined(middle.url, trust)
            closed = await alice.closed()
            return closed, alice.quic.too_narrow

    closed, too_narrow = run(story)
    assert too_narrow
    assert "do not both ways" in closed.reason


def test_the_way_back_is_proven_by_a_message_to_ourselves_that_nobody_sees(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        seen: list[int] = []
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:

            def look(datagram: bytes, up: bool) -> bool:
                if not up:
                    seen.append(len(datagram))
                return False

            middle.lose = look
            alice = await QuicParty(ALICE).joined(middle.url, trust)
            alice.send(ALICE, b"marker")
            await alice.until(alice.payloads)
            await becomes(lambda: max(seen) >= MESSAGE_LEN)
            watch = alice.quic._watch
            assert watch is not None
            await becomes(lambda: watch.state == Wide())
            assert alice.payloads() == [b"marker"]

    run(story)


def test_a_message_that_does_not_fit_is_counted_and_holds_up_nothing(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            bob = await QuicParty(BOB).joined(relay.url, trust)
            wide = await QuicParty(peer_id("wide")).dial(relay.url, trust, message_len=8000)
            alice.send(BOB, bytes(PAYLOAD_LEN + 1), b"behind it")
            await bob.until(bob.payloads)
            assert bob.payloads() == [b"behind it"]
            assert alice.quic.drops == {"too_long": 1}
            # The server sends no more than an Ethernet frame holds.
            await wide.until(lambda: wide.of(LoggedIn))
            wide.send(BOB, bytes(MAX_PACKET_LEN), b"behind that")
            await bob.until(lambda: len(bob.payloads()) == 2)
            assert bob.payloads() == [b"behind it", b"behind that"]

    run(story)


# --- losses, fullness ---


def test_lost_control_frames_are_repeated_within_the_second(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:
            bob = await QuicParty(BOB).joined(relay.url, trust)
            alice = await QuicParty(ALICE).dial(middle.url, trust)
            # Auth is on its way; then every third datagram is lost, in both directions.
            count = iter(range(10**9))
            middle.lose = lambda datagram, up: next(count) % 3 == 0
            await alice.until(lambda: alice.of(LoggedIn))
            began = asyncio.get_running_loop().time()
            for number in range(20):
                alice.open(peer_id(str(number)))
            alice.open(BOB)
            await alice.until(lambda: alice.of(PeerOnline))
            assert asyncio.get_running_loop().time() - began < 4.5  # without repeats: SUBSCRIBE_REPEAT_S
            bob.quic.abort()
            await alice.until(lambda: alice.of(PeerGone))

    run(story)


def test_an_owner_is_told_to_hold_back_and_to_go_on(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:
            alice = await QuicParty(ALICE).joined(middle.url, trust)
            middle.lose = lambda datagram, up: up
            for _ in range(4 * HIGH_WATER_LEN // PAYLOAD_LEN):
                alice.send(BOB, bytes(PAYLOAD_LEN))
            assert alice.writables == [False]
            for _ in range(8 * HIGH_WATER_LEN // PAYLOAD_LEN):
                alice.send(BOB, bytes(PAYLOAD_LEN))
            assert alice.quic.drops["queue_full"] > 0
            middle.lose = lambda datagram, up: False
            await alice.until(lambda: alice.writables == [False, True])

    run(story)


# --- dials that fail ---


def test_a_port_where_nobody_answers_is_told(monkeypatch: pytest.MonkeyPatch, trust: Trust) -> None:
    monkeypatch.setattr(quic_link, "HANDSHAKE_S", 0.3)

    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
            with pytest.raises(DialFailed, match=f"the server did not answer within 0.3 s on UDP port {port}"):
                await QuicParty(ALICE).dial(f"rels://127.0.0.1:{port}", trust)

    run(story)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_that_is_closed_is_told_at_once(host: str, trust: Trust) -> None:
    async def story() -> None:
        port = free_port()
        with pytest.raises(DialFailed, match=f"connection refused; no server listens on UDP port {port}"):
            await QuicParty(ALICE).dial(f"rels://{host}:{port}", trust)

    run(story)


def test_an_address_that_nothing_can_be_sent_to_is_told_at_once(trust: Trust) -> None:
    async def story() -> None:
        with pytest.raises(DialFailed, match="UDP cannot be sent there: permission denied"):
            await QuicParty(ALICE).dial("rels://255.255.255.255:443", trust)

    run(story)


def test_a_family_that_this_host_does_not_have_leaves_the_other(
    monkeypatch: pytest.MonkeyPatch, tls: Files, trust: Trust
) -> None:
    made: list[int] = []

    def without_ipv6(family: int, host: str, port: int) -> socket.socket:
        made.append(family)
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no")
        return open_quic_socket(family, host, port)

    monkeypatch.setattr(quic_client, "open_quic_socket", without_ipv6)

    async def both(_host: str, port: int) -> list[Endpoint]:
        return [Endpoint("::1", port), Endpoint("127.0.0.1", port)]

    async def story() -> None:
        async with quic_hub(tls) as relay:
            with monkeypatch.context() as only_here:
                only_here.setattr(quic_link, "_endpoints", both)
                alice = await QuicParty(ALICE).dial(relay.url, trust)
            assert made == [socket.AF_INET6, socket.AF_INET]
            assert alice.quic.server_ip == "127.0.0.1"

    run(story)


def test_a_server_whose_port_is_closed_is_doubted_by_its_clients(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            alice.send(BOB, b"nothing is amiss")
            assert alice.doubts == 0
            for udp in relay.listener._sockets:  # as when its process is killed: nobody says a word
                udp.close()
            for _ in range(3):
                alice.send(BOB, b"hello?")
                await alice.until(lambda before=alice.doubts: alice.doubts > before)  # type: ignore[misc]
            assert not alice.of(LinkClosed)
            doubted = dict(alice.quic.drops)
            await asyncio.sleep(0.05)  # what told of it was taken: it wakes nobody again
            assert doubted["ECONNREFUSED"] >= 3
            alice.quic.abort()

    run(story)


def test_a_direct_ip_that_is_dead_is_tried_first_and_then_the_name(
    monkeypatch: pytest.MonkeyPatch, tls: Files, trust: Trust
) -> None:
    monkeypatch.setattr(quic_link, "HANDSHAKE_S", 0.3)

    async def story() -> None:
        async with quic_hub(tls) as relay:
            alice = await QuicParty(ALICE).dial(relay.url, trust, server_ip="127.0.0.77")
            assert alice.quic.server_ip == "127.0.0.1"

    run(story)


def test_a_certificate_is_taken_by_its_ca_or_by_its_fingerprint_and_else_refused(tls: Files, tmp_path: Path) -> None:
    other = certificates.make(tmp_path, "unrelated")
    pinned = Trust(fingerprints=(bytes(32), fingerprint(certificates.der(tls.certificate))))

    async def story() -> None:
        async with quic_hub(tls) as relay:
            await QuicParty(ALICE).joined(f"rels://localhost:{relay.port}", pinned)  # whatever name it is for
            for trust, said in (
                (Trust(ca=other.ca), "TLS failed: bad certificate"),
                (Trust(), "TLS failed: bad certificate"),
                (Trust(fingerprints=(bytes(32),)), "the server's certificate has the fingerprint"),
            ):
                with pytest.raises(DialFailed, match=said):
                    await QuicParty(BOB).dial(relay.url, trust)
            with pytest.raises(DialFailed, match="doesn't match"):
                await QuicParty(BOB).dial(f"rels://localhost:{relay.port}", Trust(ca=tls.ca))
            assert relay.server.peers == 1

    run(story)
