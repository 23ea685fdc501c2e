"""The selected pair dies, is replaced, or moves: what both agents make of it, and how soon."""

from ipaddress import ip_address

import pytest

from tests.kit.nats import FULL_CONE, HAIRPINNING, Site
from tests.kit.net import HOST_PORT, Conditions
from tests.transport.ice.ends import BOTH, PUBLIC, Ends, connected, home
from transport.ice.events import AgentEnded, PairDoubtful, PairProven, PairSelected
from transport.ice.stun import BindingRequest, encode
from transport.ice.timing import FOREIGN, OURS
from wg.datagrams import Endpoint

RTT_S = 2 * Conditions().latency_s
TRANSACTION = bytes(range(12))


# --- a pair that dies ---


def cut(ends: Ends) -> float:
    ends.net.blocked = lambda sender, receiver, _source: {sender.name, receiver.name} == {"alice", "bob"}
    return ends.net.now


@pytest.mark.parametrize("in_use", [True, False], ids=["in use", "idle"])
@pytest.mark.parametrize("seed", range(5))
def test_a_dead_pair_is_noticed(in_use: bool, seed: int) -> None:
    ends = connected(home("a"), home("b"), seed=seed)
    ends.use(in_use)
    ends.run_for(3.0)
    since = cut(ends)
    ends.run_for(30.0)
    rest_s = 1.2 * (OURS.check_every_s if in_use else OURS.check_idle_s)
    dead_s = OURS.dead_after_s if in_use else OURS.dead_idle_s
    for end in ends.ends.values():
        [(doubtful_at, _)] = end.all(PairDoubtful)
        [(ended_at, event)] = end.all(AgentEnded)
        assert doubtful_at - since <= rest_s + OURS.answer_wait_s + RTT_S + 0.01
        # What was under way when the wire was cut still counts as a sign of life.
        assert ended_at - since <= rest_s + dead_s + OURS.recheck_s + 2 * RTT_S
        assert isinstance(event, AgentEnded)
        assert event.was_connected
        assert event.tried


@pytest.mark.parametrize("seed", range(5))
def test_a_dead_pair_with_a_foreign_peer_ends_at_its_timers(seed: int) -> None:
    ends = connected(home("a"), home("b"), seed=seed, ours=False)
    ends.run_for(3.0)
    since = cut(ends)
    ends.run_for(15.0)
    for end in ends.ends.values():
        [(ended_at, _)] = end.all(AgentEnded)
        assert FOREIGN.dead_after_s - 0.1 <= ended_at - since <= FOREIGN.dead_after_s + 2.4 + FOREIGN.recheck_s + RTT_S


@pytest.mark.parametrize("deaf", ["alice", "bob"])
def test_a_way_that_is_dead_in_one_direction_is_dead(deaf: str) -> None:
    ends = connected(home("a"), home("b"))
    ends.use()
    ends.run_for(2.0)
    since = ends.net.now
    ends.net.blocked = lambda sender, receiver, _source: receiver.name == deaf and sender.name in ("alice", "bob")
    ends.run_for(15.0)
    times = {end.name: end.all(AgentEnded)[0][0] - since for end in ends.ends.values()}
    other = "bob" if deaf == "alice" else "alice"
    assert times[deaf] <= 1.2 + OURS.dead_after_s + OURS.recheck_s + 2 * RTT_S
    assert times[other] <= 1.2 + OURS.deaf_after_s + OURS.recheck_s + 2 * RTT_S


def test_a_short_silence_is_doubted_and_survived() -> None:
    ends = connected(home("a"), home("b"))
    ends.use()
    ends.run_for(2.0)
    cut(ends)
    ends.run_for(1.8)
    ends.net.blocked = lambda sender, receiver, _source: False
    ends.run_for(10.0)
    for end in ends.ends.values():
        assert len(end.all(PairDoubtful)) == len(end.all(PairProven)) == 1
        assert end.all(AgentEnded) == []
        assert not end.report.doubtful


