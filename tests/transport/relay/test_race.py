"""Which of two dials becomes the link, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.relay.race import GRACE_S, GRACE_SHARE, Lost, Race, Transport, Won

BOTH: tuple[Transport, ...] = ("quic", "ws")
START = 100.0


def test_quic_that_is_first_is_the_link_at_once() -> None:
    race = Race(BOTH, START)
    assert race.next_timeout() is None
    race.ready("quic", START + 0.08)
    assert race.outcome == Won("quic")
    assert race.next_timeout() is None


def test_websocket_that_is_first_gives_quic_a_share_of_its_own_time() -> None:
    race = Race(BOTH, START)
    race.ready("ws", START + 0.6)
    assert race.outcome is None
    assert race.next_timeout() == pytest.approx(START + 0.6 + GRACE_SHARE * 0.6)
    race.ready("quic", START + 0.8)
    assert race.outcome == Won("quic")


def test_quic_that_is_not_there_in_time_is_late_and_changes_nothing_any_more() -> None:
    race = Race(BOTH, START)
    race.ready("ws", START + 0.6)
    race.handle_timeout(START + 0.89)
    assert race.outcome is None
    race.handle_timeout(START + 0.9)
    late = Won("ws", "not proven 300 ms after WebSocket was there; does UDP pass?", quic_late=True)
    assert race.outcome == late
    race.ready("quic", START + 0.901)
    race.failed("ws", "reset")
    race.handle_timeout(START + 9)
    assert race.outcome == late


@pytest.mark.parametrize(("dialled_s", "grace_s"), [(0.001, GRACE_S[0]), (8.0, GRACE_S[1])])
def test_the_grace_is_bounded(dialled_s: float, grace_s: float) -> None:
    race = Race(BOTH, START)
    race.ready("ws", START + dialled_s)
    assert race.next_timeout() == pytest.approx(START + dialled_s + grace_s)


def test_websocket_waits_for_nobody_when_quic_has_failed() -> None:
    race = Race(BOTH, START)
    race.failed("quic", "refused")
    assert race.outcome is None
    race.ready("ws", START + 0.12)
    assert race.outcome == Won("ws", "refused")


def test_quic_that_fails_in_the_grace_ends_it() -> None:
    race = Race(BOTH, START)
    race.ready("ws", START + 0.12)
    race.failed("quic", "no certificate of these fingerprints")
    assert race.outcome == Won("ws", "no certificate of these fingerprints")


def test_a_websocket_that_ends_in_the_grace_leaves_quic_all_its_time() -> None:
    race = Race(BOTH, START)
    race.ready("ws", START + 0.12)
    race.failed("ws", "the other end closed the connection")
    assert race.next_timeout() is None
    race.handle_timeout(START + 5)
    assert race.outcome is None
    race.ready("quic", START + 6)
    assert race.outcome == Won("quic")


def test_both_reasons_are_told_in_one_line() -> None:
    race = Race(BOTH, START)
    race.failed("quic", "no answer within 10 s")
    race.failed("ws", "connection refused")
    assert race.outcome == Lost("connection refused; over QUIC: no answer within 10 s")


@pytest.mark.parametrize("transport", BOTH)
def test_one_transport_alone_runs_no_race(transport: Transport) -> None:
    won, lost = Race((transport,), START), Race((transport,), START)
    won.ready(transport, START + 3)
    assert won.outcome == Won(transport)
    lost.failed(transport, "refused")
    assert lost.outcome == Lost("refused")


STEPS = st.lists(
    st.tuples(st.sampled_from(("ready", "failed", "time")), st.sampled_from(BOTH), st.floats(0, 0.3)), max_size=12
)


@given(STEPS, st.sampled_from([BOTH, ("ws",), ("quic",)]))
def test_once_decided_it_stays_and_a_winner_was_ready(
    steps: list[tuple[str, Transport, float]], transports: tuple[Transport, ...]
) -> None:
    race, now, alive, ended = Race(transports, START), START, set[Transport](), set[Transport]()
    for step, transport, wait_s in steps:
        now, before = now + wait_s, race.outcome
        if step == "time":
            race.handle_timeout(now)
        elif transport not in transports or transport in ended or (step == "ready" and transport in alive):
            continue  # a driver tells each once
        elif step == "ready":
            alive.add(transport)
            race.ready(transport, now)
        else:
            alive.discard(transport)
            ended.add(transport)
            race.failed(transport, f"{transport} failed")
        if before is not None:
            assert race.outcome == before
        elif isinstance(race.outcome, Won):
            assert race.outcome.transport in alive
        elif isinstance(race.outcome, Lost):
            assert ended == set(transports)
        assert race.outcome is not None or ended != set(transports)
        # Whoever is ready waits for the other no longer than the longest grace.
        due_at = race.next_timeout()
        assert due_at is None or due_at <= now + GRACE_S[1]
        assert race.outcome is not None or not alive or due_at is not None
