"""The same scenario, both ways: the mail of real agents beside the simulator's, aligned.

python -m tests.lab.both [S1 S9/both-ways ...]

A run in the laboratory and a run of the simulator begin alike: two hosts behind routers of the same kind, one relay
server, the same end the relay's controller.  Of each end, the mail about its peer (and about what all peers share) is
put in order, each kind where it came first, and aligned:

      lab s   sim s  end    receiver        mail
       1.05    1.04  bob    conn            path_doubtful
       1.31       -  bob    relays          link_closed        <why>

Some differences are by design (BY_DESIGN).  A kind of mail that is on one side only and is not among them is an error,
and so is a pair of kinds that stands the other way round on both sides by more than LATE_S.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, permutations
from random import Random
from typing import NamedTuple

from actors.demo.network import NetworkUnavailable
from actors.demo.pair import PairFailed
from actors.demo.traffic import boot_time
from tests.kit.nats import MASQUERADE
from tests.lab.catalogue import find
from tests.lab.stage import Stage
from tests.simulator.agent import Identity
from tests.simulator.faults import AnyFault, DirectCut, Killed, NatChanged, RelayRestarted, SignalRestarted
from tests.simulator.run import perform
from tests.simulator.scenario import AT_S, A, B, Figures, Scenario, pair

ALIKE = (MASQUERADE, MASQUERADE)  # the laboratory's routers
LATENCY_S = 0.000_3  # its wires
LATE_S = 0.4  # what is so far apart on both sides has an order
SETTLED_S = 10.0
WATCH_S = 8.0  # of the mail after the fault
UP_S = 40.0


@dataclass(frozen=True, slots=True)
class Twin:
    """What the simulator does in the place of a scenario of the laboratory."""

    faults: tuple[AnyFault, ...]
    ice: bool = True
    watch_s: float = WATCH_S


def _dropped(at_s: float, *, packets_only: bool) -> tuple[AnyFault, ...]:
    ways = ((A, B), (B, A))
    return tuple(
        DirectCut(at_s=at_s, for_s=60.0, sender=one, receiver=other, packets_only=packets_only) for one, other in ways
    )


TWINS: dict[str, Twin] = {
    "S1/strict": Twin((NatChanged(at_s=AT_S, agent=A, change="new address"),), ice=False),
    "S2/strict": Twin((NatChanged(at_s=AT_S, agent=A, change="new address"),)),
    "S5/restarted": Twin((RelayRestarted(at_s=AT_S, for_s=0.6, relay=0),), ice=False),
    "S8/cut": Twin(_dropped(AT_S, packets_only=False)),
    "S9/both-ways": Twin(_dropped(AT_S, packets_only=True)),
    "S11/direct": Twin((SignalRestarted(at_s=AT_S, for_s=1.6),)),
    "S15/wireguard-dropped": Twin(
        (*_dropped(AT_S, packets_only=True), RelayRestarted(at_s=AT_S + 5.0, for_s=0.6, relay=0)), watch_s=12.0
    ),
    "S19/packet-killed-direct": Twin((Killed(at_s=AT_S, agent=A, process="packet"),)),
}

UNTOLD = frozenset(
    {
        # that comes all the time
        "path_heard", "traffic_heard", "watch_due", "snapshot_due", "save_snapshot", "ping", "pong", "announce",
        "agent_due", "echo_answered", "probe_path", "prove_now", "path_silent",
        # that only reports
        "peer_status", "relays_status", "signal_status", "known_peers", "agent_status",
    }
)  # fmt: skip
"""Mail that is not compared."""


_WIREGUARD = "WireGuard's handshakes fall due by its own clock, which began elsewhere"
_SUPERVISOR = "the simulator starts a process again without a supervisor"
_SIGNAL = "gRPC fails what it cannot post, the simulator's connection sends it again"
BY_DESIGN = {
    "handshake_completed": _WIREGUARD,
    "initiate_handshake": _WIREGUARD,
    "rekey_unanswered": _WIREGUARD,
    "process_exited": _SUPERVISOR,
    "process_ready": _SUPERVISOR,
    "start_process": _SUPERVISOR,
    "inspect_process": _SUPERVISOR,
    "process_inspected": _SUPERVISOR,
    "signal_post_failed": _SIGNAL,
    "signal_disconnected": _SIGNAL,
    "signal_connected": _SIGNAL,
    "local_traffic": "told when a packet meets a peer without a path, for which there may be no time",
    "path_doubtful": "where ICE doubts the path in the same moment, that is told instead",
}
"""Mail that one side alone may have: why."""

EITHER = frozenset(
    {
        "send_offer", "offer_received", "answer_received", "post_description", "search_wanted", "search_granted",
        "relay_turn_done", "ice_turn_done",
    }
)  # fmt: skip
"""The mail of an exchange of offers: either end may begin it, the two may cross, or a path is proven before."""
ENDED = frozenset({"ice_agent_ended", "local_ice_changed", "ice_lost", "path_hindered", "ice_pair_doubtful"})
"""How an ICE session ends at an end: by itself, unless the other end's offer replaces it before."""
FIRST = "the other end may be the first"
OFFERED = "jitter decides who offers, and whether before the path is back"
EDGE_S = 1.5  # before the end of the watch: what follows may come too late to be seen
LATE = "at the end of what is watched"


