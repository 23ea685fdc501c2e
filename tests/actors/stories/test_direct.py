"""Agents that find a direct path, lose it, and find it again; the relay stands by."""

import pytest

from actors.addresses import CONTROL_0, PACKET
from actors.messages.node import OutsideEvent
from actors.messages.packet import CloseIceAgent, IceAgentEnded, OpenIceAgent, SetPath
from actors.messages.peer import IceDoubtful, IceLost, PathDead, PathDoubtful, SendOffer
from tests.actors.stories.test_pairs import RELAY, outage, unwatched_paths
from tests.actors.stories.world import Node, World
from transport.signal.messages import CandidateReceived, OfferReceived
from wg.paths import DirectPath

SEEDS = range(8)


def direct(world: World) -> bool:
    """Whether every path is direct, alone and proven, with a relayed connection to stand by."""
    for node in world.nodes:
        for other in world.nodes:
            if other is not node:
                tunnel, conn = node.tunnels().tunnels[other.key], node.machine(other, "conn").state
                if not isinstance(tunnel.path, DirectPath) or tunnel.standby is not None:
                    return False
                if type(conn).__name__ != "Proven" or conn.ways.direct.standing != "proven":
                    return False
    return world.connected()


def relayed(world: World) -> bool:
    return world.connected() and all(
        node.status(other).path == "relayed" for node in world.nodes for other in world.nodes if other is not node
    )


def two(seed: int, *, foreign: bool = False) -> tuple[World, Node, Node]:
    world = World(seed, ice=True)
    a, b = world.add_nodes(2)
    if foreign:
        world.network.foreign.add((a, b)[seed % 2].key)
    return world, a, b


def direct_pair(seed: int, *, foreign: bool = False, traffic: bool = True) -> tuple[World, Node, Node]:
    """Two agents that have had a direct path for a while; the first is the controller."""
    world, a, b = two(seed, foreign=foreign)
    a.boot()
    b.boot()
    world.run_until(lambda: len(world.nodes) == 2 and started(world) and direct(world), 15.0)
    if traffic:
        a.send_data(b, 50)
        b.send_data(a, 50)
    world.run(90.0)
    assert direct(world)
    return world, a, b


def started(world: World) -> bool:
    return all(
        other.key in node.tunnels().tunnels and f"peer/{other.key}/conn" in node.processes[CONTROL_0].actors
        for node in world.nodes
        for other in world.nodes
        if other is not node
    )


def paths_since(node: Node, before: int) -> list[SetPath]:
    return node.tunnels().paths_set[before:]


def offers(world: World, since: float) -> int:
    return len(list(world.deliveries(OfferReceived, since)))


# --- upgrade ---


@pytest.mark.parametrize("seed", SEEDS)
def test_the_relay_carries_first_and_nothing_is_lost_on_the_way_to_the_direct_path(seed: int) -> None:
    world, a, b = two(seed)
    world.network.direct = False
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    a.send_data(b, 1000)
    b.send_data(a, 1000)
    world.run(1.0)
    assert relayed(world)
    world.network.direct = True
    world.run_until(lambda: direct(world), 60.0)
    world.run(0.5)
    for node, other in ((a, b), (b, a)):
        node_sent = other.tunnels().tunnels[node.key].sent
        world.run(0.2)
        assert len(node.arrivals(other)) >= node_sent
        shown = node.status(other)
        assert (shown.state, shown.recoveries) == ("connected", 0)
    world.run(1.0)
    assert [node.status(other).path for node, other in ((a, b), (b, a))] == ["direct", "direct"]
    assert unwatched_paths(world) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_two_that_start_together_are_direct_within_seconds(seed: int) -> None:
    world, a, b = two(seed)
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    assert world.run_until(lambda: direct(world), 10.0) < 3.0
    begun, closes = world.now, len(world.closes())
    world.run(600.0)
    assert direct(world)
    assert len(world.closes()) == closes
    assert list(world.deliveries(CloseIceAgent, begun)) == []
    assert offers(world, begun) == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("traffic", [True, False])
