from itertools import pairwise
from random import Random

from actors.addresses import PACKET, RELAYS
from actors.messages.node import CloseRelayed, HomeRelayChanged, OpenRelayed
from actors.messages.packet import RelayedClosed, RelayedCloseDone, RelayedFailed, RelayedOpened
from actors.messages.peer import (
    Distress,
    LocalRelayChanged,
    MeetElsewhere,
    ProveNow,
    RelayEvidence,
    RelayLost,
    RelayReady,
    RelayTurn,
    RelayTurnDone,
    RemoteIdle,
    SendOffer,
)
from actors.messages.process import ProcessRestarted
from actors.peer.relay_states import Closed, Closing, Open, Opening
from actors.peer.relay_worker import CLOSE_S, OPEN_S, TURN_S, WOKE_S, RelayWorker
from actors.peer.reopening import HOMELESS_S
from tests.actors.peer.names import BOB, HOME, OTHER, THEIRS, TO
from tests.kit.bench import Bench

FIRST = 1000  # generation
RESTARTED = ProcessRestarted(process=PACKET, incarnation=2)


def worker(*, controller: bool = False, home: str | None = HOME, resumed: tuple[int, str] | None = None) -> Bench:
    return Bench(
        RelayWorker(
            BOB, TO, controller=controller, first_generation=FIRST, home_url=home, rng=Random(1), resumed=resumed
        )
    )


def turn(number: int, url: str | None = THEIRS, *, generation: int = 0, ours: bool = True) -> RelayTurn:
    return RelayTurn(peer=BOB, turn=number, relay_url=url, relay_ip=None, remote_generation=generation, ours=ours)


def opened(generation: int) -> RelayedOpened:
    return RelayedOpened(peer=BOB, generation=generation, link=1)


def failed(generation: int) -> RelayedFailed:
    return RelayedFailed(peer=BOB, generation=generation, reason="the remote did not come")


def gone(generation: int) -> RelayedClosed:
    return RelayedClosed(peer=BOB, generation=generation, cause="link_closed", reason="the link broke")


def closed(generation: int) -> RelayedCloseDone:
    return RelayedCloseDone(peer=BOB, generation=generation)


def evidence(generation: int) -> RelayEvidence:
    return RelayEvidence(peer=BOB, generation=generation, reason="3 probes went unanswered")


def open_worker(*, against: int = 0, controller: bool = False) -> Bench:
    bench = worker(controller=controller)
    bench.tell(turn(1, generation=against), opened(FIRST))
    assert isinstance(bench.state, Open)
    bench.tags()
    return bench


def requests(bench: Bench) -> list[tuple[str, int]]:
    """Return what RELAYS was asked for since the last look."""
    return [
        (type(mail).__name__, mail.generation)
        for mail in bench.mail(RELAYS)
        if isinstance(mail, OpenRelayed | CloseRelayed)
    ]


def outcomes(bench: Bench) -> list[tuple[int, str]]:
    return [(mail.turn, mail.outcome) for mail in bench.mail(TO.offer_listener) if isinstance(mail, RelayTurnDone)]


def told_generations(bench: Bench) -> list[int]:
    return [mail.generation for mail in bench.mail(TO.offer_listener) if isinstance(mail, LocalRelayChanged)]


# --- where and when ---


def test_the_controller_opens_at_its_own_home_and_the_other_at_the_remotes() -> None:
    for controller, url in ((True, HOME), (False, THEIRS)):
        bench = worker(controller=controller)
        bench.tell(turn(1))
        assert bench.mail(RELAYS) == [OpenRelayed(peer=BOB, generation=FIRST, url=url)]


def test_an_opened_connection_ends_the_turn_and_is_told() -> None:
    bench = worker()
    bench.tell(turn(1), opened(FIRST))
    assert bench.mail(TO.conn)[-1] == RelayReady(peer=BOB, generation=FIRST, link=1, url=THEIRS)
    assert bench.mail(TO.offer_listener) == [
        LocalRelayChanged(peer=BOB, generation=FIRST),
        RelayTurnDone(peer=BOB, turn=1, outcome="opened"),
    ]


