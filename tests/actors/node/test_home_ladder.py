from typing import Literal

from actors.messages.status import PeerStatus
from actors.node.home_ladder import ABSENT_S, FIRST_S, LONGEST_S, HomeLadder
from config.keys import PublicKey, encode_key

BOB, CAROL = (PublicKey(encode_key(bytes([number]) * 32)) for number in (2, 3))
HOME, OTHER = "rel://home.test:80", "rel://other.test:80"


def told(
    ladder: HomeLadder, peer: PublicKey, state: Literal["connecting", "connected", "idle"], now: float, url: str = HOME
) -> None:
    ladder.learn(PeerStatus(peer=peer, name="", state=state, path="relayed", relay_url=url), HOME, now)


def test_a_home_over_which_nothing_comes_is_changed_after_a_while() -> None:
    ladder = HomeLadder()
    told(ladder, BOB, "connecting", 10.0)
    assert not ladder.climb(10.0 + FIRST_S - 1)
    assert ladder.climb(10.0 + FIRST_S)


def test_one_proven_peer_keeps_it() -> None:
    ladder = HomeLadder()
    told(ladder, CAROL, "connected", 0.0)
    told(ladder, BOB, "connecting", 0.0)
    assert not ladder.climb(LONGEST_S)
    ladder.forget(CAROL)
    told(ladder, BOB, "connecting", LONGEST_S)
    assert ladder.climb(LONGEST_S + FIRST_S)


def test_a_proof_in_time_keeps_it() -> None:
    ladder = HomeLadder()
    told(ladder, BOB, "connecting", 0.0)
    told(ladder, BOB, "connected", FIRST_S / 2)
    told(ladder, BOB, "connecting", FIRST_S)
    assert not ladder.climb(FIRST_S + 1)


def test_peers_that_are_not_there_or_elsewhere_say_nothing_of_it() -> None:
    ladder = HomeLadder()
    told(ladder, BOB, "idle", 0.0)
    told(ladder, CAROL, "connecting", 0.0, OTHER)
    ladder.learn(PeerStatus(peer=BOB, name="", state="connecting", path=None), None, 0.0)
    assert not ladder.climb(LONGEST_S)


def test_the_waits_grow_until_there_is_a_proof() -> None:
    ladder, now, waits = HomeLadder(), 0.0, []
    for _ in range(6):
        told(ladder, BOB, "connecting", now)
        began = now
        while not ladder.climb(now):
            now += 1.0
        waits.append(now - began)
    assert waits == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, LONGEST_S, LONGEST_S]
    told(ladder, BOB, "connected", now)
    told(ladder, BOB, "connecting", now)
    assert ladder.climb(now + FIRST_S)


def test_a_home_that_nobody_is_met_at_any_more_is_no_longer_marked() -> None:
    ladder = HomeLadder()
    told(ladder, BOB, "connecting", 0.0)
    told(ladder, BOB, "idle", 1.0)
    assert not ladder.climb(1.0 + ABSENT_S)
    told(ladder, BOB, "connecting", FIRST_S)
    assert not ladder.climb(FIRST_S + 1), "it counts from when somebody was there again"
    assert ladder.climb(2 * FIRST_S)


def test_while_connections_follow_each_other_somebody_is_there() -> None:
    ladder = HomeLadder()
    for number in range(3):
        told(ladder, BOB, "connecting", number * 40.0)
        ladder.learn(PeerStatus(peer=BOB, name="", state="connecting", path=None), HOME, number * 40.0 + 20)
    assert ladder.climb(FIRST_S)


def test_what_was_said_of_one_home_is_not_said_of_the_next() -> None:
    ladder = HomeLadder()
    told(ladder, BOB, "connecting", 0.0)
    now = FIRST_S - 10
    ladder.learn(PeerStatus(peer=BOB, name="", state="connecting", path="relayed", relay_url=OTHER), OTHER, now)
    assert not ladder.climb(FIRST_S + 10)
    assert ladder.climb(now + FIRST_S)


def test_a_home_that_could_not_be_left_is_tried_to_be_left_again() -> None:
    ladder = HomeLadder()
    told(ladder, BOB, "connecting", 0.0)
    assert ladder.climb(FIRST_S)
    assert not ladder.climb(FIRST_S + 1)
    assert ladder.climb(3 * FIRST_S), "nothing was told anew meanwhile"
