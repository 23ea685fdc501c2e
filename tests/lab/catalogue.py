"""The scenarios of recovery.md section 2, as data: what there is, what breaks, what is measured, what it may be."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.kit.nats import APD, FULL_CONE, MASQUERADE, Nat, Router, Site
from tests.lab import breaks, stale
from tests.lab.breaks import Break
from tests.lab.measure import Outcome
from tests.lab.nats import RealNat
from tests.lab.stage import Plan, Stage, behind
from wg.paths import PathKind

Measured = Literal[
    "outage",
    "worst night",  # the longest outage of several
    "noticed",
    "connected",
    "direct",
    "path left",
    "reason shown",
    "10 MB",
    "nothing torn down",
    "displacements",  # the only one that is no time
]

LAX = RealNat("lax", APD, APD, port_preserving=True, lax=True)
PUBLIC = Site()


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure may be, in seconds; None: nothing is asked."""

    p50: float | None = None
    p99: float | None = None  # of every run, where there are too few for a percentile


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault in one setting."""

    id: str
    variant: str
    fault: Break
    start: PathKind | None  # None: there is no path
    limit: Limit
    plan: Plan
    measured: Measured = "outage"
    noticed: float | None = None  # s
    watch_s: float = 3.0  # from the fault until the packets are looked at
    recovers_s: float = 60.0
    disruptive: int | None = None  # actions that it may take; None: any
    again: bool = True  # another run may follow on the same stage
    shortened: str = ""
    settled_s: float = 10.0  # from the beginning, or the last run, to the fault
    before: Callable[[Stage], None] | None = None  # done before the servers start

    def allows(self, outcome: Outcome) -> bool:
        """Tell whether a run is within the figures that hold for each."""
        late = outcome.noticed_s is not None and self.noticed is not None and outcome.noticed_s > self.noticed
        over = self.limit.p99 is not None and (outcome.seconds is None or outcome.seconds > self.limit.p99)
        torn = self.disruptive is not None and outcome.disruptive > self.disruptive
        return outcome.recovered and not (late or over or torn)

    @property
    def name(self) -> str:
        """Return the name that the command line takes."""
        return f"{self.id}/{self.variant}"

    @property
    def row(self) -> tuple[str, Measured, Limit]:
        """Return what its row of the README's table is about."""
        return self.id, self.measured, self.limit


def homes(nat: Nat = MASQUERADE, *, right: Site | None = None, ice: bool = True) -> Plan:
    """Return a plan of two hosts behind such routers, or of one and a host elsewhere."""
    return Plan(behind(nat, "left"), behind(nat, "right") if right is None else right, ice=ice)


BACK = Limit(2.0, 5.0)  # S0 to S2, once the link is back
BOTH = Limit(5.0, 10.0)  # S3
FELT = Limit(None, 5.0)
UNFELT = Limit(0.0, 0.0)
DIRECT_DEAD = Limit(2.0, 4.0)
ROUTERS = (("strict", MASQUERADE), ("lax", LAX))
STARTS: tuple[PathKind, PathKind] = ("relayed", "direct")


def scenarios() -> Iterator[Scenario]:
    """Return every scenario, in the order of their names."""
    yield from _addresses()
    yield from _relays()
    yield from _direct()
    yield from _signal()
    yield from _machines()


def _addresses() -> Iterator[Scenario]:
    for kind, nat in ROUTERS:
        for start in STARTS:
            plan = homes(nat, right=PUBLIC, ice=start == "direct")
            for away_s, told in ((1.0, ""), (10.0, ""), (20.0, "link away 60 s -> 20 s")):
                fault = breaks.new_address("alice", away_s=away_s)
                name = f"new-address-away-{away_s:.0f}s-{start}-{kind}"
                yield Scenario("S0", name, fault, start, BACK, plan, shortened=told)
            nights = breaks.nights(breaks.new_address("alice", away_s=1.0), 10, 15.0)
            told = "30 nights -> 10 within 3 min"
            yield Scenario("S0", f"nights-{start}-{kind}", nights, start, BACK, plan, "worst night", shortened=told)
            yield Scenario("S0", f"new-address-{start}-{kind}", breaks.new_address("alice"), start, BACK, plan)
            yield Scenario("S0", f"flushed-{start}-{kind}", breaks.flushed("alice"), start, BACK, plan)
            yield Scenario(
                "S0", f"flushed-away-1s-{start}-{kind}", breaks.flushed("alice", away_s=1.0), start, BACK, plan
            )
    for kind, nat in ROUTERS:
        one, both = breaks.new_address("alice"), breaks.new_address("alice", "bob")
        yield Scenario("S1", kind, one, "relayed", BACK, homes(nat, ice=False))
        quic = replace(homes(nat, ice=False), quic=True)
        yield Scenario("S1", f"quic-{kind}", one, "relayed", Limit(None, 0.5), quic, disruptive=0)
        yield Scenario("S2", kind, one, "direct", BACK, homes(nat))
        yield Scenario("S3", f"relayed-{kind}", both, "relayed", BOTH, homes(nat, ice=False))
        yield Scenario("S3", f"direct-{kind}", both, "direct", BOTH, homes(nat))


