"""Two of our clients and our server over real sockets: mail flows, links break, and come back by themselves."""

import asyncio
import socket
from dataclasses import replace

import pytest
from loguru import logger

from tests.transport.signal.ends import (
    PATIENCE_S,
    QUICK,
    Authority,
    End,
    Forwarder,
    RawClient,
    peer_key,
    running,
    serving,
    until,
)
from tests.transport.signal.test_server import BIG_COUNT, BIG_LEN, mail, on_a_loop
from tests.transport.signal.vectors import B_KEY, B, description
from transport.signal import rpc
from transport.signal.body import Heartbeat, encode_body
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    HomingFields,
    OfferReceived,
    PostCandidate,
    PostDescription,
    SignalConnected,
    SignalDisconnected,
    SignalPostFailed,
)
from transport.signal.sealing import Sealer
from transport.signal.server import Limits

FLOOD_COUNT = 4 * BIG_COUNT

pytestmark = pytest.mark.process


def offer(to: End, number: int = 1) -> PostDescription:
    return PostDescription(peer=to.key, kind="offer", description=description(HomingFields(offer_id=number)))


@on_a_loop
async def test_two_clients_exchange_offer_answer_and_candidates() -> None:
    async with serving() as (_, port):
        alice, bob = (End(number, f"http://127.0.0.1:{port}") for number in (1, 2))
        async with running(alice, bob):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))

            alice.client.post(offer(bob))
            offered = await bob.next(OfferReceived)
            assert (offered.peer, offered.description, len(offered.nonce)) == (alice.key, offer(bob).description, 24)

            bob.client.post(PostDescription(peer=alice.key, kind="answer", description=description()))
            bob.client.post(PostCandidate(peer=alice.key, candidate="first"))
            bob.client.post(PostCandidate(peer=alice.key, candidate="second"))
            assert (await alice.next(AnswerReceived)).description == description()
            assert [(await alice.next(CandidateReceived)).candidate for _ in range(2)] == ["first", "second"]


@on_a_loop
async def test_both_are_back_when_a_restarted_server_is_and_mail_flows() -> None:
    async with serving() as (_, port):
        alice, bob = (End(number, f"http://127.0.0.1:{port}") for number in (1, 2))
        clients = running(alice, bob)
        await clients.__aenter__()
        await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
    try:
        for end in (alice, bob):
            assert "stopping" in (await end.next(SignalDisconnected)).reason
            assert "connection refused" in (await end.next(SignalDisconnected)).reason
        alice.client.post(offer(bob))
        assert (await alice.next(SignalPostFailed)).peer == bob.key
        async with serving(port=port):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
            alice.client.post(offer(bob, 2))
            assert (await bob.next(OfferReceived)).description == offer(bob, 2).description
    finally:
        await clients.__aexit__(None, None, None)


@on_a_loop
async def test_of_two_clients_with_one_key_the_loser_says_why_and_waits_long() -> None:
    async with serving() as (server, port):
        one, two = (End(1, f"http://127.0.0.1:{port}") for _ in range(2))
        async with running(one):
            await one.next(SignalConnected)
            async with running(two):
                told = [await one.next(SignalDisconnected), await two.next(SignalDisconnected)]
                told.append(await one.next(SignalDisconnected))  # each tried once more, in case it was a hiccup
                assert all("another client registered with our key" in fact.reason for fact in told)
                assert all(fact.displaced for fact in told)
                assert [fact.retry_s >= 900 for fact in told] == [False, False, True]
                assert server.active_peers == 1


@on_a_loop
async def test_a_silent_link_is_given_up_and_made_anew() -> None:
    timing = replace(QUICK, silence_s=0.2, probe_s=0.3)
    async with serving() as (_, port), Forwarder(port) as forwarder:
        alice = End(1, f"http://127.0.0.1:{forwarder.port}", timing=timing)
        async with running(alice):
            await alice.next(SignalConnected)
            await until(lambda: alice.client.counters["received"] >= 2)  # heartbeats that came back keep it up
            assert alice.facts == [SignalConnected(url=f"http://127.0.0.1:{forwarder.port}")]

            forwarder.go_silent()
            assert "silent" in (await alice.next(SignalDisconnected)).reason
            await alice.next(SignalConnected)


@on_a_loop
async def test_a_post_into_a_half_open_link_has_it_noticed_at_once() -> None:
    timing = replace(QUICK, doubt_s=0.1, doubt_probe_s=0.3)  # and 30 s of silence otherwise
    async with serving() as (_, port), Forwarder(port) as forwarder:
        alice, bob = End(1, f"http://127.0.0.1:{forwarder.port}", timing=timing), End(2, f"http://127.0.0.1:{port}")
        async with running(alice, bob):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
            forwarder.go_silent()
            alice.client.post(offer(bob))
            assert "ended while this was sent" in (await alice.next(SignalPostFailed)).reason
            assert "silent" in (await alice.next(SignalDisconnected)).reason
            await alice.next(SignalConnected)
            alice.client.post(offer(bob))
            await bob.next(OfferReceived)


