"""Whole agents on one virtual clock: the real machines of control, and stand-ins for what touches packets.

The kit's World holds one agent, since an actor's address is the same in all of them; here there are several.  The order
is as free as there: mail inside a process is in its mailbox when it is sent, which actor runs next is drawn, a link
between processes is first in, first out and takes a drawn time.  Equal seeds give equal stories.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import msgspec

from actors.addresses import CONTROL_0, PACKET, SUPERVISOR
from actors.effects import Address, Cancel, Effect, Later, Send, Starting
from actors.messages import packet, process
from actors.messages.status import ControlStatus, PeerStatus
from actors.node.peers import Peers
from actors.node.relays import Relays
from actors.node.signal import Signal
from actors.node.status import Status
from actors.peer.wiring import make_peer
from config.keys import PublicKey, encode_key
from tests.actors.stories.ice_side import IceSide
from tests.actors.stories.network import Network
from tests.actors.stories.packet_side import FakeRelayLinks, FakeTunnels
from transport.signal import messages as signal

CONTROLS = (CONTROL_0,)
HOP_S = (0.0002, 0.002)  # between processes
RESPAWN_S = 0.3  # until a killed process runs again
WALL_MS = 1_700_000_000_000  # at virtual time 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that a machine handled."""

    at: float
    node: str
    actor: str
    message: msgspec.Struct
    before: object
    after: object


@dataclass(slots=True)
class Process:
    """Actors with one queue; `incarnation` tells its mail from that of the one before."""

    name: str
    incarnation: int
    actors: dict[str, Any] = field(default_factory=dict)
    mail: dict[str, deque[tuple[msgspec.Struct, int]]] = field(default_factory=dict)
    timers: dict[tuple[str, type], int] = field(default_factory=dict)
    dead: bool = False


class ProcessActor:
    """Stands in for the control process's own actor: makes and ends peers, keeps the snapshot."""

    state = None

    def __init__(self, node: "Node") -> None:
        self._node = node
        self.document = b""

    def handle(self, message: Any, now: float) -> list[Effect]:
        match message:
            case process.StartPeer():
                self._node.start_peer(message)
            case process.StopPeer(peer=peer):
                self._node.stop_peer(peer)
            case process.SaveSnapshot(document=document):
                self.document = document
            case _:
                raise AssertionError(message)
        return []


class FakeSignalLink:
    """Stands in for the driver of the signal server: hands posts to the network while it is up."""

    state = None

    def __init__(self, node: "Node") -> None:
        self._node = node

    def handle(self, message: Any, now: float) -> list[Effect]:
        if isinstance(message, signal.PostDescription | signal.PostCandidate):
            self._node.world.network.post(self._node.key, message)
        return []


