"""When a client pings its link, and when it gives the link up."""

import pytest

from transport.relay.probe import LOSSY_SILENCE_S, LOSSY_UNHEARD_S, TICK_S, LinkProbe
from transport.relay.signs import Signs


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


# --- with the transport's signs ---


class Wire:
    """What a transport shows: how long ago it heard, how much of what it carried was in trouble."""

    def __init__(self) -> None:
        self.now, self.heard_at, self.segments, self.troubled, self.waiting = 0.0, 0.0, 0, 0, True
        self.acknowledged_len, self.in_flight = 0, True

    def signs(self) -> Signs:
        return Signs(
            self.now - self.heard_at, self.waiting, self.segments, self.troubled, self.acknowledged_len, self.in_flight
        )

    def run(
        self, probe: LinkProbe, until: float, *, acknowledges: bool = False, repeats: bool = False
    ) -> list[tuple[float, str]]:
        """Call the probe when it is due, up to `until`, and return what it wanted.

        `acknowledges`: the other end gets what is sent.  `repeats`: it is heard, and gets nothing.
        """
        done: list[tuple[float, str]] = []
        while probe.due_at <= until:
            self.now = probe.due_at
            if acknowledges or repeats:
                self.heard_at = self.now - 0.1
            if acknowledges:
                self.acknowledged_len += 100
            if repeats:
                self.segments, self.troubled = self.segments + 4, self.troubled + 4
            if (verdict := probe.handle_timeout(self.now)) is not None:
                done.append((self.now, verdict))
            if verdict == "dead":
                break
        return done

    def use(self, probe: LinkProbe, seconds: float, *, lost: float = 0.0) -> None:
        """Use the link for a while, both ways."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.1
            self.heard_at = self.now
            self.segments += 20
            self.acknowledged_len += 1000
            self.troubled += round(20 * lost)
            probe.sent(self.now)
            if self.now >= probe.due_at:
                assert probe.handle_timeout(self.now) is None
            probe.heard(self.now)
        probe.sent(self.now)


def death(told: list[tuple[float, str]]) -> float:
    """Return when it was called dead."""
    assert told[-1][1] == "dead"
    return told[-1][0]


def used(lost: float = 0.0) -> tuple[Wire, LinkProbe]:
    wire = Wire()
    probe = LinkProbe(0.0, wire.signs)
    probe.logged_in(0.02)
    wire.use(probe, 20.0, lost=lost)
    return wire, probe


def test_a_link_of_which_nothing_at_all_comes_while_something_is_out_is_dead_after_one_and_a_half_seconds() -> None:
    wire, probe = used()
    since = wire.now
    told = wire.run(probe, 60.0)
    assert [(round(at - since, 3), what) for at, what in told] == [(1.0, "ping"), (1.5, "dead")]


def test_a_link_that_lost_packets_is_given_longer() -> None:
    wire, probe = used(lost=0.2)
    since = wire.now
    *pings, (dead_at, verdict) = wire.run(probe, 60.0)
    assert {what for _, what in pings} == {"ping"}
    assert (round(dead_at - since, 3), verdict) == (LOSSY_UNHEARD_S, "dead")


def test_a_link_that_carries_nothing_there_is_dead_though_the_other_end_is_heard() -> None:  # S23
    wire, probe = used()
    since = wire.now
    told = wire.run(probe, since + 60.0, repeats=True)
    assert since + 1.5 - TICK_S <= death(told) <= since + 2.5
    wire, probe = used()
    since = wire.now
    probe.hurry(since + 0.5)
    assert since + 1.5 - TICK_S <= death(wire.run(probe, since + 60.0, repeats=True)) <= since + 2.5
    wire, probe = used(lost=0.2)
    since = wire.now
    assert since + LOSSY_UNHEARD_S - TICK_S <= death(wire.run(probe, 60.0, repeats=True)) <= since + LOSSY_UNHEARD_S + 1


def test_a_server_that_takes_no_more_for_a_while_is_there() -> None:
    wire, probe = used()
    wire.in_flight = False  # its window is closed
    since = wire.now
    told = wire.run(probe, since + LOSSY_SILENCE_S - 1.0, repeats=True)
    assert [what for _, what in told] == ["ping", "ping"]


def test_a_few_lost_packets_make_no_link_lossy() -> None:
    wire, probe = used()
    wire.troubled += 2
    wire.use(probe, 5.0)
    since = wire.now
    assert death(wire.run(probe, 60.0)) == pytest.approx(since + 1.5)


def test_losses_of_long_ago_are_forgotten() -> None:
    wire, probe = used(lost=0.2)
    wire.use(probe, 20.0)
    since = wire.now
    assert death(wire.run(probe, 60.0)) == pytest.approx(since + 1.5)


def test_a_server_that_acknowledges_and_does_not_answer_is_given_up_as_ever() -> None:
    wire, probe = used()
    wire.waiting = False
    since = wire.now
    told = wire.run(probe, 60.0, acknowledges=True)
    assert [(round(at - since, 3), what) for at, what in told] == [(1.0, "ping"), (2.0, "ping"), (3.0, "dead")]


@pytest.mark.parametrize("begun", ["long ago", "now"])
def test_acknowledgements_keep_a_link_that_loses_packets(begun: str) -> None:
    wire, probe = used(lost=0.2 if begun == "long ago" else 0.0)
    wire.segments, wire.troubled = wire.segments + 20, wire.troubled + 5  # what it repeats now
    since = wire.now
    told = wire.run(probe, since + LOSSY_SILENCE_S - 1.0, acknowledges=True)
    assert [what for _, what in told] == ["ping", "ping"]
    wire.use(probe, 1.0)
    wire.waiting = False
    assert wire.run(probe, wire.now + 0.9) == []


def test_a_lossy_link_is_not_kept_for_ever() -> None:
    wire, probe = used(lost=0.2)
    since = wire.now
    assert death(wire.run(probe, 120.0, acknowledges=True)) == pytest.approx(since + LOSSY_SILENCE_S)


def test_a_hint_is_over_when_anything_comes() -> None:
    wire, probe = used()
    since = wire.now
    probe.hurry(since)
    assert wire.run(probe, since + 0.4, acknowledges=True) == [(since, "ping")]
    assert wire.run(probe, since + 0.9, acknowledges=True) == []


def test_a_hint_that_nothing_contradicts_ends_the_link() -> None:
    wire, probe = used()
    since = wire.now
    probe.hurry(since)
    assert death(wire.run(probe, 60.0)) == pytest.approx(since + 0.6)


def test_a_slow_link_is_given_four_round_trips() -> None:
    wire, probe = used()
    probe.logged_in(0.8)
    since = wire.now
    assert death(wire.run(probe, 60.0)) == pytest.approx(since + 3.2)


def test_an_idle_link_is_dead_when_its_ping_is_not_even_acknowledged() -> None:
    wire = Wire()
    assert wire.run(LinkProbe(0.0, wire.signs), 60.0) == [(15.0, "ping"), (20.0, "dead")]


def test_a_transport_that_shows_nothing_any_more_is_judged_by_its_pings() -> None:
    shown = [Signs(0.0, False, 0, 0, 0, False)]
    probe = LinkProbe(0.0, lambda: shown.pop() if shown else None)
    probe.sent(10.0)
    assert run(probe, 60.0) == [(11.0, "ping"), (12.0, "ping"), (13.0, "dead")]
