"""One agent: the machines of its processes in a World of their own, its host in the network, its traffic."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from actors.addresses import CONTROL_0, PACKET, PEERS, RELAYS, SIGNAL, SIGNAL_LINK, STATUS, process_actor
from actors.effects import Address, Effect
from actors.messages.node import OutsideEvent
from actors.messages.process import PeerFailed, PeersConfigured, PeerSettings, ProcessRestarted, StartPeer
from actors.messages.status import PeerStatus
from actors.node.peers import Peers
from actors.node.relays import Relays
from actors.node.signal import Signal
from actors.node.signal_link import SignalLink
from actors.node.status import Status
from actors.peer.wiring import make_peer
from actors.runtime.process_actor import ProcessActor
from config.keys import PublicKey, encode_key
from tests.kit.net import HOST_PORT, Host
from tests.kit.world import Handled, World
from tests.simulator.arrivals import Arrivals
from tests.simulator.control_side import SIGNAL_URL, ControlHost, SignalClient
from tests.simulator.packet_side import CONTROLS, PacketSide
from transport.signal.messages import SignalFact
from wg.noise import LocalStatic

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

RESPAWN_S = 0.4  # from the end of a process to its successor's first step
LINKS_PER_INCARNATION = 1_000_000
HUNG_S = {PACKET: 0.7, CONTROL_0: 6.0}  # until the supervisor kills a process that is stopped, and knows it dead


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an agent is."""

    name: str
    private_key: bytes
    key: PublicKey
    tunnel_ip: str

    @classmethod
    def draw(cls, number: int, rng: Random) -> "Identity":
        """Make one up."""
        private_key = rng.randbytes(32)
        key = PublicKey(encode_key(LocalStatic(private_key).public))
        return cls(f"node{number}", private_key, key, f"10.99.{number >> 8}.{number & 0xFF}")


