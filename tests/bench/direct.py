"""Direct paths of two whole agents behind NATs: found, moved to, cut, and left alone by a control process that dies.

python -m tests.bench.direct [direct|direct_cut ...] [--runs N]
"""

import argparse
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from actors.demo.pair import Pair, PairFailed
from tests.bench.agent import kill_child, spread

RUNS = 10
CUT_RUNS = 20
RATE = 1000  # numbered packets a second each way while the path changes
PARALLEL = 2  # pairs at once where only silence is measured
AFTER_S = 2.0  # of the upgrade's packets, after both ends have proven the direct path
PROVEN_S = 10.0  # from the start of the flow to a fault
WATCH_S = 8.0  # after a fault that should not be felt


def direct(runs: int = RUNS) -> dict[str, Any]:
    """From both agents' start to the direct path at 1,000 packets/s; then a control process is killed."""
    up_s, lost, control_killed = [], [], []
    for _ in range(runs):
        with _started("bench", RATE) as (pair, started_at):
            first_at = pair.first_reply_at()
            # What waited for the tunnel, and was dropped when that was too much, may still come.
            before = [int(pair.ask_flow(end, "sent", 5.0)) for end in pair.ends]
            direct_at = _proven(pair, started_at)
            time.sleep(AFTER_S)
            up_s.append(direct_at - started_at)
            lost.append(
                sum(
                    int(pair.ask_flow(end, f"lost {first_at} {sent}", 5.0))
                    for end, sent in zip(pair.ends, reversed(before), strict=True)
                )
            )
            _set_rate(pair, 50)
            time.sleep(PROVEN_S - AFTER_S)
            killed_at = kill_child(pair, "control-0", signal.SIGKILL)
            time.sleep(WATCH_S)
            control_killed.append(pair.wait_recovered(killed_at))
    return {
        "direct_s": spread(up_s),
        "packets_lost_at_upgrade": {"packets_s": RATE, "all": lost},
        "control_killed_while_direct_outage_s": spread(control_killed),
    }


def direct_cut(runs: int = CUT_RUNS) -> dict[str, Any]:
    """The direct path is cut; the relay is warm."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        outages = list(pool.map(_one_cut, range(runs)))
    return {"direct_cut_outage_s": spread(outages)}


def _one_cut(run: int) -> float:
    with _started(f"bench{run}", 50) as (pair, started_at):
        pair.first_reply_at()
        _proven(pair, started_at)
        time.sleep(PROVEN_S)
        return pair.wait_recovered(pair.cut_direct_path())


@contextmanager
def _started(purpose: str, rate: int) -> Iterator[tuple[Pair, float]]:
    with Pair(purpose) as pair:
        pair.start_servers()
        pair.start_flows()
        _set_rate(pair, rate)
        yield pair, pair.start_agents()


def _set_rate(pair: Pair, rate: int) -> None:
    for end in pair.ends:
        pair.ask_flow(end, f"rate {rate}", 5.0)


def _proven(pair: Pair, started_at: float) -> float:
    direct_at = pair.direct_at(started_at, limit_s=20.0)
    if direct_at is None:
        raise PairFailed(f"no direct path\n{pair.logs()}")
    return direct_at


FIGURES = {"direct": (direct, RUNS), "direct_cut": (direct_cut, CUT_RUNS)}


def main() -> None:
    """Measure the named figures, or both."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.direct")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], default=[])
    parser.add_argument("--runs", type=int)
    options = parser.parse_args()
    for name in options.figures or FIGURES:
        measure, runs = FIGURES[name]
        print(json.dumps(measure(options.runs or runs)), flush=True)


if __name__ == "__main__":
    main()
