"""What faults of a direct path cost, over many seeds: outages, and that loss is no fault (recovery section 3)."""

from random import Random
from statistics import median

import pytest

from actors.messages.packet import CloseIceAgent, CloseOnLink
from actors.messages.peer import IceLost, PathDead, PathLost
from tests.actors.stories.test_direct import direct, two
from tests.actors.stories.test_pairs import outage, unwatched_paths
from tests.actors.stories.world import Delivery, Node, World

RUNS = range(34)  # of each of the three ways that a path may be cut: 102 in all
SEEDS = range(32)


def busy_pair(seed: int, *, per_second: float = 50) -> tuple[World, Node, Node]:
    """Two agents with a direct path that carries packets both ways."""
    world, a, b = idle_pair(seed)
    a.send_data(b, per_second)
    b.send_data(a, per_second)
    world.run(4.0 + Random(seed).uniform(0.0, 5.0))  # a fault may come at any moment
    return world, a, b


def idle_pair(seed: int) -> tuple[World, Node, Node]:
    world, a, b = two(seed)
    a.boot()
    b.boot()
    world.run(1.0)
    world.run_until(lambda: direct(world), 15.0)
    return world, a, b


@pytest.mark.parametrize("cut", ["cut", "cut_packets"])
def test_a_dead_direct_path_costs_two_seconds_as_a_rule_and_four_at_the_worst(cut: str) -> None:  # S8, S9
    """`cut_packets`: STUN passes."""
    outages = []
    for way in (0, 1), (0,), (1,):
        for seed in RUNS:
            world, *pair = busy_pair(seed)
            begun = world.now
            for sender in way:
                getattr(world.network, cut).add((pair[sender].key, pair[1 - sender].key))
            world.run(9.0)
            outages.append(outage(world, pair[0], pair[1], begun))
            assert unwatched_paths(world) == []
    assert median(outages) <= 2.0
    assert max(outages) <= 4.0


@pytest.mark.parametrize("which", [0, 1])
def test_an_idle_direct_path_on_which_only_stun_passes_is_left_within_a_minute(which: int) -> None:  # S9
    for seed in SEEDS:
        world, *pair = idle_pair(seed)
        world.run(Random(seed).uniform(30.0, 80.0))
        world.network.cut_packets.add((pair[which].key, pair[1 - which].key))
        world.run(60.0)
        for node, other in (pair, reversed(pair)):
            assert len(node.tunnels().tunnels[other.key].paths()) == 2 or not direct(world)


def lose(world: World, loss: float, seconds: float) -> None:
    """Lose packets for so long; nothing may come of it."""
    world.network.loss, begun = loss, world.now
    world.run(seconds)
    assert flaps(world, begun) == []
    world.network.loss = 0.0
    world.run_until(lambda: direct(world), 60.0)


def flaps(world: World, since: float) -> list[Delivery]:
    """Return what says that a path was given up, closed or replaced since."""
    kinds = IceLost, PathDead, PathLost, CloseIceAgent, CloseOnLink
    return [delivery for kind in kinds for delivery in world.deliveries(kind, since)]


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_loss_takes_no_path_down(loss: float) -> None:  # S20
    for seed in SEEDS:
        world, a, b = busy_pair(seed, per_second=20)
        begun = world.now
        lose(world, loss, 80.0)
        assert outage(world, a, b, begun) < 0.5


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_nor_does_loss_while_nothing_is_sent(loss: float) -> None:  # S20
    for seed in SEEDS:
        world, _, _ = idle_pair(seed)
        lose(world, loss, 300.0)


@pytest.mark.parametrize("sender", [0, 1])
def test_nor_while_one_end_alone_sends(sender: int) -> None:  # S20
    for seed in SEEDS:
        world, *pair = idle_pair(seed)
        pair[sender].send_data(pair[1 - sender], 5)
        lose(world, 0.2, 80.0)


def test_an_hour_with_five_of_a_hundred_packets_lost_has_no_false_alarm() -> None:  # S20
    world, a, b = idle_pair(3)
    a.send_data(b, 1)
    b.send_data(a, 1)
    lose(world, 0.05, 3600.0)