def test_without_a_server_the_turn_ends_and_the_offer_is_kept() -> None:
    bench = worker(controller=True, home=None)
    bench.tell(turn(1))
    assert outcomes(bench) == [(1, "unavailable")]
    bench.tell(HomeRelayChanged(url=HOME, server_ip=None))
    assert requests(bench) == [("OpenRelayed", FIRST)]


def test_a_remote_of_ours_without_relay_is_met_at_the_controllers_home_a_foreign_one_is_not() -> None:
    bench = worker(controller=True)
    bench.tell(turn(1, None, ours=True))
    assert requests(bench) == [("OpenRelayed", FIRST)]
    bench = worker(controller=True)
    bench.tell(turn(1, None, ours=False))
    assert outcomes(bench) == [(1, "unavailable")]


def test_a_turn_ends_even_if_the_opening_goes_on() -> None:
    bench = worker()
    bench.tell(turn(1))
    bench.advance(TURN_S)
    assert outcomes(bench) == [(1, "failed")]
    bench.tell(opened(FIRST))
    assert isinstance(bench.state, Open)
    assert outcomes(bench) == []


def test_two_turns_at_once_both_end() -> None:  # from a listener that was made anew
    bench = worker()
    bench.tell(turn(1), turn(2), opened(FIRST))
    assert outcomes(bench) == [(1, "failed"), (2, "opened")]
    bench.tell(evidence(FIRST), turn(3), turn(4), closed(FIRST), opened(FIRST + 1))
    assert outcomes(bench) == [(3, "failed"), (4, "opened")]


def test_a_newer_offer_joins_an_opening_that_goes_on_at_the_same_server() -> None:
    bench = worker()
    bench.tell(turn(1))
    bench.advance(WOKE_S)
    bench.tags()
    bench.tell(turn(2))
    bench.advance(TURN_S - 0.1)
    assert (requests(bench), outcomes(bench)) == ([], [])
    bench.tell(opened(FIRST))
    assert outcomes(bench) == [(2, "opened")]


def test_and_ends_one_at_another_server() -> None:
    bench = worker()
    bench.tell(turn(1))
    bench.advance(TURN_S)
    bench.tags()
    bench.tell(turn(2, OTHER))
    assert requests(bench) == [("CloseRelayed", FIRST)]
    bench.tell(opened(FIRST))  # it was on its way
    assert isinstance(bench.state, Closing)
    bench.tell(closed(FIRST))
    assert bench.mail(RELAYS) == [OpenRelayed(peer=BOB, generation=FIRST + 1, url=OTHER)]


def test_a_failed_opening_is_tried_again_with_growing_waits() -> None:
    bench = worker()
    bench.tell(turn(1), failed(FIRST))
    assert outcomes(bench) == [(1, "failed")]
    waits, generation = [], FIRST
    for _ in range(8):
        bench.mail(RELAYS)
        since = bench.now
        while not (asked := requests(bench)):
            bench.advance(0.1)
        generation += 1
        assert asked == [("OpenRelayed", generation)]
        waits.append(bench.now - since)
        bench.tell(failed(generation))
    assert waits[:3] == sorted(waits[:3])
    assert waits[0] < 1.5
    assert 4 < waits[-1] < 6.2


def test_the_next_offer_does_not_wait_for_that() -> None:
    bench = worker()
    bench.tell(turn(1), failed(FIRST))
    requests(bench)
    bench.tell(turn(2))
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]


def test_an_opening_that_nobody_answers_is_closed_and_made_anew() -> None:
    bench = worker()
    bench.tell(turn(1))
    requests(bench)
    bench.advance(OPEN_S)
    assert requests(bench) == [("CloseRelayed", FIRST)]
    bench.advance(CLOSE_S)
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]


# --- R2: reuse ---


def test_an_offer_never_tears_down_a_healthy_connection() -> None:  # recovery R2
    bench = open_worker(against=7)
    for number in range(2, 100):
        bench.tell(turn(number, generation=7))
    assert requests(bench) == []
    assert outcomes(bench) == [(number, "reused") for number in range(2, 100)]
    assert isinstance(bench.state, Open)


