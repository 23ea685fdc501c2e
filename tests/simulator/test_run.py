import msgspec

from tests.simulator.faults import NatChanged
from tests.simulator.run import run
from tests.simulator.scenario import A, Figures, Scenario, pair

LATE = Scenario(
    name="noticed late",
    topology=pair(ice=False, per_second=5.0, foreign=True),
    faults=(NatChanged(at_s=10.0, agent=A, change="new address"),),
    figures=Figures(recovered_s=60.0),
    quiet_s=14.0,
)


def test_what_is_noticed_late_still_has_the_time_of_its_figure() -> None:
    assert run(LATE, 1).problems == ()
    strict = msgspec.structs.replace(LATE, figures=Figures(recovered_s=14.0))
    assert run(strict, 1).problems == ("not proven any more at the end, and there was no fault",)
