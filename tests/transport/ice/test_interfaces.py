"""Which of the host's addresses become host candidates."""

import pytest

from transport.ice.candidates import AddressRules
from transport.ice.interfaces import (
    DEPRECATED,
    DUPLICATE,
    MAX_ADDRESSES,
    OPTIMISTIC,
    TEMPORARY,
    TENTATIVE,
    HostNetwork,
    InterfaceAddress,
    InterfaceRules,
    NetworkWatch,
    Route,
    host_addresses,
)

OVERLAY = AddressRules(["10.77.0.0/24"])
RULES = InterfaceRules("home7", OVERLAY)
PERMANENT = 0x80


def on(
    interface: str,
    ip: str = "192.0.2.1",
    *,
    index: int = 2,
    flags: int = PERMANENT,
    kind: str = "",
    running: bool = True,
) -> InterfaceAddress:
    return InterfaceAddress(
        interface=interface,
        index=index,
        ip=ip,
        prefix_len=64 if ":" in ip else 24,
        flags=flags,
        kind=kind,
        running=running,
    )


def used(*found: InterfaceAddress, rules: InterfaceRules = RULES) -> list[str]:
    return [address.ip for address in host_addresses(found, rules).used]


@pytest.mark.parametrize(
    "name", ["eth0", "enp0s31f6", "wlan0", "ppp0", "br0", "bond0.7", "wwan0", "long", "ens1", "lorawan0"]
)
def test_links_to_the_world_are_used(name: str) -> None:
    assert RULES.refusal(on(name)) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("home7", "our own tunnel"),
        ("lo", "loopback"),
        ("docker0", "for containers or virtual machines"),
        ("br-0123456789ab", "for containers or virtual machines"),
        ("veth12ab", "for containers or virtual machines"),
        ("virbr0", "for containers or virtual machines"),
        ("homing0", "a tunnel"),
        ("wt0", "a tunnel"),
        ("wg0", "a tunnel"),
        ("tun0", "a tunnel"),
        ("tailscale0", "a tunnel"),
        ("ztabcdefgh", "a tunnel"),
    ],
)
def test_links_to_elsewhere_are_refused(name: str, why: str) -> None:
    assert RULES.refusal(on(name)) == why


@pytest.mark.parametrize("kind", ["wireguard", "tun"])
def test_a_tunnel_is_one_by_any_name(kind: str) -> None:
    assert RULES.refusal(on("eth7", kind=kind)) == "a tunnel"
    assert RULES.refusal(on("eth7", kind="bridge")) is None


def test_an_interface_without_carrier_is_not_used() -> None:
    assert RULES.refusal(on("eth0", running=False)) == "interface down"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (TENTATIVE, "not known yet to be ours alone"),
        (TENTATIVE | OPTIMISTIC, None),
        (TENTATIVE | DUPLICATE, "another host has this address"),
        (DEPRECATED | PERMANENT, "deprecated"),
        (TEMPORARY, None),
        (0x44, None),  # as linux/if_addr.h numbers them
        (0x40, "not known yet to be ours alone"),
        (0x20, "deprecated"),
        (0x08, "another host has this address"),
    ],
)
def test_addresses_must_be_good_to_begin_with(flags: int, why: str | None) -> None:
    assert RULES.refusal(on("eth0", "2001:db8::1", flags=flags)) == why


def test_the_rules_for_addresses_count_on_every_interface() -> None:
    addresses = ("10.77.0.9", "169.254.3.4", "fe80::1", "127.0.0.1")
    found = [on("eth0", ip) for ip in addresses]
    reasons = [reason for _, reason in host_addresses(found, InterfaceRules("home7", OVERLAY, ["eth0"])).refused]
    assert reasons == ["inside our own network (10.77.0.0/24)", "link-local", "link-local", "loopback"]


def test_the_operator_may_name_the_interfaces() -> None:
    rules = InterfaceRules("home7", OVERLAY, ["eth1", "docker*", "home7"])
    assert rules.refusal(on("eth1")) is None
    assert rules.refusal(on("docker0")) is None
    assert rules.refusal(on("eth0")) == "not in [ice] interfaces"
    assert rules.refusal(on("eth11")) == "not in [ice] interfaces"
    assert rules.refusal(on("home7")) == "our own tunnel"
    assert rules.refusal(on("eth1", running=False)) == "interface down"


def test_agents_of_one_machine_may_meet_on_its_loopback() -> None:
    rules = InterfaceRules("home7", AddressRules(loopback=True), ["lo"])
    assert used(on("lo", "127.0.0.1"), on("lo", "::1"), on("eth0"), rules=rules) == ["127.0.0.1", "::1"]


def test_a_temporary_address_gives_way_to_a_lasting_one_of_its_prefix() -> None:
    lasting, temporary = on("eth0", "2001:db8::1"), on("eth0", "2001:db8::abcd", flags=TEMPORARY)
    assert used(temporary, lasting) == ["2001:db8::1"]
    assert temporary.flags == 1
    assert used(temporary) == ["2001:db8::abcd"]
    # One that is not used, or is elsewhere, is no help.
    assert used(temporary, on("eth0", "2001:db8::1", flags=DEPRECATED)) == ["2001:db8::abcd"]
    assert used(temporary, on("eth0", "2001:db8:1::1")) == ["2001:db8::abcd", "2001:db8:1::1"]
    assert used(temporary, on("eth1", "2001:db8::1", index=3)) == ["2001:db8::abcd", "2001:db8::1"]


