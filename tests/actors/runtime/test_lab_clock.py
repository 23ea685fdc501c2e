"""The lab's clock: where it is refused, and a whole agent that sleeps by it."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.runtime import clock
from actors.runtime.lab_clock import OFFSETS, VARIABLE, open_lab_clock
from tests.actors.runtime.agents import Agent, Space, agent, wait_until

READ = """
import json, time
from actors.runtime import clock
boot = time.clock_gettime(time.CLOCK_BOOTTIME)
print(json.dumps([round(clock.now() - boot), round(clock.unix_now() - time.time()), clock.LAB_NOTE]))
"""


def offsets(path: Path, boot_s: float = 0.0, wall_s: float = 0.0) -> None:
    """Set them in place, as the lab does."""
    with open(path, "r+b" if path.exists() else "wb", buffering=0) as file:
        file.write(OFFSETS.pack(boot_s, wall_s))


def read_inside(path: Path) -> str:
    space = Space()
    try:
        command = space.command("env", f"{VARIABLE}={path}", sys.executable, "-c", READ)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    finally:
        space.remove()


def test_here_there_is_none() -> None:
    assert clock.LAB_NOTE == ""
    assert open_lab_clock({}) == (None, "")


def test_it_is_refused_where_an_agent_may_serve_somebody(tmp_path: Path) -> None:
    offsets(tmp_path / "clock", 300.0)
    found, note = open_lab_clock({VARIABLE: str(tmp_path / "clock")})
    assert found is None
    assert note == f"{VARIABLE} is ignored: it is for network namespaces of a lab; unset it"


@pytest.mark.netns
def test_in_a_lab_both_clocks_follow_it(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    offsets(path, 300.0, -86_400.0)
    assert read_inside(path) == f'[300, -86400, "the clocks follow {path}, as {VARIABLE} says: this is a lab"]\n'


@pytest.mark.netns
@pytest.mark.parametrize("content", [None, b"", struct.pack("=d", 1.0), bytes(17)])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clock"
    if content is not None:
        path.write_bytes(content)
    said = read_inside(path)
    assert said.startswith(f'[0, 0, "{VARIABLE} is ignored: ')
    assert str(path) in said


@pytest.mark.netns
def test_a_file_that_is_somebody_else_s_is_refused(tmp_path: Path) -> None:
    offsets(tmp_path / "clock", 300.0)
    os.chown(tmp_path / "clock", 65534, 65534)
    assert "is no file of root's" in read_inside(tmp_path / "clock")


def freeze(one: Agent, *, thaw: bool = False) -> None:
    """Stop every process of an agent, or let them go on: the supervisor sees no child stopped."""
    pids = one.pids()
    order = ["packet", "control-0", "supervisor"] if thaw else ["supervisor", "control-0", "packet"]
    for name in order:
        os.kill(pids[name], signal.SIGCONT if thaw else signal.SIGSTOP)


@pytest.mark.process
def test_an_agent_that_slept_for_eight_hours_notices_it_and_restarts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    offsets(path)
    with agent() as one:
        one.start({VARIABLE: str(path)}).ready()
        before = one.incarnations()
        freeze(one)
        offsets(path, 8 * 3600.0)
        freeze(one, thaw=True)
        thawed_at = time.clock_gettime(time.CLOCK_BOOTTIME) + 8 * 3600.0
        wait_until(lambda: "resumed from sleep" in one.logged(), "the sleep is noticed")
        wait_until(
            lambda: all(one.status(name)["written_at"] > thawed_at for name in one.pids()), "all go by the lab's clock"
        )
        assert "slept_s=28800" in one.logged()
        assert "this is a lab" in one.logged()
        assert one.incarnations() == before
        assert one.stop() == 0
