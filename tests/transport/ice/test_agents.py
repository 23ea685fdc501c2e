"""Many agents on one socket: whose datagram is it, what may a stranger cost, how do we look from outside."""

import random
from ipaddress import ip_address

import pytest

from config.keys import PublicKey
from tests.kit.nats import MASQUERADE, PORT_RESTRICTED_CONE, SYMMETRIC, Router, Site
from tests.kit.net import HOST_PORT
from tests.transport.ice.ends import End, Ends, credentials
from transport.errors import LocalProtocolError
from transport.ice.agents import IceAgents
from transport.ice.candidates import AddressRules, encode_candidate, make_candidate
from transport.ice.events import AgentId, AgentTold, LocalCandidateFound, MappingChanged, PairSelected
from transport.ice.gathering import ASK_EVERY_S, DOUBT_EVERY_S, MAX_SERVERS
from transport.ice.pacer import TURN_S
from transport.ice.strangers import BLAMED_BURST, MAX_SOURCES, UNKNOWN_BURST, Strangers
from transport.ice.stun import BindingIndication, BindingRequest, BindingSuccess, decode, encode
from transport.ice.timing import CHECK_AT_S
from transport.ice.transactions import KEEP_S, MAX_GENERATION, Transactions
from wg.datagrams import Endpoint

HOME = Site((Router("home", PORT_RESTRICTED_CONE),))
US_IP = "198.51.100.1"
LOCAL = ip_address(US_IP).packed
STRANGER = Endpoint("192.0.2.99", 4242)
NOW = 1000.0


def agents(*addresses: str, seed: int = 1) -> IceAgents:
    rng = random.Random(seed)
    made = IceAgents(port=HOST_PORT, rules=AddressRules(), entropy=rng.randbytes, rng=rng)
    made.local_addresses_changed(addresses or (US_IP,), NOW)
    return made


def open_peer(made: IceAgents, number: int, *, ours: bool = True) -> AgentId:
    agent = AgentId(peer=PublicKey(f"peer{number}"), session=b"own01", remote_session=b"rem01")
    local, remote = credentials(f"own{number:05}"), credentials(f"rem{number:05}")
    made.open(agent, local, remote, NOW, controlling=True, ours=ours)
    return agent


def request_to(number: int, *, signer: str | None = None) -> bytes:
    request = BindingRequest(transaction=bytes(12), username=f"own{number:05}:rem{number:05}", priority=1)
    return encode(request, credentials(signer or f"own{number:05}").pwd)


# --- whose it is ---


def test_a_request_goes_to_the_agent_that_it_names() -> None:
    made = agents()
    for number in range(300):
        open_peer(made, number)
    made.receive(request_to(217), STRANGER, LOCAL, NOW)
    [out] = made.datagrams_to_send()
    assert out.destination == STRANGER
    assert isinstance(decode(out.datagram, credentials("own00217").pwd), BindingSuccess)
    report = made.describe(PublicKey("peer217"))
    assert report is not None
    assert len(report.pairs) == 1


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "not_binding"),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42", "not_binding"),
        (request_to(2), "unknown_ufrag"),
        (encode(BindingRequest(transaction=bytes(12))), "unknown_ufrag"),
        (encode(BindingSuccess(transaction=bytes(12), mapped=STRANGER)), "unknown_transaction"),
        (encode(BindingIndication(transaction=bytes(12))), "indication"),
    ],
)
def test_what_is_nobodys_is_dropped_and_counted(datagram: bytes, reason: str) -> None:
    made = agents()
    open_peer(made, 1)
    made.receive(datagram, STRANGER, LOCAL, NOW)
    assert made.datagrams_to_send() == []
    assert dict(made.drops) == {reason: 1}


def test_two_peers_never_share_a_ufrag() -> None:
    made = agents()
    agent = open_peer(made, 1)
    with pytest.raises(LocalProtocolError, match="two peers with the ufrag 'own00001'"):
        made.open(
            AgentId(peer=PublicKey("other"), session=b"own02", remote_session=None),
            credentials("own00001"), None, NOW, controlling=True, ours=True,
        )  # fmt: skip
    made.close(agent)
    assert len(made) == 0


def test_mail_for_nobody_is_counted() -> None:
    made = agents()
    made.add_remote_candidate(AgentId(peer=PublicKey("x"), session=b"12345", remote_session=None), "", NOW)
    made.set_in_use(PublicKey("x"), True, NOW)
    made.path_heard(PublicKey("x"), STRANGER, NOW)
    assert dict(made.drops) == {"no_agent": 1}


# --- strangers ---


