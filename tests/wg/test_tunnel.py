"""One peer at each end of a link: sessions made, renewed, lost and found."""

import pytest

from tests.wg.pair import LATENCY_S, Pair, established
from wg import messages, noise
from wg.constants import MAX_QUEUED_PACKETS, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT, ZERO_KEYS_AFTER
from wg.keypair import REKEY_AFTER_RECEIVE
from wg.messages import Initiation, MessageType
from wg.tunnel_records import SessionProven

INITIATION, RESPONSE = MessageType.INITIATION, MessageType.RESPONSE
COOKIE_REPLY, TRANSPORT = MessageType.COOKIE_REPLY, MessageType.TRANSPORT


# --- the handshake ---


def test_a_packet_without_a_session_asks_for_one_and_goes_when_it_is_there() -> None:
    pair = Pair()
    pair.send(pair.alice, b"hello")
    pair.run(1.0)
    assert [(sent.by.name, sent.kind) for sent in pair.sent] == [
        ("alice", INITIATION),
        ("bob", RESPONSE),
        ("alice", TRANSPORT),
    ]
    assert pair.bob.packets == [b"hello"]
    (proven,) = pair.alice.events
    assert isinstance(proven, SessionProven)
    assert proven.role == "initiator"
    assert proven.rtt_s == pytest.approx(2 * LATENCY_S)
    assert pair.bob.events == [SessionProven("responder", None)]


def test_the_responder_sends_nothing_before_the_first_packet_proves_the_session() -> None:
    pair = Pair()
    pair.lose = lambda sent: sent.kind is TRANSPORT
    pair.send(pair.alice, b"lost")
    pair.run(0.5)
    pair.send(pair.bob, b"waits")
    assert pair.times(pair.bob, TRANSPORT) == []
    pair.lose = lambda sent: False
    pair.send(pair.alice, b"proof")
    pair.run(0.1)
    assert pair.bob.packets == [b"proof"]
    assert pair.alice.packets == [b"waits"]


def test_an_initiator_with_nothing_to_send_proves_the_session_by_a_keepalive() -> None:
    pair = Pair()
    initiation = pair.alice.tunnel.initiate(pair.now)
    assert initiation is not None
    pair.transmit(pair.alice, [initiation])
    pair.run(1.0)
    assert pair.keepalives(pair.alice) == [pytest.approx(2 * LATENCY_S)]
    assert pair.bob.events == [SessionProven("responder", None)]


def test_both_ends_with_the_same_preshared_key_meet() -> None:
    pair = Pair(preshared_keys=(b"p" * 32, b"p" * 32))
    pair.send(pair.alice, b"hello")
    pair.run(1.0)
    assert pair.bob.packets == [b"hello"]


def test_another_preshared_key_fails_at_the_response_and_harms_nothing() -> None:
    pair = Pair(preshared_keys=(b"p" * 32, b"q" * 32))
    pair.send(pair.alice, b"hello")
    pair.run(1.0)
    assert pair.alice.tunnel.counters.responses_refused == 1
    assert pair.bob.packets == []
    pair.bob.tunnel.configure(preshared_key=b"p" * 32, persistent_keepalive_s=0.0, now=pair.now)
    pair.run(10.0)
    assert pair.bob.packets == [b"hello"]


def test_a_peer_that_expects_another_key_never_answers() -> None:
    pair = Pair()
    pair.bob.meet(noise.LocalStatic(b"x" * 32).public)
    pair.send(pair.alice, b"hello")
    pair.run(1.0)
    assert pair.times(pair.bob, RESPONSE) == []


def test_an_initiation_of_another_peer_is_refused_by_this_tunnel() -> None:
    pair = Pair()
    initiation = pair.alice.tunnel.initiate(pair.now)
    assert initiation is not None
    pair.bob.meet(noise.LocalStatic(b"x" * 32).public)
    decoded = messages.decode(initiation)
    assert isinstance(decoded, Initiation)
    read = noise.read_initiation(pair.bob.local, decoded)
    assert pair.bob.tunnel.consume_initiation(read, pair.now) is None
    assert pair.bob.tunnel.counters.initiations_refused == 1


