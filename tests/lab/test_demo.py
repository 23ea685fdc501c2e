"""`homing demo` as a user runs it: real namespaces, NATs, servers, agents."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "actors.cli", "demo"]


def leftovers(pid: int) -> list[str]:
    """Return what a demo of that process id left behind."""
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    files = "\n".join(str(path) for path in Path(tempfile.gettempdir()).glob("homing-*"))
    return re.findall(rf"homing-demo-{pid}\S*", names + running + files)


@pytest.mark.netns
def test_the_demo_reports_its_figures_and_leaves_nothing_behind() -> None:
    demo = subprocess.Popen([*DEMO, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = demo.communicate(timeout=180)
    assert demo.returncode == 0, err
    figures = json.loads(out)
    assert figures["ok"] is True
    assert figures["path"] == "direct"
    assert figures["direct_s"] > 0
    assert figures["packets_lost_at_upgrade"] == 0
    assert 0 < figures["rtt_ms"] < 1000
    assert figures["transfer_mbit_s"] > 0
    assert figures["up_s"] > 0
    assert figures["direct_cut_outage_s"] > 0
    assert figures["relay_restart_outage_s"] > 0  # the fault was real: it was felt
    assert leftovers(demo.pid) == []


@pytest.mark.netns
def test_the_demo_cleans_up_after_control_c() -> None:
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Two agents start" in line:
            break
    time.sleep(0.3)  # in the midst of it
    os.killpg(demo.pid, signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert err.strip() == "homing: stopped; everything the demo made is gone"
    assert leftovers(demo.pid) == []


# Privileges go after the imports: the interpreter itself may lie where only root can read.
AS_NOBODY = """
import os
import actors.cli.demo
from actors.cli.application import execute
os.setuid(65534)
raise SystemExit(execute(["demo"]))
"""


@pytest.mark.process
def test_without_root_the_demo_says_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "homing: network namespaces need root; run it with sudo\n"
