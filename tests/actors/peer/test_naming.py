"""A relay server that one of the two does not reach."""

import msgspec

from actors.addresses import RELAYS
from actors.messages.node import CloseRelayed, HomeRelayChanged, OpenRelayed
from actors.messages.packet import RelayedFailed
from actors.messages.peer import LocalRelayChanged, SendOffer
from actors.peer.naming import MOVE_EVERY_S, MOVES
from actors.peer.relay_states import Opening
from actors.peer.relay_worker import TURN_S
from tests.actors.peer.names import BOB, HOME, OTHER, THEIRS, TO
from tests.actors.peer.test_relay_worker import (
    FIRST,
    closed,
    failed,
    gone,
    moved,
    open_worker,
    opened,
    outcomes,
    requests,
    turn,
    worker,
)
from tests.kit.bench import Bench


def told_unreached(bench: Bench) -> list[str | None]:
    return [mail.unreached for mail in bench.mail(TO.offer_listener) if isinstance(mail, LocalRelayChanged)]


def test_offers_say_where_we_cannot_be_until_we_are_there_again() -> None:  # recovery R14, S23
    bench = open_worker()
    bench.tell(gone(FIRST))
    assert told_unreached(bench) == [THEIRS]
    bench.tell(failed(FIRST + 1))
    bench.advance(5)
    assert told_unreached(bench) == []  # it is no news
    bench.tell(opened(FIRST + 2))
    assert told_unreached(bench) == [None]


def test_where_we_are_and_the_remote_does_not_come_is_reached() -> None:
    bench = worker()
    bench.tell(turn(1))
    told_unreached(bench)
    bench.tell(msgspec.structs.replace(failed(FIRST), reached=True))
    assert told_unreached(bench) == []
    bench = open_worker()
    bench.tell(msgspec.structs.replace(gone(FIRST), cause="peer_gone"))
    assert told_unreached(bench) == [None]


def test_the_controller_leaves_where_the_remote_cannot_be_at_once() -> None:
    bench = open_worker(controller=True)
    bench.tell(msgspec.structs.replace(turn(2), ours=True, relay_unreached=HOME))
    assert requests(bench) == [("CloseRelayed", FIRST)]
    assert SendOffer(peer=BOB, reason=f"we meet at relay {THEIRS}") in bench.mail(TO.offer_listener)
    bench.tell(closed(FIRST))
    assert bench.mail(RELAYS) == [OpenRelayed(peer=BOB, generation=FIRST + 1, url=THEIRS)]


def test_an_offer_of_a_server_that_we_do_not_reach_keeps_no_better_one_waiting() -> None:
    bench = open_worker()
    bench.tell(gone(FIRST), turn(2))
    assert outcomes(bench) == [(2, "unavailable")]
    assert requests(bench) == [("OpenRelayed", FIRST + 1)]  # it is tried all the same
    bench.tell(failed(FIRST + 1), turn(3))
    assert outcomes(bench) == [(3, "unavailable")]
    assert requests(bench) == [("OpenRelayed", FIRST + 2)]
    bench.tell(turn(4, OTHER), closed(FIRST + 2))
    assert requests(bench) == [("CloseRelayed", FIRST + 2), ("OpenRelayed", FIRST + 3)]
    bench.tell(opened(FIRST + 3))
    assert outcomes(bench) == [(4, "opened")]


def test_the_controller_that_cannot_be_elsewhere_goes_to_its_new_home() -> None:
    bench = worker(controller=True, home=None)
    bench.tell(turn(1))
    bench.advance(3.0)  # it meets the remote at the remote's home
    [opening] = [mail for mail in bench.mail(RELAYS) if isinstance(mail, OpenRelayed)]
    assert opening.url == THEIRS
    bench.tell(opened(opening.generation), gone(opening.generation))
    requests(bench)
    bench.mail(TO.offer_listener)
    bench.tell(HomeRelayChanged(url=HOME, server_ip=None))
    assert requests(bench) == [("CloseRelayed", opening.generation + 1)]
    assert SendOffer(peer=BOB, reason=f"we meet at relay {HOME}") in bench.mail(TO.offer_listener)


def test_a_remote_that_comes_nowhere_is_not_called_from_server_to_server_without_end() -> None:
    bench = worker(controller=True)
    minutes = 30
    for number in range(minutes * 60):
        bench.tell(turn(number))
        bench.advance(1.0)
        for mail in bench.mail(RELAYS):
            if isinstance(mail, CloseRelayed):
                bench.tell(closed(mail.generation))
    called = [mail for mail in bench.mail(TO.offer_listener) if isinstance(mail, SendOffer)]
    assert MOVES < len(called) <= MOVES + minutes * 60 / MOVE_EVERY_S


def test_offers_that_follow_each_other_have_the_time_of_one() -> None:  # S7: the next may name another server
    bench = worker()
    bench.tell(turn(1))
    bench.advance(TURN_S)
    bench.tell(turn(2))
    assert outcomes(bench) == [(1, "failed"), (2, "failed")]
    bench.tell(turn(3, OTHER), closed(FIRST), opened(FIRST + 1))
    assert outcomes(bench) == [(3, "opened")]


def test_and_the_controller_leaves_as_soon_as_one_of_them_names_a_server_that_the_remote_reaches() -> None:  # S7
    bench = worker(controller=True)
    bench.tell(turn(1, None))
    bench.advance(TURN_S)
    assert moved(bench) == []  # nowhere to go
    bench.tell(turn(2))
    assert moved(bench) == [THEIRS]


def test_an_opening_that_nobody_asked_for_gives_the_first_offer_its_time() -> None:
    bench = worker()
    bench.tell(turn(1), RelayedFailed(peer=BOB, generation=FIRST, reason="nobody came", reached=True))
    bench.advance(TURN_S + 1.0)
    assert isinstance(bench.state, Opening)
    assert bench.now - bench.state.since_at > TURN_S
    outcomes(bench)
    bench.tell(turn(2))
    bench.advance(TURN_S - 0.1)
    assert outcomes(bench) == []
