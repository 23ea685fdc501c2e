"""CPU of one whole agent that holds many idle direct peers, whose light remote ends are real in all that it hears.

python -m tests.bench.direct_peers [--peers N] [--seconds N]
"""

import argparse
import base64
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actors.cli.report import make_report
from actors.cli.running import Agent
from actors.demo.ends import End, config_text
from actors.demo.network import Host, Network
from actors.demo.pair import PairFailed, homing
from actors.demo.traffic import boot_time

PEERS = 200
SECONDS = 40.0  # more than a keepalive, a probe of each standby and a consent check take to come round
APART_S = 0.02  # from the start of one remote end to the next
CONNECTED_S = 60.0
SETTLE_S = 30.0
HUB, AGENT = "10.9.0.1", "10.9.0.2"
SIGNAL_PORT, RELAY_PORT = 10000, 8080
TICKS = os.sysconf("SC_CLK_TCK")


def measure(peers: int = PEERS, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the share of a core that each process of the agent takes while nothing but upkeep happens."""
    with Network("bench") as network, TemporaryDirectory(prefix=f"{network.prefix}-") as text:
        directory = Path(text)
        directory.chmod(0o711)
        hub, host = network.host("hub"), network.host("agent")
        network.link(hub, f"{HUB}/24", host, f"{AGENT}/24")
        _start_servers(hub, directory)
        agent, light = _start_ends(hub, host, directory, peers)
        try:
            return _watch(agent, directory, peers, seconds)
        finally:
            assert light.stdin is not None
            light.stdin.close()
            assert agent.agent is not None
            network.stop(agent.agent)


def _start_servers(hub: Host, directory: Path) -> None:
    secret = directory / "relay.secret"
    secret.touch(0o600)
    secret.write_text(secrets.token_hex(16))
    relay = ("--listen", f":{RELAY_PORT}", "--exposed-url", f"rel://{HUB}:{RELAY_PORT}", "--secret-file", str(secret))
    with (directory / "servers.log").open("a") as log:
        hub.spawn(*homing("signal", "--listen", f":{SIGNAL_PORT}"), stdout=log, stderr=log)
        hub.spawn(*homing("relay", *relay), stdout=log, stderr=log)
    time.sleep(1.0)


def _start_ends(hub: Host, host: Host, directory: Path, peers: int) -> "tuple[End, subprocess.Popen[str]]":
    agent = End("agent", "10.77.0.1", host, secrets.token_bytes(32))
    others = [
        End(f"peer{index}", f"10.77.{1 + index // 250}.{1 + index % 250}", hub, secrets.token_bytes(32))
        for index in range(peers)
    ]
    signal_url, relay_url = f"http://{HUB}:{SIGNAL_PORT}", f"rel://{HUB}:{RELAY_PORT}"
    key = directory / "agent.key"
    key.touch(0o600)
    key.write_text(base64.b64encode(agent.private_key).decode())
    text = config_text(agent, others, directory, signal_url=signal_url, relay_urls=[relay_url], more="")
    (directory / "agent.toml").write_text(text)
    plan = {
        "private_keys": [other.private_key.hex() for other in others],
        "remote_key": agent.public_key,
        "remote_address": agent.address,
        "signal_url": signal_url,
        "relay_url": relay_url,
        "relay_secret": (directory / "relay.secret").read_text(),
        "apart_s": APART_S,
    }
    (directory / "plan.json").write_text(json.dumps(plan))
    with (directory / "agent.log").open("a") as log, (directory / "light.log").open("a") as light_log:
        agent.agent = host.spawn(*homing("up", "-c", str(directory / "agent.toml")), stdout=log, stderr=log)
        command = [sys.executable, "-m", "tests.bench.light", str(directory / "plan.json")]
        light = hub.spawn(*command, stdin=subprocess.PIPE, stdout=light_log, stderr=light_log)
    return agent, light


def _watch(agent: End, directory: Path, peers: int, seconds: float) -> dict[str, Any]:
    at_once, until = boot_time(), boot_time() + CONNECTED_S
    while (direct := _direct(directory)) < peers:
        if boot_time() > until:
            said = (directory / "light.log").read_text()[-1500:] + (directory / "agent.log").read_text()[-1500:]
            raise PairFailed(f"{direct} of {peers} peers are direct after {CONNECTED_S:.0f} s\n{said}")
        time.sleep(0.5)
    connected_s = boot_time() - at_once
    time.sleep(SETTLE_S)
    assert agent.agent is not None
    pids = {"supervisor": agent.agent.pid, **_children(directory)}
    before, began_at = {name: _cpu_s(pid) for name, pid in pids.items()}, boot_time()
    time.sleep(seconds)
    passed_s = boot_time() - began_at
    percent = {name: 100 * (_cpu_s(pid) - before[name]) / passed_s for name, pid in pids.items()}
    return {
        "direct_peers": peers,
        "all_direct_s": round(connected_s, 1),
        "direct_at_the_end": _direct(directory),
        "cpu_percent_of_a_core": {name: round(value, 2) for name, value in percent.items()},
        "total": round(sum(percent.values()), 2),
        "seconds": round(passed_s, 1),
    }


def _direct(directory: Path) -> int:
    snapshots, problems = Agent("agent", directory / "run" / "agent").snapshots()
    report = make_report("agent", None, snapshots, problems, boot_time())
    return sum(peer.state == "connected" and peer.path == "direct" for peer in report.peers)


def _children(directory: Path) -> dict[str, int]:
    run_directory = directory / "run" / "agent"
    return {
        name: int(json.loads((run_directory / f"status-{name}.json").read_text())["pid"])
        for name in ("control-0", "packet")
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # user and system


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.direct_peers")
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    print(json.dumps(measure(options.peers, options.seconds)))


if __name__ == "__main__":
    main()
