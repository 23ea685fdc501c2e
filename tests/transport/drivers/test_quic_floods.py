"""Floods of connection attempts on a relay server's QUIC port: what they may cost, and who still comes in."""

import os

import pytest
from aioquic.quic.connection import QuicConnection

from tests.transport.drivers import certificates
from tests.transport.drivers.certificates import Files
from tests.transport.drivers.quic import QuicParty, becomes, quic_hub
from tests.transport.drivers.quic_strangers import client, still_serves, stranger
from tests.transport.drivers.relays import run
from transport.drivers import quic_link, quic_socket
from transport.drivers.certificates import Trust
from transport.drivers.quic_server import MAX_HALF_OPEN, MAX_HALF_OPEN_OF_ONE, RETRY_ABOVE
from transport.drivers.quic_settings import SMALL_LEN
from transport.drivers.relay_server import boot_time
from transport.drivers.websocket import DialFailed
from transport.relay.frames import peer_id

pytestmark = pytest.mark.process

ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def trust(tls: Files) -> Trust:
    return Trust(ca=tls.ca)


def test_a_flood_of_attempts_is_bounded_and_lets_others_in(tls: Files, trust: Trust) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as flood:
            for _ in range(100):
                quic = QuicConnection(configuration=client(tls))
                quic.connect(flood.server, boot_time())
                flood.send(*(datagram for datagram, _ in quic.datagrams_to_send(boot_time())))
            await becomes(lambda: relay.listener.drops["retry"] == 100 - RETRY_ABOVE)
            assert relay.listener.half_open == RETRY_ABOVE
            await becomes(lambda: sum(len(answer) < 300 for answer in flood.heard) >= 100 - RETRY_ABOVE)
            # Somebody who answers from where he says he is, comes in all the same.
            await still_serves(relay, trust)
            assert relay.listener.drops["retry"] == 100 - RETRY_ABOVE + 1

    run(story)


def test_addresses_that_prove_themselves_and_then_hang_are_bounded_each(
    tls: Files, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quic_link, "HANDSHAKE_S", 0.3)

    async def story() -> None:
        async with quic_hub(tls) as relay:
            for number in range(RETRY_ABOVE):
                relay.listener._half_open[f"192.0.2.{number}"] += 1
            relay.listener._half_open["127.0.0.1"] = MAX_HALF_OPEN_OF_ONE
            with pytest.raises(DialFailed, match="did not answer"):
                await QuicParty(ALICE).dial(relay.url, trust)
            assert relay.listener.drops["half_open_full"] >= 1
            relay.listener._half_open.clear()
            relay.listener._half_open["192.0.2.99"] = MAX_HALF_OPEN
            with pytest.raises(DialFailed, match="did not answer"):
                await QuicParty(ALICE).dial(relay.url, trust)
            relay.listener._half_open.clear()
            await still_serves(relay, trust)

    run(story)


def test_a_token_of_another_address_or_made_up_is_dropped(tls: Files) -> None:
    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            other.connect(QuicConnection(configuration=client(tls, token=os.urandom(60))))
            await becomes(lambda: relay.listener.drops["wrong_token"])
            assert other.heard == []
            assert relay.listener.half_open == 0

    run(story)


def test_a_handshake_that_stops_half_way_is_dropped_in_time(
    tls: Files, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quic_socket, "HANDSHAKE_S", 0.2)

    async def story() -> None:
        async with quic_hub(tls) as relay, stranger(relay) as other:
            quic = QuicConnection(configuration=client(tls))
            quic.connect(other.server, boot_time())
            other.send(*(datagram for datagram, _ in quic.datagrams_to_send(boot_time())))
            await becomes(lambda: relay.listener.half_open)
            await becomes(lambda: relay.listener.half_open == 0)
            assert relay.listener.drops == {"handshake_too_slow": 1}
            assert relay.listener._by_cid == {}
            # Three times what came in, and no more, went to an address that proved nothing.
            assert sum(map(len, other.heard)) <= 3 * SMALL_LEN
            await still_serves(relay, trust)

    run(story)
