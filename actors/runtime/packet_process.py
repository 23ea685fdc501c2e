"""The packet process: TUN device, UDP sockets, relay links and ZeroMQ on one asyncio loop, one thread.

Started by the supervisor: `python -m actors.runtime.packet_process`, with a Bootstrap record on standard input.
"""

import asyncio
import gc
import os
import random
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from loguru import logger

from actors.addresses import AGENT, ICE_AGENTS, PACKET, RELAY_LINKS, TUNNELS, control_processes
from actors.effects import Effect, Send
from actors.messages.packet import ConfigurePeer, IceAgentsInbox, RelayLinksInbox, RemovePeer, TunnelsInbox
from actors.messages.process import ProcessReady
from actors.messages.status import PacketStatus, Snapshot
from actors.packet.ice_agents import IceAgents
from actors.packet.relay_links import RelayLinks
from actors.packet.tunnels import Tunnels
from actors.runtime import clock, handover
from actors.runtime.bootstrap import Bootstrap, run_child
from actors.runtime.carrier import Carrier
from actors.runtime.ice_driver import IceDriver
from actors.runtime.post_office import PostOffice
from actors.runtime.process_actor import OfficeHost, add_process_actor
from actors.runtime.relay_dialer import RelayDialer
from actors.runtime.relay_diallers import import_quic, relay_diallers, relay_transports
from actors.runtime.snapshot import encode_snapshot, write_snapshot
from config.keys import PublicKey
from config.values import parse_interface, parse_server
from transport.ice import agents
from transport.ice.candidates import AddressRules
from transport.ice.interfaces import InterfaceRules
from wg.drivers.tun import TunDriver
from wg.drivers.udp import UdpDriver
from wg.packet_path import PacketPath
from wg.reports import PathSilent

SNAPSHOT_S = 1.0
MAX_FAULTS = 20  # exceptions of ours within FAULTS_S; with more of them the process starts anew
FAULTS_S = 60.0
CLOSE_S = 0.05  # for the last messages on the relay links to leave
# Libraries import these at their first use, when we may not be allowed to read them any more.
LATE_IMPORTS = ("concurrent.futures.thread", "cryptography.hazmat.backends.openssl.backend", "encodings.idna")

_STAMP = struct.Struct("!QI")
_NS = 1_000_000_000