class Node:
    """One agent."""

    def __init__(self, world: "World", name: str, key: PublicKey, relays: tuple[str, ...]) -> None:
        self.world, self.name, self.key, self.relays = world, name, key, relays
        self.peers: tuple[process.PeerSettings, ...] = ()
        self.ice = world.ice
        self.incarnation = 0
        self.processes: dict[str, Process] = {}
        self._fifo_until: dict[tuple[str, str], float] = {}

    # --- processes ---

    def boot(self) -> None:
        self._spawn_packet()
        self._spawn_control()

    def _spawn_packet(self) -> None:
        self.incarnation += 1
        made = self.processes[PACKET] = Process(PACKET, self.incarnation)
        tunnels = FakeTunnels(self.key, self.world.network, self.world.rng)
        links = FakeRelayLinks(self.key, self.world.network, tunnels)
        ice = IceSide(self.key, self.world.network, self.world.rng)
        self.world.network.attach(self.key, tunnels, links, ice, lambda effects: self.perform(made, "driver", effects))
        made.actors = {"tunnels": tunnels, "relay_links": links, "ice_agents": ice}

    def _spawn_control(self) -> None:
        self.incarnation += 1
        made = self.processes[CONTROL_0] = Process(CONTROL_0, self.incarnation)
        first, held = WALL_MS + int(self.world.now * 1000), self.processes[PACKET].incarnation
        made.actors = {
            "process": ProcessActor(self),
            "signal_link": FakeSignalLink(self),
            "peers": Peers(CONTROLS, rng=self.world.rng, packet_incarnation=held),
            "signal": Signal("http://signal.test", CONTROLS),
            "relays": Relays(self.relays, CONTROLS, rng=self.world.rng, first_link=first, packet_incarnation=held),
            "status": Status(CONTROL_0),
        }
        for actor in list(made.actors):
            self._start(made, actor)
        self.world.network.watch_signal(self.key, lambda message: self.post("signal", CONTROL_0, message))
        self.post("peers", CONTROL_0, process.PeersConfigured(peers=self.peers))

    def kill(self, name: str) -> None:
        """SIGKILL; it runs again RESPAWN_S later."""
        self.processes[name].dead = True
        if name == PACKET:
            self.world.network.detach(self.key)
        self.world.call_at(self.world.now + RESPAWN_S, lambda: self._respawn(name))

    def _respawn(self, name: str) -> None:
        if name == PACKET:
            self._spawn_packet()
            restarted = process.ProcessRestarted(process=PACKET, incarnation=self.incarnation)
            self.post("peers", CONTROL_0, restarted)
        else:
            self._spawn_control()

    def fail_peer(self, remote: "Node") -> None:
        """One of the peer's actors raised: its six are deaf until PEERS starts them anew."""
        failed = process.PeerFailed(peer=remote.key, actor="conn", error="AssertionError")
        self.stop_peer(remote.key)
        self.post("peers", CONTROL_0, failed)

    def lose_mail(self) -> None:
        """Mail of the packet process went missing; the same incarnation goes on."""
        same = process.ProcessRestarted(process=PACKET, incarnation=self.processes[PACKET].incarnation)
        self.post("peers", CONTROL_0, same)

    def start_peer(self, start: process.StartPeer) -> None:
        control = self.processes[CONTROL_0]
        self.stop_peer(start.settings.peer)
        machines = make_peer(
            start,
            self.key,
            CONTROLS,
            rng=self.world.rng,
            entropy=self.world.rng.randbytes,
            first_generation=WALL_MS + int(self.world.now * 1000),
            listen_port=51820,
            ice=self.ice,
        )
        control.actors |= machines
        for actor in machines:
            self._start(control, actor)

    def stop_peer(self, peer: PublicKey) -> None:
        control = self.processes[CONTROL_0]
        for actor in [name for name in control.actors if name.startswith(f"peer/{peer}/")]:
            del control.actors[actor]
            for timer in [timer for timer in control.timers if timer[0] == actor]:
                del control.timers[timer]

    # --- mail ---

    def post(self, actor: str, to: str, message: msgspec.Struct) -> None:
        """Put mail from outside into a mailbox."""
        self._send(None, Address(actor, to), message)

    def perform(self, source: Process, actor: str, effects: list[Effect]) -> None:
        if source.dead:
            return
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    self._send(source, to, message)
                case Later(at=at, message=message):
                    self._set_timer(source, actor, at, message)
                case Cancel(timer=timer):
                    source.timers.pop((actor, timer), None)

    def _send(self, source: Process | None, to: Address[Any], message: msgspec.Struct) -> None:
        world = self.world
        world.sent.update([(self.name, type(message).__name__)])
        if to.process == SUPERVISOR:
            return  # there is none here
        target = self.processes[to.process]
        if source is target:
            world.put(self, target, to.actor, message)
            return
        pair = (source.name if source is not None else "", to.process)
        at = max(world.now + world.rng.uniform(*HOP_S), self._fifo_until.get(pair, 0.0))
        self._fifo_until[pair] = at

        def arrive() -> None:
            if not target.dead:  # mail of a dead incarnation is discarded
                world.put(self, target, to.actor, message)

        world.call_at(at, arrive)

    def _set_timer(self, source: Process, actor: str, at: float, message: msgspec.Struct) -> None:
        self.world.timer_id += 1
        timer, this = (actor, type(message)), self.world.timer_id
        source.timers[timer] = this

        def fire() -> None:
            if not source.dead and source.timers.get(timer) == this:
                self.world.put(self, source, actor, message, this)

        self.world.call_at(max(at, self.world.now), fire)

    def _start(self, source: Process, actor: str) -> None:
        machine = source.actors[actor]
        if isinstance(machine, Starting):
            self.perform(source, actor, machine.start(self.world.now))

    def run(self, source: Process, actor: str, message: msgspec.Struct, timer: int) -> None:
        if timer and source.timers.get((actor, type(message))) != timer:
            return  # cancelled, or set anew, while it lay in the mailbox
        if timer:
            del source.timers[actor, type(message)]
        machine = source.actors.get(actor)
        if machine is None:
            self.world.dead_letters.update([type(message).__name__])
            return
        before = machine.state
        effects = machine.handle(message, self.world.now)
        self.world.log.append(Delivery(self.world.now, self.name, actor, message, before, machine.state))
        self.perform(source, actor, effects)

    # --- what a story does and looks at ---

    def send_data(self, remote: "Node", per_second: float) -> None:
        """Have this host send packets to the other from now on."""

        def send() -> None:
            tunnels = self.processes[PACKET].actors["tunnels"]
            if not self.processes[PACKET].dead and remote.key in tunnels.tunnels:
                tunnels.send_data(remote.key)
            self.world.call_at(self.world.now + 1 / per_second, send)

        send()

    def machine(self, remote: "Node", name: str) -> Any:
        return self.processes[CONTROL_0].actors[f"peer/{remote.key}/{name}"]

    def status(self, remote: "Node") -> PeerStatus:
        """Return what the snapshot file would say of this peer."""
        document = self.processes[CONTROL_0].actors["process"].document
        control = msgspec.json.decode(document, type=ControlStatus)
        return next(status for status in control.peers if status.peer == remote.key)

    def arrivals(self, remote: "Node") -> list[float]:
        """Return when the remote's data came, over all incarnations of the packet process."""
        return self.world.network.received.setdefault((self.key, remote.key), [])

    def tunnels(self) -> FakeTunnels:
        tunnels = self.processes[PACKET].actors["tunnels"]
        assert isinstance(tunnels, FakeTunnels)
        return tunnels


