"""The programs of a laboratory run: agents on a described ground, relay servers, a signal server, numbered packets.

A Pair, with what the scenarios need beside: routers to break, a second relay server, a third agent, and looking into
the agents without a process for each look.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors.cli.report import Report, make_report
from actors.cli.running import Agent
from actors.demo.ends import End
from actors.demo.network import Network
from actors.demo.pair import SIGNAL_PORT, Homes, Pair, PairFailed, homing
from actors.demo.traffic import boot_time, longest_gap
from actors.messages.status import PeerStatus
from actors.runtime.lab_clock import OFFSETS
from actors.trace.live import read_rings
from actors.trace.record import Record
from tests.kit.nats import Nat, Router, Site
from tests.lab.matrix import SETTINGS
from tests.lab.topology import HUB, UPLINK, Gate, Ground, Place, Setting
from transport.drivers.self_made import self_made
from wg.paths import PathKind

RELAY_PORTS = (8080, 8081)
RELAYS = tuple(f"rel://{ip}:{port}" for ip, port in zip(HUB, RELAY_PORTS, strict=True))
STUN_PORT = 3478
SIGNAL_METRICS_PORT, RELAY_METRICS_PORT = 9000, 9001
DISPLACED = re.compile(r"^(?:replaced_total|relay_peer_reconnections_total) (\d+)$", re.MULTILINE)
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
RING_S = 2.0  # that a process may take to tell its past
FLOW_RATE = 50  # numbered packets a second
ENOUGH = 0.8  # of them, for half a second: the path is back, not a single lucky packet
HALF_S = 0.5
LOOK_S = 0.1

CLOCK_VARIABLE = "HOMING_LAB_CLOCK"
QUIC = 'transport = "quic"\nfingerprints = ["sha256:{}"]\n'  # of [relay], which goes before
ICE_OFF = "\n[ice]\nenabled = false\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is."""

    left: Site
    right: Site
    ice: bool = True
    relays: tuple[tuple[int, ...], ...] = ((0,), (0,))  # the relay servers that each end is told of
    third: Literal["", "friend", "double"] = ""  # one more agent: a peer of both, or one with the left one's key
    standby: bool = True  # beside a direct path there can be a relayed connection
    quic: bool = False  # the links to the first relay server are
    crowd: int = 0  # more clients of the first relay server
    meddling: Literal["", "always", "told"] = (
        ""  # the signal server delays, reorders, duplicates and replays; or holds back
    )


class Shift:
    """How far a machine's clocks are off: CLOCK_BOOTTIME by the time that it slept, and the wall clock."""

    def __init__(self, path: Path) -> None:
        self.path, self._boot_s, self._wall_s = path, 0.0, 0.0
        path.write_bytes(OFFSETS.pack(0.0, 0.0))

    def add(self, *, boot_s: float = 0.0, wall_s: float = 0.0) -> None:
        """Have the clocks jump by so much; the agent's processes have the file mapped, so it is written in place."""
        self._boot_s += boot_s
        self._wall_s += wall_s
        with self.path.open("r+b", buffering=0) as file:
            file.write(OFFSETS.pack(self._boot_s, self._wall_s))