def test_a_source_that_signs_badly_is_soon_not_looked_at() -> None:
    made = agents()
    open_peer(made, 1)
    forged = request_to(1, signer="somebody")
    for _ in range(500):
        made.receive(forged, STRANGER, LOCAL, NOW)
    report = made.describe(PublicKey("peer1"))
    assert report is not None
    assert report.drops == {"integrity": BLAMED_BURST + 1}
    assert made.drops["too_many_badly_signed"] == 500 - BLAMED_BURST - 1
    made.receive(request_to(1), Endpoint("192.0.2.98", 1), LOCAL, NOW)  # others are
    made.receive(request_to(1), STRANGER, LOCAL, NOW + 1.0)  # and it is again later
    assert [out.destination.ip for out in made.datagrams_to_send()] == ["192.0.2.98", "192.0.2.99"]


def test_where_a_remote_is_known_to_be_floods_keep_nobody_out() -> None:
    made = agents()
    agent = open_peer(made, 1)
    made.add_remote_candidate(agent, encode_candidate(make_candidate("host", STRANGER)), NOW)
    for number in range(3000):
        source = Endpoint(f"203.0.{number >> 8}.{number & 255}", 1)
        made.receive(request_to(1, signer="somebody"), source, LOCAL, NOW)
    assert made.drops["too_many_badly_signed"] == 3000 - UNKNOWN_BURST
    made.receive(request_to(1), STRANGER, LOCAL, NOW)
    assert [out.destination for out in made.datagrams_to_send()] == [STRANGER]


def test_blamed_sources_are_bounded() -> None:
    strangers = Strangers()
    for number in range(3 * MAX_SOURCES):
        strangers.blame(f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}", NOW)
    assert len(strangers._blamed) == MAX_SOURCES


def test_requests_are_forgotten_by_generations() -> None:
    transactions: Transactions[str] = Transactions()
    transactions.add(b"1", "one", NOW)
    transactions.add(b"2", "two", NOW + KEEP_S + 1)
    assert (transactions.find(b"1"), transactions.find(b"2")) == ("one", "two")
    transactions.forget("two")
    assert (transactions.find(b"1"), transactions.find(b"2")) == ("one", None)
    transactions.add(b"3", "three", NOW + 2 * KEEP_S + 3)
    assert (transactions.find(b"1"), transactions.find(b"3")) == (None, "three")
    for number in range(2 * MAX_GENERATION + 1):
        transactions.add(number.to_bytes(12), "many", NOW + 99.0)
    assert transactions.find(bytes(12)) is None


# --- pace ---


def run(made: IceAgents, until: float) -> list[tuple[float, Endpoint]]:
    """Let time pass without answers; return when what was sent."""
    sent, now = [], NOW
    while True:
        sent += [(now, out.destination) for out in made.datagrams_to_send()]
        at = made.next_timeout()
        if at is None or at > until:
            return sent
        now = max(now, at)
        made.handle_timeout(now)


def test_new_checks_of_all_peers_together_keep_below_their_rate() -> None:
    made = agents()
    for number in range(100):
        agent = open_peer(made, number)
        for port in (1, 2, 3):
            candidate = make_candidate("host", Endpoint(f"203.0.113.{number}", port))
            made.add_remote_candidate(agent, encode_candidate(candidate), NOW)
    sent = run(made, NOW + 2.0)
    assert 0.9 * 2.0 / TURN_S <= len(sent) <= 2.0 / TURN_S + 1
    first = {destination.ip for _, destination in sent[:100]}
    assert len(first) == 100  # everybody has a turn before anybody has a second


def test_a_single_peer_is_checked_at_once() -> None:
    made = agents()
    agent = open_peer(made, 1)
    made.add_remote_candidate(agent, encode_candidate(make_candidate("host", STRANGER)), NOW)
    assert run(made, NOW)[0] == (NOW, STRANGER)


def test_idle_agents_have_one_timer() -> None:
    made = agents()
    assert made.next_timeout() is None
    agent = open_peer(made, 1)
    at = made.next_timeout()
    assert at == NOW + 12.0
    made.close(agent)
    assert made.next_timeout() is None


# --- what outlives the control process ---


def test_a_snapshot_says_all_that_control_must_know() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    ends.open()
    ends.run_until_settled()
    [snapshot] = ends.alice.agents.snapshot()
    assert (snapshot.agent, snapshot.local, snapshot.remote) == (ends.alice.id, ends.alice.local, ends.bob.local)
    assert (snapshot.controlling, snapshot.ours, snapshot.state, snapshot.reason) == (True, True, "connected", "")
    assert snapshot.endpoint == ends.alice.endpoint
    assert snapshot.rtt_s == pytest.approx(2 * ends.net.conditions.latency_s)
    assert "password" not in repr(snapshot)


# --- how we look from outside ---


