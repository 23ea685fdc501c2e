"""Which of the host's addresses become host candidates (signal spec 5.2 and 5.3).

An address is used if its interface is up, is no tunnel and leads to no containers, and others can reach us by it.
`[ice] interfaces` names the interfaces instead, if the operator knows better.
"""

from collections.abc import Container, Iterable, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_interface
from typing import Final, NamedTuple

import msgspec

from transport.ice.candidates import AddressRules

MAX_ADDRESSES: Final = 16  # used at most; each is a candidate, and pairs with every one of each peer

MAX_ROUTES_TOLD: Final = 3  # in one sentence

# Prefixes of names, beside `lo`.
CONTAINERS: Final = (
    "docker", "br-", "veth", "podman", "cni", "flannel", "cali", "cilium", "kube", "weave", "lxcbr", "lxdbr", "incusbr",
    "virbr", "vnet", "vmnet", "vboxnet",
)  # fmt: skip
TUNNELS: Final = ("homing", "wt", "wg", "tun", "utun", "tailscale", "zt", "ZeroTier", "nebula")
TUNNEL_KINDS: Final = ("wireguard", "tun")  # as the kernel calls them, whatever their names; a tap is `tun` too

# Flags of an address (linux/if_addr.h).  What is temporary in IPv6 is a plain second address in IPv4.
TEMPORARY: Final = 0x01
OPTIMISTIC: Final = 0x04
DUPLICATE: Final = 0x08
DEPRECATED: Final = 0x20
TENTATIVE: Final = 0x40


class InterfaceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One address of the host."""

    interface: str
    index: int  # of the interface
    ip: str
    prefix_len: int
    flags: int = 0
    kind: str = ""  # of the interface: "wireguard", "tun", "bridge", ...; empty: hardware, mostly
    running: bool = True  # the interface is up and has its carrier


class Route(NamedTuple):
    """Where packets to a network leave the host."""

    interface: str  # empty: by several
    network: str
    gateway: str  # empty: it is on the link
    metric: int
    table: int


class HostNetwork(NamedTuple):
    """What the kernel says of the host's network."""

    addresses: list[InterfaceAddress]
    routes: list[Route] | None  # None: more than we want to know


class HostAddresses(NamedTuple):
    """What becomes of the host's addresses."""

    used: tuple[InterfaceAddress, ...]  # MAX_ADDRESSES at most, by interface index
    refused: tuple[tuple[InterfaceAddress, str], ...]  # with the reason


class InterfaceRules:
    """Which interfaces and addresses count.

    `tunnel` is our own interface, which never does.  `allowed` are the names of `[ice] interfaces`, in which `*` stands
    for any characters; with it the rules about names and kinds of interfaces do not count, those about addresses do.
    """

    def __init__(self, tunnel: str, addresses: AddressRules, allowed: Sequence[str] = ()) -> None:
        self._tunnel, self._addresses, self._allowed = tunnel, addresses, tuple(allowed)

    def refusal(self, address: InterfaceAddress) -> str | None:
        """Return why this address is not used by itself; None: it may be."""
        if (reason := self._refusal_of_interface(address)) is not None:
            return reason
        if address.flags & DUPLICATE:
            return "another host has this address"
        if address.flags & TENTATIVE and not address.flags & OPTIMISTIC:
            return "not known yet to be ours alone"
        if address.flags & DEPRECATED:
            return "deprecated"  # RFC 4862 section 5.5.4: nothing new begins on it
        return self._addresses.refusal(address.ip)

    def carries_others(self, name: str) -> bool:
        """Tell whether packets to peers and servers may leave by this interface, if only inside of another tunnel."""
        return name not in (self._tunnel, "lo") and not name.startswith(CONTAINERS)

    def _refusal_of_interface(self, address: InterfaceAddress) -> str | None:
        name = address.interface
        if name == self._tunnel:
            return "our own tunnel"
        if not address.running:
            return "interface down"
        if self._allowed:
            named = any(fnmatchcase(name, pattern) for pattern in self._allowed)
            return None if named else "not in [ice] interfaces"
        if name == "lo":
            return "loopback"
        if name.startswith(CONTAINERS):
            return "for containers or virtual machines"
        return "a tunnel" if name.startswith(TUNNELS) or address.kind in TUNNEL_KINDS else None


