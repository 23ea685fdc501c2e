import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.peer.budget import ACTIONS, WINDOW_S, Budget

START = 1000.0


def spent(count: int, every_s: float = 10.0) -> Budget:
    budget = Budget()
    for number in range(count):
        budget.spend("nothing heard", START + number * every_s)
    return budget


def test_actions_without_a_proof_end_in_quarantine() -> None:
    budget = spent(ACTIONS - 1)
    assert (budget.left(START + 100), budget.quarantine(START + 100)) == (1, None)
    budget.spend("the relay is silent", START + 100)
    quarantine = budget.quarantine(START + 100)
    assert quarantine is not None
    assert (quarantine.since_at, quarantine.until) == (START + 100, START + WINDOW_S)
    assert quarantine.reason == "6 attempts within 60 min proved no path; the last one after: the relay is silent"


def test_a_proof_gives_them_back_and_ends_it() -> None:
    budget = spent(ACTIONS)
    budget.give_back()
    assert (budget.left(START + 100), budget.quarantine(START + 100)) == (ACTIONS, None)
    assert budget.disruptions == ACTIONS


def test_a_proof_gives_back_what_was_spent_before_it() -> None:
    budget = spent(3)
    budget.give_back(START + 10.5)
    assert budget.left(START + 100) == ACTIONS - 1
    whole = spent(ACTIONS)
    whole.give_back(START - 1)
    assert whole.quarantine(START + 100) is not None


@pytest.mark.parametrize("count", range(ACTIONS + 2))
def test_one_that_begins_from_what_was_kept_is_the_same(count: int) -> None:
    before = spent(count)
    after, now = Budget(before.kept()), START + 200
    assert (after.left(now), after.quarantine(now), after.disruptions) == (
        before.left(now),
        before.quarantine(now),
        count,
    )


def test_it_ends_when_the_oldest_action_is_an_hour_ago() -> None:
    budget = spent(ACTIONS)
    assert budget.quarantine(START + WINDOW_S - 0.1) is not None
    assert budget.quarantine(START + WINDOW_S) is None
    assert budget.left(START + WINDOW_S) == 1


def test_twenty_recoveries_in_an_hour_are_no_matter() -> None:
    budget = Budget()
    for number in range(20):
        now = START + number * 180
        budget.spend("nothing heard", now)
        assert budget.quarantine(now) is None
        budget.give_back()
    assert budget.disruptions == 20


@given(st.lists(st.tuples(st.floats(0, 2000), st.booleans()), max_size=60))
def test_whoever_stops_in_quarantine_spends_no_more_in_any_hour_than_there_is(steps: list[tuple[float, bool]]) -> None:
    budget, now = Budget(), START
    unproven: list[float] = []
    for wait_s, proof in steps:
        now += wait_s
        if proof:
            budget.give_back()
            unproven = []
        elif budget.quarantine(now) is None:
            budget.spend("nothing heard", now)
            unproven.append(now)
            assert sum(now - at < WINDOW_S for at in unproven) <= ACTIONS
        assert 0 <= budget.left(now) <= ACTIONS
        assert (budget.quarantine(now) is not None) == (budget.left(now) == 0)
