"""Whatever comes in, nothing raises, and what is genuine still arrives."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wg.network import GENERATION, LINK, MTU, Network, between
from wg.datagrams import Endpoint, UdpBatch
from wg.messages import MessageType, message_type

SOURCE = Endpoint("203.0.113.5", 9)

junk = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda kind, rest: bytes([kind, 0, 0, 0]) + rest, st.integers(0, 5), st.binary(max_size=160)),
    st.builds(lambda rest: b"\x01\0\0\0" + rest, st.binary(min_size=144, max_size=144)),
    st.builds(lambda rest: b"\x02\0\0\0" + rest, st.binary(min_size=88, max_size=88)),
    st.builds(lambda rest: b"\x03\0\0\0" + rest, st.binary(min_size=60, max_size=60)),
)
packet = st.builds(bytes.__add__, st.sampled_from([b"", b"\x45", b"\x60"]), st.binary(max_size=100))
mutation = st.tuples(st.integers(0, 2000), st.integers(0, 255), st.integers(-40, 40))


@settings(max_examples=60, deadline=None)
@given(st.lists(junk, max_size=6), st.lists(mutation, max_size=6), st.booleans())
def test_no_message_raises_or_keeps_a_genuine_one_out(
    strangers: list[bytes], mutations: list[tuple[int, int, int]], over_relay: bool
) -> None:
    net = Network()
    a, b = net.connected()
    a.path.handle_tun([between(a, b)], net.now)
    genuine = a.path.output().udp[0].datagrams[0]
    batch = [*strangers, *(mutated(genuine, *mutation) for mutation in mutations), genuine]
    if over_relay:
        b.path.handle_relayed(a.key, LINK, GENERATION, batch, net.now)
    else:
        b.path.handle_udp([UdpBatch(SOURCE, None, 3, batch)], net.now)
    b.path.handle_timeout(net.now + 300.0)
    assert b.path.output().packets == [between(a, b)]
    assert sum(b.drops().values()) + sum(b.drops(a).values()) >= len(strangers)


@settings(max_examples=60, deadline=None)
@given(st.lists(mutation, min_size=1, max_size=4))
@example([(724, 0, 0)])
def test_no_handshake_message_raises(mutations: list[tuple[int, int, int]]) -> None:
    net = Network()
    a, b = net.pair()
    a.uses(b, b.direct)
    net.sees = lambda _, datagrams: [
        each if message_type(each) is MessageType.TRANSPORT else mutated(each, *mutation)
        for each in datagrams
        for mutation in mutations
    ]  # one that is changed in its mac2 alone is taken, and then the packet comes: once
    a.send(between(a, b))
    net.sees = lambda _, datagrams: datagrams
    net.advance(15.0)
    assert b.packets == [between(a, b)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=100), st.tuples(st.sampled_from([4, 6]), st.binary(max_size=100))), max_size=8
    )
)
def test_no_packet_of_the_host_raises(packets: list[bytes | tuple[int, bytes]]) -> None:
    net = Network()
    a, b = net.connected()
    a.send(*(each if isinstance(each, bytes) else bytes([each[0] << 4]) + each[1] for each in packets), between(a, b))
    assert b.packets == [between(a, b)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=MTU), max_size=8))
def test_no_plaintext_of_a_peer_raises(plaintexts: list[bytes]) -> None:
    net = Network()
    a, b = net.connected()
    peer = a.path._peers[b.key]
    sealed = peer.tunnel.encapsulate([*plaintexts, between(a, b)], net.now)
    b.path.handle_udp([UdpBatch(SOURCE, None, 1, sealed)], net.now)
    assert between(a, b) in b.path.output().packets


def mutated(message: bytes, position: int, value: int, resize: int) -> bytes:
    """Return the message with one byte replaced and its end cut or extended, so that it is another one."""
    changed = bytearray(message)
    position %= len(changed)
    changed[position] = value if value != changed[position] else value ^ 1
    return bytes(changed[: len(changed) + resize]) if resize < 0 else bytes(changed) + bytes(resize)
