"""Transport data through a tunnel: what is dropped from a batch, and what is made of the rest."""

from tests.wg.pair import MTU, established, receiver_of


def test_a_replayed_packet_is_dropped() -> None:
    pair = established()
    (datagram,) = pair.alice.tunnel.encapsulate([b"once"], pair.now)
    pair.transmit(pair.alice, [datagram, datagram])
    pair.run(1.0)
    assert pair.bob.packets == [b"first", b"once"]
    assert pair.bob.tunnel.counters.replayed == 1


def test_a_forged_packet_inside_a_batch_costs_only_itself() -> None:
    pair = established()
    batch = pair.alice.tunnel.encapsulate([bytes([index]) * 16 for index in range(1, 9)], pair.now)
    forged = bytearray(batch[3])
    forged[20] ^= 1
    batch[3] = bytes(forged)
    receiver = receiver_of(batch[0])
    result = pair.bob.tunnel.decapsulate(receiver, batch, "direct", pair.now)
    assert result.plaintexts == [bytes([index]) * 16 if index != 4 else None for index in range(1, 9)]
    assert result.credited
    assert pair.bob.tunnel.counters.forged == 1


def test_forged_and_replayed_packets_in_one_batch_leave_the_others_in_their_places() -> None:
    pair = established()
    one, two, three, four = pair.alice.tunnel.encapsulate([b"1" * 16, b"2" * 16, b"3" * 16, b"4" * 16], pair.now)
    receiver = receiver_of(one)
    forged = three[:-1] + bytes([three[-1] ^ 1])
    result = pair.bob.tunnel.decapsulate(receiver, [two, forged, two, one, four], "direct", pair.now)
    assert result.plaintexts == [b"2" * 16, None, None, b"1" * 16, b"4" * 16]
    assert (pair.bob.tunnel.counters.forged, pair.bob.tunnel.counters.replayed) == (1, 1)
    assert pair.bob.tunnel.counters.rx_bytes == 48 + 3 * 48, "the first packet of the session, and these three"


def test_a_duplicate_credits_the_other_path_once() -> None:
    pair = established()
    batch = pair.alice.tunnel.encapsulate([b"1", b"2"], pair.now)
    receiver = receiver_of(batch[0])
    direct = pair.bob.tunnel.decapsulate(receiver, batch, "direct", pair.now)
    relayed = pair.bob.tunnel.decapsulate(receiver, batch, "relayed", pair.now + 0.3)
    again = pair.bob.tunnel.decapsulate(receiver, batch, "relayed", pair.now + 0.4)
    assert [(each.heard, each.credited) for each in (direct, relayed, again)] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert relayed.plaintexts == [None, None]
    later = pair.alice.tunnel.encapsulate([b"3"], pair.now + 0.5)
    pair.bob.tunnel.decapsulate(receiver, later, "direct", pair.now + 0.5)
    mixed = pair.bob.tunnel.decapsulate(receiver, [*batch, *later], "relayed", pair.now + 0.6)
    assert mixed.credited, "by the one duplicate among these that is new on this path"


def test_data_for_an_index_that_is_not_ours_is_counted() -> None:
    pair = established()
    result = pair.bob.tunnel.decapsulate(0xFFFFFFFF, [bytes(32), bytes(48)], "direct", pair.now)
    assert result.plaintexts == [None, None]
    assert pair.bob.tunnel.counters.expired == 2


def test_packets_are_padded_but_never_beyond_the_mtu() -> None:
    pair = established()
    lens = [len(datagram) - 32 for datagram in pair.alice.tunnel.encapsulate([b"x", b"y" * 16, b"z" * MTU], pair.now)]
    assert lens == [16, 16, MTU]


def test_bytes_are_counted_on_both_ends() -> None:
    pair = established()
    assert pair.alice.tunnel.counters.tx_bytes == 148 + 48
    assert pair.bob.tunnel.counters.rx_bytes == 48
    assert pair.bob.tunnel.counters.tx_bytes == 92
