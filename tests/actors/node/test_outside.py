from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.messages.node import OutsideEvent
from actors.node.outside import FIRST_PAUSE_S, LONGEST_PAUSE_S, TOLD_AT_ONCE, OutsideEvents
from config.keys import PublicKey, encode_key

PEERS = [PublicKey(encode_key(number.to_bytes(32, "big"))) for number in range(120)]
CHANGED = OutsideEvent(kind="network_changed", detail="first")
AGAIN = OutsideEvent(kind="network_changed", detail="second")
RESUMED = OutsideEvent(kind="resumed")


def test_the_first_is_told_at_once_whatever_happened_of_another_kind() -> None:
    events = OutsideEvents()
    assert events.happened(CHANGED, 10.0) == [CHANGED]
    assert events.happened(RESUMED, 10.0) == [RESUMED]
    assert events.next_at() is None


def test_the_next_of_its_kind_waits_for_the_pause_and_no_longer() -> None:
    events = OutsideEvents()
    events.happened(CHANGED, 10.0)
    assert events.happened(AGAIN, 10.4) == []
    assert events.next_at() == 10.0 + FIRST_PAUSE_S
    assert events.due(10.9) == []
    assert events.due(11.0) == [AGAIN]
    assert events.next_at() is None


def test_a_change_every_two_seconds_is_told_each_time() -> None:
    events = OutsideEvents()
    assert [events.happened(CHANGED, at) for at in (10.0, 12.0, 14.0)] == 3 * [[CHANGED]]


def test_an_interface_that_flaps_is_told_of_ever_less_often_and_a_quiet_one_at_once_again() -> None:
    events, now, told = OutsideEvents(), 0.0, []
    for _ in range(1200):  # ten a second, for two minutes
        told += [now for _ in (*events.happened(CHANGED, now), *events.due(now))]
        now += 0.1
    gaps = [round(after - before) for before, after in pairwise(told)]
    assert gaps == [1, 2, 4, 8, 16, 16, 16, 16, 16, 16]
    events.due(now + LONGEST_PAUSE_S)
    quiet = now + 4 * LONGEST_PAUSE_S
    assert events.happened(CHANGED, quiet) == [CHANGED]
    assert events.happened(AGAIN, quiet + 0.1) == []
    assert events.next_at() == quiet + FIRST_PAUSE_S


def test_who_waits_to_be_told_is_told_once() -> None:
    events = OutsideEvents()
    events.tell(CHANGED, PEERS, 1.0)
    events.tell(AGAIN, PEERS, 1.0)
    events.tell(RESUMED, PEERS[:1], 1.0)
    told, now = list[Any](), 1.0
    while (at := events.next_at()) is not None:
        now = max(now, at)
        turn = events.next_turn(now)
        assert 0 < len(turn) <= TOLD_AT_ONCE
        told += turn
    assert [each.peer for each in told] == [*PEERS, PEERS[0]]
    assert now < 1.2


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 30.0),
            st.sampled_from(["network_changed", "resumed", "signal_connected", "relay_connected"]),
        ),
        max_size=60,
    )
)
def test_the_last_event_of_each_kind_is_always_told_within_its_pause(steps: list[tuple[float, Any]]) -> None:
    events, now = OutsideEvents(), 100.0
    last: dict[str, tuple[float, OutsideEvent]] = {}
    told: dict[str, tuple[float, OutsideEvent]] = {}

    def wake(until: float) -> None:
        while (at := events.next_at()) is not None and at <= until:
            for event in events.due(at):
                told[event.kind] = at, event

    for number, (pause_s, kind) in enumerate(steps):
        wake(now + pause_s)
        now += pause_s
        event = OutsideEvent(kind=kind, detail=str(number))
        last[kind] = now, event
        for each in events.happened(event, now):
            told[kind] = now, each
    wake(float("inf"))
    for kind, (at, event) in last.items():
        told_at, told_event = told[kind]
        assert told_event == event
        assert told_at <= at + LONGEST_PAUSE_S
