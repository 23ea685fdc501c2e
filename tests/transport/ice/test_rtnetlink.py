"""Netlink dumps: requests as the kernel wants them, answers as it gives them, and bytes from anywhere."""

import contextlib
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.ice.interfaces import Route
from transport.ice.rtnetlink import (
    ADDRESSES,
    LINKS,
    MAX_DUMPED,
    ROUTES,
    Dump,
    Link,
    TooMany,
    addresses_in,
    dump_request,
    links_in,
    losers_in,
    routes_in,
)
from transport.netlink import BadNetlink

DONE, ERROR = 3, 2
UP, RUNNING = 0x1, 0x40
ETH0 = {2: Link("eth0", "", True)}


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes, *, sequence: int = 7, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def link(index: int, name: str, *attributes: bytes, flags: int = UP | RUNNING) -> bytes:
    return struct.pack("=BxHiII", 0, 1, index, flags, 0) + attribute(3, name.encode() + b"\0") + b"".join(attributes)


def address(ip: str, *attributes: bytes, index: int = 2, flags: int = 0x80) -> bytes:
    packed = ip_address(ip).packed
    family, prefix_len = (2, 24) if len(packed) == 4 else (10, 64)
    return struct.pack("=BBBBI", family, prefix_len, flags, 0, index) + attribute(1, packed) + b"".join(attributes)


def test_a_request_asks_for_everything() -> None:
    assert dump_request(LINKS, 7) == struct.pack("=IHHII", 32, 18, 0x301, 7, 0) + bytes(16)
    assert dump_request(ADDRESSES, 8) == struct.pack("=IHHII", 24, 22, 0x301, 8, 0) + bytes(8)
    assert dump_request(ROUTES, 9) == struct.pack("=IHHII", 28, 26, 0x301, 9, 0) + bytes(12)


def test_an_answer_comes_in_several_datagrams() -> None:
    dump = Dump(LINKS, 7)
    dump.receive_data(message(LINKS, link(1, "lo")) + message(LINKS, link(2, "eth0")))
    assert not dump.done
    dump.receive_data(message(LINKS, link(3, "eth1")))
    dump.receive_data(message(DONE, bytes(4)))
    assert dump.done
    dump.receive_data(b"")
    assert not dump.interrupted
    assert [one.name for one in links_in(dump.bodies).values()] == ["lo", "eth0", "eth1"]


def test_an_answer_to_another_request_is_passed_over() -> None:
    dump = Dump(ADDRESSES, 7)
    dump.receive_data(message(ADDRESSES, address("192.0.2.1"), sequence=5) + message(DONE, bytes(4), sequence=5))
    dump.receive_data(message(LINKS, link(1, "lo")))
    assert (dump.done, dump.bodies) == (False, [])


def test_an_answer_that_was_interrupted_says_so() -> None:
    dump = Dump(ADDRESSES, 7)
    dump.receive_data(message(ADDRESSES, address("192.0.2.1"), flags=2 | 0x10))
    assert dump.interrupted
    plain = Dump(ADDRESSES, 7)
    plain.receive_data(message(ADDRESSES, address("192.0.2.1"), flags=0xFFEF))
    assert not plain.interrupted


def test_a_refusal_is_an_error_of_the_system() -> None:
    with pytest.raises(PermissionError):
        Dump(LINKS, 7).receive_data(message(ERROR, struct.pack("=i", -1) + bytes(16)))
    with pytest.raises(PermissionError):
        Dump(LINKS, 7).receive_data(message(DONE, struct.pack("=i", -1)))
    short = Dump(LINKS, 7)
    short.receive_data(message(LINKS, link(1, "lo")) + message(DONE, b""))
    assert short.done
    assert len(short.bodies) == 1


def test_links_are_told_by_name_kind_and_carrier() -> None:
    wireguard = attribute(18 | 0x8000, attribute(1, b"wireguard\0") + attribute(2, b"xyz"))
    assert links_in([link(1, "")[:16]]) == {1: Link("", "", True)}
    bodies = [link(1, "lo"), link(5, "wg7", wireguard), link(6, "eth1", flags=UP), link(7, "eth2", flags=RUNNING)]
    assert links_in(bodies) == {
        1: Link("lo", "", True),
        5: Link("wg7", "wireguard", True),
        6: Link("eth1", "", False),
        7: Link("eth2", "", False),
    }


def test_addresses_are_told_with_their_interface() -> None:
    bodies = [
        address("192.0.2.1"),
        address("2001:db8::1", attribute(8, struct.pack("=I", 0x304))),  # flags that do not fit a byte
        address("198.51.100.9", attribute(2, ip_address("198.51.100.1").packed)),  # the other end, and ours
    ]
    told = [(one.interface, one.index, one.ip, one.prefix_len, one.flags) for one in addresses_in(bodies, ETH0)]
    assert told == [
        ("eth0", 2, "192.0.2.1", 24, 0x80),
        ("eth0", 2, "2001:db8::1", 64, 0x304),
        ("eth0", 2, "198.51.100.1", 24, 0x80),
    ]


