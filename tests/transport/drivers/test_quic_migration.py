"""QUIC links whose address changes under them: by a NAT, by the host, by a socket that is no more."""

import asyncio
import errno
import os

import pytest

from tests.transport.drivers import certificates
from tests.transport.drivers.certificates import Files
from tests.transport.drivers.quic import PAYLOAD_LEN, Middle, QuicParty, quic_hub
from tests.transport.drivers.relays import run
from transport.drivers.certificates import Trust
from transport.relay.events import LinkClosed
from transport.relay.frames import peer_id

pytestmark = pytest.mark.process

ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def trust(tls: Files) -> Trust:
    return Trust(ca=tls.ca)


def test_six_changes_of_address_and_port_reopen_nothing_and_lose_what_was_in_the_air(tls: Files, trust: Trust) -> None:
    async def story() -> tuple[int, int, int]:
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:
            bob = await QuicParty(BOB).joined(relay.url, trust)
            alice = await QuicParty(ALICE).joined(middle.url, trust)
            up = down = 0
            for change in range(6):
                for _ in range(25):
                    alice.send(BOB, bytes(100))
                    bob.send(ALICE, bytes(PAYLOAD_LEN))
                    up, down = up + 1, down + 1
                    await asyncio.sleep(0.004)
                middle.move(f"127.0.0.{2 + change % 3}")
            while b"last" not in alice.payloads() or b"last" not in bob.payloads():
                alice.send(BOB, b"last")
                bob.send(ALICE, b"last")
                up, down = up + 1, down + 1
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # for those behind it
            assert not alice.of(LinkClosed)
            assert len(relay.server._by_peer) == 2
            assert relay.server.replaced == 0
            assert [s.address for s in relay.service._sockets.values() if s.address.startswith("127.0.0.4")]
            return up - len(bob.payloads()), down - len(alice.payloads()), up

    lost_up, lost_down, sent = run(story)
    assert lost_up <= 6, sent  # at most what was in the forwarder at each change
    assert lost_down <= 12, sent


def test_a_server_sends_no_more_than_it_heard_to_an_address_that_is_not_proven(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, Middle(relay.port) as middle:
            bob = await QuicParty(BOB).joined(relay.url, trust)
            alice = await QuicParty(ALICE).joined(middle.url, trust)
            alice.send(BOB, b"settled")
            await bob.until(bob.payloads)
            heard = sent = 0

            def lose(datagram: bytes, up: bool) -> bool:
                nonlocal heard, sent
                heard, sent = heard + up * len(datagram), sent + (not up) * len(datagram)
                return not up  # the new address never answers

            middle.move("127.0.0.9")
            middle.lose = lose
            alice.send(BOB, b"from elsewhere")
            await bob.until(lambda: len(bob.payloads()) == 2)
            for _ in range(100):
                bob.send(ALICE, bytes(PAYLOAD_LEN))
            await asyncio.sleep(0.3)
            assert 0 < sent <= 3 * heard

    run(story)


def test_a_socket_that_the_kernel_sends_nothing_from_is_replaced_under_the_connection(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            bob = await QuicParty(BOB).joined(relay.url, trust)
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            alice.quic._udp._socket = Refusing(alice.quic._udp._socket, errno.EINVAL)  # type: ignore[assignment]
            alice.send(BOB, b"refused")
            assert alice.quic.migrations == 1
            alice.send(BOB, b"taken")
            await bob.until(lambda: b"taken" in bob.payloads())
            assert alice.quic.drops["EINVAL"] >= 1
            assert not alice.of(LinkClosed)

    run(story)


def test_a_network_that_is_away_for_a_moment_ends_nothing(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay:
            bob = await QuicParty(BOB).joined(relay.url, trust)
            alice = await QuicParty(ALICE).joined(relay.url, trust)
            working = alice.quic._udp._socket
            alice.quic._udp._socket = Refusing(working, errno.ENETUNREACH)  # type: ignore[assignment]
            alice.send(BOB, b"unreachable")
            alice.quic._udp._socket = working
            alice.send(BOB, b"back")
            await bob.until(lambda: b"back" in bob.payloads())
            assert alice.quic.migrations == 0
            assert alice.quic.drops["ENETUNREACH"] == 1

    run(story)


class Refusing:
    """A socket that cannot send."""

    def __init__(self, real: object, code: int) -> None:
        self._real, self._code = real, code

    def sendmsg(self, *_: object) -> int:
        raise OSError(self._code, os.strerror(self._code))

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)
