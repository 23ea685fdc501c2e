"""Nodes, each a PacketPath, on a network of UDP and relay links; one virtual clock, nothing lost unless asked."""

import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from config.keys import PublicKey, encode_key
from wg.allowed_ips import parse_prefix
from wg.constants import NO_PRESHARED_KEY
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import NOT_ECT
from wg.noise import LocalStatic
from wg.packet_path import PacketPath, PeerConfig
from wg.paths import DirectPath, RelayedPath
from wg.reports import Report

PORT = 51820
MTU = 1420
LINK, GENERATION = 1, 7  # of every relayed connection, unless a test says otherwise
LATENCY_S = 0.01

R = TypeVar("R", bound=Report)


class Node:
    """One host."""

    def __init__(self, network: "Network", number: int) -> None:
        self._rng = random.Random(number)
        self._private = self._rng.randbytes(32)
        self._timestamp = timestamps()
        self.raw_key = LocalStatic(self._private).public
        self.key = PublicKey(encode_key(self.raw_key))
        self.number = number
        self.endpoint = Endpoint(f"192.0.2.{number}", PORT)
        self.inner, self.inner6 = f"10.77.0.{number}", f"fd77::{number}"
        self.packets: list[bytes] = []  # what the host got
        self.reports: list[Report] = []
        self._network = network
        self.restart()

    def restart(self) -> None:
        """Begin anew, knowing nobody; timestamps go on."""
        rng = self._rng
        self.path = PacketPath(self._private, mtu=MTU, timestamp=self._timestamp, entropy=rng.randbytes, rng=rng)

    @property
    def direct(self) -> DirectPath:
        """How others reach it by UDP."""
        return DirectPath(ip=self.endpoint.ip, port=self.endpoint.port)

    def knows(self, peer: "Node", *, preshared_key: bytes = NO_PRESHARED_KEY, keepalive_s: int = 0) -> None:
        """Configure a peer with its inner addresses."""
        prefixes = (parse_prefix(peer.inner), parse_prefix(peer.inner6))
        config = PeerConfig(prefixes, persistent_keepalive_s=keepalive_s, preshared_key=preshared_key)
        self.path.configure_peer(peer.key, config, self._network.now)

    def uses(
        self,
        peer: "Node",
        path: DirectPath | RelayedPath | None,
        *,
        standby: DirectPath | RelayedPath | None = None,
        handshake_after_s: float | None = None,
    ) -> None:
        """Set the path to a peer, and let what follows happen."""
        now = self._network.now
        self.path.set_path(peer.key, path, now, standby=standby, handshake_after_s=handshake_after_s)
        self._network.run()

    def send(self, *packets: bytes) -> None:
        """Have the host send these, and let what follows happen."""
        self.path.handle_tun(packets, self._network.now)
        self._network.run()

    def told(self, kind: type[R]) -> list[R]:
        """Return its reports of this type, oldest first, and forget all reports."""
        reports, self.reports = self.reports, []
        return [report for report in reports if isinstance(report, kind)]

    def drops(self, peer: "Node | None" = None) -> dict[str, int]:
        """Return what it dropped: of this peer, or of nobody."""
        if peer is None:
            return self.path.drops
        return next(each.drops for each in self.path.snapshot() if each.peer == peer.key)


class Network:
    """What carries batches; `sees` may drop or change one by returning another list of datagrams."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nodes: list[Node] = []
        self.udp: list[tuple[Node, UdpBatch]] = []  # all that was sent: by whom, with its endpoint the receiver's
        self.relayed: list[tuple[Node, PublicKey, int, list[bytes]]] = []
        self.sees: Callable[[Node, list[bytes]], list[bytes]] = lambda sender, datagrams: datagrams
        self.loses_udp = False

    def node(self) -> Node:
        """Return a new host."""
        node = Node(self, len(self.nodes) + 1)
        self.nodes.append(node)
        return node

    def pair(self) -> tuple[Node, Node]:
        """Return two hosts that know each other, without paths."""
        a, b = self.node(), self.node()
        a.knows(b)
        b.knows(a)
        return a, b

    def connected(self) -> tuple[Node, Node]:
        """Return two hosts with a session over UDP that the first initiated, long enough ago to be quiet."""
        a, b = self.pair()
        a.uses(b, b.direct, handshake_after_s=0.0)
        b.uses(a, a.direct)
        self.advance(2.0)
        for node in (a, b):
            node.reports.clear()
        self.udp.clear()
        return a, b

    def run(self) -> None:
        """Carry what was sent until nothing moves; each hop takes LATENCY_S."""
        while deliveries := [delivery for node in self.nodes for delivery in self._collect(node)]:
            self.now += LATENCY_S
            for deliver in deliveries:
                deliver(self.now)

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer in its place."""
        end = self.now + seconds
        self.run()
        while (due := [at for node in self.nodes if (at := node.path.next_timeout()) is not None and at <= end]) != []:
            self.now = max(self.now, min(due))
            for node in self.nodes:
                node.path.handle_timeout(self.now)
            self.run()
        self.now = max(self.now, end)

    def _collect(self, node: Node) -> list[Callable[[float], None]]:
        """Take what a node has to say; return how it arrives."""
        output = node.path.output()
        node.packets += output.packets
        node.reports += node.path.reports()
        deliveries: list[Callable[[float], None]] = []
        for batch in output.udp:
            self.udp.append((node, batch))
            datagrams = [] if self.loses_udp else self.sees(node, batch.datagrams)
            local = ip_address(batch.endpoint.ip).packed
            received = UdpBatch(node.endpoint, local, batch.ecn, datagrams)
            deliveries += [
                partial(receiver.path.handle_udp, [received])
                for receiver in self.nodes
                if receiver.endpoint == batch.endpoint and datagrams
            ]
        for peer, link, payloads in output.relayed:
            self.relayed.append((node, peer, link, payloads))
            seen = self.sees(node, payloads)
            deliveries += [
                partial(receiver.path.handle_relayed, node.key, link, GENERATION, seen)
                for receiver in self.nodes
                if receiver.key == peer and seen
            ]
        return deliveries


def relayed(generation: int = GENERATION) -> RelayedPath:
    """Return the path through the relay."""
    return RelayedPath(link=LINK, generation=generation)


def ipv4(source: str, destination: str, payload: bytes = b"ping", *, tos: int = NOT_ECT) -> bytes:
    """Return a packet; its header checksum is zero, nobody here looks."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    return struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(payload), 0, 0, 64, 17, 0) + addresses + payload


def ipv6(source: str, destination: str, payload: bytes = b"ping") -> bytes:
    """Return a packet."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), 59, 64) + addresses + payload


def between(sender: Node, receiver: Node, payload: bytes = b"ping") -> bytes:
    """Return a packet of one host for the other."""
    return ipv4(sender.inner, receiver.inner, payload)


def timestamps() -> Callable[[], bytes]:
    """Return a source of ever greater TAI64N timestamps."""

    def values() -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            yield number.to_bytes(12, "big")

    return values().__next__
