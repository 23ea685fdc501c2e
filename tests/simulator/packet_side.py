"""A packet process without its sockets: the real packet path, relay links and ICE agents over the virtual network.

As the real one's drivers do (actors/runtime/carrier.py, relay_dialer.py, ice_driver.py): feed one input, drain all.
"""

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from actors.addresses import CONTROL_0, ICE_AGENTS, RELAY_LINKS, TUNNELS
from actors.effects import Address, Effect, Machine, Send
from actors.messages.packet import ConfigurePeer, RemovePeer
from actors.packet.ice_agents import IceAgents
from actors.packet.relay_link import Abort, Dial, Ping, SendMessages
from actors.packet.relay_links import RelayLinks
from actors.packet.tunnels import Tunnels
from config.keys import PublicKey
from config.schema import RelayCredentials
from tests.kit.net import HOST_PORT
from tests.simulator.servers import SECRET, WALL_S, RelayHost
from tests.simulator.wires import Stream
from transport.ice import agents
from transport.ice.candidates import AddressRules
from transport.ice.interfaces import InterfaceAddress, InterfaceRules
from transport.relay.signs import no_signs
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import NOT_ECT
from wg.packet_path import PacketPath
from wg.paths import PathKind
from wg.reports import PathHeard, PathSilent

if TYPE_CHECKING:
    from tests.simulator.agent import Agent

DIAL_LIMIT_S = 10.0
SETTLE_S = 0.2  # from a change of addresses to reading them
RESOLVE_S = 0.05  # until the STUN servers' addresses are known
CONTROLS = (CONTROL_0,)


class Hooked:
    """A machine that says when mail has changed something."""

    inbox: ClassVar[Any] = None

    def __init__(self, machine: Machine, on_mail: Callable[[Any], None]) -> None:
        self._machine, self._on_mail = machine, on_mail

    @property
    def state(self) -> object:
        """The machine's."""
        return self._machine.state

    def handle(self, message: Any, now: float) -> list[Effect]:
        """Have the machine work on it."""
        effects = self._machine.handle(message, now)
        self._on_mail(message)
        return effects


def hooked(machine: Machine, on_mail: Callable[[Any], None]) -> Machine:
    """Return the machine with its own inbox, and a hook."""
    made: Machine = type("Hooked", (Hooked,), {"inbox": machine.inbox})(machine, on_mail)
    return made