class PacketProcess:
    """Everything in the packet process, wired up."""

    def __init__(self, told: Bootstrap) -> None:
        self._told = told
        self._started_at = clock.now()
        self._exit_code = 0
        self._faults: deque[float] = deque(maxlen=MAX_FAULTS + 1)
        self._peers: dict[PublicKey, tuple[str, ...]] = {}  # with their allowed IPs
        self._peers_due = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._on_fault)
        controls = control_processes(told.config.file.runtime.control_processes)
        path = PacketPath(
            told.config.private_key.value,
            mtu=told.config.file.node.mtu,
            timestamp=Timestamps(Path(told.state_dir) / "tai64n").stamp,
            entropy=os.urandom,
            rng=random.SystemRandom(),
        )
        self._tunnels = HookedTunnels(path, controls, self._on_tunnels_mail)
        self._links = HookedRelayLinks(
            told.config.public_key,
            told.config.relay_credentials,
            controls,
            clock.unix_now,
            relay_transports(told.config),
            on_mail=self._on_links_mail,
        )
        self._carrier = Carrier(
            self._loop,
            self._tunnels,
            TunDriver(told.tun_fd),
            [UdpDriver(socket.socket(fileno=fd)) for fd in told.udp_fds],
            deliver=self._deliver,
            gone=self._end,
            clock=clock.now,
        )
        self._handover = socket.socket(fileno=told.handover_fd)
        self._dialer = RelayDialer(
            self._loop,
            self._links,
            diallers=relay_diallers(told.config),
            deliver=self._deliver,
            receive=self._carrier.receive_relayed,
            clock=clock.now,
        )
        self._agents = self._make_agents(controls)
        self._ice = IceDriver(
            self._loop,
            self._agents,
            servers=[parse_server(server) for server in told.config.file.stun.servers],
            send=self._carrier.send_udp,
            deliver=self._deliver,
            clock=clock.now,
        )

    def _make_agents(self, controls: tuple[str, ...]) -> "HookedIceAgents":
        file, rng, rules = self._told.config.file, random.SystemRandom(), AddressRules()
        own = [interface.network for text in file.node.addresses if (interface := parse_interface(text)) is not None]
        return HookedIceAgents(
            agents.IceAgents(port=self._told.listen_port, rules=rules, entropy=os.urandom, rng=rng),
            rules,
            InterfaceRules(file.node.interface, rules, file.ice.interfaces),
            controls,
            own_networks=own,
            enabled=file.ice.enabled,
            on_mail=lambda _message: self._ice.settle_soon(),
        )

    def run(self) -> int:
        """Run until told to end (SIGTERM), and return the exit code."""
        told, loop = self._told, self._loop
        self._office = office = PostOffice(
            PACKET, told.incarnation, Path(told.run_dir), log_mail=told.config.file.log.level == "debug"
        )
        try:
            for process, incarnation in told.others.items():
                office.connect(process, incarnation)
            office.add(TUNNELS.actor, self._tunnels)
            office.add(RELAY_LINKS.actor, self._links)
            office.add(ICE_AGENTS.actor, self._agents)
            add_process_actor(office, OfficeHost(office, on_drain=self._on_drain))
            office.attach(loop, lambda reason: self._end(str(reason)))
            loop.add_signal_handler(signal.SIGTERM, loop.stop)
            self._carrier.open(self._dialer, self._ice)
            self._ice.open()  # also where direct paths are off: changes of the network concern relayed ones too
            loop.add_reader(self._handover.fileno(), self._on_handover)
            self._write_snapshot()
            office.post(AGENT, ProcessReady(process=PACKET, incarnation=told.incarnation))
            gc.freeze()
            loop.run_forever()
            loop.run_until_complete(self._close())
        finally:
            office.close()
        return self._exit_code

    async def _close(self) -> None:
        """Let go of the descriptors, and let the relay servers' last messages leave."""
        self._carrier.close()
        self._ice.close()
        self._dialer.close()
        await asyncio.sleep(CLOSE_S)

    def _on_drain(self, _reason: str) -> None:
        """Control has said its last: relay servers are told that we leave.  Packets go on until the end."""
        self._dialer.close()

    def _end(self, reason: str) -> None:
        """Exit as a failure: the supervisor starts another."""
        logger.critical("the packet process cannot go on: {}", reason)
        self._exit_code = 1
        self._loop.stop()

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception of ours: what caused it is lost, the rest goes on, unless there is no end of them."""
        error = context.get("exception")
        logger.opt(exception=error).error("{}", context.get("message"))
        now = clock.now()
        self._faults.append(now)
        if len(self._faults) > MAX_FAULTS and now - self._faults[0] < FAULTS_S:
            self._end(f"{len(self._faults)} exceptions within {FAULTS_S:g} s, the last: {error!r}")

    def _on_handover(self) -> None:
        """Go on with other UDP sockets (recovery R11)."""
        found = handover.receive(self._handover)
        if found is None:
            self._loop.remove_reader(self._handover.fileno())
            return
        port, sockets = found
        self._carrier.rebind([UdpDriver(each) for each in sockets])
        self._ice.rebound(port)

    # --- mail ---

    def _deliver(self, effects: list[Effect]) -> None:
        """Put on its way what a machine said outside of its mailbox."""
        for effect in effects:
            assert isinstance(effect, Send), effect
            self._office.post(effect.to, effect.message)
            if isinstance(effect.message, PathSilent):
                self._ice.doubted()

    def _on_tunnels_mail(self, message: TunnelsInbox) -> None:
        match message:
            case ConfigurePeer(peer=peer, allowed_ips=allowed_ips) if self._peers.get(peer) != allowed_ips:
                self._peers[peer] = allowed_ips
                self._tell_peers_soon()
            case RemovePeer(peer=peer) if peer in self._peers:
                del self._peers[peer]
                self._agents.forget(peer)
                self._tell_peers_soon()
            case _:
                pass
        self._carrier.settle_soon()

    def _tell_peers_soon(self) -> None:
        """Tell relay links and ICE agents what peers there are, once for all that come together."""
        if not self._peers_due:
            self._peers_due = True
            self._loop.call_soon(self._tell_peers)

    def _tell_peers(self) -> None:
        self._peers_due = False
        self._links.known_peers(self._peers)
        self._agents.tunnel_leads_to(prefix for allowed_ips in self._peers.values() for prefix in allowed_ips)
        self._ice.settle_soon()

    def _on_links_mail(self, _message: RelayLinksInbox) -> None:
        self._dialer.settle_soon()

    # --- status ---

    def _write_snapshot(self) -> None:
        now = clock.now()
        self._loop.call_later(SNAPSHOT_S, self._write_snapshot)
        of_tunnels = self._tunnels.status(self._links.urls())
        of_links = {f"relay_{reason}": count for reason, count in self._links.status().drops.items()}
        ice = self._agents.status(now)
        of_ice = {f"ice_{reason}": count for reason, count in ice.drops.items()}
        snapshot = Snapshot(
            process=PACKET,
            incarnation=self._told.incarnation,
            pid=os.getpid(),
            written_at=now,
            started_at=self._started_at,
            runtime=self._office.status(),
            packet=PacketStatus(
                tunnels=of_tunnels.tunnels,
                drops={**of_tunnels.drops, **self._carrier.dropped(), **of_links, **of_ice},
                ice=ice.agents,
                stun=(*ice.servers, *self._ice.problems()),
                addresses=ice.addresses,
            ),
        )
        try:
            write_snapshot(Path(self._told.run_dir), PACKET, encode_snapshot(snapshot))
        except OSError as error:
            logger.warning("the status file cannot be written: {}", error)


class Timestamps:
    """TAI64N stamps that are given out also while the disk is full: only a restart could then make them go back."""

    def __init__(self, mark_file: Path) -> None:
        self._kept = clock.Tai64n(mark_file)
        self._last = _STAMP.pack(0, 0)

    def stamp(self) -> bytes:
        """Return a timestamp (12 bytes) later than every one before it."""
        try:
            self._last = self._kept.stamp()
        except OSError as error:
            logger.error("the time of a handshake cannot be written down: {}", error)
            seconds, nanoseconds = _STAMP.unpack(self._last)
            now_ns = clock.TAI64_EPOCH * _NS + int(clock.unix_now() * _NS)
            self._last = _STAMP.pack(*divmod(max(now_ns, seconds * _NS + nanoseconds + 1), _NS))
        return self._last


class HookedTunnels(Tunnels):
    """Tunnels that say when mail has changed something, so that its output is sent."""

    def __init__(
        self, packet_path: PacketPath, controls: tuple[str, ...], on_mail: Callable[[TunnelsInbox], None]
    ) -> None:
        super().__init__(packet_path, controls)
        self._on_mail = on_mail

    def handle(self, message: TunnelsInbox, now: float) -> list[Effect]:
        """Do what the control side asks."""
        effects = super().handle(message, now)
        self._on_mail(message)
        return effects


class HookedRelayLinks(RelayLinks):
    """RelayLinks that say when mail has changed something, so that its requests are done."""

    def __init__(self, *what: Any, on_mail: Callable[[RelayLinksInbox], None]) -> None:
        super().__init__(*what)
        self._on_mail = on_mail

    def handle(self, message: RelayLinksInbox, now: float) -> list[Effect]:
        """Do what the control side asks."""
        effects = super().handle(message, now)
        self._on_mail(message)
        return effects


class HookedIceAgents(IceAgents):
    """IceAgents that say when mail has changed something, so that their datagrams are sent."""

    def __init__(self, *what: Any, on_mail: Callable[[IceAgentsInbox], None], **more: Any) -> None:
        super().__init__(*what, **more)
        self._on_mail = on_mail

    def handle(self, message: IceAgentsInbox, now: float) -> list[Effect]:
        """Do what the control side asks."""
        effects = super().handle(message, now)
        self._on_mail(message)
        return effects


def main() -> int:
    """Run the process and return its exit code."""
    for module in LATE_IMPORTS:
        import_module(module)
    return run_child(lambda told: PacketProcess(told).run(), prepare=import_quic)


if __name__ == "__main__":
    sys.exit(main())
