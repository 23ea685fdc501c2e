"""Some of the runs that `make simulate` makes many of: a fixed set, and two fresh seeds that are printed."""

from random import SystemRandom

import pytest

from tests.simulator.__main__ import run_drawn
from tests.simulator.found import FOUND
from tests.simulator.run import run
from tests.simulator.scenario import NAMED

SCENARIOS = (
    "S0 relay, away 1 s, new address",
    "S1",
    "S2",
    "S3 direct",
    "S5 0.5 s",
    "S8 from node0",
    "S14 direct",
    "S15",
    "S16 direct, 5 min, both",
    "S19 relay, control-0 killed",
    "S19 direct, packet killed",
)
SEEDS = (3, 7, 8, 11, 12)  # direct, harmless, without signalling, four agents, with a foreign one
FRESH = 2


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_reaches_its_figures(name: str) -> None:
    assert run(NAMED[name], 1).problems == ()


@pytest.mark.parametrize("name", FOUND)
def test_what_a_seed_found_is_not_found_again(name: str) -> None:
    assert run(FOUND[name], 1).problems == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drawn_scenario_ends_well(seed: int) -> None:
    assert run_drawn(seed).problems == ()


@pytest.mark.parametrize("turn", range(FRESH))
def test_so_does_a_fresh_one(turn: int) -> None:
    seed = SystemRandom().randrange(10**9)
    print(f"turn {turn}: make simulate SEED={seed}")
    assert run_drawn(seed).problems == (), f"make simulate SEED={seed}"
