"""The packet path against wireguard-go: one TCP stream through a tunnel, both ends on this machine.

    python -m tests.bench.datapath [--rounds 10] [--seconds 3]

Each round measures both, in changing order, between two namespaces joined by a veth.  The machine is shared, so only
the ratio within a round means something: the figure is the median of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import NamedTuple

from tests.wg.interop.net import MTU, Host, Ours, Pair, Theirs, peer_of, run, wait_until

MIN_RATIO = 0.9  # of wireguard-go's throughput
ROUNDS = 10
SECONDS = 3.0  # of each transfer


class Rate(NamedTuple):
    """One transfer."""

    mbit_s: float  # payload received
    cpu_s_per_gb: float  # user and system time of both tunnel processes per 10^9 bytes of payload


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, float]:
    """Return the median ratio, with the medians that it comes from; each round is a line on standard error."""
    ours: list[Rate] = []
    theirs: list[Rate] = []
    for number in range(rounds):
        if number % 2 == 0:
            ours.append(transfer(Ours, seconds))
        theirs.append(transfer(Theirs, seconds))
        if number % 2 == 1:
            ours.append(transfer(Ours, seconds))
        ratio = ours[-1].mbit_s / theirs[-1].mbit_s
        rates = f"{ours[-1].mbit_s:.0f} and {theirs[-1].mbit_s:.0f} Mbit/s"
        print(f"round {number + 1}: {rates}, ratio {ratio:.2f}", file=sys.stderr)
    ratios = [our.mbit_s / their.mbit_s for our, their in zip(ours, theirs, strict=True)]
    figures = {
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ours_mbit_s": statistics.median(rate.mbit_s for rate in ours),
        "wireguard_go_mbit_s": statistics.median(rate.mbit_s for rate in theirs),
        "ours_cpu_s_per_gb": statistics.median(rate.cpu_s_per_gb for rate in ours),
        "wireguard_go_cpu_s_per_gb": statistics.median(rate.cpu_s_per_gb for rate in theirs),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def transfer(kind: type[Ours] | type[Theirs], seconds: float) -> Rate:
    """Send one TCP stream through a fresh tunnel between two ends of this kind."""
    with Pair() as pair:
        b = kind(pair.b, peer_of(pair.a), mtu=MTU)
        a = kind(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint), mtu=MTU)
        assert pair.a.ping(pair.b.inner), "the tunnel is not up"
        pids = [a.process.pid, b.process.pid]
        before = sum(map(cpu_s, pids))
        received = iperf(pair.a, pair.b, seconds)
        spent_s = sum(map(cpu_s, pids)) - before
    return Rate(received["bits_per_second"] / 1e6, spent_s / received["bytes"] * 1e9)


def iperf(client: Host, server: Host, seconds: float) -> dict[str, float]:
    """Return what iperf3's server received of one TCP stream."""
    listener = server.start("iperf3", "--server", "--one-off", stdout=subprocess.DEVNULL)
    wait_until(lambda: ":5201" in run(*server.inside("ss", "-ltn")))
    report = run(*client.inside("iperf3", "--json", "--client", server.inner, "--time", f"{seconds:g}"))
    listener.wait(timeout=10)
    received: dict[str, float] = json.loads(report)["end"]["sum_received"]
    return received


def cpu_s(pid: int) -> float:
    """Return user and system time of a process."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print the figures as JSON; exit code 1 if the ratio is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    figures = measure(options.rounds, options.seconds)
    print(json.dumps(figures))
    sys.exit(0 if figures["ratio"] >= MIN_RATIO else 1)


if __name__ == "__main__":
    main()
