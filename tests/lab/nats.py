"""NATs of `tests.kit.nats` as nftables rules, so that a namespace behaves as the record says.

Linux's own NAT keeps a mapping per remote address and port, and knows no other kind.  The rest is built on top of it,
for the UDP endpoints that the lab names beforehand (WireGuard's, STUN included: one socket):

    mapping      endpoint-independent: a static rule for each inside endpoint, to one external port
                 address-dependent: the kernel draws a port, and a map keeps it for the same remote address
                 address-and-port-dependent: the kernel draws a port for each remote, or keeps the inside one
    filtering    address-and-port-dependent: the kernel's connection tracking as it is
                 endpoint-independent: a static rule for each external port; or, where ports are drawn, a map of them
                 address-dependent: the same, for remote addresses in a set that outgoing packets fill
    hairpinning  a packet from inside to an external endpoint is turned round, with the external source (RFC 4787
                 REQ-9); the filter applies to it as to any other

Connection tracking would answer on whatever mapping a packet came in by.  Where the mapping depends on the remote, what
comes in by another one than ours for that remote is tracked in a zone of its own: the answer then has its own mapping.

Static rules last; what the kernel draws and the sets keep ends after the NAT's timeout.

Packets that nobody asked for are dropped, not just left alone: one that reaches the router itself leaves an entry in
its connection tracking, and the mapping that the inside host asks for afterwards cannot have its port.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.kit.nats import AD, APD, EI, Nat

FILTER, NAT = "inet homing_filter", "ip homing_nat"  # a router's tables
DRAWN_PORTS = (20000, 49999)  # what "not preserved" draws from; WireGuard's port lies outside

# Not `ct state != established,related`: that compares with both bits at once, and is true of every packet.
UNASKED = "ct state { new, invalid, untracked }"


@dataclass(frozen=True, slots=True)
class RealNat(Nat):
    """A NAT with what only real routers have.  IPv6 is never translated, and filtered like IPv4."""

    translates: bool = True  # False: a firewall, addresses pass as they are
    lax: bool = False  # picks up TCP in mid-stream, and refuses what nobody asked for instead of dropping it


FIREWALL = RealNat("firewall", EI, APD, port_preserving=True, translates=False)
ADDRESS_FIREWALL = RealNat("address-firewall", EI, AD, port_preserving=True, translates=False)
PORT_FORWARD = Nat("port-forward", EI, EI, port_preserving=True)


@dataclass(frozen=True, slots=True)
class Held:
    """A UDP endpoint inside, and the external port that an endpoint-independent mapping gives it."""

    ip: str
    port: int
    external_port: int


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where a router stands: its interfaces, its external address (None: no IPv4), and whom it serves."""

    outside: str
    inside: str
    external_ip: str | None
    held: tuple[Held, ...] = ()
    inside6: tuple[tuple[str, int], ...] = ()  # IPv6 endpoints


def translates(nat: Nat) -> bool:
    """Tell whether a router changes addresses."""
    return not isinstance(nat, RealNat) or nat.translates


def has_fixed_ports(nat: Nat) -> bool:
    """Tell whether an inside endpoint's external port is known before it sends."""
    return nat.mapping is EI and translates(nat)


def assign_ports(nat: Nat, inside: Sequence[tuple[str, int]], rng: random.Random) -> tuple[Held, ...]:
    """Give each inside endpoint its external port; one that cannot keep its own gets a drawn one."""
    taken: set[int] = set()
    found = []
    for ip, port in inside:
        external = port if nat.port_preserving or not translates(nat) else rng.randint(*DRAWN_PORTS)
        while external in taken and translates(nat):
            external = rng.randint(*DRAWN_PORTS)
        taken.add(external)
        found.append(Held(ip, port, external))
    return tuple(found)


def settings(nat: Nat) -> tuple[str, ...]:
    """Return a router's kernel settings, for `sysctl`."""
    return (
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1",
        f"net.netfilter.nf_conntrack_tcp_loose={int(_is_lax(nat))}",
        f"net.netfilter.nf_conntrack_udp_timeout={round(nat.timeout_s)}",
        f"net.netfilter.nf_conntrack_udp_timeout_stream={round(nat.timeout_s)}",
        "net.ipv4.conf.all.send_redirects=0",
        "net.ipv4.conf.default.send_redirects=0",
    )