class PacketSide:
    """The packet process of one agent, from its start to its end."""

    def __init__(self, agent: "Agent", private_key: bytes, rng: Random, wall_s: Callable[[], float]) -> None:
        self._agent, self._sim, self._agenda = agent, agent.sim, agent.sim.agenda
        self._net, self._wires = agent.sim.net, agent.sim.wires

        def stamp() -> bytes:  # kept above all that were told before, as the file of the product's clock does
            agent.last_stamp = max(agent.last_stamp + 1, int(wall_s() * 1e9))
            return agent.last_stamp.to_bytes(12, "big")

        self._path = path = PacketPath(
            private_key,
            mtu=1280,
            timestamp=stamp,
            entropy=rng.randbytes,
            rng=rng,
        )
        rules = AddressRules()
        core = agents.IceAgents(port=HOST_PORT, rules=rules, entropy=rng.randbytes, rng=rng)
        self.tunnels = Tunnels(path, CONTROLS)
        credentials = RelayCredentials(secret=SECRET)
        self.links = RelayLinks(agent.key, credentials, CONTROLS, lambda: WALL_S + wall_s())
        self.ice = IceAgents(core, rules, InterfaceRules("homing0", rules), CONTROLS)
        self.running = True  # neither dead nor stopped nor asleep
        self.dirty = False  # mail has changed something
        self.waiting: list[Callable[[], None]] = []  # what came over streams while it was stopped
        self._peers: dict[PublicKey, tuple[str, ...]] = {}
        self._streams: dict[int, Stream] = {}
        self._wakes = {"tunnels": float("inf"), "links": float("inf"), "ice": float("inf")}
        self._full: set[int] = set()

    def machines(self) -> dict[Address[Any], Machine]:
        """Return what has mailboxes here."""
        return {
            TUNNELS: hooked(self.tunnels, self._on_tunnels_mail),
            RELAY_LINKS: hooked(self.links, self._on_mail),
            ICE_AGENTS: hooked(self.ice, self._on_mail),
        }

    def begin(self) -> None:
        """Read the addresses; the STUN servers' names are looked up."""
        self._do(ICE_AGENTS, self.ice.addresses_read(self._addresses(), self._agenda.now))
        self._agenda.at(self._agenda.now + RESOLVE_S, self._resolved)

    def end(self) -> None:
        """The process is gone: the kernel closes its connections."""
        self.running = False
        for stream in self._streams.values():
            stream.close("connection reset by peer", by_server=False)

    # --- what comes ---

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        """Take a datagram from the network."""
        if self.running:
            effects = self.tunnels.receive_udp((UdpBatch(source, local, NOT_ECT, [datagram]),), now)
            self._carry(effects, now)

    def send_packets(self, packets: list[bytes]) -> None:
        """Take packets of the host."""
        if self.running:
            now = self._agenda.now
            self._carry(self.tunnels.receive_tun(packets, now), now)

    def received(self, stream: Stream, item: Any) -> None:
        """Take what a relay server sent."""
        self._enter(lambda: self._on_link(stream, item))

    def lost(self, stream: Stream, reason: str) -> None:
        """A connection to a relay server ended."""
        self._enter(lambda: self._on_link_lost(stream, reason))

    def readdressed(self) -> None:
        """The kernel says that our addresses changed; they are read when that has settled."""
        self._agenda.at(self._agenda.now + SETTLE_S, lambda: self._enter(self._read_addresses))

    def resume(self) -> None:
        """Go on after a stop: what waited comes in, and what is due is done."""
        self.running = True
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()
        for name in self._wakes:
            self._wakes[name] = float("inf")
        self.settle()
        for name in self._wakes:
            self._on_due(name)

    def settle(self) -> None:
        """Do what mail has made."""
        self.dirty = False
        now = self._agenda.now
        self._carry([], now)
        self._work_links([], now)
        self._work_ice([], now)

    def paths_of(self, peer: PublicKey) -> list[PathKind]:
        """Return the kinds of the paths that this peer's packets go on."""
        snapshot = next((each for each in self._path.snapshot() if each.peer == peer), None)
        paths = () if snapshot is None else (snapshot.path, snapshot.standby)
        return [path.kind for path in paths if path is not None]

    # --- the tunnels' driver ---

    def _carry(self, effects: list[Effect], now: float) -> None:
        output = self.tunnels.output()
        for batch in output.udp:
            for datagram in batch.datagrams:
                self._net.send(self._agent.host, batch.local, batch.endpoint, datagram)
        if output.packets:
            self._agent.arrived(output.packets)
        if output.relayed:
            for relayed in output.relayed:
                self.links.send_packets(relayed.peer, relayed.link, relayed.payloads, now)
            self._request()
            self._arm("links", self.links.next_timeout())
        self._arm("tunnels", self.tunnels.next_timeout())
        if effects:
            self._tell_ice(effects, now)
            self._do(TUNNELS, effects)
        if output.stun:
            self._work_ice(self.ice.receive(output.stun, now), now)

    def _tell_ice(self, effects: Iterable[Effect], now: float) -> None:
        for effect in effects:
            match effect:
                case Send(message=PathHeard(peer=peer, path="direct")):
                    endpoint = self.tunnels.direct_endpoint(peer)
                    if endpoint is not None:
                        self.ice.path_heard(peer, endpoint, now)
                        self._work_ice([], now)
                case Send(message=PathSilent()) if self._sim.topology.hints:
                    self._work_ice(self.ice.doubted(now), now)
                case _:
                    pass

    # --- the relay links' driver ---

    def _work_links(self, effects: list[Effect], now: float) -> None:
        self._request()
        for packets in self.links.packets():
            told = self.tunnels.receive_relayed(packets.peer, packets.link, packets.generation, packets.payloads, now)
            self._carry(told, now)
        self._arm("links", self.links.next_timeout())
        self._do(RELAY_LINKS, effects)

    def _request(self) -> None:
        for request in self.links.requests():
            stream = self._streams.get(request.link)
            match request:
                case SendMessages() if stream is not None:
                    stream.send(request.messages, to_server=True)
                    self._mind_room(request.link, stream)
                case Ping() if stream is not None:
                    stream.send("ping", to_server=True)
                case Dial():
                    self._dial(request)
                case Abort() if stream is not None:
                    stream.close("closed by the client", by_server=False)
                    del self._streams[request.link]
                case _:
                    pass  # for a link that is gone

    def _mind_room(self, link: int, stream: Stream) -> None:
        if stream.full != (link in self._full):
            self._full ^= {link}
            self.links.writable(link, not stream.full)

    def _dial(self, wanted: Dial) -> None:
        relay = next((relay for relay in self._sim.relays if relay.url == wanted.url), None)
        refused = partial(self._refused, wanted.link)
        if relay is None:
            self._agenda.at(self._agenda.now, lambda: refused("no such host"))
            return
        connect = partial(self._connect, wanted.link, relay)
        self._wires.dial(self._agent.name, relay.url, DIAL_LIMIT_S, connect, refused)

    def _connect(self, link: int, relay: RelayHost) -> None:
        stream = self._wires.stream(self._agent.name, relay.url, self, relay)
        if not relay.accept(stream):
            self._refused(link, "connection refused")
            return

        signs = stream.signs if self._sim.topology.hints else no_signs

        def connected() -> None:
            self._streams[link] = stream
            now = self._agenda.now
            self._work_links(self.links.connected(link, "192.0.2.1", now, signs=signs), now)
            if link not in self.links.urls():
                stream.close("closed by the client", by_server=False)  # nobody wants it any more

        if self._agent.packet is self:
            self._enter(connected)
        else:
            stream.close("the process is gone", by_server=False)

    def _refused(self, link: int, reason: str) -> None:
        self._enter(lambda: self._work_links(self.links.lost(link, reason, self._agenda.now), self._agenda.now))

    def _on_link(self, stream: Stream, item: Any) -> None:
        link = next((link for link, other in self._streams.items() if other is stream), None)
        if link is not None:
            now = self._agenda.now
            self._mind_room(link, stream)
            told = self.links.pong(link, now) if item == "pong" else self.links.received(link, item, now)
            self._work_links(told, now)

    def _on_link_lost(self, stream: Stream, reason: str) -> None:
        link = next((link for link, other in self._streams.items() if other is stream), None)
        if link is not None:
            del self._streams[link]
            self._work_links(self.links.lost(link, reason, self._agenda.now), self._agenda.now)

    # --- the ICE agents' driver ---

    def _work_ice(self, effects: list[Effect], now: float) -> None:
        for batch in self.ice.datagrams():
            for datagram in batch.datagrams:
                self._net.send(self._agent.host, batch.local, batch.endpoint, datagram)
        self._arm("ice", self.ice.next_timeout())
        self._do(ICE_AGENTS, effects)
        if self.ice.addresses_wanted():
            self._read_addresses()

    def _read_addresses(self) -> None:
        now = self._agenda.now
        effects = self.ice.addresses_read(self._addresses(), now)
        if effects:
            self._agenda.at(now + RESOLVE_S, self._resolved)
        self._work_ice(effects, now)

    def _addresses(self) -> list[InterfaceAddress]:
        own_link = not self._agent.host.site.routers  # else it is the router's that goes away
        if own_link and self._agent.name in self._wires.away and not self._agent.asleep:
            return []
        return [InterfaceAddress(interface="eth0", index=2, ip=ip, prefix_len=24) for ip in self._agent.host.addresses]

    def _resolved(self) -> None:
        def resolved() -> None:
            now = self._agenda.now
            self._work_ice(self.ice.servers_resolved(self._sim.stun, now), now)

        self._enter(resolved)

    # --- mail and time ---

    def _on_tunnels_mail(self, message: Any) -> None:
        match message:
            case ConfigurePeer(peer=peer, allowed_ips=allowed_ips) if self._peers.get(peer) != allowed_ips:
                self._peers[peer] = allowed_ips
                self._tell_peers()
            case RemovePeer(peer=peer) if peer in self._peers:
                del self._peers[peer]
                self.ice.forget(peer)
                self._tell_peers()
            case _:
                pass
        self.dirty = True

    def _tell_peers(self) -> None:
        self.links.known_peers(self._peers)
        self.ice.tunnel_leads_to(prefix for allowed_ips in self._peers.values() for prefix in allowed_ips)

    def _on_mail(self, _message: Any) -> None:
        self.dirty = True

    def _do(self, actor: Address[Any], effects: list[Effect]) -> None:
        if effects:
            self._agent.perform(actor, effects)

    def _enter(self, call: Callable[[], None]) -> None:
        if self._agent.packet is not self:
            return  # the process is gone
        if self.running:
            call()
        else:
            self.waiting.append(call)

    def _arm(self, name: str, at: float | None) -> None:
        if at is not None and at < self._wakes[name]:
            self._wakes[name] = at
            self._agenda.at(at, lambda: self._wake(name, at))

    def _wake(self, name: str, at: float) -> None:
        if self._wakes[name] == at and self.running:
            self._wakes[name] = float("inf")
            self._on_due(name)

    def _on_due(self, name: str) -> None:
        now = self._agenda.now
        match name:
            case "tunnels":
                self._carry(self.tunnels.handle_timeout(now), now)
            case "links":
                self._work_links(self.links.handle_timeout(now), now)
            case _:
                self._work_ice(self.ice.handle_timeout(now), now)