def test_a_replayed_initiation_is_refused_and_the_session_stays() -> None:
    pair = established()
    (initiation,) = [sent.datagram for sent in pair.sent if sent.kind is INITIATION]
    assert pair.bob.receive(initiation, pair.now) == []
    assert pair.bob.tunnel.counters.initiations_refused == 1
    pair.send(pair.bob, b"still here")
    pair.run(1.0)
    assert pair.alice.packets == [b"still here"]


def test_a_flood_of_genuine_initiations_is_answered_once_in_50_ms() -> None:
    pair = Pair()
    answers = []
    for _ in range(10):
        pair.alice.meet(pair.bob.local.public)
        pair.alice.tunnel.set_reachable(True, pair.now)
        initiation = pair.alice.tunnel.initiate(pair.now)
        assert initiation is not None
        answers += pair.bob.receive(initiation, pair.now)
        pair.now += 0.01
    assert len(answers) == 2
    assert pair.bob.tunnel.counters.initiations_refused == 8


def test_a_response_to_an_older_initiation_is_refused() -> None:
    pair = Pair()
    pair.delays = lambda: [3.0]
    pair.send(pair.alice, b"hello")
    pair.run(5.9)  # the first response is on the way, and the second initiation too
    assert len(pair.times(pair.alice, INITIATION)) == 2
    pair.run(0.2)
    assert pair.alice.tunnel.counters.responses_refused == 1
    pair.delays = lambda: [LATENCY_S]
    pair.run(10.0)
    assert pair.bob.packets == [b"hello"]


def test_initiations_that_cross_settle_on_one_session_that_one_end_renews() -> None:
    pair = Pair()
    pair.send(pair.alice, b"from alice")
    pair.send(pair.bob, b"from bob")
    pair.run(1.0)
    assert (pair.bob.packets, pair.alice.packets) == ([b"from alice"], [b"from bob"])
    assert len(pair.sent) == 6, "two handshakes of three messages"
    for _ in range(260):
        pair.send(pair.alice, b"a")
        pair.send(pair.bob, b"b")
        pair.run(0.5)
    renewals = [sent for sent in pair.sent[6:] if sent.kind is INITIATION]
    assert len(renewals) == 1
    assert len(pair.bob.packets) == len(pair.alice.packets) == 261


def test_renewals_that_cross_in_traffic_lose_nothing() -> None:
    pair = established()
    pair.run(REKEY_TIMEOUT)
    for number in range(200):
        if number == 100:
            for end in (pair.alice, pair.bob):
                initiation = end.tunnel.initiate(pair.now)
                assert initiation is not None
                pair.transmit(end, [initiation])
        pair.send(pair.alice, b"a%d" % number)
        pair.send(pair.bob, b"b%d" % number)
        pair.run(LATENCY_S / 4)
    pair.run(1.0)
    assert (len(pair.bob.packets), len(pair.alice.packets)) == (201, 200)


def test_an_initiation_that_crosses_a_proven_session_is_forgotten() -> None:
    pair = Pair()
    pair.delays = lambda: [1.0]
    pair.send(pair.alice, b"from alice")
    pair.run(2.5)  # Alice has the response; her proof is on the way
    pair.delays = lambda: [LATENCY_S]
    pair.lose = lambda sent: sent.kind is RESPONSE
    pair.send(pair.bob, b"from bob")
    pair.run(20.0)
    assert pair.alice.packets == [b"from bob"]
    assert len(pair.times(pair.bob, INITIATION)) == 1, "not sent again: there is a session"
    assert len(pair.bob.indices.in_use) == 1, "the session's; the initiation's was given back"


# --- renewal and its limits ---


def test_the_initiator_alone_renews_the_session_after_120_s() -> None:
    pair = established()
    for _ in range(200):
        pair.run(1.0)
        pair.send(pair.alice, b"a")
        pair.send(pair.bob, b"b")
    pair.run(1.0)
    assert pair.times(pair.bob, INITIATION) == []
    first, second = pair.times(pair.alice, INITIATION)
    assert first == 0.0
    assert REKEY_AFTER_TIME <= second <= REKEY_AFTER_TIME + 2.0
    assert len(pair.bob.packets) == 201
    assert len(pair.alice.packets) == 200


