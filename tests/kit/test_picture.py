"""A failing test shows the mail of its bench."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import picture
from tests.kit.bench import BENCHES, Bench
from tests.kit.test_bench import FIRST_RETRY_S, Guard, RelayLost

ROOT = Path(__file__).parents[2]
FAILING = """

from tests.kit.bench import Bench
from tests.kit.test_bench import Guard, RelayLost

def test_fails():
    bench = Bench(Guard())
    bench.tell(RelayLost())
    assert bench.tags() == ["nothing"]

def test_of_another():
    assert False
"""


@pytest.mark.parametrize("bench_of", BENCHES)
def test_what_was_told_and_what_was_sent_is_drawn(bench_of: type[Bench]) -> None:
    picture.forget()
    with bench_of(Guard()) as bench:
        bench.tell(RelayLost())
        bench.advance(FIRST_RETRY_S)
        head, *lines = picture.of_this_test()
    assert head.split()[:2] == ["outside", "guard"]
    told = "\n".join(lines)
    assert "toy_relay_lost" in told
    assert "toy_retry_due" in told
    assert "toy_send_offer interval_s=2" in told
    assert "->" in told
    picture.forget()
    assert picture.of_this_test() == []


@pytest.mark.process
def test_the_report_of_a_failing_test_has_it(tmp_path: Path) -> None:
    file = tmp_path / "test_failing.py"
    file.write_text(FAILING)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        "--rootdir",
        str(tmp_path),
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, done
    assert done.stdout.count("mail of the bench") == 1
    assert "toy_relay_lost" in done.stdout
