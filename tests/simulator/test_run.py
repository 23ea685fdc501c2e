import msgspec

from tests.simulator.acts import Acts
from tests.simulator.faults import NatChanged
from tests.simulator.run import run
from tests.simulator.scenario import A, Figures, Scenario, pair
from tests.simulator.simulation import Simulation

SCENARIO = Scenario(
    name="noticed late",
    topology=pair(ice=False, per_second=5.0, foreign=True),
    faults=(NatChanged(at_s=10.0, agent=A, change="new address"),),
    figures=Figures(recovered_s=20.0),
)


def test_what_is_noticed_late_still_has_the_time_of_its_figure() -> None:
    late = msgspec.structs.replace(SCENARIO, quiet_s=noticed_after_s())
    assert run(late, 1).problems == ()
    strict = msgspec.structs.replace(late, figures=Figures(recovered_s=late.quiet_s))
    assert run(strict, 1).problems == ("not proven any more at the end, and there was no fault",)


def noticed_after_s() -> float:
    """Return how long after the fault the path is not proven any more."""
    sim = Simulation(SCENARIO.topology, 1)
    begun_at = sim.now
    sim.boot()
    Acts(sim, SCENARIO.faults)
    sim.run_for(SCENARIO.over_s)
    while sim.all_proven():
        sim.run_for(0.01)
    return sim.now - begun_at - SCENARIO.over_s
