from random import Random

from tests.simulator.draw import draw, draw_freely
from tests.simulator.families import FAMILIES, QUIET_S


def test_a_family_is_drawn_from_what_it_is_given_alone() -> None:
    for drawn in FAMILIES.values():
        assert drawn(Random(3)) == drawn(Random(3))
        assert len({drawn(Random(seed)) for seed in range(5)}) == 5


def test_families_have_nothing_that_the_draw_of_everything_has_not() -> None:
    common = {type(fault) for seed in range(400) for fault in draw_freely(Random(seed)).faults}
    assert {
        type(fault) for drawn in FAMILIES.values() for seed in range(20) for fault in drawn(Random(seed)).faults
    } <= common


def test_half_of_all_seeds_are_around_one_rule() -> None:
    assert 80 <= sum(draw(seed).quiet_s == QUIET_S for seed in range(200)) <= 120
