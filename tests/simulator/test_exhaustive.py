"""Every order of three events around a connected pair; more: `python -m tests.simulator.exhaustive --depth 8`."""

from tests.simulator.exhaustive import connected, visit
from tests.simulator.mutants import MUTANTS


def test_three_events_in_any_order_break_no_rule_and_are_found_back_from() -> None:
    found = visit(3)
    assert found.breaches == {}
    assert found.states > 100


def test_a_missing_rotation_is_found_with_the_events_that_lead_to_it() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "no rotation on ICE timeout")
    with mutant.applied():
        breaches = visit(1).breaches
    assert any("R6" in breach for breach in breaches)


def test_what_may_happen_depends_on_what_there_is() -> None:
    two = connected()
    assert (0, "relayed path dead") in two.events()
    assert (0, "close done") not in two.events()
    two.happen((0, "relayed path dead"))
    assert (0, "relayed path dead") not in two.events()
    assert (0, "close done") in two.events()
    assert two.settle() is None
