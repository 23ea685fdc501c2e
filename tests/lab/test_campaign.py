"""How many runs each scenario has, in which order, and what is left of them."""

from collections import Counter
from pathlib import Path

import pytest

from tests.lab.blame import Blamed
from tests.lab.campaign import ANY, ROUND, Batch, planned
from tests.lab.catalogue import Scenario, find
from tests.lab.measure import Outcome
from tests.lab.results import Run, loads, results_of
from tests.lab.scenarios import number_of_rows, read, shown


def runs_by_row(batches: list[Batch]) -> Counter[object]:
    found = Counter[object]()
    for batch in batches:
        found[batch.scenario.row] += batch.runs
    return found


def row(name: str) -> tuple[object, ...]:
    return find([name])[0].row


def test_each_row_has_the_runs_it_should_and_all_its_variants_as_many() -> None:
    batches = planned(find([]), {ANY: 20, "S0": 100, "S0/nights": 8, "S1": 30})
    rows = runs_by_row(batches)
    of_each = Counter[str]()
    for batch in batches:
        of_each[batch.scenario.name] += batch.runs
        assert 0 < batch.runs <= ROUND
    assert rows[row("S0/flushed-direct-lax")] == 120  # 24 variants, 5 times each
    assert rows[row("S0/nights-direct-lax")] == 8
    assert {of_each[one.name] for one in find(["S0"]) if "nights" not in one.name} == {5}
    assert {of_each[one.name] for one in find(["S1"])} == {15}
    assert rows[row("S4/in-use")] == rows[row("S4/standby")] == 20
    assert sorted(rows.values())[:2] == [8, 20]
    assert set(rows) == {one.row for one in find([])}


def test_what_is_cut_off_has_as_much_of_each_row() -> None:
    batches = planned(find([]), {ANY: 20, "S0": 100})
    wanted = runs_by_row(batches)
    for end in range(len(batches)):
        done = runs_by_row(batches[:end])
        least = min(done[row] for row in wanted)
        assert max(done.values(), default=0) <= (least // ROUND + 1) * ROUND or least >= 20


def test_the_first_runs_of_a_row_are_of_every_kind() -> None:
    first: list[Scenario] = [batch.scenario for batch in planned(find(["S0"]), {ANY: ROUND})][:ROUND]
    assert {any("relayed" in one.name for one in first), any("direct" in one.name for one in first)} == {True}


def test_how_many_runs_a_row_has_is_said_for_all_and_for_some() -> None:
    assert number_of_rows(["20", "S0=120", "S0/nights=8"]) == {ANY: 20, "S0": 120, "S0/nights": 8}
    for wrong in (["S0=120"], ["20", "S99=4"], ["20", "S0/days=4"], ["0"], ["some"]):
        with pytest.raises(ValueError, match="20"):
            number_of_rows(wrong)


def test_a_run_is_the_same_after_it_was_written_and_read_and_half_a_line_is_none(tmp_path: Path) -> None:
    runs = [
        Run("S4/in-use", Outcome(3.0, 1.0, 2, blamed=Blamed("right", ("relay_link_half_open",))), 1.5),
        Run("S1/strict", Outcome(None, None, 0, "no packets"), 0.5),
    ]
    path = tmp_path / "runs"
    path.write_text("".join(run.as_line() + "\n" for run in runs) + runs[0].as_line()[:20])
    assert read(path) == runs
    assert [(one.scenario, one.runs, one.recovered) for one in results_of(runs)] == [("S1", 1, 0), ("S4", 1, 1)]
    assert loads(runs).startswith("2 runs; load average 0.5 to 1.5, 1.0 in the middle, on ")


def test_a_scenario_is_shown_when_it_has_all_its_runs_and_at_the_end_with_those_it_has() -> None:
    names = ("S1/strict", "S4/in-use", "S1/strict", "S2/lax")
    told = shown([Run(name, Outcome(1.0, 1.0, 0), 0.0) for name in names], {"S4/in-use": 1}, as_json=False)
    assert [text.split()[:2] for text in told] == [["S4/in-use", "1"], ["S1/strict", "2"], ["S2/lax", "1"]]
