"""What many runs of a scenario gave, as a line, a JSON object, or a row of the README's table."""

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from actors.demo.traffic import boot_time
from actors.trace.render import render
from tests.lab.blame import Blamed
from tests.lab.catalogue import Scenario, find
from tests.lab.measure import MANY, Outcome, Spread, spread
from tests.lab.stage import Stage

COLUMNS = (
    *("scenario", "measured", "recovered", "p50", "p99", "worst of n", "to reach (p50 / p99)", "noticed, worst"),
    *("closed", "worst variant"),
)
HEADING = f"{'scenario':34} {'runs':>4} {'p50':>7} {'worst':>7} {'may be':>13} {'noticed':>8} {'closed':>6}  why"
COUNTED = "displacements"  # the only thing that is no time
HEARTBEAT = ("ping", "pong", "announce", "snapshot_due", "save_snapshot", "agent_due")


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of a scenario."""

    scenario: str
    variant: str
    measured: str
    runs: int
    outage_s: Spread  # of what is measured, mostly the outage
    noticed_s: Spread
    recovered: int
    disruptive_actions: int
    may_be_s: tuple[float | None, float | None]  # median, every run
    ok: bool
    shortened: str = ""
    seconds: tuple[float, ...] = ()  # of each run
    why: tuple[Blamed, ...] = ()  # of each run whose ends were asked

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return asdict(self)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what `as_json` told."""
        told = json.loads(text)
        why = tuple(_blamed(one) for one in told["why"])
        spreads = {name: Spread(**told.pop(name)) for name in ("outage_s", "noticed_s")}
        return cls(**told | spreads | {name: tuple(told[name]) for name in ("may_be_s", "seconds")} | {"why": why})


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a scenario."""

    scenario: str  # its name
    outcome: Outcome
    load: float  # average of the last minute, at its end

    def as_line(self) -> str:
        """Return it as a JSON object on a line."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Self:
        """Return what `as_line` told."""
        told = json.loads(line)
        blamed = told["outcome"].pop("blamed")
        outcome = Outcome(**told["outcome"], blamed=None if blamed is None else _blamed(blamed))
        return cls(told["scenario"], outcome, told["load"])


def results_of(runs: Sequence[Run]) -> list[Result]:
    """Return what the runs of each scenario gave together.  Raises ValueError for one that is not there."""
    by_name: dict[str, list[Outcome]] = {}
    for run in runs:
        by_name.setdefault(run.scenario, []).append(run.outcome)
    return [summary(scenario, by_name[scenario.name]) for scenario in find(list(by_name))] if runs else []


def loads(runs: Sequence[Run]) -> str:
    """Return what else the machine had to do."""
    found = [run.load for run in runs]
    spread_over = f"{min(found):.1f} to {max(found):.1f}, {statistics.median(found):.1f} in the middle"
    return f"{len(found)} runs; load average {spread_over}, on {os.cpu_count()} cores"


def _blamed(told: dict[str, Any]) -> Blamed:
    return Blamed(told["judged"], tuple(told["causes"]))


def summary(scenario: Scenario, outcomes: Sequence[Outcome]) -> Result:
    """Return what the runs gave together, and whether that is within the scenario's figures."""
    each = tuple(one.seconds for one in outcomes if one.seconds is not None)
    seconds = spread(each)
    limit = scenario.limit
    in_the_middle = limit.p50 is None or len(outcomes) < MANY or (seconds.p50 or 0.0) <= limit.p50
    return Result(
        scenario.id,
        scenario.variant,
        scenario.measured,
        len(outcomes),
        seconds,
        spread([one.noticed_s for one in outcomes if one.noticed_s is not None]),
        sum(one.recovered for one in outcomes),
        sum(one.disruptive for one in outcomes),
        (limit.p50, limit.p99),
        in_the_middle and all(scenario.allows(one) for one in outcomes),
        scenario.shortened,
        each,
        tuple(one.blamed for one in outcomes if one.blamed is not None),
    )


def line(result: Result) -> str:
    """Return a result as a line of the table."""
    seconds, noticed = result.outage_s, result.noticed_s
    mark = "" if result.ok else "  <-- " + _what(result)
    name = f"{result.scenario}/{result.variant}"
    what = result.measured
    spread_out = f"{_figure(seconds.p50, what):>7} {_figure(seconds.max, what):>7}"
    figures = f"{spread_out} {_may_be(result):>13} {_figure(noticed.max):>8}"
    return f"{name:34} {result.runs:4} {figures} {result.disruptive_actions:6}{_why(result)}{mark}"


def _why(result: Result) -> str:
    """Return what `homing why` named, the worst judged of the runs."""
    if not result.why:
        return ""
    worst = max(result.why, key=lambda one: ("right", "unknown", "wrong").index(one.judged))
    return f"  {worst.judged} ({', '.join(worst.causes)})"


def _what(result: Result) -> str:
    if result.recovered < result.runs:
        return f"{result.runs - result.recovered} of {result.runs} not recovered"
    return "over its figure"


def _may_be(result: Result) -> str:
    middle, worst = (("-" if value is None else f"{value:g}") for value in result.may_be_s)
    return f"{middle} / {worst}" + ("" if result.measured == COUNTED else " s")


def _figure(value: float | None, measured: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if measured == COUNTED else f"{value:.2f} s"


def markdown(results: Sequence[Result]) -> str:
    """Return the README's table: a row for what is measured of a scenario, over all its variants."""
    rows: dict[tuple[str, str, tuple[float | None, float | None]], list[Result]] = {}
    for result in sorted(results, key=lambda one: (int(one.scenario[1:]), one.variant)):
        rows.setdefault((result.scenario, result.measured, result.may_be_s), []).append(result)
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*head, *(_row(found) for found in rows.values())])


def _row(found: list[Result]) -> str:
    first, seconds = found[0], spread([value for one in found for value in one.seconds])
    what = first.measured
    worst = max(found, key=lambda one: max(one.seconds, default=float("inf")))
    shortened = "; ".join(dict.fromkeys(one.shortened for one in found if one.shortened))
    cells = (
        first.scenario,
        what,
        f"{sum(one.recovered for one in found)} of {sum(one.runs for one in found)}",
        _figure(seconds.p50 if seconds.runs >= MANY else None, what),
        _figure(seconds.p99, what),
        f"{_figure(seconds.max, what)} of {seconds.runs}",
        _may_be(first),
        _figure(max((one.noticed_s.max for one in found if one.noticed_s.max is not None), default=None)),
        str(sum(one.disruptive_actions for one in found)),
        (f"{worst.variant}, of {len(found)}" if len(found) > 1 else worst.variant)
        + (f" ({shortened})" if shortened else ""),
    )
    return f"| {' | '.join(cells)} |"


def story(stage: Stage, since: float, until: float) -> str:
    """Return the mail of all agents then, in the order of time."""
    found: list[tuple[float, str]] = []
    for end in stage.running_ends:
        names = {peer.public_key: peer.name for peer in stage.report(end).peers}
        wanted = (one for one in stage.records(end, since) if one.at <= until and one.tag not in HEARTBEAT)
        found += ((one.at, f"{one.at - since - 1.0:+7.3f} {end.name:5} {render(one, names, 0.0)}") for one in wanted)
    lines = [text for _, text in sorted(found)]
    return "\n".join([f"--- {boot_time():.0f}: the mail from a second before the fault ---", *lines])
