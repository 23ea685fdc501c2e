"""CPU of one whole agent that holds many idle direct peers, whose light remote ends are real in all that it hears.

python -m tests.bench.direct_peers [--peers N] [--seconds N]
"""

import argparse
import json
import time
from typing import Any

from tests.bench.many import Many

PEERS = 200
SECONDS = 40.0  # more than a keepalive, a probe of each standby and a consent check take to come round
APART_S = 0.02  # from the start of one remote end to the next
CONNECTED_S = 60.0
SETTLE_S = 30.0


def measure(peers: int = PEERS, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the share of a core that each process of the agent takes while nothing but upkeep happens."""
    with Many(peers, ice=True, apart_s=APART_S) as many:
        many.start_light()
        connected_s = many.wait("all peers direct", CONNECTED_S, lambda: _direct(many) == peers)
        time.sleep(SETTLE_S)
        percent, passed_s = many.cpu_percent(seconds)
        result = {
            "direct_peers": peers,
            "all_direct_s": round(connected_s, 1),
            "direct_at_the_end": _direct(many),
            "cpu_percent_of_a_core": {name: round(value, 2) for name, value in percent.items()},
            "total": round(sum(percent.values()), 2),
            "seconds": round(passed_s, 1),
        }
        many.stop()
        return result


def _direct(many: Many) -> int:
    return sum(peer.state == "connected" and peer.path == "direct" for peer in many.reports())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.direct_peers")
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    print(json.dumps(measure(options.peers, options.seconds)))


if __name__ == "__main__":
    main()
