"""NATs as data, in the words of RFC 4787, and as boxes at work in the virtual network.

A NAT is what that RFC says of it: how its mappings and its filter depend on the remote, whether it keeps ports, whether
it hairpins.  `expected_path` tells from these properties alone whether two hosts can reach each other directly; a lab
of real routers asks the same function.
"""

import random
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from wg.datagrams import Endpoint

PORTS = range(20_000, 60_000)  # from which a NAT draws those that it does not preserve


class Dependence(IntEnum):
    """On what of the remote a mapping or a filter depends (RFC 4787 sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = 0
    ADDRESS_DEPENDENT = 1
    ADDRESS_AND_PORT_DEPENDENT = 2

    def part_of(self, remote: Endpoint) -> tuple[object, ...]:
        """Return what of the remote counts."""
        return ((), (remote.ip,), (remote.ip, remote.port))[self]


EI, AD, APD = Dependence


@dataclass(frozen=True, slots=True)
class Nat:
    """How a router treats UDP."""

    name: str
    mapping: Dependence = EI
    filtering: Dependence = EI
    port_preserving: bool = False  # the host's own port, for every remote, unless another host has it
    hairpin: bool = False
    timeout_s: float = 120.0  # of a mapping and of what its filter lets in, after the last packet out
    udp: bool = True  # False: drops all UDP from inside

    @property
    def seen_mapping(self) -> Dependence:
        """How its mappings look from outside: a kept port is the same port for every remote."""
        return EI if self.port_preserving else self.mapping


FULL_CONE = Nat("full-cone", EI, EI)
RESTRICTED_CONE = Nat("restricted-cone", EI, AD)
PORT_RESTRICTED_CONE = Nat("port-restricted-cone", EI, APD)
HAIRPINNING = Nat("hairpinning", EI, APD, hairpin=True)
MASQUERADE = Nat("masquerade", APD, APD, port_preserving=True)  # as Linux does
ADDRESS_SYMMETRIC = Nat("address-symmetric", AD, AD)
OPEN_SYMMETRIC = Nat("open-symmetric", APD, EI)
SYMMETRIC = Nat("symmetric", APD, APD)
NO_UDP = Nat("no-udp", udp=False)

KINDS = (
    FULL_CONE,
    RESTRICTED_CONE,
    PORT_RESTRICTED_CONE,
    HAIRPINNING,
    MASQUERADE,
    ADDRESS_SYMMETRIC,
    OPEN_SYMMETRIC,
    SYMMETRIC,
    NO_UDP,
)


@dataclass(frozen=True, slots=True)
class Router:
    """One box: the same name at two sites is the same box."""

    name: str
    nat: Nat


@dataclass(frozen=True, slots=True)
class Site:
    """Where a host is: behind these routers, the innermost first; behind none it has a public address."""

    routers: tuple[Router, ...] = ()
    v4: bool = True
    v6: bool = False


def expected_path(a: Site, b: Site) -> Literal["direct", "relayed"]:
    """Return how two hosts should reach each other in the end, from the properties of what lies between them."""
    shared = shared_routers(a, b)
    before_a, before_b = a.routers[: len(a.routers) - shared], b.routers[: len(b.routers) - shared]
    if not all(router.nat.udp for router in before_a + before_b):
        return "relayed"
    if not before_a and not before_b and shared:  # one LAN
        return "direct" if (a.v4 and b.v4) or (a.v6 and b.v6) else "relayed"
    if a.v6 and b.v6:  # nothing is translated, so each opens its own filter for the other
        return "direct"
    if not (a.v4 and b.v4):
        return "relayed"
    if not before_a or not before_b:  # one is reachable as it is, where the other's packets come out
        return "direct"
    if shared and not (a.routers[-shared].nat.hairpin and all(router.nat.udp for router in a.routers[-shared:])):
        return "relayed"  # they know each other's public endpoints only, and their common router does not turn
    return "direct" if _can_punch(_chain(a), _chain(b)) else "relayed"


def shared_routers(a: Site, b: Site) -> int:
    """Return how many of the outermost routers are the same boxes."""
    shared = 0
    for one, other in zip(reversed(a.routers), reversed(b.routers), strict=False):
        if one != other:
            break
        shared += 1
    return shared


def _chain(site: Site) -> tuple[Dependence, Dependence]:
    """Return mapping and filtering of all the routers together: the most dependent of each."""
    return (
        max(router.nat.seen_mapping for router in site.routers),
        max(router.nat.filtering for router in site.routers),
    )


def _can_punch(a: tuple[Dependence, Dependence], b: tuple[Dependence, Dependence]) -> bool:
    """Tell whether two hosts that know each other's endpoint as a third party sees it can open a way."""
    dependent = [side for side in (a, b) if side[0] is not EI]
    if not dependent:
        return True  # both endpoints are what they seem: each sends to the other's and is let in
    if len(dependent) == 1:
        # The dependent side comes from a port that nobody foresaw; the other must let in any port of its address.
        other = b if dependent[0] is a else a
        return other[1] is not APD
    # Neither endpoint is what it seems.  One side must let in anybody at the mapping it made for the third party; it
    # sees where the other comes from, answers from a new port, and that must be let in.  With mappings that change
    # with the port on both sides, they go on learning for ever.
    return (a[0], b[0]) != (APD, APD) and EI in (a[1], b[1]) and APD not in (a[1], b[1])


