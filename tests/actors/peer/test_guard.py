from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages.node import OutsideEvent
from actors.messages.peer import PathLost, PathReady, RemoteIdle, RemoteKnown, SendOffer
from actors.peer.guard import (
    AFTER_EVENT_S,
    AFTER_LOSS_S,
    FIRST_RETRY_S,
    LONGEST_WAIT_S,
    RESUME_S,
    STABLE_S,
    Guard,
    Idle,
)
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import Bench
from wg.reports import LocalTraffic

READY = PathReady(peer=BOB, path="relayed")
LOST = PathLost(peer=BOB, reason="the relay was lost")
KNOWN = RemoteKnown(peer=BOB, ours=False, ice=False)


def started(*, resumed: bool = False) -> Bench:
    bench = Bench(Guard(BOB, offers=TO.offer_listener, rng=Random(1), resumed=resumed))
    bench.advance(0.0)
    return bench


def waits(bench: Bench, count: int) -> list[float]:
    """Let this many offers go out; return how long each took."""
    found: list[float] = []
    since = bench.now
    while len(found) < count:
        bench.advance(0.01)
        for _ in bench.mail(TO.offer_listener):
            found.append(bench.now - since)
            since = bench.now
    return found


def test_the_first_offer_goes_out_at_once() -> None:
    bench = started()
    assert bench.mail(TO.offer_listener) == [SendOffer(peer=BOB, reason="started")]


def test_waits_double_up_to_the_peers_own_longest_and_never_cease() -> None:
    bench = started()
    bench.mail(TO.offer_listener)
    found = waits(bench, 12)
    for wait, nominal in zip(found, [FIRST_RETRY_S * 2**n for n in range(6)], strict=False):
        assert 0.89 * nominal <= wait <= 1.11 * nominal + 0.02
    for wait in found[6:]:
        assert 0.89 * LONGEST_WAIT_S[0] <= wait <= 1.11 * LONGEST_WAIT_S[1]


def test_a_proven_path_ends_the_offers() -> None:
    bench = started()
    bench.tell(READY)
    bench.mail(TO.offer_listener)
    bench.advance(3600)
    assert bench.mail(TO.offer_listener) == []


def test_a_lost_path_earns_an_offer_after_the_first_wait() -> None:
    bench = started()
    bench.tell(READY)
    bench.advance(STABLE_S)
    bench.mail(TO.offer_listener)
    bench.tell(LOST)
    assert bench.mail(TO.offer_listener) == []  # the rotation of a distress comes before it (recovery R6)
    bench.advance(1.2 * AFTER_LOSS_S)
    assert bench.mail(TO.offer_listener) == [SendOffer(peer=BOB, reason="the relay was lost")]


def test_the_backoff_is_remembered_until_the_path_was_proven_for_long() -> None:
    bench = started()
    waits(bench, 7)
    bench.tell(READY)
    bench.advance(STABLE_S - 1)
    bench.tell(LOST)
    assert waits(bench, 1)[0] > 20
    bench.tell(READY)
    bench.advance(STABLE_S)
    bench.tell(LOST)
    assert waits(bench, 1)[0] < 1


def test_an_outside_event_starts_the_backoff_anew() -> None:
    bench = started()
    waits(bench, 7)
    bench.tell(OutsideEvent(kind="signal_connected"))
    bench.advance(2 * AFTER_EVENT_S)
    assert bench.mail(TO.offer_listener) == [SendOffer(peer=BOB, reason="signal_connected")]
    bench.tell(READY, OutsideEvent(kind="signal_connected"))
    bench.advance(100)
    assert bench.mail(TO.offer_listener) == []  # what is proven is the watcher's


def test_the_peers_of_a_node_act_on_an_event_one_after_another() -> None:  # S5
    offered = []
    for seed in range(100):
        bench = Bench(Guard(BOB, offers=TO.offer_listener, rng=Random(seed)))
        waits(bench, 6)
        bench.tell(OutsideEvent(kind="relay_connected", spread_s=10.0))
        offered.append(waits(bench, 1)[0])
    assert max(offered) <= 10.02
    for begin in range(10):
        assert 2 <= sum(begin <= at < begin + 1 for at in offered) <= 25


def test_an_idle_remote_gets_no_offers_until_there_is_traffic() -> None:
    bench = started()
    bench.mail(TO.offer_listener)
    bench.tell(RemoteIdle(peer=BOB), LOST, OutsideEvent(kind="relay_connected"))
    bench.advance(7200)
    assert bench.mail(TO.offer_listener) == []
    bench.tell(LocalTraffic(peer=BOB))
    assert bench.mail(TO.offer_listener) == [SendOffer(peer=BOB, reason="local traffic")]
    bench.tell(LocalTraffic(peer=BOB), KNOWN)
    assert bench.mail(TO.offer_listener) == []  # awake already


def test_an_idle_remote_that_speaks_again_wakes_the_guard() -> None:
    bench = started()
    bench.tell(RemoteIdle(peer=BOB))
    bench.mail(TO.offer_listener)
    bench.tell(KNOWN)
    assert len(bench.mail(TO.offer_listener)) == 1


def test_a_path_that_outlived_the_control_process_needs_no_offer() -> None:
    bench = started(resumed=True)
    assert bench.mail(TO.offer_listener) == []
    bench.tell(READY)
    bench.advance(10)
    assert bench.mail(TO.offer_listener) == []


def test_a_path_that_did_not_outlive_it_after_all_does() -> None:
    bench = started(resumed=True)
    bench.advance(RESUME_S * 1.2)
    assert len(bench.mail(TO.offer_listener)) == 1


MAIL = [
    READY,
    LOST,
    KNOWN,
    RemoteIdle(peer=BOB),
    LocalTraffic(peer=BOB),
    OutsideEvent(kind="signal_connected"),
    OutsideEvent(kind="resumed"),
]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(MAIL), st.floats(0, 100))), st.booleans())
def test_whatever_comes_an_unproven_peer_that_is_not_idle_is_offered_again(
    mail: list[tuple[PathReady, float]], resumed: bool
) -> None:
    bench = started(resumed=resumed)
    for message, wait in mail:
        bench.tell(message)
        bench.advance(wait)
    bench.tell(READY, LOST)
    bench.mail(TO.offer_listener)
    bench.advance(50)
    assert (bench.mail(TO.offer_listener) != []) != isinstance(bench.state, Idle)
