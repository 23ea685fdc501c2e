"""Two whole agents behind NATs: time to the first reply, outages after faults, memory.

python -m tests.bench.agent [up|relay|control|packet|memory ...] [--runs N]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.demo.pair import Pair
from actors.demo.traffic import boot_time

RUNS = 10
PROVEN_S = 12.0  # between faults: the flow from 10 s before the fault is part of the measurement
WATCH_S = 8.0  # after a fault that should not be felt
IDLE_S = 60.0
RELAY_ONLY = "\n[ice]\nenabled = false\n"  # settings: what the relay's end does is not to be hidden by a direct path

# What the agent's processes import, as groups whose cost can be told apart.
IMPORTS = (
    ("supervisor", "zmq, msgspec, msgpack, pykka, loguru"),
    ("packet", "zmq, msgspec, msgpack, pykka, loguru, asyncio, picows, cryptography.hazmat.primitives.ciphers.aead"),
    ("control", "zmq, msgspec, msgpack, pykka, loguru, asyncio, nacl.public, grpc.aio"),
)


def up(runs: int) -> dict[str, Any]:
    """From both agents' start, servers up, to the first in-tunnel reply."""
    times = []
    for _ in range(runs):
        with Pair("bench") as pair:
            pair.start_servers()
            pair.start_flows()
            started_at = pair.start_agents()
            times.append(pair.first_reply_at() - started_at)
    return {"up_s": spread(times)}


def relay(runs: int) -> dict[str, Any]:
    """The relay server is killed and started again at once."""
    return {"relay_restart_outage_s": _faults(runs, lambda pair: pair.restart_relay(), felt=True)}


def control(runs: int) -> dict[str, Any]:
    """A control process is killed, or hung."""
    return {
        "control_killed_outage_s": _faults(runs, _to_child("control-0", signal.SIGKILL), felt=False),
        "control_hung_outage_s": _faults(runs, _to_child("control-0", signal.SIGSTOP), felt=False),
    }


def packet(runs: int) -> dict[str, Any]:
    """The packet process is killed, or hung."""
    return {
        "packet_killed_outage_s": _faults(runs, _to_child("packet", signal.SIGKILL), felt=True),
        "packet_hung_outage_s": _faults(runs, _to_child("packet", signal.SIGSTOP), felt=True),
    }


def memory(_runs: int) -> dict[str, Any]:
    """Proportional set size of one agent with one connected peer, idle for a minute, all its processes."""
    with _running() as pair:
        for end in pair.ends:  # the measuring traffic ends: idle means idle
            assert end.flow is not None
            assert end.flow.stdin is not None
            end.flow.stdin.close()
        time.sleep(IDLE_S)
        assert pair.alice.agent is not None
        processes = {
            "supervisor": pair.alice.agent.pid,
            "control-0": pair.child(pair.alice, "control-0"),
            "packet": pair.child(pair.alice, "packet"),
        }
        pss = {name: pss_mb(pid) for name, pid in processes.items()}
    return {"pss_mb": {**pss, "total": round(sum(pss.values()), 1)}, "imports_mb": import_costs()}


def import_costs() -> dict[str, dict[str, float]]:
    """Return what each import adds to a fresh interpreter of each process, in order, in MB of PSS."""
    script = (
        "import sys, json\n"
        "def pss(): return next(int(l.split()[1]) for l in open('/proc/self/smaps_rollup') if l.startswith('Pss:'))\n"
        "costs = {'python': round(pss() / 1024, 1)}\n"
        "for name in sys.argv[1].split(', '):\n"
        "    before = pss(); __import__(name); costs[name] = round((pss() - before) / 1024, 1)\n"
        "print(json.dumps(costs))\n"
    )
    found = {}
    for process, modules in IMPORTS:
        done = subprocess.run([sys.executable, "-c", script, modules], capture_output=True, text=True, check=True)
        found[process] = json.loads(done.stdout)
    return found


def pss_mb(pid: int) -> float:
    """Return a process's proportional set size in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024, 1)


def spread(values: list[float]) -> dict[str, Any]:
    """Return the median and the worst of some measurements, and how many there were."""
    return {
        "median": round(statistics.median(values), 3),
        "worst": round(max(values), 3),
        "runs": len(values),
        "all": [round(value, 3) for value in values],
    }


def kill_child(pair: Pair, process: str, how: signal.Signals) -> float:
    """Send a signal to one of alice's processes and return when."""
    pid = pair.child(pair.alice, process)
    sent_at = boot_time()
    os.kill(pid, how)
    return sent_at


@contextmanager
def _running() -> Iterator[Pair]:
    """Give a pair whose tunnel is up over the relay and carries the measuring traffic."""
    with Pair("bench", settings=RELAY_ONLY) as pair:
        pair.start_servers()
        pair.start_flows()
        pair.start_agents()
        pair.first_reply_at()
        yield pair


def _to_child(process: str, how: signal.Signals) -> Callable[[Pair], float]:
    return lambda pair: kill_child(pair, process, how)


def _faults(runs: int, fault: Callable[[Pair], float], *, felt: bool) -> dict[str, Any]:
    with _running() as pair:
        return spread(_outages(pair, runs, fault, felt=felt))


def _outages(pair: Pair, runs: int, fault: Callable[[Pair], float], *, felt: bool) -> list[float]:
    outages = []
    for _ in range(runs):
        time.sleep(PROVEN_S)
        fault_at = fault(pair)
        if not felt:
            time.sleep(WATCH_S)
        outages.append(pair.wait_recovered(fault_at))
    return outages


FIGURES = {"up": up, "relay": relay, "control": control, "packet": packet, "memory": memory}


def main() -> None:
    """Measure the named figures, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agent")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], default=[])
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    for name in options.figures or FIGURES:
        print(json.dumps(FIGURES[name](options.runs)), flush=True)


if __name__ == "__main__":
    main()
