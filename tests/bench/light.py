"""Many light agents in one process: the real machines, cores, relay links and sockets, without TUN or post offices.

python -m tests.bench.light PLAN      (a JSON file: tests/bench/direct_peers.py writes it; ends with its standard input)

What the agent at the other end sees is what whole agents would send: offers, checks, echoes, keepalives, probes.
Each line of standard input is a JSON object and a wish, answered by a line (`Crowd.answer`).
"""

import asyncio
import gc
import json
import os
import random
import resource
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from actors.addresses import CONTROL_0, ICE_AGENTS, PEERS, RELAY_LINKS, RELAYS, SIGNAL, SIGNAL_LINK, TUNNELS
from actors.effects import Address, Cancel, Effect, Later, Send, Starting
from actors.messages.node import HomeRelayChanged
from actors.messages.peer import PathReady
from actors.messages.process import PeersConfigured, PeerSettings, StartPeer, StopPeer
from actors.node.peers import Peers
from actors.node.relays import Relays
from actors.node.signal import Signal
from actors.node.signal_link import SignalLink
from actors.packet.ice_agents import IceAgents
from actors.packet.relay_links import RelayLinks
from actors.packet.tunnels import Tunnels
from actors.peer.wiring import make_peer
from actors.runtime import clock
from actors.runtime.carrier import Carrier
from actors.runtime.ice_driver import IceDriver
from actors.runtime.loops import COLLECT
from actors.runtime.relay_dialer import RelayDialer
from config.keys import PublicKey, Secret, encode_key
from config.schema import RelayCredentials
from tests.bench.pinger import NoTun, PingTun
from transport.drivers.websocket import dial
from transport.ice import agents
from transport.ice.candidates import AddressRules
from transport.ice.interfaces import InterfaceRules
from transport.signal.client import SignalClient
from transport.signal.messages import OfferReceived
from transport.signal.sealing import Sealer
from wg.drivers.udp import UdpDriver, open_udp
from wg.noise import LocalStatic
from wg.packet_path import PacketPath

CONTROLS = (CONTROL_0,)
NO_INTERFACE = "none"  # its name would be left out of what is gathered
MTU = 1280


class Actors:
    """Machines on an asyncio loop.  They have one queue, so their order is that of the mail."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.machines: dict[Address[Any], Any] = {}
        self._mail: deque[tuple[Address[Any], msgspec.Struct]] = deque()
        self._timers: dict[tuple[Address[Any], type], asyncio.TimerHandle] = {}
        self._working = False

    def begin(self, address: Address[Any]) -> None:
        """Let a machine that is here say what it wants first."""
        machine = self.machines[address]
        if isinstance(machine, Starting):
            self.perform(machine.start(clock.now()), address)

    def post(self, to: Address[Any], message: msgspec.Struct) -> None:
        """Put mail into a mailbox."""
        self._mail.append((to, message))
        if not self._working:
            self._working = True
            self.loop.call_soon(self._work)

    def handle(self, to: Address[Any], message: msgspec.Struct) -> None:
        """Have a machine work on its mail.  For STATUS, or the supervisor: nobody looks."""
        if to in self.machines:
            self.perform(self.machines[to].handle(message, clock.now()), to)

    def settled(self) -> None:
        """Do what the mail has made, once all of it has been handled."""

    def perform(self, effects: list[Effect], actor: Address[Any] | None = None) -> None:
        """Do what a machine wants done; `actor` None: a driver's machine, which sets no timers then."""
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    self.post(to, message)
                case Later(at=at, message=message):
                    assert actor is not None
                    self._cancel(actor, type(message))
                    delay_s = max(at - clock.now(), 0.0)
                    self._timers[actor, type(message)] = self.loop.call_later(delay_s, self.post, actor, message)
                case Cancel(timer=timer):
                    assert actor is not None
                    self._cancel(actor, timer)

    def _work(self) -> None:
        while self._mail:
            self.handle(*self._mail.popleft())
        self._working = False
        self.settled()

    def _cancel_all(self) -> None:
        self._mail.clear()
        for handle in self._timers.values():
            handle.cancel()

    def _cancel(self, actor: Address[Any], timer: type) -> None:
        handle = self._timers.pop((actor, timer), None)
        if handle is not None:
            handle.cancel()


