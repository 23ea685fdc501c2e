"""What many runs of a scenario gave, as a line, a JSON object, or a row of the README's table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from actors.demo.traffic import boot_time
from actors.trace.render import render
from tests.lab.blame import Blamed
from tests.lab.catalogue import Scenario
from tests.lab.measure import MANY, Outcome, Spread, spread
from tests.lab.stage import Stage

HEADING = f"{'scenario':34} {'runs':>4} {'p50':>7} {'worst':>7} {'may be':>13} {'noticed':>8} {'closed':>6}  why"
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
        why = tuple(Blamed(one["judged"], tuple(one["causes"])) for one in told["why"])
        spreads = {name: Spread(**told.pop(name)) for name in ("outage_s", "noticed_s")}
        return cls(**told | spreads | {name: tuple(told[name]) for name in ("may_be_s", "seconds")} | {"why": why})


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
    figures = f"{_seconds(seconds.p50)} {_seconds(seconds.max)} {_may_be(result):>13} {_seconds(noticed.max):>8}"
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
    return f"{middle} / {worst} s"


def _seconds(value: float | None) -> str:
    return "      -" if value is None else f"{value:5.2f} s"


def markdown(results: Sequence[Result]) -> str:
    """Return the README's table: a row for what is measured of a scenario, over all its variants."""
    rows: dict[tuple[str, str, tuple[float | None, float | None]], list[Result]] = {}
    for result in sorted(results, key=lambda one: (int(one.scenario[1:]), one.variant)):
        rows.setdefault((result.scenario, result.measured, result.may_be_s), []).append(result)
    limits = "to reach (p50 / worst)"
    columns = ("scenario", "measured", "recovered", "p50", "worst", limits, "closed", "worst variant")
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*head, *(_row(found) for found in rows.values())])


def _row(found: list[Result]) -> str:
    first, seconds = found[0], spread([value for one in found for value in one.seconds])
    worst = max(found, key=lambda one: max(one.seconds, default=float("inf")))
    shortened = "; ".join(dict.fromkeys(one.shortened for one in found if one.shortened))
    cells = (
        first.scenario,
        first.measured,
        f"{sum(one.recovered for one in found)} of {sum(one.runs for one in found)}",
        *(_seconds(value).strip() for value in (seconds.p50, seconds.max)),
        _may_be(first),
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
