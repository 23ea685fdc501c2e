from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import SIGNAL
from actors.messages.node import OutsideEvent, SearchGranted, SearchWanted
from actors.messages.peer import (
    IceLost,
    PathLost,
    PathReady,
    PeerQuarantined,
    RemoteIdle,
    RemoteKnown,
    ResetPeer,
    SendOffer,
    TrafficHeard,
)
from actors.peer.guard import (
    AFTER_EVENT_S,
    AFTER_LOSS_S,
    EVENTS_PAUSE_S,
    FIRST_RETRY_S,
    FIRST_SEARCH_S,
    FIRST_UPGRADE_S,
    LONGEST_IDLE_UPGRADE_S,
    LONGEST_UPGRADE_S,
    LONGEST_WAIT_S,
    QUARANTINE_PAUSE_S,
    QUARANTINE_WAIT_S,
    RESUME_S,
    SEARCH_EVERY_S,
    SEARCHES,
    SETTLE_S,
    STABLE_S,
    TURN_S,
    Guard,
    Idle,
    Quarantined,
    Retrying,
)
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import Bench
from wg.reports import LocalTraffic

READY = PathReady(peer=BOB, path="relayed")
LOST = PathLost(peer=BOB, reason="the relay was lost")
KNOWN = RemoteKnown(peer=BOB, ours=False, ice=False)


ICE_LOST = IceLost(peer=BOB, generation=7, reason="checks went unanswered")
DIRECT = PathReady(peer=BOB, path="direct", standby=True)


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


# --- a better path ---


def looking(*, traffic: bool = False) -> Bench:
    """A guard whose peer is relayed, and both look for a direct path; its first search has ended in nothing."""
    bench = Bench(Guard(BOB, offers=TO.offer_listener, rng=Random(1), ice=True))
    bench.advance(0.0)
    bench.tell(RemoteKnown(peer=BOB, ours=True, ice=True), READY)
    bench.advance(FIRST_SEARCH_S - 1)
    if traffic:
        bench.tell(TrafficHeard(peer=BOB))
    assert bench.mail(SIGNAL) == []
    bench.mail(TO.offer_listener)
    return bench


def searches(bench: Bench, count: int, *, traffic: bool = False) -> list[float]:
    """Grant every turn that is asked for, and end each search as an agent does; return when its offer went out."""
    found: list[float] = []
    while len(found) < count:
        bench.advance(0.1)
        for _ in bench.mail(SIGNAL):
            bench.tell(SearchGranted(peer=BOB))
            assert len(bench.mail(TO.offer_listener)) == 1
            found.append(bench.now)
            bench.advance(12.0)
            bench.tell(ICE_LOST)
        if traffic and round(bench.now * 10) % 200 == 0:
            bench.tell(TrafficHeard(peer=BOB))
    return found


def test_a_relayed_peer_asks_for_its_turn_and_offers_when_it_has_it() -> None:
    bench = looking()
    bench.advance(2.0)
    assert bench.mail(SIGNAL) == [SearchWanted(peer=BOB, eager=True)]
    bench.advance(100.0)
    assert bench.mail(TO.offer_listener) == []
    bench.tell(SearchGranted(peer=BOB))
    assert bench.mail(TO.offer_listener) == [SendOffer(peer=BOB, reason="there may be a direct path")]
    bench.tell(SearchGranted(peer=BOB))
    assert bench.mail(TO.offer_listener) == []  # one turn, one search


def test_a_turn_that_does_not_come_is_asked_for_again() -> None:
    bench = looking()
    bench.advance(2.0)
    bench.mail(SIGNAL)
    bench.advance(TURN_S + 1)
    assert len(bench.mail(SIGNAL)) == 1


def test_a_turn_is_of_no_use_to_whom_needs_none_any_more() -> None:
    for news in (DIRECT, LOST, RemoteKnown(peer=BOB, ours=True, ice=False)):
        bench = looking()
        bench.advance(2.0)
        bench.tell(news, SearchGranted(peer=BOB))
        assert bench.mail(TO.offer_listener) == []


def test_searches_of_an_idle_peer_grow_rare_but_never_cease() -> None:
    times = searches(looking(), 12)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] < 12 + 1.2 * FIRST_UPGRADE_S
    assert all(LONGEST_IDLE_UPGRADE_S * 0.85 < gap < 600 for gap in gaps[-2:])  # S10: every 10 minutes


def test_searches_of_a_peer_with_traffic_stay_frequent() -> None:
    times = searches(looking(traffic=True), 12, traffic=True)
    gaps = [after - before for before, after in pairwise(times)]
    assert all(LONGEST_UPGRADE_S * 0.85 < gap < 61 for gap in gaps[-4:])  # S10: every minute


