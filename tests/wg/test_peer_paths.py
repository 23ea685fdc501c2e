"""Which path carries what, and what the control side hears of paths (recovery R13, R9, proof and doubt)."""

from itertools import pairwise

import pytest

from tests.wg.network import GENERATION, LATENCY_S, LINK, Network, Node, between, relayed
from wg.datagrams import Endpoint, UdpBatch
from wg.paths import DirectPath
from wg.peer import MAX_ECHOES
from wg.peer_path import SILENCE_S
from wg.reports import (
    EchoAnswered,
    GivenUp,
    HandshakeCompleted,
    LocalTraffic,
    PathHeard,
    PathSilent,
    RekeyUnanswered,
)

ELSEWHERE = Endpoint("198.51.100.9", 4711)


# --- where answers go, and where packets go ---


def test_a_response_goes_back_by_what_the_initiation_came_by() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, relayed(), handshake_after_s=0.0)  # b was told no path at all
    assert [report.path for report in a.told(HandshakeCompleted)] == ["relayed"]
    assert [report.generation for report in b.told(HandshakeCompleted)] == [GENERATION]
    assert net.udp == []


def test_an_initiator_that_lost_its_path_meanwhile_still_proves_the_session() -> None:
    net = Network()
    a, b = net.pair()
    a.path.set_path(b.key, b.direct, net.now, handshake_after_s=0.0)
    initiation = a.path.output().udp[0]
    a.path.set_path(b.key, None, net.now)
    b.path.handle_udp([initiation._replace(endpoint=a.endpoint)], net.now)
    net.run()
    assert len(b.told(HandshakeCompleted)) == 1


def test_packets_follow_a_peer_that_roams() -> None:
    net = Network()
    a, b = net.connected()
    a.endpoint = ELSEWHERE
    a.send(between(a, b))
    b.send(between(b, a))
    assert net.udp[-1][1].endpoint == ELSEWHERE
    assert b.path.snapshot()[0].path == DirectPath(ip=ELSEWHERE.ip, port=ELSEWHERE.port)


def test_an_initiation_from_elsewhere_roams_too() -> None:
    net = Network()
    a, b = net.connected()
    net.advance(6.0)
    a.endpoint = ELSEWHERE
    a.path.initiate_handshake(b.key, net.now)
    net.run()
    b.send(between(b, a))
    assert net.udp[-1][1].endpoint == ELSEWHERE


def test_the_path_that_the_control_side_repeats_does_not_undo_roaming() -> None:
    net = Network()
    a, b = net.connected()
    told = a.direct
    a.endpoint = ELSEWHERE
    a.send(between(a, b))
    b.uses(a, told, standby=relayed())
    b.send(between(b, a))
    assert {batch.endpoint for sender, batch in net.udp if sender is b} == {ELSEWHERE}


def test_a_new_direct_path_is_taken_as_told() -> None:
    net = Network()
    a, b = net.connected()
    b.uses(a, DirectPath(ip=ELSEWHERE.ip, port=ELSEWHERE.port))
    b.send(between(b, a))
    assert net.udp[-1][1].endpoint == ELSEWHERE


def test_what_comes_directly_does_not_move_packets_off_the_relay() -> None:
    net = Network()
    a, b = net.connected()
    b.uses(a, relayed())
    a.send(between(a, b))
    net.udp.clear()
    b.send(between(b, a))
    assert net.udp == []
    assert a.packets == [between(b, a)]


def test_a_duplicate_does_not_roam() -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    copy = net.udp[-1][1].datagrams
    b.path.handle_udp([UdpBatch(ELSEWHERE, None, 0, copy)], net.now)
    b.send(between(b, a))
    assert net.udp[-1][1].endpoint == a.endpoint


def test_a_duplicate_that_credits_the_direct_path_does_not_roam_either() -> None:
    net = Network()
    a, b = net.connected()
    a.path.handle_tun([between(a, b)], net.now)
    copy = a.path.output().udp[0].datagrams
    b.path.handle_relayed(a.key, LINK, GENERATION, copy, net.now)
    b.path.handle_udp([UdpBatch(ELSEWHERE, None, 0, copy)], net.now)
    net.run()
    assert [report.path for report in b.told(PathHeard)] == ["relayed", "direct"]
    b.send(between(b, a))
    assert net.udp[-1][1].endpoint == a.endpoint


def test_a_forged_packet_does_not_roam() -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    forged = [datagram[:-1] + bytes([datagram[-1] ^ 1]) for datagram in net.udp[-1][1].datagrams]
    b.path.handle_udp([UdpBatch(ELSEWHERE, None, 0, forged)], net.now)
    b.send(between(b, a))
    assert net.udp[-1][1].endpoint == a.endpoint


# --- both paths at once ---