class Stage(Pair):
    """A plan, built: `with Stage(plan) as stage:`; the servers run, the agents not yet."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("lab", self._lay_out, settings=SETTINGS + ("" if plan.ice else ICE_OFF), relay_options=())
        self.plan = plan
        if plan.quic:
            made = self_made(self.directory, [HUB[0]])
            self._relay_options = ("--quic-dir", str(self.directory))
            self._settings = QUIC.format(made.fingerprint.hex()) + self._settings
        self.servers: list[subprocess.Popen[str] | None] = [None, None]  # the relays
        self.third: End | None = None
        self._crowd: subprocess.Popen[str] | None = None
        self._shifts: dict[str, Shift] = {}

    def _lay_out(self, network: Network) -> Homes:
        self.ground = Ground(network, Setting("lab", self.plan.left, self.plan.right))
        left, right = self.ground.places
        for place in (left, right) if self.plan.quic else ():
            # Several datagrams that leave as one piece for the card to cut would share its fate at a router.
            place.host.ip("link", "set", "dev", UPLINK, "gso_max_segs", "1")
        return Homes(self.ground.hub, (left.host, right.host))

    def _move_in(self, homes: Homes) -> None:
        super()._move_in(homes)
        if self.plan.third:
            place = self.ground.add("carol", Site((Router("carol-home", self.plan.left.routers[0].nat),)))
            double = self.plan.third == "double"
            self.third = End(
                "carol",
                self.alice.address if double else "10.77.0.3",
                place.host,
                self.alice.private_key if double else secrets.token_bytes(32),
            )
        for end, relays in zip(self.all_ends, (*self.plan.relays, self.plan.relays[0]), strict=False):
            others = {one.public_key: one for one in reversed(self.all_ends) if one.public_key != end.public_key}
            self.configure(end, list(others.values()), HUB[0], [RELAYS[relay] for relay in relays])

    @property
    def all_ends(self) -> list[End]:
        """Return every host with an agent."""
        return [*self.ends, *([self.third] if self.third is not None else [])]

    @property
    def running_ends(self) -> list[End]:
        """Return every host whose agent was started."""
        return [end for end in self.all_ends if end.agent is not None]

    def place(self, end: End) -> Place:
        """Return where an end stands."""
        return self.ground.places[self.all_ends.index(end)]

    def gate(self, end: End) -> Gate:
        """Return the router before an end."""
        return self.place(end).gates[0]

    # --- programs ---

    def start_relay(self, index: int = 0) -> None:
        """Start one of the relay servers; the first answers STUN too."""
        url, port = RELAYS[index], RELAY_PORTS[index]
        secret = ("--secret-file", str(self.directory / "relay.secret"))
        more = ("--stun-port", str(STUN_PORT), "--health-port", str(RELAY_METRICS_PORT), *self._relay_options)
        first = more if index == 0 else ()
        listen = ("--listen", f":{port}", "--exposed-url", url)
        self.servers[index] = self._spawn(self.hub, f"relay{index}", "relay", *listen, *secret, *first)
        self.relay = self.servers[0]

    def start_agents(self) -> float:
        """Start the agents of the pair, and a friend's, and return when."""
        started_at = boot_time()
        for end in self.all_ends if self.plan.third == "friend" else self.ends:
            self.start_agent(end)
        return started_at

    def start_agent(self, end: End) -> None:
        """Start an agent, on a clock that can be shifted."""
        shift = self._shifts.setdefault(end.name, Shift(self.directory / f"{end.name}.clock"))
        command = homing("up", "-c", str(self.config(end)))
        with self.log_path(end.name).open("a") as out:
            end.agent = end.host.spawn(*command, stdout=out, stderr=out, env={CLOCK_VARIABLE: str(shift.path)})

    def shift(self, end: End) -> "Shift":
        """Return how far the clocks of an end's machine are off."""
        return self._shifts[end.name]

    def kill_relay(self, index: int = 0) -> float:
        """Kill one of the relay servers and return when."""
        return _kill(self.servers[index])

    def start_signal(self) -> None:
        """Start the signal server, or the one that meddles."""
        if self.plan.meddling:
            keys = [str(self.directory / f"{end.name}.key") for end in self.ends]
            calm = ["--calm"] if self.plan.meddling == "told" else []
            command = [sys.executable, "-m", "tests.lab.meddler", f"0.0.0.0:{SIGNAL_PORT}", *keys, *calm]
        else:
            command = homing("signal", "--listen", f":{SIGNAL_PORT}", "--metrics-port", str(SIGNAL_METRICS_PORT))
        with self.log_path("signal").open("a") as log:
            stdout = subprocess.PIPE if self.plan.meddling else log
            self.signal = self.hub.spawn(*command, stdin=subprocess.PIPE, stdout=stdout, stderr=log)

    def meddle(self, command: str) -> dict[str, str]:
        """Tell the signal server that meddles to hold answers back; return their nonces by their receivers' keys."""
        assert self.signal is not None
        found: dict[str, str] = json.loads(_asked(self.signal, command))
        return found

    def kill_signal(self) -> float:
        """Kill the signal server and return when."""
        return _kill(self.signal)

    def start_servers(self) -> None:
        """Start the signal server and the relay servers that somebody is told of."""
        self.start_signal()
        self._wait_listening(SIGNAL_PORT, "signal")
        for index in sorted({relay for relays in self.plan.relays for relay in relays}):
            self.start_relay(index)
            self._wait_listening(RELAY_PORTS[index], f"relay{index}")
        if self.plan.crowd:
            secret = (self.directory / "relay.secret").read_text().strip()
            command = [sys.executable, "-m", "tests.lab.crowd", RELAYS[0], secret, str(self.plan.crowd)]
            with self.log_path("crowd").open("a") as log:
                self._crowd = self.hub.spawn(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)

    def processes(self, end: End) -> list[int]:
        """Return the process ids of an agent, its supervisor's first."""
        assert end.agent is not None
        return [end.agent.pid, *(self.child(end, name) for name in ("control-0", "packet"))]

    def tell(self, end: End, process: str, how: signal.Signals) -> float:
        """Send a signal to one process of an agent and return when."""
        pid = self.child(end, process)
        sent_at = boot_time()
        os.kill(pid, how)
        return sent_at

    def crowd_homed_at(self) -> list[float]:
        """Return since when each client of the crowd that has a link to the relay server has it."""
        if self._crowd is None:
            return []
        found: list[float] = json.loads(_asked(self._crowd, ""))
        return found

    def wait_crowd(self, limit_s: float) -> list[float]:
        """Wait until the whole crowd has its links, and return since when.  Raises PairFailed."""
        homed_at: list[float] = []

        def all_homed() -> bool:
            homed_at[:] = self.crowd_homed_at()
            return len(homed_at) == self.plan.crowd

        if not self.wait_for(all_homed, limit_s):
            raise PairFailed(f"{len(homed_at)} of {self.plan.crowd} clients have a link after {limit_s:.0f} s")
        return homed_at

    # --- looking ---

    def report(self, end: End) -> Report:
        """Return what `homing status` is made of."""
        snapshots, problems = Agent(end.name, self.run_directory(end)).snapshots()
        return make_report(end.name, None, snapshots, problems, boot_time())

    def paths(self, end: End) -> list[str]:
        """Return how each peer of an end is connected, "" where it is not."""
        return [str(peer.path) if peer.state == "connected" else "" for peer in self.report(end).peers]

    def decided(self, end: End) -> list[PeerStatus]:
        """Return what the control process says of each peer."""
        snapshots, _ = Agent(end.name, self.run_directory(end)).snapshots()
        return [peer for snapshot in snapshots if snapshot.control is not None for peer in snapshot.control.peers]

    def is_proven(self, kind: PathKind) -> bool:
        """Tell whether every pair is connected so, with a relayed connection beside a direct path."""
        ends = self.all_ends if self.plan.third != "double" else self.ends
        if not all(set(self.paths(end)) == {kind} for end in ends):
            return False
        if self.plan.quic and {link.transport for end in ends for link in self.report(end).links} != {"quic", None}:
            return False
        alone = kind == "relayed" or not self.plan.standby
        return alone or all(peer.relay_url for end in ends for peer in self.decided(end))

    def wait_proven(self, kind: PathKind, limit_s: float) -> bool:
        """Wait until every pair is connected so; tell whether that came in time."""
        return self.wait_for(lambda: self.is_proven(kind), limit_s)

    def wait_for(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Wait for something to become true; tell whether it did in time."""
        until = boot_time() + limit_s
        while not condition():
            if boot_time() > until:
                return False
            time.sleep(LOOK_S)
        return True

    def used_relay(self) -> int:
        """Return which relay server carries alice's packets for bob."""
        return RELAYS.index(self.report(self.alice).peers[0].endpoint)

    def reason(self, end: End) -> str:
        """Return why an end has no path to its peer, or no signal server, as its status says."""
        report = self.report(end)
        told = [peer.reason for peer in report.peers if peer.state != "connected"]
        told += [link.reason for link in report.links if link.role == "signal" and link.state != "connected"]
        return "; ".join(text for text in told if text)

    def displacements(self) -> int:
        """Return how often the signal server or the first relay server took a client for another with its key."""
        told = [
            self.hub.exec(sys.executable, "-c", FETCH, f"http://127.0.0.1:{port}/metrics")
            for port in (SIGNAL_METRICS_PORT, RELAY_METRICS_PORT)
        ]
        return sum(int(count) for text in told for count in DISPLACED.findall(text))

    def records(self, end: End, since: float) -> list[Record]:
        """Return what the trace of an agent holds since then, in the order of time."""
        rings = read_rings(self.run_directory(end), since, RING_S).rings
        return sorted((record for ring in rings for record in ring.records), key=lambda record: record.at)

    # --- numbered packets ---

    def still_flows(self) -> None:
        """Send nothing for a while."""
        for end in self.ends:
            assert end.flow is not None
            end.flow.send_signal(signal.SIGSTOP)

    def start_flows_again(self) -> float:
        """Send packets again, and return since when."""
        for end in self.ends:
            assert end.flow is not None
            end.flow.send_signal(signal.SIGCONT)
        return boot_time()

    def arrivals(self, end: End, since: float) -> list[float]:
        """Return when packets came to an end."""
        found: list[float] = self.ask_flow(end, f"arrivals {since}", 5.0) or []
        return found

    def flows(self) -> bool:
        """Tell whether packets have come both ways in the last half second."""
        since = boot_time() - HALF_S
        return all(len(self.arrivals(end, since)) >= ENOUGH * HALF_S * FLOW_RATE for end in self.ends)

    def wait_flows(self, after: float, limit_s: float) -> None:
        """Wait until packets come both ways again, all of that half second sent after this time.  Raises PairFailed."""
        if not self.wait_for(lambda: boot_time() > after + HALF_S + LOOK_S and self.flows(), limit_s):
            raise PairFailed(f"no packets both ways within {limit_s:.0f} s\n{self.logs()}")

    def silence(self, start: float, end: float) -> float:
        """Return the longest gap between arrivals then, the longer of both directions' (recovery.md section 3)."""
        return max(longest_gap(self.arrivals(one, start), start, end) for one in self.ends)


def behind(nat: Nat, name: str) -> Site:
    """Return a host behind one router."""
    return Site((Router(name, nat),))


def _asked(process: "subprocess.Popen[str]", command: str) -> str:
    """Give a program a command, and return the line that it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(command + "\n")
    process.stdin.flush()
    return process.stdout.readline()


def _kill(process: "subprocess.Popen[str] | None") -> float:
    assert process is not None
    killed_at = boot_time()
    process.kill()
    process.wait()
    return killed_at