class LightAgent(Actors):
    """One agent."""

    def __init__(self, private_key: bytes, remote: PublicKey, plan: dict[str, Any], pinging: str = "") -> None:
        """`pinging` is our address in the tunnel, from which the remote is pinged; empty: it is not."""
        super().__init__()
        self.heard_at: list[float] = []  # the remote, over a new path or by a new handshake
        self.offered_at: list[float] = []  # by the remote
        self.homed_at: list[float] = []  # at the relay server
        self.tun: NoTun = NoTun()
        if pinging:
            self.tun = PingTun(pinging, plan["remote_address"], plan["ping_every_s"], self._send)
        self._key = PublicKey(encode_key(LocalStatic(private_key).public))
        sockets = open_udp(0)
        self._port: int = sockets[0].getsockname()[1]
        self._remote, self._plan = remote, plan
        self._udp = [UdpDriver(one) for one in sockets]
        self._move_in(private_key, self._udp)

    def _move_in(self, private_key: bytes, udp: list[UdpDriver]) -> None:
        rng, rules = random.SystemRandom(), AddressRules()
        path = PacketPath(private_key, mtu=MTU, timestamp=_timestamps(), entropy=os.urandom, rng=rng)
        self._tunnels = tunnels = Tunnels(path, CONTROLS)
        credentials = RelayCredentials(secret=Secret(self._plan["relay_secret"].encode()))
        self._links = links = RelayLinks(self._key, credentials, CONTROLS, clock.unix_now)
        core = agents.IceAgents(port=self._port, rules=rules, entropy=os.urandom, rng=rng)
        self._ice_agents = ice_agents = IceAgents(
            core, rules, InterfaceRules(NO_INTERFACE, rules, ()), CONTROLS, own_networks=[], enabled=self._plan["ice"]
        )
        self._carrier = Carrier(
            self.loop,
            tunnels,
            self.tun,  # type: ignore[arg-type]
            udp,
            deliver=self.perform,
            gone=sys.exit,
            clock=clock.now,
        )
        self._dialer = RelayDialer(
            self.loop,
            links,
            diallers={"ws": partial(dial, ca=None)},
            deliver=self.perform,
            receive=self._carrier.receive_relayed,
            clock=clock.now,
        )
        self._ice = IceDriver(
            self.loop, ice_agents, servers=[], send=self._carrier.send_udp, deliver=self.perform, clock=clock.now
        )
        self._signal = SignalClient(
            self._plan["signal_url"],
            self._key,
            Sealer(Secret(private_key), os.urandom),
            lambda fact: self.post(SIGNAL, fact),
            clock=clock.now,
            unix_clock=clock.unix_now,
            rng=rng,
        )
        self.machines = {
            TUNNELS: tunnels,
            RELAY_LINKS: links,
            ICE_AGENTS: ice_agents,
            PEERS: Peers(CONTROLS, rng=rng, packet_incarnation=1),
            SIGNAL: Signal(self._plan["signal_url"], CONTROLS),
            SIGNAL_LINK: SignalLink(self._signal),
            RELAYS: Relays((self._plan["relay_url"],), CONTROLS, rng=rng, first_link=1, packet_incarnation=1),
        }

    def start(self) -> None:
        """Begin."""
        self._links.known_peers([self._remote])
        self._carrier.open(self._dialer, self._ice)
        self._ice.open()
        self._run = self.loop.create_task(self._signal.run())
        for address in list(self.machines):
            self.begin(address)
        prefix = f"{self._plan['remote_address']}/32"
        self.post(
            PEERS,
            PeersConfigured(peers=(PeerSettings(peer=self._remote, name="remote", allowed_ips=(prefix,)),)),
        )

    async def end(self) -> None:
        """Go as a process does that is killed: nobody is told, sockets close."""
        self._run.cancel()
        self._carrier.close()
        self._ice.close()
        self._dialer.close()
        self._cancel_all()
        self.tun.close()
        for driver in self._udp:
            driver.close()
        await asyncio.gather(self._run, return_exceptions=True)

    def _send(self, packets: list[bytes]) -> None:
        self.perform(self._tunnels.receive_tun(packets, clock.now()))
        self._carrier.settle_soon()

    def handle(self, to: Address[Any], message: msgspec.Struct) -> None:
        """Work on mail; the process actor's part is done here."""
        match message:
            case PathReady():
                self.heard_at.append(clock.now())
            case HomeRelayChanged(url=str()) if to == PEERS:
                self.homed_at.append(clock.now())
            case OfferReceived() if to == SIGNAL:
                self.offered_at.append(clock.now())
        match message:
            case StartPeer():
                made = make_peer(
                    message,
                    self._key,
                    CONTROLS,
                    rng=random.SystemRandom(),
                    entropy=os.urandom,
                    first_generation=int(clock.unix_now() * 1000),
                    listen_port=self._port,
                    ice=self._plan["ice"],
                )
                addresses: dict[Address[Any], Any] = {Address(actor, CONTROL_0): one for actor, one in made.items()}
                self.machines |= addresses
                for address in addresses:
                    self.begin(address)
            case StopPeer():
                raise AssertionError(message)
            case _:
                super().handle(to, message)

    def settled(self) -> None:
        """Send what the mail has made."""
        self._carrier.settle_soon()
        self._dialer.settle_soon()
        self._ice.settle_soon()


