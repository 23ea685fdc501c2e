"""How much faster than the clock the simulator is: two agents, 50 packets/s each way (tests/simulator)."""

import time
from typing import Any

from tests.simulator.scenario import pair
from tests.simulator.simulation import Simulation

WARM_S = 10.0


def measure(seconds: float = 120.0) -> dict[str, Any]:
    """Return virtual time by CPU time, for a direct pair and for a relayed one."""
    return {"virtual_s": seconds, "direct": _times(seconds, ice=True), "relayed": _times(seconds, ice=False)}


def _times(seconds: float, *, ice: bool) -> float:
    sim = Simulation(pair(ice=ice), 1)
    sim.boot()
    sim.run_for(WARM_S)
    assert sim.all_proven(), "the two have not met"
    begun = time.process_time()  # others' work on the machine is not ours
    sim.run_for(seconds)
    return round(seconds / (time.process_time() - begun), 1)
