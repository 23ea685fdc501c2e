"""Runs many seeds on all cores (`--seeds 10000`), one of them (`--seed 17`), or scenarios by name (`--scenario S8`).

What recovery.md bounds by the hour and by the day comes from `--figures`, as rows of a table.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import msgspec

from tests.simulator.diagram import diagram
from tests.simulator.draw import draw
from tests.simulator.faults import words
from tests.simulator.figures import rows
from tests.simulator.found import FOUND
from tests.simulator.run import Outcome, judge, perform
from tests.simulator.scenario import NAMED, Scenario
from tests.simulator.shrink import shrink

PROGRESS_S = 10.0
SHOWN = 20  # failing seeds that are told one by one
BEFORE_S = 2.0  # of the first fault, the diagram begins
YOUNG = 50_000  # objects between two looks for garbage: a run's mail stays, and looking through it takes a tenth


def main() -> int:
    """Run what was asked for; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one, shrink it if it fails, and draw what happened")
    parser.add_argument("--scenario", help="a scenario by name, or the beginning of names: S8")
    parser.add_argument("--figures", nargs="?", const="", metavar="NAME", help="rows by the hour and day: all, or S13")
    asked = parser.parse_args()
    if asked.figures is not None:
        return _figures(asked.figures)
    if asked.scenario is not None:
        return _named(asked.scenario, asked.seed if asked.seed is not None else 0)
    if asked.seed is not None:
        return _one(draw(asked.seed), asked.seed)
    return many(range(asked.first, asked.first + asked.seeds))


def settle_down() -> None:
    """Spend less on garbage, in a process that runs one scenario after the other."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)


def run_drawn(seed: int) -> Outcome:
    """Run the scenario of a seed."""
    scenario = draw(seed)
    return judge(perform(scenario, seed), seed, scenario.name)


def many(seeds: Iterable[int]) -> int:
    """Run these seeds, and tell."""
    begun, told_at, failed, done, virtual_s = time.monotonic(), time.monotonic(), list[Outcome](), 0, 0.0
    seeds = list(seeds)
    with ProcessPoolExecutor(os.cpu_count(), initializer=settle_down) as pool:
        for outcome in pool.map(run_drawn, seeds, chunksize=4):
            done, virtual_s = done + 1, virtual_s + outcome.virtual_s
            if not outcome.ok:
                failed.append(outcome)
                if len(failed) <= SHOWN:
                    print(f"seed {outcome.seed}: {'; '.join(outcome.problems)}", flush=True)
            if time.monotonic() - told_at >= PROGRESS_S:
                told_at = time.monotonic()
                print(f"{done} of {len(seeds)} seeds, {len(failed)} failed", flush=True)
    took_s = time.monotonic() - begun
    print(f"{done} seeds, {virtual_s / 3600:.1f} virtual hours in {took_s:.0f} s; {len(failed)} failed")
    if failed:
        print(f"one of them again, shrunk and drawn: make simulate SEED={failed[0].seed}")
    return bool(failed)


def _figures(beginning: str) -> int:
    print("| figure | measured | to reach | virtual hours |\n|---|---|---|---|", flush=True)
    missed = 0
    for row in rows(settle_down, beginning):
        missed += not row.ok
        told = f"| {row.what} | {row.measured} | {row.figure} | {row.virtual_h:.1f} |"
        print(f"{told}{'' if row.ok else '  MISSED'}", flush=True)
    return bool(missed)


def _named(beginning: str, seed: int) -> int:
    scenarios = [scenario for name, scenario in (NAMED | FOUND).items() if name.startswith(beginning)]
    if not scenarios:
        print(f"no scenario begins with {beginning!r}; there are: {', '.join(NAMED | FOUND)}", file=sys.stderr)
        return 2
    if len(scenarios) == 1:
        return _one(scenarios[0], seed)
    failed = 0
    with ProcessPoolExecutor(os.cpu_count(), initializer=settle_down) as pool:
        for outcome in pool.map(partial(_judged, seed=seed), scenarios):
            print(_line(outcome), flush=True)
            failed += not outcome.ok
    return bool(failed)


def _judged(scenario: Scenario, seed: int) -> Outcome:
    return judge(perform(scenario, seed), seed, scenario.name)


def _line(outcome: Outcome) -> str:
    recovered = "never" if outcome.recovered_s is None else f"{outcome.recovered_s:.2f} s"
    problems = f"  FAILED: {'; '.join(outcome.problems)}" if outcome.problems else ""
    return (
        f"{outcome.scenario:44} outage {outcome.outage_s:7.2f} s, recovered {recovered:>8}, "
        f"{outcome.disruptive} disruptive{problems}"
    )


def _one(scenario: Scenario, seed: int) -> int:
    outcome = _judged(scenario, seed)
    print(_line(outcome))
    if outcome.ok:
        print(f"digest {outcome.digest}")
        for fault in scenario.faults:
            print(f"    {words(fault)}")
        return 0
    smallest = shrink(scenario, lambda candidate: not _judged(candidate, seed).ok)
    scenario = smallest.scenario
    print(f"after {smallest.runs} runs, the fewest faults that still fail:")
    for fault in scenario.faults:
        print(f"    {words(fault)}")
    print(f"    {msgspec.json.encode(_judged(scenario, seed).problems).decode()}")
    performed = perform(scenario, seed)
    if not isinstance(performed, str):
        since_s = min((fault.at_s for fault in scenario.faults), default=0.0) - BEFORE_S
        print("\n".join(diagram(performed.sim, since_s)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
