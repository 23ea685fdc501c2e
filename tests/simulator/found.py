"""What seeds found, kept as scenarios: a seed means another run whenever the draw changes.

Each is as the seed had it, or with the fewest faults that failed.
"""

from collections.abc import Iterator

from tests.kit.nats import FULL_CONE, MASQUERADE, SYMMETRIC
from tests.simulator.faults import (
    AddressChanged,
    ClockStepped,
    DirectCut,
    Killed,
    LinkAway,
    OffersForced,
    PeerReset,
    RelayRestarted,
    Slept,
)
from tests.simulator.scenario import A, B, Figures, Scenario, behind, pair
from tests.simulator.simulation import AgentPlan, Topology

OURS = Figures(recovered_s=20.0)


def _found() -> Iterator[Scenario]:
    # An offer that left before the reopening had succeeded named no generation; the next one closed what was proven.
    yield Scenario(
        name="found: packet process killed, idle",
        topology=pair(nats=(MASQUERADE, SYMMETRIC), per_second=0.0),
        faults=(Killed(at_s=82.7, agent=A, process="packet", after=6),),
        figures=Figures(recovered_s=100.0),
    )
    plans = (AgentPlan(relays=(0, 1)), *(AgentPlan(behind(MASQUERADE, f"nat{number}"), (1, 0)) for number in (1, 2)))
    yield Scenario(
        name="found: one of four sleeps after a reset",
        topology=Topology((*plans, AgentPlan(relays=(0, 1))), relays=2, per_second=2.0),
        faults=(PeerReset(at_s=30.0, agent="node2", peer=B), Slept(at_s=78.7, for_s=20.0, agent=A)),
        figures=OURS,
    )
    # Both described themselves without a relay; whoever had its own first owed the other another offer.
    yield Scenario(
        name="found: no home when both offered",
        topology=pair(nats=(None, SYMMETRIC), per_second=5.0),
        faults=(
            RelayRestarted(at_s=53.1, for_s=30.1, relay=0),
            DirectCut(at_s=55.8, for_s=0.65, sender=B, receiver=A, packets_only=True),
            PeerReset(at_s=66.7, agent=A, peer=B),
            Slept(at_s=77.0, for_s=1.0, agent=B),
        ),
        figures=OURS,
    )
    # Of the simulator itself: addresses behind a router, stamps of handshakes, offers of a machine that sleeps.
    yield Scenario(
        name="found: slept while the link was away",
        topology=Topology((AgentPlan(behind(MASQUERADE)), AgentPlan(behind(MASQUERADE, "nat1"))), per_second=5.0),
        faults=(
            Slept(at_s=30.0, for_s=20.0, agent=B),
            LinkAway(at_s=40.2, for_s=26.6, agent=B, back="new address"),
            PeerReset(at_s=74.7, agent=A, peer=B),
        ),
        figures=OURS,
    )
    yield Scenario(
        name="found: packet process killed after a step back",
        topology=pair(ice=False, nats=(None, FULL_CONE), per_second=5.0),
        faults=(
            ClockStepped(at_s=34.0, agent=A, by_s=-86400.0),
            AddressChanged(at_s=62.2, agent=B),
            Killed(at_s=88.6, agent=A, process="packet", after=22),
        ),
        figures=OURS,
    )
    yield Scenario(
        name="found: offers for one that sleeps",
        topology=pair(nats=(None, MASQUERADE), relays=((0, 1), (1, 0)), per_second=5.0),
        faults=(Slept(at_s=60.0, for_s=150.0, agent=B), OffersForced(at_s=90.0, for_s=60.0, every_s=0.2)),
        figures=OURS,
    )


FOUND: dict[str, Scenario] = {scenario.name: scenario for scenario in _found()}
"""By name."""
