"""The systemd unit and the supervisord section, as far as they can be run without the machine's own systemd."""

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.actors.runtime.agents import Agent, agent, is_alive, wait_until

CONFIG = Path(__file__).resolve().parents[2] / "config"
UNIT = CONFIG / "homing.service"
SECTION = CONFIG / "homing.supervisord.conf"
COMMAND = "/usr/local/bin/homing up -c /etc/homing/agent.toml"


def unit() -> dict[str, list[str]]:
    """Return the settings of the unit's [Service] section."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_both_run_the_same_command() -> None:
    assert unit()["ExecStart"] == [COMMAND]
    assert re.search(rf"^command={re.escape(COMMAND)}$", SECTION.read_text(), re.MULTILINE)


def test_systemd_waits_longer_than_a_drain_takes_and_its_watchdog_longer_than_a_restart() -> None:
    settings = unit()
    assert settings["Type"] == ["notify"]
    assert int(settings["TimeoutStopSec"][0]) > 5
    assert int(settings["WatchdogSec"][0]) >= 30
    assert settings["Restart"] == ["always"]


@pytest.mark.interop
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing: apt-get install systemd"
    copy = tmp_path / "homing.service"
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/homing", sys.executable))
    done = subprocess.run([program, "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.netns
def test_the_unit_s_capabilities_are_enough() -> None:
    """The bounding set and NoNewPrivileges of the unit, and children that are somebody else."""
    kept = [name.removeprefix("CAP_").lower() for name in " ".join(unit()["CapabilityBoundingSet"]).split()]
    assert unit()["NoNewPrivileges"] == ["yes"]
    with agent(user="nobody") as one:
        limited = ["setpriv", "--no-new-privs", "--bounding-set", ",".join(["-all", *[f"+{name}" for name in kept]])]
        one.start(prefix=limited).ready()
        status = Path(f"/proc/{one.pid('supervisor')}/status").read_text()
        assert int(re.findall(r"CapEff:\s+(\w+)", status)[0], 16).bit_count() == len(kept)
        before = one.incarnations()["packet"]
        os.kill(one.pid("packet"), signal.SIGKILL)
        one.restarted("packet", before)
        assert one.stop() == 0
        assert one.interface() is None
        assert not one.run_dir.exists()


class Supervisord:
    """Debian's supervisord with our program section, whose command is replaced by an agent of the test."""

    def __init__(self, one: Agent) -> None:
        self._config = one.directory / "supervisord.conf"
        section = SECTION.read_text().replace(COMMAND, " ".join(one.up_command()))
        section = section.replace("/var/log/supervisor/homing.log", str(one.log))
        self._config.write_text(
            f"[unix_http_server]\nfile={one.directory}/supervisor.sock\n"
            f"[supervisord]\nlogfile={one.directory}/supervisord.log\npidfile={one.directory}/supervisord.pid\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{one.directory}/supervisor.sock\n{section}"
        )
        self.process = subprocess.Popen(
            ["supervisord", "-n", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def control(self, *words: str) -> str:
        """Run supervisorctl and return what it said."""
        done = subprocess.run(
            ["supervisorctl", "-c", str(self._config), *words], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def pid(self) -> int:
        """Return the agent's process id once supervisord calls it running."""
        found = wait_until(lambda: re.search(r"RUNNING\s+pid (\d+)", self.control("status", "homing")), "it runs")
        return int(found[1])


@contextmanager
def supervisord(one: Agent) -> Iterator[Supervisord]:
    started = Supervisord(one)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.wait(timeout=30)


def test_the_section_is_one_that_supervisord_reads() -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(SECTION)
    assert parser.sections() == ["program:homing"]
    assert int(parser["program:homing"]["stopwaitsecs"]) > 5
    assert parser["program:homing"]["stopsignal"] == "TERM"


@pytest.mark.interop
@pytest.mark.process
@pytest.mark.netns
def test_supervisord_starts_restarts_and_stops_an_agent() -> None:
    with agent() as one, supervisord(one) as manager:
        first = manager.pid()
        one.ready(first)
        children = one.pids()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: one.status("supervisor").get("pid") not in (None, first), "another agent writes")
        second = manager.pid()
        assert second != first
        one.ready(second)
        assert not [pid for pid in children.values() if is_alive(pid)]
        assert "stopped" in manager.control("stop", "homing")
        assert not is_alive(second)
        assert "control-0 ended: exit code 0" in one.logged()
        assert one.interface() is None
        assert not one.run_dir.exists()
