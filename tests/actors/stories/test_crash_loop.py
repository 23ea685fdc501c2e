"""A control process that ends again and again, while a pair stays broken: what it costs is counted across its lives."""

import pytest

from actors.addresses import CONTROL_0
from actors.messages.peer import PathDead, PathProven
from actors.peer.budget import ACTIONS, CARRIED_S
from tests.actors.stories.test_pairs import RELAY, pair
from tests.actors.stories.world import Node, World


def disruptive(world: World, node: Node, broken_at: float) -> list[float]:
    """Return when a relayed connection was given up that may have carried packets there: a session could be left."""
    return [
        d.at
        for d in world.log
        if d.node == node.name and isinstance(d.message, PathDead) and broken_at <= d.at < broken_at + CARRIED_S
    ]


@pytest.mark.parametrize("every_s", [5.0, 12.0, 17.0, 360.0])
@pytest.mark.parametrize("seed", range(2))
def test_ten_lives_of_the_control_process_have_one_budget(seed: int, every_s: float) -> None:  # recovery R10
    world, a, b = pair(seed, traffic=False)
    a.send_data(b, 2)
    b.send_data(a, 2)
    world.run(2.0)
    broken_at = world.now
    world.network.servers[RELAY].mute = True
    for _ in range(10):
        world.run(every_s)
        a.kill(CONTROL_0)
    world.run(3600.0 - 10 * every_s)
    assert len(disruptive(world, a, broken_at)) <= ACTIONS
    assert a.status(b).disruptions <= ACTIONS
    world.network.servers[RELAY].mute = False
    world.run_until(world.connected, 700.0)
    world.run(2.0)  # the document
    assert world.connected()
    assert a.status(b).budget_left == ACTIONS


def test_what_was_spent_is_known_to_the_next_life() -> None:
    world, a, b = pair(1, traffic=False)
    a.send_data(b, 2)
    world.network.servers[RELAY].mute = True
    world.run(180.0)
    before = a.status(b)
    assert before.disruptions > 1
    a.kill(CONTROL_0)
    world.run(5.0)
    after = a.status(b)
    assert (after.disruptions, after.budget_left) == (before.disruptions, before.budget_left)
    assert (after.quarantined_at, after.quarantined_for) == (before.quarantined_at, before.quarantined_for)
    begun = [d for d in world.log if isinstance(d.message, PathProven) and d.at > world.now - 5.0]
    assert begun == [], "what was heard before it was spent proves nothing"