def rules(nat: Nat, at: Wiring) -> str:
    """Return a router's tables, for `nft -f`; they replace those of before, with what these remembered.

    Raises ValueError for a NAT that cannot be built of such rules.
    """
    if nat.hairpin and not has_fixed_ports(nat):
        raise ValueError(f"{nat.name}: hairpinning needs external ports that are known, as endpoint-independent ones")
    if nat.mapping is AD and nat.port_preserving:
        raise ValueError(f"{nat.name}: a port that is kept for every remote is no address-dependent mapping")
    fresh = "".join(f"table {name} {{}}\ndelete table {name}\n" for name in (FILTER, NAT))
    translating = translates(nat) and at.external_ip is not None
    return fresh + _filter_table(nat, at) + (_nat_table(nat, at) if translating else "")


def _is_lax(nat: Nat) -> bool:
    return isinstance(nat, RealNat) and nat.lax


# --- what may pass ---


def _filter_table(nat: Nat, at: Wiring) -> str:
    from_outside = f'iifname "{at.outside}"'
    to_itself = list(_refused(nat, from_outside))
    if translates(nat) and at.external_ip is not None:
        # A hairpin that was not turned round.
        to_itself += _refused(nat, f'iifname "{at.inside}" ip daddr {at.external_ip}')
    forward = [
        *(["meta l4proto udp drop"] if not nat.udp else []),
        *(["ct state invalid drop"] if not _is_lax(nat) else []),
        f"{from_outside} ct status dnat accept",
        *_let_in(nat, at),
        *_refused(nat, from_outside),
    ]
    note = [f'oifname "{at.outside}" update @contacted{v} {{ udp sport . ip{v} daddr }}' for v in ("", "6")]
    return _table(
        FILTER,
        _set("contacted", "inet_service . ipv4_addr", nat),
        _set("contacted6", "inet_service . ipv6_addr", nat),
        # Neighbours must find each other, and a ping must not fail where a packet would pass.
        _chain("input", "filter", "filter", ["meta l4proto { icmp, ipv6-icmp } accept", *to_itself]),
        _chain("forward", "filter", "filter", forward),
        _chain("noting", "filter", "filter", note if nat.filtering is AD else [], hook="postrouting"),
    )


def _refused(nat: Nat, where: str) -> tuple[str, ...]:
    if _is_lax(nat):
        return f"{where} meta l4proto tcp {UNASKED} reject with tcp reset", f"{where} {UNASKED} reject"
    return (f"{where} {UNASKED} drop",)


def _let_in(nat: Nat, at: Wiring) -> Iterator[str]:
    """What comes to an untranslated endpoint and connection tracking does not know."""
    if nat.filtering is APD:
        return
    inside = [("6", ip, port) for ip, port in at.inside6]
    if not translates(nat):
        inside += [("", held.ip, held.port) for held in at.held]
    for v, ip, port in inside:
        asked = f" udp dport . ip{v} saddr @contacted{v}" if nat.filtering is AD else ""
        yield f'iifname "{at.outside}" ip{v} daddr {ip} udp dport {port}{asked} accept'


# --- what becomes of addresses ---


def _nat_table(nat: Nat, at: Wiring) -> str:
    return _table(
        NAT,
        _set("contacted", "inet_service . ipv4_addr", nat),  # external port, remote
        _set("ours", _ours_type(nat), nat),  # external port, and of the remote what the mapping depends on
        _set("owners", "inet_service : ipv4_addr . inet_service", nat, kind="map"),  # external port -> inside
        _set("kept", "ipv4_addr . inet_service . ipv4_addr : inet_service", nat, kind="map"),  # inside, remote -> port
        *(_set(name, "ipv4_addr", nat) for name in sorted(_asked_sets(nat, at))),
        _chain("apart", "filter", "raw", list(_apart(nat, at)), hook="prerouting"),
        _chain("prerouting", "nat", "dstnat", [*_taken_in(nat, at), *_turned_round(nat, at)]),
        _chain("postrouting", "nat", "srcnat", list(_mapped(nat, at))),
        # After the source is translated, so that the port which was drawn is known.
        _chain("noting", "filter", "srcnat + 50", list(_noted(nat, at)), hook="postrouting"),
    )


