"""Agents whose machines are real: they find each other, lose what they had, and come back."""

import pytest

from actors.addresses import CONTROL_0, PACKET
from actors.messages.node import OutsideEvent
from actors.messages.peer import OfferDue, SendOffer
from tests.actors.stories.world import Node, World
from transport.signal.messages import OfferReceived
from wg.paths import RelayedPath

RELAY, SECOND = "rel://relay.test:80", "rel://second.test:80"
SEEDS = range(12)


def pair(seed: int, relays: tuple[str, ...] = (RELAY,), *, traffic: bool = True) -> tuple[World, Node, Node]:
    """Two agents that have been connected for a while; the first is the controller."""
    world = World(seed, relays)
    a, b = world.add_nodes(2)
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    if traffic:
        a.send_data(b, 20)
        b.send_data(a, 20)
    world.run(90.0)
    assert world.connected()
    return world, a, b


def outage(world: World, a: Node, b: Node, since: float) -> float:
    return max(world.gap(a, b, since), world.gap(b, a, since))


# --- coming up ---


@pytest.mark.parametrize("seed", SEEDS)
def test_two_agents_that_start_together_are_connected_within_a_second(seed: int) -> None:
    world = World(seed)
    a, b = world.add_nodes(2)
    a.boot()
    b.boot()
    assert world.run_until(world.connected, 5.0) < 1.0
    world.run(2.0)
    for node, other in ((a, b), (b, a)):
        status = node.status(other)
        assert (status.state, status.path, status.ours) == ("connected", "relayed", True)
    assert world.closes() == []


@pytest.mark.parametrize("late", [0, 1])
def test_one_that_comes_later_finds_the_other(late: int) -> None:
    world = World(late)
    nodes = world.add_nodes(2)
    nodes[1 - late].boot()
    world.run(40.0)
    waiting = nodes[1 - late].status(nodes[late])
    assert waiting.state == "connecting"
    assert waiting.reason.startswith("the remote has not answered any offer (")
    nodes[late].boot()
    assert world.run_until(world.connected, 5.0) < 1.0


def test_without_a_relay_the_operator_reads_which_and_why() -> None:
    world = World(3)
    world.network.stop_relay(RELAY)
    a, b = world.add_nodes(2)
    a.boot()
    b.boot()
    world.run(10.0)
    for node, other in ((a, b), (b, a)):
        assert node.status(other).state == "connecting"
    assert a.status(b).reason == "not connected to our relay"
    assert b.status(a).reason == "no relay in the remote's offer"
    world.network.start_relay(RELAY)
    world.run_until(world.connected, 10.0)


def test_agents_with_different_homes_meet_at_the_controllers() -> None:
    world = World(4, (RELAY, SECOND))
    a, b = world.add_nodes(2)
    a.relays, b.relays = (RELAY,), (SECOND,)
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    world.run(2.0)
    assert a.status(b).relay_url == b.status(a).relay_url == RELAY
    world.network.stop_relay(SECOND)  # the other's home is not on their way
    world.run(60.0)
    assert world.connected()
    assert world.closes() == []


# --- faults ---


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_relay_is_recovered_from_without_any_signal(seed: int) -> None:  # S5, S12
    world, a, b = pair(seed)
    world.network.stop_signal()
    begun, posts = world.now, world.network.posts
    world.network.stop_relay(RELAY)
    world.run(0.5)
    world.network.start_relay(RELAY)
    world.run_until(world.connected, 5.0)
    world.run(5.0)
    assert world.network.posts == posts
    assert outage(world, a, b, begun) < 3.0
    status = a.status(b)
    assert status.recoveries == 1
    assert status.last_recovery_cause == "connection reset"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_restarted_control_process_costs_nothing(seed: int, which: int) -> None:  # S19
    world, a, b = pair(seed)
    node, begun = (a, b)[which], world.now
    before = len(node.tunnels().paths_set)
    node.kill(CONTROL_0)
    world.run(30.0)
    assert world.connected()
    assert node.tunnels().paths_set[before:] == []
    assert world.closes(begun) == []
    assert outage(world, a, b, begun) < 0.2
    assert node.status((b, a)[which]).state == "connected"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trouble", ["an actor raised", "mail went missing"])
