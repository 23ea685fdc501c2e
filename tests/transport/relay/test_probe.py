"""When a client pings its link, and when it gives the link up."""

import pytest

from transport.relay.probe import LinkProbe


def run(probe: LinkProbe, until: float) -> list[tuple[float, str]]:
    """Call the probe when it is due, up to `until`, and return what it wanted."""
    done: list[tuple[float, str]] = []
    while probe.due_at <= until:
        at = probe.due_at
        verdict = probe.handle_timeout(at)
        assert verdict is not None, "it asked to be called"
        done.append((at, verdict))
        if verdict == "dead":
            break
    return done


def test_a_link_in_use_that_says_nothing_is_dead_after_three_seconds() -> None:
    probe = LinkProbe(now=0.0)
    probe.sent(10.0)
    assert run(probe, 60.0) == [(11.0, "ping"), (12.0, "ping"), (13.0, "dead")]


def test_an_idle_link_that_says_nothing_is_dead_after_25_seconds() -> None:
    assert run(LinkProbe(now=0.0), 60.0) == [(15.0, "ping"), (20.0, "ping"), (25.0, "dead")]


def test_a_link_that_is_doubted_is_pinged_at_once_and_dead_soon_after() -> None:
    probe = LinkProbe(now=0.0)
    probe.hurry(8.0)
    assert run(probe, 60.0) == [(8.0, "ping"), (8.5, "ping"), (9.0, "dead")]


@pytest.mark.parametrize(("login_s", "answer_s"), [(0.02, 0.3), (0.4, 0.8)])
def test_how_long_the_login_took_says_how_soon(login_s: float, answer_s: float) -> None:
    probe = LinkProbe(now=0.0)
    probe.logged_in(login_s)
    probe.hurry(8.0)
    told = run(probe, 60.0)
    assert [what for _, what in told] == ["ping", "ping", "dead"]
    assert [at for at, _ in told] == pytest.approx([8.0, 8.0 + answer_s, 8.0 + 2 * answer_s])


def test_a_second_doubt_changes_nothing_while_the_pings_are_out() -> None:
    probe = LinkProbe(now=0.0)
    probe.hurry(8.0)
    assert run(probe, 8.2) == [(8.0, "ping")]
    probe.hurry(8.3)
    assert run(probe, 60.0) == [(8.5, "ping"), (9.0, "dead")]


def test_a_doubt_that_an_answer_ends_is_over() -> None:
    probe = LinkProbe(now=0.0)
    probe.hurry(8.0)
    assert run(probe, 8.0) == [(8.0, "ping")]
    probe.pong(8.4)
    assert run(probe, 60.0) == [(23.4, "ping"), (28.4, "ping"), (33.4, "dead")]


def test_a_doubt_gives_a_slow_link_two_round_trips() -> None:
    probe = LinkProbe(now=0.0)
    assert run(probe, 15.0) == [(15.0, "ping")]
    probe.pong(15.8)
    probe.hurry(20.0)
    assert run(probe, 60.0) == [(20.0, "ping"), (pytest.approx(21.6), "ping"), (pytest.approx(23.2), "dead")]


def test_a_doubt_while_an_idle_ping_is_out_pings_anew() -> None:
    probe = LinkProbe(now=0.0)
    assert run(probe, 15.0) == [(15.0, "ping")]
    probe.hurry(16.0)
    assert run(probe, 60.0) == [(16.0, "ping"), (16.5, "ping"), (17.0, "dead")]


def test_anything_heard_begins_anew() -> None:
    probe = LinkProbe(now=0.0)
    probe.sent(0.0)
    assert run(probe, 2.5) == [(1.0, "ping"), (2.0, "ping")]
    probe.heard(2.5)
    assert run(probe, 17.4) == []
    assert run(probe, 17.5) == [(17.5, "ping")]


def test_an_answered_ping_gives_the_round_trip() -> None:
    probe = LinkProbe(now=0.0)
    assert run(probe, 15.0) == [(15.0, "ping")]
    probe.pong(15.2)
    assert probe.rtt_s == pytest.approx(0.2)
    assert probe.due_at == pytest.approx(30.2)


def test_sending_while_an_idle_ping_is_out_shortens_the_wait_but_gives_a_second() -> None:
    probe = LinkProbe(now=0.0)
    assert run(probe, 15.0) == [(15.0, "ping")]
    probe.sent(18.0)
    assert run(probe, 60.0) == [(19.0, "ping"), (20.0, "dead")]


def test_nothing_is_due_before_its_time() -> None:
    assert LinkProbe(now=0.0).handle_timeout(14.9) is None


def test_a_late_look_asks_anew_before_it_judges() -> None:  # after a sleep, or starved: the answer may be waiting
    probe = LinkProbe(now=0.0)
    probe.sent(10.0)
    assert run(probe, 12.0) == [(11.0, "ping"), (12.0, "ping")]
    assert probe.handle_timeout(300.0) == "ping"
    assert run(probe, 400.0) == [(301.0, "dead")]
