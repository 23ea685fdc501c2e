"""Paths that change: what becomes of roaming, and of handshakes that are on their way."""

from ipaddress import ip_address
from itertools import pairwise

import pytest
from msgspec import structs

from tests.wg.network import GENERATION, LINK, Network, Node, between, relayed
from wg.datagrams import Endpoint, UdpBatch
from wg.messages import MessageType, message_type
from wg.paths import DirectPath
from wg.peer import COPY_S
from wg.reports import HandshakeCompleted, PathHeard, PathSilent, RekeyUnanswered
from wg.tunnel import OTHER_PATH_WAIT

ELSEWHERE = Endpoint("198.51.100.9", 4711)
LINK_LOCAL = Endpoint("fe80::1", 4711, zone=3)


# --- where a direct path leads ---


def test_the_way_back_from_the_relay_is_taken_as_told() -> None:
    net = Network()
    a, b = net.connected()
    home = a.endpoint
    a.endpoint = ELSEWHERE
    a.send(between(a, b))
    b.uses(a, relayed())
    a.endpoint = home
    b.uses(a, a.direct)  # as it was told before a roamed, and checked anew since
    b.send(between(b, a))
    assert a.packets == [between(b, a)]


def test_the_control_side_may_repeat_where_a_peer_has_roamed_to() -> None:
    net = Network()
    a, b = net.connected()
    a.endpoint = LINK_LOCAL
    a.send(between(a, b))
    path = b.path.snapshot()[0].path
    assert path == DirectPath(ip="fe80::1", port=4711)
    b.uses(a, path)  # a control process that was restarted knows it from the snapshot
    b.send(between(b, a))
    assert a.packets == [between(b, a)], "sent to the interface where it is"


def test_packets_leave_from_the_address_that_the_path_names() -> None:
    net = Network()
    a, b = net.connected()
    for local, sent_from in (("192.0.2.77", b"\xc0\x00\x02\x4d"), ("2001:db8::1", ip_address("2001:db8::1").packed)):
        b.uses(a, structs.replace(a.direct, local=local))
        b.send(between(b, a))
        assert (net.udp[-1][1].endpoint, net.udp[-1][1].local) == (a.endpoint, sent_from)
    b.uses(a, a.direct)  # no address is named: the one that is known stays
    b.send(between(b, a))
    assert net.udp[-1][1].local == ip_address("2001:db8::1").packed


def test_where_the_direct_path_leads_is_told_with_roaming() -> None:
    net = Network()
    a, b = net.connected()
    assert b.path.direct_endpoint(a.key) == a.endpoint
    a.endpoint = ELSEWHERE
    a.send(between(a, b))
    assert b.path.direct_endpoint(a.key) == ELSEWHERE
    b.path.remove_peer(a.key)
    assert b.path.direct_endpoint(a.key) is None


def test_a_replayed_initiation_does_not_move_the_path_of_a_host_that_was_restarted() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, b.direct, handshake_after_s=0.0)
    (initiation,) = net.udp[0][1].datagrams
    b.restart()
    b.knows(a)
    b.uses(a, a.direct)
    b.path.handle_udp([UdpBatch(ELSEWHERE, None, 0, [initiation])], net.now)
    answers = b.path.output().udp
    assert [batch.endpoint for batch in answers] == [ELSEWHERE], "nobody can tell it from a genuine one"
    b.send(between(b, a))
    assert a.packets == [between(b, a)]


# --- handshakes on their way ---


@pytest.mark.parametrize("standby", [False, True])
def test_an_initiation_that_a_dead_path_took_soon_goes_by_the_new_one(standby: bool) -> None:
    net = Network()
    a, b = net.pair()
    net.sees = lambda _, datagrams: []
    a.uses(b, b.direct, handshake_after_s=0.0)
    net.advance(0.3)
    net.sees = lambda _, datagrams: datagrams
    net.loses_udp = True
    if standby:
        a.uses(b, b.direct, standby=relayed())
    else:
        a.uses(b, relayed())
    net.advance(OTHER_PATH_WAIT)
    assert [report.path for report in a.told(HandshakeCompleted)] == ["relayed"]
    assert a.told(RekeyUnanswered) == [], "REKEY_TIMEOUT is not over"


def test_after_a_while_on_the_dead_path_it_goes_at_once() -> None:
    net = Network()
    a, b = net.pair()
    net.loses_udp = True
    a.uses(b, b.direct, handshake_after_s=0.0)
    net.advance(OTHER_PATH_WAIT)
    a.uses(b, relayed())
    assert [report.path for report in a.told(HandshakeCompleted)] == ["relayed"]


def test_a_path_that_comes_after_none_is_a_new_one() -> None:
    net = Network()
    a, b = net.pair()
    net.loses_udp = True
    a.uses(b, b.direct, handshake_after_s=0.0)
    a.uses(b, None)
    net.advance(OTHER_PATH_WAIT)
    a.uses(b, relayed(), handshake_after_s=0.0)
    assert [report.path for report in a.told(HandshakeCompleted)] == ["relayed"]


