import pytest

from tests.wg.network import LATENCY_S, LINK, Network, Node, between, ipv4, ipv6, relayed
from wg.cookie import LOAD_BURST, CookieJar
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import CE, ECT_0, ecn_of
from wg.messages import Initiation
from wg.packet_path import PeerConfig
from wg.paths import DirectPath
from wg.reports import HandshakeCompleted

STRANGER = Endpoint("198.51.100.9", 4711)


# --- packets pass ---


def test_a_packet_of_the_host_brings_up_the_tunnel_and_arrives() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, b.direct)
    b.uses(a, a.direct)
    a.send(between(a, b))
    assert b.packets == [between(a, b)]
    assert [report.role for report in a.told(HandshakeCompleted)] == ["initiator"]
    assert [report.role for report in b.told(HandshakeCompleted)] == ["responder"]


def test_both_families_pass_inside() -> None:
    net = Network()
    a, b = net.connected()
    packets = [between(a, b), ipv6(a.inner6, b.inner6), between(a, b, bytes(1400))]
    a.send(*packets)
    assert b.packets == packets


def test_the_padding_is_cut_off_again() -> None:
    net = Network()
    a, b = net.connected()
    packets = [between(a, b, bytes(length)) for length in range(40)]
    a.send(*packets)
    assert b.packets == packets


def test_a_batch_of_many_peers_packets_makes_one_batch_for_each() -> None:
    net = Network()
    a, b = net.connected()
    c = net.node()
    a.knows(c)
    c.knows(a)
    a.uses(c, c.direct, handshake_after_s=0.0)
    net.advance(1.0)
    net.udp.clear()
    a.send(between(a, b), between(a, c), between(a, b), between(a, c))
    assert [(batch.endpoint, len(batch.datagrams)) for _, batch in net.udp] == [(b.endpoint, 2), (c.endpoint, 2)]
    assert (b.packets, c.packets) == ([between(a, b)] * 2, [between(a, c)] * 2)


def test_a_relayed_path_carries_all_of_it() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, relayed())
    b.uses(a, relayed())
    a.send(between(a, b))
    b.send(between(b, a))
    assert (b.packets, a.packets) == ([between(a, b)], [between(b, a)])
    assert {link for _, _, link, _ in net.relayed} == {LINK}
    assert net.udp == []


def test_packets_without_a_path_wait_for_one() -> None:
    net = Network()
    a, b = net.pair()
    a.send(between(a, b))
    assert net.udp == []
    a.uses(b, b.direct)
    assert b.packets == [between(a, b)]


def test_a_handshake_starts_after_the_wait_unless_there_is_a_session() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, b.direct, handshake_after_s=5.0)
    net.advance(4.9)
    assert net.udp == []
    net.advance(0.2)
    assert len(a.told(HandshakeCompleted)) == 1
    net.udp.clear()
    a.uses(b, b.direct, handshake_after_s=0.0)
    assert net.udp == []


def test_answers_leave_from_the_address_that_was_asked() -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    b.send(between(b, a))
    assert net.udp[-1][1].local == bytes([192, 0, 2, 2])


# --- congestion marks ---


def test_the_mark_of_a_packet_is_copied_to_its_datagram() -> None:
    net = Network()
    a, b = net.connected()
    a.send(ipv4(a.inner, b.inner, tos=0xB8 | ECT_0), ipv4(a.inner, b.inner, tos=CE), ipv4(a.inner, b.inner))
    assert [batch.ecn for _, batch in net.udp] == [ECT_0, CE, 0]


def test_a_mark_of_the_network_is_carried_into_the_packet() -> None:
    net = Network()
    a, b = net.connected()
    a.path.handle_tun([ipv4(a.inner, b.inner, tos=ECT_0)], net.now)
    (batch,) = a.path.output().udp
    b.path.handle_udp([batch._replace(endpoint=a.endpoint, ecn=CE)], net.now)
    assert [ecn_of(packet) for packet in b.path.output().packets] == [CE]


# --- settings ---


def test_the_same_settings_again_change_nothing() -> None:
    net = Network()
    a, b = net.connected()
    a.knows(b)
    a.send(between(a, b))
    assert b.packets == [between(a, b)]
    assert len(net.udp) == 1


