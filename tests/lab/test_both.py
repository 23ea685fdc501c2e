"""How the mail of a laboratory run and of a simulator run are held side by side."""

import pytest

from tests.lab.both import FIRST, LATE, OFFERED, TWINS, Kind, aligned, reason, told, unexplained
from tests.lab.catalogue import find

WATCH_S = 8.0


def kind(tag: str, end: str = "bob", actor: str = "conn") -> Kind:
    return Kind(end, actor, tag)


def test_the_same_mail_in_the_same_order_is_no_difference() -> None:
    lab = {kind("path_lost"): 1.3, kind("relay_ready"): 1.9}
    assert unexplained(aligned(lab, {one: at - 0.1 for one, at in lab.items()}), WATCH_S) == []


def test_mail_of_one_side_alone_is_a_difference() -> None:
    rows = aligned({kind("path_lost"): 1.3}, {})
    assert unexplained(rows, WATCH_S) == ["bob conn path_lost: only in the laboratory"]
    assert list(told(rows, WATCH_S))[1] == "   1.30       -  bob    conn            path_lost                  ?"
    assert unexplained(aligned({}, {kind("path_lost"): 1.3}), WATCH_S) == ["bob conn path_lost: only in the simulator"]


@pytest.mark.parametrize(("lab_s", "differ"), [((1.0, 2.0), 1), ((1.0, 1.3), 0)])
def test_another_order_is_a_difference_unless_it_is_close(lab_s: tuple[float, float], differ: int) -> None:
    one, other = kind("path_lost"), kind("relay_lost")
    rows = aligned({one: lab_s[0], other: lab_s[1]}, {one: 3.0, other: 1.0})
    assert len(unexplained(rows, WATCH_S)) == differ


def test_the_order_of_two_ends_is_left_to_them() -> None:
    one, other = kind("path_lost"), kind("relay_lost", "alice")
    assert unexplained(aligned({one: 1.0, other: 3.0}, {one: 3.0, other: 1.0}), WATCH_S) == []


def test_offers_are_left_to_jitter() -> None:
    rows = aligned({kind("send_offer", "alice"): 1.0}, {})
    assert reason(rows[0], rows, WATCH_S) == OFFERED


def test_an_ice_session_may_end_at_either_end_first_but_it_must_at_one() -> None:
    rows = aligned({kind("ice_lost", "alice"): 1.0}, {kind("ice_lost", "bob"): 1.0})
    assert [reason(row, rows, WATCH_S) for row in rows] == [FIRST, FIRST]
    alone = aligned({kind("ice_lost", "alice"): 1.0}, {})
    assert reason(alone[0], alone, WATCH_S) == ""


def test_what_comes_at_the_end_may_come_too_late() -> None:
    rows = aligned({kind("path_lost"): WATCH_S - 0.2}, {})
    assert reason(rows[0], rows, WATCH_S) == LATE


def test_every_twin_has_its_scenario() -> None:
    assert [scenario.name for name in TWINS for scenario in find([name])] == list(TWINS)