def _timestamps() -> Any:
    last = 0

    def stamp() -> bytes:
        nonlocal last
        last = max(last + 1, int(clock.unix_now() * 1e9))
        seconds, nanoseconds = divmod(last, 10**9)
        return (clock.TAI64_EPOCH + seconds).to_bytes(8, "big") + nanoseconds.to_bytes(4, "big")

    return stamp


class Crowd:
    """The agents of a plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._agents: dict[int, LightAgent] = {}

    async def begin(self) -> None:
        """Start one after the other."""
        for index in range(len(self._plan["private_keys"])):
            self._start(index)
            await asyncio.sleep(self._plan["apart_s"])

    async def answer(self, wish: dict[str, Any]) -> Any:
        """Do what is wished for, and return what came of it."""
        match wish:
            case {"do": "end", "index": index}:
                await self._agents.pop(index).end()
            case {"do": "start", "index": index}:
                self._start(index)
            case {"do": "ping", "on": on}:
                for tun in self._pinging():
                    tun.on = on
            case {"do": "tell", "since": since}:
                return {
                    "heard_at": [[at for at in one.heard_at if at >= since] for one in self._agents.values()],
                    "homed_at": [[at for at in one.homed_at if at >= since] for one in self._agents.values()],
                    "offered_at": [[at for at in one.offered_at if at >= since] for one in self._agents.values()],
                    "answered": [[answer for answer in tun.answered if answer[0] >= since] for tun in self._pinging()],
                }
        return {}

    def _pinging(self) -> list[PingTun]:
        return [one.tun for one in self._agents.values() if isinstance(one.tun, PingTun)]

    def _start(self, index: int) -> None:
        plan = self._plan
        pinging = plan["addresses"][index] if index in plan["pinging"] else ""
        agent = LightAgent(bytes.fromhex(plan["private_keys"][index]), plan["remote_key"], plan, pinging)
        agent.start()
        self._agents[index] = agent


async def run(plan: dict[str, Any]) -> None:
    """Run the agents of a plan until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(*COLLECT)
    crowd = Crowd(plan)
    wishes = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(wishes), sys.stdin)
    beginning = asyncio.create_task(crowd.begin())
    while line := await wishes.readline():
        await beginning
        gc.freeze()  # what a process of its own would never look through
        print(json.dumps(await crowd.answer(json.loads(line))), flush=True)
    beginning.cancel()


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
