"""Measures what a router does, as RFC 5780 does it: with a socket inside, and several on the internet's side."""

import ctypes
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from actors.demo.network import Host
from tests.kit.nats import AD, APD, EI, Dependence
from tests.lab.topology import HUB, HUB6, WIREGUARD_PORT

PATIENCE_S = 5.0  # for what must arrive
GRACE_S = 0.1  # for what must not, after something sent later has arrived
FILTER_PORTS = (3478, 3479)
MAPPING_PORTS = (4001, 4002, 4003)  # three: two drawn ports may be equal by chance, three hardly

Seen = tuple[str, int]  # an endpoint, as a socket saw it

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """Have this thread be at a host: the sockets that it makes meanwhile stay there."""
    with ExitStack() as stack:
        here, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", _path(host)))
        stack.callback(os.close, here)
        stack.callback(os.close, there)
        _enter(there)
        try:
            yield
        finally:
            _enter(here)


def _path(host: Host) -> str:
    return f"/run/netns/{host.namespace}"


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Servers:
    """UDP sockets on the hub's two addresses, and on WireGuard's port of hosts: `with Servers(hub) as servers:`."""

    def __init__(self, hub: Host, *, v6: bool = False) -> None:
        self._stack = ExitStack()
        self._hub, self._v6 = hub, v6
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        self._addresses = HUB6 if v6 else HUB

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def probe(self, host: Host) -> "Probe":
        """Return WireGuard's port of a host."""
        return Probe(self, self._bind(host, "::" if self._v6 else "0.0.0.0", WIREGUARD_PORT))

    def server(self, address: int, port: int) -> socket.socket:
        """Return the hub's socket on its first or second address (0, 1) and this port."""
        if (address, port) not in self._sockets:
            self._sockets[address, port] = self._bind(self._hub, self._addresses[address], port)
        return self._sockets[address, port]

    def endpoint(self, address: int, port: int) -> Seen:
        """Return where such a server is."""
        self.server(address, port)
        return self._addresses[address], port

    def _bind(self, host: Host, ip: str, port: int) -> socket.socket:
        with inside(host):
            family = socket.AF_INET6 if self._v6 else socket.AF_INET
            made = self._stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        if self._v6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((ip, port))
        made.settimeout(PATIENCE_S)
        return made


@dataclass(frozen=True, slots=True)
class Probe:
    """A host's socket, and the servers that it asks."""

    servers: Servers
    socket: socket.socket

    def ask(self, address: int = 0, port: int = FILTER_PORTS[0]) -> Seen:
        """Send to a server and return where that saw it come from.  Raises TimeoutError."""
        self.socket.sendto(b"ask", self.servers.endpoint(address, port))
        server = self.servers.server(address, port)
        while True:
            data, source = server.recvfrom(64)
            if data == b"ask":
                return source[0], source[1]

    def let_in(self, seen: Seen, senders: Sequence[tuple[int, int]], asked: tuple[int, int]) -> set[tuple[int, int]]:
        """Send to our external endpoint from each of these servers, then from the one that was asked.

        Returns those of `senders` whose packet came in; that the last one's does is taken for granted.
        """
        for address, port in senders:
            self.servers.server(address, port).sendto(f"{address} {port}".encode(), seen)
        self.servers.server(*asked).sendto(b"asked", seen)
        came: set[tuple[int, int]] = set()
        for data in received(self.socket, last=b"asked"):
            address_text, port_text = data.split()
            came.add((int(address_text), int(port_text)))
        return came


def received(at: socket.socket, last: bytes | None = None) -> list[bytes]:
    """Return what arrives up to `last`, which must, and for a moment after that."""
    found: list[bytes] = []
    while last is not None:
        data = at.recv(64)
        if data == last:
            break
        found.append(data)
    at.settimeout(GRACE_S)
    with suppress(TimeoutError):
        while True:
            found.append(at.recv(64))
    at.settimeout(PATIENCE_S)
    return found


@dataclass(frozen=True, slots=True)
class Measured:
    """What a host's router turned out to do."""

    mapping: Dependence
    filtering: Dependence
    external_ip: str
    external_ports: tuple[int, ...]  # for each server that was asked


def measure(probe: Probe) -> Measured:
    """Find out mapping and filtering."""
    # The filter first: it must not have been opened for the second address, or another port of the first.
    asked = (0, FILTER_PORTS[0])
    other_port, other_address = (0, FILTER_PORTS[1]), (1, FILTER_PORTS[0])
    came = probe.let_in(probe.ask(*asked), [other_port, other_address], asked)
    filtering = EI if other_address in came else AD if other_port in came else APD
    # Those that were refused are asked too: a refused packet must leave no trace.
    first = [probe.ask(0, port) for port in (*MAPPING_PORTS, FILTER_PORTS[1])]
    second = [probe.ask(1, port) for port in (*MAPPING_PORTS, FILTER_PORTS[0])]
    mapping = APD if len(set(first)) > 1 or len(set(second)) > 1 else EI if first[0] == second[0] else AD
    return Measured(mapping, filtering, first[0][0], tuple(port for _, port in (*first, *second)))
