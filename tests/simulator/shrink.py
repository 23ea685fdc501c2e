"""Makes a failing scenario as small as it can be: the fewest faults, then the shortest, then the roundest times."""

from collections.abc import Callable, Iterator

import msgspec

from tests.simulator.faults import AnyFault
from tests.simulator.scenario import Scenario

MAX_RUNS = 200


class Shrunk(msgspec.Struct, frozen=True, kw_only=True):
    """What is left, and how many runs that took."""

    scenario: Scenario
    runs: int


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], most: int = MAX_RUNS) -> Shrunk:
    """Return the smallest scenario found that still fails; `scenario` does."""
    runs = 0

    def still(candidate: Scenario) -> bool:
        nonlocal runs
        runs += 1
        return fails(candidate)

    smaller = True
    while smaller and runs < most:
        smaller = False
        for candidate in _smaller(scenario):
            if runs >= most:
                break
            if still(candidate):
                scenario, smaller = candidate, True
                break
    return Shrunk(scenario=scenario, runs=runs)


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield what is simpler by one step, the boldest first (delta debugging over the list, then over its times)."""
    faults = scenario.faults
    size = len(faults) // 2
    while size >= 1:
        for at in range(0, len(faults), size):
            yield _with(scenario, faults[:at] + faults[at + size :])
        size //= 2
    for place, fault in enumerate(faults):
        for simpler in _simpler(fault):
            yield _with(scenario, (*faults[:place], simpler, *faults[place + 1 :]))


def _simpler(fault: AnyFault) -> Iterator[AnyFault]:
    """Yield the fault with a shorter time, then with a rounder one."""
    replace = msgspec.structs.replace
    if fault.for_s > 1.0:
        yield replace(fault, for_s=float(int(fault.for_s / 2)) or 1.0)
    for name in ("at_s", "for_s"):
        value = getattr(fault, name)
        for rounder in (float(round(value, -1)), float(round(value)), round(value, 1)):
            if rounder != value and rounder > 0 and len(repr(rounder)) < len(repr(value)):
                yield replace(fault, **{name: rounder})


def _with(scenario: Scenario, faults: tuple[AnyFault, ...]) -> Scenario:
    return msgspec.structs.replace(scenario, faults=faults)
