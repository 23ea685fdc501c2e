"""The TUN interface in a network namespace of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

SPACE = "processes-iface"


@pytest.fixture
def space() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    try:
        yield SPACE
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], check=True)


PRELUDE = """
import json, subprocess, sys
from actors.runtime import interface as module
from actors.runtime.interface import InterfaceUnavailable, TunInterface, logger

def ip(*words):
    done = subprocess.run(["ip", "-j", *words], capture_output=True, check=True)
    return json.loads(done.stdout or "[]")

def names():
    return [each["ifname"] for each in ip("link")]

def routes():
    shown = [each for family in ("-4", "-6") for each in ip(family, "route", "show", "dev", "hm0", "proto", "static")]
    return sorted(each["dst"] for each in shown)

def shell(line):
    subprocess.run(line, shell=True, check=True)

def make():
    return TunInterface("hm0", "alice", ["10.77.0.1/24", "fd77::1/64"], 1280)
"""


def inside(code: str) -> str:
    """Run Python code in the namespace and return what it printed."""
    command = ["ip", "netns", "exec", SPACE, sys.executable, "-c", PRELUDE + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.netns
def test_it_is_up_with_its_addresses_and_gone_after(space: str) -> None:
    told = json.loads(
        inside(
            """
made = make()
link, = ip("addr", "show", "dev", "hm0")
made.remove()
print(json.dumps([link, names()]))
"""
        )
    )
    link: dict[str, Any] = told[0]
    assert link["mtu"] == 1280
    assert "UP" in link["flags"]
    assert [(each["local"], each["prefixlen"]) for each in link["addr_info"]] == [("10.77.0.1", 24), ("fd77::1", 64)]
    assert "hm0" not in told[1]


@pytest.mark.netns
def test_routes_follow_the_allowed_ips(space: str) -> None:
    told = json.loads(
        inside(
            """
made = make()
made.route(["10.77.0.2/32", "192.168.7.0/24", "fd99::/64", "10.8.0.0/16"])
first = routes()
made.route(["10.8.0.0/16", "10.9.0.0/16"])
print(json.dumps([first, routes()]))
"""
        )
    )
    # 10.77.0.2 needs none: its network is that of the interface's address.
    assert told == [["10.8.0.0/16", "192.168.7.0/24", "fd99::/64"], ["10.8.0.0/16", "10.9.0.0/16"]]


@pytest.mark.netns
def test_another_route_is_left_alone_and_told(space: str) -> None:
    told = inside(
        """
shell("ip link add v0 type veth peer name v1 && ip link set v0 up && ip route add 10.8.0.0/16 dev v0")
made = make()
logger.remove()
logger.add(sys.stdout, format="{message}")
made.route(["10.8.0.0/16"])
print(ip("route", "show", "10.8.0.0/16")[0]["dev"])
"""
    )
    assert told.splitlines() == ["no route to 10.8.0.0/16 through hm0: File exists", "v0"]


@pytest.mark.netns
def test_a_leftover_of_this_node_is_removed(space: str) -> None:
    told = inside(
        """
module.LEAVING_S = 0.1
held = make()
before = ip("link", "show", "dev", "hm0")[0]["ifindex"]
make()
print(ip("link", "show", "dev", "hm0")[0]["ifindex"] != before)
"""
    )
    assert told == "True\n"


@pytest.mark.netns
def test_one_that_somebody_deletes_is_made_anew_with_its_routes(space: str) -> None:
    told = inside(
        """
made = make()
made.route(["10.8.0.0/16"])
print(made.restore())
shell("ip link del hm0")
print(made.restore(), routes(), len(ip("addr", "show", "dev", "hm0")[0]["addr_info"]))
made.remove()
print("hm0" in names())
"""
    )
    assert told == "False\nTrue ['10.8.0.0/16'] 2\nFalse\n"


@pytest.mark.netns
def test_what_others_did_to_it_is_undone_and_told(space: str) -> None:
    told = inside(
        """
made = make()
made.route(["10.8.0.0/16", "fd99::/64"])

def shown():
    link, = ip("addr", "show", "dev", "hm0")
    every = [each["dst"] for family in ("-4", "-6") for each in ip(family, "route", "show", "dev", "hm0")]
    return "UP" in link["flags"], sorted(each["local"] for each in link["addr_info"]), sorted(set(every))

as_made = shown()
print(made.repair())
for harm in (
    "ip link set hm0 down",
    "ip link set hm0 down && ip link set hm0 up",
    "ip addr flush dev hm0",
    "ip addr del 10.77.0.1/24 dev hm0",
    "ip route flush dev hm0",
    "ip -6 route flush dev hm0",
):
    shell(harm)
    assert shown() != as_made, harm
    print(made.repair())
    assert shown() == as_made, (harm, shown(), as_made)
    assert made.repair() == [], harm
"""
    )
    lines = told.splitlines()
    assert lines[0] == "[]"
    assert "it was down" in lines[1]
    assert "it was down" not in lines[2]
    assert "it lacked the route to 10.8.0.0/16" in lines[2]
    assert "it lacked fd77::1/64" in lines[2]
    assert "it lacked 10.77.0.1/24" in lines[4]


@pytest.mark.netns
def test_a_route_that_the_operator_has_led_elsewhere_is_not_fought_for(space: str) -> None:
    told = inside(
        """
shell("ip link add v0 type veth peer name v1 && ip link set v0 up")
made = make()
made.route(["10.8.0.0/16"])
shell("ip route replace 10.8.0.0/16 dev v0")
logger.remove()
logger.add(sys.stdout, format="{message}")
print(made.repair(), made.repair())
print([each["dev"] for each in ip("route", "show", "10.8.0.0/16")])
"""
    )
    assert told.splitlines() == [
        "no route to 10.8.0.0/16 through hm0 any more: there is another one",
        "[] []",
        "['v0']",
    ]


@pytest.mark.netns
def test_one_that_is_gone_is_not_repaired(space: str) -> None:
    assert inside("made = make()\nshell('ip link del hm0')\nprint(made.repair())\n") == "[]\n"


@pytest.mark.netns
@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("ip link add hm0 type veth peer name v1", "is not ours: set another interface in [node], or remove it"),
        ("ip tuntap add hm0 mode tun", "exists and is not ours"),
        ("ip tuntap add hm0 mode tun && ip link set hm0 alias 'homing bob'", "belongs to 'homing bob'"),
    ],
)
def test_somebody_else_s_interface_is_not_touched(space: str, before: str, told: str) -> None:
    said = inside(
        f"""
shell({before!r})
try:
    make()
except InterfaceUnavailable as error:
    print(error)
print("hm0" in names())
"""
    )
    assert told in said
    assert said.endswith("True\n")


@pytest.mark.netns
def test_a_set_up_that_fails_says_why_and_leaves_nothing(space: str) -> None:
    said = inside(
        """
try:
    TunInterface("hm0", "alice", ["10.77.0.1/24"], 20)
except InterfaceUnavailable as error:
    print(error)
print("hm0" in names())
"""
    )
    assert said == "cannot set up the interface hm0: Invalid argument\nFalse\n"
