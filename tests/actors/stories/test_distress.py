"""Whose trouble ends an ICE session, and whose does not."""

import pytest

from actors.effects import Effect
from actors.messages.packet import CloseIceAgent, IcePairProven, OpenIceAgent
from actors.messages.peer import Distress, PathReady
from actors.peer import wiring
from actors.peer.ice_worker import IceWorker
from tests.actors.stories.test_direct import direct, direct_pair, sessions_of, two
from tests.actors.stories.test_pairs import outage
from tests.actors.stories.world import Node, World

SEEDS = range(8)


class Hasty(IceWorker):
    """Rotates on every distress, also on that of a relayed connection beside a good direct path."""

    def _on_distress(self, distress: Distress) -> list[Effect]:
        return self._rotate(distress.reason) if distress.path == "relayed" else super()._on_distress(distress)


def relay_falls_silent(seed: int) -> tuple[World, Node, Node, float]:
    """The relay that stands by beside a direct path stops carrying; a while later."""
    world, a, b = direct_pair(seed)
    begun = world.now
    for server in world.network.servers.values():
        server.mute = True
    world.run(60.0)
    return world, a, b, begun


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dead_standby_does_not_end_the_session_of_the_direct_path(seed: int) -> None:
    world, a, b, begun = relay_falls_silent(seed)
    assert list(world.deliveries(CloseIceAgent, begun)) == []
    assert list(world.deliveries(Distress, begun)) != []
    assert outage(world, a, b, begun) < 0.1


def test_if_it_did_the_pair_would_be_left_without_any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is why recovery R6 is not kept to the letter here."""
    monkeypatch.setattr(wiring, "IceWorker", Hasty)
    outages = []
    for seed in range(4):
        world, a, b, begun = relay_falls_silent(seed)
        assert list(world.deliveries(CloseIceAgent, begun)) != []
        outages.append(outage(world, a, b, begun))
    assert min(outages) > 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_and_when_the_direct_path_dies_too_the_session_ends_with_it(seed: int) -> None:  # recovery R6
    world, a, b, _ = relay_falls_silent(seed)
    before = sessions_of(a, b)
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run(10.0)
    assert any(new != old for new, old in zip(sessions_of(a, b), before, strict=True))  # the first who noticed
    for server in world.network.servers.values():
        server.mute = False
    world.network.cut.clear()
    world.run_until(lambda: direct(world), 60.0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("foreign", [False, True])
def test_a_remote_whose_ice_is_gone_costs_no_packet_and_few_searches(
    seed: int, foreign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one STUN message gets through any more; WireGuard's do."""
    world, a, b = direct_pair(seed, foreign=foreign)
    begun = world.now
    monkeypatch.setattr(world.network, "send_stun", lambda sender, to, datagram: None)
    world.run(300.0)
    assert world.connected()
    assert outage(world, a, b, begun) < 0.1
    assert a.status(b).path == "relayed"
    assert a.status(b).reason.startswith("no direct path: ")
    assert a.status(b).tried
    for node in (a, b):
        opened = [delivery for delivery in world.deliveries(OpenIceAgent, begun) if delivery.node == node.name]
        assert 1 <= len(opened) <= 20
    assert world.closes(begun) == []
    monkeypatch.undo()
    world.run_until(lambda: direct(world), 120.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pair_is_proven_by_wireguard_within_a_round_trip_or_two(seed: int) -> None:
    world, a, b = two(seed)
    world.network.direct = False
    a.boot()
    b.boot()
    world.run_until(world.connected, 5.0)
    world.run(5.0)
    world.network.direct = True
    begun = world.now
    world.run_until(lambda: direct(world), 120.0)
    world.run(1.0)
    for node in (a, b):
        found = [d.at for d in world.deliveries(IcePairProven, begun) if d.node == node.name]
        proven = [d.at for d in world.deliveries(PathReady, begun) if d.node == node.name and _is_direct(d.message)]
        assert proven[0] - found[0] < 0.15  # 0.03 s there and back


def _is_direct(message: object) -> bool:
    return isinstance(message, PathReady) and message.path == "direct"
