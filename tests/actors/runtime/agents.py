"""Whole agents for tests: each in a network namespace of its own, with its files in a folder of the test."""

import base64
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PATIENCE_S = 30.0  # for what takes a second on an idle machine
INTERFACE = "hmproc0"
PROCESSES = ("supervisor", "control-0", "packet")
CONFIG = """
[node]
name = "alice"
private_key_file = "alice.key"
addresses = ["10.77.0.1/24", "fd77::1/64"]
interface = "{interface}"
listen_port = {port}
run_directory = "{directory}/run"
state_directory = "{directory}/state"
{user}

[signal]
url = "http://localhost:10000"

[relay]
urls = ["rel://localhost:33080"]
secret_file = "relay.secret"

[log]
level = "info"
"""
PEER = """
[[peer]]
name = "{name}"
public_key = "{key}"
allowed_ips = ["{allowed}"]
"""

_numbers = itertools.count()


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something true and return it; a failure after PATIENCE_S, which is for broken things only."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < give_up_at, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


class Space:
    """A network namespace with its loopback up."""

    def __init__(self) -> None:
        self.name = f"processes-{os.getpid()}-{next(_numbers)}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *words: str) -> list[str]:
        """Return the command that runs this inside."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> str:
        """Run a program inside to its end and return what it said."""
        return subprocess.run(self.command(*words), check=True, capture_output=True, text=True, timeout=30).stdout

    def remove(self) -> None:
        """Take it away."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        assert not Path("/run/netns", self.name).exists()


class Agent:
    """One agent: its files, and its process while it runs."""

    def __init__(self, directory: Path, *, user: str | None = None, port: int = 0) -> None:
        self.directory = directory
        self.space = Space()
        self.process: subprocess.Popen[str] | None = None
        self._supervisor: int | None = None
        self.run_dir = directory / "run" / "alice"
        self.log = directory / "agent.log"
        self._user, self._port = user, port
        for name, text in (
            ("alice.key", base64.b64encode(secrets.token_bytes(32)).decode()),
            ("relay.secret", secrets.token_hex(16)),
        ):
            (directory / name).touch(0o600)
            (directory / name).write_text(text + "\n")
        self.configure()

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "alice.toml"

    def configure(self, *peers: tuple[str, str]) -> None:
        """Write the configuration, with peers of these names and allowed IPs."""
        user = f'user = "{self._user}"' if self._user else ""
        text = CONFIG.format(directory=self.directory, interface=INTERFACE, port=self._port, user=user)
        for name, allowed in peers:
            key = base64.b64encode(name.encode().ljust(32, b"-")).decode()
            text += PEER.format(name=name, key=key, allowed=allowed)
        self.config.write_text(text)

    def up_command(self, *prefix: str) -> list[str]:
        """Return the command that runs the agent, by the program `prefix` if any."""
        return self.space.command(*prefix, sys.executable, "-m", "actors.cli", "up", "-c", str(self.config))

    def start(self, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> "Agent":
        """Start it, by the program `prefix` if any; it may not be ready yet."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.up_command(*prefix),
                stdout=log,
                stderr=log,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        self._supervisor = self.process.pid
        return self

    def ready(self, pid: int | None = None) -> "Agent":
        """Wait until both children are up; `pid`: of the supervisor, if somebody else started it."""
        self._supervisor = pid if pid is not None or self.process is None else self.process.pid
        try:
            wait_until(lambda: self.states() == {"packet": "up", "control-0": "up"}, "the children are up")
        except AssertionError:
            raise AssertionError(self.log.read_text()[-4000:]) from None
        return self

    def status(self, process: str) -> dict[str, Any]:
        """Return a process's snapshot, empty while there is none."""
        try:
            return dict(json.loads((self.run_dir / f"status-{process}.json").read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def states(self) -> dict[str, str]:
        """Return the state of each child, as the running supervisor tells it."""
        return {child["process"]: child["state"] for child in self.children()}

    def incarnations(self) -> dict[str, int]:
        """Return each child's incarnation, as the running supervisor tells it."""
        return {child["process"]: child["incarnation"] for child in self.children()}

    def children(self) -> list[dict[str, Any]]:
        """Return what the running supervisor tells of its children; nothing if another one wrote the snapshot."""
        status = self.status("supervisor")
        if not status or (self._supervisor is not None and status["pid"] != self._supervisor):
            return []
        return list(status["agent"]["children"])

    def pid(self, process: str) -> int:
        """Return the process id that a snapshot names."""
        return int(wait_until(lambda: self.status(process), f"{process} has a snapshot")["pid"])

    def pids(self) -> dict[str, int]:
        """Return the process ids of all three."""
        return {name: self.pid(name) for name in PROCESSES}

    def restarted(self, process: str, before: int) -> None:
        """Wait until a child is up with a later incarnation than `before`, and has written its snapshot."""
        wait_until(
            lambda: (
                self.incarnations().get(process, 0) > before
                and self.states().get(process) == "up"
                and self.status(process).get("incarnation", 0) > before
            ),
            f"{process} is up again",
        )

    def interface(self) -> dict[str, Any] | None:
        """Return what `ip` says of the interface, None if there is none."""
        links = json.loads(self.space.run("ip", "-j", "addr"))
        return next((link for link in links if link["ifname"] == INTERFACE), None)

    def udp_ports(self) -> list[str]:
        """Return the local ends of the UDP sockets inside."""
        return sorted(line.split()[3] for line in self.space.run("ss", "-Hlnu").splitlines())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_S)

    def clean_up(self) -> None:
        """End whatever still runs, and remove the namespace."""
        pids = [int(status["pid"]) for name in PROCESSES if (status := self.status(name))]
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for pid in pids:  # what its supervisor's death has not taken along
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)), "its processes are gone")
        self.space.remove()

    def logged(self) -> str:
        """Return what it has logged."""
        return self.log.read_text()


@contextmanager
def agent(*, user: str | None = None, port: int = 0) -> Iterator[Agent]:
    """An agent that leaves nothing behind, also when the test fails."""
    # Not below pytest's folders: those are closed to the user that the children run as.
    with TemporaryDirectory(prefix="homing-processes-") as directory:
        Path(directory).chmod(0o755)
        one = Agent(Path(directory), user=user, port=port)
        try:
            yield one
        finally:
            one.clean_up()
