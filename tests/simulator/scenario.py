"""What is run: a topology, the faults that befall it, and the figures that it has to reach (recovery.md section 3).

S0 to S23 are recovery.md's, at full length; draw.py makes others up.  S21 is a row of figures.py.  S18 is not here:
it is about sizes, which this network does not have; the lab runs it.
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal

import msgspec

from tests.kit.nats import MASQUERADE, PORT_RESTRICTED_CONE, Nat, Router, Site
from tests.simulator.faults import (
    AddressChanged,
    AnyFault,
    ClockStepped,
    DirectCut,
    Hung,
    Killed,
    LinkAway,
    Lossy,
    NatChanged,
    OffersForced,
    RelayRestarted,
    ServerApart,
    SignalMangled,
    SignalRestarted,
    Slept,
)
from tests.simulator.simulation import AgentPlan, Topology

AT_S = 30.0  # of the first fault: what starts together has settled
A, B = "node0", "node1"
HOUR_S = 3600.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What has to hold."""

    outage_s: float | None = None  # of packets, the worse direction; None: not measured
    since: Literal["begun", "over"] = "begun"  # from where on: the first fault, or the end of the last
    recovered_s: float = 20.0  # from the end of the last fault until everybody has a proven path
    direct_s: float | None = None  # and until it is a direct one; None: not asked for
    disruptive: int | None = None  # actions in all; None: not bounded here


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One run, but for the seed."""

    name: str
    topology: Topology
    faults: tuple[AnyFault, ...]
    figures: Figures
    quiet_s: float = 70.0  # that the run goes on after the last fault

    @property
    def over_s(self) -> float:
        """When the last fault is over."""
        return max((fault.over_s for fault in self.faults), default=AT_S)


def behind(nat: Nat, name: str = "nat0") -> Site:
    """Return a site behind one router."""
    return Site((Router(name, nat),))


def pair(
    *,
    ice: bool = True,
    nats: tuple[Nat | None, Nat | None] = (MASQUERADE, None),
    relays: tuple[tuple[int, ...], tuple[int, ...]] = ((0,), (0,)),
    per_second: float = 50.0,
    foreign: bool = False,
) -> Topology:
    """Return two agents, by default one of them behind a NAT as Linux makes it."""
    sites = [Site() if nat is None else behind(nat, f"nat{number}") for number, nat in enumerate(nats)]
    plans = tuple(
        AgentPlan(site, of_one, foreign=foreign and number == 1)
        for number, (site, of_one) in enumerate(zip(sites, relays, strict=True))
    )
    count = 1 + max(number for of_one in relays for number in of_one)
    return Topology(plans, relays=count, ice=ice, per_second=per_second)


WAYS = (("relay", False), ("direct", True))


def _s0() -> Iterator[Scenario]:
    figures = Figures(outage_s=5.0, since="over", recovered_s=10.0)
    backs: tuple[Literal["new address", "flushed"], ...] = ("new address", "flushed")
    for (way, ice), away_s, back, lax in product(WAYS, (1.0, 10.0, 60.0), backs, (False, True)):
        away = LinkAway(at_s=AT_S, for_s=away_s, agent=A, back=back, lax=lax)
        name = f"S0 {way}, away {away_s:g} s, {back}{', lax' if lax else ''}"
        yield Scenario(name=name, topology=pair(ice=ice), faults=(away,), figures=figures)
    for (way, ice), lax in product(WAYS, (False, True)):
        change = NatChanged(at_s=AT_S, agent=A, change="new address", lax=lax)
        name = f"S0 {way}, new address at once{', lax' if lax else ''}"
        yield Scenario(name=name, topology=pair(ice=ice), faults=(change,), figures=figures)
    nights = tuple(LinkAway(at_s=AT_S + 1200.0 * night, for_s=10.0, agent=A, back="new address") for night in range(30))
    yield Scenario(name="S0 30 nights", topology=pair(per_second=2.0), faults=nights, figures=figures)


def _s1_to_s3() -> Iterator[Scenario]:
    both = pair(nats=(MASQUERADE, PORT_RESTRICTED_CONE))
    for name, topology, agents, figures in (
        ("S1", pair(ice=False), (A,), Figures(outage_s=5.0)),
        ("S2", pair(), (A,), Figures(outage_s=5.0)),
        ("S3 relay", _relayed(both), (A, B), Figures(outage_s=10.0)),
        ("S3 direct", both, (A, B), Figures(outage_s=10.0)),
    ):
        for lax in (False, True):
            faults = tuple(NatChanged(at_s=AT_S, agent=agent, change="new address", lax=lax) for agent in agents)
            yield Scenario(name=f"{name}{', lax' if lax else ''}", topology=topology, faults=faults, figures=figures)
    hourly = tuple(NatChanged(at_s=AT_S + 180.0 * turn, agent=A, change="new address") for turn in range(20))
    for way, ice in WAYS:
        topology = pair(ice=ice, per_second=10.0)
        yield Scenario(name=f"S1 {way}, 20 in an hour", topology=topology, faults=hourly, figures=Figures(outage_s=5.0))


def _relayed(topology: Topology) -> Topology:
    return Topology(topology.agents, relays=topology.relays, ice=False, per_second=topology.per_second)


def _relay_faults() -> Iterator[Scenario]:
    apart = ServerApart(at_s=AT_S, for_s=60.0, agent=A, server=0)
    two = ((0, 1), (1, 0))
    half_open = Figures(outage_s=65.0, recovered_s=5.0)
    yield Scenario(name="S4", topology=pair(ice=False), faults=(apart,), figures=half_open)
    yield Scenario(name="S4 standby", topology=pair(), faults=(apart,), figures=Figures(outage_s=0.0))
    for down_s in (0.5, 5.0):
        down = RelayRestarted(at_s=AT_S, for_s=down_s, relay=0)
        figures = Figures(outage_s=5.0, since="over", recovered_s=5.0)
        yield Scenario(name=f"S5 {down_s:g} s", topology=pair(ice=False), faults=(down,), figures=figures)
    for relay in (0, 1):
        down = RelayRestarted(at_s=AT_S, for_s=60.0, relay=relay)
        topology = pair(ice=False, relays=two)
        yield Scenario(name=f"S6 relay {relay}", topology=topology, faults=(down,), figures=Figures(outage_s=5.0))
    for agent in (A, B):
        never = ServerApart(at_s=0.0, for_s=120.0, agent=agent, server=0)
        topology = pair(ice=False, relays=((0, 1), (0, 1)))
        figures = Figures(outage_s=20.0, recovered_s=10.0)
        yield Scenario(name=f"S7 {agent}", topology=topology, faults=(never,), figures=figures)
    moves = ServerApart(at_s=AT_S, for_s=300.0, agent=B, server=1)
    for clock_s in (86400.0, -86400.0):
        faults = (ClockStepped(at_s=AT_S - 5.0, agent=A, by_s=clock_s), moves)
        topology = pair(ice=False, relays=((0,), (1, 0)))
        yield Scenario(name=f"S23 {clock_s:+.0f} s", topology=topology, faults=faults, figures=Figures(outage_s=5.0))


def _direct_faults() -> Iterator[Scenario]:
    for name, packets_only in (("S8", False), ("S9", True)):
        for sender, receiver in ((A, B), (B, A)):
            cut = DirectCut(at_s=AT_S, for_s=120.0, sender=sender, receiver=receiver, packets_only=packets_only)
            figures = Figures(outage_s=5.0, recovered_s=1.0)
            yield Scenario(name=f"{name} from {sender}", topology=pair(), faults=(cut,), figures=figures)
    dead = _cut_both(AT_S, 120.0)
    figures = Figures(outage_s=4.0, recovered_s=1.0)
    yield Scenario(name="dead direct path", topology=pair(), faults=dead, figures=figures)
    for words, per_second, direct_s in (("traffic", 5.0, 60.0), ("idle", 0.0, 600.0)):
        figures = Figures(direct_s=direct_s, recovered_s=1.0)
        opened, topology = _cut_both(0.0, HOUR_S), pair(per_second=per_second)
        yield Scenario(name=f"S10 {words}", topology=topology, faults=opened, figures=figures, quiet_s=direct_s + 30.0)
    relay_too = (*_cut_both(AT_S, 60.0), RelayRestarted(at_s=AT_S + 8.0, for_s=0.5, relay=0))
    yield Scenario(name="S15", topology=pair(), faults=relay_too, figures=Figures(outage_s=5.0, recovered_s=5.0))
    twice = (AddressChanged(at_s=AT_S, agent=A), AddressChanged(at_s=AT_S + 2.5, agent=A))
    for way, ice in WAYS:
        yield Scenario(
            name=f"S17 {way}",
            topology=pair(ice=ice, nats=(None, MASQUERADE)),
            faults=twice,
            figures=Figures(outage_s=5.0),
        )


def _cut_both(at_s: float, for_s: float) -> tuple[AnyFault, ...]:
    return (
        DirectCut(at_s=at_s, for_s=for_s, sender=A, receiver=B),
        DirectCut(at_s=at_s, for_s=for_s, sender=B, receiver=A),
    )


def _harmless() -> Iterator[Scenario]:
    none = Figures(outage_s=0.0, recovered_s=1.0, disruptive=0)
    away = SignalRestarted(at_s=AT_S, for_s=2.0)
    mangled = SignalMangled(at_s=AT_S, for_s=300.0, twice=0.5, late=0.5, again=0.3)
    forced = OffersForced(at_s=AT_S, for_s=300.0, every_s=3.0)
    for way, ice in WAYS:
        yield Scenario(name=f"S11 {way}", topology=pair(ice=ice), faults=(away,), figures=none)
        yield Scenario(
            name=f"S13 {way}", topology=pair(ice=ice, per_second=10.0), faults=(mangled, forced), figures=none
        )
        at_once = OffersForced(at_s=AT_S, every_s=0.0)
        yield Scenario(name=f"S14 {way}", topology=pair(ice=ice), faults=(at_once,), figures=none)
        for loss in (0.05, 0.2):
            lossy = Lossy(at_s=AT_S, for_s=600.0, loss=loss, jitter_s=0.02)
            # TCP sends a segment again, and again: over the relay that alone may take more than a second.
            figures = Figures(outage_s=1.0 if ice else 2.0, recovered_s=1.0, disruptive=0)
            topology = pair(ice=ice, per_second=20.0)
            yield Scenario(name=f"S20 {way}, {loss:.0%}", topology=topology, faults=(lossy,), figures=figures)
        three = Topology((AgentPlan(behind(MASQUERADE)), AgentPlan(), AgentPlan()), ice=ice, per_second=5.0)
        rapid = OffersForced(at_s=AT_S, for_s=HOUR_S, every_s=1.0)
        yield Scenario(name=f"S22 {way}", topology=three, faults=(rapid,), figures=none)
    gone = SignalRestarted(at_s=AT_S, for_s=600.0)
    cut = (gone, *_cut_both(AT_S + 60.0, 60.0))
    yield Scenario(name="S12 direct", topology=pair(), faults=cut, figures=Figures(outage_s=5.0, recovered_s=1.0))
    down = (gone, RelayRestarted(at_s=AT_S + 60.0, for_s=0.5, relay=0))
    yield Scenario(
        name="S12 relay", topology=pair(ice=False), faults=down, figures=Figures(outage_s=5.0, recovered_s=1.0)
    )


def _own_faults() -> Iterator[Scenario]:
    for (way, ice), (words, for_s, per_second) in product(
        WAYS, (("1 s", 1.0, 50.0), ("5 min", 300.0, 20.0), ("8 h", 8 * HOUR_S, 2.0))
    ):
        for who, agents in (("one", (A,)), ("both", (A, B))):
            slept = tuple(Slept(at_s=AT_S, for_s=for_s, agent=agent) for agent in agents)
            topology = pair(ice=ice, per_second=per_second)
            figures = Figures(outage_s=3.0, since="over", recovered_s=5.0)
            yield Scenario(name=f"S16 {way}, {words}, {who}", topology=topology, faults=slept, figures=figures)
    processes: tuple[Literal["control-0", "packet"], ...] = ("control-0", "packet")
    for (way, ice), process, hung in product(WAYS, processes, (False, True)):
        fault: AnyFault = (
            Hung(at_s=AT_S, for_s=120.0, agent=A, process=process)
            if hung
            else Killed(at_s=AT_S, agent=A, process=process)
        )
        figures = Figures(outage_s=2.0 if process == "packet" else 0.0)
        name = f"S19 {way}, {process} {'hung' if hung else 'killed'}"
        yield Scenario(name=name, topology=pair(ice=ice), faults=(fault,), figures=figures)


def _foreign() -> Iterator[Scenario]:
    for scenario in (*_s1_to_s3(), *_direct_faults()):
        if scenario.name in ("S1", "S2", "S8 from node0", "dead direct path"):
            agents = (scenario.topology.agents[0], AgentPlan(scenario.topology.agents[1].site, foreign=True))
            topology = Topology(agents, ice=scenario.topology.ice)
            assert scenario.figures.outage_s is not None, scenario
            figures = Figures(outage_s=scenario.figures.outage_s + 10.0, recovered_s=20.0)
            yield msgspec.structs.replace(
                scenario, name=f"{scenario.name}, foreign", topology=topology, figures=figures
            )


NAMED: dict[str, Scenario] = {
    scenario.name: scenario
    for some in (_s0, _s1_to_s3, _relay_faults, _direct_faults, _harmless, _own_faults, _foreign)
    for scenario in some()
}
"""By name."""