def test_packets_that_a_renewal_overtook_are_still_opened() -> None:
    pair = established()
    pair.run(REKEY_AFTER_TIME - 2.0)
    late = pair.bob.tunnel.encapsulate([b"late", b"later"], pair.now)
    pair.run(2.0)
    pair.send(pair.alice, b"renew")
    pair.run(1.0)
    assert len(pair.times(pair.alice, INITIATION)) == 2
    pair.transmit(pair.bob, late[:1])
    pair.run(1.0)
    assert pair.alice.packets == [b"late"]
    pair.run(REJECT_AFTER_TIME - REKEY_AFTER_TIME)
    pair.transmit(pair.bob, late[1:])
    pair.run(1.0)
    assert pair.alice.packets == [b"late"], "too old even for the previous keypair"


def test_the_initiator_renews_after_165_s_on_receipt_too() -> None:
    pair = established()
    pair.run(156.0)
    (early,) = pair.bob.tunnel.encapsulate([b"early"], pair.now)
    assert pair.alice.receive(early, pair.now) == []
    pair.run(REKEY_AFTER_RECEIVE - 156.0)
    batch = pair.bob.tunnel.encapsulate([b"late", b"later"], pair.now)
    answers = [pair.alice.receive(datagram, pair.now) for datagram in batch]
    assert [list(map(messages.message_type, each)) for each in answers] == [[INITIATION], []]


def test_packets_that_such_a_renewal_overtook_ask_for_no_other() -> None:
    pair = established()
    pair.run(REKEY_AFTER_RECEIVE)
    batch = pair.bob.tunnel.encapsulate([b"late", b"later"], pair.now)
    pair.transmit(pair.bob, batch[:1])
    pair.run(3 * LATENCY_S)
    assert len(pair.alice.events) == 2, "the new session"
    pair.transmit(pair.bob, batch[1:])
    pair.run(20.0)
    assert pair.alice.packets == [b"late", b"later"]
    assert len(pair.times(pair.alice, INITIATION)) == 2


def test_any_packet_sent_by_the_initiator_after_120_s_renews_a_keepalive_too() -> None:
    pair = established()
    pair.run(REKEY_AFTER_TIME - 8.0)
    pair.send(pair.bob, b"for the keepalive")
    pair.run(15.0)
    (keepalive,) = pair.keepalives(pair.alice)[:1]
    assert keepalive > REKEY_AFTER_TIME
    assert pair.times(pair.alice, INITIATION)[1:] == [keepalive]


def test_a_session_carries_nothing_after_180_s() -> None:
    pair = established()
    late = pair.bob.tunnel.encapsulate([b"too late"], pair.now)
    pair.lose = lambda sent: True
    pair.run(REJECT_AFTER_TIME)
    pair.lose = lambda sent: False
    pair.transmit(pair.bob, late)
    pair.run(0.5)
    assert pair.alice.packets == []
    assert pair.alice.tunnel.counters.expired == 1
    assert not pair.bob.tunnel.has_session(pair.now)
    pair.send(pair.bob, b"anew")
    assert pair.sent[-1].kind is INITIATION
    pair.run(1.0)
    assert pair.alice.packets == [b"anew"]


def test_keys_are_forgotten_when_nothing_renewed_them() -> None:
    pair = established()
    assert len(pair.alice.indices.in_use) == 1
    pair.run(ZERO_KEYS_AFTER)
    assert pair.alice.indices.in_use == pair.bob.indices.in_use == set()
    assert pair.alice.tunnel.next_timeout() is None
    assert pair.bob.tunnel.next_timeout() is None


# --- packets that wait, and paths that come and go ---


def test_of_too_many_waiting_packets_the_oldest_are_dropped() -> None:
    pair = Pair()
    pair.send(pair.alice, *(b"%d" % number for number in range(MAX_QUEUED_PACKETS + 5)))
    pair.run(1.0)
    assert pair.bob.packets == [b"%d" % number for number in range(5, MAX_QUEUED_PACKETS + 5)]
    assert pair.alice.tunnel.counters.queued_dropped == 5


def test_without_a_path_packets_wait_and_nothing_is_sent() -> None:
    pair = Pair()
    assert pair.alice.tunnel.set_reachable(False, pair.now) == []
    pair.send(pair.alice, b"waits")
    assert pair.alice.tunnel.initiate(pair.now) is None
    assert pair.alice.tunnel.keepalive(pair.now) == []
    pair.run(60.0)
    assert pair.sent == []
    pair.transmit(pair.alice, pair.alice.tunnel.set_reachable(True, pair.now))
    pair.run(1.0)
    assert pair.bob.packets == [b"waits"]


