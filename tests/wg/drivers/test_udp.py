import errno
import socket
from typing import Any, cast

import pytest

from tests.wg.drivers.namespace import error_as_nobody, in_namespace, ip
from wg.datagrams import Endpoint, UdpBatch
from wg.drivers.udp import BACKLOG_LEN, BATCH_LEN, PortUnavailable, UdpDriver, open_udp
from wg.ecn import CE, ECT_0, NOT_ECT

pytestmark = pytest.mark.netns

SECOND = "127.0.0.2"


@in_namespace
def test_both_families_share_a_port_that_the_kernel_picked() -> None:
    sockets = open_udp(0)
    assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    close(*sockets)


def test_on_a_host_without_ipv6_there_is_one_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ipv4Only(socket.socket):
        def __init__(self, family: socket.AddressFamily, kind: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, kind)

    monkeypatch.setattr(socket, "socket", Ipv4Only)
    sockets = open_udp(0)
    assert [sock.family for sock in sockets] == [socket.AF_INET]
    close(*sockets)


@in_namespace
def test_a_datagram_comes_with_the_address_that_was_asked_and_its_mark() -> None:
    sockets = open_udp(0)
    port = sockets[0].getsockname()[1]
    four, six = map(UdpDriver, sockets)
    sender = plain(socket.AF_INET)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8 | CE)
    sender.sendto(b"four", (SECOND, port))
    sender6 = plain(socket.AF_INET6)
    sender6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, ECT_0)
    sender6.sendto(b"six", ("::1", port))
    assert four.receive() == [
        UdpBatch(Endpoint("127.0.0.1", sender.getsockname()[1]), socket.inet_aton(SECOND), CE, [b"four"])
    ]
    assert six.receive() == [UdpBatch(Endpoint("::1", sender6.getsockname()[1]), bytes(15) + b"\x01", ECT_0, [b"six"])]
    assert four.receive() == six.receive() == []
    close(*sockets, sender, sender6)


@in_namespace
def test_a_datagram_leaves_from_the_address_and_with_the_mark_it_is_given() -> None:
    sockets = open_udp(0)
    four, six = map(UdpDriver, sockets)
    others = open_udp(0)
    port = others[0].getsockname()[1]
    four.send(UdpBatch(Endpoint("127.0.0.1", port), socket.inet_aton(SECOND), ECT_0, [b"a", b"b"]))
    six.send(UdpBatch(Endpoint("::1", port), bytes(15) + b"\x01", CE, [b"c"]))
    received, received6 = (UdpDriver(sock).receive()[0] for sock in others)
    assert (received.endpoint.ip, received.ecn, received.datagrams) == (SECOND, ECT_0, [b"a", b"b"])
    assert (received6.endpoint.ip, received6.ecn, received6.datagrams) == ("::1", CE, [b"c"])
    close(*sockets, *others)


@in_namespace
def test_an_address_that_is_not_ours_any_more_does_not_hold_datagrams_up() -> None:
    ip("address", "add", "192.0.2.1/24", "dev", "lo")
    sockets, others = open_udp(0), open_udp(0)
    driver = UdpDriver(sockets[0])
    batch = UdpBatch(Endpoint("192.0.2.1", others[0].getsockname()[1]), socket.inet_aton("192.0.2.99"), 0, [b"a", b"b"])
    ip("route", "add", "unreachable", "198.51.100.0/24")
    driver.send(batch)
    assert UdpDriver(others[0]).receive()[0].datagrams == [b"a", b"b"]
    assert driver.drops == {}
    driver.send(batch._replace(endpoint=Endpoint("198.51.100.1", 9)))
    assert driver.drops == {"EHOSTUNREACH": 2}
    close(*sockets, *others)


@in_namespace
def test_a_link_local_endpoint_keeps_its_interface() -> None:
    ip("link", "add", "ppv0", "type", "veth", "peer", "name", "ppv1")
    ip("address", "add", "fe80::1/64", "dev", "ppv0", "nodad")
    ip("address", "add", "fe80::2/64", "dev", "ppv1", "nodad")
    ip("link", "set", "ppv0", "up")
    ip("link", "set", "ppv1", "up")
    sockets = open_udp(0)
    zone = socket.if_nametoindex("ppv0")
    sender = plain(socket.AF_INET6)
    sender.bind(("fe80::1", 0, 0, zone))
    sender.sendto(b"x", ("fe80::1", sockets[0].getsockname()[1], 0, zone))
    (batch,) = UdpDriver(sockets[1]).receive()
    assert (batch.endpoint.ip, batch.endpoint.zone) == ("fe80::1", zone)
    UdpDriver(sockets[1]).send(batch)
    assert sender.recv(10) == b"x"
    close(*sockets, sender)


