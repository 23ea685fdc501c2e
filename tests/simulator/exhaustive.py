"""Every order of what may come, for two peers that are connected: `python -m tests.simulator.exhaustive --depth 8`.

The machines of one peer at each of two agents, and beyond them what the packet process, the relay and the network may
do next: an offer or answer arrives, a WireGuard path is found dead, the relay says that the remote is gone, the ICE
agent ends, an opening succeeds or fails, a close is acknowledged, a timer fires.  After each step the rules of rules.py
hold; from wherever it has come, the pair finds back once nothing more goes wrong.
"""

import argparse
import pickle
import sys
from collections import Counter

import msgspec

from tests.simulator.rules import broken_rules
from tests.simulator.two_sides import Event, Two


class Visited(msgspec.Struct, kw_only=True):
    """What was found."""

    states: int = 0
    steps: int = 0
    breaches: dict[str, list[Event]] = {}
    by_depth: Counter[int] = msgspec.field(default_factory=Counter)


def connected() -> Two:
    """Return two that have a relayed and a direct path."""
    two = Two()
    problem = two.settle()
    assert problem is None, problem
    two.log.clear()
    return two


def visit(depth: int, *, most: int = 1_000_000) -> Visited:
    """Visit every state that at most `depth` events lead to, breadth first; no more than `most` of them."""
    found, first = Visited(), connected()
    seen = {first.digest()}
    layer: list[tuple[bytes, list[Event]]] = [(pickle.dumps(first), [])]
    for level in range(1, depth + 1):
        following: list[tuple[bytes, list[Event]]] = []
        for packed, path in layer:
            for event in pickle.loads(packed).events():
                two: Two = pickle.loads(packed)
                two.happen(event)
                found.steps += 1
                for breach in broken_rules(two.log, two.now):
                    found.breaches.setdefault(breach.partition(": ")[2], [*path, event])
                name = two.digest()
                if name in seen or len(seen) >= most:
                    continue
                seen.add(name)
                found.by_depth[level] += 1
                packed_two = pickle.dumps(two)
                following.append((packed_two, [*path, event]))
                problem = two.settle()
                if problem is not None:
                    found.breaches.setdefault(problem[:60], [*path, event])
        layer = following
    found.states = len(seen)
    return found


def main() -> int:
    """Visit, and tell how much; 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="exhaustive", description=__doc__)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--most", type=int, default=1_000_000, help="states, to bound the memory")
    asked = parser.parse_args()
    found = visit(asked.depth, most=asked.most)
    print(f"{found.states} states, {found.steps} steps; new ones by depth: {dict(found.by_depth)}")
    for breach, path in found.breaches.items():
        print(f"{breach}\n    after {path}")
    return bool(found.breaches)


if __name__ == "__main__":
    sys.exit(main())
