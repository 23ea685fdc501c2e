"""The scenarios of recovery.md with real agents in network namespaces: what each fault costs, beside what it may cost.

python -m tests.lab.scenarios [S1 S4/in-use ...] [--runs N] [--jobs N] [--json] [--story] [--why]
(make lab SCENARIO=S1 RUNS=20)

Each scenario has namespaces of its own, in which its runs follow each other while the stage is found healthy again.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from actors.cli.demo import Stopped, stoppable
from actors.cli.running import Agent
from actors.cli.why import explanation_of
from actors.demo.network import NetworkUnavailable
from actors.demo.pair import PairFailed
from actors.demo.traffic import boot_time
from tests.lab.blame import ASK_AFTER_S, Blamed, judge, said
from tests.lab.breaks import Broken
from tests.lab.catalogue import Scenario, find
from tests.lab.measure import Outcome, disruptions, noticed_at
from tests.lab.results import HEADING, Result, line, markdown, story, summary
from tests.lab.stage import HALF_S, Stage

RUNS = 3
JOBS = 2
CROWD_S = 60.0  # for all clients of a crowd to have their links
TRANSFER_S = 5.0  # what arrives in that time tells how long 10 MB take
UP_S = 40.0  # for the stage to be as the scenario begins
AGAIN_S = 25.0  # for it to be so once more; later than that, a new one is quicker


def run(scenario: Scenario, runs: int, *, told: bool = False, asked: bool = False) -> Result:
    """Run a scenario so many times; with `told` print the mail of each run, with `asked` ask both ends why."""
    outcomes: list[Outcome] = []
    while len(outcomes) < runs:
        for outcome in _on_one_stage(scenario, runs - len(outcomes), told=told, asked=asked):
            outcomes.append(outcome)
            if outcome.error:
                print(f"{scenario.name}: {outcome.error}", file=sys.stderr, flush=True)
    return summary(scenario, outcomes)


def _on_one_stage(scenario: Scenario, runs: int, *, told: bool, asked: bool) -> Iterator[Outcome]:
    """Yield the outcomes of one stage: one at the least, all if it stays healthy."""
    try:
        with Stage(scenario.plan) as stage:
            if scenario.before is not None:
                scenario.before(stage)
            stage.start_servers()
            stage.start_flows()
            stage.start_agents()
            for number in range(runs):
                if not _is_ready(stage, scenario, UP_S if number == 0 else AGAIN_S):
                    if number:
                        return
                    raise PairFailed(f"not {scenario.start} within {UP_S:.0f} s\n{stage.logs()}")
                stage.wait_crowd(CROWD_S)
                time.sleep(scenario.settled_s)
                outcome = _one_run(stage, scenario, told=told, asked=asked)
                yield outcome
                if not (scenario.again and outcome.recovered):
                    return
    except PairFailed as error:
        yield Outcome(None, None, 0, str(error))


def _is_ready(stage: Stage, scenario: Scenario, limit_s: float) -> bool:
    return scenario.start is None or stage.wait_proven(scenario.start, limit_s)


def _one_run(stage: Stage, scenario: Scenario, *, told: bool, asked: bool) -> Outcome:
    if not _is_ready(stage, scenario, 0.0):
        return Outcome(None, None, 0, f"not {scenario.start} any more before the fault")
    begun_at, error, seconds = boot_time(), "", None
    broken = Broken(begun_at)
    try:
        broken = scenario.fault(stage)
        seconds = _measure(stage, scenario, broken)
    except PairFailed as failure:
        error = str(failure)
    ended_at = boot_time()
    records = [stage.records(end, 0.0) for end in stage.running_ends]
    noticed = [at for of_one in records if (at := noticed_at(of_one, broken.at)) is not None and at <= ended_at]
    outcome = Outcome(
        seconds,
        min(noticed) - broken.at if noticed else None,
        sum(len(disruptions(of_one, broken.calm_since or begun_at)) for of_one in records),
        error,
        _blamed(stage, scenario, broken) if asked else None,
    )
    if told:
        print(story(stage, broken.at - 1.0, ended_at), flush=True)
    broken.mend()
    return outcome


def _blamed(stage: Stage, scenario: Scenario, broken: Broken) -> Blamed:
    """Ask `homing why` at both ends, when all that there is to know has come."""
    over_at = broken.at if broken.back_at is None else broken.back_at
    time.sleep(max(over_at + ASK_AFTER_S - boot_time(), 0.0))
    found = {}
    for end, other in itertools.permutations(stage.ends):
        agent = Agent(end.name, stage.run_directory(end))
        found[end.name] = said(explanation_of(agent, other.name, None, boot_time()), broken.at)
    return judge(scenario.name, found)


def _measure(stage: Stage, scenario: Scenario, broken: Broken) -> float:
    """Wait until all is well again, and return the seconds that the scenario is about."""
    since = broken.at - HALF_S if broken.back_at is None else broken.back_at
    time.sleep(max(broken.at + scenario.watch_s - boot_time(), 0.0))
    limit_s = scenario.recovers_s
    match scenario.measured:
        case "outage" | "connected" | "nothing torn down":
            stage.wait_flows(since, limit_s)
            homed_at = stage.wait_crowd(limit_s)
            if homed_at:
                _tell_crowd(scenario, [at - since for at in homed_at])
            return max(stage.silence(*night) for night in (*broken.nights, (since, boot_time())))
        case "direct":
            if not stage.wait_proven("direct", limit_s):
                raise PairFailed(f"no direct path within {limit_s:.0f} s")
            return boot_time() - since
        case "path left":
            if not stage.wait_proven("relayed", limit_s):
                raise PairFailed(f"not relayed within {limit_s:.0f} s")
            left_at = boot_time()
            stage.wait_flows(stage.start_flows_again(), limit_s)
            return max(left_at - broken.at, stage.silence(left_at + HALF_S, boot_time()))
        case "displacements":
            return float(stage.displacements())
        case "reason shown":
            if not stage.wait_for(lambda: any(stage.reason(end) for end in stage.running_ends), limit_s):
                raise PairFailed(f"no reason shown within {limit_s:.0f} s")
            return boot_time() - since
        case "10 MB":
            return 80.0 / stage.transfer_mbit_s(TRANSFER_S)
        case "noticed":
            return _noticed_unfelt(stage, scenario, broken)


def _tell_crowd(scenario: Scenario, back_s: list[float]) -> None:
    busiest = max(Counter(int(at) for at in back_s).values())
    told = f"{len(back_s)} clients back from {min(back_s):.1f} to {max(back_s):.1f} s, {busiest} in the busiest second"
    print(f"{scenario.name}: {told}", file=sys.stderr, flush=True)


def _noticed_unfelt(stage: Stage, scenario: Scenario, broken: Broken) -> float:
    outage = stage.silence(broken.at - HALF_S, boot_time())
    found = [noticed_at(stage.records(end, broken.at), broken.at) for end in stage.ends]
    noticed = [at for at in found if at is not None]
    if outage or not noticed:
        raise PairFailed(f"not noticed within {scenario.watch_s:.0f} s, or felt: {outage:.2f} s")
    return min(noticed) - broken.at


# --- many ---


def run_all(scenarios: Sequence[Scenario], runs: int, jobs: int, *, told: bool, asked: bool) -> Iterator[Result]:
    """Yield the result of each scenario as it is done; more than one at a time have a process each."""
    if jobs == 1 or len(scenarios) == 1:
        for scenario in scenarios:
            yield run(scenario, runs, told=told, asked=asked)
        return
    workers: list[subprocess.Popen[str]] = []

    def work(scenario: Scenario) -> Result:
        how = ("--runs", str(runs), "--settled", str(scenario.settled_s), "--json")
        arguments = ("-m", "tests.lab.scenarios", scenario.name, *how, *(["--why"] if asked else []))
        worker = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
        workers.append(worker)
        out, _ = worker.communicate()
        return Result.read(out) if out.strip() else summary(scenario, [Outcome(None, None, 0, "the run broke off")])

    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(work, scenario) for scenario in scenarios]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BaseException:
            for one in waiting:
                one.cancel()
            for worker in workers:
                worker.terminate()
            raise


def main() -> int:
    """Run what was named and return the exit code: 0 if every scenario was within its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.scenarios")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="S1, or S1/strict; all without one")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--jobs", type=int, default=JOBS, help="scenarios at a time")
    parser.add_argument("--json", action="store_true", help="one JSON object a scenario")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")
    parser.add_argument("--settled", type=float, help="seconds before each fault, instead of 10 or what is needed")
    parser.add_argument("--story", action="store_true", help="print the mail of each run; with --jobs 1")
    parser.add_argument("--why", action="store_true", help="ask `homing why` after each run, some 20 s later")
    options = parser.parse_args()
    try:
        scenarios = find(options.names)
    except ValueError as error:
        parser.error(str(error))
    if options.settled is not None:
        scenarios = [replace(scenario, settled_s=options.settled) for scenario in scenarios]
    results: list[Result] = []
    if not (options.json or options.markdown):
        print(HEADING, flush=True)
    try:
        with stoppable() as tidying:
            for result in run_all(scenarios, options.runs, options.jobs, told=options.story, asked=options.why):
                results.append(result)
                if not options.markdown:
                    print(json.dumps(result.as_json()) if options.json else line(result), flush=True)
            tidying()
    except NetworkUnavailable as error:
        print(f"homing: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print("homing: stopped; everything that was made is gone", file=sys.stderr)
        return 1
    if options.markdown:
        print(markdown(results))
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