def _mapped(nat: Nat, at: Wiring) -> Iterator[str]:
    out = f'oifname "{at.outside}"'
    low, high = DRAWN_PORTS
    drawn = f"masquerade to :{low}-{high} random"
    if nat.mapping is EI:
        for held in at.held:
            yield f"{out} {_from(held)} snat to {at.external_ip}:{held.external_port}"
    elif nat.mapping is AD:
        yield f"{out} meta l4proto udp snat ip to {at.external_ip} : ip saddr . udp sport . ip daddr map @kept"
    if not nat.port_preserving:
        yield f"{out} meta l4proto udp {drawn}"
    yield f"{out} masquerade"
    if nat.hairpin:
        # The translation's mark tells what was turned round from what merely passes.
        for held in at.held:
            yield f'oifname "{at.inside}" ct status dnat {_from(held)} snat to {at.external_ip}:{held.external_port}'


def _noted(nat: Nat, at: Wiring) -> Iterator[str]:
    """What outgoing packets leave in the sets."""
    outgoing = f'oifname "{at.outside}" meta l4proto udp'
    inside, port = "ct original ip saddr . ct original proto-src", "ct reply proto-dst"
    if nat.filtering is AD:
        yield f"{outgoing} update @contacted {{ {port} . ip daddr }}"
    if nat.mapping is not EI and nat.filtering is not APD:
        yield f"{outgoing} update @owners {{ {port} : {inside} }}"
        remote = "ip daddr . udp dport" if nat.mapping is APD else "ip daddr"
        yield f"{outgoing} update @ours {{ {port} . {remote} }}"
    if nat.mapping is AD:
        yield f"{outgoing} update @kept {{ {inside} . ip daddr : {port} }}"


def _ours_type(nat: Nat) -> str:
    return "inet_service . ipv4_addr . inet_service" if nat.mapping is APD else "inet_service . ipv4_addr"


def _apart(nat: Nat, at: Wiring) -> Iterator[str]:
    """Track what comes in by another mapping than ours for that remote on its own."""
    if nat.mapping is not EI and nat.filtering is not APD:
        remote = "ip saddr . udp sport" if nat.mapping is APD else "ip saddr"
        yield f'iifname "{at.outside}" meta l4proto udp udp dport . {remote} != @ours ct zone set 1'


def _taken_in(nat: Nat, at: Wiring) -> Iterator[str]:
    """What comes from outside and connection tracking does not know."""
    if nat.filtering is APD:
        return
    asked = " udp dport . ip saddr @contacted" if nat.filtering is AD else ""
    where = f'iifname "{at.outside}" ip daddr {at.external_ip} meta l4proto udp'
    if nat.mapping is not EI:
        yield f"{where}{asked} dnat ip to udp dport map @owners"
        return
    for held in at.held:
        yield f"{where} udp dport {held.external_port}{asked} dnat to {held.ip}:{held.port}"


def _turned_round(nat: Nat, at: Wiring) -> Iterator[str]:
    """What comes from inside to one of the external endpoints."""
    if not nat.hairpin:
        return
    for sender in at.held:
        for receiver in at.held:
            if sender == receiver:
                continue
            to = f"ip daddr {at.external_ip} udp dport {receiver.external_port}"
            where = f'iifname "{at.inside}" {_from(sender)} {to}'
            asked = ""
            if nat.filtering is not EI:
                yield f"{where} update @{_asked(nat, sender, receiver)} {{ ip daddr }}"
                asked = f" ip daddr @{_asked(nat, receiver, sender)}"
            yield f"{where}{asked} dnat to {receiver.ip}:{receiver.port}"


def _asked_sets(nat: Nat, at: Wiring) -> set[str]:
    return {_asked(nat, one, other) for one in at.held for other in at.held if nat.hairpin and one != other}


def _asked(nat: Nat, who: Held, whom: Held) -> str:
    """Name the set that tells whether `who` has sent to the external endpoint of `whom`."""
    name = f"asked_{who.external_port}"
    return f"{name}_{whom.external_port}" if nat.filtering is APD else name


def _from(held: Held) -> str:
    return f"ip saddr {held.ip} udp sport {held.port}"


# --- nftables' own words ---


def _set(name: str, type_: str, nat: Nat, kind: str = "set") -> str:
    return f"{kind} {name} {{ type {type_}; flags dynamic,timeout; timeout {round(nat.timeout_s)}s; }}"


def _chain(name: str, type_: str, priority: str, lines: Sequence[str], hook: str | None = None) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"chain {name} {{\n    type {type_} hook {hook or name} priority {priority}; policy accept;\n{body}  }}"


def _table(name: str, *parts: str) -> str:
    return f"table {name} {{\n" + "".join(f"  {part}\n" for part in parts) + "}\n"
