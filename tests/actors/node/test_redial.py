"""When a server is dialled again whose link ended, and when the others are."""

from random import Random

import pytest

from actors.messages.node import KeyUsedElsewhere
from actors.messages.packet import LinkClosed
from actors.node.redial import DISPLACED_S, DOUBLE_S, FIRST_RETRY_S, OTHERS_SILENT_S, Redial
from tests.actors.node.test_relays import FIRST, HOME, SECOND, at_home, dial_after, dials, lost, opened
from tests.kit.bench import Bench

HOUR_S = 3600.0


def test_what_fell_silent_is_dialled_at_once_and_the_others_soon_after() -> None:  # S23
    bench = at_home(HOME, SECOND)
    bench.tell(LinkClosed(link=FIRST, reason="half-open", was_open=True, half_open=True))
    assert [dial.url for dial in dials(bench)] == [HOME]
    since = bench.now
    while not (found := dials(bench)):
        bench.advance(0.01)
    assert [dial.url for dial in found] == [SECOND]
    assert bench.now - since == pytest.approx(OTHERS_SILENT_S, abs=0.02)


def test_what_the_server_ended_is_dialled_after_a_moment_that_is_drawn() -> None:
    redial = Redial(Random(1))
    waits = [redial.ended(0.0, half_open=False) for _ in range(100)]
    assert FIRST_RETRY_S[0] <= min(waits) < 0.12
    assert 0.28 < max(waits) <= FIRST_RETRY_S[1]


def test_two_agents_with_one_key_displace_each_other_at_most_six_times_an_hour() -> None:  # S21
    agents, now, displaced = (Redial(Random(1)), Redial(Random(2))), 0.0, [0.0]
    for agent in agents:
        agent.key_used_elsewhere(now)
    turn = 0
    while now < 10 * HOUR_S:
        now = agents[turn].ended(now, half_open=False)
        agents[turn].key_used_elsewhere(now)  # the signal server's, where they meet as often
        displaced.append(now)
        turn = 1 - turn
    counts = [sum(hour <= at < hour + HOUR_S for at in displaced) for hour in range(10, int(9 * HOUR_S), 60)]
    assert max(counts) <= 6
    assert min(counts) > 0  # whoever has the key alone again is back some time


def test_a_key_that_is_used_elsewhere_says_nothing_of_a_link_that_fell_silent_or_of_the_day_after() -> None:
    redial = Redial(Random(1))
    redial.key_used_elsewhere(0.0)
    assert redial.ended(1.0, half_open=False) < 2.0  # it may have been a moment's mistake
    assert redial.ended(2.0, half_open=True) == 2.0
    assert DISPLACED_S[0] <= redial.ended(3.0, half_open=False) - 3.0 <= DISPLACED_S[1]
    assert redial.ended(4.0 + DOUBLE_S, half_open=False) < 5.0 + DOUBLE_S


def test_relays_wait_while_another_agent_has_the_key() -> None:
    bench: Bench = at_home()
    bench.tell(KeyUsedElsewhere(), lost(FIRST))
    bench.advance(1.0)
    [dial] = dials(bench)
    bench.tell(opened(dial.link), lost(dial.link))
    assert dial_after(bench, limit_s=DISPLACED_S[1] + 1) >= DISPLACED_S[0] - 0.1
