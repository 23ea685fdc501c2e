"""Agents whose paths stay dead, come back, or lie on another relay; and a peer that is reset by hand."""

from typing import get_args

import pytest

from actors.addresses import CONTROL_0
from actors.messages.node import OpenRelayed
from actors.messages.packet import OpenIceAgent, ProbePath, RenewHandshake, SetPath
from actors.messages.peer import MeetElsewhere, PeerQuarantined, ResetPeer, SendOffer
from actors.messages.process import StartPeer
from actors.messages.recoveries import Rung
from tests.actors.stories.test_direct import direct_pair
from tests.actors.stories.test_pairs import RELAY, SECOND, outage, pair
from tests.actors.stories.world import Node, World

SEEDS = range(3)


def apart(seed: int) -> tuple[World, Node, Node]:
    """Two agents with a home each, which both can reach."""
    world = World(seed, (RELAY, SECOND))
    a, b = world.add_nodes(2)
    a.relays, b.relays = (RELAY,), (SECOND,)
    a.boot()
    b.boot()
    world.run_until(world.connected, 10.0)
    return world, a, b


def reset(node: Node, remote: Node) -> None:
    node.post(f"peer/{remote.key}/conn", CONTROL_0, ResetPeer(peer=remote.key))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_relay_that_carries_nothing_is_left_for_another_that_both_reach(seed: int) -> None:
    world, a, b = apart(seed)
    a.send_data(b, 20)
    b.send_data(a, 20)
    world.run(70.0)
    broken_at = world.now
    world.network.servers[RELAY].mute = True
    world.run(60.0)
    assert world.connected()
    assert a.status(b).relay_url == b.status(a).relay_url == SECOND
    assert outage(world, a, b, broken_at) < 45.0
    closes = len(world.closes())
    world.network.servers[RELAY].mute = False
    world.run(600.0)
    assert len(world.closes()) == closes  # and there they stay
    assert a.status(b).rungs["other_relay"] == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_cannot_reach_the_controllers_relay_is_met_at_its_own(seed: int) -> None:  # S7
    world = World(seed, (RELAY, SECOND))
    a, b = world.add_nodes(2)
    a.relays, b.relays = (RELAY,), (SECOND,)
    world.network.unreachable.add((b.key, RELAY))
    a.boot()
    b.boot()
    assert world.run_until(world.connected, 30.0) < 10.0
    world.run(2.0)
    assert a.status(b).relay_url == b.status(a).relay_url == SECOND


@pytest.mark.parametrize("seed", SEEDS)
def test_the_controller_without_its_own_relay_meets_at_the_others(seed: int) -> None:  # S6
    world, _, _ = apart(seed)
    world.run(70.0)
    world.network.stop_relay(RELAY)
    assert world.run_until(lambda: not world.connected(), 10.0) < 10.0
    assert world.run_until(world.connected, 30.0) < 5.0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_path_that_stays_dead_climbs_the_rungs_in_order_and_none_for_ever(seed: int) -> None:  # recovery R11
    world, a, b = direct_pair(seed)
    broken_at = world.now
    world.network.servers[RELAY].mute = True
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run(1200.0)
    for node, other in ((a, b), (b, a)):
        mail = [d for d in world.log if d.node == node.name and d.at >= broken_at]
        first = {
            kind: next(d.at for d in mail if isinstance(d.message, kind))
            for kind in (ProbePath, SetPath, SendOffer, OpenRelayed, RenewHandshake)
        }
        # Which of the two paths is found dead first is left open, so is whether the offer or the opening comes first.
        assert max(first[ProbePath], first[SetPath]) < min(first[SendOffer], first[OpenRelayed])
        assert max(first[SendOffer], first[OpenRelayed]) < first[RenewHandshake]
        renewed = [d.at for d in mail if isinstance(d.message, RenewHandshake)]
        opened = [d.at for d in mail if isinstance(d.message, OpenRelayed)]
        assert renewed[0] - broken_at > 180
        assert 1 < len(renewed) < len(opened) < 25
        status = node.status(other)
        assert status.state == "connecting"
        assert status.disruptions <= 6
        assert set(status.rungs) == set(get_args(Rung)) - {"other_relay"}  # there is no other
    world.network.servers[RELAY].mute = False
    world.network.cut.clear()
    assert world.run_until(world.connected, 10.0) < 5.0


def test_a_pair_that_is_broken_for_good_disturbs_nothing_often() -> None:
    world, a, b = pair(1, traffic=False)
    a.send_data(b, 2)
    world.network.servers[RELAY].mute = True
    for _ in range(2):
        before = a.status(b).disruptions + b.status(a).disruptions
        world.run(3600.0)
        world.log.clear()
        assert a.status(b).disruptions + b.status(a).disruptions - before <= 12
    assert a.status(b).disruptions <= 6
    assert b.status(a).disruptions <= 6
    world.network.servers[RELAY].mute = False
    assert world.run_until(world.connected, 10.0) < 5.0


def test_twenty_changes_of_an_address_in_an_hour_are_each_recovered_and_never_quarantined() -> None:
    world, a, b = direct_pair(1, traffic=False)
    a.send_data(b, 4)
    b.send_data(a, 4)
    for _ in range(20):
        changed_at = world.now
        world.network.readdress(b.key)
        world.network.deafen(b.key)
        world.run(2.0)
        world.network.undeafen()
        world.run(178.0)
        assert world.connected()
        assert world.gap(a, b, changed_at) < 7.0
        assert a.status(b).quarantined_at is None
        assert b.status(a).quarantined_at is None
    assert not list(world.deliveries(PeerQuarantined))
    assert sum(past.count for past in a.status(b).recovered) == a.status(b).recoveries > 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relayed", [True, False])
def test_a_peer_is_reset_by_hand_and_back_within_seconds(seed: int, relayed: bool) -> None:
    world, a, b = pair(seed) if relayed else direct_pair(seed)
    node, remote = ((a, b), (b, a))[seed % 2]
    before = node.status(remote)
    reset(node, remote)
    at = world.now
    world.run(30.0)
    assert world.connected()
    after = node.status(remote)
    assert (before.resets, after.resets) == (0, 1)
    assert [past.cause for past in after.recovered] == ["reset"]
    assert outage(world, a, b, at) < 5.0
    assert not list(world.deliveries(StartPeer, at))


def test_many_relayed_peers_without_a_direct_path_look_for_one_in_turns() -> None:  # recovery R10
    world = World(1, ice=True)
    world.network.direct = False
    nodes = world.add_nodes(13)
    hub = nodes[0]
    for node in nodes[1:]:
        node.peers = tuple(settings for settings in node.peers if settings.peer == hub.key)
    for node in nodes:
        node.boot()
    world.run(30.0)
    for node in nodes[1:]:
        node.send_data(hub, 2)
        hub.send_data(node, 2)
    since = world.now
    world.log.clear()
    world.run(200.0)
    searches = [d for d in world.deliveries(OpenIceAgent, since) if d.node == hub.name]
    offers = [d for d in world.deliveries(SendOffer, since) if d.node == hub.name]
    assert 12 <= len(offers) <= 12 * (200 / 45 + 10)
    assert len(searches) <= 2 * 12 * 200 / 40
    assert not list(world.deliveries(MeetElsewhere, since))
