"""Two tunnels over a bad link, and one tunnel under fire: they always find back to a working session."""

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wg.pair import LATENCY_S, End, Pair, established
from wg.constants import (
    KEEPALIVE_TIMEOUT,
    MAX_QUEUED_PACKETS,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER_MAX,
)
from wg.messages import MessageType

# The longest way back: data into a session that the other end has lost is noticed after 15 s, an initiation is on the
# way that nobody can answer, and the next one may cross the other end's.
SETTLED_S = KEEPALIVE_TIMEOUT + 3 * (REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX)
TICK_S = 0.5


@st.composite
def bad_links(draw: st.DrawFn) -> tuple[Pair, float, float, float]:
    """A pair, and the link's rates of loss and repetition and its largest extra delay in seconds."""
    pair = Pair(seed=draw(st.integers(0, 2**32)))
    loss = draw(st.sampled_from([0.0, 0.05, 0.3, 0.7]))
    repetition = draw(st.sampled_from([0.0, 0.1, 0.5]))
    extra_s = draw(st.sampled_from([0.0, 0.05, 1.0, 4.0]))
    return pair, loss, repetition, extra_s


def make_bad(pair: Pair, loss: float, repetition: float, extra_s: float) -> None:
    rng = pair.rng
    pair.lose = lambda sent: rng.random() < loss

    def delays() -> list[float]:
        copies = 2 if rng.random() < repetition else 1
        return [LATENCY_S + rng.random() * extra_s for _ in range(copies)]

    pair.delays = delays


def make_good(pair: Pair) -> None:
    pair.lose = lambda sent: False
    pair.delays = lambda: [LATENCY_S]


def talk(pair: Pair, duration_s: float, alice: float, bob: float) -> None:
    """Let each end send packets with this probability a tick."""
    for _ in range(int(duration_s / TICK_S)):
        for end, probability in ((pair.alice, alice), (pair.bob, bob)):
            if pair.rng.random() < probability:
                pair.send(end, b"%s %d" % (end.name.encode(), pair.rng.getrandbits(64)))
        pair.run(TICK_S)


def assert_usable(pair: Pair) -> None:
    """A packet of each end arrives at the other at once."""
    for end in (pair.alice, pair.bob):
        last = b"last word of " + end.name.encode()
        pair.send(end, last)
        pair.run(1.0)
        assert pair.other(end).packets[-1] == last


def initiations_are_rate_limited(pair: Pair, end: End) -> bool:
    times = pair.times(end, MessageType.INITIATION)
    return all(later - earlier >= REKEY_TIMEOUT - 1e-6 for earlier, later in pairwise(times))


RATES = st.sampled_from([0.0, 0.1, 1.0])


@settings(deadline=None)
@given(bad_links(), RATES, RATES, st.sampled_from([10.0, 130.0, 400.0]))
def test_after_any_weather_both_ends_find_a_session(
    link: tuple[Pair, float, float, float], alice: float, bob: float, duration_s: float
) -> None:
    pair, loss, repetition, extra_s = link
    make_bad(pair, loss, repetition, extra_s)
    talk(pair, duration_s, alice, bob)
    make_good(pair)
    talk(pair, SETTLED_S, 1.0, 1.0)
    assert_usable(pair)
    for end in (pair.alice, pair.bob):
        assert len(end.packets) == len(set(end.packets)), "nothing is delivered twice"
        assert initiations_are_rate_limited(pair, end)
        assert len(end.indices.in_use) <= 4, "three keypairs and an initiation"


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.floats(0.0, 0.1), st.floats(0.0, 0.5))
def test_simultaneous_initiations_settle_at_once_and_stay_settled(seed: int, apart_s: float, extra_s: float) -> None:
    pair = Pair(seed=seed)
    make_bad(pair, loss=0.0, repetition=0.0, extra_s=extra_s)
    pair.send(pair.alice, b"from alice")
    pair.run(apart_s)
    pair.send(pair.bob, b"from bob")
    pair.run(4 * (LATENCY_S + extra_s))
    assert (pair.bob.packets, pair.alice.packets) == ([b"from alice"], [b"from bob"])
    make_good(pair)
    talk(pair, 300.0, 1.0, 1.0)
    renewals = [at for end in (pair.alice, pair.bob) for at in pair.times(end, MessageType.INITIATION) if at > 60.0]
    assert len(renewals) == 2, "one end, twice"
    assert all(end.tunnel.counters.expired == end.tunnel.counters.forged == 0 for end in (pair.alice, pair.bob))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_a_healthy_pair_loses_nothing_over_ten_minutes(seed: int) -> None:
    pair = Pair(seed=seed)
    make_bad(pair, loss=0.0, repetition=0.2, extra_s=0.2)
    talk(pair, 600.0, 0.9, 0.9)
    pair.run(1.0)
    assert len(pair.alice.packets) + len(pair.bob.packets) > 2000
    for end in (pair.alice, pair.bob):
        data = [sent for sent in pair.sent if sent.by is end and sent.kind is MessageType.TRANSPORT]
        keepalives = len(pair.keepalives(end))
        assert len(data) - keepalives == len(pair.other(end).packets)


