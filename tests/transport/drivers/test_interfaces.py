"""The kernel's own word about addresses, in a network namespace, asked without privilege."""

import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from transport.ice.candidates import AddressRules
from transport.ice.interfaces import (
    DEPRECATED,
    TEMPORARY,
    HostNetwork,
    InterfaceAddress,
    InterfaceRules,
    Route,
    host_addresses,
)

pytestmark = pytest.mark.netns

ASK = """
import os, sys, msgspec
from transport.drivers.interfaces import read_network
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.stdout.buffer.write(msgspec.json.encode(read_network()))
"""


@pytest.fixture
def space() -> Iterator[str]:
    name = f"stun-if-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def ip(space: str, command: str) -> None:
    subprocess.run(["ip", "-n", space, *command.split()], check=True)


def ask(space: str) -> list[InterfaceAddress]:
    return network(space).addresses


def network(space: str) -> HostNetwork:
    command = ["ip", "netns", "exec", space, sys.executable, "-c", ASK]
    answer = subprocess.run(command, check=True, capture_output=True).stdout
    return msgspec.json.decode(answer, type=HostNetwork)


def test_addresses_come_with_their_interfaces_and_flags(space: str) -> None:
    ip(space, "link set lo up")
    ip(space, "link add eth0 type veth peer name eth1")
    ip(space, "link add eth2 type veth peer name eth3")
    ip(space, "tuntap add home7 mode tun")
    for name in ("eth0", "eth1", "eth2", "home7"):
        ip(space, f"link set {name} up")
    ip(space, "addr add 192.0.2.1/24 dev eth0")
    ip(space, "addr add 192.0.2.2/24 dev eth0")
    ip(space, "addr add 198.51.100.1 peer 198.51.100.9 dev eth1")
    ip(space, "addr add 2001:db8::1/64 dev eth0 nodad")
    ip(space, "addr add 2001:db8::2/64 dev eth0 nodad preferred_lft 0")
    ip(space, "addr add 10.77.0.1/24 dev home7")
    ip(space, "addr add 203.0.113.1/24 dev eth2")
    found = ask(space)

    told = {one.ip: one for one in found if not one.ip.startswith("fe80:")}
    assert {ip: (one.interface, one.prefix_len, one.kind, one.running) for ip, one in told.items()} == {
        "127.0.0.1": ("lo", 8, "", True),
        "::1": ("lo", 128, "", True),
        "192.0.2.1": ("eth0", 24, "veth", True),
        "192.0.2.2": ("eth0", 24, "veth", True),
        "198.51.100.1": ("eth1", 32, "veth", True),
        "2001:db8::1": ("eth0", 64, "veth", True),
        "2001:db8::2": ("eth0", 64, "veth", True),
        "10.77.0.1": ("home7", 24, "tun", False),
        "203.0.113.1": ("eth2", 24, "veth", False),
    }
    assert told["2001:db8::2"].flags & DEPRECATED
    assert told["192.0.2.2"].flags & TEMPORARY  # a second one, in IPv4
    hosts = host_addresses(found, InterfaceRules("homing0", AddressRules()))
    assert sorted(one.ip for one in hosts.used) == ["192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1"]


def test_routes_come_with_where_they_lead_and_without_our_own_addresses(space: str) -> None:
    ip(space, "link add eth0 type veth peer name eth1")
    for name in ("eth0", "eth1"):
        ip(space, f"link set {name} addrgenmode none up")
    ip(space, "addr add 192.0.2.1/24 dev eth0")
    ip(space, "addr add 2001:db8::1/64 dev eth0 nodad")
    ip(space, "route add default via 192.0.2.254 metric 100")
    ip(space, "route add 10.0.0.0/8 dev eth0 table 1000")
    ip(space, "route add unreachable 10.9.0.0/16")
    assert sorted(network(space).routes or ()) == [
        Route("eth0", "0.0.0.0/0", "192.0.2.254", 100, 254),
        Route("eth0", "10.0.0.0/8", "", 0, 1000),
        Route("eth0", "192.0.2.0/24", "", 0, 254),
        Route("eth0", "2001:db8::/64", "", 256, 254),
    ]


def test_of_more_routes_than_we_want_to_know_none_is_told(space: str) -> None:
    ip(space, "link add eth0 type veth peer name eth1")
    ip(space, "link set eth0 up")
    batch = "".join(f"route add 10.{n // 250}.{n % 250}.0/24 dev eth0\n" for n in range(8300))
    subprocess.run(["ip", "-n", space, "-batch", "-"], input=batch, text=True, check=True)
    assert network(space).routes is None


def test_an_answer_of_many_datagrams_is_read_whole(space: str) -> None:
    ip(space, "link add eth0 type veth peer name eth1")
    addresses = [f"10.{high}.{low}.1" for high in range(4) for low in range(250)]
    batch = "".join(f"addr add {one}/24 dev eth0\n" for one in addresses)
    subprocess.run(["ip", "-n", space, "-batch", "-"], input=batch, text=True, check=True)
    assert {one.ip for one in ask(space)} >= set(addresses)


WATCH = """
import os, select, sys
from transport.drivers.interfaces import AddressWatch
os.setgroups([]); os.setgid(65534); os.setuid(65534)
watch = AddressWatch()
print("watching", flush=True)
for line in sys.stdin:
    told = bool(select.select([watch.fd], [], [], 20.0)[0])
    losers = watch.news()
    print(told, bool(select.select([watch.fd], [], [], 0.0)[0]), sorted(ip for _, ip in losers), flush=True)
"""


def test_changes_of_addresses_and_links_are_told_without_privilege(space: str) -> None:
    ip(space, "link add eth0 type veth peer name eth1")
    ip(space, "link set eth0 up")
    command = ["ip", "netns", "exec", space, sys.executable, "-c", WATCH]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as watching:
        assert watching.stdin is not None
        assert watching.stdout is not None
        assert watching.stdout.readline() == "watching\n"
        for change, lost in (
            ("addr add 192.0.2.1/24 dev eth0", "[]"),
            ("route add 198.51.100.0/24 via 192.0.2.9", "[]"),
            ("route del 198.51.100.0/24", "[]"),
            ("addr del 192.0.2.1/24 dev eth0", "['192.0.2.1']"),
            ("link set eth0 down", "['']"),
        ):
            ip(space, change)
            watching.stdin.write("what was told?\n")
            told = watching.stdout.readline()
            assert told.startswith("True "), change
            assert told.endswith(f" {lost}\n"), change
        watching.stdin.close()
        assert watching.wait(20) == 0


def test_more_news_than_the_kernel_keeps_is_news_as_well(space: str) -> None:
    ip(space, "link add eth0 type veth peer name eth1")
    script = "\n".join(
        (
            "import subprocess, select",
            "from transport.drivers.interfaces import AddressWatch",
            "watch = AddressWatch()",
            "lines = [f'addr add 10.{n // 250}.{n % 250}.1/24 dev eth0' for n in range(2000)]",
            "subprocess.run(['ip', '-batch', '-'], input='\\n'.join(lines), text=True, check=True)",
            "while select.select([watch.fd], [], [], 0.0)[0]: watch.news()",
            "subprocess.run(['ip', 'link', 'set', 'eth1', 'up'], check=True)",
            "print(bool(select.select([watch.fd], [], [], 20.0)[0]))",
        )
    )
    command = ["ip", "netns", "exec", space, sys.executable, "-c", script]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "True\n"