def test_a_reused_connection_is_hinted_at() -> None:  # recovery R4
    bench = open_worker()
    bench.tell(turn(2))
    assert [type(mail) for mail in bench.mail(TO.wg_watcher)] == [ProveNow]


def test_an_offer_without_relay_or_with_an_older_generation_is_no_evidence() -> None:
    bench = open_worker(against=7)
    bench.tell(turn(2, None), turn(3, generation=6), turn(4, generation=0))
    assert requests(bench) == []


# --- R3: evidence ---


def test_the_watchers_evidence_closes_and_reopens_with_the_latest_offer() -> None:  # recovery R3, R4, R6
    bench = open_worker()
    bench.tell(turn(2))
    bench.tags()
    bench.tell(evidence(FIRST))
    assert bench.tags() == ["CloseRelayed"]
    bench.tell(closed(FIRST))
    assert [mail.generation for mail in bench.mail(TO.conn) if isinstance(mail, RelayLost)] == [FIRST]
    assert bench.mail(TO.ice_worker) == [Distress(peer=BOB, path="relayed", reason="3 probes went unanswered")]
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]


def test_the_order_is_close_closed_rotate_lost() -> None:  # recovery R6
    bench = open_worker()
    bench.tell(evidence(FIRST), closed(FIRST))
    assert bench.tags() == ["CloseRelayed", "Distress", "LocalRelayChanged", "RelayLost", "OpenRelayed"]


def test_evidence_after_reuse_and_reuse_after_evidence_end_alike() -> None:  # recovery R4: in either order of arrival
    first = open_worker()
    first.tell(turn(2), evidence(FIRST), closed(FIRST))
    second = open_worker()
    second.tell(evidence(FIRST), turn(2), closed(FIRST))
    assert isinstance(first.state, Opening)
    assert isinstance(second.state, Opening)
    assert first.state.generation == second.state.generation == FIRST + 1
    assert requests(first) == requests(second) == [("CloseRelayed", FIRST), ("OpenRelayed", FIRST + 1)]


def test_evidence_that_meets_a_close_for_another_reason_is_distress_all_the_same() -> None:  # recovery R6
    bench = open_worker()
    bench.tell(turn(2, OTHER), evidence(FIRST - 1))
    bench.tell(evidence(FIRST), evidence(FIRST), closed(FIRST))
    assert [type(mail) for mail in bench.mail(TO.ice_worker)] == [Distress]
    assert requests(bench) == [("CloseRelayed", FIRST), ("OpenRelayed", FIRST + 1)]
    bench = open_worker()
    bench.tell(turn(2, OTHER), evidence(FIRST - 1), closed(FIRST))
    assert bench.mail(TO.ice_worker) == []


def test_evidence_about_an_older_incarnation_is_dropped() -> None:
    bench = open_worker()
    bench.tell(evidence(FIRST - 1))
    assert isinstance(bench.state, Open)
    assert requests(bench) == []


def test_a_connection_that_ended_is_reopened_at_once_without_an_offer() -> None:
    bench = open_worker()
    bench.tell(gone(FIRST))
    assert [mail.generation for mail in bench.mail(TO.conn) if isinstance(mail, RelayLost)] == [FIRST]
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]


def test_a_newer_generation_of_the_remote_is_evidence() -> None:  # recovery R3 (e)
    bench = open_worker(against=7)
    bench.tell(turn(2, generation=8))
    assert requests(bench) == [("CloseRelayed", FIRST)]
    bench.tell(closed(FIRST))
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]
    assert bench.mail(TO.ice_worker) == []  # no distress of ours
    bench.tell(opened(FIRST + 1))
    assert outcomes(bench) == [(2, "opened")]
    bench.tell(turn(3, generation=8))
    assert requests(bench) == []


def test_the_first_generation_that_the_remote_names_is_none() -> None:
    bench = open_worker(against=0)
    bench.tell(turn(2, generation=8))
    assert requests(bench) == []
    bench.tell(turn(3, generation=9))
    assert requests(bench) == [("CloseRelayed", FIRST)]