# --- one end that forgets, and one under fire ---


def test_an_end_that_restarted_is_found_again() -> None:
    pair = established()
    pair.run(30.0)
    pair.bob.meet(pair.alice.local.public)
    pair.bob.tunnel.set_reachable(True, pair.now)
    talk(pair, SETTLED_S, 1.0, 0.0)
    assert_usable(pair)


NOISE = st.binary(max_size=200)
TYPED_NOISE = st.builds(
    lambda kind, rest, length: (bytes([kind, 0, 0, 0]) + rest).ljust(length, b"\xaa")[:length],
    st.integers(1, 4),
    st.binary(max_size=150),
    st.sampled_from([148, 92, 64, 32, 48, 200]),
)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(NOISE | TYPED_NOISE, max_size=30))
def test_noise_raises_nothing_and_leaves_the_session_alone(seed: int, datagrams: list[bytes]) -> None:
    pair = established(seed)
    for datagram in datagrams:
        for end in (pair.alice, pair.bob):
            assert end.receive(datagram, pair.now) == []
    assert_usable(pair)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)), max_size=30))
def test_mutated_and_replayed_messages_raise_nothing_and_harm_nothing(
    seed: int, mutations: list[tuple[int, int]]
) -> None:
    pair = established(seed)
    talk(pair, 5.0, 1.0, 1.0)
    under_way = pair.alice.tunnel.initiate(pair.now)
    assert under_way is not None
    recorded = [sent.datagram for sent in pair.sent] + [under_way]
    for choice, bit in mutations:
        datagram = bytearray(recorded[choice % len(recorded)])
        datagram[bit // 8 % len(datagram)] ^= 1 << bit % 8
        for end in (pair.alice, pair.bob):
            end.receive(bytes(datagram), pair.now)
            end.receive(recorded[choice % len(recorded)], pair.now)
    assert_usable(pair)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)), max_size=20))
def test_handshakes_succeed_among_mutations_of_themselves(seed: int, mutations: list[tuple[int, int]]) -> None:
    pair = Pair(seed=seed)
    pair.send(pair.alice, b"hello")
    for choice, bit in mutations:
        recorded = pair.sent[choice % len(pair.sent)].datagram
        datagram = bytearray(recorded)
        datagram[bit // 8 % len(datagram)] ^= 1 << bit % 8
        for end in (pair.alice, pair.bob):
            pair.transmit(end, end.receive(bytes(datagram), pair.now))
        pair.run(LATENCY_S / 2)
    pair.run(1.0)
    assert pair.bob.packets == [b"hello"]


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(["lose", "find", "send", "forget", "initiate", "wait"]), max_size=40),
)
def test_orders_of_the_control_side_come_in_any_order(seed: int, orders: list[str]) -> None:
    pair, rng = established(seed), random.Random(seed)
    tunnel = pair.alice.tunnel
    for order in orders:
        match order:
            case "lose":
                assert tunnel.set_reachable(False, pair.now) == []
            case "find":
                pair.transmit(pair.alice, tunnel.set_reachable(True, pair.now))
            case "send":
                pair.send(pair.alice, *[b"x"] * rng.randrange(1, 2 * MAX_QUEUED_PACKETS))
            case "forget":
                tunnel.forget_sessions()
            case "initiate":
                initiation = tunnel.initiate(pair.now)
                pair.transmit(pair.alice, [] if initiation is None else [initiation])
            case _:
                pair.run(rng.random() * 20.0)
    pair.transmit(pair.alice, tunnel.set_reachable(True, pair.now))
    talk(pair, SETTLED_S, 1.0, 1.0)
    assert_usable(pair)
    assert len(pair.alice.indices.in_use) <= 4