def _relays() -> Iterator[Scenario]:
    relayed = homes(ice=False)
    yield Scenario("S4", "in-use", breaks.half_open, "relayed", FELT, relayed, noticed=5.0)
    yield Scenario(
        "S4", "standby", breaks.half_open, "direct", Limit(None, 30.0), homes(), watch_s=33.0, measured="noticed"
    )
    yield Scenario("S5", "restarted", breaks.relay_restarted(), "relayed", FELT, relayed)
    away = breaks.relay_restarted(10.0)
    yield Scenario("S5", "away-10s", away, "relayed", FELT, relayed)
    crowded = replace(relayed, crowd=1000)
    yield Scenario("S5", "with-1000-clients", breaks.relay_restarted(), "relayed", FELT, crowded)
    two = replace(relayed, relays=((0, 1), (0, 1)))
    never = float("inf")
    yield Scenario("S6", "other-down", breaks.relay_restarted(never, used=False), "relayed", UNFELT, two, watch_s=8.0)
    yield Scenario("S6", "used-down", breaks.relay_restarted(never), "relayed", FELT, two)
    yield Scenario("S23", "home-moved", breaks.home_moved, "relayed", FELT, two)
    reached = breaks.out_of_reach(0)
    restarted = breaks.agents_restarted
    yield Scenario("S7", "by-another", restarted, "relayed", Limit(None, 10.0), two, "connected", before=reached)
    one = replace(homes(), standby=False)
    yield Scenario("S7", "direct", restarted, "direct", Limit(None, 10.0), one, "connected", before=reached)
    yield Scenario("S7", "none", restarted, None, Limit(None, 10.0), relayed, measured="reason shown", before=reached)


def _direct() -> Iterator[Scenario]:
    # A path of its own each way: what alice hears vanishes, what bob hears does.
    worst = Limit(3.0, 5.0)
    found = [Scenario("S8", "cut", breaks.direct_cut, "direct", DIRECT_DEAD, homes())]
    for who, name in ((("alice",), "to-alice"), (("bob",), "to-bob"), (("alice", "bob"), "both-ways")):
        found.append(Scenario("S9", name, breaks.one_way(*who, kind="wireguard"), "direct", worst, homes()))
        if len(who) == 1:
            found.append(Scenario("S8", name, breaks.one_way(*who), "direct", worst, homes()))
    for one in found:
        yield one
        idle = replace(one, variant=f"{one.variant}-idle", fault=breaks.when_idle(one.fault))
        yield replace(idle, measured="path left", limit=Limit(None, 60.0), watch_s=0.0, recovers_s=90.0, settled_s=2.0)
    yield Scenario("S15", "wireguard-dropped", breaks.then_the_relay, "direct", FELT, homes(), watch_s=1.0, again=False)

    for event, limit in ((True, 10.0), (False, 60.0)):
        yield Scenario(
            "S10",
            "after-an-event" if event else "with-traffic",
            breaks.direct_possible(event),
            "relayed",
            Limit(None, limit),
            homes(),
            measured="direct",
            shortened="hours on the relay -> 60 s",
            settled_s=60.0,
            recovers_s=80.0,
            before=breaks.no_direct_path,
        )
    for start in STARTS:
        # A router between, so that neither server nor agent stands at the narrow link and knows of it.
        twice = Site((Router("left", MASQUERADE), Router("carrier", FULL_CONE)))
        plan = replace(homes(ice=start == "direct"), left=twice)
        yield Scenario(
            "S18", start, breaks.unbroken, start, Limit(None, 10.0), plan, measured="10 MB", before=breaks.narrow
        )


