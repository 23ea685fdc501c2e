"""A node of ours for tests and benchmarks: a PacketPath on the plain drivers, in one epoll loop.

Started inside a network namespace; the first line of standard input is a `Setup`, each further one a `Command`, both
JSON.  Every report of the packet path goes to standard output as a line, and so does the answer to a command.
"""

import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from config.keys import PublicKey, decode_key
from wg.allowed_ips import parse_prefix
from wg.constants import NO_PRESHARED_KEY
from wg.datagrams import UdpBatch
from wg.drivers.tun import TunDriver, open_tun
from wg.drivers.udp import UdpDriver, open_udp
from wg.packet_path import PacketPath, PeerConfig
from wg.paths import DirectPath

STDIN = 0
TAI64_UNIX = 2**62 + 10  # TAI64 label of the Unix epoch


class PeerSetup(msgspec.Struct, frozen=True, kw_only=True):
    """One peer of the node."""

    peer: PublicKey
    allowed_ips: tuple[str, ...]
    endpoint: DirectPath | None = None  # None: it comes to us
    persistent_keepalive_s: int = 0
    preshared_key: str | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    private_key: str
    interface: str
    addresses: tuple[str, ...]
    listen_port: int
    mtu: int
    peers: tuple[PeerSetup, ...]


class Handshake(msgspec.Struct, frozen=True, kw_only=True, tag="handshake"):
    """Initiate one with this peer."""

    peer: PublicKey


class Probe(msgspec.Struct, frozen=True, kw_only=True, tag="probe"):
    """Send an echo on the direct path."""

    peer: PublicKey
    token: int


class MoveTo(msgspec.Struct, frozen=True, kw_only=True, tag="move_to"):
    """Go on with a fresh socket on this port: what a NAT does to us."""

    port: int


class WantStatus(msgspec.Struct, frozen=True, kw_only=True, tag="want_status"):
    """Answer with a `Status` line."""


Command = Handshake | Probe | MoveTo | WantStatus


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One peer, as its snapshot says."""

    peer: PublicKey
    path: DirectPath
    handshake_at: float | None
    rx_bytes: int
    tx_bytes: int
    drops: dict[str, int]


class Status(msgspec.Struct, frozen=True, kw_only=True, tag="status"):
    """Answer to WantStatus."""

    peers: tuple[PeerStatus, ...]
    drops: dict[str, int]


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The interface is up."""


class Node:
    """The loop."""

    def __init__(self, setup: Setup) -> None:
        self.path = PacketPath(
            decode_key(setup.private_key), mtu=setup.mtu, timestamp=timestamp, entropy=os.urandom, rng=random.Random()
        )
        self.tun = TunDriver(open_tun(setup.interface))
        self.udp = {sock.family: UdpDriver(sock) for sock in open_udp(setup.listen_port)}
        self.poll = select.epoll()
        set_up_link(setup)
        for peer in setup.peers:
            self.add_peer(peer)

    def add_peer(self, peer: PeerSetup) -> None:
        config = PeerConfig(
            allowed_ips=tuple(map(parse_prefix, peer.allowed_ips)),
            persistent_keepalive_s=peer.persistent_keepalive_s,
            preshared_key=NO_PRESHARED_KEY if peer.preshared_key is None else decode_key(peer.preshared_key),
        )
        now = clock()
        self.path.configure_peer(peer.peer, config, now)
        # A peer that comes to us gets a path to nowhere: roaming corrects it.
        self.path.set_path(peer.peer, peer.endpoint or DirectPath(ip="192.0.2.254", port=9), now)

    def run(self, setup_rest: bytes) -> None:
        """Carry packets until standard input ends."""
        self.commands = setup_rest
        self.handlers: dict[int, Callable[[float], None]] = {}
        self.watch(self.tun.fd, lambda now: self.path.handle_tun(self.tun.read(), now))
        self.watch(STDIN, self.read_commands)
        self.watch_sockets()
        say(Ready())
        while STDIN in self.handlers:
            due_at = self.path.next_timeout()
            for fd, _ in self.poll.poll(-1 if due_at is None else max(0.0, due_at - clock())):
                handler = self.handlers.get(fd)
                if handler is not None:
                    handler(clock())
                    self.flush()
            self.path.handle_timeout(clock())
            self.flush()

    def watch(self, fd: int, handler: Callable[[float], None]) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, select.EPOLLIN)

    def watch_sockets(self) -> None:
        for udp in self.udp.values():
            self.watch(udp.fd, partial(self.receive, udp))

    def receive(self, udp: UdpDriver, now: float) -> None:
        self.path.handle_udp(udp.receive(), now)

    def read_commands(self, now: float) -> None:
        received = os.read(STDIN, 65536)
        if not received:
            del self.handlers[STDIN]
        *lines, self.commands = (self.commands + received).split(b"\n")
        for line in lines:
            self.obey(msgspec.json.decode(line, type=Command), now)

    def flush(self) -> None:
        output = self.path.output()
        if output.packets:
            self.tun.write(output.packets)
        for batch in output.udp:
            udp = self.udp.get(family_of(batch))
            if udp is not None:
                udp.send(batch)
        for udp in self.udp.values():
            while udp.blocked:
                select.select([], [udp.fd], [])
                udp.flush()
        for report in self.path.reports():
            say(report)

    def obey(self, command: Command, now: float) -> None:
        match command:
            case Handshake():
                self.path.initiate_handshake(command.peer, now)
            case Probe():
                self.path.probe(command.peer, "direct", command.token, now)
            case MoveTo():
                for udp in self.udp.values():
                    del self.handlers[udp.fd]
                    udp.close()
                self.udp = {sock.family: UdpDriver(sock) for sock in open_udp(command.port)}
                self.watch_sockets()
            case WantStatus():
                say(self.status())

    def status(self) -> Status:
        peers = []
        for snapshot in self.path.snapshot():
            assert isinstance(snapshot.path, DirectPath)
            peers.append(
                PeerStatus(
                    peer=snapshot.peer,
                    path=snapshot.path,
                    handshake_at=snapshot.handshake_at,
                    rx_bytes=snapshot.rx_bytes,
                    tx_bytes=snapshot.tx_bytes,
                    drops=snapshot.drops,
                )
            )
        return Status(peers=tuple(peers), drops=self.path.drops)


def family_of(batch: UdpBatch) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in batch.endpoint.ip else socket.AF_INET


def clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def timestamp() -> bytes:
    ns = time.time_ns()
    return (TAI64_UNIX + ns // 10**9).to_bytes(8, "big") + (ns % 10**9).to_bytes(4, "big")


def set_up_link(setup: Setup) -> None:
    for address in setup.addresses:
        family = "-6" if ":" in address else "-4"
        subprocess.run(["ip", family, "address", "add", address, "dev", setup.interface, *nodad(address)], check=True)
    subprocess.run(["ip", "link", "set", setup.interface, "mtu", str(setup.mtu), "up"], check=True)


def nodad(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []


def say(message: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    received = b""
    while b"\n" not in received:
        received += os.read(STDIN, 65536)
    first, _, rest = received.partition(b"\n")
    Node(msgspec.json.decode(first, type=Setup)).run(rest)


if __name__ == "__main__":
    main()