@on_a_loop
async def test_a_half_open_link_that_is_doubted_is_noticed_without_a_post() -> None:
    timing = replace(QUICK, doubt_probe_s=0.3)  # and 30 s of silence otherwise
    async with serving() as (_, port), Forwarder(port) as forwarder:
        alice = End(1, f"http://127.0.0.1:{forwarder.port}", timing=timing)
        async with running(alice):
            alice.client.doubt()  # there is none yet
            await alice.next(SignalConnected)
            alice.client.doubt()
            await until(lambda: alice.client.counters["probes"] == 1 and alice.client.counters["received"] >= 1)
            forwarder.go_silent()
            alice.client.doubt()
            assert "silent" in (await alice.next(SignalDisconnected)).reason
            await alice.next(SignalConnected)


@on_a_loop
async def test_a_flooded_receiver_delays_no_other_peer_and_brings_no_link_down() -> None:
    timing = replace(QUICK, doubt_s=0.05, doubt_probe_s=PATIENCE_S)
    # The library widens a stream's window as it sees fit, so the flood has to be larger than any.
    limits = Limits(delivery_s=PATIENCE_S, queued_len=2 * FLOOD_COUNT * BIG_LEN)
    async with serving(limits) as (server, port), RawClient(port) as slow:
        alice, carol, bob = (End(number, f"http://127.0.0.1:{port}", timing=timing) for number in (1, 3, 2))
        await slow.registered(carol.key)
        async with running(alice, bob):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
            flood = [asyncio.create_task(slow.send(mail(carol.key, bytes(BIG_LEN)))) for _ in range(FLOOD_COUNT)]
            await until(lambda: server.counters["messages_forwarded_total"] > 0)
            # Those that the flood has not shut out yet are taken at once; the first that is not earns a probe.
            async with asyncio.timeout(PATIENCE_S):
                while not alice.client.counters["probes"]:
                    alice.client.post(offer(carol))
                    await asyncio.sleep(0.02)
            taken = alice.client.counters["sent"]
            for number in range(100):
                alice.client.post(PostCandidate(peer=carol.key, candidate=str(number)))
            alice.client.post(offer(bob))
            await bob.next(OfferReceived)
            await until(lambda: alice.client.counters["received"] > 0)  # the probe came back
            await until(lambda: alice.client.counters["sent"] == taken + 1)  # Bob's; Carol's is still on its way
            await slow.channel.close()
            await asyncio.gather(*flood, return_exceptions=True)
            await until(lambda: alice.client.counters["sent"] > taken + 1)
        assert not any(isinstance(fact, SignalDisconnected) for fact in alice.facts)


@on_a_loop
async def test_mail_to_somebody_who_is_not_there_is_no_failure() -> None:
    async with serving() as (_, port):
        alice, bob = (End(number, f"http://127.0.0.1:{port}") for number in (1, 2))
        async with running(alice):
            await alice.next(SignalConnected)
            alice.client.post(offer(bob))
            await until(lambda: alice.client.counters["sent"] == 1)
            assert alice.facts == [SignalConnected(url=f"http://127.0.0.1:{port}")]


@on_a_loop
async def test_rubbish_and_strangers_cost_a_counter_and_the_link_goes_on() -> None:
    async with serving() as (_, port), RawClient(port) as stranger:
        alice, bob = (End(number, f"http://127.0.0.1:{port}") for number in (1, 2))
        async with running(alice, bob):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
            bob.client.know(frozenset({alice.key}))
            await stranger.send(mail(bob.key, bytes(100), sender=alice.key))  # the box does not open
            await stranger.send(mail(bob.key, b"", sender=alice.key))
            await stranger.send(mail(bob.key, bytes(100), sender="no key"))
            await stranger.send(mail(bob.key, bytes(100), sender=peer_key(9)))
            alice.client.post(offer(bob))
            assert (await bob.next(OfferReceived)).peer == alice.key
            assert bob.client.counters == {"received": 5, "malformed": 2, "unknown_peer": 2}


@on_a_loop
async def test_a_post_that_cannot_be_sealed_fails_alone() -> None:
    async with serving() as (_, port):
        alice, bob = (End(number, f"http://127.0.0.1:{port}") for number in (1, 2))
        async with running(alice, bob):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
            alice.client.post(PostCandidate(peer=bob.key, candidate=""))
            assert "candidate of 0 characters" in (await alice.next(SignalPostFailed)).reason
            alice.client.post(offer(bob))
            await bob.next(OfferReceived)


