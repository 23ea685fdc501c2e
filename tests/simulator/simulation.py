"""Whole agents, the network and the servers between them, on one virtual clock.

Everything that decides is the product's own: the machines of control, the packet path with its WireGuard timers and
keys, the relay client and the relay server, the ICE agents.  What is not: sockets, the gRPC of signal, and sizes.
Equal seeds give equal runs, whatever the process: `digest` tells.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random
from typing import NamedTuple

from tests.kit.agenda import Agenda
from tests.kit.nats import Site
from tests.kit.net import HOST_PORT, Conditions, Host, Network
from tests.kit.world import Handled
from tests.simulator.account import Account
from tests.simulator.agent import Agent, Identity
from tests.simulator.servers import RelayHost, SignalHost, StunHost
from tests.simulator.wires import Wires
from wg.datagrams import Endpoint

QUIET = frozenset({"path_heard", "watch_due", "snapshot_due", "save_snapshot", "traffic_heard"})
"""Types of mail that come all the time and change nothing: the log does without them, the digest does not."""


PUBLIC = Site()


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent of a topology."""

    site: Site = PUBLIC
    relays: tuple[int, ...] = (0,)  # of the servers there are, the preferred first
    foreign: bool = False  # knows no fields and echoes of ours
    twin: bool = False  # has the key, and the address in the tunnel, of the agent before it (S21)


@dataclass(frozen=True, slots=True)
class Topology:
    """Who is where."""

    agents: tuple[AgentPlan, ...]
    relays: int = 1
    ice: bool = True
    latency_s: float = 0.015  # one way
    per_second: float = 50.0  # packets from each agent to each other
    hints: bool = False  # what TCP hears, STUN when packets are missing; without them the rules have more to do


class Record(NamedTuple):
    """One message that a machine of an agent handled."""

    node: str
    handled: Handled


class Note(NamedTuple):
    """What befell an agent, or the world."""

    at: float
    node: str  # empty: the world
    what: str


