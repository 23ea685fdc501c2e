"""ICE_AGENTS: mail of the control side, STUN and time in; mail and datagrams out, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from actors.effects import Send
from actors.messages.node import OutsideEvent
from actors.messages.packet import (
    AddRemoteCandidate,
    CloseIceAgent,
    IceAgentClosed,
    IceAgentEnded,
    IceAgentsSnapshot,
    IceAgentsSnapshotWanted,
    IcePairDoubtful,
    IcePairProven,
    LocalCandidateFound,
    OpenIceAgent,
    ProveIceNow,
    SetIceInUse,
)
from actors.packet import ice_agents
from actors.packet.ice_report import MAX_TRIED, tried_lines
from tests.actors.packet.ice_ends import End, any_proven, connected, credentials, two_ends
from tests.kit.nats import NO_UDP, Router, Site
from tests.kit.net import HOST_PORT, Network
from transport.ice.events import PairReport
from transport.ice.stun import BindingRequest, encode
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import NOT_ECT
from wg.paths import DirectPath

# --- the way to a direct path ---


def test_two_hosts_behind_nats_are_told_of_a_direct_path() -> None:
    net, alice, bob = two_ends()
    alice.open(bob)
    bob.open(alice)
    assert alice.status.state == "checking"
    assert net.run_until(lambda: any_proven(alice) and any_proven(bob), 3.0)
    net.run_for(2.0)
    assert bob.host.v4 is not None
    for end, other in ((alice, bob), (bob, alice)):
        proven = end.told(IcePairProven)[-1]
        assert (proven.peer, proven.session, proven.remote_session) == (other.key, end.session, other.session)
        assert proven.path == DirectPath(ip=proven.path.ip, port=proven.path.port, local=end.host.v4)
        assert (proven.local, proven.remote_kind) == (end.host.v4, "srflx")
        assert proven.path.ip == net.outside_of(other.host.site.routers[0].name)
        remote = Endpoint(proven.path.ip, proven.path.port)
        assert (end.status.state, end.status.pair) == ("connected", f"{end.host.v4} -> srflx {remote}")


def test_candidates_are_told_as_they_are_found() -> None:
    net, alice, bob = two_ends()
    net.run_for(0.5)  # the STUN server has answered
    alice.open(bob)
    found = alice.told(LocalCandidateFound)
    assert [each.candidate.split()[7] for each in found] == ["host", "srflx"]
    assert {each.session for each in found} == {alice.session}


def test_a_direct_path_is_found_though_gathering_goes_on() -> None:
    net, alice, bob = two_ends(Site(), Site())
    silent = [Endpoint("198.51.100.250", HOST_PORT)]
    for end in (alice, bob):
        end.take(end.agents.servers_resolved(silent, net.now))
    alice.open(bob)
    bob.open(alice)
    assert net.run_until(lambda: any_proven(alice) and any_proven(bob), 1.0)
    (line,) = alice.agents.status(net.now).servers
    assert line == f"STUN server 198.51.100.250:51820, asked from {alice.host.v4}: no answer to 1 requests"


def test_opening_the_same_agent_again_changes_nothing() -> None:
    net, alice, bob = connected()
    alice.open(bob)
    net.run_for(3.0)
    assert (alice.mail, alice.status.state) == ([], "connected")


def test_another_session_takes_the_place_of_an_agent_without_a_word() -> None:
    net, alice, bob = connected()
    bob.session, bob.local = b"bob-2", credentials("anotherUfrag")
    bob.open(alice)
    alice.open(bob)
    assert net.run_until(lambda: any_proven(alice) and any_proven(bob), 3.0)
    assert alice.told(IceAgentEnded) == []
    assert [each.remote_session for each in bob.told(IcePairProven)][-1] == alice.session


# --- what ends ---


def test_a_path_that_dies_is_doubtful_and_then_ended_with_what_was_tried() -> None:
    net, alice, bob = connected()
    alice.tell(SetIceInUse(peer=bob.key, in_use=True))
    net.conditions.loss = 1.0
    net.run_until(lambda: len(alice.mail) == 1, 5.0)
    assert alice.status.state == "doubtful"
    net.run_for(10.0)
    doubtful, ended = alice.mail
    assert isinstance(doubtful, IcePairDoubtful)
    assert doubtful.reason.startswith("no answer from 198.51.100.")
    assert isinstance(ended, IceAgentEnded)
    assert "has not answered for" in ended.reason
    assert any("-> srflx 198.51.100." in line and "answered" in line for line in ended.tried)
    assert (alice.status.state, alice.status.reason, alice.status.tried) == ("ended", ended.reason, ended.tried)


def test_a_doubtful_path_that_answers_again_is_told_as_proven() -> None:
    net, alice, bob = connected()
    alice.tell(SetIceInUse(peer=bob.key, in_use=True))
    net.conditions.loss = 1.0
    assert net.run_until(lambda: bool(alice.mail), 5.0)
    before = alice.status
    net.conditions.loss = 0.0
    net.run_for(2.0)
    (proven,) = alice.told(IcePairProven)
    assert (proven.session, proven.reason) == (alice.session, "it answers again")
    assert (alice.status.state, alice.status.pair) == ("connected", before.pair)


def test_in_use_a_dead_path_is_noticed_sooner() -> None:
    noticed = []
    for in_use in (False, True):
        net, alice, bob = connected()
        alice.tell(SetIceInUse(peer=bob.key, in_use=in_use))
        net.run_for(30.0)
        begun = net.now
        net.conditions.loss = 1.0
        assert net.run_until(lambda end=alice: bool(end.mail), 20.0)  # type: ignore[misc]
        noticed.append(net.now - begun)
    assert noticed[1] < noticed[0] / 2


def test_without_a_way_the_end_names_each_pair() -> None:
    net, alice, bob = two_ends(bob=Site((Router("shut", NO_UDP),)))
    alice.open(bob)
    bob.open(alice)
    net.run_for(1.0)
    assert alice.status.state == "checking"
    assert all("no answer" in line or "not checked" in line for line in alice.status.tried)
    net.run_for(20.0)
    (ended,) = alice.told(IceAgentEnded)
    assert ended.reason == "none of 1 pairs answered within 12 s"
    assert ended.tried == (f"{alice.host.v4} -> host {bob.host.v4}:51820: 13 checks, no answer",)


def test_closing_is_acknowledged_whatever_there_is() -> None:
    net, alice, bob = connected()
    alice.tell(CloseIceAgent(peer=bob.key, session=b"other"))
    assert alice.told(IceAgentClosed) == [IceAgentClosed(peer=bob.key, session=b"other")]
    assert alice.status.state == "connected"
    for _ in range(2):
        alice.tell(CloseIceAgent(peer=bob.key, session=alice.session))
        assert alice.told(IceAgentClosed) == [IceAgentClosed(peer=bob.key, session=alice.session)]
    assert alice.agents.state == ice_agents.Serving(0)
    drops = alice.agents.status(net.now).drops
    assert (drops["mail_of_other_session"], drops["mail_without_agent"]) == (1, 1)


def test_a_candidate_of_another_session_is_dropped_and_counted() -> None:
    net, alice, bob = two_ends()
    alice.open(bob)
    alice.tell(AddRemoteCandidate(peer=bob.key, session=b"later", candidate="1 1 udp 1 192.0.2.1 7 typ host"))
    assert alice.status.tried == ()
    assert alice.agents.status(net.now).drops == {"mail_of_other_session": 1}


def test_no_agent_outlives_its_peer() -> None:
    net, alice, bob = connected()
    alice.agents.forget(alice.key)
    assert alice.agents.state == ice_agents.Serving(1)
    alice.agents.forget(bob.key)
    assert alice.agents.state == ice_agents.Serving(0)
    net.run_for(20.0)
    assert alice.mail == []


@pytest.mark.parametrize("prefix", ["198.51.100.0/24", "0.0.0.0/0"])
def test_no_direct_path_leads_through_the_tunnel(prefix: str) -> None:
    net, alice, bob = two_ends(Site(), Site())
    alice.agents.tunnel_leads_to([prefix, "no prefix"])
    assert alice.agents.addresses_wanted()
    alice.reads(*alice.host.addresses)
    (line,) = alice.agents.status(net.now).addresses
    assert line == f"{alice.host.v4} on eth0: not used, inside our own network ({prefix})"
    alice.open(bob)
    bob.open(alice)
    net.run_for(1.0)
    assert not any_proven(alice)


def test_switched_off_every_agent_ends_at_once() -> None:
    net = Network()
    off, other = End(net, 1, Site(), enabled=False), End(net, 2, Site())
    off.open(other)
    assert off.told(IceAgentEnded) == [
        IceAgentEnded(peer=other.key, session=off.session, reason="[ice] enabled is false", tried=())
    ]


def test_two_peers_with_one_ufrag_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network()
    alice, bob, carol = (End(net, number, Site()) for number in (1, 2, 3))
    alice.open(bob)
    alice.open(carol)
    (ended,) = alice.told(IceAgentEnded)
    assert (ended.peer, ended.reason.startswith("two peers with the ufrag")) == (carol.key, True)
    monkeypatch.setattr(ice_agents, "MAX_AGENTS", 1)
    alice.local = credentials("another")
    alice.open(carol)
    assert [each.reason for each in alice.told(IceAgentEnded)] == ["more than 1 ICE agents"]


# --- a control process that starts anew ---


def test_the_snapshot_tells_what_is_needed_to_go_on_with_an_agent() -> None:
    _net, alice, bob = connected()
    alice.tell(IceAgentsSnapshotWanted())
    ((known,),) = [snapshot.agents for snapshot in alice.told(IceAgentsSnapshot)]
    assert (known.peer, known.session, known.remote_session) == (bob.key, alice.session, bob.session)
    assert (known.local, known.controlling, known.ours) == (alice.local, alice.key > bob.key, True)
    assert (known.state, known.doubtful, known.local_ip) == ("connected", False, alice.host.v4)
    assert f"{known.local_ip} -> {known.remote_kind} {known.selected}" == alice.status.pair


def test_the_snapshot_tells_doubt_and_ends_too() -> None:
    net, alice, bob = connected()
    net.conditions.loss = 1.0
    found = []
    for seconds in (0.0, 12.0):
        net.run_until(lambda: any(isinstance(each, IcePairDoubtful) for each in alice.mail), 25.0)
        net.run_for(seconds)
        alice.tell(IceAgentsSnapshotWanted())
        found += [(each.state, each.doubtful, bool(each.reason)) for each in alice.told(IceAgentsSnapshot)[0].agents]
        alice.mail.append(IcePairDoubtful(peer=bob.key, session=b"12345", reason=""))
    assert found == [("connected", True, False), ("ended", False, True)]


# --- outside events ---


def test_addresses_that_change_are_an_outside_event_and_those_that_stay_are_none() -> None:
    _net, alice, _bob = connected()
    assert alice.host.v4 is not None
    alice.reads(alice.host.v4)
    assert alice.mail == []
    alice.reads(alice.host.v4, "10.0.1.77")
    (event,) = alice.told(OutsideEvent)
    assert event == OutsideEvent(kind="network_changed", detail=f"our addresses are {alice.host.v4}, 10.0.1.77")
    alice.reads()
    assert [each.detail for each in alice.told(OutsideEvent)] == ["our addresses are none"]
    assert alice.status.state == "doubtful"
    assert alice.status.reason == f"our address {alice.host.v4} is gone"


def test_an_address_that_changes_outside_is_an_outside_event() -> None:
    net, alice, _bob = connected()
    net.readdress("nat1")
    assert net.run_until(lambda: any(isinstance(each, OutsideEvent) for each in alice.mail), 30.0)
    (event,) = alice.told(OutsideEvent)
    assert event.kind == "network_changed"
    assert event.detail.startswith(f"{alice.host.v4} looks like {net.outside_of('nat1')}:")


def test_another_port_of_ours_is_told_to_the_remote_and_to_all_peers() -> None:
    net, alice, _bob = connected()
    effects = alice.agents.rebound(4711, net.now)
    told = [effect.message for effect in effects if isinstance(effect, Send)]
    assert [m.detail for m in told if isinstance(m, OutsideEvent)] == ["our UDP port is 4711"]
    candidates = [m.candidate.split() for m in told if isinstance(m, LocalCandidateFound)]
    assert "4711" in [words[5] for words in candidates if "host" in words]
    assert alice.agents.rebound(4711, net.now)[1:] == [], "the same again is none"


def test_a_hint_that_something_changed_has_addresses_read_and_pairs_checked() -> None:
    net, alice, _bob = connected()
    assert not alice.agents.addresses_wanted()
    alice.tell(ProveIceNow(reason="resumed"))
    at = alice.next_timeout()
    assert at is not None
    assert at <= net.now
    assert (alice.agents.addresses_wanted(), alice.agents.addresses_wanted()) == (True, False)


def test_wireguard_packets_on_the_pair_count_as_a_sign_of_life() -> None:
    ended_at = []
    for heard in (False, True):
        net, alice, bob = connected()
        alice.tell(SetIceInUse(peer=bob.key, in_use=True))
        selected = Endpoint(*alice.status.pair.rsplit(" ", 1)[1].rsplit(":", 1))  # type: ignore[arg-type]
        remote = selected._replace(port=int(selected.port))
        net.conditions.loss = 1.0
        begun = net.now
        while alice.status.state != "ended":
            net.run_for(0.5)
            if heard:
                alice.agents.path_heard(bob.key, remote, net.now)
        ended_at.append(net.now - begun)
    assert ended_at[1] > ended_at[0] + 1.0  # it does not hear us, so it is not kept for ever


# --- strangers ---


def test_what_agents_dropped_is_counted_beyond_their_end() -> None:
    net, alice, bob = connected()
    alice.tell(AddRemoteCandidate(peer=bob.key, session=alice.session, candidate="nonsense"))
    assert alice.agents.status(net.now).drops["bad_candidate"] == 1
    alice.agents.forget(bob.key)
    assert alice.agents.status(net.now).drops["bad_candidate"] == 1


def stun_from(net: Network, end: End, source: Endpoint, datagrams: list[bytes]) -> None:
    end.take(end.agents.receive([UdpBatch(source, b"\x0a\0\1\1", NOT_ECT, datagrams)], net.now))


def test_a_flood_of_strangers_costs_no_mail_and_no_answer() -> None:
    net, alice, _bob = connected()
    before = alice.agents.status(net.now)
    stranger = Endpoint("203.0.113.9", 5000)
    requests = [
        encode(BindingRequest(transaction=number.to_bytes(12, "big")), fingerprint=False) for number in range(2000)
    ]
    stun_from(net, alice, stranger, requests)
    assert (alice.mail, alice.datagrams_to_send()) == ([], [])
    assert alice.agents.status(net.now).drops["unknown_ufrag"] == 2000
    assert alice.agents.status(net.now).agents == before.agents


@given(st.lists(st.binary(max_size=120), max_size=20), st.lists(st.text(max_size=200), max_size=20))
def test_whatever_comes_nothing_is_raised(datagrams: list[bytes], candidates: list[str]) -> None:
    net, alice, bob = two_ends(Site(), Site())
    alice.open(bob)
    for candidate in candidates:
        alice.tell(AddRemoteCandidate(peer=bob.key, session=alice.session, candidate=candidate))
    stun_from(net, alice, Endpoint("203.0.113.9", 5000), [b"\0\1\0\0\x21\x12\xa4\x42" + each for each in datagrams])
    net.run_for(0.5)
    assert alice.status.state == "checking"


def test_ten_thousand_candidates_are_bounded() -> None:
    net, alice, bob = two_ends(Site(), Site())
    alice.open(bob)
    for number in range(10_000):
        text = f"1 1 udp 2130706431 203.0.113.{number % 250} {1 + number} typ host"
        alice.tell(AddRemoteCandidate(peer=bob.key, session=alice.session, candidate=text))
    net.run_for(1.0)
    assert len(alice.status.tried) == MAX_TRIED
    assert alice.told(IceAgentEnded) == []


# --- words ---


def pair(**changes: object) -> PairReport:
    report = PairReport(
        local="10.0.0.1",
        remote=Endpoint("192.0.2.7", 51820),
        remote_kind="srflx",
        state="failed",
        sent=7,
        answered=0,
        heard=0,
    )
    return structs.replace(report, **changes)


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({}, "7 checks, no answer"),
        ({"sent": 1}, "1 check, no answer"),
        ({"sent": 0}, "not checked"),
        ({"answered": 2}, "7 checks, 2 answered"),
        ({"error": 487}, "7 checks, refused (487)"),
        ({"heard": 3}, "7 checks, no answer, 3 of its own heard"),
    ],
)
def test_what_was_tried_is_told_in_a_line(changes: dict[str, object], fate: str) -> None:
    assert tried_lines([pair(**changes)]) == (f"10.0.0.1 -> srflx 192.0.2.7:51820: {fate}",)


def test_of_many_pairs_the_ones_that_say_most_are_told() -> None:
    pairs = [pair(local=f"10.0.0.{number}", answered=number == 19) for number in range(20)]
    lines = tried_lines(pairs)
    assert len(lines) == MAX_TRIED
    assert lines[0].startswith("10.0.0.19 -> ")
    assert lines[-1] == "and 9 more pairs"


def test_messages_of_the_contract_are_all_taken() -> None:
    assert ice_agents.IceAgents.inbox == (
        OpenIceAgent | AddRemoteCandidate | CloseIceAgent | SetIceInUse | ProveIceNow | IceAgentsSnapshotWanted
    )
