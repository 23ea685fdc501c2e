import itertools

from hypothesis import given
from hypothesis import strategies as st

from actors.peer.ladder import NO_SESSION_S, Ladder
from wg.paths import PathKind


def climbed(ladder: Ladder, kind: PathKind, *times: float) -> list[str]:
    return [ladder.climb(kind, 0.0, at) for at in times]


def test_relayed_connections_are_given_up_to_another_thing_each_time() -> None:
    times = [NO_SESSION_S + number for number in range(6)]
    found = climbed(Ladder(), "relayed", *times)
    assert found == 2 * ["new_connection", "other_relay", "handshake"]


def test_a_session_that_may_be_good_is_not_thrown_away() -> None:
    ladder = Ladder()
    assert climbed(ladder, "relayed", 2.0, 12.0, 32.0, 72.0) == 2 * ["new_connection", "other_relay"]
    assert climbed(ladder, "relayed", NO_SESSION_S + 20) == ["handshake"]
    assert climbed(Ladder(), "direct", 2.0, 30.0, 200.0, 300.0) == ["offer", "offer", "handshake", "offer"]


def test_without_a_relay_offers_and_handshakes_take_turns() -> None:
    times = [NO_SESSION_S + number for number in range(4)]
    assert climbed(Ladder(), "direct", *times) == ["offer", "handshake", "offer", "handshake"]


def test_a_peer_that_was_never_heard_has_no_session_to_lose() -> None:
    ladder = Ladder()
    assert [ladder.climb("direct", None, 0.0) for _ in range(2)] == ["offer", "handshake"]


def test_a_proof_leads_back_to_the_bottom() -> None:
    ladder = Ladder()
    climbed(ladder, "relayed", 2.0)
    ladder.note("probe")
    ladder.note("probe")
    ladder.descend()
    ladder.note("probe")
    assert climbed(ladder, "relayed", 3.0) == ["new_connection"]
    assert (ladder.counts["probe"], ladder.counts["new_connection"]) == (2, 2)


def test_another_relay_is_counted_where_the_connection_was_opened_at_another() -> None:
    ladder, now = Ladder(), NO_SESSION_S
    climbed(ladder, "relayed", now, now + 1)
    assert (ladder.counts["new_connection"], ladder.counts["other_relay"]) == (1, 0), "nothing is open"
    ladder.opened(elsewhere=False)
    assert (ladder.counts["new_connection"], ladder.counts["other_relay"]) == (2, 0), "the remote reaches no other"
    ladder.opened(elsewhere=True)
    assert ladder.counts["other_relay"] == 0, "not for an outage"
    climbed(Ladder(), "relayed", now + 2)
    climbed(ladder, "relayed", now + 3)
    ladder.opened(elsewhere=True)
    assert ladder.counts["other_relay"] == 1


def test_whoever_goes_on_does_so_where_the_former_had_come_to() -> None:
    ladder = Ladder({"relayed": 2})
    assert climbed(ladder, "relayed", NO_SESSION_S, NO_SESSION_S + 1) == ["handshake", "new_connection"]
    assert ladder.places == {"relayed": 4, "direct": 0}


@given(st.lists(st.floats(0, 400), min_size=8))
def test_a_relayed_path_that_stays_dead_never_gets_the_same_twice_in_a_row(waits: list[float]) -> None:
    ladder, now = Ladder(), 0.0
    found = []
    for wait_s in waits:
        now += wait_s
        found.append(ladder.climb("relayed", 0.0, now))
    assert all(before != after for before, after in itertools.pairwise(found))