def test_a_direct_path_that_becomes_possible_is_found(seed: int, *, traffic: bool) -> None:  # S10
    world, a, b = two(seed)
    world.network.direct = False
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    if traffic:
        a.send_data(b, 5)
        b.send_data(a, 5)
    world.run(1800.0)
    assert relayed(world)
    assert a.status(b).reason.startswith("no direct path: ")
    assert a.status(b).tried
    per_hour = 2 * offers(world, world.now - 900.0) * 2
    assert per_hour < (400 if traffic else 40)
    world.network.direct = True
    assert world.run_until(lambda: direct(world), 600.0) < (60.0 if traffic else 600.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_an_event_it_is_found_quickly(seed: int) -> None:  # S10
    world, a, b = two(seed)
    world.network.direct = False
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    world.run(900.0)
    world.network.direct = True
    (a, b)[seed % 2].post("peers", CONTROL_0, OutsideEvent(kind="network_changed"))
    assert world.run_until(lambda: direct(world), 60.0) < 10.0


# --- a direct path that dies ---


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", ["both", "there", "back"])
def test_a_cut_direct_path_is_replaced_by_the_relay_within_two_seconds(seed: int, way: str) -> None:  # S2, S8
    world, a, b = direct_pair(seed)
    begun = world.now
    if way in ("both", "there"):
        world.network.cut.add((a.key, b.key))
    if way in ("both", "back"):
        world.network.cut.add((b.key, a.key))
    world.run(30.0)
    assert relayed(world)
    assert outage(world, a, b, begun) < 2.0
    noticed = [d.at - begun for kind in (IceDoubtful, PathDoubtful) for d in world.deliveries(kind, begun)]
    assert min(noticed) < 1.5
    world.network.cut.clear()
    assert world.run_until(lambda: direct(world), 120.0) < 60.0
    assert unwatched_paths(world) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", ["both", "there", "back"])
def test_so_is_one_on_which_only_stun_passes(seed: int, way: str) -> None:  # S9
    world, a, b = direct_pair(seed)
    begun = world.now
    if way in ("both", "there"):
        world.network.cut_packets.add((a.key, b.key))
    if way in ("both", "back"):
        world.network.cut_packets.add((b.key, a.key))
    world.run(300.0)
    assert relayed(world)
    assert outage(world, a, b, begun) < 2.0
    again = [gap for gap in (world.gap(a, b, begun + 10), world.gap(b, a, begun + 10)) if gap > 0.1]
    assert again == []  # what is tried anew costs no packet
    world.network.cut_packets.clear()
    assert world.run_until(lambda: direct(world), 120.0) < 60.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("which", [0, 1])
def test_an_address_that_changes_unnoticed_costs_two_seconds(seed: int, which: int) -> None:  # S2
    world, a, b = direct_pair(seed)
    begun = world.now
    world.network.readdress((a, b)[which].key)
    world.run(30.0)
    assert world.connected()
    assert outage(world, a, b, begun) < 2.0


@pytest.mark.parametrize("seed", SEEDS)
def test_an_address_that_changes_and_is_noticed_leads_to_another_direct_path(seed: int) -> None:
    world, a, b = direct_pair(seed)
    begun, node = world.now, (a, b)[seed % 2]
    world.network.readdress(node.key)
    world.network.ice[node.key].readdressed()
    assert world.run_until(lambda: direct(world), 30.0) < 10.0
    world.run(10.0)
    assert outage(world, a, b, begun) < 2.0


@pytest.mark.parametrize("seed", SEEDS)
def test_direct_and_relay_dead_at_once_are_recovered_from(seed: int) -> None:
    world, a, b = direct_pair(seed)
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.network.stop_relay(RELAY)
    world.run(20.0)
    assert not world.connected()
    world.network.start_relay(RELAY)
    assert world.run_until(world.connected, 20.0) < 10.0
    world.network.cut.clear()
    world.run_until(lambda: direct(world), 120.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_relay_dying_after_the_direct_path_is_noticed_and_the_other_way_round(seed: int) -> None:  # S15
    world, a, b = direct_pair(seed)
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run(8.0)
    assert relayed(world)
    begun = world.now
    world.network.stop_relay(RELAY)
    world.run(0.5)
    world.network.start_relay(RELAY)
    world.run(5.0)
    assert world.connected()
    assert outage(world, a, b, begun) < 5.0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dead_standby_is_noticed_reopened_and_costs_nothing(seed: int) -> None:  # S4
    world, a, b = direct_pair(seed)
    begun, sessions = world.now, sessions_of(a, b)
    world.network.stop_relay(RELAY)
    world.run(5.0)
    assert world.connected()
    world.network.start_relay(RELAY)
    world.run(60.0)
    assert direct(world)
    for node, other in ((a, b), (b, a)):
        assert node.machine(other, "conn").state.ways.relay.standing == "proven"
    assert outage(world, a, b, begun) < 0.1
    assert sessions_of(a, b) == sessions
    assert list(world.deliveries(IceLost, begun)) == []


def sessions_of(a: Node, b: Node) -> list[bytes]:
    return [node.machine(other, "ice_worker").state.session for node, other in ((a, b), (b, a))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_standby_that_silently_carries_nothing_is_noticed_within_30_s(seed: int) -> None:  # S4
    world, a, b = direct_pair(seed)
    begun = world.now
    for server in world.network.servers.values():
        server.mute = True
    world.run(30.0)
    dead = {d.node for d in world.deliveries(PathDead, begun) if str(d.message).find("path='relayed'") >= 0}
    assert dead == {a.name, b.name}
    assert direct_alone(a, b)
    assert direct_alone(b, a)
    assert outage(world, a, b, begun) < 0.1


def direct_alone(node: Node, other: Node) -> bool:
    return isinstance(node.tunnels().tunnels[other.key].path, DirectPath)


# --- restarts ---


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trouble", ["killed", "an actor raised", "mail went missing"])
def test_a_restart_of_control_while_direct_changes_nothing(seed: int, trouble: str) -> None:  # S19
    world, a, b = direct_pair(seed)
    node, other = ((a, b), (b, a))[seed % 2]
    begun, before, sessions = world.now, len(node.tunnels().paths_set), sessions_of(a, b)
    match trouble:
        case "killed":
            node.kill(CONTROL_0)
        case "an actor raised":
            node.fail_peer(other)
        case _:
            node.lose_mail()
    world.run(60.0)
    assert direct(world)
    assert paths_since(node, before) == []
    assert world.closes(begun) == []
    assert sessions_of(a, b) == sessions
    assert list(world.deliveries(CloseIceAgent, begun)) + list(world.deliveries(OpenIceAgent, begun)) == []
    assert outage(world, a, b, begun) < 0.1
    shown = node.status(other)
    assert (shown.state, shown.path, shown.ours) == ("connected", "direct", True)
    # And what was taken over is held: a fault is met as ever.
    begun = world.now
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run(30.0)
    assert relayed(world)
    assert outage(world, a, b, begun) < 2.5
    assert sessions_of(a, b) != sessions


@pytest.mark.parametrize("seed", range(20))
def test_a_restart_of_control_at_any_moment_of_the_upgrade_ends_well(seed: int) -> None:
    world, a, b = two(seed)
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    a.send_data(b, 50)
    b.send_data(a, 50)
    world.run(world.rng.uniform(0.0, 0.8))
    (a, b)[seed % 2].kill(CONTROL_0)
    world.run(1.0)
    world.run_until(lambda: direct(world), 60.0)
    assert unwatched_paths(world) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_packet_process_rotates_and_is_direct_again(seed: int) -> None:  # S19
    world, a, b = direct_pair(seed)
    begun, node = world.now, (a, b)[seed % 2]
    session = sessions_of(a, b)[seed % 2]
    node.kill(PACKET)
    world.run(0.5)
    world.run_until(world.connected, 10.0)
    world.run_until(lambda: direct(world), 30.0)
    world.run(2.0)
    assert sessions_of(a, b)[seed % 2] != session
    assert outage(world, a, b, begun) < 2.5


@pytest.mark.parametrize("seed", SEEDS)
def test_after_sleep_the_pair_is_proven_anew_at_once(seed: int) -> None:  # S16
    world, a, b = direct_pair(seed)
    begun = world.now
    a.post("peers", CONTROL_0, OutsideEvent(kind="resumed"))
    world.run(10.0)
    assert direct(world)
    assert list(world.deliveries(IceLost, begun)) == []
    assert outage(world, a, b, begun) < 0.1


# --- sessions ---


@pytest.mark.parametrize("seed", SEEDS)
def test_evidence_rotation_loss_offer_come_in_this_order(seed: int) -> None:  # recovery R6
    world, a, b = direct_pair(seed)
    begun, before = world.now, sessions_of(a, b)
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run_until(lambda: sessions_of(a, b) != before, 20.0)
    world.run(2.0)
    which = 0 if sessions_of(a, b)[0] != before[0] else 1
    node, other = ((a, b), (b, a))[which]
    to = f"peer/{other.key}/"
    handled = [
        (d.actor.removeprefix(to), type(d.message).__name__) for d in world.log if d.at >= begun and d.node == node.name
    ]
    evidence = [("ice_worker", "Distress"), ("ice_worker", "IceAgentEnded")]
    order = [
        handled.index(step)
        for step in (
            ("offer_listener", "LocalIceChanged"),
            ("guard", "IceLost"),
            ("offer_listener", "SendOffer"),
        )
    ]
    assert max(order[:2]) < order[2]
    assert min(handled.index(step) for step in evidence if step in handled) < min(order)
    assert handled.index(("ice_agents", "CloseIceAgent")) < order[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_both_rotating_at_once_settle(seed: int) -> None:  # S3
    world, a, b = direct_pair(seed)
    before, begun = sessions_of(a, b), world.now
    for node, other in ((a, b), (b, a)):
        ended = IceAgentEnded(
            peer=other.key, session=node.machine(other, "ice_worker").state.session, reason="a story", tried=()
        )
        node.post(f"peer/{other.key}/ice_worker", CONTROL_0, ended)
    world.run(1.0)
    world.run_until(lambda: direct(world), 20.0)
    after = sessions_of(a, b)
    assert all(x != y for x, y in zip(before, after, strict=True))
    world.run(120.0)
    assert sessions_of(a, b) == after
    assert direct(world)
    assert outage(world, a, b, begun) < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_offers_that_keep_coming_touch_no_direct_path(seed: int) -> None:  # S13, S22
    world, a, b = direct_pair(seed)
    begun, before = world.now, (len(a.tunnels().paths_set), len(b.tunnels().paths_set))
    for _ in range(100):
        node, other = world.rng.choice(((a, b), (b, a)))
        node.post(f"peer/{other.key}/offer_listener", CONTROL_0, SendOffer(peer=other.key, reason="a story"))
        world.run(world.rng.uniform(0.0, 0.5))
    assert direct(world)
    assert paths_since(a, before[0]) + paths_since(b, before[1]) == []
    assert list(world.deliveries(CloseIceAgent, begun)) == []
    assert world.closes(begun) == []


# --- a foreign peer ---


@pytest.mark.parametrize("seed", SEEDS)
def test_a_foreign_peer_is_reached_directly_one_path_at_a_time(seed: int) -> None:
    world, a, b = direct_pair(seed, foreign=True)
    ours, theirs = (b, a) if seed % 2 == 0 else (a, b)  # who sees a foreign remote
    for path in ours.tunnels().paths_set:
        assert path.standby is None
    assert ours.status(theirs).ours is False
    assert len(list(world.deliveries(CandidateReceived))) > 2
    begun = world.now
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run(60.0)
    assert relayed(world)
    assert outage(world, a, b, begun) < 13.0
    assert all(path.standby is None for path in ours.tunnels().paths_set)


# --- all together ---


@pytest.mark.parametrize("seed", range(40))
def test_after_any_faults_everybody_is_direct_again(seed: int) -> None:
    world = World(2000 + seed, ice=True)
    nodes = world.add_nodes(3)
    for node in nodes:
        node.boot()
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.send_data(other, 2)
    rng = world.rng
    for _ in range(rng.randrange(1, 8)):
        world.run(rng.choice([0.05, 0.4, 2.0, 9.0, 40.0]))
        node = rng.choice(nodes)
        other = rng.choice([other for other in nodes if other is not node])
        match rng.randrange(10):
            case 0:
                world.network.stop_relay(RELAY)
                world.run(rng.choice([0.1, 1.0, 8.0]))
                world.network.start_relay(RELAY)
            case 1 | 2 as kind:
                process = PACKET if kind == 1 else CONTROL_0
                if not node.processes[process].dead:
                    node.kill(process)
            case 3:
                world.network.stop_signal()
                world.run(rng.choice([1.0, 20.0]))
                world.network.start_signal()
            case 4:
                world.network.cut.add((node.key, other.key))
                world.run(rng.choice([0.5, 5.0, 30.0]))
                world.network.cut.clear()
            case 5:
                node.lose_mail()
            case 6:
                node.fail_peer(other)
            case 7:
                world.network.cut_packets.add((node.key, other.key))
                world.run(rng.choice([0.5, 5.0, 30.0]))
                world.network.cut_packets.clear()
            case 8:
                world.network.readdress(node.key)
                if not node.processes[PACKET].dead:
                    world.network.ice[node.key].readdressed()
            case _:
                world.network.loss = rng.choice([0.1, 0.3, 1.0])
                world.run(rng.choice([1.0, 20.0]))
                world.network.loss = 0.0
    world.run(1.0)
    assert world.run_until(world.connected, 60.0) < 15.0
    world.run_until(lambda: started(world) and direct(world), 120.0)
    quiet = world.now
    world.run(200.0)
    assert direct(world)
    assert list(world.deliveries(IceLost, quiet)) == []
    assert unwatched_paths(world) == []
