"""Makes up a scenario from a seed: half of them from anything there is, half around one rule (families.py).

From anything: a few agents behind drawn NATs, and some faults that may overlap.
"""

from itertools import combinations
from random import Random
from typing import Literal

import msgspec

from tests.kit.nats import FULL_CONE, MASQUERADE, PORT_RESTRICTED_CONE, SYMMETRIC, Router, Site, expected_path
from tests.simulator.families import FAMILIES
from tests.simulator.faults import (
    ActorFailed,
    AddressChanged,
    AnyFault,
    ClockStepped,
    DirectCut,
    Hung,
    Killed,
    LinkAway,
    Lossy,
    MailLost,
    NatChanged,
    OffersForced,
    PeerReset,
    RelayRestarted,
    ServerApart,
    SignalMangled,
    SignalRestarted,
    Slept,
)
from tests.simulator.scenario import Figures, Scenario
from tests.simulator.simulation import AgentPlan, Topology

NATS = (None, None, FULL_CONE, PORT_RESTRICTED_CONE, MASQUERADE, SYMMETRIC)
FIRST_S = (10.0, 10.0, 40.0)  # until the first fault: what starts together has settled
WITHIN_S = 60.0  # of the first fault, the others begin
QUIET_S = (20.0, 70.0)  # that a run goes on after the last
MOST_FAULTS = 6

OURS = Figures(recovered_s=20.0)
DIRECT = Figures(recovered_s=20.0, direct_s=120.0)  # twice the longest pause between two searches (S10)
IDLE = Figures(recovered_s=100.0)  # nobody misses a path before two keepalives
FOREIGN = Figures(recovered_s=60.0)
HARMLESS = Figures(recovered_s=10.0, outage_s=1.0, disruptive=0)
"""What takes nothing away that packets need: no path is torn down for it."""

HARMLESS_KINDS = (SignalRestarted, SignalMangled, MailLost, ActorFailed, OffersForced, ClockStepped)


def draw(seed: int) -> Scenario:
    """Return the scenario of this seed."""
    rng = Random(f"scenario {seed}")
    scenario = rng.choice(list(FAMILIES.values()))(rng) if rng.random() < 0.5 else draw_freely(rng)
    return msgspec.structs.replace(scenario, name=f"seed {seed}")


def draw_freely(rng: Random) -> Scenario:
    """Draw from anything there is."""
    topology = _topology(rng)
    names = [f"node{number}" for number in range(len(topology.agents))]
    faults: list[AnyFault] = []
    harmless, first_s = rng.random() < 0.25, rng.choice(FIRST_S)
    for _ in range(rng.randint(1, MOST_FAULTS)):
        at_s = first_s + (rng.uniform(0.0, WITHIN_S) if faults else 0.0)
        faults.append(_harmless(rng, at_s, names) if harmless else _fault(rng, at_s, names, topology.relays))
    return Scenario(
        name="drawn freely",
        topology=topology,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        figures=figures_of(topology, faults),
        quiet_s=rng.choice(QUIET_S),
    )


def figures_of(topology: Topology, faults: "list[AnyFault] | tuple[AnyFault, ...]") -> Figures:
    """Return what such a topology has to reach after such faults."""
    if any(plan.foreign for plan in topology.agents):
        return FOREIGN
    if faults and all(_is_harmless(fault) for fault in faults):
        return HARMLESS
    if not topology.per_second:
        return IDLE
    sites = [plan.site for plan in topology.agents]
    reachable = all(expected_path(one, other) == "direct" for one, other in combinations(sites, 2))
    # A NAT that keeps ports keeps this one for the address that the host had, so it looks like another NAT for a while.
    moved = any(isinstance(fault, AddressChanged) for fault in faults)
    return DIRECT if topology.ice and reachable and not moved else OURS


def _is_harmless(fault: AnyFault) -> bool:
    if isinstance(fault, Killed | Hung):
        return fault.process == "control-0"
    return isinstance(fault, HARMLESS_KINDS)