class Agent:
    """One agent."""

    def __init__(self, sim: "Simulation", identity: Identity, host: Host, relays: tuple[str, ...], seed: str) -> None:
        self.sim, self.host, self.relays = sim, host, relays
        self.name, self.key, self.tunnel_ip = identity.name, identity.key, identity.tunnel_ip
        self._private_key, self._rng = identity.private_key, Random(seed)
        self._world = World(self._rng.randrange(2**63), sim.agenda.now)
        self._world.recorder = self._record
        self.peers: tuple[PeerSettings, ...] = ()
        self.others: tuple[Agent, ...] = ()  # who they are
        self.packet: PacketSide | None = None
        self.control: ControlHost | None = None  # None: the process is dead
        self.signal: SignalClient | None = None
        self.asleep = False
        self.frozen: set[str] = set()  # processes that are stopped
        self.wall_step_s = 0.0  # by which our wall clock is wrong
        self.arrivals: dict[str, Arrivals] = {}  # of data, by the sender's inner address
        self.last_stamp = 0  # of a handshake initiation (TAI64N stands for any that grows)
        self.sent = 0
        self._incarnation = 0
        self._wake_at = float("inf")
        self._heads: list[bytes] = []  # of the packets to each peer
        self._control_waiting: list[Callable[[], list[SignalFact]]] = []

    def wall_s(self) -> float:
        """Return virtual wall time; it may be stepped."""
        return self.sim.agenda.now + self.wall_step_s

    # --- processes ---

    def boot(self) -> None:
        """Start both processes."""
        self._spawn_packet()
        self._spawn_control()
        self.run()

    def crash(self, process: str) -> None:
        """End a process at once; it runs again RESPAWN_S later."""
        if (self.packet if process == PACKET else self.control) is None:
            return  # it is dead already
        self.world.crash(process)
        self.frozen.discard(process)
        if process == PACKET:
            assert self.packet is not None
            self.packet.end()
            self.packet = None
            self.sim.agenda.at(self.sim.agenda.now + RESPAWN_S, self._respawn_packet)
        else:
            assert self.signal is not None
            self.signal.close()
            self.control, self._control_waiting = None, []
            self.sim.agenda.at(self.sim.agenda.now + RESPAWN_S, self._respawn_control)
        self.sim.note(self.name, f"{process} ended")

    def freeze(self, process: str) -> None:
        """Stop a process as SIGSTOP does; the supervisor kills it when it does not answer."""
        if process in self.frozen or (self.packet if process == PACKET else self.control) is None:
            return
        self.frozen.add(process)
        self.world.freeze(process)
        if process == PACKET:
            assert self.packet is not None
            self.packet.running = False
        stopped = self.packet if process == PACKET else self.control

        def kill() -> None:
            if process in self.frozen and stopped is (self.packet if process == PACKET else self.control):
                self.crash(process)
                self.run()

        self.sim.agenda.at(self.sim.agenda.now + HUNG_S[process], kill)

    def thaw(self, process: str) -> None:
        """Have it go on, if it is still there."""
        if process not in self.frozen:
            return
        self.frozen.discard(process)
        self.world.thaw(process)
        if process == PACKET:
            if self.packet is not None and not self.asleep:
                self.packet.resume()
        else:
            self._control_enters()
        self.run()

    def sleep(self) -> None:
        """Suspend the whole machine."""
        self.asleep = True
        if self.packet is not None:
            self.packet.running = False

    def wake(self) -> None:
        """Resume: everything that was due is due now, and the supervisor says what happened."""
        self.asleep = False
        if self.packet is not None and PACKET not in self.frozen:
            self.packet.resume()
        if self.control is not None:
            self.world.post(PEERS, OutsideEvent(kind="resumed"))
        self._control_enters()
        self.run()

    def _spawn_packet(self) -> None:
        self._incarnation += 1
        self.packet = PacketSide(self, self._private_key, Random(self._rng.randrange(2**63)), self.wall_s)
        self.host.node = _Doors(self.packet)
        self.world.incarnations[PACKET] = self._incarnation
        self.world.add(self.packet.machines())
        self.packet.begin()

    def _respawn_packet(self) -> None:
        if self.asleep:
            self.sim.agenda.at(self.sim.agenda.now + RESPAWN_S, self._respawn_packet)
            return
        self._spawn_packet()
        if self.control is not None:
            restarted = ProcessRestarted(process=PACKET, incarnation=self._incarnation)
            self.world.post(process_actor(CONTROL_0), restarted)
        self.run()

    def _spawn_control(self) -> None:
        self._incarnation += 1
        world, rng = self.world, Random(self._rng.randrange(2**63))
        held = world.incarnations.get(PACKET, 0)
        self.control = ControlHost(self._incarnation, self._start_peer, self._stop_peer)
        self.signal = SignalClient(
            self.key, self.name, self.sim.wires, self.sim.signal, rng=rng, enter=self._enter_control
        )
        world.incarnations[CONTROL_0] = self._incarnation
        first_link = self._incarnation * LINKS_PER_INCARNATION
        world.add(
            {
                STATUS: Status(CONTROL_0),
                RELAYS: Relays(self.relays, CONTROLS, rng=rng, first_link=first_link, packet_incarnation=held),
                SIGNAL: Signal(SIGNAL_URL, CONTROLS),
                SIGNAL_LINK: SignalLink(self.signal),
                PEERS: Peers(CONTROLS, rng=rng, packet_incarnation=held),
                process_actor(CONTROL_0): ProcessActor(self.control),
            }
        )
        self._peer_rng = rng
        self.signal.start()
        world.post(PEERS, PeersConfigured(peers=self.peers))

    def _respawn_control(self) -> None:
        if self.asleep:
            self.sim.agenda.at(self.sim.agenda.now + RESPAWN_S, self._respawn_control)
            return
        self._spawn_control()
        self.run()

    def _start_peer(self, start: StartPeer) -> None:
        machines = make_peer(
            start,
            self.key,
            CONTROLS,
            rng=self._peer_rng,
            entropy=self._peer_rng.randbytes,
            first_generation=int(1000 * (1_700_000_000 + self.wall_s())),
            listen_port=HOST_PORT,
            ice=self.sim.ice,
        )
        self._stop_peer(start.settings.peer)
        self.world.add({Address(actor, CONTROL_0): machine for actor, machine in machines.items()})

    def _stop_peer(self, peer: PublicKey) -> None:
        for role in ("conn", "guard", "offer_listener", "relay_worker", "ice_worker", "wg_watcher"):
            self.world.remove(Address(f"peer/{peer}/{role}", CONTROL_0))

    # --- small troubles ---

    def fail_peer(self, peer: PublicKey) -> None:
        """One of the peer's actors raised: its six are silent until PEERS starts them anew."""
        if self.control is not None and CONTROL_0 not in self.frozen:
            self._stop_peer(peer)
            self.world.post(PEERS, PeerFailed(peer=peer, actor="conn", error="a fault of the scenario"))
            self.run()

    def lose_mail(self) -> None:
        """Mail from the packet process goes missing; the gap is found and answered by a resync."""
        self.world.cut(PACKET, CONTROL_0)
        if self.control is not None:
            same = ProcessRestarted(process=PACKET, incarnation=self.world.incarnations[PACKET])
            self.world.post(process_actor(CONTROL_0), same)
            self.run()

    def readdress(self) -> None:
        """Give the host another address; the kernel tells."""
        self.sim.net.renumber(self.name)
        self.sim.wires.sever({self.name}, lax=False)
        self.kernel_tells()

    def kernel_tells(self) -> None:
        """Say that addresses changed, or may have."""
        if self.packet is not None:
            self.packet.readdressed()

    # --- mail ---

    def post(self, to: Address[Any], message: msgspec.Struct) -> None:
        """Mail an actor from outside, unless the process is dead, or its machine sleeps."""
        if self.control is not None and not self.asleep:
            self.world.post(to, message)
            self.run()

    def perform(self, actor: Address[Any], effects: list[Effect]) -> None:
        """Mail what a driver of the packet process has to say."""
        self.world.perform(actor, effects)
        self._run_soon()

    def _enter_control(self, call: Callable[[], list[SignalFact]]) -> None:
        if self.control is None or self.signal is None or self.signal.closed:
            return
        if self.asleep or CONTROL_0 in self.frozen:
            self._control_waiting.append(call)
            return
        for fact in call():
            self.world.post(SIGNAL, fact)
        self._run_soon()

    def _control_enters(self) -> None:
        if not self.asleep and CONTROL_0 not in self.frozen:
            waiting, self._control_waiting = self._control_waiting, []
            for call in waiting:
                self._enter_control(call)

    # --- time ---

    @property
    def world(self) -> World:
        """Its World, at this moment: the World's own clock moves only when it runs."""
        self._world.now = self.sim.agenda.now
        return self._world

    def _run_soon(self) -> None:
        now = self.sim.agenda.now
        if self._wake_at > now:
            self._wake_at = now
            self.sim.agenda.at(now, lambda: self._wake(now))

    def _wake(self, at: float) -> None:
        if self._wake_at == at:
            self._wake_at = float("inf")
            self.run()  # asleep, it does nothing: waking makes up for it

    def run(self) -> None:
        """Have the actors work on what there is now."""
        if self.asleep:
            return
        now, world = self.sim.agenda.now, self.world
        world.run_until(now)
        while self.packet is not None and self.packet.running and self.packet.dirty:
            self.packet.settle()
            world.run_until(now)
        at = world.next_at()
        if at is not None and at < self._wake_at:
            self._wake_at = at
            self.sim.agenda.at(at, lambda: self._wake(at))

    def _record(self, handled: Handled) -> None:
        self.sim.record(self.name, handled)

    # --- traffic ---

    def send_data(self) -> None:
        """Have the host send one packet to every peer."""
        if self.packet is not None and self.packet.running:
            self.sent += 1
            number = self.sent.to_bytes(8, "big")
            self.packet.send_packets([head + number for head in self._heads])

    def configure(self, others: "list[Agent]") -> None:
        """Have these as peers."""
        self.others = tuple(others)
        self.peers = tuple(
            PeerSettings(peer=other.key, name=other.name, allowed_ips=(f"{other.tunnel_ip}/32",)) for other in others
        )
        self.arrivals = {other.name: Arrivals(self.sim.agenda.now) for other in others}
        head = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]) + ip_address(self.tunnel_ip).packed
        self._heads = [head + ip_address(other.tunnel_ip).packed for other in others]

    def arrived(self, packets: list[bytes]) -> None:
        """Take packets out of the tunnel."""
        now = self.sim.agenda.now
        for packet in packets:
            self.arrivals[self.sim.name_of[packet[12:16]]].add(now)

    # --- what it says of itself ---

    def machine(self, remote: "Agent", role: str) -> Any:
        """Return one of a peer's machines; None: it is not there now."""
        address: Address[Any] = Address(f"peer/{remote.key}/{role}", CONTROL_0)
        return self.world.machine_or_none(address)

    def status(self, remote: "Agent") -> PeerStatus | None:
        """Return what the snapshot file says of a peer."""
        if self.control is None:
            return None
        return next((status for status in self.control.status.peers if status.peer == remote.key), None)


class _Doors:
    """The packet process as a node of the network: it is told, and sends by itself."""

    def __init__(self, packet: PacketSide) -> None:
        self.receive = packet.receive

    def handle_timeout(self, now: float) -> None:
        """It keeps its own timers."""

    def next_timeout(self) -> float | None:
        """It keeps its own timers."""
        return None

    def datagrams_to_send(self) -> list[Any]:
        """It sends at once."""
        return []
