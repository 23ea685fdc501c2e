"""Whole agents as processes: started, hurt, and stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.node.repairs import MAX_REPAIRS
from tests.actors.runtime.agents import INTERFACE, PROCESSES, Agent, agent, is_alive, wait_until

pytestmark = [pytest.mark.process, pytest.mark.netns]


@pytest.fixture
def fresh() -> Iterator[Agent]:
    with agent() as one:
        yield one


@pytest.fixture(scope="module")
def running() -> Iterator[Agent]:
    """One agent that several tests hurt and leave up."""
    with agent(user="nobody") as one:
        yield one.start().ready()


# --- while it runs ---


def test_it_has_its_interface_its_port_and_three_snapshots(running: Agent) -> None:
    interface = running.interface()
    assert interface is not None
    assert "alias homing alice" in running.space.run("ip", "link", "show", "dev", INTERFACE)
    assert {each["local"] for each in interface["addr_info"]} == {"10.77.0.1", "fd77::1"}
    v4, v6 = running.udp_ports()
    assert v4.rpartition(":")[2] == v6.rpartition(":")[2]
    assert [running.status(name)["process"] for name in running.pids()] == list(running.pids())
    assert running.status("packet")["packet"]["tunnels"] == []
    signal_status = wait_until(lambda: running.status("control-0")["control"]["signal"], "signal was tried")
    assert signal_status["connected"] is False


def test_snapshots_are_written_anew_each_second(running: Agent) -> None:
    before = {name: running.status(name)["written_at"] for name in PROCESSES}
    wait_until(lambda: all(running.status(name)["written_at"] > before[name] for name in PROCESSES), "all write")


def test_its_children_are_nobody_and_nothing_more(running: Agent) -> None:
    for name in ("packet", "control-0"):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{running.pid(name)}/status").read_text().splitlines()
        )
        assert set(status["Uid"].split()) == {"65534"}
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert os.getpgid(running.pid(name)) == running.pid(name)


def test_its_files_are_its_own(running: Agent) -> None:
    for directory in (running.run_dir, running.directory / "state" / "alice"):
        stat = directory.stat()
        assert (stat.st_uid, stat.st_mode & 0o777) == (65534, 0o700)


def test_no_key_is_in_arguments_environment_or_log(running: Agent) -> None:
    secrets = [(running.directory / name).read_bytes().strip() for name in ("alice.key", "relay.secret")]
    for pid in running.pids().values():
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert not [secret for secret in secrets if secret in shown]
    assert not [secret for secret in secrets if secret in running.log.read_bytes()]


@pytest.mark.parametrize("process", ["packet", "control-0"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_child_that_is_killed_or_hangs_is_replaced(running: Agent, process: str, how: signal.Signals) -> None:
    before, pids = running.incarnations(), running.pids()
    interface, ports = running.interface(), running.udp_ports()
    os.kill(pids[process], how)
    running.restarted(process, before[process])
    assert not is_alive(pids[process])
    (other,) = {"packet", "control-0"} - {process}
    assert running.incarnations()[other] == before[other]
    assert running.pid(other) == pids[other]
    assert running.pid(process) != pids[process]
    assert running.interface() == interface
    assert running.udp_ports() == ports


def test_the_snapshot_says_why_a_child_was_replaced(running: Agent) -> None:
    before = running.incarnations()["control-0"]
    os.kill(running.pid("control-0"), signal.SIGTERM)
    running.restarted("control-0", before)
    children = {child["process"]: child for child in running.children()}
    assert children["control-0"]["reason"] == "exit code 0"
    assert children["control-0"]["restarts"] > 0


def test_a_second_agent_of_the_node_is_refused(running: Agent) -> None:
    before = running.interface()
    done = subprocess.run(running.up_command(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"homing: already running, pid {running.pid('supervisor')}\n"
    assert running.interface() == before
    assert running.states() == {"packet": "up", "control-0": "up"}


def test_a_refused_agent_of_another_user_takes_nothing_over(running: Agent) -> None:
    before = running.config.read_text()
    running.config.write_text(before.replace('user = "nobody"', 'user = "root"'))
    done = subprocess.run(running.up_command(), capture_output=True, text=True, timeout=60, check=False)
    running.config.write_text(before)
    assert "already running" in done.stderr
    assert running.run_dir.stat().st_uid == 65534


def test_an_interface_that_somebody_deletes_comes_back(running: Agent) -> None:
    before = running.incarnations()["packet"]
    running.space.run("ip", "link", "del", INTERFACE)
    running.restarted("packet", before)
    interface = running.interface()
    assert interface is not None
    assert "UP" in interface["flags"]
    assert "was gone, and is made anew" in running.logged()


def test_an_interface_that_somebody_sets_down_and_flushes_is_repaired_and_nothing_restarted(running: Agent) -> None:
    before, done = running.incarnations(), repairs(running)
    for number, harm in enumerate(("ip link set {} down", "ip addr flush dev {}"), start=1):
        running.space.run(*harm.format(INTERFACE).split())
        wait_until(partial(repaired, running, done + number), f"{harm} is repaired")
        interface = running.interface()
        assert interface is not None
        assert "UP" in interface["flags"]
        assert [each["local"] for each in interface["addr_info"]] == ["10.77.0.1", "fd77::1"]
    assert running.incarnations() == before
    assert f"interface repaired interface={INTERFACE}" in running.logged()


def test_who_sets_the_interface_down_again_and_again_is_not_fought(fresh: Agent) -> None:
    fresh.start().ready()
    for number in range(1, MAX_REPAIRS + 1):
        fresh.space.run("ip", "link", "set", INTERFACE, "down")
        wait_until(partial(repaired, fresh, number), "it is repaired")
    wait_until(lambda: "again and again; it is repaired once a minute now" in fresh.logged(), "it is told")
    assert fresh.stop() == 0


def repairs(one: Agent) -> int:
    """Return how often the interface was repaired."""
    return int(one.status("supervisor")["agent"]["interface_repairs"])


def repaired(one: Agent, count: int) -> bool:
    """Whether it was so often."""
    return repairs(one) == count


def test_sighup_reads_the_peers_again(running: Agent) -> None:
    running.configure(("bob", "10.99.0.2/32"))
    os.kill(running.pid("supervisor"), signal.SIGHUP)
    peers = wait_until(lambda: running.status("packet")["packet"]["tunnels"], "bob is configured")
    assert len(peers) == 1
    assert "10.99.0.2" in running.space.run("ip", "route", "show", "dev", INTERFACE)

    running.config.write_text("this is no configuration")
    os.kill(running.pid("supervisor"), signal.SIGHUP)
    wait_until(lambda: "the peers stay as they are" in running.logged(), "the mistake is told")
    assert len(running.status("packet")["packet"]["tunnels"]) == 1

    running.configure()
    os.kill(running.pid("supervisor"), signal.SIGHUP)
    wait_until(lambda: running.status("packet")["packet"]["tunnels"] == [], "bob is forgotten")
    assert "10.99.0.2" not in running.space.run("ip", "route", "show", "dev", INTERFACE)
    assert "takes a restart" not in running.logged()

    running.config.write_text(running.config.read_text().replace('level = "info"', 'level = "debug"'))
    (running.directory / "relay.secret").write_text("another one\n")
    os.kill(running.pid("supervisor"), signal.SIGHUP)
    wait_until(lambda: "what has changed in [log], [relay] takes a restart" in running.logged(), "the rest is told")


def test_that_root_meets_the_network_is_told() -> None:
    with agent(user="root") as one:
        one.start()
        wait_until(lambda: "runs as root" in one.logged(), "it is told")


def test_with_servers_it_is_connected_to_both_as_an_unprivileged_user() -> None:
    with agent(user="nobody") as one:
        one.configure(("bob", "10.77.0.2/32"))
        with servers(one):
            one.start().ready()
            control = wait_until(lambda: connected(one), "signal and relay are connected")
            assert control["signal"]["url"] == "http://localhost:10000"
            assert control["relays"]["links"][0]["role"] == "home"
            assert [peer["state"] for peer in control["peers"]] == ["connecting"]
            tunnels = wait_until(lambda: one.status("packet")["packet"]["tunnels"], "packet has written of the peer")
            assert [tunnel["peer"][:4] for tunnel in tunnels] == ["Ym9i"]
            assert one.stop() == 0
        assert re.search(r"INFO control-0 relay link up relay=rel://\S+:33080 role=home by=ws\n", one.logged())
        assert "Traceback" not in one.logged()
        assert "ModuleNotFoundError" not in one.logged()


def test_a_restarted_packet_process_is_configured_and_dials_again() -> None:
    with agent() as one:
        one.configure(("bob", "10.77.0.2/32"))
        with servers(one):
            one.start().ready()
            wait_until(lambda: connected(one), "signal and relay are connected")
            for name in ("packet", "control-0"):
                before = one.incarnations()[name]
                os.kill(one.pid(name), signal.SIGKILL)
                one.restarted(name, before)
                wait_until(lambda: connected(one), "both are connected again")
                wait_until(lambda: one.status("packet")["packet"]["tunnels"], "the peer is configured again")
            assert one.stop() == 0


def connected(one: Agent) -> dict[str, Any] | None:
    """Return what control tells, once it tells that signal and relay are connected."""
    control = one.status("control-0").get("control") or {}
    links = (control.get("relays") or {}).get("links", [])
    if (control.get("signal") or {}).get("connected") and [link["state"] for link in links] == ["connected"]:
        return dict(control)
    return None


@contextmanager
def servers(one: Agent) -> Iterator[None]:
    """Our signal and relay servers in the agent's namespace, where its configuration looks for them."""
    homing = (sys.executable, "-m", "actors.cli")
    with ExitStack() as stack:
        for words in (
            ("signal", "--listen", "127.0.0.1:10000"),
            (
                *("relay", "--listen", "127.0.0.1:33080", "--exposed-url", "rel://127.0.0.1:33080"),
                *("--secret-file", str(one.directory / "relay.secret")),
            ),
        ):
            server = subprocess.Popen(
                one.space.command(*homing, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(server.wait)
            stack.callback(server.kill)
        yield


# --- its end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_drains_and_leaves_nothing(fresh: Agent, number: signal.Signals) -> None:
    pids = fresh.start().ready().pids()
    told_at = time.monotonic()
    assert fresh.stop(number) == 0
    assert time.monotonic() - told_at < 5.0
    assert fresh.interface() is None
    assert fresh.udp_ports() == []
    assert not fresh.run_dir.exists()
    assert not [pid for pid in pids.values() if is_alive(pid)]
    assert f"stopping: {number.name}" in fresh.logged()
    assert "packet ended: exit code 0" in fresh.logged()
    assert "control-0 ended: exit code 0" in fresh.logged()


def test_told_to_stop_before_it_is_ready(fresh: Agent) -> None:
    fresh.start()
    wait_until(fresh.states, "the supervisor runs")
    assert fresh.stop() == 0
    assert fresh.interface() is None
    assert not fresh.run_dir.exists()


def test_a_hung_child_does_not_keep_it_from_stopping(fresh: Agent) -> None:
    pids = fresh.start().ready().pids()
    os.kill(pids["packet"], signal.SIGSTOP)
    os.kill(pids["control-0"], signal.SIGSTOP)
    told_at = time.monotonic()
    assert fresh.stop() == 0
    assert time.monotonic() - told_at < 5.0
    assert not [pid for pid in pids.values() if is_alive(pid)]


def test_a_second_signal_ends_it_at_once(fresh: Agent) -> None:
    pids = fresh.start().ready().pids()
    os.kill(pids["control-0"], signal.SIGSTOP)
    os.kill(pids["supervisor"], signal.SIGTERM)
    wait_until(lambda: fresh.status("supervisor").get("agent", {}).get("draining"), "it drains")
    assert fresh.stop() == 0
    assert not [pid for pid in pids.values() if is_alive(pid)]


def test_its_children_do_not_outlive_it_and_the_next_one_takes_over(fresh: Agent) -> None:
    pids = fresh.start().ready().pids()
    os.kill(pids["supervisor"], signal.SIGKILL)
    assert fresh.process is not None
    fresh.process.wait()
    wait_until(lambda: not [pid for pid in pids.values() if is_alive(pid)], "its children are gone")
    assert fresh.run_dir.exists()
    fresh.start().ready()
    assert not set(fresh.pids().values()) & set(pids.values())
    assert fresh.stop() == 0
    assert not fresh.run_dir.exists()


# --- it cannot start ---


def test_a_port_in_use_is_told_in_one_line() -> None:
    with agent(port=51999) as one:
        holder = subprocess.Popen(
            one.space.command(
                sys.executable,
                "-c",
                "import socket,time; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 51999));"
                "print(1, flush=True); time.sleep(60)",
            ),
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            holder.stdout.read(1)
            done = subprocess.run(one.up_command(), capture_output=True, text=True, timeout=60, check=False)
        finally:
            holder.kill()
            holder.wait()
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "homing: UDP port 51999 is in use: stop the other program, or set another listen_port in [node]"
        ]
        assert not one.run_dir.exists()


def test_a_run_directory_that_cannot_be_is_told_in_one_line() -> None:
    with agent() as one:
        (one.directory / "run").write_text("a file in its place")
        done = subprocess.run(one.up_command(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "cannot make" in done.stderr
        assert len(done.stderr.splitlines()) == 1


# --- under systemd's protocol ---


class Manager:
    """The service manager's end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30.0)

    def next(self) -> str:
        """Return the next thing that is said."""
        return self._socket.recv(65536).decode()

    def until(self, start: str) -> list[str]:
        """Return all that is said, up to what begins so."""
        said = [self.next()]
        while not said[-1].startswith(start):
            said.append(self.next())
        return said

    def close(self) -> None:
        self._socket.close()


def test_a_service_manager_hears_ready_alive_reloading_and_stopping_in_this_order(fresh: Agent) -> None:
    manager = Manager(fresh.directory / "notify")
    environment = {"NOTIFY_SOCKET": str(fresh.directory / "notify"), "WATCHDOG_USEC": "2000000"}
    fresh.start(environment)
    assert fresh.process is not None
    first = manager.next()
    while first == "WATCHDOG=1":  # the first child may answer before the second is ready
        first = manager.next()
    ready = first.splitlines()
    assert ready[0] == "READY=1"
    assert ready[2] == "STATUS=packet up; control-0 up"
    assert f"MAINPID={fresh.pid('supervisor')}" == ready[1]

    heard_at = []
    for _ in range(3):
        assert manager.next() == "WATCHDOG=1"
        heard_at.append(time.monotonic())
    assert heard_at[-1] - heard_at[0] < 2 * 2.0

    os.kill(fresh.pid("supervisor"), signal.SIGHUP)
    assert manager.until("RELOADING=1")
    assert manager.until("READY=1")

    os.kill(fresh.pid("control-0"), signal.SIGKILL)
    assert any("control-0 starting after: killed by SIGKILL" in said for said in manager.until("STATUS="))

    fresh.ready()
    os.kill(fresh.pid("supervisor"), signal.SIGTERM)
    assert manager.until("STOPPING=1")
    assert fresh.process.wait(timeout=30) == 0
    manager.close()
