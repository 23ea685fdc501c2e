"""Two real agents behind every pair of NAT kinds: which path they reach, and how soon.

python -m tests.lab.matrix [--pairs A:B,...] [--direct-s N] [--json]      (make nat-lab)
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from actors.demo.ends import End
from actors.demo.network import Network, NetworkUnavailable
from actors.demo.pair import HUB as PAIR_HUB
from actors.demo.pair import Homes, Pair, PairFailed
from actors.demo.traffic import boot_time
from tests.kit.nats import FULL_CONE, HAIRPINNING, KINDS, MASQUERADE, Nat, Router, Site, expected_path
from tests.lab.nats import FIREWALL, PORT_FORWARD
from tests.lab.topology import HUB, HUB6, Ground, Setting

FIRST_REPLY_S = 30.0  # over the relay, at the latest
DIRECT_S = 10.0  # more, for the direct path where one is expected
SETTLE_S = 2.0  # where none is expected: enough to show one that comes all the same
STATUS_S = 5.0  # until the status, written every second, knows of the first reply
STUN_PORT = 3478
STUN_SERVICE = ("--stun-port", str(STUN_PORT))  # of the relay server, on all the hub's addresses
STUN_SERVERS = ", ".join(f'"{ip}:{STUN_PORT}"' for ip in (*HUB, f"[{HUB6[0]}]"))
SETTINGS = f"\n[stun]\nservers = [{STUN_SERVERS}]\n"  # of both agents
CONTROL = "conn"  # the actor that hears of a proven path

assert HUB[0] == PAIR_HUB  # the relay's own name for itself


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one pair; times in seconds from the start of both agents, None: it did not happen."""

    left: str
    right: str
    expected: str
    path: str  # "direct", "relayed", or "none"
    first_reply_s: float | None
    direct_s: float | None  # until both ends had proven it
    error: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether they met, and directly if that can be."""
        return self.path == "direct" or (self.path == "relayed" and self.expected == "relayed")


def kinds() -> dict[str, tuple[tuple[Nat, ...], bool, bool]]:
    """Return each kind of site by its name: its routers from the host outwards, IPv4, IPv6."""
    single = {nat.name: ((nat,), True, False) for nat in (*KINDS, PORT_FORWARD, FIREWALL) if nat is not HAIRPINNING}
    return {
        "public": ((), True, False),
        **single,
        "double-nat": ((MASQUERADE, FULL_CONE), True, False),
        "dual-stack": ((MASQUERADE,), True, True),
        "ipv6-only": ((FIREWALL,), False, True),
    }


def shared_settings() -> dict[str, Setting]:
    """Return the pairs that stand behind a common router, by name."""
    one_carrier = {}
    for name, carrier in (("one-carrier", FULL_CONE), ("one-carrier-hairpinning", HAIRPINNING)):
        left, right = (Site((Router(f"{side}-home", MASQUERADE), Router("carrier", carrier))) for side in ("l", "r"))
        one_carrier[name] = Setting(name, left, right)
    lan = Site((Router("home", MASQUERADE),))
    return {"one-lan": Setting("one-lan", lan, lan), **one_carrier}


def setting_of(left: str, right: str) -> Setting:
    """Return two sites of these kinds that have nothing in common."""
    sites = []
    for side, kind in (("l", left), ("r", right)):
        nats, v4, v6 = kinds()[kind]
        sites.append(Site(tuple(Router(f"{side}{depth}", nat) for depth, nat in enumerate(nats)), v4, v6))
    return Setting(f"{left}:{right}", *sites)


def all_names() -> Iterator[str]:
    """Return the name of every pair: A:B for two kinds, one word for a common router."""
    for left, right in itertools.combinations_with_replacement(kinds(), 2):
        yield f"{left}:{right}"
    yield from shared_settings()


def find(name: str) -> Setting:
    """Return the pair of that name.  Raises ValueError with the names that would do."""
    left, colon, right = name.partition(":")
    if colon and left in kinds() and right in kinds():
        return setting_of(left, right)
    if name in shared_settings():
        return shared_settings()[name]
    would_do = f"KIND:KIND of {', '.join(kinds())}; or {', '.join(shared_settings())}"
    raise ValueError(f"no pair {name!r}; {would_do}")


def run(setting: Setting, direct_s: float = DIRECT_S) -> Outcome:
    """Start two agents there and watch them for a bounded time."""
    expected = expected_path(setting.left, setting.right)
    first_reply_s, path = None, "none"
    left, _, right = setting.name.partition(":")

    def build(network: Network) -> Homes:
        ground = Ground(network, setting)
        names = tuple(HUB[0] if place.site.v4 else f"[{HUB6[0]}]" for place in ground.places)
        return Homes(ground.hub, (ground.places[0].host, ground.places[1].host), (names[0], names[1]))

    try:
        with Pair("natlab", build, settings=SETTINGS, relay_options=STUN_SERVICE) as pair:
            pair.start_servers()
            pair.start_flows()
            started_at = pair.start_agents()
            first_reply_s = round(pair.first_reply_at(FIRST_REPLY_S) - started_at, 2)
            path = _reached(pair, direct_s if expected == "direct" else SETTLE_S)
            direct_at = [_direct_at(pair, end, started_at) for end in pair.ends] if path == "direct" else []
            pair.stop_agents()
    except PairFailed as error:
        return Outcome(left, right, expected, path, first_reply_s, None, str(error))
    both = [at for at in direct_at if at is not None]
    return Outcome(left, right, expected, path, first_reply_s, round(max(both) - started_at, 2) if both else None)


def _reached(pair: Pair, limit_s: float) -> str:
    """Wait for the direct path at both ends, and return what there is in the end."""
    end_at = boot_time() + limit_s
    while True:
        paths = [pair.path(end) for end in pair.ends]
        if paths == ["direct", "direct"]:
            return "direct"
        if boot_time() > end_at and ("" not in paths or boot_time() > end_at + STATUS_S):
            return "none" if "" in paths else "relayed"
        time.sleep(0.2)


def _direct_at(pair: Pair, end: End, started_at: float) -> float | None:
    """Return when this end first had a direct path proven."""
    records = pair.trace_records(end, since_s=boot_time() - started_at)
    return min((record["at"] for record in records if _proves_direct(record)), default=None)


def _proves_direct(record: dict[str, Any]) -> bool:
    actor: str = record["to"].rpartition("/")[2]
    proven: bool = record["type"] == "path_proven" and record["fields"].get("path") == "direct"
    return proven and actor == CONTROL


# --- showing ---


def line(outcome: Outcome) -> str:
    """Return one pair as a line of the table."""
    first, direct = (
        f"{at:6.2f} s" if at is not None else "       -" for at in (outcome.first_reply_s, outcome.direct_s)
    )
    mark = "" if outcome.ok else "  <-- " + (outcome.error.splitlines()[0] if outcome.error else "not as expected")
    name = f"{outcome.left:24} {outcome.right:24}"
    return f"{name} {outcome.expected:9} {outcome.path:9} {first} {direct}{mark}"


def grid(outcomes: Iterable[Outcome]) -> str:
    """Return the pairs of two kinds as a matrix: D direct, r relayed, - not met; `!` where it is not as expected."""
    cells = {(one.left, one.right): one for one in outcomes if one.right}
    names = [kind for kind in kinds() if any(kind in pair for pair in cells)]
    letters = {"direct": "D", "relayed": "r", "none": "-"}
    lines = [f"{'':24}" + " ".join(f"{index:3}" for index in range(1, len(names) + 1))]
    for index, left in enumerate(names, start=1):
        row = []
        for right in names:
            one = cells.get((left, right)) or cells.get((right, left))
            row.append("   " if one is None else f" {letters[one.path]}{' ' if one.path == one.expected else '!'}")
        lines.append(f"{index:2} {left:21}" + " ".join(row))
    return "\n".join(lines)


def main() -> int:
    """Run the pairs and return the exit code: 0 if every pair met, and directly where that can be."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.matrix")
    parser.add_argument("--pairs", help="A:B,... instead of every pair of kinds")
    parser.add_argument("--direct-s", type=float, default=DIRECT_S, help="wait so long for an expected direct path")
    parser.add_argument("--json", action="store_true", help="one JSON object a pair")
    options = parser.parse_args()
    names = options.pairs.split(",") if options.pairs else list(all_names())
    try:
        settings = [find(name) for name in names]
    except ValueError as error:
        parser.error(str(error))
    begun_at, outcomes = boot_time(), []
    if not options.json:
        print(f"{'left':24} {'right':24} {'expected':9} {'path':9} {'reply':>8} {'direct':>8}", flush=True)
    for setting in settings:
        try:
            outcome = run(setting, options.direct_s)
        except NetworkUnavailable as error:
            print(f"homing: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"homing: stopped in {setting.name}; everything that was made is gone", file=sys.stderr)
            return 1
        outcomes.append(outcome)
        print(json.dumps({**asdict(outcome), "ok": outcome.ok}) if options.json else line(outcome), flush=True)
    if not options.json:
        good = sum(outcome.ok for outcome in outcomes)
        print(f"\n{grid(outcomes)}\n\n{good} of {len(outcomes)} pairs as expected, {boot_time() - begun_at:.0f} s")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
