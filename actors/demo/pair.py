"""Two hosts behind NATs with an agent each, and a hub between them with our signal and relay servers.

        host alice -- NAT -- hub (signal, relay) -- NAT -- host bob
        10.77.0.1                                          10.77.0.2      (in the tunnel)

The demo shows it, the namespace tests and the benchmarks break it.
"""

import base64
import json
import re
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actors.demo.ends import End, config_text
from actors.demo.network import Host, Network
from actors.demo.traffic import boot_time, longest_gap

HUB = "203.0.113.1"
SIGNAL_PORT = 10000
RELAY_PORT = 8080
STUN_PORT = 3478
FLOW_PORT = 7001
TRANSFER_PORT = 7002
SETTLE_S = 0.5  # after a recovery, before the outage is read

STUN_SETTINGS = f"""
[stun]
servers = ["{HUB}:{STUN_PORT}"]
"""
STUN_OPTIONS = ("--stun-port", str(STUN_PORT))  # of the relay server


class PairFailed(Exception):
    """Something did not happen in time; the message says what, and shows what the program said."""


@dataclass(frozen=True, slots=True)
class Homes:
    """Where a pair lives: the hub, alice's and bob's host, and what each writes in URLs for the hub."""

    hub: Host
    hosts: tuple[Host, Host]
    hub_names: tuple[str, str] = (HUB, HUB)


def two_nats(network: Network) -> Homes:
    """Build a hub and two hosts, each behind a NAT of its own."""
    hub = network.host("hub")
    hosts = []
    for index, name in enumerate(("alice", "bob"), start=1):
        router, host = network.host(f"nat-{name}"), network.host(name)
        outside, _ = network.link(router, f"203.0.113.{4 * index + 2}/30", hub, f"203.0.113.{4 * index + 1}/30")
        network.link(host, "192.168.1.2/24", router, "192.168.1.1/24")
        router.route(via=f"203.0.113.{4 * index + 1}")
        router.masquerade(outside)
        host.route(via="192.168.1.1")
        hosts.append(host)
    hub.ip("address", "add", f"{HUB}/32", "dev", "lo")
    hub.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")  # the internet between the two
    alice, bob = hosts
    return Homes(hub, (alice, bob))


