"""ICE sessions settle: whatever signalling did, both ends come to hold one pair of sessions, and leave it alone.

Also towards foreign peers: one that replaces its session whenever it hears of us, one that has none.
"""

from functools import partial
from typing import Any

import msgspec
import pytest

from actors.addresses import CONTROL_0
from actors.effects import Effect
from actors.messages.packet import CloseOnLink, OpenIceAgent
from actors.messages.peer import Distress, IceTurn, PathLost, SendOffer
from actors.peer import wiring
from actors.peer.ice_worker import Connected, IceOutcome, IceWorker
from config.keys import PublicKey
from tests.actors.stories.test_direct import direct, sessions_of, two
from tests.actors.stories.world import Node, World
from transport.signal.messages import OfferReceived, PostCandidate, PostDescription, SessionId

SEEDS = range(60)
DISTURBED_S = 40.0
SETTLED_S = 75.0  # after the last disturbance: a search and a wait of each end, in the order that takes longest
QUIET_S = 300.0
MOST_AGENTS = 2  # of each end, after the last disturbance: for a session that was replaced, and for the next


class Prompt(IceWorker):
    """Offers as soon as it has replaced its agent."""

    def _replace(self, turn: IceTurn, now: float) -> list[Effect]:
        return [*super()._replace(turn, now), self._to.offer_listener.send(SendOffer(peer=self._peer, reason="prompt"))]


class Chasing(IceWorker):
    """The rule that two peers must not both have: the remote's new session changes ours too, told as promptly."""

    def _replace(self, turn: IceTurn, now: float) -> list[Effect]:
        rotated = self._rotate("the remote has begun another ICE session")
        offer = self._to.offer_listener.send(SendOffer(peer=self._peer, reason="prompt"))
        return [*rotated, *self._open(turn, now), offer]


class Restless(IceWorker):
    """Changes its session with every offer and answer that it hears."""

    def _on_turn(self, turn: IceTurn, now: float) -> tuple[IceOutcome, list[Effect]]:
        rotated = self._rotate("whatever")
        outcome, effects = super()._on_turn(turn, now)
        return outcome, [*rotated, *effects]


def disturb(world: World, monkeypatch: pytest.MonkeyPatch, until: float) -> None:
    """Have signalling lose, repeat, delay and so reorder what it is given, until then."""
    rng, deliver = world.rng, world.network._hand_over

    def hand_over(to: PublicKey, message: msgspec.Struct) -> None:
        if world.now >= until:
            deliver(to, message)
            return
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            world.call_at(world.now + rng.expovariate(2.0), partial(deliver, to, message))

    monkeypatch.setattr(world.network, "_hand_over", hand_over)


def trouble(world: World, a: Node, b: Node, until: float) -> None:
    """Have both find themselves in distress, and offer, at any moment until then."""
    while world.now < until:
        world.run(world.rng.expovariate(1 / 4.0))
        node, other = world.rng.choice(((a, b), (b, a)))
        to = f"peer/{other.key}/"
        match world.rng.randrange(4):
            case 0:
                distress = Distress(peer=other.key, path="direct", reason="a story")
                node.post(f"{to}ice_worker", CONTROL_0, distress)
            case 1:
                distress = Distress(peer=other.key, path="relayed", reason="a story")
                node.post(f"{to}ice_worker", CONTROL_0, distress)
            case 2:
                world.network.cut |= {(node.key, other.key), (other.key, node.key)}
                world.run(world.rng.uniform(0.0, 4.0))
                world.network.cut.clear()
            case _:
                node.post(f"{to}offer_listener", CONTROL_0, SendOffer(peer=other.key, reason="a story"))


def disturbed_pair(
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    foreign: type[IceWorker] | None = None,
) -> tuple[World, Node, Node]:
    world, a, b = two(seed)
    if foreign is not None:
        make_foreign(world, a, b, foreign, monkeypatch)
    until = world.now + DISTURBED_S
    disturb(world, monkeypatch, until)
    a.boot()
    b.boot()
    world.run(1.0)
    trouble(world, a, b, until)
    world.run(0.1)
    return world, a, b


def agents_opened(world: World, node: Node, since: float) -> int:
    return sum(delivery.node == node.name for delivery in world.deliveries(OpenIceAgent, since))


def settled(world: World, a: Node, b: Node) -> bool:
    """Whether both have an agent for the same two sessions, and a direct path."""
    states = [a.machine(b, "ice_worker").state, b.machine(a, "ice_worker").state]
    if not all(isinstance(state, Connected) for state in states):
        return False
    (ours, theirs), (known_to_b, known_to_a) = sessions_of(a, b), sessions_of_remote(a, b)
    return (ours, theirs) == (known_to_a, known_to_b) and direct(world)


def sessions_of_remote(a: Node, b: Node) -> list[SessionId]:
    """Return what each takes for the other's session."""
    return [node.machine(other, "ice_worker").state.remote_session for node, other in ((a, b), (b, a))]


def settles(world: World, a: Node, b: Node) -> bool:
    """Whether the pair settles in time, and stays so."""
    world.run(SETTLED_S)
    begun, settled_in_time = world.now, settled(world, a, b)
    world.run(QUIET_S)
    quiet = not agents_opened(world, a, begun) and not agents_opened(world, b, begun)
    return settled_in_time and quiet and settled(world, a, b)