def _topology(rng: Random) -> Topology:
    count = rng.choice((2, 2, 2, 2, 3, 3, 4))
    relays = rng.choice((1, 1, 2))
    plans = []
    foreign = rng.random() < 0.1
    for number in range(count):
        nat = rng.choice(NATS)
        site = Site() if nat is None else Site((Router(f"nat{number}", nat),))
        homes = list(range(relays))
        rng.shuffle(homes)
        plans.append(AgentPlan(site, tuple(homes), foreign=foreign and number == 0))
    rate = rng.choice((0.0, 2.0, 5.0, 10.0) if count == 2 else (0.0, 2.0, 2.0))  # packets cost most of a run
    return Topology(tuple(plans), relays=relays, ice=rng.random() < 0.7, per_second=rate)


def _short(rng: Random) -> float:
    return rng.choice((0.05, 0.5, 2.0, 8.0, 30.0)) * rng.uniform(0.5, 1.5)


def _harmless(rng: Random, at_s: float, names: list[str]) -> AnyFault:
    agent = rng.choice(names)
    match rng.randrange(8):
        case 0:
            return SignalRestarted(at_s=at_s, for_s=_short(rng))
        case 1:
            shares = {name: rng.choice((0.0, 0.5)) for name in ("twice", "late", "again")}
            return SignalMangled(at_s=at_s, for_s=60.0, **shares)
        case 2:
            return MailLost(at_s=at_s, agent=agent)
        case 3:
            return ActorFailed(at_s=at_s, agent=agent, peer=_other(rng, names, agent))
        case 4:
            return OffersForced(at_s=at_s, for_s=rng.choice((5.0, 60.0)), every_s=rng.choice((0.2, 1.0, 5.0)))
        case 5:
            return ClockStepped(at_s=at_s, agent=agent, by_s=rng.choice((-86400.0, 86400.0, -3.0)))
        case 6:
            return Hung(at_s=at_s, for_s=_short(rng), agent=agent, process="control-0")
        case _:
            return Killed(at_s=at_s, agent=agent, process="control-0", after=rng.randrange(30))


def _fault(rng: Random, at_s: float, names: list[str], relays: int) -> AnyFault:
    agent = rng.choice(names)
    backs: tuple[Literal["same", "flushed", "new address"], ...] = ("same", "flushed", "new address")
    changes: tuple[Literal["flushed", "new address"], ...] = ("flushed", "new address")
    match rng.randrange(13):
        case 0:
            return LinkAway(at_s=at_s, for_s=_short(rng), agent=agent, back=rng.choice(backs), lax=rng.random() < 0.5)
        case 1 | 2:
            return NatChanged(at_s=at_s, agent=agent, change=rng.choice(changes), lax=rng.random() < 0.5)
        case 3:
            return AddressChanged(at_s=at_s, agent=agent)
        case 4:
            server: int | Literal["signal"] = "signal" if rng.random() < 0.2 else rng.randrange(relays)
            return ServerApart(at_s=at_s, for_s=_short(rng), agent=agent, server=server)
        case 5:
            return RelayRestarted(at_s=at_s, for_s=_short(rng), relay=rng.randrange(relays))
        case 6 | 7:
            other, packets_only = _other(rng, names, agent), rng.random() < 0.4
            return DirectCut(at_s=at_s, for_s=_short(rng), sender=agent, receiver=other, packets_only=packets_only)
        case 8:
            loss = rng.choice((0.05, 0.2, 1.0))
            jitter_s = rng.choice((0.0, 0.02, 0.1))
            return Lossy(at_s=at_s, for_s=_short(rng), loss=loss, jitter_s=jitter_s, duplication=rng.choice((0.0, 0.1)))
        case 9:
            return Slept(at_s=at_s, for_s=rng.choice((1.0, 20.0, 300.0)), agent=agent)
        case 10:
            after = rng.randrange(30)
            return Killed(at_s=at_s, agent=agent, process=rng.choice(("control-0", "packet")), after=after)
        case 11:
            return PeerReset(at_s=at_s, agent=agent, peer=_other(rng, names, agent))
        case _:
            return _harmless(rng, at_s, names)


def _other(rng: Random, names: list[str], than: str) -> str:
    return rng.choice([name for name in names if name != than])