def srflx_of(end: End) -> list[Endpoint]:
    return [each.endpoint for each in end.report.local_candidates if each.kind == "srflx"]


def test_servers_that_agree_make_one_candidate() -> None:
    ends = Ends(HOME, Site(), servers=3)
    ends.run_for(0.5)
    ends.open()
    assert len(srflx_of(ends.alice)) == 1
    assert srflx_of(ends.alice)[0].ip == ends.net.outside_of("home")
    assert srflx_of(ends.bob) == []  # it looks from outside as it is
    assert len(ends.alice.agents.servers(ends.net.now)) == 3


def test_a_symmetric_nat_looks_different_to_each() -> None:
    ends = Ends(Site((Router("home", SYMMETRIC),)), Site(), servers=3)
    ends.run_for(0.5)
    ends.open()
    assert len(set(srflx_of(ends.alice))) == 3


def test_no_more_servers_are_asked_than_help() -> None:
    ends = Ends(HOME, Site(), servers=MAX_SERVERS + 3)
    ends.run_for(1.0)
    assert len(ends.alice.agents.servers(ends.net.now)) == MAX_SERVERS


def test_a_silent_server_is_asked_again_and_hurts_nobody() -> None:
    ends = Ends(HOME, Site())
    ends.servers[0].silent = True
    ends.run_for(8.0)
    ends.open()
    ends.run_until_settled()
    assert ends.path == "direct"
    assert len(srflx_of(ends.alice)) == 1
    silent, other = ends.alice.agents.servers(ends.net.now)
    assert (silent.mapped, silent.unanswered) == (None, 5)
    assert other.mapped is not None
    ends.servers[0].silent = False
    ends.run_for(1.1 * ASK_EVERY_S)
    assert ends.alice.agents.servers(ends.net.now)[0].mapped is not None


@pytest.mark.parametrize(
    "lie",
    [Endpoint("127.0.0.1", 9), Endpoint("224.0.0.1", 9), Endpoint("203.0.113.1", 0), Endpoint("2001:db8::1", 9)],
    ids=str,
)
def test_what_cannot_be_true_is_not_believed(lie: Endpoint) -> None:
    ends = Ends(HOME, Site())
    ends.servers[0].lie = lie
    ends.run_for(1.0)
    ends.open()
    ends.run_until_settled()
    assert ends.alice.agents.drops["stun_server_lied"] >= 1
    assert {endpoint.ip for endpoint in srflx_of(ends.alice)} == {ends.net.outside_of("home")}
    assert ends.path == "direct"


def test_what_could_be_true_costs_one_candidate() -> None:
    ends = Ends(HOME, Site((Router("b", MASQUERADE),)))
    ends.servers[0].lie = Endpoint("203.0.113.1", 9)
    ends.run_for(1.0)
    ends.open()
    ends.run_until_settled()
    assert ends.path == "direct"
    assert len(srflx_of(ends.alice)) == 2


def test_an_answer_to_nothing_or_from_elsewhere_is_not_taken() -> None:
    made = agents()
    server = Endpoint("192.0.2.1", 3478)
    made.set_stun_servers([server], NOW)
    [out] = made.datagrams_to_send()
    answer = encode(BindingSuccess(transaction=out.datagram[8:20], mapped=STRANGER))
    made.receive(answer, Endpoint("192.0.2.2", 3478), LOCAL, NOW)
    made.receive(answer[:-1] + b"?", server, LOCAL, NOW)
    made.receive(encode(BindingSuccess(transaction=out.datagram[8:20])), server, LOCAL, NOW)
    assert dict(made.drops) == {"answer_from_elsewhere": 1, "fingerprint": 1, "stun_server_refused": 1}
    assert made.servers(NOW)[0].mapped is None
    made.receive(answer, server, LOCAL, NOW)
    assert made.servers(NOW)[0].mapped == STRANGER


def test_a_new_address_outside_is_noticed_and_told() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    ends.open()
    ends.run_until_settled()
    before = ends.net.outside_of("home")
    ends.net.readdress("home")
    ends.run_for(1.2 * ASK_EVERY_S)
    [news] = ends.alice.mappings
    assert (news.before.ip, news.after.ip) == (before, ends.net.outside_of("home"))
    assert {endpoint.ip for endpoint in srflx_of(ends.alice)} == {ends.net.outside_of("home")}
    assert ends.net.outside_of("home") in {candidate.ip for candidate in ends.bob.report.remote_candidates}


def test_a_new_address_outside_is_noticed_with_no_agent_there_at_all() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    ends.net.readdress("home")
    ends.run_for(1.2 * ASK_EVERY_S)
    [news] = ends.alice.mappings
    assert news.after.ip == ends.net.outside_of("home")


