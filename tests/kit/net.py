"""A virtual network on a virtual clock: hosts, and the NATs before them (nats.py).

    net = Network(seed=7)
    alice = net.add("alice", Site((Router("home", FULL_CONE),)))
    alice.node = IceAgents(...)          # whatever takes datagrams and timeouts
    net.run_for(3.0)

Every private network is numbered from its own prefix; the public one is 198.51.100.0/24.  IPv6 is not translated: its
routers filter only.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

from tests.kit.agenda import Agenda
from tests.kit.nats import Box, Nat, Router, Site, expected_path, shared_routers
from wg.datagrams import Endpoint

__all__ = ["Conditions", "Host", "Nat", "Network", "Node", "Router", "Site", "expected_path"]

HOST_PORT = 51820  # that every host's socket is bound to


class Node(Protocol):
    """A host's program: sans-IO, on the host's one UDP port."""

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None: ...

    def handle_timeout(self, now: float) -> None: ...

    def next_timeout(self) -> float | None: ...

    def datagrams_to_send(self) -> Iterable[tuple[bytes | None, Endpoint, bytes]]: ...


@dataclass(slots=True, eq=False)
class Host:
    """A machine: its addresses, and the program on it."""

    name: str
    site: Site
    v4: str | None
    v6: str | None
    node: Node | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of its interfaces."""
        return tuple(address for address in (self.v4, self.v6) if address is not None)


@lru_cache(maxsize=4096)
def packed(address: str) -> bytes:
    """Return the bytes of an address."""
    return ip_address(address).packed


@dataclass(slots=True)
class Conditions:
    """How the wires are, each way."""

    latency_s: float = 0.02
    jitter_s: float = 0.0  # up to so much later: datagrams overtake each other
    loss: float = 0.0  # 0 to 1
    duplication: float = 0.0  # 0 to 1