class Kind(NamedTuple):
    """A kind of mail: who got what."""

    end: str
    actor: str
    tag: str


Mail = dict[Kind, float]
"""When each kind came first, in seconds from the fault; in that order."""


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of mail on both sides; None: it was not there."""

    kind: Kind
    lab_s: float | None
    simulated_s: float | None

    @property
    def alone(self) -> bool:
        """Whether one side only has it."""
        return self.lab_s is None or self.simulated_s is None

    @property
    def at_s(self) -> float:
        """Where it stands among the others."""
        found = [at for at in (self.lab_s, self.simulated_s) if at is not None]
        return sum(found) / len(found)


def aligned(lab: Mail, simulated: Mail) -> list[Row]:
    """Return all kinds of mail of both sides, in the order of time."""
    rows = [Row(kind, lab.get(kind), simulated.get(kind)) for kind in {**lab, **simulated}]
    return sorted(rows, key=lambda row: (row.at_s, row.kind))


def reason(row: Row, rows: Sequence[Row], watch_s: float) -> str:
    """Return why a kind may be on one side only; empty: it may not."""
    if row.kind.tag in BY_DESIGN:
        return BY_DESIGN[row.kind.tag]
    if row.at_s > watch_s - EDGE_S:
        return LATE
    if row.kind.tag in EITHER:
        return OFFERED
    if row.kind.tag not in ENDED:
        return ""
    mirrored = (one for one in rows if one.kind[1:] == row.kind[1:] and one.kind.end != row.kind.end)
    there = any(one.simulated_s is not None if row.simulated_s is None else one.lab_s is not None for one in mirrored)
    return FIRST if there else ""


def unexplained(rows: Sequence[Row], watch_s: float) -> list[str]:
    """Return what is on one side only, or in another order, and not by design."""
    found = [
        f"{' '.join(row.kind)}: only in the {'simulator' if row.lab_s is None else 'laboratory'}"
        for row in rows
        if row.alone and not reason(row, rows, watch_s)
    ]
    shared = [
        (row.lab_s, row.simulated_s, row.kind)
        for row in rows
        if row.lab_s is not None and row.simulated_s is not None and row.kind.tag not in BY_DESIGN.keys() | EITHER
    ]
    for one, other in permutations(shared, 2):
        if one[2].end == other[2].end and other[0] - one[0] > LATE_S and one[1] - other[1] > LATE_S:
            found.append(f"{' '.join(one[2])} comes before {' '.join(other[2])} in the laboratory, after it here")
    return found


def told(rows: Sequence[Row], watch_s: float) -> Iterator[str]:
    """Return the table."""
    yield f"{'lab s':>7} {'sim s':>7}  end    receiver        mail"
    for row in rows:
        why = (reason(row, rows, watch_s) or "?") if row.alone else ""
        kind = f"{row.kind.end:6} {row.kind.actor:15} {row.kind.tag:26}"
        yield f"{_seconds(row.lab_s)} {_seconds(row.simulated_s)}  {kind} {why}".rstrip()


# --- the two sides ---


def in_the_lab(name: str, watch_s: float) -> tuple[Mail, bool]:
    """Run it with real agents; return the mail, and whether alice is the controller.  Raises PairFailed."""
    (scenario,) = find([name])
    with Stage(scenario.plan) as stage:
        stage.start_servers()
        stage.start_flows()
        stage.start_agents()
        assert scenario.start is not None, name
        if not stage.wait_proven(scenario.start, UP_S):
            raise PairFailed(f"not {scenario.start} within {UP_S:.0f} s")
        time.sleep(SETTLED_S)
        broken = scenario.fault(stage)
        time.sleep(max(broken.at + watch_s - boot_time(), 0.0))
        found = [
            (record.at - broken.at, Kind(end.name, _short(record.to), record.tag))
            for end in stage.ends
            for record in stage.records(end, broken.at)
            if record.kind == "delivered"
        ]
        return _mail(found, watch_s), stage.alice.public_key > stage.bob.public_key


def simulated(twin: Twin, *, alice_controls: bool) -> Mail:
    """Run it in the simulator, with a seed that makes the same end the controller.  Raises PairFailed."""
    seed = next(seed for seed in count() if _controls(seed) == alice_controls)
    topology = replace(pair(ice=twin.ice, nats=ALIKE), latency_s=LATENCY_S, hints=True)
    scenario = Scenario(name="", topology=topology, faults=twin.faults, figures=Figures(), quiet_s=twin.watch_s)
    run = perform(scenario, seed)
    if isinstance(run, str):
        raise PairFailed(run)
    fault_at, ends = run.begun_at + AT_S, {A: "alice", B: "bob"}
    found = [
        (handled.at - fault_at, Kind(ends[node], _short(handled.actor), str(handled.message.__struct_config__.tag)))
        for node, handled in run.sim.log
        if handled.at >= fault_at
    ]
    return _mail(found, twin.watch_s)


def _controls(seed: int) -> bool:
    ours, theirs = (Identity.draw(number, Random(f"key {seed} {number}")).key for number in range(2))
    return ours > theirs


def _mail(found: Iterable[tuple[float, Kind]], watch_s: float) -> Mail:
    first: Mail = {}
    for at_s, kind in sorted(found):
        if at_s <= watch_s and kind.tag not in UNTOLD and not kind.tag.endswith("_due"):
            first.setdefault(kind, at_s)
    return first


def _short(actor: str) -> str:
    return actor.partition("@")[0].rpartition("/")[2]


def _seconds(at_s: float | None) -> str:
    return f"{'-':>7}" if at_s is None else f"{at_s:7.2f}"


def main() -> int:
    """Compare what was named; 1 if there is a difference that is not by design."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.both")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"{', '.join(TWINS)}; all without one")
    asked = parser.parse_args().names
    names = [
        name for name in TWINS if not asked or any(name in (one, f"{one}/{name.partition('/')[2]}") for one in asked)
    ]
    if not names:
        parser.error(f"no such scenario; there are {', '.join(TWINS)}")
    differ = False
    for name in names:
        twin = TWINS[name]
        try:
            lab, alice_controls = in_the_lab(name, twin.watch_s)
            rows = aligned(lab, simulated(twin, alice_controls=alice_controls))
        except (NetworkUnavailable, PairFailed) as error:
            print(f"homing: {name}: {error}", file=sys.stderr)
            return 1
        print(
            f"--- {name}, {'alice' if alice_controls else 'bob'} is the controller ---",
            *told(rows, twin.watch_s),
            sep="\n",
        )
        found = unexplained(rows, twin.watch_s)
        differ = differ or bool(found)
        print(*(f"differs: {text}" for text in found), f"{len(rows)} kinds, {len(found)} differ", sep="\n", flush=True)
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
