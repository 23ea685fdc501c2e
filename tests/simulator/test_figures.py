"""The rows by the hour and by the day, over minutes; `python -m tests.simulator --figures` runs them in full."""

from tests.simulator import figures
from tests.simulator.acts import Acts
from tests.simulator.faults import DirectCut, OffersForced, ServerApart
from tests.simulator.invariants import ACTIONS
from tests.simulator.mutants import MUTANTS
from tests.simulator.scenario import A, B, pair
from tests.simulator.simulation import AgentPlan, Simulation, Topology

OFFERS = (OffersForced(at_s=30.0, for_s=10.0, every_s=2.0),)


def test_offers_tear_nothing_down_and_a_product_that_closes_at_each_misses_the_figure() -> None:
    topology = pair(ice=False, per_second=2.0)
    assert figures.untouched("offers", topology, OFFERS).ok
    always_close = next(mutant for mutant in MUTANTS if mutant.name == "always close")
    with always_close.applied():
        row = figures.untouched("offers", topology, OFFERS)
    assert not row.ok
    assert int(row.measured.split()[0]) >= 5


def test_lost_packets_raise_no_alarm() -> None:
    row = figures.false_alarms(True, 1.0, 0.1)
    assert row.measured.startswith("0 (0 in 0.1 h")
    assert row.ok


def test_what_a_pair_without_a_way_tears_down_is_counted() -> None:
    apart = ServerApart(at_s=30.0, for_s=900.0, agent=A, server=0)
    row = figures.broken("apart", (*figures._cut(packets_only=False), apart), 0.2)
    assert 1 <= int(row.measured.split(",")[0]) <= ACTIONS
    assert row.ok


def test_the_worst_hour_is_found() -> None:
    assert figures._most_within_an_hour([]) == 0
    assert figures._most_within_an_hour([0.0, 3000.0, 3500.0, 7000.0, 7100.0, 7200.0]) == 3


def test_twins_have_one_key_and_are_one_peer() -> None:
    sim = Simulation(Topology((AgentPlan(), AgentPlan(), AgentPlan(twin=True)), per_second=0.0))
    one, first, second = sim.agents
    assert first.key == second.key != one.key
    assert sim.pairs() == [(one, first), (first, one), (second, one)]
    sim.boot()
    sim.run_for(5.0)
    assert sim.signal.displaced > 0


def test_an_alarm_is_counted() -> None:
    sim = Simulation(pair(per_second=1.0), 1)
    sim.boot()
    Acts(sim, (DirectCut(at_s=30.0, for_s=60.0, sender=A, receiver=B),))
    sim.run_for(29.0)
    before = figures._alarms(sim)
    sim.run_for(60.0)
    assert figures._alarms(sim) > before