class Simulation:
    """A topology at work."""

    def __init__(self, topology: Topology, seed: int = 0) -> None:
        self.topology, self.seed, self.ice = topology, seed, topology.ice
        self.agenda = Agenda()
        self.rng = Random(f"world {seed}")
        self.conditions = Conditions(latency_s=topology.latency_s)
        self.net = Network(self.rng.randrange(2**63), conditions=self.conditions, agenda=self.agenda)
        self.wires = Wires(self.agenda, Random(f"wires {seed}"), self.conditions)
        self.relays = [RelayHost(self.agenda, f"rel://relay{number}.test:80") for number in range(topology.relays)]
        self.signal = SignalHost(self.agenda, Random(f"signal {seed}"))
        self.log: list[Record] = []
        self.account = Account()
        self.notes: list[Note] = []
        self.handled: Counter[tuple[str, str]] = Counter()  # node, tag
        self.cut: set[tuple[str, str]] = set()  # sender, receiver: no datagrams directly
        self.cut_packets: set[tuple[str, str]] = set()  # the same, of WireGuard's; STUN passes
        self.stun: list[Endpoint] = []
        self._add_stun()
        self.agents = self._make_agents()
        self.by_name = {agent.name: agent for agent in self.agents}
        self.name_of = {ip_address(agent.tunnel_ip).packed: agent.name for agent in reversed(self.agents)}
        self.net.eaten = self._eaten

    def _add_stun(self) -> None:
        for number in range(2):
            host = self.net.add(f"stun{number}", Site())
            host.node = _Answering(StunHost(self.net, host))
            assert host.v4 is not None
            self.stun.append(Endpoint(host.v4, HOST_PORT))

    def _make_agents(self) -> list[Agent]:
        plans = self.topology.agents
        identities = [Identity.draw(number, Random(f"key {self.seed} {number}")) for number in range(len(plans))]
        agents = []
        for number, plan in enumerate(plans):
            if plan.twin:
                identities[number] = replace(identities[number - 1], name=identities[number].name)
            identity = identities[number]
            relays = tuple(self.relays[relay].url for relay in plan.relays)
            host = self.net.add(identity.name, plan.site)
            agents.append(Agent(self, identity, host, relays, f"agent {self.seed} {identity.name}"))
            if plan.foreign:
                self.signal.foreign.add(identity.key)
        by_key = {agent.key: agent for agent in reversed(agents)}  # of twins the first
        for agent in agents:
            agent.configure([other for other in by_key.values() if other.key != agent.key][::-1])
        return agents

    # --- time ---

    def boot(self) -> None:
        """Start every agent, and the traffic."""
        for agent in self.agents:
            agent.boot()
        if self.topology.per_second:
            interval_s = 1 / self.topology.per_second
            for number, agent in enumerate(self.agents):
                self._send_data(agent, interval_s, self.agenda.now + interval_s * number / len(self.agents))

    def _send_data(self, agent: Agent, interval_s: float, first_at: float) -> None:
        agenda = self.agenda

        def send() -> None:
            agent.send_data()
            agenda.at(agenda.now + interval_s, send)

        agenda.at(first_at, send)

    def run_for(self, seconds: float) -> None:
        """Let this much time pass."""
        self.agenda.run_until(self.agenda.now + seconds)

    @property
    def now(self) -> float:
        """The time."""
        return self.agenda.now

    # --- what is seen ---

    def record(self, node: str, handled: Handled) -> None:
        """Keep what was handled."""
        tag = str(handled.message.__struct_config__.tag)
        self.handled[node, tag] += 1
        self.account.take(node, handled)
        if tag not in QUIET:
            self.log.append(Record(node, handled))

    def note(self, node: str, what: str) -> None:
        """Keep what befell somebody."""
        self.notes.append(Note(self.agenda.now, node, what))

    def pairs(self) -> list[tuple[Agent, Agent]]:
        """Return each agent with each of its peers, both ways."""
        return [(agent, other) for agent in self.agents for other in agent.others]

    def proven(self, agent: Agent, other: Agent) -> bool:
        """Whether an agent has a proven path to another."""
        conn = agent.machine(other, "conn")
        return conn is not None and type(conn.state).__name__ == "Proven"

    def all_proven(self) -> bool:
        """Whether everybody has."""
        return all(self.proven(agent, other) for agent, other in self.pairs())

    def direct(self, agent: Agent, other: Agent) -> bool:
        """Whether the path is a direct one that is proven."""
        conn = agent.machine(other, "conn")
        way = getattr(getattr(conn, "state", None), "ways", None)
        return way is not None and way.direct is not None and way.direct.standing == "proven"

    def digest(self) -> str:
        """Return what all mail, and all arrivals, come to."""
        found = hashlib.blake2b(digest_size=16)
        for agent in self.agents:
            found.update(agent.world.trace_hash().encode())
            for name, arrivals in agent.arrivals.items():
                found.update(f"{name} {arrivals.count} {arrivals.last_at!r} {arrivals.gaps!r}".encode())
        return found.hexdigest()

    # --- the network's faults ---

    def _eaten(self, sender: Host, receiver: Host, datagram: bytes) -> bool:
        away = self.wires.away
        if away and (sender.name in away or receiver.name in away):
            return True
        if (self.cut and (sender.name, receiver.name) in self.cut) or self.conditions.loss >= 1.0:
            return True
        wireguard = datagram[0] in b"\x01\x02\x03\x04" and datagram[1:4] == b"\0\0\0"
        return bool(self.cut_packets) and wireguard and (sender.name, receiver.name) in self.cut_packets


class _Answering:
    """A STUN server as a node of the network."""

    def __init__(self, stun: StunHost) -> None:
        self.receive = stun.receive

    def handle_timeout(self, now: float) -> None:
        """It has no timers."""

    def next_timeout(self) -> float | None:
        """It has no timers."""
        return None

    def datagrams_to_send(self) -> list[tuple[bytes | None, Endpoint, bytes]]:
        """It sends at once."""
        return []