def test_a_second_ipv4_address_is_not_temporary() -> None:
    assert used(on("eth0", "192.0.2.1"), on("eth0", "192.0.2.2", flags=TEMPORARY)) == ["192.0.2.1", "192.0.2.2"]


def test_an_address_counts_once() -> None:
    found = host_addresses([on("eth0"), on("eth1", index=3)], RULES)
    assert [address.interface for address in found.used] == ["eth0"]
    assert [reason for _, reason in found.refused] == ["also on eth0"]


def test_there_are_not_too_many() -> None:
    found = host_addresses(
        [on("eth0", f"192.0.2.{n}", index=9) for n in range(1, 30)] + [on("eth1", "2001:db8::1")], RULES
    )
    assert len(found.used) == MAX_ADDRESSES
    assert found.used[0].ip == "2001:db8::1"  # interfaces in their order
    assert {reason for _, reason in found.refused} == {f"one more than {MAX_ADDRESSES}"}
    assert len(found.used) + len(found.refused) == 30


# --- changes that move no address ---

DEFAULT = Route("eth0", "0.0.0.0/0", "192.0.2.254", 100, 254)
OTHER_DEFAULT = Route("wwan0", "0.0.0.0/0", "198.51.100.254", 50, 254)
ETH0 = on("eth0")


def looked(*routes: Route) -> NetworkWatch:
    watch = NetworkWatch(RULES)
    assert watch.look(HostNetwork([ETH0], list(routes))) == ""
    return watch


def test_a_host_whose_network_stays_as_it_is_has_no_news() -> None:
    watch = looked(DEFAULT)
    assert watch.look(HostNetwork([ETH0], [DEFAULT])) == ""


def test_another_way_out_is_news_though_no_address_moved() -> None:
    watch = looked(DEFAULT)
    assert watch.look(HostNetwork([ETH0], [DEFAULT, OTHER_DEFAULT])) == (
        "a route to 0.0.0.0/0 by 198.51.100.254 on wwan0"
    )
    assert watch.look(HostNetwork([ETH0], [OTHER_DEFAULT])) == "no route to 0.0.0.0/0 by 192.0.2.254 on eth0"
    assert watch.look(HostNetwork([ETH0], [OTHER_DEFAULT])) == ""


def test_many_routes_at_once_are_told_in_one_sentence() -> None:
    watch = looked()
    many = [Route("eth0", f"10.{number}.0.0/16", "", 0, 254) for number in range(9)]
    assert watch.look(HostNetwork([ETH0], many)) == (
        "a route to 10.0.0.0/16 on eth0, a route to 10.1.0.0/16 on eth0, a route to 10.2.0.0/16 on eth0 and 6 more"
    )


@pytest.mark.parametrize("name", ["home7", "lo", "docker0", "veth12ab", "br-0123456789ab"])
def test_routes_of_our_tunnel_and_of_containers_are_nobody_s_news(name: str) -> None:
    watch = looked(DEFAULT)
    assert watch.look(HostNetwork([ETH0], [DEFAULT, Route(name, "10.8.0.0/16", "", 0, 254)])) == ""
    again = on(name, "10.8.0.1", index=9)
    watch.look(HostNetwork([ETH0, again], [DEFAULT]))
    assert watch.look(HostNetwork([ETH0, again], [DEFAULT]), {(9, "")}) == ""


def test_the_tunnel_of_somebody_else_may_be_our_way_out() -> None:
    watch = looked(DEFAULT)
    through = Route("tun0", "0.0.0.0/1", "", 0, 254)
    assert watch.look(HostNetwork([ETH0], [DEFAULT, through])) == "a route to 0.0.0.0/1 on tun0"


@pytest.mark.parametrize("loser", [(2, ""), (2, "192.0.2.1")])
def test_an_interface_that_was_away_for_a_moment_is_news(loser: tuple[int, str]) -> None:
    watch = looked(DEFAULT)
    assert watch.look(HostNetwork([ETH0], [DEFAULT]), {loser}) == "eth0 was away"
    assert watch.look(HostNetwork([ETH0], [DEFAULT])) == ""


@pytest.mark.parametrize("loser", [(2, "2001:db8::77"), (3, ""), (3, "192.0.2.1")])
def test_what_else_was_lost_is_none(loser: tuple[int, str]) -> None:
    watch = looked(DEFAULT)
    assert watch.look(HostNetwork([ETH0], [DEFAULT]), {loser}) == ""


def test_routes_too_many_to_know_are_not_compared() -> None:
    watch = looked(DEFAULT)
    assert watch.look(HostNetwork([ETH0], None)) == ""
    assert watch.look(HostNetwork([ETH0], [OTHER_DEFAULT])) == ""
    assert watch.look(HostNetwork([ETH0], [DEFAULT, OTHER_DEFAULT])) != ""