def test_what_begins_anew_inside_control_costs_nothing_either(seed: int, trouble: str) -> None:
    world, a, b = pair(seed)
    begun, before = world.now, len(a.tunnels().paths_set)
    if trouble == "an actor raised":
        a.fail_peer(b)
    else:
        a.lose_mail()
    world.run(30.0)
    assert world.connected()
    assert a.tunnels().paths_set[before:] == []
    assert world.closes(begun) == []
    assert outage(world, a, b, begun) < 0.2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_restarted_packet_process_is_recovered_from(seed: int, which: int) -> None:  # S19
    world, a, b = pair(seed)
    begun = world.now
    (a, b)[which].kill(PACKET)
    world.run(0.1)
    world.run_until(world.connected, 5.0)
    world.run(5.0)
    assert outage(world, a, b, begun) < 2.0
    assert unwatched_paths(world) == []


def unwatched_paths(world: World) -> list[str]:
    """Return what packets are sent on and no live watcher watches (recovery R8)."""
    found = []
    for node in world.nodes:
        for other in world.nodes:
            if other is not node:
                tunnel, watcher = node.tunnels().tunnels[other.key], node.machine(other, "wg_watcher")
                assert tunnel.path is not None
                watched = [state.watch for state in (watcher.state, watcher.standby) if hasattr(state, "watch")]
                names = {(watch.path, watch.generation if watch.path == "relayed" else 0) for watch in watched}
                for path in tunnel.paths():
                    generation = path.generation if isinstance(path, RelayedPath) else 0
                    if (path.kind, generation) not in names:
                        found.append(f"{node.name} sends to {other.name} on {path}, watched: {names}")
    return found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_half_open_relay_link_is_noticed_and_replaced(seed: int, which: int) -> None:  # S4
    world, a, b = pair(seed)
    begun = world.now
    world.network.deafen((a, b)[which].key)
    world.run_until(lambda: not world.connected(), 5.0)
    world.run(6.0)
    world.network.undeafen()
    back = world.now
    world.run_until(world.connected, 10.0)
    world.run(5.0)
    assert world.now - begun < 40
    assert outage(world, a, b, back) < 6.0


