"""What QUIC gives a relayed pair, beside WebSocket: outages when NATs change, and how soon the first reply comes.

python -m tests.bench.relay_quic [migration|first_reply ...] [--runs N]
"""

import argparse
import json
import statistics
import time
from itertools import cycle, islice
from typing import Any

from actors.demo.pair import PairFailed
from actors.demo.traffic import boot_time
from tests.bench.agent import spread
from tests.lab.delay import DELAY_S, DelayedPair
from tests.lab.quic import Change, QuicPair

RUNS = 20
FAR_S = 0.1  # delay each way, to count round trips by
SETTLED_S = 3.0  # between changes
CHANGES: tuple[Change, ...] = ("address", "port", "both")


def migration(runs: int = RUNS) -> dict[str, Any]:
    """S1 of recovery.md: a NAT gives a new address, a new port, both, in turn; over QUIC, and over WebSocket beside."""
    return {"s1_quic": _migration("quic", runs), "s1_ws": _migration("ws", min(runs, 6))}


def _migration(transport: str, runs: int) -> dict[str, Any]:
    outages, reopened, took = [], [], []
    with QuicPair(transport) as pair:
        pair.start_servers()
        pair.start_flows()
        pair.start_agents()
        pair.first_reply_at()
        pair.wait_carried([transport] * 2)
        for what in islice(cycle(CHANGES), runs):
            time.sleep(SETTLED_S)
            before = [pair.source(end) for end in pair.ends]
            at = pair.change(what)
            took.append(boot_time() - at)
            outages.append(pair.wait_recovered(at))
            reopened.append(len(pair.reopened(at)))
            if transport == "quic" and before == [pair.source(end) for end in pair.ends]:
                raise PairFailed(f"the {what} did not change: {before}")
    return {
        "outage_s": spread(outages),
        "nothing_reopened": sum(number == 0 for number in reopened),
        "at_most_0_5_s": sum(outage <= 0.5 for outage in outages),
        "router_away_s": spread(took),
    }


def first_reply(runs: int = RUNS // 2) -> dict[str, Any]:
    """From the dial of the relay link to its login, and to the first reply in the tunnel; 20 ms of delay each way.

    Round trips by the handshakes: ws 3 (TCP, upgrade, login), wss 4 (and TLS), quic 3 (TLS inside, size, login); and
    by time, from what a longer delay adds.
    """
    near = _first_times(runs, DELAY_S)
    far = _first_times(max(runs // 2, 1), FAR_S)
    figures = {}
    for transport, times in near.items():
        link = [one for one, _ in times]
        # What does not grow with the distance is computing, and acknowledgements that wait for company.
        grown_s = statistics.median(one for one, _ in far[transport]) - statistics.median(link)
        figures[transport] = {
            "link_s": spread(link),
            "link_round_trips": round(grown_s / (2 * (FAR_S - DELAY_S)), 2),
            "first_reply_s": spread([reply for _, reply in times]),
        }
    return figures


def _first_times(runs: int, delay_s: float) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {"ws": [], "wss": [], "quic": [], "auto": []}
    for _ in range(runs):
        for transport, times in found.items():
            with DelayedPair(transport, delay_s) as pair:
                times.append(pair.first_times())
    return found


FIGURES = {"migration": migration, "first_reply": first_reply}


def main() -> None:
    """Measure the named figures, or both."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.relay_quic")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], default=[])
    parser.add_argument("--runs", type=int)
    options = parser.parse_args()
    for name in options.figures or FIGURES:
        arguments = () if options.runs is None else (options.runs,)
        print(json.dumps({name: FIGURES[name](*arguments)}), flush=True)


if __name__ == "__main__":
    main()
