"""What a tunnel does by itself as time passes: retransmit, give up, keep alive."""

from itertools import pairwise

import pytest

from tests.wg.pair import Pair, Sent, established
from wg.constants import (
    KEEPALIVE_TIMEOUT,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER_MAX,
)
from wg.messages import MessageType
from wg.tunnel_records import HandshakeGivenUp, InitiationUnanswered

INITIATION, TRANSPORT = MessageType.INITIATION, MessageType.TRANSPORT


def all_lost(_: Sent) -> bool:
    return True


def test_an_unanswered_initiation_is_sent_again_every_5_s_and_a_bit_and_told() -> None:
    pair = Pair()
    pair.lose = all_lost
    pair.send(pair.alice, b"hello")
    pair.run(30.0)
    times = pair.times(pair.alice, INITIATION)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(REKEY_TIMEOUT <= gap <= REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX for gap in gaps)
    assert len(set(gaps)) == len(gaps), "jitter"
    assert pair.alice.events == [InitiationUnanswered(attempts) for attempts in range(2, len(times) + 1)]


def test_each_initiation_is_another_with_a_later_timestamp() -> None:
    pair = Pair()
    pair.lose = all_lost
    pair.send(pair.alice, b"hello")
    pair.run(11.0)
    assert len({sent.datagram[8:40] for sent in pair.sent}) == len(pair.sent) == 3
    assert len(pair.alice.indices.in_use) == 1, "the index of a replaced initiation is given back"


def test_an_initiation_without_a_timestamp_costs_no_index() -> None:
    def disk_is_full() -> bytes:
        raise OSError("no space left")

    pair = Pair()
    pair.alice.timestamp = disk_is_full
    pair.alice.meet(pair.bob.local.public)
    pair.alice.tunnel.set_reachable(True, pair.now)
    with pytest.raises(OSError, match="no space left"):
        pair.alice.tunnel.initiate(pair.now)
    assert pair.alice.indices.in_use == set()


def test_after_90_s_without_an_answer_it_gives_up_until_there_is_something_to_send() -> None:
    pair = Pair()
    pair.lose = all_lost
    pair.send(pair.alice, b"lost")
    pair.run(300.0)
    times = pair.times(pair.alice, INITIATION)
    assert REKEY_ATTEMPT_TIME - REKEY_TIMEOUT - REKEY_TIMEOUT_JITTER_MAX <= times[-1] < REKEY_ATTEMPT_TIME
    assert pair.alice.events[-1] == HandshakeGivenUp()
    assert pair.alice.tunnel.counters.queued_dropped == 1
    assert pair.alice.indices.in_use == set()
    pair.lose = lambda sent: False
    pair.send(pair.alice, b"anew")
    pair.run(1.0)
    assert pair.bob.packets == [b"anew"]


@pytest.mark.parametrize("every_s", [1.0, 7.0])
def test_while_packets_come_it_does_not_give_up_and_says_that_nothing_answers(every_s: float) -> None:
    pair = Pair()
    pair.lose = all_lost
    while pair.now < 1200.0:
        pair.send(pair.alice, b"more")
        pair.run(every_s)
    times = pair.times(pair.alice, INITIATION)
    assert times[-1] > 190.0
    assert pair.alice.events == [InitiationUnanswered(attempts) for attempts in range(2, len(times) + 1)]


def test_attempts_on_another_path_are_counted_anew() -> None:
    pair = Pair()
    pair.lose = all_lost
    pair.send(pair.alice, b"hello")
    pair.run(12.0)
    assert pair.alice.events[-1] == InitiationUnanswered(3)
    pair.alice.events.clear()
    pair.alice.tunnel.set_reachable(False, pair.now)
    pair.run(60.0)
    pair.transmit(pair.alice, pair.alice.tunnel.set_reachable(True, pair.now))
    pair.run(6.0)
    assert pair.alice.events == [InitiationUnanswered(2)]


