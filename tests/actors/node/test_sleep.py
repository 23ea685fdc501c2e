from hypothesis import given
from hypothesis import strategies as st

from actors.node.sleep import LEAST_S, SleepWatch


def test_a_machine_that_is_awake_has_not_slept() -> None:
    watch = SleepWatch(boot=1000.0, awake=400.0)
    assert [watch.slept_s(1000.0 + at, 400.0 + at) for at in (0.5, 1.0, 3600.0)] == [0.0, 0.0, 0.0]


def test_a_sleep_is_told_once_with_its_length() -> None:
    watch = SleepWatch(boot=1000.0, awake=1000.0)
    assert watch.slept_s(1001.0 + 300.0, 1001.0) == 300.0
    assert watch.slept_s(1001.5 + 300.0, 1001.5) == 0.0
    assert watch.slept_s(1002.0 + 301.0, 1002.0) == 1.0


def test_who_is_held_up_between_the_two_readings_tells_no_sleep_then_or_later() -> None:
    watch = SleepWatch(boot=1000.0, awake=1000.0)
    assert watch.slept_s(1001.0, 1004.0) == 0.0
    assert watch.slept_s(1005.0, 1005.0) == 0.0


@given(st.lists(st.tuples(st.floats(0.0, 60.0), st.floats(0.0, 0.1), st.floats(0.0, 1e5)), max_size=20))
def test_what_is_told_adds_up_to_the_sleep_but_for_naps(steps: list[tuple[float, float, float]]) -> None:
    watch, awake, slept, told = SleepWatch(boot=0.0, awake=0.0), 0.0, 0.0, 0.0
    for awake_s, held_up_s, asleep_s in steps:
        awake, slept = awake + awake_s, slept + asleep_s
        told += watch.slept_s(awake + slept, awake + held_up_s)
        awake += held_up_s
    told += watch.slept_s(awake + slept, awake)
    assert told <= slept + 1e-6
    assert slept - told <= (len(steps) + 1) * LEAST_S