class World:
    """Agents, relay servers, a signal server, one clock."""

    def __init__(self, seed: int = 0, relays: tuple[str, ...] = ("rel://relay.test:80",), *, ice: bool = False) -> None:
        self.ice = ice
        self.rng, self.now, self.timer_id = Random(seed), 1000.0, 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._runnable: list[tuple[Node, Process, str]] = []
        self.network = Network(self.rng, lambda: self.now, self.call_at, relays)
        self.nodes: list[Node] = []
        self.log: list[Delivery] = []
        self.sent: Counter[tuple[str, str]] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self._relays = relays

    def add_nodes(self, count: int, relays: tuple[str, ...] | None = None) -> list[Node]:
        """Make agents that all know each other; the first has the greatest key, so it controls."""
        keys = sorted((PublicKey(encode_key(bytes([index]) * 32)) for index in range(1, count + 1)), reverse=True)
        self.nodes = [
            Node(self, f"node{index}", key, self._relays if relays is None else relays)
            for index, key in enumerate(keys)
        ]
        self.network.addresses = {node.key: f"192.0.2.{number}" for number, node in enumerate(self.nodes, 1)}
        for node in self.nodes:
            node.peers = tuple(
                process.PeerSettings(peer=other.key, name=other.name, allowed_ips=())
                for other in self.nodes
                if other is not node
            )
        return self.nodes

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, call))

    def put(self, node: Node, target: Process, actor: str, message: msgspec.Struct, timer: int = 0) -> None:
        """Put mail into a mailbox; `timer` is its number if it is one."""
        mailbox = target.mail.setdefault(actor, deque())
        if not mailbox:
            self._runnable.append((node, target, actor))
        mailbox.append((message, timer))

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        while True:
            while self._runnable:
                place = self.rng.randrange(len(self._runnable))
                node, target, actor = self._runnable[place]
                mailbox = target.mail[actor]
                message, timer = mailbox.popleft()
                if not mailbox:
                    self._runnable[place] = self._runnable[-1]
                    self._runnable.pop()
                if not target.dead:
                    node.run(target, actor, message, timer)
            if not self._heap or self._heap[0][0] > end:
                self.now = end
                return
            self.now, _, call = heapq.heappop(self._heap)
            call()

    def run_until(self, reached: Callable[[], bool], limit_s: float) -> float:
        """Let time pass until this holds; return how long it took."""
        begun = self.now
        while not reached():
            assert self.now - begun < limit_s, f"not within {limit_s} s"
            self.run(0.01)
        return self.now - begun

    def connected(self) -> bool:
        """Return whether every peer of every agent has a proven path."""
        return all(
            type(node.machine(other, "conn").state).__name__ == "Proven"
            for node in self.nodes
            for other in self.nodes
            if other is not node and f"peer/{other.key}/conn" in node.processes[CONTROL_0].actors
        ) and all(len(node.processes[CONTROL_0].actors) == 6 * len(self.nodes) for node in self.nodes)

    def deliveries(self, message_type: type, since: float = 0.0) -> Iterator[Delivery]:
        """Yield what was handled of one type of message."""
        return (d for d in self.log if isinstance(d.message, message_type) and d.at >= since)

    def gap(self, node: Node, remote: Node, since: float) -> float:
        """Return the longest time since then in which nothing of the remote's data arrived at this node."""
        arrivals = [at for at in node.arrivals(remote) if at >= since]
        times = [since, *arrivals, self.now]
        return max(after - before for before, after in pairwise(times))

    def closes(self, since: float = 0.0) -> list[Delivery]:
        """Return the relayed connections that were closed."""
        return list(self.deliveries(packet.CloseOnLink, since))