def answer_with_what_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have answers name the session that the offer led to, as those of NetBird do (signal spec 6.7)."""
    network = world.network
    post, nodes = network.post, {node.key: node for node in world.nodes}

    def later(sender: PublicKey, posted: PostDescription) -> None:
        ours = nodes[sender].processes[CONTROL_0].actors[f"peer/{posted.peer}/ice_worker"]._ours
        said = msgspec.structs.replace(posted.description, ice=ours.credentials, session=ours.id)
        post(sender, msgspec.structs.replace(posted, description=said))

    def posted_by(sender: PublicKey, posted: PostDescription | PostCandidate) -> None:
        if isinstance(posted, PostDescription) and posted.kind == "answer":
            world.call_at(world.now + 0.005, partial(later, sender, posted))
        else:
            post(sender, posted)

    monkeypatch.setattr(network, "post", posted_by)


# --- two of ours ---


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_signalling_did_two_settle(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:  # recovery R6, R7
    world, a, b = disturbed_pair(seed, monkeypatch)
    stopped = world.now
    assert settles(world, a, b)
    assert max(agents_opened(world, node, stopped) for node in (a, b)) <= MOST_AGENTS


@pytest.mark.parametrize(("rule", "circles"), [(Prompt, False), (Chasing, True)])
def test_two_that_both_rotated_on_the_others_change_would_not(
    rule: type[IceWorker], circles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One distress of one end, and they replace each other's agents for ever; not the prompt offers do it."""
    monkeypatch.setattr(wiring, "IceWorker", rule)
    restless = []
    for seed in range(12):
        world, a, b = disturbed_pair(seed, monkeypatch)
        world.run(20.0)
        distress = Distress(peer=b.key, path="direct", reason="the last one")
        a.post(f"peer/{b.key}/ice_worker", CONTROL_0, distress)
        stopped = world.now
        world.run(10.0)
        if min(agents_opened(world, node, stopped) for node in (a, b)) > 20:
            restless.append(seed)
    assert len(restless) >= 6 if circles else restless == [], restless


# --- a foreign peer ---


@pytest.mark.parametrize("seed", range(20))
def test_one_that_rotates_on_our_change_settles_with_us(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rotation of ours is followed by one of theirs, and that by none: two agents for each distress."""
    world, a, b = disturbed_pair(seed, monkeypatch, foreign=Chasing)
    stopped = world.now
    assert settles(world, a, b)
    assert agents_opened(world, a, stopped) <= 2 * MOST_AGENTS


@pytest.mark.parametrize("seed", range(8))
def test_one_that_rotates_on_whatever_it_hears_costs_an_agent_for_each_of_its_offers(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There never is a direct path with it.  The relay carries on, and our searches are those of any peer without."""
    world, a, b = two(seed)
    make_foreign(world, a, b, Restless, monkeypatch)
    a.boot()
    b.boot()
    world.run_until(world.connected, 10.0)
    begun = world.now
    world.run(3600.0)
    heard = [d for d in world.deliveries(OfferReceived, begun) if d.node == a.name]
    asked = [d for d in world.deliveries(SendOffer, begun) if d.node == a.name]
    assert agents_opened(world, a, begun) <= len(heard) + len(asked)
    assert len(asked) <= 60
    assert list(world.deliveries(PathLost, begun)) == []
    assert list(world.deliveries(CloseOnLink, begun)) == []
    assert world.connected()


def make_foreign(world: World, a: Node, b: Node, worker: type[IceWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `b` a peer that is not ours, whose ICE worker has rules of its own."""
    world.network.foreign.add(b.key)

    def made(peer: PublicKey, *args: Any, **kwargs: Any) -> IceWorker:
        return (worker if peer == a.key else IceWorker)(peer, *args, **kwargs)

    monkeypatch.setattr(wiring, "IceWorker", made)
    answer_with_what_is(world, monkeypatch)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("controlling", [True, False])
def test_one_without_session_ids_is_reached_and_reached_again(
    seed: int, controlling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps an agent until that fails by itself, whatever we say (signal spec 5.8)."""
    world, a, b = two(seed)
    theirs, ours = (a, b) if controlling else (b, a)
    world.network.foreign.add(theirs.key)
    post = world.network.post

    def without_ids(sender: PublicKey, posted: PostDescription | PostCandidate) -> None:
        if isinstance(posted, PostDescription):
            posted = msgspec.structs.replace(
                posted, description=msgspec.structs.replace(posted.description, session=None)
            )
        post(sender, posted)

    monkeypatch.setattr(world.network, "post", without_ids)
    a.boot()
    b.boot()
    world.run(1.0)
    world.run_until(lambda: direct(world), 30.0)
    begun = world.now
    world.run(600.0)
    assert agents_opened(world, a, begun) + agents_opened(world, b, begun) == 0
    world.network.cut |= {(a.key, b.key), (b.key, a.key)}
    world.run(40.0)
    assert world.connected()
    assert ours.status(theirs).path == "relayed"
    world.network.cut.clear()
    world.run_until(lambda: direct(world), 600.0)
    assert agents_opened(world, ours, begun) <= 12
