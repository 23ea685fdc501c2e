"""What fails becomes as small as it can be, and can be read."""

import pytest

from tests.simulator.__main__ import main
from tests.simulator.diagram import LANE, diagram
from tests.simulator.faults import DirectCut, Killed, MailLost, NatChanged, words
from tests.simulator.run import Run, perform
from tests.simulator.scenario import Figures, Scenario, pair
from tests.simulator.shrink import shrink

CUT = DirectCut(at_s=41.237, for_s=17.31, sender="node0", receiver="node1")
NOISE = tuple(MailLost(at_s=float(at), agent="node0") for at in range(30, 37))


def scenario(*faults: DirectCut | MailLost | NatChanged | Killed) -> Scenario:
    return Scenario(name="story", topology=pair(per_second=10.0), faults=faults, figures=Figures(), quiet_s=1.0)


def test_only_the_faults_that_matter_are_left_with_round_times() -> None:
    tried = 0

    def fails(candidate: Scenario) -> bool:
        nonlocal tried
        tried += 1
        return any(isinstance(fault, DirectCut) and fault.for_s >= 3.0 for fault in candidate.faults)

    shrunk = shrink(scenario(*NOISE[:4], CUT, *NOISE[4:]), fails)
    assert shrunk.scenario.faults == (DirectCut(at_s=40.0, for_s=4.0, sender="node0", receiver="node1"),)
    assert shrunk.runs == tried < 60


def test_two_faults_that_need_each_other_stay() -> None:
    pair_of_faults = {NOISE[2], CUT}

    def fails(candidate: Scenario) -> bool:
        return pair_of_faults <= set(candidate.faults)

    assert set(shrink(scenario(*NOISE, CUT), fails).scenario.faults) == pair_of_faults


def test_it_gives_up_in_time() -> None:
    assert shrink(scenario(*NOISE, CUT), lambda _candidate: True, most=3).runs == 3


def test_a_run_is_drawn_with_a_lane_for_each_agent() -> None:
    run = perform(scenario(NatChanged(at_s=5.0, agent="node0", change="flushed")), 1)
    assert isinstance(run, Run)
    lines = diagram(run.sim)
    assert lines[0].split() == ["at", "node0", "node1"]
    assert "    5.000  ######## node0 NatChanged(at_s=5, agent='node0', change='flushed')" in lines
    offers = [line for line in lines if "offer_received" in line]
    assert {line[11 : 11 + LANE].isspace() for line in offers} == {True, False}
    assert diagram(run.sim, most=10)[-1].endswith("... and more")


def test_faults_read_as_python() -> None:
    assert words(Killed(at_s=30.5, agent="node1", process="packet", after=3)) == (
        "Killed(at_s=30.5, agent='node1', process='packet', after=3)"
    )


def test_an_unknown_scenario_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["simulate", "--scenario", "S99"])
    assert main() == 2
    assert "no scenario begins with 'S99'" in capsys.readouterr().err