@pytest.mark.parametrize("away_s", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_link_that_was_away_is_recovered_from_within_seconds_of_its_return(seed: int, away_s: float) -> None:  # S0
    world, a, b = pair(seed)
    world.network.deafen(b.key)
    world.run(away_s)
    world.network.undeafen()
    back = world.now
    world.run(10.0)
    assert world.connected()
    assert outage(world, a, b, back) < 5.0


@pytest.mark.parametrize("seed", SEEDS)
def test_evidence_close_closed_rotation_loss_offer_come_in_this_order(seed: int) -> None:  # recovery R6
    world, a, b = pair(seed)
    session, begun = a.machine(b, "ice_worker").state.session, world.now
    world.network.deafen(b.key)
    world.run(8.0)
    handled = [type(d.message).__name__ for d in world.log if d.node == a.name and d.at >= begun]
    for between in ("Distress", "PathLost"):  # two actors hear of these, each in its own time
        order = ["RelayEvidence", "CloseRelayed", "RelayedCloseDone", between, "SendOffer", "PostDescription"]
        places = [handled.index(name) for name in order]
        assert places == sorted(places)
    assert a.machine(b, "ice_worker").state.session != session


@pytest.mark.parametrize("seed", SEEDS)
def test_healthy_agents_that_offer_all_the_time_tear_nothing_down(seed: int) -> None:  # S22, recovery R2
    world = World(seed)
    nodes = world.add_nodes(3)
    for node in nodes:
        node.boot()
    world.run_until(world.connected, 5.0)
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.send_data(other, 5)
    begun = world.now
    for _ in range(200):
        world.run(world.rng.uniform(0.0, 0.5))
        node = world.rng.choice(nodes)
        other = world.rng.choice([other for other in nodes if other is not node])
        offer = SendOffer(peer=other.key, reason="a story")
        node.post(f"peer/{other.key}/offer_listener", CONTROL_0, offer)
    assert world.connected()
    assert world.closes(begun) == []
    assert len(list(world.deliveries(OfferReceived, begun))) >= 200


def test_guards_that_fire_together_disturb_nothing() -> None:  # S14
    world, a, b = pair(5)
    begun = world.now
    for node, other in ((a, b), (b, a)):
        node.post(f"peer/{other.key}/offer_listener", CONTROL_0, SendOffer(peer=other.key, reason="a story"))
    world.run(10.0)
    assert world.closes(begun) == []


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_loss_for_ten_minutes_flaps_nothing(loss: float) -> None:  # S20
    world, a, b = pair(6)
    world.network.loss, begun = loss, world.now
    world.run(600.0)
    assert world.closes(begun) == []
    assert a.status(b).recoveries == b.status(a).recoveries == 0


def test_an_idle_pair_stays_connected_without_a_word_over_signal() -> None:
    world, _, _ = pair(7, traffic=False)
    posts, begun = world.network.posts, world.now
    world.run(1800.0)
    assert world.connected()
    assert world.closes(begun) == []
    assert world.network.posts == posts
    assert not list(world.deliveries(OfferDue, begun))


def test_an_idle_pair_whose_path_died_notices_within_a_minute() -> None:
    world, a, b = pair(8, traffic=False)
    world.network.loss = 1.0
    world.run_until(lambda: a.status(b).state != "connected", 60.0)
    world.network.loss = 0.0
    world.run_until(world.connected, 30.0)


def test_after_sleep_the_path_is_proven_anew_at_once() -> None:  # S16
    world, a, b = pair(9)
    a.post("peers", CONTROL_0, OutsideEvent(kind="resumed"))
    world.run(0.1)
    assert type(a.machine(b, "wg_watcher").state).__name__ in ("Probing", "Proven")
    world.run(5.0)
    assert world.connected()
    assert a.status(b).recoveries == 0


# --- a foreign peer ---


def test_a_foreign_peer_is_met_and_recovered_by_handshakes() -> None:
    world = World(10)
    a, b = world.add_nodes(2)
    world.network.foreign.add(b.key)
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    a.send_data(b, 20)
    b.send_data(a, 20)
    world.run(60.0)
    assert a.status(b).ours is False
    begun = world.now
    world.network.stop_relay(RELAY)
    world.run(0.5)
    world.network.start_relay(RELAY)
    world.run_until(world.connected, 10.0)
    world.run(5.0)
    assert outage(world, a, b, begun) < 3.0


# --- all together ---


@pytest.mark.parametrize("seed", range(40))
def test_after_any_faults_everybody_is_connected_again(seed: int) -> None:
    world = World(1000 + seed)
    nodes = world.add_nodes(3)
    for node in nodes:
        node.boot()
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.send_data(other, 2)
    rng = world.rng
    for _ in range(rng.randrange(1, 10)):
        world.run(rng.choice([0.05, 0.4, 2.0, 9.0, 40.0]))
        match rng.randrange(8):
            case 0:
                world.network.stop_relay(RELAY)
                world.run(rng.choice([0.1, 1.0, 8.0]))
                world.network.start_relay(RELAY)
            case 1 | 2 as kind:
                process = PACKET if kind == 1 else CONTROL_0
                node = rng.choice(nodes)
                if not node.processes[process].dead:
                    node.kill(process)
            case 3:
                world.network.stop_signal()
                world.run(rng.choice([1.0, 20.0]))
                world.network.start_signal()
            case 4:
                node = rng.choice(nodes)
                if not node.processes[PACKET].dead:
                    world.network.deafen(node.key)
                    world.run(rng.choice([1.0, 5.0]))
                    world.network.undeafen()
            case 5:
                rng.choice(nodes).lose_mail()
            case 6:
                node = rng.choice(nodes)
                node.fail_peer(rng.choice([other for other in nodes if other is not node]))
            case _:
                world.network.loss = rng.choice([0.0, 0.1, 1.0])
                world.run(rng.choice([1.0, 20.0]))
                world.network.loss = 0.0
    world.run(1.0)
    took = world.run_until(world.connected, 60.0)
    assert took < 10.0
    world.run(70.0)
    assert world.connected()
    assert unwatched_paths(world) == []


def test_equal_seeds_tell_equal_stories() -> None:
    def told(seed: int) -> list[tuple[float, str, str, str]]:
        world, _, _ = pair(seed)
        return [(d.at, d.node, d.actor, type(d.message).__name__) for d in world.log]

    assert told(1) == told(1)
    assert told(1) != told(2)
