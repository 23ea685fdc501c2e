from hypothesis import given
from hypothesis import strategies as st

from actors.node.repairs import MAX_REPAIRS, MEMORY_S, PAUSE_S, RepairBudget


def test_the_first_repairs_wait_for_nothing_and_then_one_a_minute() -> None:
    budget, now, done = RepairBudget(), 100.0, list[float]()
    while now < 100.0 + 600.0:  # somebody undoes each at once
        if budget.wait_s(now) == 0.0:
            budget.repaired(now)
            done.append(now)
        now += 1.0
    assert done[:MAX_REPAIRS] == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert done[MAX_REPAIRS:] == [104.0 + PAUSE_S * number for number in range(1, 10)]


def test_what_happens_now_and_then_is_repaired_at_once_for_ever() -> None:
    budget = RepairBudget()
    for number in range(100):
        now = number * (MEMORY_S / MAX_REPAIRS + 1.0)
        assert budget.wait_s(now) == 0.0
        budget.repaired(now)
    assert not budget.spent(now + MEMORY_S)


@given(st.lists(st.floats(0.0, 1000.0), max_size=200))
def test_an_hour_never_sees_more_than_its_share(waits: list[float]) -> None:
    budget, now, done = RepairBudget(), 0.0, list[float]()
    for wait_s in waits:
        now += wait_s
        if budget.wait_s(now) == 0.0:
            budget.repaired(now)
            done.append(now)
    for at in done:
        within = [each for each in done if at <= each <= at + 3600.0]
        assert len(within) <= MAX_REPAIRS * (3600.0 / MEMORY_S + 1) + 3600.0 / PAUSE_S