def test_a_removed_peer_is_a_stranger() -> None:
    net = Network()
    a, b = net.connected()
    b.path.remove_peer(a.key)
    a.send(between(a, b))
    assert b.packets == []
    assert b.drops() == {"unknown_receiver": 1}
    assert b.path.snapshot() == []


def test_mail_for_a_peer_that_is_gone_is_counted() -> None:
    net = Network()
    a, b = net.node(), net.node()
    a.path.set_path(b.key, b.direct, net.now)
    a.path.probe(b.key, "direct", 1, net.now)
    a.path.initiate_handshake(b.key, net.now)
    a.path.remove_peer(b.key)
    assert a.drops() == {"mail_for_unknown_peer": 3}


def test_a_prefix_moves_to_the_peer_configured_last() -> None:
    net = Network()
    a, b = net.connected()
    c = net.node()
    c.inner = b.inner
    a.knows(c)
    a.send(between(a, b))
    assert b.packets == []


def test_a_peer_config_does_not_show_its_key() -> None:
    assert "secret" not in repr(PeerConfig((), 25, b"a secret of some length, 32 long"))


def test_a_wrong_preshared_key_lets_nothing_through_and_is_counted() -> None:
    net = Network()
    a, b = net.pair()
    b.knows(a, preshared_key=b"x" * 32)
    a.uses(b, b.direct)
    a.send(between(a, b))
    assert b.packets == []
    assert a.drops(b) == {"response_refused": 1}


# --- what is dropped costs one packet ---


def test_a_forged_packet_inside_a_batch_costs_itself_only() -> None:
    net = Network()
    a, b = net.connected()
    net.sees = lambda _, datagrams: [*datagrams[:1], flipped(datagrams[1]), *datagrams[2:]]
    packets = [between(a, b, bytes([number])) for number in range(4)]
    a.send(*packets)
    assert b.packets == [packets[0], *packets[2:]]
    assert b.drops(a) == {"forged": 1}


def test_a_repeated_packet_arrives_once() -> None:
    net = Network()
    a, b = net.connected()
    net.sees = lambda _, datagrams: 2 * datagrams
    a.send(between(a, b))
    assert b.packets == [between(a, b)]
    assert b.drops(a) == {"replayed": 1}


def test_a_foreign_message_inside_a_batch_does_not_part_it_from_its_keys() -> None:
    net = Network()
    a, b = net.connected()
    net.sees = lambda _, datagrams: [datagrams[0], b"?" * 40, elsewhere(datagrams[1]), *datagrams[2:]]
    packets = [between(a, b, bytes([number])) for number in range(4)]
    a.send(*packets)
    assert b.packets == [packets[0], *packets[2:]]
    assert b.drops() == {"no_wireguard": 1, "unknown_receiver": 1}


def test_a_source_that_is_not_the_peers_is_dropped() -> None:
    net = Network()
    a, b = net.connected()
    packets = [ipv4("10.77.0.66", b.inner), between(a, b), ipv6("fd77::66", b.inner6)]
    a.send(*packets)
    assert b.packets == [between(a, b)]
    assert b.drops(a) == {"source_not_allowed": 2}


def test_what_is_no_ip_packet_or_longer_than_it_can_be_is_dropped() -> None:
    net = Network()
    a, b = net.connected()
    lying = between(a, b)[:2] + b"\x05\xdc" + between(a, b)[4:]
    short = between(a, b)[:2] + b"\x00\x13" + between(a, b)[4:]
    a.send(lying, short, between(a, b))
    assert b.packets == [between(a, b)]
    assert b.drops(a) == {"malformed": 2}


def test_what_the_host_sends_must_be_a_packet_for_a_peer() -> None:
    net = Network()
    a, _ = net.connected()
    a.send(b"", b"\x45", b"\x60" + bytes(38), b"\x00" * 40, ipv4(a.inner, "10.77.0.66"))
    assert a.drops() == {"no_ip_packet": 4, "no_peer_for_destination": 1}
    assert net.udp == []


def test_an_initiation_of_an_unknown_key_is_counted() -> None:
    net = Network()
    a, b = net.pair()
    b.path.remove_peer(a.key)
    a.uses(b, b.direct, handshake_after_s=0.0)
    assert b.drops() == {"unknown_static_key": 1}


