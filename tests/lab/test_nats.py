"""Each router of the lab is what its record says: measured, not believed."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import pytest

from actors.demo.network import Network, NetworkUnavailable
from tests.kit.nats import (
    AD,
    APD,
    EI,
    FULL_CONE,
    HAIRPINNING,
    KINDS,
    MASQUERADE,
    NO_UDP,
    PORT_RESTRICTED_CONE,
    SYMMETRIC,
    Dependence,
    Nat,
    Router,
    Site,
)
from tests.lab.faults import Drop, cut, drop_udp, flush_conntrack, mend, redial
from tests.lab.nats import ADDRESS_FIREWALL, FIREWALL, PORT_FORWARD, RealNat, Wiring, rules, translates
from tests.lab.probe import PATIENCE_S, Servers, inside, measure, received
from tests.lab.topology import HUB, WIREGUARD_PORT, Ground, Setting

PUBLIC = Site()

# Every mapping with every filtering, hairpinning with every filtering, and routers that translate nothing.
BUILT = (
    *(nat for nat in KINDS if nat.udp),
    PORT_FORWARD,
    Nat("address-mapping-open", AD, EI),
    Nat("address-mapping-strict", AD, APD),
    Nat("symmetric-by-address", APD, AD),
    Nat("hairpinning-open", EI, EI, hairpin=True),
    Nat("hairpinning-by-address", EI, AD, hairpin=True),
    FIREWALL,
    ADDRESS_FIREWALL,
)


@contextmanager
def ground(left: Site, right: Site = PUBLIC) -> Iterator[Ground]:
    with Network("natlab") as network:
        yield Ground(network, Setting("test", left, right))


def behind(*nats: Nat) -> Site:
    return Site(tuple(Router(nat.name, nat) for nat in nats))


@pytest.mark.netns
@pytest.mark.parametrize("nat", BUILT, ids=lambda nat: nat.name)
def test_a_router_is_what_its_record_says(nat: Nat) -> None:
    with ground(behind(nat), behind(nat)) as lab, Servers(lab.hub) as servers:
        gate, (alice, bob) = lab.shared[0], (servers.probe(place.host) for place in lab.places)
        found = measure(alice)
        assert (found.mapping, found.filtering) == (nat.seen_mapping, nat.filtering)
        assert all((port == WIREGUARD_PORT) == nat.port_preserving for port in found.external_ports)
        own = gate.uplink.address if translates(nat) else lab.places[0].uplink.address
        assert found.external_ip == own
        if not translates(nat):
            return

        # Two hosts inside, each sending to where the other is seen from outside.
        alice_seen, bob_seen = alice.ask(), bob.ask()
        bob.socket.sendto(b"bob", alice_seen)
        alice.socket.sendto(b"alice", bob_seen)
        for probe, seen in ((alice, alice_seen), (bob, bob_seen)):
            probe.servers.server(0, 3478).sendto(b"last", seen)
        assert received(alice.socket, b"last") == ([b"bob"] if nat.hairpin and nat.filtering is EI else [])
        came = received(bob.socket, b"last")
        assert came == ([b"alice"] if nat.hairpin else [])


@pytest.mark.netns
def test_a_hairpinned_packet_comes_from_the_external_endpoint() -> None:
    with ground(behind(HAIRPINNING), behind(HAIRPINNING)) as lab, Servers(lab.hub) as servers:
        alice, bob = (servers.probe(place.host) for place in lab.places)
        alice_seen, bob_seen = alice.ask(), bob.ask()
        alice.socket.sendto(b"opens the way", bob_seen)
        bob.socket.sendto(b"hello", alice_seen)
        assert alice.socket.recvfrom(64) == (b"hello", bob_seen)
        alice.socket.sendto(b"hello too", bob_seen)
        assert bob.socket.recvfrom(64) == (b"hello too", alice_seen)


@pytest.mark.netns
def test_the_filter_of_a_firewall_holds_for_ipv6_too() -> None:
    for nat in (FIREWALL, ADDRESS_FIREWALL, FULL_CONE):
        site = Site((Router(nat.name, nat),), v4=False, v6=True)
        with ground(site) as lab, Servers(lab.hub, v6=True) as servers:
            found = measure(servers.probe(lab.places[0].host))
            assert (found.mapping, found.filtering) == (EI, nat.filtering)
            assert set(found.external_ports) == {WIREGUARD_PORT}
            assert found.external_ip == lab.places[0].uplink.address6


@pytest.mark.netns
@pytest.mark.parametrize(
    ("home", "carrier", "mapping", "filtering"),
    [(PORT_RESTRICTED_CONE, FULL_CONE, EI, APD), (FULL_CONE, SYMMETRIC, APD, APD), (MASQUERADE, MASQUERADE, EI, APD)],
    ids=lambda one: getattr(one, "name", ""),
)
def test_two_routers_in_a_row_add_up(home: Nat, carrier: Nat, mapping: object, filtering: object) -> None:
    with ground(Site((Router("home", home), Router("carrier", carrier)))) as lab, Servers(lab.hub) as servers:
        found = measure(servers.probe(lab.places[0].host))
        assert (found.mapping, found.filtering) == (mapping, filtering)
        assert found.external_ip == lab.places[0].gates[1].uplink.address


@pytest.mark.netns
def test_a_host_without_a_router_has_the_public_address() -> None:
    with ground(PUBLIC) as lab, Servers(lab.hub) as servers:
        found = measure(servers.probe(lab.places[0].host))
        assert (found.mapping, found.filtering) == (EI, EI)
        assert found.external_ip == lab.places[0].uplink.address


@pytest.mark.netns
def test_where_udp_is_blocked_tcp_passes() -> None:
    with ground(behind(NO_UDP)) as lab, Servers(lab.hub) as servers:
        host = lab.places[0].host
        servers.probe(host).socket.sendto(b"nobody hears this", servers.endpoint(0, 3478))
        connection, accepted = connected(lab)
        connection.sendall(b"last")
        assert accepted.recv(64) == b"last"
        assert received(servers.server(0, 3478)) == []
        connection.close()
        accepted.close()


@pytest.mark.netns
def test_an_unsolicited_packet_that_is_let_lie_takes_the_port_away() -> None:
    """Why routers here drop what nobody asked for."""
    with ground(behind(MASQUERADE)) as lab, Servers(lab.hub) as servers:
        gate, alice = lab.places[0].gates[0], servers.probe(lab.places[0].host)
        seen = alice.ask()
        servers.server(0, 4001).sendto(b"unasked", seen)
        assert alice.ask(0, 4001) == seen
        gate.host.exec("nft", "flush", "chain", "inet", "homing_filter", "input")
        servers.server(0, 4002).sendto(b"unasked", seen)
        assert alice.ask(0, 4002) != seen


@pytest.mark.netns
@pytest.mark.parametrize("lax", [False, True])
def test_a_router_that_forgot_a_connection_is_silent_or_resets_it(lax: bool) -> None:
    nat = RealNat("home", APD, APD, port_preserving=True, lax=lax)
    with ground(behind(nat)) as lab, Servers(lab.hub) as servers:
        connection, accepted = connected(lab)
        flush_conntrack(lab.places[0].gates[0])
        accepted.sendall(b"to a mapping that is gone")
        servers.probe(lab.places[0].host).ask()  # later than any answer to that
        accepted.settimeout(PATIENCE_S if lax else 0.1)
        with pytest.raises(ConnectionResetError if lax else TimeoutError):
            accepted.recv(64)
        connection.close()
        accepted.close()


@pytest.mark.netns
@pytest.mark.parametrize("nat", [MASQUERADE, SYMMETRIC, FULL_CONE], ids=lambda nat: nat.name)
def test_a_router_with_a_new_address_has_new_mappings(nat: Nat) -> None:
    with ground(behind(nat)) as lab, Servers(lab.hub) as servers:
        place = lab.places[0]
        alice = servers.probe(place.host)
        before = alice.ask()
        new = redial(lab, place.gates[0])
        servers.server(0, 3478).sendto(b"to the old address", before)
        assert alice.ask()[0] == new != before[0]
        assert received(alice.socket) == []


@pytest.mark.netns
def test_a_router_behind_a_router_and_a_host_get_new_addresses_too() -> None:
    with ground(behind(FULL_CONE, PORT_FORWARD), PUBLIC) as lab, Servers(lab.hub) as servers:
        home, carrier = lab.places[0].gates
        alice, bob = (servers.probe(place.host) for place in lab.places)
        assert redial(lab, home).startswith("100.64.")
        flush_conntrack(carrier)
        assert measure(alice).filtering is EI
        assert bob.ask()[0] != lab.renumber(lab.places[1].uplink) == bob.ask()[0]


@pytest.mark.netns
def test_a_flushed_router_lets_nothing_in_until_asked_again() -> None:
    with ground(behind(SYMMETRIC)) as lab, Servers(lab.hub) as servers:
        alice = servers.probe(lab.places[0].host)
        seen = alice.ask(0, 3478)
        assert alice.let_in(seen, [], asked=(0, 3478)) == set()
        flush_conntrack(lab.places[0].gates[0])
        servers.server(0, 3478).sendto(b"to a mapping that is gone", seen)
        servers.server(0, 3478).sendto(b"last", alice.ask(0, 3478))
        assert received(alice.socket, b"last") == []


@pytest.mark.netns
@pytest.mark.parametrize("filtering", [AD, APD])
def test_a_mapping_ends_after_its_timeout(filtering: Dependence) -> None:
    with ground(behind(Nat("forgetful", APD, filtering, timeout_s=1.0))) as lab, Servers(lab.hub) as servers:
        alice = servers.probe(lab.places[0].host)
        seen = alice.ask(0, 3478)
        time.sleep(1.2)
        servers.server(0, 3478).sendto(b"too late", seen)
        servers.server(0, 3478).sendto(b"last", alice.ask(0, 3478))
        assert received(alice.socket, b"last") == []


@pytest.mark.netns
def test_udp_between_two_hosts_is_dropped_one_way_by_kind_and_let_pass_again() -> None:
    stun = bytes.fromhex("000100002112a442") + bytes(12)
    data = bytes.fromhex("04000000") + bytes(28)
    with ground(PUBLIC) as lab, Servers(lab.hub) as servers:
        alice, bob = (servers.probe(place.host) for place in lab.places)
        to_alice, to_bob = ((place.uplink.address or "", WIREGUARD_PORT) for place in lab.places)

        def heard() -> tuple[list[bytes], list[bytes]]:
            for packet in (stun, data):
                alice.socket.sendto(packet, to_bob)
                bob.socket.sendto(packet, to_alice)
            servers.server(0, 3478).sendto(b"last", to_alice)
            servers.server(0, 3478).sendto(b"last", to_bob)
            return received(alice.socket, b"last"), received(bob.socket, b"last")

        assert heard() == ([stun, data], [stun, data])
        cases: tuple[tuple[Literal["all", "stun", "wireguard"], list[bytes]], ...]
        cases = (("all", []), ("stun", [data]), ("wireguard", [stun]))
        for kind, passes in cases:
            drop = drop_udp(lab.places[1].host, kind)
            assert heard() == ([stun, data], passes)
            drop.mend()
        assert heard() == ([stun, data], [stun, data])


@pytest.mark.netns
def test_a_share_of_packets_is_lost() -> None:
    with ground(PUBLIC) as lab, Servers(lab.hub) as servers:
        alice = servers.probe(lab.places[0].host)
        seen = alice.ask()
        Drop(lab.places[0].host, "udp sport 4001", share=0.5)
        for _ in range(200):
            servers.server(0, 4001).sendto(b"x", seen)
        servers.server(0, 3478).sendto(b"last", seen)
        # A binomial draw leaves these bounds, more than six deviations off, once in 10**9 runs.
        assert 55 < len(received(alice.socket, b"last")) < 145


@pytest.mark.netns
def test_a_cut_cable_carries_nothing_and_everything_once_mended() -> None:
    for site in (behind(MASQUERADE), Site((Router("home", FIREWALL),), v6=True), PUBLIC):
        with ground(site) as lab, Servers(lab.hub) as servers, Servers(lab.hub, v6=True) as servers6:
            place = lab.places[0]
            uplink = place.gates[0].uplink if place.gates else place.uplink
            alice = servers.probe(place.host)
            alice.ask()
            cut(uplink)
            assert "NO-CARRIER" in uplink.host.ip("link", "show", "dev", "up")
            mend(uplink)
            alice.ask()
            if site.v6:
                servers6.probe(place.host).ask()


@pytest.mark.netns
def test_what_was_built_goes_also_when_the_lab_fails() -> None:
    prefixes: list[str] = []
    with pytest.raises(NetworkUnavailable, match="no-such-command"):
        build_and_fail(prefixes)
    assert prefixes[0] not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_what_nftables_cannot_build_is_refused() -> None:
    at = Wiring("up", "lan", "198.51.100.1")
    for nat in (replace(SYMMETRIC, hairpin=True), replace(MASQUERADE, mapping=AD), replace(FIREWALL, hairpin=True)):
        with pytest.raises(ValueError, match=nat.name):
            rules(nat, at)


def test_ipv6_is_laid_out_behind_one_router_only() -> None:
    two = (Router("home", MASQUERADE), Router("carrier", FULL_CONE))
    with pytest.raises(ValueError, match="behind one router"):
        Setting("test", Site(two, v6=True), PUBLIC)


def build_and_fail(prefixes: list[str]) -> None:
    with Network("natlab") as network:
        prefixes.append(network.prefix)
        lab = Ground(network, Setting("test", behind(MASQUERADE), PUBLIC))
        lab.places[0].host.spawn("sleep", "60")
        lab.places[0].host.ip("no-such-command")


def connected(lab: Ground) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection from the left host to the hub."""
    with inside(lab.hub):
        listener = socket.create_server((HUB[0], 8080))
    with listener, inside(lab.places[0].host):
        connection = socket.create_connection((HUB[0], 8080), timeout=PATIENCE_S)
        accepted, _ = listener.accept()
    accepted.settimeout(PATIENCE_S)
    return connection, accepted