def test_what_wireguard_hears_keeps_a_pair_alive_for_a_while() -> None:
    ends = connected(home("a"), home("b"))
    ends.use()
    ends.run_for(2.0)
    since = cut(ends)  # for STUN, as a middlebox may do
    while ends.alice.report.state == "connected" and ends.net.now < since + 20.0:
        assert ends.alice.endpoint is not None
        ends.alice.agents.path_heard(ends.alice.id.peer, ends.alice.endpoint, ends.net.now)
        ends.run_for(0.5)
    assert ends.alice.all(AgentEnded)[0][0] - since >= OURS.deaf_after_s
    assert ends.bob.all(AgentEnded)[0][0] - since <= 1.2 + OURS.dead_after_s + OURS.recheck_s + 2 * RTT_S


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_loss_alone_kills_no_pair(loss: float, ours: bool) -> None:
    ends = connected(home("a"), home("b"), ours=ours)
    ends.use()
    ends.net.conditions.loss = loss
    ends.run_for(600.0)
    assert [end.all(AgentEnded) for end in ends.ends.values()] == [[], []]
    assert all(len(end.all(PairSelected)) == 1 for end in ends.ends.values())


# --- another pair in its place ---


def families(ends: Ends) -> set[bool]:
    return {":" in end.endpoint.ip for end in ends.ends.values() if end.endpoint is not None}


@pytest.mark.parametrize("in_use", [True, False], ids=["in use", "idle"])
@pytest.mark.parametrize("seed", range(4))
def test_when_a_pair_dies_one_that_lives_takes_its_place(in_use: bool, seed: int) -> None:
    ends = connected(BOTH, BOTH, seed=seed)
    ends.use(in_use)
    ends.run_for(2.0)
    [before] = families(ends)
    since = ends.net.now
    ends.net.blocked = lambda sender, receiver, source: (":" in source.ip) == before
    ends.run_for(30.0)
    assert families(ends) == {not before}
    assert [end.all(AgentEnded) for end in ends.ends.values()] == [[], []]
    rest_s = 1.2 * (OURS.check_every_s if in_use else OURS.check_idle_s)
    dead_s = OURS.dead_after_s if in_use else OURS.dead_idle_s
    for end in ends.ends.values():
        assert end.all(PairSelected)[-1][0] - since <= rest_s + dead_s + OURS.recheck_s + 2 * RTT_S


def test_a_foreign_peer_follows_to_no_other_pair_so_its_end_is_the_end() -> None:
    ends = connected(BOTH, BOTH, ours=False)
    [before] = families(ends)
    ends.net.blocked = lambda sender, receiver, source: (":" in source.ip) == before
    ends.run_for(10.0)
    assert {end.report.state for end in ends.ends.values()} == {"ended"}


def test_the_others_are_checked_only_while_there_is_doubt() -> None:
    ends = connected(BOTH, BOTH)
    ends.use()
    [before] = families(ends)

    def sent_to_others() -> int:
        return sum(pair.sent for pair in ends.alice.report.pairs if (":" in pair.remote.ip) != before)

    at_rest = sent_to_others()
    ends.net.blocked = lambda sender, receiver, source: True
    ends.run_for(1.6)
    in_doubt = sent_to_others()
    assert in_doubt > at_rest
    ends.net.blocked = lambda sender, receiver, source: (":" in source.ip) != before
    ends.run_for(1.0)
    proven = sent_to_others()
    ends.run_for(10.0)
    assert sent_to_others() == proven
    assert families(ends) == {before}


def late_nomination(ends: Ends, source: Endpoint) -> None:
    """Have Bob hear a nomination of Alice's on the pair with this endpoint of hers."""
    request = BindingRequest(
        transaction=TRANSACTION,
        username=f"{ends.bob.local.ufrag}:{ends.alice.local.ufrag}",
        role="controlling",
        tie_breaker=2**64 - 1,
        priority=1,
        use_candidate=True,
    )
    local = ends.bob.host.v6 if ":" in source.ip else ends.bob.host.v4
    assert local is not None
    ends.bob.agents.receive(encode(request, ends.bob.local.pwd), source, ip_address(local).packed, ends.net.now)


