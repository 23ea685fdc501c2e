"""The virtual network does what RFC 4787 says of its NATs: what the expected paths rest on."""

import pytest

from tests.kit.nats import (
    AD,
    APD,
    EI,
    FULL_CONE,
    HAIRPINNING,
    KINDS,
    MASQUERADE,
    NO_UDP,
    SYMMETRIC,
    Dependence,
    Nat,
    Router,
    Site,
    expected_path,
)
from tests.kit.net import HOST_PORT, Conditions, Host, Network
from wg.datagrams import Endpoint

PUBLIC = Site(v6=True)


class Ear:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Endpoint, bytes]] = []

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        self.heard.append((source, datagram))

    def handle_timeout(self, now: float) -> None: ...

    def next_timeout(self) -> float | None:
        return None

    def datagrams_to_send(self) -> list[tuple[bytes | None, Endpoint, bytes]]:
        return []


def behind(*nats: Nat, v6: bool = False) -> Site:
    return Site(tuple(Router(f"router{place}", nat) for place, nat in enumerate(nats)), v6=v6)


def network(site: Site, *, others: int = 2, conditions: Conditions | None = None) -> tuple[Network, Host, list[Host]]:
    net = Network(3, conditions=conditions)
    host = net.add("host", site, Ear())
    return net, host, [net.add(f"other{number}", PUBLIC, Ear()) for number in range(others)]


def endpoint(host: Host, port: int = HOST_PORT) -> Endpoint:
    assert host.v4 is not None
    return Endpoint(host.v4, port)


def say(net: Network, sender: Host, to: Endpoint, text: bytes = b"x") -> None:
    net.send(sender, None, to, text)
    net.run_for(1.0)


def heard(host: Host) -> list[tuple[Endpoint, bytes]]:
    assert isinstance(host.node, Ear)
    taken, host.node.heard = host.node.heard, []
    return taken


def mapping_of(net: Network, host: Host, other: Host) -> Endpoint:
    say(net, host, endpoint(other))
    [(source, _)] = heard(other)
    return source


@pytest.mark.parametrize("mapping", [EI, AD, APD])
def test_mappings(mapping: Dependence) -> None:
    net, host, (one, other) = network(behind(Nat("x", mapping, EI)))
    first, second = mapping_of(net, host, one), mapping_of(net, host, other)
    assert (first == second) == (mapping is EI)
    assert mapping_of(net, host, one) == first
    assert first.ip == net.outside_of("router0")


@pytest.mark.parametrize("filtering", [EI, AD, APD])
def test_filters(filtering: Dependence) -> None:
    net, host, (one, other) = network(behind(Nat("x", EI, filtering)))
    outside = mapping_of(net, host, one)
    say(net, one, outside, b"answer")
    say(net, other, outside, b"stranger")
    expected = [b"answer"] if filtering is not EI else [b"answer", b"stranger"]
    assert [text for _, text in heard(host)] == expected
    assert net.carried["unreachable"] == (filtering is not EI)


def test_a_mapping_ends_when_it_is_not_used() -> None:
    net, host, (one, _) = network(behind(Nat("x", EI, EI, timeout_s=30.0)))
    outside = mapping_of(net, host, one)
    net.run_for(25.0)
    say(net, host, endpoint(one))
    heard(one)
    net.run_for(25.0)
    say(net, one, outside)
    assert len(heard(host)) == 1  # it was used in between
    net.run_for(31.0)
    say(net, one, outside)
    assert heard(host) == []
    assert mapping_of(net, host, one) != outside


def test_a_preserved_port_goes_to_the_first_who_has_it() -> None:
    net, host, (one, other) = network(behind(MASQUERADE))
    neighbour = net.add("neighbour", behind(MASQUERADE), Ear())
    assert mapping_of(net, host, one).port == mapping_of(net, host, other).port == HOST_PORT
    assert mapping_of(net, neighbour, one).port != HOST_PORT


def test_one_lan() -> None:
    net, host, _ = network(behind(NO_UDP))
    neighbour = net.add("neighbour", behind(NO_UDP), Ear())
    say(net, host, endpoint(neighbour))
    assert heard(neighbour) == [(endpoint(host), b"x")]


@pytest.mark.parametrize("nat", [FULL_CONE, HAIRPINNING])
def test_hairpin(nat: Nat) -> None:
    net, host, (one, _) = network(behind(nat))
    neighbour = net.add("neighbour", behind(nat), Ear())
    own, theirs = mapping_of(net, host, one), mapping_of(net, neighbour, one)
    say(net, neighbour, own)
    say(net, host, theirs)
    assert heard(neighbour) == ([(own, b"x")] if nat.hairpin else [])


def test_double_nat() -> None:
    net, host, (one, _) = network(behind(FULL_CONE, SYMMETRIC))
    outside = mapping_of(net, host, one)
    assert outside.ip == net.outside_of("router1")
    say(net, one, outside, b"back")
    assert heard(host) == [(endpoint(one), b"back")]


def test_ipv6_is_filtered_and_not_translated() -> None:
    net, host, (one, _) = network(behind(SYMMETRIC, v6=True))
    assert host.v6 is not None
    assert one.v6 is not None
    say(net, one, Endpoint(host.v6, HOST_PORT), b"too early")
    say(net, host, Endpoint(one.v6, HOST_PORT))
    say(net, one, Endpoint(host.v6, HOST_PORT), b"answer")
    assert heard(one) == [(Endpoint(host.v6, HOST_PORT), b"x")]
    assert heard(host) == [(Endpoint(one.v6, HOST_PORT), b"answer")]


def test_a_flush_and_a_redial_forget_mappings() -> None:
    net, host, (one, _) = network(behind(FULL_CONE))
    before = mapping_of(net, host, one)
    net.flush("router0")
    say(net, one, before)
    assert heard(host) == []
    flushed = mapping_of(net, host, one)
    assert flushed.ip == before.ip
    net.readdress("router0")
    assert mapping_of(net, host, one).ip != before.ip


def test_wires_lose_double_and_reorder() -> None:
    wires = Conditions(latency_s=0.02, jitter_s=0.02, loss=0.25, duplication=0.1)
    net, host, (one, _) = network(PUBLIC, conditions=wires)
    for number in range(2000):
        net.send(host, None, endpoint(one), b"%d" % number)
        net.run_for(0.001)
    net.run_for(1.0)
    numbers = [int(text) for _, text in heard(one)]
    assert len(set(numbers)) == pytest.approx(2000 * (1 - 0.25 * 0.925), rel=0.05)
    assert len(numbers) > len(set(numbers))
    assert numbers != sorted(numbers)


def test_equal_seeds_are_equal_networks() -> None:
    runs = []
    for _ in range(2):
        net, host, others = network(behind(SYMMETRIC), conditions=Conditions(loss=0.5, jitter_s=0.1))
        for other in others * 20:
            net.send(host, None, endpoint(other), b"x")
        net.run_for(2.0)
        runs.append([heard(other) for other in others])
    assert runs[0] == runs[1]


def test_expected_paths_do_not_depend_on_who_asks() -> None:
    sites = [behind(kind) for kind in KINDS] + [PUBLIC, behind(MASQUERADE, SYMMETRIC)]
    named = [
        Site(tuple(Router(f"{number}{router.name}", router.nat) for router in site.routers))
        for number, site in enumerate(sites)
    ]
    for one in named:
        for other in named:
            assert expected_path(one, other) == expected_path(other, one)