class Network:
    """Carries datagrams between hosts, in virtual time."""

    def __init__(
        self,
        seed: int = 0,
        now: float = 1000.0,
        conditions: Conditions | None = None,
        *,
        agenda: Agenda | None = None,
    ) -> None:
        """`agenda` if others live by the same clock; it is then theirs to run."""
        self.agenda, self.rng = agenda or Agenda(now), random.Random(seed)
        self.conditions = conditions or Conditions()
        self.hosts: dict[str, Host] = {}
        self.carried: Counter[str] = Counter()  # by fate
        self.blocked: Callable[[Host, Host, Endpoint], bool] = lambda _sender, _receiver, _source: False  # a fault
        self.eaten: Callable[[Host, Host, bytes], bool] = lambda _sender, _receiver, _datagram: False  # another
        self._there: dict[tuple[str, str], Host | Box] = {}  # network and address -> who has it
        self._boxes: dict[str, Box] = {}
        self._networks: dict[str, int] = {"": 0}  # name of the router before it -> number
        self._names: dict[str, str] = {}  # prefix -> name of the router before it
        self._sizes: Counter[str] = Counter()

    @property
    def now(self) -> float:
        """The time."""
        return self.agenda.now

    @now.setter
    def now(self, now: float) -> None:
        self.agenda.now = now

    # --- who is there ---

    def add(self, name: str, site: Site, node: Node | None = None) -> Host:
        """Put a host into the network."""
        for place, router in enumerate(site.routers):
            if router.name not in self._boxes:
                box = Box(router, self._address(self._outer(site, place)), self.rng)
                self._boxes[router.name] = self._there[self._outer(site, place), box.outside] = box
        inner = site.routers[0].name if site.routers else ""
        v6 = f"2001:db8::{len(self.hosts) + 1:x}" if site.v6 else None
        host = self.hosts[name] = Host(name, site, self._address(inner) if site.v4 else None, v6, node)
        if host.v4 is not None:
            self._there[inner, host.v4] = host
        return host

    def flush(self, router: str) -> None:
        """Have a router forget its mappings."""
        self._boxes[router].flush()

    def readdress(self, router: str) -> None:
        """Give a router another address outside, as a redial does: its mappings are gone."""
        box = self._boxes[router]
        outer = self._network_of(box.outside) or ""
        del self._there[outer, box.outside]
        box.outside = self._address(outer)
        self._there[outer, box.outside] = box
        box.flush()

    def renumber(self, name: str) -> str:
        """Give a host another IPv4 address in its network, and return it."""
        host = self.hosts[name]
        inner = host.site.routers[0].name if host.site.routers else ""
        assert host.v4 is not None, f"{name} has no IPv4"
        del self._there[inner, host.v4]
        host.v4 = self._address(inner)
        self._there[inner, host.v4] = host
        return host.v4

    def outside_of(self, router: str) -> str:
        """Return a router's address on its outer side."""
        return self._boxes[router].outside

    # --- time ---

    def at(self, at: float, event: Callable[[], None]) -> None:
        """Have something happen at this time."""
        self.agenda.at(at, event)

    def run_for(self, seconds: float) -> None:
        """Run until this much time has passed."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Run until `done()`, for `limit_s` at the most; tell whether it was done."""
        end = self.now + limit_s
        self._drain()
        while not done():
            at = min(self._due_times(), default=None)
            if at is None or at > end:
                self.now = end
                return False
            self.now = max(self.now, at)
            self._happen()
        return True

    def _due_times(self) -> Iterator[float]:
        if (at := self.agenda.next_at()) is not None:
            yield at
        for host in self.hosts.values():
            at = host.node.next_timeout() if host.node is not None else None
            if at is not None:
                yield at

    def _happen(self) -> None:
        self.agenda.step()
        self._drain()
        for host in self.hosts.values():
            at = host.node.next_timeout() if host.node is not None else None
            if host.node is not None and at is not None and at <= self.now:
                host.node.handle_timeout(self.now)
        self._drain()

    def _drain(self) -> None:
        for host in self.hosts.values():
            if host.node is not None:
                for local, destination, datagram in host.node.datagrams_to_send():
                    self.send(host, local, destination, datagram)

    # --- datagrams ---

    def send(self, host: Host, local: bytes | None, destination: Endpoint, datagram: bytes) -> None:
        """Send a datagram from a host's port."""
        own = host.v6 if ":" in destination.ip else host.v4
        if own is None or (local is not None and local != packed(own)):
            self.carried["no such source address"] += 1
            return
        duplication = self.conditions.duplication
        for _ in range(2 if duplication and self.rng.random() < duplication else 1):
            self._send_once(host, Endpoint(own, HOST_PORT), destination, datagram)

    def _send_once(self, host: Host, source: Endpoint, destination: Endpoint, datagram: bytes) -> None:
        found = (self._route6 if ":" in source.ip else self._route4)(host, source, destination)
        if found is None:
            self.carried["unreachable"] += 1
        elif self.blocked(host, *found) or self.eaten(host, found[0], datagram):
            self.carried["blocked"] += 1
        elif self.conditions.loss and self.rng.random() < self.conditions.loss:
            self.carried["lost"] += 1
        else:
            receiver, seen = found
            late = self.conditions.latency_s + self.rng.random() * self.conditions.jitter_s
            self.agenda.at(self.agenda.now + late, lambda: self._deliver(receiver, seen, datagram))

    def _deliver(self, receiver: Host, source: Endpoint, datagram: bytes) -> None:
        own = receiver.v6 if ":" in source.ip else receiver.v4
        if receiver.node is not None and own is not None:
            self.carried["delivered"] += 1
            receiver.node.receive(datagram, source, packed(own), self.agenda.now)

    # --- ways ---

    def _route4(self, host: Host, source: Endpoint, destination: Endpoint) -> tuple[Host, Endpoint] | None:
        """Return who gets the packet and from where it seems to come; None: nobody.  NATs take note on the way."""
        for place, router in enumerate(host.site.routers):
            if self._network_of(destination.ip) == router.name:
                return self._arrive4(router.name, source, destination)
            box = self._boxes[router.name]
            outside = box.outbound(source, destination, self.now)
            if outside is None:
                return None
            if destination.ip == box.outside:
                return self._arrive4(self._outer(host.site, place), outside, destination) if box.nat.hairpin else None
            source = outside
        return self._arrive4("", source, destination)

    def _arrive4(self, network: str, source: Endpoint, destination: Endpoint) -> tuple[Host, Endpoint] | None:
        """Deliver within a network: to a host there, or inwards through a router that has this address."""
        match self._there.get((network, destination.ip)):
            case Host() as host:
                return (host, source) if destination.port == HOST_PORT else None
            case Box() as box:
                inside = box.inbound(destination.port, source, self.now)
                return None if inside is None else self._arrive4(box.name, source, inside)
        return None

    def _route6(self, host: Host, source: Endpoint, destination: Endpoint) -> tuple[Host, Endpoint] | None:
        receiver = next((each for each in self.hosts.values() if each.v6 == destination.ip), None)
        if receiver is None or destination.port != HOST_PORT:
            return None
        shared = shared_routers(host.site, receiver.site)
        for router in host.site.routers[: len(host.site.routers) - shared]:
            if not router.nat.udp:
                return None
            self._boxes[router.name].flows[source, destination] = self.now
        for router in receiver.site.routers[: len(receiver.site.routers) - shared]:
            if not (router.nat.udp and self._boxes[router.name].admits6(destination, source, self.now)):
                return None
        return receiver, source

    def _address(self, network: str) -> str:
        """Draw the next address of the network behind this router."""
        number = self._networks.setdefault(network, len(self._networks))
        self._sizes[network] += 1
        if not network:
            return f"198.51.100.{self._sizes[network]}"
        prefix = f"10.{number >> 8}.{number & 0xFF}"
        self._names[prefix] = network
        return f"{prefix}.{self._sizes[network]}"

    def _network_of(self, address: str) -> str | None:
        """Return the router of the network that this address is of; None: of no private one."""
        if address.startswith("198.51.100."):
            return ""
        return self._names.get(address[: address.rindex(".")]) if address.startswith("10.") else None

    def _outer(self, site: Site, place: int) -> str:
        return site.routers[place + 1].name if place + 1 < len(site.routers) else ""
