"""Initiations that come together: what piled up while a process stood still."""

import pytest

from tests.wg.network import GENERATION, LINK, Network, Node, between
from wg.constants import INITIATION_INTERVAL, REKEY_TIMEOUT
from wg.datagrams import UdpBatch


def initiations(net: Network, sender: Node, count: int) -> list[bytes]:
    """Return that many initiations of one host, oldest first, none of which has arrived."""
    net.loses_udp = True
    net.advance(count * (REKEY_TIMEOUT + 1))
    net.loses_udp = False
    return [batch.datagrams[0] for by, batch in net.udp if by is sender][-count:]


@pytest.mark.parametrize("together", [True, False])
def test_the_newest_of_a_burst_makes_the_session(together: bool) -> None:
    net = Network()
    a, b = net.pair()
    b.uses(a, a.direct)
    net.loses_udp = True
    a.uses(b, b.direct, handshake_after_s=0.0)
    burst = initiations(net, a, 3)
    for batch in [burst] if together else [[each] for each in burst]:
        b.path.handle_udp([UdpBatch(a.endpoint, None, 0, batch)], net.now)
    net.advance(2 * INITIATION_INTERVAL)
    net.udp.clear()
    a.send(between(a, b))
    assert b.packets == [between(a, b)], "no other handshake was waited for"


def test_of_a_burst_no_more_are_answered_than_others_may_be() -> None:
    net = Network()
    a, b = net.pair()
    b.uses(a, a.direct)
    net.loses_udp = True
    a.uses(b, b.direct, handshake_after_s=0.0)
    burst = initiations(net, a, 6)
    net.udp.clear()
    b.path.handle_udp([UdpBatch(a.endpoint, None, 0, burst)], net.now)
    net.advance(2 * INITIATION_INTERVAL)
    assert len([batch for by, batch in net.udp if by is b]) == 2
    assert b.drops(a)["initiation_overtaken"] == 4


def test_the_newest_that_came_both_ways_is_answered_both_ways() -> None:
    net = Network()
    a, b = net.pair()
    b.uses(a, a.direct)
    net.loses_udp = True
    a.uses(b, b.direct, handshake_after_s=0.0)
    oldest, _, newest = initiations(net, a, 3)
    net.udp.clear()
    b.path.handle_udp([UdpBatch(a.endpoint, None, 0, [oldest, newest])], net.now)
    b.path.handle_relayed(a.key, LINK, GENERATION, [newest], net.now)
    b.path.output()
    net.now += INITIATION_INTERVAL
    b.path.handle_timeout(net.now)
    output = b.path.output()
    (directly,), (by_relay,) = output.udp, output.relayed
    assert directly.datagrams == by_relay.payloads


def test_an_older_one_that_is_overtaken_on_the_way_changes_nothing() -> None:
    net = Network()
    a, b = net.pair()
    b.uses(a, a.direct)
    net.loses_udp = True
    a.uses(b, b.direct, handshake_after_s=0.0)
    oldest, older, newest = initiations(net, a, 3)
    b.path.handle_udp([UdpBatch(a.endpoint, None, 0, [oldest, newest, older])], net.now)
    net.advance(2 * INITIATION_INTERVAL)
    a.send(between(a, b))
    assert b.packets == [between(a, b)]
