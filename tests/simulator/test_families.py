from tests.simulator.draw import draw
from tests.simulator.families import FAMILIES, draw_of
from tests.simulator.mutants import MUTANTS


def test_a_family_is_drawn_from_its_seed_alone() -> None:
    for family in FAMILIES:
        assert draw_of(family, 3) == draw_of(family, 3)
        assert len({draw_of(family, seed) for seed in range(5)}) == 5


def test_every_mutant_has_a_family_and_every_family_a_mutant() -> None:
    assert {mutant.family for mutant in MUTANTS} == FAMILIES.keys()


def test_families_have_nothing_that_the_draw_of_everything_has_not() -> None:
    common = {type(fault) for seed in range(400) for fault in draw(seed).faults}
    assert {
        type(fault) for family in FAMILIES for seed in range(20) for fault in draw_of(family, seed).faults
    } <= common