def test_attempts_are_counted_anew_after_an_answer() -> None:
    pair = Pair()
    pair.lose = all_lost
    pair.send(pair.alice, b"hello")
    pair.run(12.0)
    pair.lose = lambda sent: False
    pair.run(30.0)
    assert pair.bob.packets == [b"hello"]
    pair.alice.events.clear()
    pair.alice.tunnel.forget_sessions()
    pair.lose = all_lost
    pair.send(pair.alice, b"again")
    pair.run(6.0)
    assert pair.alice.events == [InitiationUnanswered(2)]


def test_who_received_data_and_has_none_to_send_says_so_after_10_s() -> None:
    pair = established()  # at 0.04 s Bob got a packet
    pair.run(60.0)
    (keepalive,) = pair.keepalives(pair.bob)
    assert keepalive == pytest.approx(0.06 + KEEPALIVE_TIMEOUT)
    assert pair.keepalives(pair.alice) == [], "a keepalive is not answered"


def test_who_answers_in_time_sends_no_keepalive() -> None:
    pair = established()
    for _ in range(60):
        pair.send(pair.alice, b"ping")
        pair.run(1.0)
        pair.send(pair.bob, b"pong")
    pair.run(1.0)
    assert pair.keepalives(pair.alice) == pair.keepalives(pair.bob) == []


def test_data_that_nothing_answers_earns_a_new_handshake_after_15_s() -> None:
    pair = established()
    pair.run(60.0)
    pair.lose = lambda sent: sent.kind is TRANSPORT
    sent_at = pair.now - 1000.0
    pair.send(pair.alice, b"into the void")
    pair.run(20.0)
    _, again = pair.times(pair.alice, INITIATION)
    earliest = sent_at + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
    assert earliest <= again <= earliest + REKEY_TIMEOUT_JITTER_MAX


def test_more_data_does_not_put_that_handshake_off() -> None:
    pair = established()
    pair.run(60.0)
    pair.lose = lambda sent: sent.kind is TRANSPORT
    for _ in range(20):
        pair.send(pair.alice, b"into the void")
        pair.run(1.0)
    assert len(pair.times(pair.alice, INITIATION)) == 2


def test_persistent_keepalives_start_with_the_path_and_keep_their_interval() -> None:
    pair = Pair(persistent_keepalive_s=25.0)
    pair.run(101.0)
    keepalives = pair.keepalives(pair.alice)
    assert len(keepalives) == 5, "the proof of the session, and one each 25 s"
    assert all(later - earlier == pytest.approx(25.0) for earlier, later in pairwise(keepalives))


def test_persistent_keepalives_wait_while_there_is_traffic() -> None:
    pair = Pair(persistent_keepalive_s=25.0)
    for _ in range(100):
        pair.run(1.0)
        pair.send(pair.alice, b"data")
    assert len(pair.keepalives(pair.alice)) == 1


def test_persistent_keepalives_try_again_after_giving_up() -> None:
    pair = Pair(persistent_keepalive_s=25.0)
    pair.lose = all_lost
    pair.run(200.0)
    assert pair.alice.events.count(HandshakeGivenUp()) == 1
    pair.lose = lambda sent: False
    pair.run(20.0)
    assert pair.keepalives(pair.bob) == []
    assert pair.bob.tunnel.proven_at is not None


def test_persistent_keepalives_can_be_turned_on_and_off() -> None:
    pair = established()
    pair.run(60.0)
    quiet = len(pair.sent)
    first = pair.alice.tunnel.configure(preshared_key=bytes(32), persistent_keepalive_s=5.0, now=pair.now)
    pair.transmit(pair.alice, first)
    pair.run(11.0)
    assert len(pair.sent) == quiet + 3
    assert pair.alice.tunnel.configure(preshared_key=bytes(32), persistent_keepalive_s=0.0, now=pair.now) == []
    pair.run(30.0)
    assert len(pair.sent) == quiet + 3


def test_a_timeout_that_comes_much_too_late_fires_each_timer_once() -> None:
    pair = established()
    pair.send(pair.bob, b"data")
    pair.run(0.5)
    pair.now += 60.0  # the host slept
    assert [len(datagram) for datagram in pair.alice.tunnel.handle_timeout(pair.now)] == [32]
    assert pair.alice.tunnel.handle_timeout(pair.now) == []
