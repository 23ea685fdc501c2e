"""What recovery.md bounds by the hour and by the day, run for as long: `python -m tests.simulator --figures`.

Each row is a run of its own; `rows` runs them on all cores.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import msgspec

from tests.kit.nats import MASQUERADE
from tests.simulator.acts import Acts
from tests.simulator.agent import Agent
from tests.simulator.faults import AnyFault, DirectCut, Lossy, OffersForced, ServerApart, SignalMangled
from tests.simulator.invariants import ACTIONS
from tests.simulator.run import judge, perform
from tests.simulator.scenario import AT_S, HOUR_S, NAMED, WAYS, A, B, Figures, Scenario, behind, pair
from tests.simulator.simulation import AgentPlan, Simulation, Topology

SEED = 1
SLICE_S = 600.0  # after which a long run forgets its mail
SETTLE_S = 60.0
DAY_S = 24 * HOUR_S
MANY = 100  # agents


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    measured: str
    figure: str
    virtual_h: float
    ok: bool


def rows(begin: Callable[[], None], only: str = "") -> Iterator[Row]:
    """Yield the rows, those whose name begins with `only`; `begin` is called in each process that runs them."""
    asked = [row for name, row in ROWS if name.startswith(only)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=begin) as pool:
        yield from pool.map(_call, asked)


def _call(row: Callable[[], Row]) -> Row:
    return row()


# --- from nothing wrong ---


def untouched(name: str, topology: Topology, faults: tuple[AnyFault, ...]) -> Row:
    """Count what is torn down of healthy pairs within an hour."""
    figures = Figures(recovered_s=1.0, disruptive=0)
    outcome = judge(perform(Scenario(name=name, topology=topology, faults=faults, figures=figures), SEED), SEED, name)
    return Row(
        what=f"{name}: disruptive actions an hour on healthy pairs",
        measured=_told(outcome.disruptive, outcome.problems),
        figure="0",
        virtual_h=outcome.virtual_s / HOUR_S,
        ok=outcome.ok,
    )


def _healthy() -> Iterator[tuple[str, Callable[[], Row]]]:
    mangled = SignalMangled(at_s=AT_S, for_s=HOUR_S, twice=0.5, late=0.5, again=0.3)
    forced = OffersForced(at_s=AT_S, for_s=HOUR_S, every_s=3.0)
    at_once = OffersForced(at_s=AT_S, for_s=HOUR_S, every_s=10.0)
    rapid = OffersForced(at_s=AT_S, for_s=HOUR_S, every_s=1.0)
    for way, ice in WAYS:
        two = pair(ice=ice, per_second=2.0)
        three = Topology((AgentPlan(behind(MASQUERADE)), AgentPlan(), AgentPlan()), ice=ice, per_second=2.0)
        yield "S13", partial(untouched, f"S13 {way}", two, (mangled, forced))
        yield "S14", partial(untouched, f"S14 {way}, every 10 s", two, (at_once,))
        yield "S22", partial(untouched, f"S22 {way}", three, (rapid,))
        for loss in (0.05, 0.2):
            lossy = Lossy(at_s=AT_S, for_s=HOUR_S, loss=loss, jitter_s=0.02)
            yield "S20", partial(untouched, f"S20 {way}, {loss:.0%} loss", two, (lossy,))


def false_alarms(ice: bool, per_second: float, hours: float) -> Row:
    """Count paths that are called dead, agents and connections that end, while packets get lost, nothing else."""
    sim = Simulation(pair(ice=ice, per_second=per_second), SEED)
    sim.boot()
    sim.run_for(SETTLE_S)
    sim.conditions.loss, sim.conditions.jitter_s = 0.05, 0.02
    before, doubts = _alarms(sim), _count(sim, "path_doubtful")
    _run_long(sim, hours * HOUR_S)
    alarms = _alarms(sim) - before
    a_day = alarms * 24 / hours
    way = "direct" if ice else "relay"
    doubted = _count(sim, "path_doubtful") - doubts
    return Row(
        what=f"false alarms a day at 5 % loss, {way}, {per_second:g} packets/s",
        measured=f"{a_day:g} ({alarms} in {hours:g} h; doubted {doubted} times)",
        figure="<= 1",
        virtual_h=hours,
        ok=a_day <= 1,
    )


def _alarms(sim: Simulation) -> int:
    return _count(sim, "path_dead", "path_lost", "ice_agent_ended", "relayed_closed", "link_closed")


# --- from what never gets well ---


def broken(name: str, faults: tuple[AnyFault, ...], hours: float, meets: bool = False) -> Row:
    """Count what a pair that cannot meet tears down within an hour, and what it asks of the signal server."""
    sim = Simulation(pair(per_second=1.0), SEED)
    sim.boot()
    Acts(sim, faults)
    sim.run_for(AT_S)
    offers = sim.signal.posts
    _run_long(sim, hours * HOUR_S)
    posts = (sim.signal.posts - offers) / hours
    most = _most_within_an_hour([action.at for action in sim.account.actions])
    unproven = max(sim.account.most_unproven.values(), default=0)
    return Row(
        what=f"{'' if meets else 'permanently '}broken pair ({name}): disruptive actions of both in the worst hour",
        measured=f"{most}, {unproven} of one end that no proof followed; {posts:.0f} signal messages an hour",
        figure="<= 6 without proof" if meets else "<= 6",
        virtual_h=hours,
        ok=unproven <= ACTIONS and (meets or most <= ACTIONS),
    )


def _most_within_an_hour(times: list[float]) -> int:
    return max((sum(at <= other <= at + HOUR_S for other in times) for at in times), default=0)


def _broken() -> Iterator[tuple[str, Callable[[], Row]]]:
    hours = 6.0
    apart = ServerApart(at_s=AT_S, for_s=DAY_S, agent=A, server=0)
    dead, stun_only = (_cut(packets_only=each) for each in (False, True))
    flapping = tuple(
        ServerApart(at_s=AT_S + 120.0 * turn, for_s=60.0, agent=A, server=0) for turn in range(int(hours * 30))
    )
    ways: dict[str, tuple[AnyFault, ...]] = {
        "nothing gets through": (*dead, apart),
        "STUN alone gets through": (*stun_only, apart),
        "one way alone": (dead[0], apart),
    }
    for name, faults in ways.items():
        yield "broken", partial(broken, name, faults, hours)
    yield "broken", partial(broken, "its relay is there one minute of two", (*dead, *flapping), hours, meets=True)


def _cut(*, packets_only: bool) -> tuple[DirectCut, DirectCut]:
    one, other = (
        DirectCut(at_s=AT_S, for_s=DAY_S, sender=sender, receiver=receiver, packets_only=packets_only)
        for sender, receiver in ((A, B), (B, A))
    )
    return one, other


def same_key() -> Row:
    """Count how often two with one key displace each other within an hour, and see when they say so."""
    sim = Simulation(Topology((AgentPlan(), AgentPlan(), AgentPlan(twin=True)), per_second=0.0), SEED)
    peer, first, second = sim.agents
    peer.boot()
    first.boot()
    sim.run_for(SETTLE_S)
    second.boot()
    begun_at, shown_s = sim.now, math.inf
    displaced: list[float] = []  # when, at the signal server
    replaced: list[float] = []  # and at the relay
    while sim.now - begun_at < 3 * HOUR_S:
        sim.run_for(1.0)
        displaced += [sim.now] * (sim.signal.displaced - len(displaced))
        replaced += [sim.now] * (sim.relays[0].replaced - len(replaced))
        if any("displaced" in _signal_reason(agent) for agent in (first, second)):
            shown_s = min(shown_s, sim.now - begun_at)
    signal, relay = _most_within_an_hour(displaced), _most_within_an_hour(replaced)
    return Row(
        what="S21: reason shown; displacements an hour, the worst, at the signal server and at the relay",
        measured=f"{shown_s:.0f} s; {signal}, {relay}",
        figure="<= 10 s; <= 6",
        virtual_h=3.0,
        ok=shown_s <= 10.0 and max(signal, relay) <= ACTIONS,
    )


def _signal_reason(agent: Agent) -> str:
    status = agent.control.status.signal if agent.control is not None else None
    return status.reason if status is not None else ""


# --- as they are named, and many ---


def named(name: str) -> Row:
    """Run a scenario of scenario.py, and tell what its figure asks for."""
    scenario = NAMED[name]
    outcome = judge(perform(scenario, SEED), SEED, name)
    figures = scenario.figures
    if figures.direct_s is not None:
        after = "never" if outcome.direct_s is None else f"{outcome.direct_s:.1f} s"
        what, limit_s = f"{name}: direct after", figures.direct_s
    else:
        after, limit_s, what = f"{outcome.outage_s:.2f} s", figures.outage_s or 0.0, f"{name}: outage"
    return Row(
        what=what,
        measured=_told(after, outcome.problems),
        figure=f"<= {limit_s:g} s",
        virtual_h=outcome.virtual_s / HOUR_S,
        ok=outcome.ok,
    )


def many() -> Row:
    """Have many agents meet, every one with every other, and lose their relay once."""
    begun = time.process_time()
    sim = Simulation(Topology(tuple(AgentPlan() for _ in range(MANY)), ice=False, per_second=0.0), SEED)
    begun_at = sim.now
    sim.boot()
    met_s = _until_proven(sim)
    sim.run_for(SETTLE_S)
    sim.relays[0].stop()
    sim.run_for(0.5)
    sim.relays[0].start()
    sim.run_for(1.0)
    back_s = _until_proven(sim)
    sim.run_for(SETTLE_S)
    took_s = time.process_time() - begun
    deepest = max(agent.world.deepest for agent in sim.agents)
    return Row(
        what=f"{MANY} agents, {MANY * (MANY - 1) // 2} relayed pairs, their relay restarted: all met; all back",
        measured=f"{met_s:g} s; {back_s + 1.5:g} s; deepest mailbox {deepest}; {took_s:.0f} s of processor time",
        figure="- ; <= 20 s",
        virtual_h=(sim.now - begun_at) / HOUR_S,
        ok=back_s + 1.5 <= 20.0 and sim.all_proven(),
    )


def _until_proven(sim: Simulation) -> float:
    begun_at = sim.now
    while not sim.all_proven() and sim.now - begun_at < HOUR_S:
        sim.run_for(0.5)
    return sim.now - begun_at


# --- helpers ---


def _run_long(sim: Simulation, seconds: float) -> None:
    """Let so much time pass, and forget the mail meanwhile."""
    end = sim.now + seconds
    while sim.now < end:
        sim.run_for(min(SLICE_S, end - sim.now))
        sim.log.clear()


def _count(sim: Simulation, *tags: str) -> int:
    return sum(count for (_, tag), count in sim.handled.items() if tag in tags)


def _told(measured: object, problems: tuple[str, ...]) -> str:
    return f"{measured}{f' ({problems[0]})' if problems else ''}"


AS_NAMED = (
    "S10 traffic",
    "S10 idle",
    "S12 direct",
    "S12 relay",
    *(f"S16 {way}, 8 h, {who}" for way, _ in WAYS for who in ("one", "both")),
)
ROWS: tuple[tuple[str, Callable[[], Row]], ...] = (
    *(("alarms", partial(false_alarms, *of)) for of in ((True, 1.0, 24.0), (False, 1.0, 24.0), (True, 10.0, 3.0))),
    *_healthy(),
    *_broken(),
    ("S21", same_key),
    *((name.partition(" ")[0], partial(named, name)) for name in AS_NAMED),
    ("many", many),
)
"""By the beginning of a name, in the order of the table."""