def test_traffic_that_begins_hastens_the_next_search() -> None:
    bench = looking()
    searches(bench, 9)
    bench.advance(LONGEST_UPGRADE_S)
    bench.tell(TrafficHeard(peer=BOB))
    assert bench.mail(SIGNAL) == [SearchWanted(peer=BOB, eager=True)]


def test_an_outside_event_brings_a_search_at_once_but_not_one_for_each() -> None:  # S10
    bench = looking()
    searches(bench, 9)
    for _ in range(5):
        bench.tell(OutsideEvent(kind="network_changed"))
    bench.advance(SETTLE_S)
    assert bench.mail(SIGNAL) == [SearchWanted(peer=BOB, eager=True)]
    bench.tell(SearchGranted(peer=BOB), OutsideEvent(kind="resumed"))
    bench.mail(TO.offer_listener)
    bench.advance(EVENTS_PAUSE_S - 1)
    assert bench.mail(SIGNAL) == []
    bench.advance(1.0)
    assert bench.mail(SIGNAL) == [SearchWanted(peer=BOB, eager=True)]


def test_a_direct_path_that_is_lost_is_looked_for_at_once_but_not_each_time() -> None:
    bench = looking()
    bench.tell(DIRECT)
    bench.advance(STABLE_S)
    bench.tell(ICE_LOST, READY)
    bench.advance(2 * AFTER_LOSS_S)
    assert len(bench.mail(SIGNAL)) == 1
    bench.tell(SearchGranted(peer=BOB), DIRECT)
    bench.advance(STABLE_S / 2)  # it comes and goes
    bench.tell(ICE_LOST, READY)
    bench.advance(2 * AFTER_LOSS_S)
    assert bench.mail(SIGNAL) == []
    bench.advance(2 * FIRST_UPGRADE_S)
    assert len(bench.mail(SIGNAL)) == 1


def test_a_path_that_is_back_before_the_offer_still_has_the_new_session_told() -> None:
    bench = looking()
    bench.advance(STABLE_S)
    bench.tell(DIRECT)
    bench.advance(STABLE_S)
    bench.mail(SIGNAL)
    bench.tell(ICE_LOST, LOST, READY)
    bench.advance(1.2 * AFTER_LOSS_S)
    assert len(bench.mail(SIGNAL)) == 1


def test_a_lost_search_of_a_peer_without_a_path_waits_for_the_clock() -> None:
    bench = started()
    bench.mail(TO.offer_listener)
    bench.tell(ICE_LOST)
    assert (bench.mail(TO.offer_listener), bench.mail(SIGNAL)) == ([], [])


@pytest.mark.parametrize("event", [False, True])
@pytest.mark.parametrize("every_s", [1.0, 3.0, 10.0])
def test_whatever_hastens_searches_one_peer_has_a_budget_of_them(event: bool, every_s: float) -> None:
    bench, time_s = looking(), 3600.0
    count = 0
    for _ in range(int(time_s / every_s)):
        bench.tell(*[OutsideEvent(kind="network_changed")] * event, TrafficHeard(peer=BOB))
        bench.advance(every_s)
        for _ in bench.mail(SIGNAL):
            bench.tell(SearchGranted(peer=BOB), ICE_LOST)  # each fails at once
        count += len(bench.mail(TO.offer_listener))
    assert count <= SEARCHES + time_s / SEARCH_EVERY_S + event * time_s / EVENTS_PAUSE_S


def test_a_search_that_fails_does_not_put_off_the_one_after_an_outside_event() -> None:
    bench = looking()
    searches(bench, 9)
    bench.tell(OutsideEvent(kind="network_changed"), ICE_LOST)
    bench.advance(SETTLE_S)
    assert bench.mail(SIGNAL) == [SearchWanted(peer=BOB, eager=True)]


def test_a_spent_budget_does_not_put_off_the_search_after_an_outside_event() -> None:  # S10: within 10 s
    bench = looking()
    for _ in range(2 * SEARCHES):
        bench.tell(OutsideEvent(kind="network_changed"))
        bench.advance(EVENTS_PAUSE_S)
        assert SearchWanted(peer=BOB, eager=True) in bench.mail(SIGNAL)
        bench.tell(SearchGranted(peer=BOB), ICE_LOST)


def test_a_direct_path_that_has_no_relay_beside_it_asks_nobody() -> None:
    bench = looking()
    bench.tell(PathReady(peer=BOB, path="direct", standby=False))
    bench.advance(FIRST_SEARCH_S)
    offered = bench.mail(TO.offer_listener)
    assert offered == [SendOffer(peer=BOB, reason="there may be a relayed connection to stand by")]
    assert bench.mail(SIGNAL) == []