def test_a_nomination_that_comes_late_is_put_right() -> None:
    ends = connected(BOTH, BOTH)
    ends.use()
    ends.run_for(1.0)
    [before] = families(ends)
    other = ends.alice.host.v4 if before else ends.alice.host.v6
    late_nomination(ends, Endpoint(str(other), HOST_PORT))
    ends.run_for(1.2 * OURS.check_every_s + 2 * RTT_S)
    # Alice's next check, which nominates too, comes any moment after the late one.
    selected = [event.remote for _, event in ends.bob.all(PairSelected) if isinstance(event, PairSelected)]
    assert Endpoint(str(other), HOST_PORT) in selected
    assert families(ends) == {before}


def test_with_a_foreign_peer_a_lesser_pair_does_not_win() -> None:
    lan = home("one", HAIRPINNING)
    ends = connected(lan, lan, ours=False)
    selected = ends.bob.endpoint
    mapped = next(each.endpoint for each in ends.alice.report.local_candidates if each.kind == "srflx")
    late_nomination(ends, mapped)
    ends.run_for(1.0)
    assert any(pair.remote == mapped and pair.state == "succeeded" for pair in ends.bob.report.pairs)
    assert ends.bob.endpoint == selected


# --- a pair that moves ---


@pytest.mark.parametrize("roaming", ["a", "b"])
@pytest.mark.parametrize("how", ["flushed", "another address"])
@pytest.mark.parametrize("in_use", [True, False], ids=["in use", "idle"])
def test_a_remote_whose_mapping_moves_is_followed(roaming: str, how: str, in_use: bool) -> None:
    """The NAT of one forgets it: nothing comes in until its own next check opens a new way out."""
    ends = connected(home("a", FULL_CONE), home("b", FULL_CONE))
    ends.use(in_use)
    ends.run_for(3.0)
    since = ends.net.now
    (ends.net.flush if how == "flushed" else ends.net.readdress)(roaming)
    ends.run_for(20.0)
    assert [end.all(AgentEnded) for end in ends.ends.values()] == [[], []]
    other = ends.bob if roaming == "a" else ends.alice
    assert other.endpoint is not None
    assert other.endpoint.ip == ends.net.outside_of(roaming)
    moved_at = other.all(PairSelected)[-1][0]
    assert moved_at > since
    rest_s = 1.2 * (OURS.check_every_s if in_use else OURS.check_idle_s)
    assert moved_at - since <= rest_s + OURS.dead_after_s + OURS.recheck_s + 4 * RTT_S
    assert ends.path == "direct"


@pytest.mark.parametrize("moving", ["alice", "bob"])
def test_our_own_address_changes(moving: str) -> None:
    ends = connected()
    end = ends.ends[moving]
    other = ends.bob if moving == "alice" else ends.alice
    address = ends.net.renumber(moving)
    end.agents.local_addresses_changed(end.host.addresses, ends.net.now)
    ends.run_for(OURS.dead_idle_s + 2.0)
    assert [each.all(AgentEnded) for each in ends.ends.values()] == [[], []]
    assert other.endpoint == Endpoint(address, HOST_PORT)
    assert end.report.selected is not None
    assert end.report.selected.local == address


def test_an_address_that_is_gone_for_good_ends_the_agent() -> None:
    ends = connected()
    ends.bob.agents.local_addresses_changed((), ends.net.now)
    ends.run_for(OURS.deaf_after_s + 0.1)
    assert ends.bob.report.reason == "our address in use is gone, and no other pair answers"
    foreign = connected(ours=False)
    foreign.bob.agents.local_addresses_changed((), foreign.net.now)
    assert foreign.bob.report.reason.endswith("is gone")


def test_new_addresses_are_told_to_the_remote() -> None:
    ends = connected(Site(v6=True), PUBLIC)
    ends.bob.host.v6 = "2001:db8::77"
    ends.bob.agents.local_addresses_changed(ends.bob.host.addresses, ends.net.now)
    ends.run_for(2.0)
    assert "2001:db8::77" in {candidate.ip for candidate in ends.alice.report.remote_candidates}