def test_reopening_because_the_remote_did_is_not_told_as_news() -> None:  # else two peers do so for ever
    bench = worker()
    bench.tell(turn(1, generation=7), opened(FIRST), turn(2, generation=8), closed(FIRST), opened(FIRST + 1))
    assert set(told_generations(bench)) == {FIRST}
    bench.tell(evidence(FIRST + 1), closed(FIRST + 1), opened(FIRST + 2))
    assert told_generations(bench) == [FIRST + 2]


def test_offers_name_the_new_generation_before_it_is_open() -> None:  # else what it proved is closed by the next offer
    bench = worker()
    assert told_generations(bench) == [FIRST]
    bench.tell(turn(1), opened(FIRST), RESTARTED)
    assert isinstance(bench.state, Opening)
    assert told_generations(bench) == [FIRST + 1]
    bench.tell(failed(FIRST + 1), turn(2), opened(FIRST + 2))
    assert set(told_generations(bench)) == {FIRST + 1}  # the remote has reopened for it already


def test_two_workers_that_lose_the_relay_together_do_not_chase_each_other() -> None:
    bench = open_worker(against=7)
    bench.tell(gone(FIRST), opened(FIRST + 1))
    requests(bench)
    bench.tell(turn(2, generation=9))  # the remote lost it too, and has reopened it on its own evidence
    assert requests(bench) == []
    bench.tell(turn(3, generation=10))
    assert requests(bench) == [("CloseRelayed", FIRST + 1)]


def test_another_server_in_the_offer_moves_the_pair() -> None:
    bench = open_worker()
    bench.tell(turn(2, OTHER))
    assert requests(bench) == [("CloseRelayed", FIRST)]
    bench.tell(closed(FIRST))
    assert bench.mail(RELAYS) == [OpenRelayed(peer=BOB, generation=FIRST + 1, url=OTHER)]


def test_evidence_without_a_handle_closes_whatever_entry_there_is_before_each_opening_until_one_succeeds() -> None:
    bench = worker()
    bench.tell(evidence(0), turn(1))
    assert requests(bench) == [("CloseRelayed", 0)]
    bench.tell(closed(0))
    assert requests(bench) == [("OpenRelayed", FIRST)]
    bench.tell(failed(FIRST), turn(2))
    assert requests(bench) == [("CloseRelayed", 0)]  # a failed opening keeps the evidence
    bench.tell(closed(0), opened(FIRST + 1))
    requests(bench)
    bench.tell(gone(FIRST + 1))
    assert requests(bench) == [("OpenRelayed", FIRST + 2)]  # a successful one has cleared it


def test_evidence_without_a_handle_about_an_open_connection_is_about_that() -> None:
    bench = open_worker()
    bench.tell(evidence(0))
    assert requests(bench) == [("CloseRelayed", FIRST)]


# --- R5: closing ---


def test_a_close_that_nobody_acknowledges_is_taken_as_done() -> None:
    bench = open_worker()
    bench.tell(evidence(FIRST))
    requests(bench)
    bench.advance(CLOSE_S)
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]
    bench.tell(closed(FIRST))
    assert bench.state.generation == FIRST + 1


def test_nothing_that_the_old_connection_still_says_matters() -> None:
    bench = open_worker()
    bench.tell(evidence(FIRST), gone(FIRST), failed(FIRST), opened(FIRST), evidence(FIRST))
    assert requests(bench) == [("CloseRelayed", FIRST)]
    bench.tell(closed(FIRST))
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]
    bench.tell(gone(FIRST), failed(FIRST), opened(FIRST), evidence(FIRST), closed(FIRST))
    assert requests(bench) == []
    assert isinstance(bench.state, Opening)


def test_late_words_of_an_older_incarnation_do_not_touch_the_open_one() -> None:
    bench = open_worker()
    bench.tell(evidence(FIRST), closed(FIRST), opened(FIRST + 1))
    bench.tags()
    bench.tell(gone(FIRST), failed(FIRST), evidence(FIRST), closed(FIRST))
    assert bench.tags() == []
    assert isinstance(bench.state, Open)
    bench.tell(evidence(FIRST + 1), closed(FIRST))
    assert isinstance(bench.state, Closing)  # the acknowledgement of an older close is not this one's


