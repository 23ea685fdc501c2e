"""The benchmarks of mail and of virtual time run, and measure what they say."""

import json
import os
import subprocess
import sys

import pytest

from tests.bench import mail, world


def test_a_world_of_real_machines_connects_and_stays_so_and_runs_alike_twice() -> None:
    first, second = (world.measure(peers=10, seconds=150.0) for _ in range(2))
    assert first["connected_at_the_end"] == 10
    assert first["trace_hash"] == second["trace_hash"]
    assert first["deliveries"] == second["deliveries"] > 10 * 150


@pytest.mark.process
def test_mail_is_measured_without_a_gap_or_a_dead_letter() -> None:
    figures = mail.measure(seconds=0.02, rounds=2)
    assert min(figures[name] for name in figures if name.endswith("_per_s")) > 0
    assert figures["body_bytes"] > 350


@pytest.mark.process
def test_a_world_runs_alike_in_another_interpreter() -> None:
    """Sets of text are in another order there (PYTHONHASHSEED), which must not show."""
    command = [sys.executable, "-m", "tests.bench.world", "--peers", "3", "--seconds", "20"]
    found = {
        json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": seed}))["trace_hash"]
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
