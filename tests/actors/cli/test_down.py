import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.cli.running import LOCK_NAME
from tests.actors.cli.console import failure, homing
from tests.actors.cli.fake_agent import FakeAgent

pytestmark = pytest.mark.process

SUPERVISOR = """
import fcntl, os, signal, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("up", flush=True)
signal.sigwait([signal.SIGTERM])
print("told", flush=True)
if sys.argv[2] == "stubborn":
    signal.pause()
"""


@contextmanager
def supervisor(run_directory: Path, manner: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that holds the lock of agent alice as a supervisor does, until it is told to stop."""
    directory = run_directory / "alice"
    directory.mkdir(parents=True)
    arguments = [sys.executable, "-c", SUPERVISOR, str(directory / LOCK_NAME), manner]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def test_it_tells_the_supervisor_and_waits_for_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with supervisor(tmp_path, "obedient") as process:
        result = homing(capsys, "down", "--run-directory", str(tmp_path))
        assert (result.code, result.out, result.error) == (0, "the agent alice has ended\n", "")
        assert process.wait(10) == 0


def test_one_that_does_not_end_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with supervisor(tmp_path, "stubborn") as process:
        line = failure(capsys, "down", "--run-directory", str(tmp_path), "--timeout", "0.2")
        assert line == f"the agent alice (process {process.pid}) has not ended after 0.2 s; try again"
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 10)[0]
        assert process.poll() is None


def test_one_that_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeAgent(tmp_path) as agent:
        agent.die()
        line = failure(capsys, "down", "--run-directory", str(tmp_path))
        assert line == "the agent alice is not running; start it with: homing up -c FILE"


def test_nobody_is_told_by_a_number_that_has_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_really = os.pidfd_open

    def open_late(pid: int) -> int:
        agent.die()
        return open_really(pid)

    with FakeAgent(tmp_path) as agent:
        monkeypatch.setattr("os.pidfd_open", open_late)
        monkeypatch.setattr("signal.pidfd_send_signal", lambda *_: pytest.fail("somebody was told"))
        assert homing(capsys, "down", "--run-directory", str(tmp_path)).code == 0
