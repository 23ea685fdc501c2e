from typing import Literal

from actors.messages.status import PeerStatus
from actors.node.rebind_ladder import ANSWER_S, FIRST_S, LONGEST_S, RebindLadder
from config.keys import PublicKey, encode_key

BOB, CAROL = (PublicKey(encode_key(bytes([number]) * 32)) for number in (2, 3))


def told(
    ladder: RebindLadder,
    peer: PublicKey,
    state: Literal["connecting", "connected", "idle"],
    now: float = 0.0,
    *,
    answers: bool = True,
) -> None:
    ladder.learn(PeerStatus(peer=peer, name="", state=state, path=None, answers=answers and state == "connecting"), now)


def climbs(ladder: RebindLadder, until: int, since: int = 0, *, network: bool = True) -> list[int]:
    return [now for now in range(since, until) if ladder.climb(float(now), network=network)]


def test_while_nobody_is_proven_the_configured_port_is_left_after_ever_longer_waits_and_for_a_short_one() -> None:
    ladder = RebindLadder()
    told(ladder, BOB, "connecting")
    first = int(FIRST_S)
    climbed = [now // first for now in climbs(ladder, 50 * first)]
    assert climbed == [1, 2, 4, 5, 9, 10, 18, 19, 31, 32, 44, 45]
    assert 12 * first == LONGEST_S


def test_one_proven_peer_keeps_the_sockets_and_shortens_the_next_wait() -> None:
    ladder = RebindLadder()
    told(ladder, BOB, "connecting")
    assert len(climbs(ladder, int(3 * FIRST_S) + 1)) == 2
    told(ladder, CAROL, "connected", 900.0)
    assert climbs(ladder, 9000, 1000) == []
    ladder.forget(CAROL)
    assert climbs(ladder, 9302, 9000) == [9300]


def test_without_network_or_anybody_who_is_missed_there_is_nothing_to_cure() -> None:
    ladder = RebindLadder()
    told(ladder, BOB, "idle")
    told(ladder, CAROL, "connecting", answers=False)  # switched off
    assert climbs(ladder, 4000) == []
    told(ladder, BOB, "connecting")
    assert climbs(ladder, 8000, 4000, network=False) == []
    assert climbs(ladder, 8302, 8000) == [8300]


def test_an_offer_on_its_way_changes_nothing_and_one_that_stays_unanswered_ends_the_waiting() -> None:
    ladder = RebindLadder()
    told(ladder, BOB, "connecting")
    for now in range(0, int(FIRST_S) - 40, 40):
        told(ladder, BOB, "connecting", float(now), answers=False)
        told(ladder, BOB, "connecting", now + 1.0)
        assert climbs(ladder, now + 40, now) == []
    told(ladder, BOB, "connecting", FIRST_S - ANSWER_S / 2, answers=False)
    told(ladder, BOB, "connecting", FIRST_S - 1.0, answers=False)
    assert climbs(ladder, int(FIRST_S) + 20, int(FIRST_S)) == [int(FIRST_S)]
    assert climbs(ladder, 9000, int(FIRST_S) + 20) == []  # it was switched off meanwhile


def test_offers_that_stay_unanswered_one_after_the_other_are_no_sign_of_life() -> None:
    ladder = RebindLadder()
    told(ladder, BOB, "connecting")
    climbed = []
    for now in range(0, int(2 * FIRST_S), 20):
        told(ladder, BOB, "connecting", float(now), answers=False)
        climbed += climbs(ladder, now + 20, now)
    assert climbed == []


def test_a_time_stamped_before_a_sleep_was_noticed_is_no_longer_wait() -> None:
    ladder = RebindLadder()
    told(ladder, BOB, "connecting")
    told(ladder, BOB, "connecting", 8 * 3600.0, answers=False)
    assert climbs(ladder, int(2 * FIRST_S)) == []