@dataclass(slots=True, eq=False)
class _Mapping:
    inside: Endpoint
    port: int
    used_at: float
    remotes: dict[Endpoint, float] = field(default_factory=dict)  # -> when last sent to


class Box:
    """A router at work: IPv4 is translated, IPv6 only filtered."""

    def __init__(self, router: Router, outside: str, rng: random.Random) -> None:
        self.name, self.nat, self.outside, self._rng = router.name, router.nat, outside, rng
        self._mappings: dict[tuple[object, ...], _Mapping] = {}
        self._by_port: dict[int, list[_Mapping]] = {}  # several where a port is kept for several remotes
        self.flows: dict[tuple[Endpoint, Endpoint], float] = {}  # IPv6: (inside, remote) -> when last sent

    def outbound(self, inside: Endpoint, remote: Endpoint, now: float) -> Endpoint | None:
        """Return what the sender looks like outside; None: dropped."""
        if not self.nat.udp:
            return None
        key = (inside, *self.nat.mapping.part_of(remote))
        mapping = self._mappings.get(key)
        if mapping is None or now - mapping.used_at > self.nat.timeout_s:
            self._expire(now)
            mapping = self._mappings[key] = _Mapping(inside, self._port_for(inside), now)
            self._by_port.setdefault(mapping.port, []).append(mapping)
        mapping.used_at = mapping.remotes[remote] = now
        return Endpoint(self.outside, mapping.port)

    def inbound(self, port: int, remote: Endpoint, now: float) -> Endpoint | None:
        """Return to whom inside a packet goes; None: dropped."""
        part_of, oldest = self.nat.filtering.part_of, now - self.nat.timeout_s
        wanted = part_of(remote)
        for mapping in self._by_port.get(port, ()):
            if any(at >= oldest and part_of(known) == wanted for known, at in mapping.remotes.items()):
                return mapping.inside
        return None

    def admits6(self, inside: Endpoint, remote: Endpoint, now: float) -> bool:
        """Tell whether an IPv6 packet comes in."""
        part_of = self.nat.filtering.part_of
        return any(
            known == inside and part_of(remote) == part_of(asked) and now - at <= self.nat.timeout_s
            for (known, asked), at in self.flows.items()
        )

    def flush(self) -> None:
        """Forget every mapping, as a router does that restarts."""
        self._mappings.clear()
        self._by_port.clear()
        self.flows.clear()

    def _port_for(self, inside: Endpoint) -> int:
        taken = {mapping.port for mapping in self._mappings.values() if mapping.inside != inside}
        if self.nat.port_preserving and inside.port not in taken:
            return inside.port
        taken |= {mapping.port for mapping in self._mappings.values()}
        return next(port for port in iter(lambda: self._rng.choice(PORTS), 0) if port not in taken)

    def _expire(self, now: float) -> None:
        """Forget what has not been used for too long."""
        oldest = now - self.nat.timeout_s
        for key, mapping in list(self._mappings.items()):
            if mapping.used_at < oldest:
                del self._mappings[key]
                self._by_port[mapping.port].remove(mapping)
            else:
                mapping.remotes = {remote: at for remote, at in mapping.remotes.items() if at >= oldest}