def test_a_standby_carries_everything_too_and_the_host_gets_it_once() -> None:
    net = Network()
    a, b = net.connected()
    a.uses(b, b.direct, standby=relayed())
    a.send(between(a, b))
    assert (len(net.udp), len(net.relayed)) == (1, 1)
    assert b.packets == [between(a, b)]
    assert [report.path for report in b.told(PathHeard)] == ["direct", "relayed"]


@pytest.mark.parametrize(("late_s", "credited"), [(0.9, ["relayed"]), (1.1, [])])
def test_a_duplicate_credits_its_path_for_a_second(late_s: float, credited: list[str]) -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    b.reports.clear()
    b.path.handle_relayed(a.key, LINK, GENERATION, net.udp[-1][1].datagrams, net.now + late_s)
    net.run()
    assert [report.path for report in b.told(PathHeard)] == credited


def test_a_duplicate_on_the_same_path_credits_nothing() -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    heard_at = b.path.snapshot()[0].heard_direct_at
    b.path.handle_udp([UdpBatch(a.endpoint, None, 0, net.udp[-1][1].datagrams)], net.now + 0.5)
    assert b.path.snapshot()[0].heard_direct_at == heard_at


# --- reports ---


def test_a_path_is_reported_heard_at_most_once_a_second() -> None:
    net = Network()
    a, b = net.connected()
    for _ in range(25):
        a.send(between(a, b))
        net.advance(0.09)
    heard = [report.heard_at for report in b.told(PathHeard)]
    assert len(heard) == 3
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(heard))


def test_another_incarnation_of_the_relayed_path_is_reported_at_once() -> None:
    net = Network()
    a, b = net.connected()
    for generation in (3, 4):
        a.path.handle_tun([between(a, b)], net.now)
        (batch,) = a.path.output().udp
        b.path.handle_relayed(a.key, LINK, generation, batch.datagrams, net.now)
    net.run()
    assert [report.generation for report in b.told(PathHeard)] == [3, 4]


@pytest.mark.parametrize(("link", "told"), [(LINK, GENERATION), (LINK + 1, 0)])
def test_a_packet_without_a_relayed_connection_counts_for_the_one_of_its_link_alone(link: int, told: int) -> None:
    net = Network()
    a, b = net.connected()
    b.uses(a, relayed())
    net.sees = lambda sender, datagrams: []
    b.send(between(b, a))
    a.path.handle_tun([between(a, b)], net.now)
    (batch,) = a.path.output().udp
    b.path.handle_relayed(a.key, link, 0, batch.datagrams, net.now)
    net.run()
    assert [report.generation for report in b.told(PathHeard)] == [told]
    net.advance(SILENCE_S)
    assert bool(b.told(PathSilent)) == (link != LINK)


def test_silence_is_told_once_a_second_after_something_was_sent() -> None:
    net = Network()
    a, b = net.connected()
    net.sees = lambda sender, datagrams: []
    sent_at = net.now
    a.send(between(a, b))
    net.advance(SILENCE_S - 0.1)
    assert a.told(PathSilent) == []
    a.send(between(a, b))
    net.advance(5.0)
    assert a.told(PathSilent) == [PathSilent(peer=b.key, path="direct", sent_at=sent_at)]


def test_silence_ends_when_something_is_heard_and_that_is_told_at_once() -> None:
    net = Network()
    a, b = net.connected()
    b.send(between(b, a))
    net.sees = lambda sender, datagrams: []
    a.send(between(a, b))
    net.advance(SILENCE_S)
    assert [report.path for report in a.told(PathSilent)] == ["direct"]
    net.sees = lambda sender, datagrams: datagrams
    b.send(between(b, a))
    assert [report.path for report in a.told(PathHeard)] == ["direct"]
    net.sees = lambda sender, datagrams: []
    a.send(between(a, b))
    net.advance(SILENCE_S)
    assert [report.path for report in a.told(PathSilent)] == ["direct"]


def test_in_silence_the_kernel_chooses_the_address_to_send_from() -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    b.send(between(b, a))
    assert net.udp[-1][1].local is not None
    b.send(between(b, a))
    net.advance(SILENCE_S)
    b.send(between(b, a))
    assert net.udp[-1][1].local is None
    a.send(between(a, b))
    b.send(between(b, a))
    assert net.udp[-1][1].local is not None


def test_an_answered_packet_is_no_silence() -> None:
    net = Network()
    a, b = net.connected()
    for _ in range(5):
        a.send(between(a, b))
        b.send(between(b, a))
        net.advance(0.9)
    assert a.told(PathSilent) == []


def test_keepalives_and_handshakes_expect_no_answer() -> None:
    net = Network()
    a, b = net.connected()
    a.knows(b, keepalive_s=25)
    net.sees = lambda sender, datagrams: []
    net.advance(60.0)
    assert a.told(PathSilent) == []


