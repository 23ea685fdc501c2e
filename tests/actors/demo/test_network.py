"""What a killed run leaves behind is recognised by the next one."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from actors.demo.network import Network, remove_leftovers

pytestmark = pytest.mark.netns


def gone_process() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def test_all_of_a_dead_run_is_removed_and_nothing_of_a_live_one() -> None:
    makers = {"dead": gone_process(), "live": os.getpid()}
    namespaces = {f"homing-left-{pid}-{host}" for pid in makers.values() for host in ("a", "b", "c")}
    directories = {pid: Path(tempfile.mkdtemp(prefix=f"homing-left-{pid}-")) for pid in makers.values()}
    try:
        for name in namespaces:
            subprocess.run(["ip", "netns", "add", name], check=True)
        (directories[makers["dead"]] / "alice.key").write_text("a key")
        remove_leftovers()
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
        assert namespaces.intersection(listed) == {f"homing-left-{makers['live']}-{host}" for host in ("a", "b", "c")}
        assert [pid for pid, directory in directories.items() if directory.exists()] == [makers["live"]]
    finally:
        for name in namespaces:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        for directory in directories.values():
            subprocess.run(["rm", "-rf", str(directory)], check=True)


def test_a_namespace_goes_whose_making_was_broken_off() -> None:
    with Network("left") as network:
        subprocess.run(["ip", "netns", "add", f"{network.prefix}-half"], check=True)
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert network.prefix not in listed
