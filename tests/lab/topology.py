"""Two hosts, the routers before them, and a hub that is the internet between; described as data, built in namespaces.

                        hub: 203.0.113.1 and .2, 2001:db8::1 and ::2
      198.51.100.1 /                                     \\ 198.51.100.2     2001:db8:N::2; 2001:db8:N:1::/64 behind it
            router (outermost)                             router
      100.64.1.2 |                                           |
            router                                           |
     192.168.1.2 |                                           | 192.168.1.2
            host alice                                     host bob

What both sites share stands between them and the hub.  A host without routers has the public address itself.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from actors.demo.network import Host, Network
from tests.kit.nats import Nat, Router, Site, shared_routers
from tests.lab.nats import Held, Wiring, assign_ports, has_fixed_ports, rules, settings, translates

HUB = ("203.0.113.1", "203.0.113.2")
HUB6 = ("2001:db8::1", "2001:db8::2")
WIREGUARD_PORT = 51820
UPLINK = "up"  # the interface to what is before a host or router
LAN = "lan"  # a router's inside interface: a bridge, since several may be behind it


@dataclass(frozen=True, slots=True)
class Setting:
    """Two sites; routers of the same name are the same box, and stand before both."""

    name: str
    left: Site
    right: Site

    def __post_init__(self) -> None:
        for site in (self.left, self.right):
            if not (site.v4 or site.v6):
                raise ValueError(f"{self.name}: a host needs an address family")
            if site.v6 and (len(site.routers) > 1 or self.shared):
                raise ValueError(f"{self.name}: IPv6 is laid out behind one router of the host's own at the most")

    @property
    def shared(self) -> int:
        """Return how many of the outermost routers both stand behind."""
        return shared_routers(self.left, self.right)


@dataclass(slots=True)
class Uplink:
    """The cable of a host or router to the router or hub before it."""

    host: Host
    before: "Gate | None"  # None: the hub
    far_host: Host
    far_port: str  # the interface at that end
    number: int  # of this cable at that end
    address: str | None = None  # IPv4
    address6: str | None = None
    behind: str | None = None  # an IPv4 network that is routed to this one
    behind6: str | None = None

    def set_up_far_end(self) -> None:
        """Give the far end its addresses and routes, which it loses with the carrier."""
        device = LAN
        if self.before is None:
            device = self.far_port
            if self.address is not None:
                self.far_host.ip("route", "replace", f"{self.address}/32", "dev", device)
            if self.address6 is not None:
                self.far_host.ip("address", "replace", f"{self.address6[:-1]}1/64", "dev", device, "nodad")
        if self.behind is not None and self.address is not None:
            self.far_host.ip("route", "replace", self.behind, "via", self.address, "dev", device, "onlink")
        if self.behind6 is not None and self.address6 is not None:
            self.far_host.ip("route", "replace", self.behind6, "via", self.address6)


@dataclass(slots=True)
class Gate:
    """A router that stands."""

    nat: Nat
    uplink: Uplink
    network: str  # first three bytes of its inside addresses
    clients: Iterator[int]
    held: tuple[Held, ...] = ()
    inside6: tuple[tuple[str, int], ...] = ()

    @property
    def host(self) -> Host:
        """Return its namespace."""
        return self.uplink.host

    def apply(self) -> None:
        """Load its rules for the address and the endpoints that it has now; what they remembered is gone."""
        wiring = Wiring(UPLINK, LAN, self.uplink.address, self.held, self.inside6)
        self.host.exec("nft", "-f", "-", stdin=rules(self.nat, wiring))


@dataclass(frozen=True, slots=True)
class Place:
    """A host that stands, with the routers of its own from the host outwards."""

    site: Site
    uplink: Uplink
    gates: tuple[Gate, ...]

    @property
    def host(self) -> Host:
        """Return its namespace."""
        return self.uplink.host


class Ground:
    """A setting, built: `hub`, `places` (left, right, what was added), the `shared` routers from the sites outwards."""

    def __init__(
        self, network: Network, setting: Setting, names: tuple[str, str] = ("alice", "bob"), seed: int = 0
    ) -> None:
        self.setting = setting
        self._network, self._rng = network, random.Random(seed)
        self._cables, self._networks = count(1), count(1)
        self.hub = self._host("hub")
        for ip in (*HUB, *HUB6):
            self.hub.ip("address", "add", ip, "dev", "lo")
        # What goes to an address that nobody has vanishes in a bridge without ports; no error tells the sender.
        self.hub.ip("link", "add", "void", "type", "bridge")
        self.hub.ip("link", "set", "void", "arp", "off", "up")
        for prefix in ("198.51.100.0/24", "198.18.0.0/15", "2001:db8::/32"):
            self.hub.ip("route", "add", prefix, "dev", "void")
        self.hub.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        own = [len(site.routers) - setting.shared for site in (setting.left, setting.right)]
        self.shared = self._chain(setting.left.routers[own[0] :], None, serves_hosts=0 in own)
        self.places: tuple[Place, ...] = (
            self._place(names[0], setting.left, setting.left.routers[: own[0]]),
            self._place(names[1], setting.right, setting.right.routers[: own[1]]),
        )
        self.apply()

    def add(self, name: str, site: Site) -> Place:
        """Build one more site, behind routers of its own alone and those that both others stand behind."""
        place = self._place(name, site, site.routers)
        self.places = (*self.places, place)
        self.apply()
        return place

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every router, each after those that are nearer to its hosts."""
        return *(gate for place in self.places for gate in place.gates), *self.shared

    def apply(self) -> None:
        """Load every router's rules, with external ports drawn anew."""
        rng = self._rng
        known = []
        for place in self.places:
            inside = [(place.uplink.address, WIREGUARD_PORT)] if place.uplink.address is not None else []
            known += _through(place.gates, inside, rng)
            for gate in place.gates:
                gate.inside6 = ((place.uplink.address6, WIREGUARD_PORT),) if place.uplink.address6 is not None else ()
        _through(self.shared, known, rng)
        for gate in self.gates:
            gate.apply()

    def renumber(self, uplink: Uplink) -> str:
        """Give a host or router another IPv4 address on its uplink and return it; nobody forgets a connection yet."""
        old = uplink.address
        assert old is not None
        if uplink.before is None:
            uplink.address, length = f"198.51.100.{next(self._cables)}", 32
            uplink.far_host.ip("route", "delete", f"{old}/32", "dev", uplink.far_port)
        else:
            uplink.address, length = f"{uplink.before.network}.{next(uplink.before.clients)}", 24
        uplink.host.ip("address", "delete", f"{old}/{length}", "dev", UPLINK)
        uplink.host.ip("address", "add", f"{uplink.address}/{length}", "dev", UPLINK)
        self._default_route(uplink)
        uplink.set_up_far_end()
        self.apply()
        return uplink.address

    # --- building ---

    def _place(self, name: str, site: Site, routers: tuple[Router, ...]) -> Place:
        before = self.shared[0] if self.shared else None
        gates = self._chain(routers, before, serves_hosts=True, v4=site.v4, v6=site.v6, prefix=f"{name}-")
        uplink = self._attach(self._host(name), gates[0] if gates else before, site.v4, site.v6)
        return Place(site, uplink, gates)

    def _chain(
        self,
        routers: tuple[Router, ...],
        before: Gate | None,
        *,
        serves_hosts: bool,
        v4: bool = True,
        v6: bool = False,
        prefix: str = "",
    ) -> tuple[Gate, ...]:
        """Build routers from the outermost to the innermost, and return them the other way round."""
        gates: list[Gate] = []
        for depth in reversed(range(len(routers))):
            router = routers[depth]
            network = self._inside_network(router.nat, serves_hosts=serves_hosts and depth == 0)
            uplink = self._attach(self._router(f"{prefix}{router.name}", router.nat), before, v4, v6)
            before = Gate(router.nat, uplink, network, count(2))
            self._open_inside(before, v4, v6)
            gates.insert(0, before)
        return tuple(gates)

    def _inside_network(self, nat: Nat, *, serves_hosts: bool) -> str:
        if not translates(nat):
            return f"198.18.{next(self._networks)}"  # its hosts have public addresses
        # Every home has the same one, as homes do.
        return "192.168.1" if serves_hosts else f"100.64.{next(self._networks)}"

    def _router(self, name: str, nat: Nat) -> Host:
        host = self._host(name)
        host.exec("sysctl", "-qw", *settings(nat))
        host.ip("link", "add", LAN, "type", "bridge")
        host.ip("link", "set", LAN, "up")
        return host

    def _open_inside(self, gate: Gate, v4: bool, v6: bool) -> None:
        uplink = gate.uplink
        if v4:
            gate.host.ip("address", "add", f"{gate.network}.1/24", "dev", LAN)
            uplink.behind = None if translates(gate.nat) else f"{gate.network}.0/24"
        if v6:
            uplink.behind6 = f"2001:db8:{uplink.number:x}:1::/64"
            gate.host.ip("address", "add", f"2001:db8:{uplink.number:x}:1::1/64", "dev", LAN, "nodad")
        uplink.set_up_far_end()

    def _host(self, name: str) -> Host:
        host = self._network.host(name)
        # Link-local addresses at once: until they are there, a router finds no neighbour for what it passes on.
        host.exec("sysctl", "-qw", "net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.default.accept_dad=0")
        return host

    def _attach(self, host: Host, before: Gate | None, v4: bool, v6: bool) -> Uplink:
        if before is None:
            number = next(self._cables)
            uplink = Uplink(host, None, self.hub, f"site-{number}", number)
            address, length = f"198.51.100.{number}", 32
            network6 = f"2001:db8:{number:x}::"
        else:
            number = next(before.clients)
            uplink = Uplink(host, before, before.host, f"{LAN}-{number}", number)
            address, length = f"{before.network}.{number}", 24
            network6 = f"2001:db8:{before.uplink.number:x}:1::"
        self._cable(uplink)
        if v4:
            uplink.address = address
            host.ip("address", "add", f"{address}/{length}", "dev", UPLINK)
            self._default_route(uplink)
        if v6:
            uplink.address6 = f"{network6}2"
            host.ip("address", "add", f"{network6}2/64", "dev", UPLINK, "nodad")
            host.ip("route", "add", "default", "via", f"{network6}1")
        uplink.set_up_far_end()
        return uplink

    def _default_route(self, uplink: Uplink) -> None:
        via = HUB[0] if uplink.before is None else f"{uplink.before.network}.1"
        uplink.host.ip("route", "replace", "default", "via", via, "dev", UPLINK, "onlink")

    def _cable(self, uplink: Uplink) -> None:
        ends = ("peer", "name", UPLINK, "netns", uplink.host.namespace)
        uplink.far_host.ip("link", "add", uplink.far_port, "type", "veth", *ends)
        if uplink.before is not None:
            uplink.far_host.ip("link", "set", uplink.far_port, "master", LAN)
        uplink.far_host.ip("link", "set", uplink.far_port, "up")
        uplink.host.ip("link", "set", "dev", UPLINK, "up")


def _through(gates: tuple[Gate, ...], inside: list[tuple[str, int]], rng: random.Random) -> list[tuple[str, int]]:
    """Tell each router of the endpoints behind it; return what they look like after the last, if that is known."""
    for gate in gates:
        gate.held = assign_ports(gate.nat, inside, rng)
        if not translates(gate.nat):
            continue
        # A port that is kept for every remote is known beforehand too.
        known = has_fixed_ports(gate.nat) or gate.nat.port_preserving
        address = gate.uplink.address
        inside = [(address, held.external_port) for held in gate.held] if known and address is not None else []
    return inside