@on_a_loop
async def test_the_state_of_the_link_is_repeated_on_demand() -> None:
    async with serving() as (_, port):
        alice = End(1, f"http://127.0.0.1:{port}")
        alice.client.repeat()
        assert alice.facts == []
        async with running(alice):
            await alice.next(SignalConnected)
            alice.client.repeat()
            assert len(alice.facts) == 2
            assert alice.facts[0] == alice.facts[1]


@on_a_loop
async def test_a_server_that_accepts_and_says_nothing_is_left_after_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel takes the connection, nobody answers on it
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        alice = End(1, url, timing=replace(QUICK, registration_s=0.2))
        async with running(alice):
            assert "registration header missing" in (await alice.next(SignalDisconnected)).reason


@on_a_loop
async def test_a_grpc_server_of_another_kind_is_named() -> None:
    other = rpc.grpc.aio.server()
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    alice = End(1, f"http://127.0.0.1:{port}")
    async with running(alice):
        assert "is no signal server" in (await alice.next(SignalDisconnected)).reason
    await other.stop(None)


@on_a_loop
async def test_tls_with_a_trusted_certificate_works() -> None:
    authority = Authority("trusted")
    async with serving(tls=authority.issue("localhost")) as (_, port):
        alice, bob = (End(number, f"https://localhost:{port}", ca=authority.certificate) for number in (1, 2))
        async with running(alice, bob):
            await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
            alice.client.post(offer(bob))
            assert (await bob.next(OfferReceived)).peer == alice.key


@pytest.mark.parametrize(
    ("host", "begins_days", "ends_days", "trusted", "told"),
    [
        ("localhost", -1, 1, False, "not from a trusted authority"),
        ("elsewhere.example", -1, 1, True, "not for localhost"),
        ("localhost", -3, -1, True, "has expired by this machine's clock (20"),
        ("localhost", 1, 3, True, "not valid yet by this machine's clock (20"),
    ],
)
def test_a_certificate_that_will_not_do_is_named_with_its_problem(
    host: str, begins_days: float, ends_days: float, trusted: bool, told: str
) -> None:
    async def story() -> None:
        authority, other = Authority("trusted"), Authority("other")
        async with serving(tls=authority.issue(host, begins_days, ends_days)) as (_, port):
            ca = (authority if trusted else other).certificate
            alice = End(1, f"https://localhost:{port}", ca=ca)
            async with running(alice):
                reason = (await alice.next(SignalDisconnected)).reason
                assert reason.startswith("TLS failure: ")
                assert told in reason

    asyncio.run(story())


@on_a_loop
async def test_without_a_ca_of_its_own_a_client_trusts_the_system_s_and_nobody_else() -> None:
    async with serving(tls=Authority("unknown").issue("localhost")) as (_, port):
        alice = End(1, f"https://localhost:{port}")
        async with running(alice):
            assert "trusted authority" in (await alice.next(SignalDisconnected)).reason


@pytest.mark.parametrize(
    ("scheme", "tls", "told"), [("https", False, "does not speak TLS"), ("http", True, "https://")]
)
def test_tls_on_one_side_only_is_told_as_that(scheme: str, tls: bool, told: str) -> None:
    async def story() -> None:
        authority = Authority("trusted")
        async with serving(tls=authority.issue("localhost") if tls else None) as (_, port):
            alice = End(1, f"{scheme}://localhost:{port}", ca=authority.certificate)
            async with running(alice):
                assert told in (await alice.next(SignalDisconnected)).reason

    asyncio.run(story())


@on_a_loop
async def test_each_reason_is_told_once_in_the_log_however_often_it_is_tried() -> None:
    told: list[str] = []
    handler = logger.add(lambda message: told.append(message.record["extra"]["reason"]), level="WARNING")
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        alice = End(1, f"http://127.0.0.1:{port}")
        async with running(alice):
            for _ in range(3):
                await alice.next(SignalDisconnected)
    finally:
        logger.remove(handler)
    assert told == [f"unreachable: 127.0.0.1:{port}: nothing listens there (connection refused)"]


@on_a_loop
async def test_a_name_that_nobody_knows_is_told() -> None:
    alice = End(1, "http://signal.invalid:1")
    async with running(alice):
        assert "unreachable: signal.invalid:1" in (await alice.next(SignalDisconnected)).reason


@on_a_loop
async def test_a_foreign_heartbeat_and_a_foreign_type_ask_for_nothing() -> None:
    async with serving() as (_, port), RawClient(port) as foreign:
        alice = End(1, f"http://127.0.0.1:{port}")
        async with running(alice):
            await alice.next(SignalConnected)
            sealer = Sealer(B_KEY, bytes)
            for body in (encode_body(Heartbeat()), b"\x08\x04"):
                await foreign.send(mail(alice.key, sealer.seal(body, alice.key), sender=B))
            await until(lambda: alice.client.counters["without_effect"] == 2)
            assert len(alice.facts) == 1