class NetworkWatch:
    """Sees changes of the host's network that move no address of ours, and yet may have broken every path."""

    def __init__(self, rules: InterfaceRules) -> None:
        self._rules = rules
        self._addresses: set[tuple[int, str]] = set()  # of interfaces that may carry our packets
        self._routes: frozenset[Route] | None = None  # None: not known

    def look(self, host: HostNetwork, losers: Container[tuple[int, str]] = ()) -> str:
        """Return in words what has changed; empty: nothing.

        `losers` are the addresses, by interface index, that were lost since the last look, if only for a moment; "" for
        all of an interface.  What is back may look the same, and the NAT behind it have forgotten us.
        """
        before, routes_before = self._addresses, self._routes
        self._addresses = {(one.index, one.ip) for one in host.addresses if self._rules.carries_others(one.interface)}
        self._routes = None
        if host.routes is not None:
            self._routes = frozenset(route for route in host.routes if self._rules.carries_others(route.interface))
        names = {one.index: one.interface for one in host.addresses}
        kept = before & self._addresses
        back = sorted({names[index] for index, ip in kept if (index, ip) in losers or (index, "") in losers})
        if back:
            return f"{', '.join(back)} was away"
        if self._routes is None or routes_before is None or self._routes == routes_before:
            return ""
        gone, come = routes_before - self._routes, self._routes - routes_before
        lines = [f"no route {_words(route)}" for route in sorted(gone)]
        lines += [f"a route {_words(route)}" for route in sorted(come)]
        more = f" and {len(lines) - MAX_ROUTES_TOLD} more" if len(lines) > MAX_ROUTES_TOLD else ""
        return f"{', '.join(lines[:MAX_ROUTES_TOLD])}{more}"


def _words(route: Route) -> str:
    by = [f"by {route.gateway}"] if route.gateway else []
    return " ".join(["to", route.network, *by, *([f"on {route.interface}"] if route.interface else [])])


def host_addresses(found: Iterable[InterfaceAddress], rules: InterfaceRules) -> HostAddresses:
    """Return which addresses become host candidates.

    Temporary IPv6 addresses (RFC 8981) hide a host from strangers; peers know it anyway, and what is replaced every
    day breaks paths every day.  So one is used only where its prefix has no lasting address.
    """
    used: list[InterfaceAddress] = []
    refused: list[tuple[InterfaceAddress, str]] = []
    good: list[InterfaceAddress] = []
    for address in sorted(found, key=lambda one: one.index):
        reason = rules.refusal(address)
        if reason is None:
            good.append(address)
        else:
            refused.append((address, reason))
    lasting = {_prefix(address) for address in good if not _is_temporary(address)}
    for address in good:
        twin = next((one for one in used if one.ip == address.ip), None)
        if _is_temporary(address) and _prefix(address) in lasting:
            refused.append((address, "temporary, beside a lasting one"))
        elif twin is not None:
            refused.append((address, f"also on {twin.interface}"))
        elif len(used) >= MAX_ADDRESSES:
            refused.append((address, f"one more than {MAX_ADDRESSES}"))
        else:
            used.append(address)
    return HostAddresses(tuple(used), tuple(refused))


def _is_temporary(address: InterfaceAddress) -> bool:
    return ":" in address.ip and bool(address.flags & TEMPORARY)


def _prefix(address: InterfaceAddress) -> tuple[int, str]:
    return address.index, str(ip_interface(f"{address.ip}/{address.prefix_len}").network)
