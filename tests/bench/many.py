"""One whole agent, real servers, and many light agents at the other ends, in a network of their own."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from actors.cli.report import PeerReport, make_report
from actors.cli.running import Agent
from actors.demo.ends import End, config_text
from actors.demo.network import Network
from actors.demo.pair import PairFailed, homing
from actors.demo.traffic import boot_time

HUB, AGENT = "10.9.0.1", "10.9.0.2"
SIGNAL_PORT, RELAY_PORT = 10000, 8080
PING_EVERY_S = 0.05
LOOK_S = 0.2
SHARES = ("p50", 0.5), ("p99", 0.99), ("max", 1.0)
TICKS = os.sysconf("SC_CLK_TCK")


class Many:
    """An agent with many peers: `with Many(1000, ice=False) as many:`.

    `pinging` of the remotes, spread over all, ping the agent's host through the tunnel all the time; the remotes start
    `apart_s` after one another.
    """

    def __init__(self, peers: int, *, ice: bool, apart_s: float, pinging: int = 0) -> None:
        self.peers, self._ice, self._apart_s = peers, ice, apart_s
        self._light: subprocess.Popen[str] | None = None
        self.pinging = [index * peers // pinging for index in range(pinging)]
        self._network = Network("bench")
        self._temporary = TemporaryDirectory(prefix=f"{self._network.prefix}-")
        self.directory = Path(self._temporary.name)

    def __enter__(self) -> Self:
        self._network.__enter__()
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._network.__exit__(kind, error, trace)
        self._temporary.cleanup()

    def _begin(self) -> None:
        self.directory.chmod(0o711)
        self._hub, self._host = self._network.host("hub"), self._network.host("agent")
        self._network.link(self._hub, f"{HUB}/24", self._host, f"{AGENT}/24")
        secret = self.directory / "relay.secret"
        secret.touch(0o600)
        secret.write_text(secrets.token_hex(16))
        self._spawn_hub("signal", "--listen", f":{SIGNAL_PORT}")
        self.start_relay()
        time.sleep(1.0)
        self._end = End("agent", "10.77.0.1", self._host, secrets.token_bytes(32))
        self._others = [
            End(f"peer{index}", f"10.77.{1 + index // 250}.{1 + index % 250}", self._hub, secrets.token_bytes(32))
            for index in range(self.peers)
        ]
        self._write_configuration()
        log = self._log("agent")
        self.agent_at = boot_time()
        self._agent = self._host.spawn(*homing("up", "-c", str(self.directory / "agent.toml")), stdout=log, stderr=log)

    def _write_configuration(self) -> None:
        key = self.directory / "agent.key"
        key.touch(0o600)
        key.write_text(base64.b64encode(self._end.private_key).decode())
        text = config_text(
            self._end,
            self._others,
            self.directory,
            signal_url=f"http://{HUB}:{SIGNAL_PORT}",
            relay_urls=[f"rel://{HUB}:{RELAY_PORT}"],
            more="" if self._ice else "\n[ice]\nenabled = false\n",
        )
        (self.directory / "agent.toml").write_text(text)

    def _spawn_hub(self, *command: str) -> "subprocess.Popen[str]":
        log = self._log("servers")
        return self._hub.spawn(*homing(*command), stdout=log, stderr=log)

    def _log(self, name: str) -> Any:
        return (self.directory / f"{name}.log").open("a")

    # --- faults ---

    def start_relay(self) -> None:
        """Start the relay server."""
        self._relay = self._spawn_hub(
            "relay",
            *("--listen", f":{RELAY_PORT}", "--exposed-url", f"rel://{HUB}:{RELAY_PORT}"),
            *("--secret-file", str(self.directory / "relay.secret")),
        )

    def kill_relay(self) -> float:
        """Kill the relay server; return when."""
        killed_at = boot_time()
        self._relay.kill()
        self._relay.wait()
        return killed_at

    # --- the remotes ---

    def start_light(self) -> None:
        """Start the remotes."""
        plan = {
            "private_keys": [other.private_key.hex() for other in self._others],
            "addresses": [other.address for other in self._others],
            "remote_key": self._end.public_key,
            "remote_address": self._end.address,
            "signal_url": f"http://{HUB}:{SIGNAL_PORT}",
            "relay_url": f"rel://{HUB}:{RELAY_PORT}",
            "relay_secret": (self.directory / "relay.secret").read_text(),
            "apart_s": self._apart_s,
            "ice": self._ice,
            "pinging": self.pinging,
            "ping_every_s": PING_EVERY_S,
        }
        (self.directory / "plan.json").write_text(json.dumps(plan))
        command = [sys.executable, "-m", "tests.bench.light", str(self.directory / "plan.json")]
        self._light = self._hub.spawn(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log("light")
        )

    def ask_light(self, **wish: Any) -> Any:
        """Have the remotes do something, or tell."""
        assert self._light is not None
        assert self._light.stdin is not None
        assert self._light.stdout is not None
        self._light.stdin.write(json.dumps(wish) + "\n")
        self._light.stdin.flush()
        answer = self._light.stdout.readline()
        if not answer:
            raise PairFailed(f"the light remotes are gone: {self._said('light')}")
        return json.loads(answer)

    # --- the agent ---

    def peer_key(self, index: int) -> str:
        """Return a remote's public key."""
        return self._others[index].public_key

    def wait(self, what: str, limit_s: float, reached: Callable[[], bool]) -> float:
        """Wait until this is so; return how long it took."""
        began_at = boot_time()
        while not reached():
            if boot_time() - began_at > limit_s or (self._light is not None and self._light.poll() is not None):
                raise PairFailed(f"{what}: not within {limit_s:.0f} s\n{self._said('light')}{self._said('agent')}")
            time.sleep(LOOK_S)
        return boot_time() - began_at

    def reports(self) -> list[PeerReport]:
        """Return what the agent says of its peers."""
        snapshots, problems = Agent("agent", self.directory / "run" / "agent").snapshots()
        return list(make_report("agent", None, snapshots, problems, boot_time()).peers)

    def snapshot(self, process: str) -> dict[str, Any]:
        """Return what one process of the agent says; {} while it says nothing yet."""
        path = self.directory / "run" / "agent" / f"status-{process}.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def pids(self) -> dict[str, int]:
        """Return the agent's processes."""
        children = {name: int(self.snapshot(name)["pid"]) for name in ("control-0", "packet")}
        return {"supervisor": self._agent.pid, **children}

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time of the agent's processes, and of all remotes; the relay server's too while it lives."""
        assert self._light is not None
        pids = {**self.pids(), "remotes": self._light.pid, "relay": self._relay.pid}
        return {name: _cpu_s(pid) for name, pid in pids.items()}

    def cpu_percent(self, seconds: float) -> tuple[dict[str, float], float]:
        """Return the share of a core that each process of the agent takes for so long, and how long that was."""
        pids = self.pids()
        before, began_at = {name: _cpu_s(pid) for name, pid in pids.items()}, boot_time()
        time.sleep(seconds)
        passed_s = boot_time() - began_at
        return {name: 100 * (_cpu_s(pid) - before[name]) / passed_s for name, pid in pids.items()}, passed_s

    def command(self, *words: str) -> tuple[float, float, str]:
        """Run a `homing` command; return its CPU time, the time it took, and what it printed."""
        begun_at, before = boot_time(), os.times()
        run_directory = ["--run-directory", str(self.directory / "run")]
        said = self._host.exec(*homing(*words), *run_directory)
        after = os.times()
        spent_s = after.children_user - before.children_user + after.children_system - before.children_system
        return spent_s, boot_time() - begun_at, said

    def spawn_command(self, *words: str) -> "subprocess.Popen[str]":
        """Start a `homing` command; its output is to be read."""
        run_directory = ["--run-directory", str(self.directory / "run")]
        return self._host.spawn(*homing(*words), *run_directory, stdout=subprocess.PIPE)

    def _said(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()[-1500:]

    def stop(self) -> None:
        """Stop the agent as an operator would."""
        assert self._light is not None
        assert self._light.stdin is not None
        self._light.stdin.close()
        self._network.stop(self._agent)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, p99 (by the nearest rank) and the greatest of some measurements."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {name: round(ordered[min(int(share * len(ordered)), last)], 3) for name, share in SHARES} if ordered else {}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # user and system