def test_what_is_no_address_of_a_known_link_is_passed_over() -> None:
    other_family = struct.pack("=BBBBI", 17, 0, 0, 0, 2) + attribute(1, bytes(4))
    no_address = struct.pack("=BBBBI", 2, 24, 0, 0, 2)
    whole_prefix = struct.pack("=BBBBI", 2, 32, 0, 0, 2) + attribute(9, b"") + attribute(1, bytes(4))
    assert [one.ip for one in addresses_in([whole_prefix], ETH0)] == ["0.0.0.0"]
    long_prefix = struct.pack("=BBBBI", 2, 33, 0, 0, 2) + attribute(1, bytes(4))
    assert addresses_in([address("192.0.2.1", index=9), other_family, no_address, long_prefix], ETH0) == []


def route(network: str, *attributes: bytes, table: int = 254, kind: int = 1, flags: int = 0) -> bytes:
    ip, _, prefix_len = network.partition("/")
    packed = ip_address(ip).packed
    head = struct.pack("=BBBBBBBBI", 2 if len(packed) == 4 else 10, int(prefix_len), 0, 0, table, 3, 0, kind, flags)
    told = attribute(1, packed) if int(prefix_len) else b""
    return head + told + b"".join(attributes)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def test_routes_are_told_with_where_they_lead() -> None:
    gateway = attribute(5, ip_address("192.0.2.254").packed)
    bodies = [
        route("0.0.0.0/0", gateway, number(4, 2), number(6, 100)),
        route("10.0.0.0/8", number(4, 2), number(15, 51820), table=252),  # a table that does not fit a byte
        route("2001:db8::/32", attribute(9, b"")),  # over several interfaces
    ]
    assert routes_in(bodies, ETH0) == [
        Route("eth0", "0.0.0.0/0", "192.0.2.254", 100, 254),
        Route("eth0", "10.0.0.0/8", "", 0, 51820),
        Route("", "2001:db8::/32", "", 0, 254),
    ]


def test_routes_that_lead_nowhere_or_to_ourselves_are_passed_over() -> None:
    local, multicast, unreachable = 2, 5, 7
    bodies = [route("192.0.2.1/32", kind=kind) for kind in (local, multicast, unreachable)]
    bodies += [route("192.0.2.0/24", table=255), route("2001:db8::1/128", flags=0x200)]
    assert routes_in(bodies, ETH0) == []


def test_a_dump_without_end_is_given_up() -> None:
    dump = Dump(ROUTES, 7)
    dump.receive_data(MAX_DUMPED * message(ROUTES, route("10.0.0.0/8")))
    with pytest.raises(TooMany):
        dump.receive_data(message(ROUTES, route("10.0.0.0/8")))
    assert len(dump.bodies) == MAX_DUMPED


def test_what_was_lost_is_told_by_the_news() -> None:
    news = [
        message(LINKS, link(2, "eth0")),
        message(LINKS, link(3, "eth1", flags=UP)),
        message(17, link(4, "eth2")),
        message(20, address("192.0.2.1")),
        message(21, address("192.0.2.2", index=6)),
        message(21, address("2001:db8::1", index=7)),
    ]
    assert losers_in(b"".join(news)) == {(3, ""), (4, ""), (6, "192.0.2.2"), (7, "2001:db8::1")}
    assert losers_in(message(LINKS, b"") + message(21, b"")) == set()


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\0\0\0",
        message(LINKS, b"")[:-1],
        struct.pack("=IHHII", 15, LINKS, 0, 7, 0),
        struct.pack("=IHHII", 0, LINKS, 0, 7, 0),
        struct.pack("=IHHII", 0xFFFFFFFF, LINKS, 0, 7, 0),
    ],
)
def test_lengths_are_not_believed(data: bytes) -> None:
    with pytest.raises(BadNetlink, match="netlink"):
        Dump(LINKS, 7).receive_data(data)


@pytest.mark.parametrize("value", [b"\0\0\1\0", b"\3\0\1\0", b"\xff\xff\1\0"])
def test_lengths_of_attributes_are_not_believed(value: bytes) -> None:
    with pytest.raises(BadNetlink, match="attribute"):
        links_in([link(1, "lo", value)])
    with pytest.raises(BadNetlink, match="attribute"):
        addresses_in([address("192.0.2.1", value)], ETH0)


@given(st.binary(max_size=120), st.sampled_from([LINKS, ADDRESSES]))
def test_any_bytes_are_an_answer_or_bad(data: bytes, kind: int) -> None:
    for datagram in (data, message(kind, data), message(DONE, data)):
        with contextlib.suppress(BadNetlink, OSError):
            dump = Dump(kind, 7)
            dump.receive_data(datagram)
    with contextlib.suppress(BadNetlink):
        links_in([data])
    with contextlib.suppress(BadNetlink):
        addresses_in([data], ETH0)
    with contextlib.suppress(BadNetlink):
        routes_in([data], ETH0)
    for datagram in (data, message(17, data), message(21, data)):
        with contextlib.suppress(BadNetlink):
            losers_in(datagram)


@given(st.binary(max_size=60), st.booleans(), st.integers(0, 255), st.integers(0, 255))
def test_any_attributes_are_read_or_bad(data: bytes, six: bool, prefix_len: int, flags: int) -> None:
    with contextlib.suppress(BadNetlink):
        head = struct.pack("=BBBBI", 10 if six else 2, prefix_len, flags, 0, 2)
        for kind in (1, 2):
            found = addresses_in([head + attribute(kind, data[:16]) + data], ETH0)
            assert all(ip_address(one.ip).max_prefixlen >= one.prefix_len for one in found)
