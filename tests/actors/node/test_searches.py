from actors.node.searches import BURST, EAGER_TURNS, EVERY_S, Searches
from config.keys import PublicKey, encode_key

PEERS = [PublicKey(encode_key(bytes([index]) * 32)) for index in range(200)]


def granted(searches: Searches, begin: float, seconds: float) -> list[PublicKey]:
    """Grant whenever it is due; return whose turn it was."""
    found, now = searches.grant(begin), begin
    while (at := searches.next_at(now)) is not None and at <= begin + seconds:
        assert at > now
        now = at
        found += searches.grant(now)
    return found


def test_one_peer_has_its_turn_at_once() -> None:
    searches = Searches()
    searches.want(PEERS[0], eager=False)
    assert searches.grant(5.0) == [PEERS[0]]
    assert (searches.grant(5.0), searches.next_at(5.0)) == ([], None)


def test_two_hundred_that_ask_for_ever_are_bounded_and_none_is_left_out() -> None:
    searches, now, found = Searches(), 0.0, []
    for _ in range(10):
        for peer in PEERS:
            searches.want(peer, eager=True)
        assert len(searches) <= len(PEERS)
        found += granted(searches, now, 60.0)
        now += 60.0
    assert len(found) <= BURST + 600 / EVERY_S
    assert set(found) == set(PEERS)


def test_peers_with_traffic_come_first_and_the_others_are_not_left_out() -> None:
    searches = Searches()
    for peer in PEERS[:100]:
        searches.want(peer, eager=False)
    for peer in PEERS[100:]:
        searches.want(peer, eager=True)
    found = granted(searches, 0.0, 1.0)
    eager = sum(peer in PEERS[100:] for peer in found)
    assert eager == len(found) - len(found) // (EAGER_TURNS + 1)
    assert found[:3] == PEERS[100:103]


def test_whoever_waits_keeps_its_place_and_changes_the_line_when_traffic_comes() -> None:
    searches = Searches()
    for peer in PEERS[:BURST]:
        searches.want(peer, eager=False)
    searches.grant(0.0)
    for peer in (*PEERS[:3], PEERS[0]):
        searches.want(peer, eager=False)
    searches.want(PEERS[2], eager=True)
    assert granted(searches, 0.0, 10.0) == [PEERS[2], PEERS[0], PEERS[1]]


def test_a_forgotten_peer_has_no_turn() -> None:
    searches = Searches()
    searches.want(PEERS[0], eager=True)
    searches.want(PEERS[1], eager=False)
    searches.keep(frozenset([PEERS[1]]))
    assert searches.grant(0.0) == [PEERS[1]]
