import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.timers import Timer, Timers


class RetryDue(msgspec.Struct, frozen=True, tag="retry_due"):
    pass


class LookDue(msgspec.Struct, frozen=True, tag="look_due"):
    pass


DUE = RetryDue()
TYPES: tuple[type[msgspec.Struct], ...] = (RetryDue, LookDue)


def timer(number: int, at: float, owner: str = "guard", message: msgspec.Struct = DUE) -> Timer:
    return Timer(at, number, owner, message, 0, 0)


def test_timers_are_due_in_the_order_of_their_times() -> None:
    timers = Timers()
    timers.set(timer(1, 5.0))
    timers.set(timer(2, 3.0, owner="conn"))
    assert timers.next_at() == 3.0
    assert [due.id for due in timers.due(2.9)] == []
    assert [due.id for due in timers.due(5.0)] == [2, 1]
    assert timers.next_at() is None


def test_a_second_timer_of_its_type_replaces_the_first() -> None:
    timers = Timers()
    timers.set(timer(1, 5.0))
    timers.set(timer(2, 7.0))
    assert timers.next_at() == 7.0
    assert [due.id for due in timers.due(9.0)] == [2]


def test_a_cancelled_timer_is_not_due() -> None:
    timers = Timers()
    timers.set(timer(1, 5.0))
    timers.set(timer(2, 5.0, message=LookDue()))
    timers.cancel("guard", RetryDue)
    assert [due.id for due in timers.due(9.0)] == [2]


def test_a_timer_cancelled_while_its_mail_is_on_the_way_does_not_count() -> None:
    timers = Timers()
    timers.set(timer(1, 5.0))
    assert [due.id for due in timers.due(5.0)] == [1]
    timers.cancel("guard", RetryDue)
    assert not timers.admit("guard", RetryDue, 1)


def test_a_timer_set_anew_while_its_mail_is_on_the_way_counts_once_as_the_new_one() -> None:
    timers = Timers()
    timers.set(timer(1, 5.0))
    timers.due(5.0)
    timers.set(timer(2, 6.0))
    assert not timers.admit("guard", RetryDue, 1)
    assert [due.id for due in timers.due(6.0)] == [2]
    assert timers.admit("guard", RetryDue, 2)
    assert not timers.admit("guard", RetryDue, 2)


def test_an_ended_owner_has_no_timers() -> None:
    timers = Timers()
    timers.set(timer(1, 5.0))
    timers.set(timer(2, 6.0, owner="conn"))
    timers.forget("guard")
    assert len(timers) == 1
    assert [due.id for due in timers.due(9.0)] == [2]


def test_setting_again_and_again_does_not_grow_the_heap() -> None:
    timers = Timers()
    for number in range(10_000):
        timers.set(timer(number, 1000.0 + number))
    assert len(timers) == 1
    assert len(timers._heap) < 200


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cancel", "forget", "fire"]),
        st.sampled_from(["guard", "conn"]),
        st.sampled_from(TYPES),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(STEPS)
def test_timers_behave_as_one_slot_for_each_owner_and_type(
    steps: list[tuple[str, str, type[msgspec.Struct], int]],
) -> None:
    timers, model, now = Timers(), dict[tuple[str, type[msgspec.Struct]], Timer](), 0.0
    for number, (step, owner, message_type, amount) in enumerate(steps):
        match step:
            case "set":
                made = timer(number, now + amount, owner, message_type())
                timers.set(made)
                model[owner, message_type] = made
            case "cancel":
                timers.cancel(owner, message_type)
                model.pop((owner, message_type), None)
            case "forget":
                timers.forget(owner)
                model = {key: value for key, value in model.items() if key[0] != owner}
            case _:
                now += amount
                due = timers.due(now)
                assert {one.id for one in due} == {one.id for one in model.values() if one.at <= now}
                for one in due:
                    assert timers.admit(one.owner, type(one.message), one.id)
                model = {key: value for key, value in model.items() if value.at > now}
        assert len(timers) == len(model)
        assert timers.next_at() == min((one.at for one in model.values()), default=None)