@in_namespace
def test_neighbours_from_one_endpoint_share_a_batch() -> None:
    sockets = open_udp(0)
    first, second = plain(socket.AF_INET), plain(socket.AF_INET)
    for sender, datagram in ((first, b"1"), (first, b"2"), (second, b"3"), (first, b"4")):
        sender.sendto(datagram, ("127.0.0.1", sockets[0].getsockname()[1]))
    batches = UdpDriver(sockets[0]).receive()
    assert [batch.datagrams for batch in batches] == [[b"1", b"2"], [b"3"], [b"4"]]
    close(*sockets, first, second)


@in_namespace
def test_a_wake_up_reads_a_batch_at_most() -> None:
    sockets = open_udp(0)
    sender = plain(socket.AF_INET)
    for _ in range(BATCH_LEN + 5):
        sender.sendto(b"x", ("127.0.0.1", sockets[0].getsockname()[1]))
    driver = UdpDriver(sockets[0])
    assert [[len(batch.datagrams) for batch in driver.receive()] for _ in range(3)] == [[BATCH_LEN], [5], []]
    close(*sockets, sender)


def test_what_the_socket_has_no_room_for_waits_in_order() -> None:
    room = Room(2)
    driver = UdpDriver(cast(socket.socket, room))
    driver.send(batch_of(b"1", b"2", b"3"))
    driver.send(batch_of(b"4"))
    assert (driver.blocked, room.sent) == (True, [b"1", b"2"])
    room.left = 1
    driver.flush()
    assert (driver.blocked, room.sent) == (True, [b"1", b"2", b"3"])
    room.left = 9
    driver.flush()
    assert (driver.blocked, room.sent) == (False, [b"1", b"2", b"3", b"4"])


def test_what_waits_is_bounded_and_the_rest_is_counted() -> None:
    room = Room(0)
    driver = UdpDriver(cast(socket.socket, room))
    driver.send(batch_of(*[b"x"] * (BACKLOG_LEN - 1)))
    driver.send(batch_of(b"1", b"2", b"3"))
    assert driver.drops == {"backlog_full": 2}
    room.left = 2 * BACKLOG_LEN
    driver.flush()
    assert (len(room.sent), room.sent[-1]) == (BACKLOG_LEN, b"1")


@in_namespace
def test_a_port_in_use_is_refused_in_one_line() -> None:
    sockets = open_udp(0)
    port = sockets[0].getsockname()[1]
    with pytest.raises(PortUnavailable, match=f"^UDP port {port} is in use: stop the other program, or set another "):
        open_udp(port)
    close(*sockets)


@in_namespace
def test_a_port_in_use_in_one_family_only_is_refused_too() -> None:
    taken = plain(socket.AF_INET6)
    taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    taken.bind(("::", 0))
    with pytest.raises(PortUnavailable, match="is in use"):
        open_udp(taken.getsockname()[1])
    close(taken)


@in_namespace
def test_a_port_that_needs_privilege_says_so() -> None:
    expected = "no privilege to bind UDP port 80: set a listen_port of 1024 or above in [node]"
    assert error_as_nobody(lambda: open_udp(80)) == expected


class Room:
    """A socket whose buffer has room for `left` more datagrams."""

    family = socket.AF_INET

    def __init__(self, left: int) -> None:
        self.left = left
        self.sent: list[bytes] = []

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def fileno(self) -> int:
        return -1

    def sendmsg(self, buffers: tuple[bytes], ancillary: list[Any], flags: int, address: Any) -> None:
        if self.left == 0:
            raise BlockingIOError
        self.left -= 1
        self.sent += buffers


def batch_of(*datagrams: bytes) -> UdpBatch:
    return UdpBatch(Endpoint("127.0.0.1", 9), None, NOT_ECT, [*datagrams])


def plain(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(10.0)
    return sock


def close(*sockets: socket.socket) -> None:
    for sock in sockets:
        sock.close()