def test_while_packets_are_missing_it_is_noticed_at_once() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(DOUBT_EVERY_S + 0.5)
    ends.net.readdress("home")
    ends.alice.agents.ask_again(ends.net.now)
    ends.run_for(0.5)
    assert [news.after.ip for news in ends.alice.mappings] == [ends.net.outside_of("home")]


def test_however_often_packets_are_missing_each_server_is_asked_every_two_seconds_at_most() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    asked = ends.servers[0].responder.answered
    for _ in range(200):
        ends.alice.agents.ask_again(ends.net.now)
        ends.run_for(0.1)
    assert ends.servers[0].responder.answered - asked in range(9, 12)


def test_a_server_that_says_something_else_each_time_is_no_news() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    ends.open()
    for port in range(1, 200):
        ends.servers[0].lie = Endpoint("203.0.113.1", port)
        ends.run_for(1.0)
    assert ends.alice.mappings == []
    assert len(srflx_of(ends.alice)) == 2


def test_an_answer_that_is_not_said_twice_is_not_believed() -> None:
    ends = Ends(HOME, Site(), servers=1)
    ends.bob.agents.set_stun_servers([], ends.net.now)
    ends.run_for(0.5)
    ends.open()
    before = srflx_of(ends.alice)
    ends.servers[0].lies = [Endpoint("203.0.113.1", 9)]
    ends.run_for(3 * ASK_EVERY_S)
    assert ends.servers[0].lies == []
    assert (ends.alice.mappings, srflx_of(ends.alice)) == ([], before)


def test_one_liar_of_two_is_no_news() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    for port in range(1, 6):
        ends.servers[0].lie = Endpoint("203.0.113.1", port)
        ends.run_for(1.2 * ASK_EVERY_S)
    assert ends.alice.mappings == []


def test_an_outside_event_has_everything_proven_anew() -> None:
    ends = Ends(HOME, Site())
    ends.run_for(0.5)
    ends.open()
    ends.run_until_settled()
    ends.run_for(0.5)
    asked = ends.servers[0].responder.answered
    answered = [end.report.selected.answered for end in ends.ends.values() if end.report.selected]
    ends.alice.agents.prove_now(ends.net.now)
    ends.run_for(0.1)
    assert ends.servers[0].responder.answered == asked + 1
    assert ends.alice.report.selected is not None
    assert ends.alice.report.selected.answered == answered[0] + 1


def test_an_outside_event_has_a_search_that_found_nothing_yet_begin_anew() -> None:  # S10
    ends = Ends(HOME, HOME)
    ends.run_for(0.5)
    ends.net.blocked = lambda sender, receiver, _source: {sender.name, receiver.name} == {"alice", "bob"}
    ends.open()
    ends.run_for(CHECK_AT_S[-2] + 0.5)  # the last check is 1.5 s away
    ends.net.blocked = lambda *_: False
    ends.alice.agents.prove_now(ends.net.now)
    ends.run_for(0.5)
    assert ends.path == "direct"


def test_addresses_that_are_never_used_are_not_told() -> None:
    made = agents("127.0.0.1", "fe80::1", "::1", "2001:db8:0:0::1", "2001:db8::1", US_IP)
    open_peer(made, 1)
    told = []
    while (event := made.next_event()) is not None:
        assert isinstance(event, AgentTold)
        assert isinstance(event.event, LocalCandidateFound)
        told.append(event.event.candidate.ip)
    assert told == ["2001:db8::1", US_IP]


def test_events_and_datagrams_nobody_takes_are_bounded() -> None:
    made = agents()
    agent = open_peer(made, 1)
    for number in range(9000):
        made.receive(request_to(1), Endpoint("192.0.2.99", 1 + number % 40), LOCAL, NOW + number)
        made.local_addresses_changed([f"198.51.{number >> 8}.{number & 255}"], NOW + number)
    assert made.drops["outbox_full"] > 0
    assert made.drops["events"] > 0
    assert made.describe(agent.peer) is not None


def test_the_news_of_a_pair_names_the_session() -> None:
    ends = Ends(Site(), Site())
    ends.open()
    seen = []
    for _ in range(100):
        ends.net.run_for(0.01)
        for end in ends.ends.values():
            while (told := end.agents.next_event()) is not None:
                assert not isinstance(told, MappingChanged)
                if isinstance(told.event, PairSelected):
                    seen.append(told.agent)
                elif isinstance(told.event, LocalCandidateFound):
                    other = ends.bob if end is ends.alice else ends.alice
                    other.agents.add_remote_candidate(other.id, told.event.text, ends.net.now)
    assert set(seen) == {ends.alice.id, ends.bob.id}