def test_a_home_that_moved_ends_an_opening_at_the_old_one_and_keeps_its_turn() -> None:
    bench = worker(controller=True)
    bench.tell(turn(1), HomeRelayChanged(url=None, server_ip=None))
    requests(bench)
    bench.tell(HomeRelayChanged(url=OTHER, server_ip=None))
    assert requests(bench) == [("CloseRelayed", FIRST)]
    bench.tell(closed(FIRST), opened(FIRST + 1))
    assert outcomes(bench) == [(1, "opened")]


# --- restarts, idleness ---


def test_with_the_packet_process_the_connection_is_made_anew_at_once() -> None:
    bench = open_worker()
    bench.tell(RESTARTED)
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]
    bench.tell(RESTARTED)
    assert requests(bench) == [("OpenRelayed", FIRST + 2)]
    bench.tell(opened(FIRST + 1), opened(FIRST + 2))
    assert bench.state.generation == FIRST + 2
    bench.tell(ProcessRestarted(process="control-1", incarnation=9))
    assert isinstance(bench.state, Open)


def test_a_turn_in_hand_survives_that() -> None:
    bench = worker()
    bench.tell(turn(1), RESTARTED, opened(FIRST + 1))
    assert outcomes(bench) == [(1, "opened")]


def test_a_connection_that_outlived_the_control_process_is_reused_and_can_be_reopened() -> None:
    bench = worker(resumed=(500, THEIRS))
    bench.tell(turn(1, generation=3))
    assert outcomes(bench) == [(1, "reused")]
    bench = worker(resumed=(500, THEIRS))
    bench.tell(gone(500))
    assert requests(bench) == [("OpenRelayed", FIRST)]


def test_an_idle_remotes_connection_is_closed_and_not_reopened_before_its_next_offer() -> None:
    bench = open_worker()
    bench.tell(RemoteIdle(peer=BOB), closed(FIRST))
    bench.advance(1000)
    assert requests(bench) == [("CloseRelayed", FIRST)]
    assert isinstance(bench.state, Closed)
    bench.tell(turn(2))
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]


def test_idleness_ends_a_turn_in_hand() -> None:
    bench = worker()
    bench.tell(turn(1), RemoteIdle(peer=BOB))
    assert outcomes(bench) == [(1, "failed")]
    assert requests(bench) == [("OpenRelayed", FIRST), ("CloseRelayed", FIRST)]


# --- another relay that both reach ---


def places(bench: Bench) -> list[str]:
    """Return where RELAYS was asked to open since the last look."""
    return [mail.url for mail in bench.mail(RELAYS) if isinstance(mail, OpenRelayed)]


def moved(bench: Bench) -> list[str | None]:
    """Return what our offers are to name, for each offer that is to go out at once."""
    mail = bench.mail(TO.offer_listener)
    return [
        named.url
        for named, offer in pairwise(mail)
        if isinstance(named, LocalRelayChanged) and isinstance(offer, SendOffer)
    ]


def test_where_the_remote_does_not_come_the_controller_goes_where_it_is_and_says_so() -> None:  # S7
    bench = worker(controller=True)
    bench.tell(turn(1))
    assert places(bench) == [HOME]
    bench.advance(TURN_S)
    assert moved(bench) == [THEIRS]
    bench.tell(closed(FIRST))
    assert places(bench) == [THEIRS]
    bench.tell(opened(FIRST + 1))
    assert moved(bench) == []  # it was told
    bench.tell(turn(2))
    assert isinstance(bench.state, Open)  # it is no reason to move that our home is elsewhere


def test_one_whose_home_is_ours_is_waited_for_there() -> None:
    bench = worker(controller=True)
    bench.tell(turn(1, HOME))
    bench.advance(TURN_S)
    assert (places(bench), moved(bench)) == ([HOME], [])
    assert isinstance(bench.state, Opening)


