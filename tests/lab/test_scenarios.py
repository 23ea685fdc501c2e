"""What the scenarios measure and how it is shown; and a few of them for real."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.messages.node import CloseRelayed
from actors.messages.packet import CloseIceAgent, IcePairProven
from actors.messages.peer import PathDoubtful, RelayReady
from actors.trace.record import Kind, Record
from config.keys import PublicKey
from tests.lab.blame import Blamed
from tests.lab.catalogue import Scenario, find, scenarios
from tests.lab.measure import Outcome, Spread, disruptions, noticed_at, spread
from tests.lab.results import Result, line, markdown, summary
from transport.signal.messages import SessionId
from wg.paths import DirectPath

BOB = PublicKey("bob")
OLD, NEW = SessionId(b"older"), SessionId(b"newer")


def record(at: float, message: msgspec.Struct, kind: Kind = "delivered") -> Record:
    body = msgspec.msgpack.encode(message)
    return Record(at=at, process="control-0", kind=kind, tag=msgspec.msgpack.decode(body)["type"], body=body)


def ready(generation: int) -> RelayReady:
    return RelayReady(peer=BOB, generation=generation, link=1, url="rel://r:1")


def proven(session: SessionId) -> IcePairProven:
    path = DirectPath(ip="192.0.2.7", port=51820, local="")
    return IcePairProven(
        peer=BOB, session=session, remote_session=None, path=path, local="", remote_kind="host", rtt_s=None
    )


def doubtful() -> PathDoubtful:
    return PathDoubtful(peer=BOB, path="direct", generation=1, reason="")


# --- what is measured ---


def test_the_first_doubt_after_the_fault_counts() -> None:
    mail = [record(1.0, doubtful()), record(3.0, ready(1)), record(4.5, doubtful()), record(5.0, doubtful())]
    assert noticed_at(mail, 2.0) == 4.5
    assert noticed_at(mail, 6.0) is None
    assert noticed_at([record(4.0, doubtful(), kind="discarded")], 2.0) is None


def test_only_what_was_open_can_be_torn_down() -> None:
    mail = [
        record(1.0, ready(1)),
        record(1.5, proven(OLD)),
        record(3.0, CloseRelayed(peer=BOB, generation=1)),
        record(3.1, CloseRelayed(peer=BOB, generation=2)),  # an opening that came to nothing
        record(3.2, CloseIceAgent(peer=BOB, session=OLD)),
        record(3.3, CloseIceAgent(peer=BOB, session=NEW)),  # a search that found nothing
    ]
    assert [one.at for one in disruptions(mail, 2.0)] == [3.0, 3.2]
    assert disruptions(mail, 3.5) == []


def test_percentiles_need_enough_runs() -> None:
    assert spread([]) == Spread(0, None, None, None)
    assert spread([3.0, 1.0, 2.0]) == Spread(3, 2.0, None, 3.0)
    assert spread([float(value) for value in range(1, 201)]).p99 == 198.0


# --- what it may be ---


def one(**changes: Any) -> Scenario:
    return replace(find(["S4/in-use"])[0], **changes)


def test_a_run_over_a_figure_is_not_allowed() -> None:
    fine = Outcome(4.9, 4.9, 3)
    assert one().allows(fine)
    assert not one().allows(replace(fine, seconds=5.1))
    assert not one().allows(replace(fine, noticed_s=5.1))
    assert not one().allows(replace(fine, error="no packets"))
    assert not one(disruptive=0).allows(fine)


def test_a_median_is_asked_of_many_runs_only() -> None:
    scenario = find(["S1/strict"])[0]
    assert summary(scenario, [Outcome(3.0, 1.0, 0)] * 19).ok
    assert not summary(scenario, [Outcome(3.0, 1.0, 0)] * 20).ok
    assert summary(scenario, [Outcome(1.9, 1.0, 0)] * 20).ok


def test_every_scenario_of_the_list_is_there_under_a_name_of_its_own() -> None:
    names = [scenario.name for scenario in scenarios()]
    assert len(names) == len(set(names))
    assert {scenario.id for scenario in scenarios()} == {f"S{number}" for number in range(24)}
    assert [scenario.id for scenario in find(["S2", "S4/in-use"])] == ["S2", "S2", "S4"]


def test_an_unknown_scenario_is_refused_with_the_names_that_would_do() -> None:
    with pytest.raises(ValueError, match="S0, S1"):
        find(["S99"])
    with pytest.raises(ValueError, match="S4/in-use, S4/standby"):
        find(["S4/in-sue"])


# --- how it is shown ---


def test_a_result_is_the_same_after_it_was_written_and_read() -> None:
    blamed = Blamed("right", ("relay_link_half_open", "unknown"))
    result = summary(one(), [Outcome(3.0, 1.0, 2, blamed=blamed), Outcome(None, None, 0, "no packets")])
    assert Result.read(json.dumps(result.as_json())) == result
    told = result.as_json()
    assert told["why"] == ({"judged": "right", "causes": ("relay_link_half_open", "unknown")},)
    assert line(result).endswith("right (relay_link_half_open, unknown)  <-- 1 of 2 not recovered")
    assert (told["scenario"], told["runs"], told["recovered"], told["disruptive_actions"]) == ("S4", 2, 1, 2)
    assert told["outage_s"] == {"runs": 1, "p50": 3.0, "p99": None, "max": 3.0}


def test_a_line_says_what_was_not_as_it_should_be() -> None:
    lost = summary(one(), [Outcome(3.0, 1.0, 2), Outcome(None, None, 0, "no packets")])
    assert line(lost).endswith("<-- 1 of 2 not recovered")
    assert line(summary(one(), [Outcome(6.0, 1.0, 2)])).endswith("<-- over its figure")
    assert "<--" not in line(summary(one(), [Outcome(3.0, 1.0, 2)]))


def test_the_table_has_a_row_for_the_variants_of_a_scenario_together() -> None:
    seconds = {"S12/direct-cut": 1.0, "S12/new-address": 3.0, "S4/in-use": 2.0}
    rows = markdown([summary(find([name])[0], [Outcome(at, 0.5, 0)]) for name, at in seconds.items()]).splitlines()
    assert rows[2] == "| S4 | outage | 1 of 1 | - | - | 2.00 s of 1 | - / 5 s | 0.50 s | 0 | in-use |"
    told = "new-address, of 2 (signal down 10 min -> 5 s)"
    assert rows[3] == f"| S12 | outage | 2 of 2 | - | - | 3.00 s of 2 | - / 5 s | 0.50 s | 0 | {told} |"


def test_the_table_has_percentiles_where_the_variants_together_have_the_runs_for_them() -> None:
    def row(runs: int) -> str:
        results = [summary(find([name])[0], [Outcome(2.0, None, 0)] * runs) for name in ("S1/strict", "S1/lax")]
        return markdown(results).splitlines()[2]

    assert row(9).startswith("| S1 | outage | 18 of 18 | - | - | 2.00 s of 18 |")
    assert row(10).startswith("| S1 | outage | 20 of 20 | 2.00 s | - | 2.00 s of 20 |")
    assert row(50).startswith("| S1 | outage | 100 of 100 | 2.00 s | 2.00 s | 2.00 s of 100 |")


def test_displacements_are_no_seconds() -> None:
    result = summary(find(["S21/displacements"])[0], [Outcome(7.0, 1.0, 0)])
    assert markdown([result]).splitlines()[2].startswith("| S21 | displacements | 1 of 1 | - | - | 7 of 1 | - / 6 |")


# --- for real ---


def lab(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.lab.scenarios", *arguments, "--settled", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.netns
def test_a_pair_recovers_from_what_breaks_and_does_not_feel_a_signal_server_that_restarts() -> None:
    broken = {"S1/strict", "S9/to-bob", "S12/relay-restarted", "S19/packet-killed-direct"}
    run = lab(*broken, "S11/direct", "--jobs", "5", "--runs", "1", "--json")
    out, err = run.communicate(timeout=180)
    results = {f"{one.scenario}/{one.variant}": one for one in map(Result.read, out.splitlines())}
    unfelt = results.pop("S11/direct")
    assert {name for name, result in results.items() if result.recovered} == broken, err
    assert all(result.noticed_s.runs for result in results.values())  # the faults were real
    assert (unfelt.recovered, unfelt.noticed_s.runs, unfelt.disruptive_actions) == (1, 0, 0), err


@pytest.mark.netns
def test_a_lab_that_is_stopped_shows_the_runs_that_it_has(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    run = lab("S11", "--per-row", "100", "--jobs", "2", "--out", str(out))
    until = time.monotonic() + 90
    while not (out.exists() and out.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    table, err = run.communicate(timeout=60)
    assert "\nS11/" in table, err
    assert " runs; load average" in table
    assert run.returncode == 1


@pytest.mark.netns
def test_the_lab_leaves_nothing_behind_when_it_is_stopped() -> None:
    run = lab("S4", "--jobs", "2", "--json")

    def made() -> list[str]:
        workers = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=False)
        spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        pids.update(workers.stdout.split())
        return [line for line in spaces.splitlines() if any(f"homing-lab-{pid}-" in line for pid in pids)]

    pids: set[str] = set()
    until = time.monotonic() + 30
    while len(made()) < 6 and time.monotonic() < until:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert err.splitlines()[-1] == "homing: stopped; everything that was made is gone"
    assert (run.returncode, made()) == (1, [])


@pytest.mark.netns
def test_a_lab_whose_time_is_over_has_written_its_runs_down_and_shows_them(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    run = lab("S1/lax", "S4/in-use", "--per-row", "100", "--jobs", "2", "--minutes", "0.5", "--out", str(out))
    table, err = run.communicate(timeout=120)
    runs = out.read_text().splitlines()
    assert 0 < len(runs) < 200, err
    assert f"\n{len(runs)} runs; load average" in table
    again = subprocess.run(
        [sys.executable, "-m", "tests.lab.scenarios", "--from", str(out), "--markdown"],
        capture_output=True,
        text=True,
        check=False,
    )
    told = {text.split(" | ")[0] for text in again.stdout.splitlines()[2:] if text.startswith("|")}
    assert told == {f"| {name}" for name in ("S1", "S4") if name + "/" in out.read_text()}
    assert f"\n{len(runs)} runs; load average" in again.stdout