def test_a_handshake_message_for_another_key_is_counted() -> None:
    net = Network()
    a, b = net.pair()
    c = net.node()
    a.uses(b, c.direct, handshake_after_s=0.0)
    assert c.drops() == {"wrong_mac1": 1}


def test_stun_goes_out_apart() -> None:
    net = Network()
    a, _ = net.connected()
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    like_wireguard = b"\x04\x00\x00\x00\x21\x12\xa4\x42" + bytes(24)
    a.path.handle_udp([UdpBatch(STRANGER, None, 0, [stun, b"short", like_wireguard])], net.now)
    assert a.path.output().stun == [UdpBatch(STRANGER, None, 0, [stun])]
    assert a.drops() == {"no_wireguard": 1, "unknown_receiver": 1}


def test_a_relay_server_cannot_pass_one_peer_off_as_another() -> None:
    net = Network()
    a, b = net.connected()
    c = net.node()
    b.knows(c)
    a.path.handle_tun([between(a, b)], net.now)
    (batch,) = a.path.output().udp
    b.path.handle_relayed(c.key, LINK, 0, batch.datagrams, net.now)
    b.path.handle_relayed(net.node().key, LINK, 0, batch.datagrams, net.now)
    assert b.path.output().packets == []
    assert b.drops(c) == {"sent_for_another": 1}
    assert b.drops() == {"relayed_by_unknown_peer": 1}


# --- under load ---


def test_under_load_a_handshake_needs_a_cookie_which_comes_back_where_it_was_asked() -> None:
    net = Network()
    a, b = net.pair()
    flood(a, b, net)
    a.uses(b, b.direct, handshake_after_s=0.0)
    assert b.drops()["cookie_demanded"] > 0
    assert a.told(HandshakeCompleted) == []
    while not (completed := a.told(HandshakeCompleted)):
        assert net.now < 1010.0, "the cookie did not help"
        flood(a, b, net)
        net.advance(0.5)
    assert completed[0].path == "direct"


# --- time ---


def test_an_early_timeout_does_nothing() -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, b.direct, handshake_after_s=1.0)
    due_at = a.path.next_timeout()
    assert due_at is not None
    a.path.handle_timeout(due_at - 0.001)
    assert a.path.output().udp == []
    a.path.handle_timeout(due_at)
    assert len(a.path.output().udp) == 1


def test_persistent_keepalives_go_out_in_time() -> None:
    net = Network()
    a, b = net.connected()
    a.knows(b, keepalive_s=25)
    net.udp.clear()
    net.advance(60.0)
    assert len([sender for sender, _ in net.udp if sender is a]) == 3  # at once, and after 25 and 50 s


def test_a_snapshot_tells_what_is_known() -> None:
    net = Network()
    a, b = net.connected()
    a.send(between(a, b))
    b.send(between(b, a))
    (snapshot,) = a.path.snapshot()
    assert snapshot.peer == b.key
    assert snapshot.path == DirectPath(ip="192.0.2.2", port=51820)
    assert snapshot.heard_direct_at == net.now
    assert snapshot.heard_relayed_at is None
    assert snapshot.handshake_at == pytest.approx(1000.0 + 2 * LATENCY_S)
    assert snapshot.rtt_s == pytest.approx(2 * LATENCY_S)
    assert snapshot.rx_bytes == 64
    assert snapshot.tx_bytes == 148 + 32 + 64


def flipped(datagram: bytes) -> bytes:
    """Return the datagram with its last bit turned."""
    return datagram[:-1] + bytes([datagram[-1] ^ 1])


def elsewhere(datagram: bytes) -> bytes:
    """Return the datagram with another receiver index."""
    return datagram[:4] + bytes([datagram[4] ^ 1]) + datagram[5:]


def flood(a: Node, b: Node, net: Network) -> None:
    """Have a stranger send so many messages with the right mac1 that `b` must assume an attack."""
    junk = CookieJar(b.raw_key).sign(Initiation(7, bytes(32), bytes(48), bytes(28)), net.now)
    b.path.handle_udp([UdpBatch(STRANGER, None, 0, [junk] * int(LOAD_BURST + 200))], net.now)
    b.path.output()