def test_a_handshake_asked_for_on_a_new_path_need_not_wait_for_the_one_sent_on_the_old() -> None:
    net = Network()
    a, b = net.connected()
    net.loses_udp = True
    net.advance(10.0)
    a.path.initiate_handshake(b.key, net.now)
    net.advance(OTHER_PATH_WAIT)
    a.uses(b, relayed())
    assert len(b.told(HandshakeCompleted)) == 1


def test_paths_that_change_all_the_time_bring_an_initiation_a_second() -> None:
    net = Network()
    a, b = net.pair()
    times = lost_initiations(net)
    for generation in range(100):
        a.uses(b, relayed(generation), handshake_after_s=0.0)
        net.advance(0.05)
    assert len(times) == 5
    assert all(later - earlier >= OTHER_PATH_WAIT for earlier, later in pairwise(times))


def test_the_same_path_again_brings_none() -> None:
    net = Network()
    a, b = net.pair()
    times = lost_initiations(net)
    for _ in range(45):
        a.uses(b, relayed(), handshake_after_s=0.0)
        net.advance(0.1)
    assert len(times) == 1


def test_dropping_the_standby_brings_none() -> None:
    net = Network()
    a, b = net.pair()
    times = lost_initiations(net)
    a.uses(b, relayed(), standby=b.direct, handshake_after_s=0.0)
    net.advance(2.0)
    a.uses(b, b.direct)
    net.advance(2.0)
    assert len(times) == 2, "one, by both paths"


def test_a_new_path_for_a_session_brings_none() -> None:
    net = Network()
    a, b = net.connected()
    times = lost_initiations(net)
    net.advance(2.0)
    a.uses(b, relayed(), handshake_after_s=0.0)
    net.advance(10.0)
    assert times == []


def copies(net: Network) -> tuple[Node, Node, list[bytes]]:
    """Two that never met; `a` has sent an initiation by both paths, and it is on its way."""
    a, b = net.pair()
    a.path.set_path(b.key, relayed(), net.now, standby=b.direct, handshake_after_s=0.0)
    output = a.path.output()
    (by_relay,), (directly,) = output.relayed, output.udp
    assert by_relay.payloads == directly.datagrams
    assert a.told(HandshakeCompleted) == []
    return a, b, directly.datagrams


def test_the_copy_of_an_initiation_by_the_other_path_gets_the_same_response_once() -> None:
    net = Network()
    a, b, initiation = copies(net)
    for _ in range(3):
        b.path.handle_relayed(a.key, LINK, GENERATION, initiation, net.now)
        b.path.handle_udp([UdpBatch(a.endpoint, None, 0, initiation)], net.now)
    output = b.path.output()
    (by_relay,), (directly,) = output.relayed, output.udp
    assert by_relay.payloads == directly.datagrams
    assert len(directly.datagrams) == 1
    assert message_type(directly.datagrams[0]) is MessageType.RESPONSE
    a.path.handle_udp([UdpBatch(b.endpoint, None, 0, directly.datagrams)], net.now)  # the relay's is lost
    net.run()
    assert [report.path for report in a.told(HandshakeCompleted)] == ["direct"]


def test_a_late_copy_is_a_replay() -> None:
    net = Network()
    a, b, initiation = copies(net)
    b.path.handle_relayed(a.key, LINK, GENERATION, initiation, net.now)
    b.path.handle_udp([UdpBatch(a.endpoint, None, 0, initiation)], net.now + COPY_S + 0.1)
    assert b.path.output().udp == []


# --- what is told ---


@pytest.mark.parametrize(("link", "silent"), [(LINK, False), (LINK + 1, True)])
def test_what_comes_by_the_link_in_use_ends_silence_without_a_connection_there(link: int, silent: bool) -> None:
    net = Network()
    a, b = net.connected()
    b.uses(a, relayed())
    b.path.handle_tun([between(b, a)], net.now)
    a.path.handle_tun([between(a, b)], net.now)
    (batch,) = a.path.output().udp
    b.path.handle_relayed(a.key, link, 0, batch.datagrams, net.now)  # the relay server has called it absent
    net.advance(2.0)
    assert bool(b.told(PathSilent)) is silent


def test_a_peer_that_takes_turns_on_two_links_is_reported_once_a_second_for_each() -> None:
    net = Network()
    a, b = net.connected()
    for number in range(30):
        a.path.handle_tun([between(a, b)], net.now)
        (batch,) = a.path.output().udp
        b.path.handle_relayed(a.key, LINK + number % 2, GENERATION * (number % 2), batch.datagrams, net.now)
        net.advance(0.05)
    assert [report.generation for report in b.told(PathHeard)] == [0, GENERATION, 0, GENERATION]


def lost_initiations(net: Network) -> list[float]:
    """Lose everything from now on; return a list that tells when each initiation is sent, a copy a path."""
    times: list[float] = []

    def lose(_: Node, datagrams: list[bytes]) -> list[bytes]:
        times.extend(net.now for each in datagrams if message_type(each) is MessageType.INITIATION)
        return []

    net.sees = lose
    return times
