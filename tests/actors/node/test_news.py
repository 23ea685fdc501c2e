from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.node import PeerForgotten
from actors.messages.status import PeerStatus, RelayLinkStatus, RelaysStatus
from actors.node.news import Line, News
from config.keys import PublicKey, encode_key

BOB = PublicKey(encode_key(b"b" * 32))
CONNECTING = PeerStatus(peer=BOB, name="bob", state="connecting", path=None, reason="nothing heard yet")
RELAYED = PeerStatus(peer=BOB, name="bob", state="connected", path="relayed", relay_url="rel://r:80")
DIRECT = PeerStatus(peer=BOB, name="bob", state="connected", path="direct", relay_url="rel://r:80")
DOUBTFUL = PeerStatus(peer=BOB, name="bob", state="doubtful", path="direct", reason="a probe went unanswered")


def told(*statuses: PeerStatus) -> list[Line]:
    news = News()
    return [line for status in statuses for line in news.of(status)]


def words(*statuses: PeerStatus) -> list[str]:
    return [line.words for line in told(*statuses)]


def but(status: PeerStatus, **fields: Any) -> PeerStatus:
    return msgspec.structs.replace(status, **fields)


def test_a_peer_connects_and_moves_to_the_direct_path() -> None:
    assert told(CONNECTING, RELAYED, but(RELAYED, reason="looking for a direct path"), DIRECT) == [
        Line("INFO", "peer connected", {"peer": "bob", "path": "relayed", "relay": "rel://r:80"}),
        Line("INFO", "peer moved", {"peer": "bob", "path": "direct"}),
    ]


def test_a_lost_path_is_told_with_its_cause_and_a_recovery_with_what_did_it() -> None:
    back = but(RELAYED, recoveries=1, last_recovery_s=1.2345, last_recovery_cause="no WireGuard packet came back")
    assert told(DIRECT, but(CONNECTING, reason="no WireGuard packet came back"), back)[1:] == [
        Line("WARNING", "peer lost", {"peer": "bob", "was": "direct", "why": "no WireGuard packet came back"}),
        Line(
            "INFO",
            "peer recovered",
            {
                "peer": "bob",
                "path": "relayed",
                "relay": "rel://r:80",
                "after_s": 1.23,
                "why": "no WireGuard packet came back",
            },
        ),
    ]


def test_a_doubt_that_ends_well_is_no_news_and_one_that_the_relay_ended_is() -> None:
    assert words(DIRECT, DOUBTFUL, DIRECT) == ["peer connected"]
    assert words(DIRECT, DOUBTFUL, but(RELAYED, recoveries=1)) == ["peer connected", "peer recovered"]
    assert words(DIRECT, DOUBTFUL, CONNECTING) == ["peer connected", "peer lost"]


def test_a_peer_that_was_never_up_is_not_lost() -> None:
    assert words(CONNECTING, but(CONNECTING, reason="no relay"), CONNECTING) == []


def test_quarantine_parking_and_idling_are_told_once() -> None:
    quarantined = but(CONNECTING, quarantined_at=7.0, quarantined_for="6 disruptions came to nothing")
    assert told(CONNECTING, quarantined, but(quarantined, reason="another"), CONNECTING) == [
        Line("ERROR", "peer quarantined", {"peer": "bob", "why": "6 disruptions came to nothing"}),
        Line("INFO", "peer at large again", {"peer": "bob"}),
    ]
    parked = but(CONNECTING, state="parked", reason="its actors failed")
    assert told(parked, but(parked, reason="its actors failed again")) == [
        Line("ERROR", "peer parked", {"peer": "bob", "why": "its actors failed"})
    ]
    assert words(RELAYED, but(CONNECTING, state="idle"), RELAYED) == ["peer connected", "peer idle", "peer connected"]


def test_a_forgotten_peer_begins_anew() -> None:
    news = News()
    assert len(news.of(RELAYED)) == 1
    assert news.of(PeerForgotten(peer=BOB)) == []
    assert len(news.of(RELAYED)) == 1


def link(state: Any, reason: str = "", role: Any = "home") -> RelayLinkStatus:
    return RelayLinkStatus(url="rel://r:80", role=role, state=state, reason=reason)


def test_a_relay_link_is_told_up_and_down_with_its_reason() -> None:
    news = News()
    states = [
        link("connecting"),
        link("waiting", "connection refused"),
        link("connecting", "connection refused"),
        link("waiting", "connection refused, 2 times"),
        link("connected"),
        link("waiting", "half-open", role="foreign"),  # it is no home any more
        link("connected"),
    ]
    lines = [line for each in states for line in news.of(RelaysStatus(links=(each,)))]
    assert {line.fields["role"] for line in lines} == {"home"}
    assert [(line.level, line.words, line.fields.get("why", "")) for line in lines] == [
        ("WARNING", "relay link fails", "connection refused"),
        ("INFO", "relay link up", ""),
        ("WARNING", "relay link down", "half-open"),
        ("INFO", "relay link up", ""),
    ]
    assert [line.words for line in news.of(RelaysStatus(links=()))] == ["relay link closed"]


def test_a_link_that_is_not_carried_as_was_wanted_says_why() -> None:
    by_websocket = msgspec.structs.replace(link("connected"), transport="ws", quic_fault="does UDP pass?")
    (line,) = News().of(RelaysStatus(links=(by_websocket,)))
    assert line.fields == {"relay": "rel://r:80", "role": "home", "by": "ws", "not_quic": "does UDP pass?"}


@given(st.lists(st.sampled_from(["connecting", "connected", "doubtful", "idle", "parked"]), max_size=30))
def test_lost_comes_only_after_connected_and_connected_only_once_between(states: list[Any]) -> None:
    up = False
    for line in told(*(but(CONNECTING, state=state, path="relayed") for state in states)):
        if line.words == "peer connected":
            assert not up
            up = True
        else:
            assert line.words != "peer lost" or up
            up = False