def test_silence_of_a_path_that_was_replaced_is_not_told() -> None:
    net = Network()
    a, b = net.connected()
    net.sees = lambda sender, datagrams: []
    a.uses(b, relayed(3))
    a.send(between(a, b))
    a.uses(b, relayed(4))
    net.advance(5.0)
    assert a.told(PathSilent) == []


def test_a_packet_by_an_older_incarnation_does_not_end_the_silence_of_this_one() -> None:
    net = Network()
    a, b = net.connected()
    a.uses(b, relayed(GENERATION + 1))
    a.path.handle_tun([between(a, b)], net.now)
    a.path.output()
    b.uses(a, relayed())
    b.send(between(b, a))  # arrives by GENERATION
    net.advance(SILENCE_S)
    assert [report.generation for report in a.told(PathSilent)] == [GENERATION + 1]


def test_local_traffic_without_a_path_is_told_once_a_second() -> None:
    net = Network()
    a, b = net.pair()
    for _ in range(21):
        a.send(between(a, b))
        net.advance(0.1)
    assert a.told(LocalTraffic) == [LocalTraffic(peer=b.key)] * 3


def test_unanswered_handshakes_are_told_and_given_up_in_the_end() -> None:
    net = Network()
    a, b = net.pair()
    net.sees = lambda sender, datagrams: []
    a.uses(b, b.direct, handshake_after_s=0.0)
    net.advance(20.0)
    assert [report.attempts for report in a.told(RekeyUnanswered)] == [2, 3, 4]
    net.advance(100.0)
    assert a.told(GivenUp) == [GivenUp(peer=b.key)]


def test_a_handshake_asked_for_goes_out_once_per_rekey_timeout() -> None:
    net = Network()
    a, b = net.connected()
    net.advance(5.0)
    for _ in range(3):
        a.path.initiate_handshake(b.key, net.now)
    assert [len(batch.datagrams) for batch in a.path.output().udp] == [1]


# --- the in-session echo ---


@pytest.mark.parametrize("kind", ["direct", "relayed"])
def test_an_echo_is_answered_on_its_path(kind: str) -> None:
    net = Network()
    a, b = net.connected()
    a.uses(b, b.direct, standby=relayed())
    net.relayed.clear()
    probe(net, a, b, kind, 42)
    (answered,) = a.told(EchoAnswered)
    assert (answered.token, answered.path, answered.generation) == (42, kind, GENERATION * (kind == "relayed"))
    assert answered.rtt_s == pytest.approx(2 * LATENCY_S)
    assert (len(net.udp), len(net.relayed)) == ((2, 0) if kind == "direct" else (0, 2))
    assert b.packets == []


def test_an_echo_is_answered_without_a_path_of_ones_own() -> None:
    net = Network()
    a, b = net.connected()
    b.uses(a, None)
    probe(net, a, b, "direct", 42)
    assert [report.token for report in a.told(EchoAnswered)] == [42]


def test_an_echo_is_no_packet_that_an_answer_is_missed_for() -> None:
    net = Network()
    a, b = net.connected()
    net.sees = lambda sender, datagrams: []
    probe(net, a, b, "direct", 42)
    net.advance(5.0)
    assert a.told(PathSilent) == []


def test_without_a_session_a_probe_is_a_handshake() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, b.direct)
    probe(net, a, b, "direct", 42)
    reports = a.reports
    assert any(isinstance(report, HandshakeCompleted) for report in reports)
    assert not any(isinstance(report, EchoAnswered) for report in reports)


def test_a_probe_of_a_path_that_nobody_told_is_counted() -> None:
    net = Network()
    a, b = net.connected()
    probe(net, a, b, "relayed", 42)
    assert a.drops(b) == {"probe_without_path": 1}


def test_an_answer_counts_once_and_only_if_asked_for() -> None:
    net = Network()
    a, b = net.connected()
    for token in range(MAX_ECHOES + 1):
        a.path.probe(b.key, "direct", token, net.now)
    net.run()
    assert [report.token for report in a.told(EchoAnswered)] == [*range(1, MAX_ECHOES + 1)]
    assert a.drops(b) == {"echo_forgotten": 1, "echo_unasked": 1}


def test_nobody_sends_an_echo_unasked() -> None:
    net = Network()
    a, b = net.connected()
    net.advance(30.0)
    a.send(between(a, b))
    net.advance(30.0)
    assert a.told(EchoAnswered) == b.told(EchoAnswered) == []
    # Two packets could not be told from an echo by their length alone, so every datagram is accounted for.
    assert [len(batch.datagrams[0]) for _, batch in net.udp] == [64, 32]


def probe(net: Network, sender: Node, receiver: Node, kind: str, token: int) -> None:
    """Have one host probe a path to the other, and let what follows happen."""
    assert kind in ("direct", "relayed")
    sender.path.probe(receiver.key, "direct" if kind == "direct" else "relayed", token, net.now)
    net.run()