# --- quarantine, and the operator ---


def quarantined() -> Bench:
    bench = started()
    bench.tell(PeerQuarantined(peer=BOB, until=bench.now + 3000, reason="6 attempts proved no path"))
    bench.mail(TO.offer_listener)
    return bench


def test_a_quarantined_peer_is_offered_slowly_and_when_it_is_over_as_before() -> None:
    bench = quarantined()
    for wait in waits(bench, 4):
        assert 0.89 * QUARANTINE_WAIT_S <= wait <= 1.11 * QUARANTINE_WAIT_S + 0.02
    bench.advance(1000)
    assert isinstance(bench.state, Retrying)


def test_a_quarantine_from_before_the_start_holds_the_first_offer_back_for_a_pause() -> None:
    bench = Bench(Guard(BOB, offers=TO.offer_listener, rng=Random(1)))
    bench.tell(PeerQuarantined(peer=BOB, until=bench.now + 3000, reason="6 attempts proved no path"))
    bench.advance(QUARANTINE_PAUSE_S - 0.1)
    assert len(bench.mail(TO.offer_listener)) == 0
    bench.advance(0.2)
    assert len(bench.mail(TO.offer_listener)) == 1
    bench.advance(QUARANTINE_WAIT_S / 2)
    assert len(bench.mail(TO.offer_listener)) == 0


def test_a_proven_path_ends_quarantine() -> None:
    bench = quarantined()
    bench.tell(READY, LOST)
    assert waits(bench, 1)[0] < FIRST_RETRY_S * 2


def test_an_outside_event_is_worth_one_offer_in_quarantine() -> None:
    bench = quarantined()
    bench.advance(QUARANTINE_PAUSE_S)
    for _ in range(30):  # a link that comes and goes
        bench.tell(OutsideEvent(kind="relay_connected"))
        bench.advance(10.0)
    assert 300 / QUARANTINE_PAUSE_S - 1 <= len(bench.mail(TO.offer_listener)) <= 300 / QUARANTINE_PAUSE_S + 1
    assert isinstance(bench.state, Quarantined)


def test_quarantine_does_not_hold_back_who_has_a_path_or_is_idle() -> None:
    for before in (READY, RemoteIdle(peer=BOB)):
        bench = started()
        bench.tell(before, PeerQuarantined(peer=BOB, until=bench.now + 3000, reason="6 attempts proved no path"))
        assert not isinstance(bench.state, Quarantined)


def test_a_reset_offers_at_once_and_forgets_what_was() -> None:
    for bench in (quarantined(), started()):
        waits(bench, 2)
        bench.tell(ResetPeer(peer=BOB))
        bench.advance(1.2 * AFTER_LOSS_S)
        assert bench.mail(TO.offer_listener) == [SendOffer(peer=BOB, reason="reset by hand")]
        assert waits(bench, 1)[0] < FIRST_RETRY_S * 1.2


def test_a_reset_of_a_proven_peer_waits_for_its_paths_to_go() -> None:
    bench = started()
    waits(bench, 5)
    bench.tell(READY, ResetPeer(peer=BOB))
    assert bench.mail(TO.offer_listener) == []
    bench.tell(LOST)
    assert waits(bench, 1)[0] < FIRST_RETRY_S


def test_a_standby_that_comes_and_goes_keeps_no_backoff_alive() -> None:
    bench = started()
    waits(bench, 7)
    bench.tell(DIRECT)
    for standby in (False, True, False):
        bench.advance(STABLE_S / 2)
        bench.tell(PathReady(peer=BOB, path="direct", standby=standby))
    bench.tell(LOST)
    assert waits(bench, 1)[0] < FIRST_RETRY_S


MAIL = [
    READY,
    LOST,
    KNOWN,
    RemoteIdle(peer=BOB),
    LocalTraffic(peer=BOB),
    OutsideEvent(kind="signal_connected"),
    OutsideEvent(kind="resumed"),
    PathReady(peer=BOB, path="direct", standby=True),
    PeerQuarantined(peer=BOB, until=1500.0, reason="6 attempts proved no path"),
    ResetPeer(peer=BOB),
    TrafficHeard(peer=BOB),
    SearchGranted(peer=BOB),
    ICE_LOST,
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
    bench.tell(READY, ResetPeer(peer=BOB), LOST)
    bench.mail(TO.offer_listener)
    bench.advance(50)
    assert (bench.mail(TO.offer_listener) != []) != isinstance(bench.state, Idle)
