"""One seed, one run: the same mail to the byte, whatever the process."""

import os
import subprocess
import sys

import msgspec

from tests.simulator.draw import draw
from tests.simulator.run import run
from tests.simulator.scenario import NAMED, pair

DRAWN = 337  # three agents, two relays, faults of five kinds
DIGESTS = """
from tests.simulator.__main__ import run_drawn
print(run_drawn({seed}).digest)
"""


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    told = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS.format(seed=DRAWN)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        told.add(done.stdout.strip())
    assert len(told) == 1
    assert told != {""}


def test_another_seed_tells_another_story() -> None:
    scenario = msgspec.structs.replace(NAMED["S14 direct"], topology=pair(per_second=5.0), quiet_s=5.0)
    assert run(scenario, 1).digest != run(scenario, 2).digest
    assert draw(1) != draw(2)
    assert draw(1) == draw(1)