def test_a_path_that_comes_back_finds_the_session_and_sends_what_waited() -> None:
    pair = established()
    pair.alice.tunnel.set_reachable(False, pair.now)
    assert not pair.alice.tunnel.has_session(pair.now)
    pair.send(pair.alice, b"waits")
    pair.run(5.0)
    pair.transmit(pair.alice, pair.alice.tunnel.set_reachable(True, pair.now))
    pair.run(1.0)
    assert pair.bob.packets == [b"first", b"waits"]
    assert len(pair.times(pair.alice, INITIATION)) == 1


def test_a_path_lost_during_the_handshake_still_lets_the_response_in() -> None:
    pair = Pair()
    pair.send(pair.alice, b"waits")
    pair.alice.tunnel.set_reachable(False, pair.now)
    pair.run(1.0)
    assert pair.bob.events == [SessionProven("responder", None)], "by a keepalive: the packet waits for the path"
    pair.transmit(pair.alice, pair.alice.tunnel.set_reachable(True, pair.now))
    pair.run(1.0)
    assert pair.bob.packets == [b"waits"]


def test_a_path_lost_during_the_handshake_stops_its_retransmission() -> None:
    pair = Pair()
    pair.lose = lambda sent: True
    pair.send(pair.alice, b"waits")
    pair.alice.tunnel.set_reachable(False, pair.now)
    pair.run(60.0)
    assert pair.times(pair.alice, INITIATION) == [0.0]
    pair.lose = lambda sent: False
    pair.transmit(pair.alice, pair.alice.tunnel.set_reachable(True, pair.now))
    pair.run(1.0)
    assert pair.bob.packets == [b"waits"]


def test_forgotten_sessions_give_their_indices_back_and_are_made_anew() -> None:
    pair = established()
    pair.run(REKEY_TIMEOUT)
    pair.alice.tunnel.forget_sessions()
    assert pair.alice.indices.in_use == set()
    pair.send(pair.alice, b"again")
    pair.run(1.0)
    assert pair.bob.packets == [b"first", b"again"]


def test_an_initiation_that_is_due_too_early_follows_in_time() -> None:
    pair = established()
    pair.alice.tunnel.forget_sessions()
    pair.send(pair.alice, b"again")
    assert len(pair.times(pair.alice, INITIATION)) == 1
    assert pair.alice.tunnel.initiate(pair.now) is None
    pair.run(REKEY_TIMEOUT)
    assert pair.times(pair.alice, INITIATION) == [0.0, REKEY_TIMEOUT]
    assert pair.bob.packets == [b"first", b"again"]


# --- cookies ---


def test_under_load_a_cookie_is_asked_for_and_the_retransmission_carries_it() -> None:
    pair = Pair()
    stranger = Pair(seed=2).alice
    stranger.meet(pair.bob.local.public)
    stranger.tunnel.set_reachable(True, pair.now)
    flood = stranger.tunnel.initiate(pair.now)
    assert flood is not None
    pair.lose = lambda sent: False
    while not pair.bob.gate.under_load(pair.now + 0.5):
        pair.bob.gate.admit(flood, b"flood!", pair.now)
    pair.send(pair.alice, b"hello")
    pair.run(0.5)
    assert [(sent.by.name, sent.kind) for sent in pair.sent] == [("alice", INITIATION), ("bob", COOKIE_REPLY)]
    pair.run(REKEY_TIMEOUT - 0.6)
    while not pair.bob.gate.under_load(pair.now + 0.5):
        pair.bob.gate.admit(flood, b"flood!", pair.now)
    pair.run(0.7)
    assert pair.bob.packets == [b"hello"]
    assert pair.bob.gate.counters.cookies_sent >= 2


def test_a_cookie_reply_that_nobody_asked_for_is_refused() -> None:
    pair = Pair()
    reply = messages.CookieReply(1, bytes(24), bytes(32))
    assert not pair.alice.tunnel.consume_cookie_reply(reply, pair.now)
    assert pair.alice.tunnel.counters.cookies_refused == 1