def _signal() -> Iterator[Scenario]:
    yield Scenario("S11", "direct", breaks.signal_restarted, "direct", UNFELT, homes(), watch_s=8.0, disruptive=0)
    yield Scenario(
        "S11", "relayed", breaks.signal_restarted, "relayed", UNFELT, homes(ice=False), watch_s=8.0, disruptive=0
    )
    told = "signal down 10 min -> 5 s"
    relay = breaks.signal_away(breaks.relay_restarted())
    yield Scenario("S12", "relay-restarted", relay, "relayed", FELT, homes(ice=False), shortened=told)
    yield Scenario("S12", "direct-cut", breaks.signal_away(breaks.direct_cut), "direct", FELT, homes(), shortened=told)
    yield Scenario(
        "S12", "new-address", breaks.signal_away(breaks.new_address("alice")), "direct", FELT, homes(), shortened=told
    )

    for start in STARTS:
        # On the relay they look for a direct path all the time, and owe each other offers.
        searching = breaks.no_direct_path if start == "relayed" else None
        together, often = breaks.events(1.0, 1.0), breaks.events(60.0, 1.0)
        calm = Scenario("S14", start, together, start, UNFELT, homes(), watch_s=8.0, disruptive=0, before=searching)
        yield calm
        calm = replace(calm, fault=often, limit=Limit(), measured="nothing torn down", watch_s=3.0)
        yield replace(calm, id="S13", plan=replace(homes(), meddling="always"))
        yield replace(calm, id="S22", plan=replace(homes(), third="friend"), shortened="1 h -> 60 s")
    held_back = replace(homes(), meddling="told")
    yield Scenario(
        *("S13", "old-answers", stale.old_answers, "direct", Limit(), held_back),
        measured="nothing torn down",
        watch_s=8.0,
        disruptive=0,
    )


def _machines() -> Iterator[Scenario]:
    for start in STARTS:
        plan = homes(ice=start == "direct")
        for who in (("alice",), ("alice", "bob")):
            for slept_s, word, still_s in ((1.0, "1s", 1.0), (300.0, "5min", 10.0), (28800.0, "8h", 30.0)):
                yield Scenario(
                    "S16",
                    f"{word}-{'both' if len(who) == 2 else 'one'}-{start}",
                    breaks.asleep(*who, seconds=slept_s, still_s=still_s),
                    start,
                    Limit(None, 3.0),
                    plan,
                    shortened="" if slept_s == still_s else f"the other machine sees {still_s:.0f} s of it",
                )
        for step_s in (86400.0, -86400.0):
            name = f"wall-clock-{step_s / 86400:+.0f}-day-{start}"
            yield Scenario("S23", name, breaks.wall_stepped(step_s), start, UNFELT, plan, watch_s=8.0)
        twice = breaks.renumbered_twice
        yield Scenario("S17", start, twice, start, Limit(None, 3.0), plan)
        for how, word in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "hung")):
            packet, control = (breaks.process_told(name, how) for name in ("packet", "control-0"))
            yield Scenario("S19", f"packet-{word}-{start}", packet, start, Limit(None, 2.0), plan)
            yield Scenario("S19", f"control-{word}-{start}", control, start, UNFELT, plan, watch_s=8.0)
        for share in (0.05, 0.2):
            yield Scenario(
                "S20",
                f"{share:.0%}-{start}",
                breaks.lossy(share, 60.0),
                start,
                Limit(),
                plan,
                measured="nothing torn down",
                disruptive=0,
                shortened="10 min -> 60 s",
            )

    double = replace(homes(), third="double")
    shown = Scenario("S21", "same-key", breaks.double_started, "direct", Limit(None, 10.0), double, "reason shown")
    yield replace(shown, again=False)
    # What an hour may have; the third of each client would come after 15 min or more.
    counted = replace(shown, variant="displacements", measured="displacements", limit=Limit(None, 6.0), watch_s=180.0)
    yield replace(counted, again=False, shortened="1 h -> 3 min")


def find(names: list[str]) -> list[Scenario]:
    """Return the scenarios of these names: S1, or S1/strict; all of them for none.  Raises ValueError."""
    found = list(scenarios())
    for name in names:
        if not any(name in (one.id, one.name) for one in found):
            would_do = ", ".join(one.name for one in found if one.id == name.partition("/")[0])
            raise ValueError(f"no scenario {name!r}; {would_do or ', '.join(dict.fromkeys(one.id for one in found))}")
    return [one for one in found if not names or one.id in names or one.name in names]