class Pair:
    """The whole set-up: `with Pair("demo") as pair:`.

    `build` makes the network, `settings` is added to both ends' configuration, `relay_options` to the relay's command.
    """

    def __init__(
        self,
        purpose: str,
        build: Callable[[Network], Homes] = two_nats,
        *,
        settings: str = STUN_SETTINGS,
        relay_options: Sequence[str] = STUN_OPTIONS,
    ) -> None:
        self._network = Network(purpose)
        self._build, self._settings, self._relay_options = build, settings, relay_options
        self._directory = tempfile.TemporaryDirectory(prefix=f"{self._network.prefix}-")
        self.directory = Path(self._directory.name)
        self.relay: subprocess.Popen[str] | None = None
        self.signal: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._network.__enter__()
        try:
            self._move_in(self._build(self._network))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything and leave nothing behind."""
        self._network.close()
        self._directory.cleanup()

    def _move_in(self, homes: Homes) -> None:
        self.hub = homes.hub
        self.alice, self.bob = self.ends = [
            End(name, f"10.77.0.{index}", host, secrets.token_bytes(32))
            for index, (name, host) in enumerate(zip(("alice", "bob"), homes.hosts, strict=True), start=1)
        ]
        # The agents' processes run as their own user: they need no more of this directory than to pass through it.
        self.directory.chmod(0o711)
        self._write_secret("relay.secret", secrets.token_hex(16))
        others = (self.bob, self.alice)
        for end, other, hub_name in zip(self.ends, others, homes.hub_names, strict=True):
            self.configure(end, [other], hub_name, [f"rel://{hub_name}:{RELAY_PORT}"])

    def configure(self, end: End, others: Sequence[End], hub_name: str, relay_urls: Sequence[str]) -> None:
        """Write an end's key and configuration files."""
        self._write_secret(f"{end.name}.key", base64.b64encode(end.private_key).decode())
        text = config_text(
            end,
            others,
            self.directory,
            signal_url=f"http://{hub_name}:{SIGNAL_PORT}",
            relay_urls=relay_urls,
            more=self._settings,
        )
        self.config(end).write_text(text)

    def _write_secret(self, name: str, text: str) -> None:
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text + "\n")

    def config(self, end: End) -> Path:
        """Return the path of this end's configuration file."""
        return self.directory / f"{end.name}.toml"

    def run_directory(self, end: End) -> Path:
        """Return where this end's agent keeps its sockets and snapshots."""
        return self.directory / "run" / end.name

    # --- programs ---

    def start_servers(self) -> None:
        """Start the signal and the relay server and wait until they listen."""
        self.signal = self._spawn(self.hub, "signal", "signal", "--listen", f":{SIGNAL_PORT}")
        self.start_relay()
        self._wait_listening(SIGNAL_PORT, "signal")
        self._wait_listening(RELAY_PORT, "relay")

    def start_relay(self) -> None:
        """Start the relay server."""
        listen = ("--listen", f":{RELAY_PORT}", "--exposed-url", f"rel://{HUB}:{RELAY_PORT}")
        secret = ("--secret-file", str(self.directory / "relay.secret"))
        self.relay = self._spawn(self.hub, "relay", "relay", *listen, *secret, *self._relay_options)

    def restart_relay(self) -> float:
        """Kill the relay server, start it again at once, and return when it was killed."""
        assert self.relay is not None
        killed_at = boot_time()
        self.relay.kill()
        self.relay.wait()
        self.start_relay()
        return killed_at

    def start_agents(self) -> float:
        """Start both agents and return when."""
        started_at = boot_time()
        for end in self.ends:
            end.agent = self._spawn(end.host, end.name, "up", "-c", str(self.config(end)))
        return started_at

    def start_flows(self) -> None:
        """Start the numbered packets both ways; they wait for the tunnel by themselves."""
        for end, other in ((self.alice, self.bob), (self.bob, self.alice)):
            end.flow = end.host.spawn(
                *traffic("flow", f"{end.address}:{FLOW_PORT}", f"{other.address}:{FLOW_PORT}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    def stop_agents(self) -> list[int]:
        """Stop both agents as systemd would and return their exit codes."""
        codes = []
        for end in self.ends:
            if end.agent is not None:
                codes.append(self._network.stop(end.agent))
                end.agent = None
        return codes

    def _spawn(self, host: Host, log: str, *arguments: str) -> "subprocess.Popen[str]":
        with self.log_path(log).open("a") as out:
            return host.spawn(*homing(*arguments), stdout=out, stderr=out)

    def log_path(self, name: str) -> Path:
        """Return where a program's output went: `signal`, `relay`, `alice` or `bob`."""
        return self.directory / f"{name}.log"

    def _wait_listening(self, port: int, log: str) -> None:
        # Local port in hexadecimal and state 0A (listen), as /proc/net/tcp writes them.
        listening = re.compile(rf":{port:04X} [0-9A-F]+:0000 0A")
        self.wait_until(
            lambda: bool(listening.search(self.hub.exec("cat", "/proc/net/tcp", "/proc/net/tcp6"))),
            10.0,
            f"the {log} server does not listen",
            log,
        )

    def wait_until(self, condition: Callable[[], bool], limit_s: float, failure: str, log: str) -> None:
        """Wait for something to become true; raises PairFailed with the end of that program's log."""
        end = boot_time() + limit_s
        while not condition():
            if boot_time() > end:
                said = self.log_path(log).read_text() if self.log_path(log).exists() else ""
                raise PairFailed(f"{failure} after {limit_s:.0f} s\n{said[-2000:]}".rstrip())
            time.sleep(0.02)

    # --- looking ---

    def command(self, end: End, *arguments: str) -> str:
        """Run a homing command at this end and return what it prints."""
        return end.host.exec(*homing(*arguments))

    def status_text(self, end: End) -> str:
        """Return what `homing status` shows at this end."""
        return self.command(end, "status", *self._of(end))

    def path(self, end: End) -> str:
        """Return the kind of path that this end's status names for its one peer; "" while it is not connected."""
        peers = json.loads(self.command(end, "status", "--json", *self._of(end)))["peers"]
        # None in the first second: the snapshot is older than the peers are.
        return next((str(peer["path"]) for peer in peers if peer["state"] == "connected"), "")

    def trace_text(self, end: End, since_s: float, types: Sequence[str]) -> str:
        """Return what `homing trace` shows of this end's past, of these message types."""
        return self.command(end, "trace", "--since", f"{since_s:.1f}s", "--type", ",".join(types), *self._of(end))

    def trace_records(self, end: End, since_s: float) -> list[dict[str, Any]]:
        """Return the records of this end's past, oldest first."""
        found = self.command(end, "trace", "--since", f"{since_s:.1f}s", "--json", *self._of(end))
        return [json.loads(line) for line in found.splitlines()]

    def _of(self, end: End) -> tuple[str, ...]:
        return ("--node", end.name, "--run-directory", str(self.directory / "run"))

    def child(self, end: End, process: str) -> int:
        """Return the process id of this end's `control-0` or `packet` process."""
        return int(json.loads((self.run_directory(end) / f"status-{process}.json").read_text())["pid"])

    def ask_flow(self, end: End, command: str, limit_s: float) -> Any:
        """Give a flow a command and return its answer, or None after so many seconds."""
        assert end.flow is not None
        assert end.flow.stdin is not None
        assert end.flow.stdout is not None
        end.flow.stdin.write(command + "\n")
        end.flow.stdin.flush()
        ready, _, _ = select.select([end.flow.stdout], [], [], limit_s)
        return json.loads(end.flow.stdout.readline()) if ready else None

    def first_reply_at(self, limit_s: float = 30.0) -> float:
        """Wait for the first in-tunnel reply at alice and return when it came."""
        at = self.ask_flow(self.alice, "first", limit_s)
        if at is None:
            raise PairFailed(f"no reply through the tunnel after {limit_s:.0f} s\n{self.logs()}")
        return float(at)

    def direct_at(self, started_at: float, limit_s: float = 10.0) -> float | None:
        """Wait until both ends have proven the direct path; return when the later one had, None: not in time."""
        end_at = boot_time() + limit_s
        while boot_time() < end_at:
            found = [self._proven_direct_at(end, started_at) for end in self.ends]
            if all(at is not None for at in found):
                return max(at for at in found if at is not None)
            time.sleep(0.2)
        return None

    def _proven_direct_at(self, end: End, started_at: float) -> float | None:
        records = self.trace_records(end, since_s=boot_time() - started_at)
        proven = (
            record["at"]
            for record in records
            if record["type"] == "path_proven" and record["fields"].get("path") == "direct"
        )
        return min(proven, default=None)

    def lost_since(self, at: float) -> int:
        """Return how many of the numbered packets that were sent since then never arrived, both ways."""
        return sum(int(self.ask_flow(end, f"lost {at}", 5.0) or 0) for end in self.ends)

    def cut_direct_path(self) -> float:
        """Have the hub, which is the internet, pass nothing on between the two NATs any more, and return when."""
        cut_at = boot_time()
        self.hub.exec("sysctl", "-qw", "net.ipv4.ip_forward=0")
        return cut_at

    def outage_since(self, fault_at: float) -> float:
        """Return the outage from 10 s before the fault until now (recovery.md section 3): the larger direction's."""
        now = boot_time()
        return max(
            longest_gap(self.ask_flow(end, f"arrivals {fault_at - 10}", 5.0) or [], fault_at - SETTLE_S, now)
            for end in self.ends
        )

    def wait_recovered(self, fault_at: float, limit_s: float = 60.0) -> float:
        """Wait until packets arrive again both ways after a fault, and return the outage in seconds."""
        end = boot_time() + limit_s
        while boot_time() < end:
            time.sleep(SETTLE_S)
            recent = boot_time() - SETTLE_S
            arrived = [self.ask_flow(one, f"arrivals {recent}", 5.0) or [] for one in self.ends]
            # Nearly all that was sent in the last half second came: the path is back, not a single lucky packet.
            if recent > fault_at + SETTLE_S and all(len(at) >= 20 for at in arrived):
                return self.outage_since(fault_at)
        raise PairFailed(f"no recovery within {limit_s:.0f} s\n{self.logs()}")

    def ping_ms(self, count: int = 20) -> float:
        """Return the mean round trip through the tunnel, in milliseconds."""
        out = self.alice.host.exec("ping", "-q", "-c", str(count), "-i", "0.05", "-W", "2", self.bob.address)
        return float(out.rsplit("=", 1)[1].split("/")[1])

    def transfer_mbit_s(self, seconds: float = 4.0) -> float:
        """Send one TCP stream from alice to bob and return what arrived, in Mbit/s."""
        receiver = self.bob.host.spawn(*traffic("sink", f"{self.bob.address}:{TRANSFER_PORT}"), stdout=subprocess.PIPE)
        assert receiver.stdout is not None
        receiver.stdout.readline()
        self.alice.host.exec(
            *traffic("source", self.alice.address, f"{self.bob.address}:{TRANSFER_PORT}", str(seconds))
        )
        found = json.loads(receiver.stdout.readline())
        self._network.stop(receiver)
        return float(found["bytes"]) * 8 / float(found["seconds"]) / 1e6

    def logs(self) -> str:
        """Return the end of every program's log, for a failure's message."""
        names = [name for name in ("signal", "relay", "alice", "bob") if self.log_path(name).exists()]
        return "\n".join(f"--- {name} ---\n{self.log_path(name).read_text()[-1500:]}" for name in names)


def homing(*arguments: str) -> list[str]:
    """Return the command line of a homing command under this interpreter."""
    return [sys.executable, "-m", "actors.cli", *arguments]


def traffic(*arguments: str) -> list[str]:
    """Return the command line of one end of the traffic."""
    return [sys.executable, "-m", "actors.demo.traffic", *arguments]