def test_a_relay_that_nothing_comes_over_is_left_for_another() -> None:  # recovery R11
    bench = open_worker(controller=True)
    bench.tell(evidence(FIRST), MeetElsewhere(peer=BOB))
    assert moved(bench) == [THEIRS]
    bench.tell(closed(FIRST))
    assert places(bench) == [THEIRS]
    bench.tell(MeetElsewhere(peer=BOB))  # it came late: what is opening is left as well
    assert moved(bench) == [None]
    bench.tell(closed(FIRST + 1), opened(FIRST + 2))
    assert places(bench) == [HOME]
    bench.tell(MeetElsewhere(peer=BOB))
    assert isinstance(bench.state, Open)  # what is open now is another than the one that nothing came over


def test_who_does_not_control_goes_nowhere_by_itself() -> None:
    bench = open_worker()
    bench.tell(evidence(FIRST), MeetElsewhere(peer=BOB), closed(FIRST))
    assert places(bench) == [THEIRS]
    assert moved(bench) == []


def test_without_a_home_for_long_the_pair_meets_at_the_remotes() -> None:  # S6
    bench = worker(controller=True, home=None)
    bench.tell(turn(1))
    assert places(bench) == []
    bench.advance(HOMELESS_S)
    assert moved(bench) == [THEIRS]
    assert places(bench) == [THEIRS]


def test_a_home_that_comes_back_soon_is_met_at() -> None:
    bench = worker(controller=True, home=None)
    bench.tell(turn(1))
    bench.advance(HOMELESS_S / 2)
    bench.tell(HomeRelayChanged(url=HOME, server_ip=None))
    bench.advance(HOMELESS_S)
    assert places(bench) == [HOME]


def test_openings_that_fail_go_round_without_an_offer_for_each() -> None:
    bench = worker(controller=True)
    bench.tell(turn(1))
    found = []
    for generation in range(FIRST, FIRST + 4):
        found += places(bench)
        bench.tell(failed(generation))
        bench.advance(10.0)
    assert found == [HOME, THEIRS, HOME, THEIRS]
    assert moved(bench) == []


def test_a_connection_elsewhere_that_outlived_the_control_process_stays() -> None:
    bench = worker(controller=True, resumed=(4, THEIRS))
    bench.tell(turn(1))
    assert isinstance(bench.state, Open)
    assert moved(bench) == []  # our offers go on naming it


def test_and_the_first_offer_of_the_new_process_names_it() -> None:  # else the remote leaves a healthy connection (R2)
    bench = worker(controller=True, resumed=(4, THEIRS))
    assert bench.mail(TO.offer_listener) == [LocalRelayChanged(peer=BOB, generation=0, url=THEIRS)]


def test_a_remote_that_left_the_place_is_told_at_once_where_we_meet_now() -> None:
    bench = worker(controller=True)
    bench.tell(turn(1))
    bench.advance(TURN_S)
    bench.tell(closed(FIRST), opened(FIRST + 1), gone(FIRST + 1))  # their relay is dead
    bench.tags()
    bench.tell(turn(2, HOME))  # and they have come to ours; our answer still named theirs
    assert moved(bench) == [None]


def test_a_remote_that_wakes_up_is_offered_our_home() -> None:
    bench = worker(controller=True)
    bench.tell(turn(1, ours=False))
    bench.advance(TURN_S)
    bench.tags()
    bench.tell(RemoteIdle(peer=BOB))
    assert [mail.url for mail in bench.mail(TO.offer_listener) if isinstance(mail, LocalRelayChanged)] == [None]


def test_what_the_worker_before_closed_is_opened_anew() -> None:
    taken_over = RelayWorker(
        BOB, TO, controller=False, first_generation=FIRST, home_url=HOME, rng=Random(1), resumed=(7, THEIRS)
    )
    bench = Bench(taken_over)
    bench.tell(closed(6))
    assert isinstance(bench.state, Open)
    bench.tell(closed(7))
    assert requests(bench) == [("OpenRelayed", FIRST)]
    assert RelayLost(peer=BOB, generation=7, reason="the worker before this one closed it") in bench.mail(TO.conn)
