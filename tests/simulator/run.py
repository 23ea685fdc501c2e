"""Runs a scenario: faults first, then they stop; what was found is the outcome."""

import traceback

import msgspec

from tests.simulator.acts import Acts
from tests.simulator.invariants import CHECKS
from tests.simulator.scenario import Scenario
from tests.simulator.simulation import Simulation

STEP_S = 0.05  # between two looks whether everybody is back
LIMIT_S = 300.0  # that a run waits for everybody at the most


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run."""

    scenario: str
    seed: int
    problems: tuple[str, ...]
    digest: str
    outage_s: float
    recovered_s: float | None  # None: never
    direct_s: float | None
    disruptive: int
    virtual_s: float

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.problems


class Run(msgspec.Struct, kw_only=True):
    """A run and its measures, for the checks."""

    scenario: Scenario
    sim: Simulation
    begun_at: float
    over_at: float  # the end of the last fault
    recovered_s: float | None = None
    direct_s: float | None = None
    outage_s: float = 0.0


def run(scenario: Scenario, seed: int) -> Outcome:
    """Run a scenario with this seed."""
    return judge(perform(scenario, seed), seed)


def perform(scenario: Scenario, seed: int) -> "Run | str":
    """Run it; a string says with what it ended before its time."""
    sim = Simulation(scenario.topology, seed)
    begun_at = sim.now
    result = Run(scenario=scenario, sim=sim, begun_at=begun_at, over_at=begun_at + scenario.over_s)
    try:
        sim.boot()
        Acts(sim, scenario.faults)
        sim.agenda.run_until(result.over_at)
        _until_recovered(result)
        sim.agenda.run_until(max(sim.now, result.over_at + scenario.quiet_s))
        while not sim.all_proven() and sim.now < result.over_at + scenario.figures.recovered_s:
            sim.run_for(STEP_S)  # what was noticed late still has its time
    except AssertionError as error:
        cause = error.__cause__ or error
        where = traceback.extract_tb(cause.__traceback__)[-1]
        return f"{error} ({where.filename.rpartition('/')[2]}:{where.lineno}) at {sim.now - begun_at:.3f} s"
    result.outage_s = _outage_s(result)
    return result


def judge(performed: "Run | str", seed: int, name: str = "") -> Outcome:
    """Say what is wrong with a run."""
    if isinstance(performed, str):
        return Outcome(
            scenario=name,
            seed=seed,
            problems=(performed,),
            digest="",
            outage_s=0.0,
            recovered_s=None,
            direct_s=None,
            disruptive=0,
            virtual_s=0.0,
        )
    problems = [problem for check in CHECKS for problem in check(performed)]
    return Outcome(
        scenario=performed.scenario.name,
        seed=seed,
        problems=tuple(problems),
        digest=performed.sim.digest(),
        outage_s=performed.outage_s,
        recovered_s=performed.recovered_s,
        direct_s=performed.direct_s,
        disruptive=len(performed.sim.account.actions),
        virtual_s=performed.sim.now - performed.begun_at,
    )


def _until_recovered(result: Run) -> None:
    sim, figures = result.sim, result.scenario.figures
    wants_direct = figures.direct_s is not None
    while sim.now - result.over_at < LIMIT_S + (figures.direct_s or 0.0):
        took_s = sim.now - result.over_at
        if result.recovered_s is None and sim.all_proven():
            result.recovered_s = took_s
        if result.direct_s is None and wants_direct and all(sim.direct(*pair) for pair in sim.pairs()):
            result.direct_s = took_s
        if result.recovered_s is not None and (result.direct_s is not None or not wants_direct):
            return
        sim.run_for(STEP_S)


def _outage_s(result: Run) -> float:
    """Return the longest time without packets, of the worse direction of the worst pair."""
    sim, scenario = result.sim, result.scenario
    if not scenario.topology.per_second:
        return 0.0
    first_s = min((fault.at_s for fault in scenario.faults), default=0.0)
    since = result.over_at if scenario.figures.since == "over" else result.begun_at + first_s
    interval_s = 1 / scenario.topology.per_second
    return max(
        arrivals.outage_s(since, sim.now, interval_s) for agent in sim.agents for arrivals in agent.arrivals.values()
    )
