"""A tunnel that begins with its peer as if it had never met it."""

from tests.wg.pair import Pair, established
from wg.messages import MessageType

INITIATION = MessageType.INITIATION


def renew(pair: Pair) -> None:
    pair.transmit(pair.alice, pair.alice.tunnel.renew(pair.now))


def test_a_handshake_follows_at_once_and_packets_pass() -> None:
    pair = established()
    before = len(pair.times(pair.alice, INITIATION))
    renew(pair)
    assert not pair.alice.tunnel.has_session(pair.now)
    pair.run(0.1)
    assert len(pair.times(pair.alice, INITIATION)) == before + 1
    for end in (pair.alice, pair.bob):
        pair.send(end, b"after")
    pair.run(0.1)
    assert pair.alice.packets[-1] == pair.bob.packets[-1] == b"after"


def test_all_indices_are_given_back() -> None:
    pair = established()
    for _ in range(5):
        renew(pair)
        pair.run(10.0)
    assert len(pair.alice.indices.in_use) <= 3
    assert len(pair.bob.indices.in_use) <= 3


def test_a_peer_whose_clock_went_back_is_let_in_again() -> None:
    pair = Pair()
    pair.bob.timestamp = lambda: b"\xff" * 12
    pair.bob.meet(pair.alice.local.public)
    pair.bob.tunnel.set_reachable(True, pair.now)
    pair.send(pair.bob, b"ahead")
    pair.run(200.0)  # the session is over
    pair.bob.timestamp = lambda: b"\x01" * 12
    pair.bob.meet(pair.alice.local.public)
    pair.bob.tunnel.set_reachable(True, pair.now)
    pair.send(pair.bob, b"behind")
    pair.run(1.0)
    assert pair.alice.packets == [b"ahead"]
    pair.alice.tunnel.set_reachable(False, pair.now)
    assert pair.alice.tunnel.renew(pair.now) == []  # without a path nothing is sent
    pair.run(6.0)  # until the initiation is repeated
    assert pair.alice.packets == [b"ahead", b"behind"]
