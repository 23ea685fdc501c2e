"""The scenarios of recovery.md with real agents in network namespaces: what each fault costs, beside what it may cost.

python -m tests.lab.scenarios [S1 S4/in-use ...] [--runs N] [--jobs N] [--json] [--story] [--why]
(make lab SCENARIO=S1 RUNS=20)

The README's table:  python -m tests.lab.scenarios --per-row 20 --per-row S0=120 --jobs 4 --minutes 70 --out FILE
                     python -m tests.lab.scenarios --from FILE --markdown

Each scenario has namespaces of its own, in which its runs follow each other while the stage is found healthy again.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from actors.cli.demo import Stopped, stoppable
from actors.cli.running import Agent
from actors.cli.why import explanation_of
from actors.demo.network import NetworkUnavailable
from actors.demo.pair import PairFailed
from actors.demo.traffic import boot_time
from tests.lab.blame import Blamed, expected_of, judge, said
from tests.lab.breaks import Broken
from tests.lab.campaign import ANY, Batch, Campaign, is_meant, planned
from tests.lab.catalogue import Scenario, find
from tests.lab.measure import Outcome, disruptions, noticed_at
from tests.lab.results import HEADING, Run, line, loads, markdown, results_of, story
from tests.lab.stage import HALF_S, Stage

RUNS = 3
JOBS = 2
CROWD_S = 60.0  # for all clients of a crowd to have their links
TRANSFER_S = 5.0  # what arrives in that time tells how long 10 MB take
UP_S = 40.0  # for the stage to be as the scenario begins
AGAIN_S = 25.0  # for it to be so once more; later than that, a new one is quicker


def runs_of(scenario: Scenario, runs: int, *, told: bool = False, asked: bool = False) -> Iterator[Run]:
    """Run a scenario so many times; with `told` print the mail of each run, with `asked` ask both ends why."""
    done = 0
    while done < runs:
        for outcome in _on_one_stage(scenario, runs - done, told=told, asked=asked):
            done += 1
            if outcome.error:
                print(f"{scenario.name}: {outcome.error}", file=sys.stderr, flush=True)
            yield Run(scenario.name, outcome, os.getloadavg()[0])


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
    time.sleep(max(over_at + expected_of(scenario.name).asked_after_s - boot_time(), 0.0))
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
        case "outage" | "worst night" | "connected" | "nothing torn down":
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


def shown(runs: Iterable[Run], wanted: Mapping[str, int], *, as_json: bool) -> Iterator[str]:
    """Yield a line for each scenario as soon as it has all its runs; at the end, for those that have some."""
    found: dict[str, list[Run]] = {}

    def told(name: str) -> str:
        (result,) = results_of(found.pop(name))
        return json.dumps(result.as_json()) if as_json else line(result)

    for run in runs:
        found.setdefault(run.scenario, []).append(run)
        if len(found[run.scenario]) == wanted.get(run.scenario):
            yield told(run.scenario)
    yield from map(told, list(found))


def read(path: Path) -> list[Run]:
    """Return the runs that were written down, up to a line that was cut off."""
    return [Run.read(text) for text in path.read_text().splitlines(keepends=True) if text.endswith("\n")]


def number_of_rows(texts: Sequence[str]) -> dict[str, int]:
    """Return what N, S0=N and S0/nights=N say: how many runs each row has.  Raises ValueError."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not number.isdecimal() or int(number) < 1 or not any(is_meant(name, one) for one in find([])):
            raise ValueError(f"{text!r} is no number of runs; 20 and S0=120 would do")
        found[name] = int(number)
    if ANY not in found:
        raise ValueError(f"{' '.join(texts)}: how many runs have the others? 20 beside it would say")
    return found


def main() -> int:
    """Run what was named and return the exit code: 0 if every scenario was within its figures."""
    options, batches = _options()
    runs: list[Run] = []
    out = sys.stdout if options.out == Path("-") else options.out.open("a") if options.out is not None else None
    silent = options.markdown or out is sys.stdout

    code = 0

    def kept(found: Iterable[Run]) -> Iterator[Run]:
        nonlocal code
        try:
            for run in found:
                runs.append(run)
                if out is not None:
                    print(run.as_line(), file=out, flush=True)
                yield run
        except Stopped:
            code = 1  # what there is, is shown

    wanted = Counter[str]()
    for batch in batches:
        wanted[batch.scenario.name] += batch.runs
    if not (options.json or silent):
        print(HEADING, flush=True)
    try:
        with stoppable() as tidying:
            for text in shown(kept(_performed(options, batches)), wanted, as_json=options.json):
                if not silent:
                    print(text, flush=True)
            tidying()
    except NetworkUnavailable as error:
        print(f"homing: {error}", file=sys.stderr)
        return 1
    except Stopped:
        code = 1
    if options.markdown:
        print(markdown(results_of(runs)))
    if runs and not (options.json or out is sys.stdout):
        print(f"\n{loads(runs)}")
    if code:
        print("homing: stopped; everything that was made is gone", file=sys.stderr)
    return code or (0 if runs and all(result.ok for result in results_of(runs)) else 1)


def _options() -> tuple[argparse.Namespace, list[Batch]]:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.scenarios")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="S1, or S1/strict; all without one")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each scenario")
    parser.add_argument(
        "--per-row", action="append", metavar="N", help="of each row of the table instead; also S0=N, S0/nights=N"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for all; then what there is counts")
    parser.add_argument("--jobs", type=int, default=JOBS, help="scenarios at a time")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append each run, as a JSON line; -: print them only")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="run nothing: show what --out wrote")
    parser.add_argument("--json", action="store_true", help="one JSON object a scenario")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")
    parser.add_argument("--settled", type=float, help="seconds before each fault, instead of 10 or what is needed")
    parser.add_argument("--story", action="store_true", help="print the mail of each run; with --jobs 1")
    parser.add_argument("--why", action="store_true", help="ask `homing why` after each run, 20 to 60 s later")
    options = parser.parse_args()
    try:
        scenarios = find(options.names)
        if options.settled is not None:
            scenarios = [replace(scenario, settled_s=options.settled) for scenario in scenarios]
        if options.per_row:
            return options, planned(scenarios, number_of_rows(options.per_row))
    except ValueError as error:
        parser.error(str(error))
    return options, [Batch(scenario, options.runs) for scenario in scenarios]


def _performed(options: argparse.Namespace, batches: Sequence[Batch]) -> Iterator[Run]:
    """Yield the runs as they are done; more than one at a time have a process each."""
    if options.source is not None:
        yield from read(options.source)
    elif options.jobs > 1 and len(batches) > 1:
        how = ["--why"] if options.why else []
        with closing(Campaign(batches, options.jobs, how).runs(60.0 * options.minutes)) as found:
            yield from found
    else:
        until = time.monotonic() + 60.0 * options.minutes
        for batch in batches:
            for run in runs_of(batch.scenario, batch.runs, told=options.story, asked=options.why):
                yield run
                if time.monotonic() > until:
                    return


if __name__ == "__main__":
    sys.exit(main())
