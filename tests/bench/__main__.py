"""Measure every figure of the README, one JSON object a line: `python -m tests.bench [NAME ...]`."""

import json
import sys
from collections.abc import Callable
from typing import Any

from tests.bench import (
    agent,
    commands,
    datapath,
    direct,
    direct_peers,
    lossy,
    mail,
    quic,
    relay,
    relay_quic,
    scale,
    simulator,
    top,
    trace,
    world,
)

FIGURES: dict[str, Callable[[], dict[str, Any]]] = {
    "up": lambda: agent.up(agent.RUNS),
    "relay_restart": lambda: agent.relay(agent.RUNS),
    "control": lambda: agent.control(agent.RUNS),
    "packet": lambda: agent.packet(agent.RUNS),
    "direct": direct.direct,
    "direct_cut": direct.direct_cut,
    "direct_peers": direct_peers.measure,
    "commands": commands.measure,
    "scale": scale.measure,
    "mail": mail.measure,
    "trace": trace.measure,
    "top": top.measure,
    "datapath": datapath.measure,
    "relay": relay.measure,
    "lossy": lossy.measure,
    "quic": quic.measure,
    "quic_migration": relay_quic.migration,
    "quic_first_reply": relay_quic.first_reply,
    "memory": lambda: agent.memory(1),
    "world": world.measure,
    "simulator": simulator.measure,
}


def main() -> int:
    """Measure what was named, or everything."""
    unknown = [name for name in sys.argv[1:] if name not in FIGURES]
    if unknown:
        print(f"bench: no figure named {', '.join(unknown)}; there are {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    for name in sys.argv[1:] or FIGURES:
        print(json.dumps({name: FIGURES[name]()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
