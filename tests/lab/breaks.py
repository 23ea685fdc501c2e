"""What the scenarios break on a stage: each function breaks it once and returns when, and what mends it.

A fault that lasts (a link that is away, a machine that sleeps) is over when its function returns.
"""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from actors.demo.ends import End
from actors.demo.pair import PairFailed
from actors.demo.traffic import boot_time
from tests.lab.faults import Drop, cut, drop_udp, flush_conntrack, mend, redial
from tests.lab.stage import RELAY_PORTS, Stage

# Drawn, so that keepalives and checks are elsewhere in their time at each fault.  Until a keepalive or two have come,
# ICE checks the pair as one with traffic.
IDLE_S = (40.0, 65.0)
APART_S = 5.0  # between a first fault and the second: by then the first is over
_addresses = count(1)


def nothing() -> None:
    """Mend nothing: the fault is over."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A fault that was injected."""

    at: float
    back_at: float | None = None  # the outage counts from then, not from the fault
    mend: Callable[[], None] = nothing
    calm_since: float | None = None  # what was torn down before is part of the fault; None: nothing was
    nights: tuple[tuple[float, float], ...] = ()  # the outage counts from the first to the second of each, not between


Break = Callable[[Stage], Broken]


# --- routers (S0 to S3, S17) ---


def new_address(*who: str, away_s: float = 0.0) -> Break:
    """The routers of these ends get new addresses at once, after their cables were away for so long."""

    def fault(stage: Stage) -> Broken:
        gates = [stage.gate(end) for end in _ends(stage, who)]
        at = boot_time()
        if away_s:
            for gate in gates:
                cut(gate.uplink)
            time.sleep(away_s)
        for gate in gates:
            if away_s:
                mend(gate.uplink)
            redial(stage.ground, gate)
        return Broken(at, boot_time() if away_s else None)

    return fault


def flushed(*who: str, away_s: float = 0.0) -> Break:
    """The routers of these ends forget every mapping and keep their addresses."""

    def fault(stage: Stage) -> Broken:
        gates = [stage.gate(end) for end in _ends(stage, who)]
        at = boot_time()
        for gate in gates:
            if away_s:
                cut(gate.uplink)
        time.sleep(away_s)
        for gate in gates:
            flush_conntrack(gate)
            if away_s:
                mend(gate.uplink)
        return Broken(at, boot_time() if away_s else None)

    return fault


def nights(redial_once: Break, number: int, apart_s: float) -> Break:
    """The same again and again, with nothing done between: as a provider that redials every night."""

    def fault(stage: Stage) -> Broken:
        at, found = boot_time(), []
        for _ in range(number):
            broken = redial_once(stage)
            back_at = broken.at if broken.back_at is None else broken.back_at
            time.sleep(apart_s)
            found.append((back_at, boot_time()))
        return Broken(at, found[-1][0], nights=tuple(found))

    return fault


def renumbered_twice(stage: Stage) -> Broken:
    """Alice's own interface gets another address, and 2 s later another (S17)."""
    at = boot_time()
    uplink = stage.place(stage.alice).uplink
    stage.ground.renumber(uplink)
    time.sleep(2.0)
    stage.ground.renumber(uplink)
    return Broken(at)


# --- the relay link and the relay servers (S4 to S7, S23) ---


def half_open(stage: Stage) -> Broken:
    """Packets of alice's present connection to the relay vanish both ways; new ones pass."""
    address = stage.gate(stage.alice).uplink.address
    found = stage.hub.exec("ss", "-Htn", "state", "established", f"( sport = :{RELAY_PORTS[0]} )")
    ports = re.findall(rf"{re.escape(str(address))}\]?:(\d+)\s*$", found, re.MULTILINE)
    if not ports:
        raise PairFailed(f"no connection of {address} to the relay\n{found}")
    these = "{ " + ", ".join(ports) + " }"
    at = boot_time()
    drops = (
        Drop(stage.hub, f"ip saddr {address} tcp sport {these}"),
        Drop(stage.hub, f"ip daddr {address} tcp dport {these}", hook="output"),
    )
    return Broken(at, mend=lambda: _mend_all(drops))


def relay_restarted(away_s: float = 0.0, used: bool = True) -> Break:
    """The relay server in use, or the other one, is killed, and started again after so long; inf: not at all."""

    def fault(stage: Stage) -> Broken:
        index = stage.used_relay() if used else 1 - stage.used_relay()
        at = stage.kill_relay(index)
        if away_s == float("inf"):
            return Broken(at, mend=lambda: stage.start_relay(index))
        time.sleep(away_s)
        stage.start_relay(index)
        return Broken(at, boot_time() if away_s else None)

    return fault


def home_moved(stage: Stage) -> Broken:
    """Bob cannot reach the relay server in use any more, and moves to the other (S23)."""
    drop = _no_relay(stage, stage.bob, stage.used_relay())
    return Broken(boot_time(), mend=drop.mend)


def _no_relay(stage: Stage, end: End, index: int) -> Drop:
    port = stage.gate(end).uplink.far_port
    return Drop(stage.hub, f'iifname "{port}" tcp dport {RELAY_PORTS[index]}')


def out_of_reach(index: int) -> Callable[[Stage], None]:
    """Bob cannot reach one of the relay servers, from the beginning (S7)."""
    return lambda stage: _keep(_no_relay(stage, stage.bob, index))


def _keep(_drop: Drop) -> None:
    """Leave it as it is: it goes with the stage."""


# --- the direct path (S8 to S10, S15) ---


def no_direct_path(stage: Stage) -> None:
    """Nothing passes between the sites from the beginning."""
    stage.cut_direct_path()


def one_way(*who: str, kind: str = "all") -> Break:
    """What comes over the direct path to these ends vanishes: all of it, or WireGuard's packets."""

    def fault(stage: Stage) -> Broken:
        at = boot_time()
        drops = [drop_udp(end.host, "wireguard" if kind == "wireguard" else "all") for end in _ends(stage, who)]
        return Broken(at, mend=lambda: _mend_all(drops))

    return fault


def direct_cut(stage: Stage) -> Broken:
    """Nothing passes between the two sites any more; what goes to the servers does."""
    at = stage.cut_direct_path()
    return Broken(at, mend=lambda: pass_on(stage))


def when_idle(fault: Break) -> Break:
    """The same after a while without packets, and none follow."""

    def idle(stage: Stage) -> Broken:
        stage.still_flows()
        time.sleep(random.uniform(*IDLE_S))
        return fault(stage)

    return idle


def direct_possible(event: bool) -> Break:
    """A direct path that was impossible for a while is possible again (S10)."""

    def fault(stage: Stage) -> Broken:
        pass_on(stage)
        at = boot_time()
        if event:
            network_event(stage.alice)
        return Broken(at, mend=lambda: no_direct_path(stage))

    return fault


def then_the_relay(stage: Stage) -> Broken:
    """WireGuard's packets vanish on the direct path; later the relay server is restarted (S15)."""
    first = one_way("alice", "bob", kind="wireguard")(stage)
    time.sleep(APART_S)
    stage.kill_relay()
    stage.start_relay()
    return first


def pass_on(stage: Stage) -> None:
    """Have the hub pass on again what goes between the sites."""
    stage.hub.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")


# --- the signal server (S11 to S14, S22) ---


def signal_restarted(stage: Stage) -> Broken:
    """The signal server is killed and started again."""
    at = stage.kill_signal()
    time.sleep(1.0)
    stage.start_signal()
    return Broken(at)


def signal_away(then: Break) -> Break:
    """The signal server is down for a while before another fault, and during it."""

    def fault(stage: Stage) -> Broken:
        stage.kill_signal()
        time.sleep(APART_S)
        broken = then(stage)

        def mend_both() -> None:
            broken.mend()
            stage.start_signal()

        return Broken(broken.at, broken.back_at, mend_both)

    return fault


def events(seconds: float, every_s: float) -> Break:
    """Every agent hears of a change of its network at once, again and again: all owe offers at the same time."""

    def fault(stage: Stage) -> Broken:
        at = boot_time()
        while boot_time() < at + seconds:
            for end in stage.all_ends:
                network_event(end)
            time.sleep(every_s)
        return Broken(at)

    return fault


def network_event(end: End) -> None:
    """Give a host another address, which nothing uses, in the place of the one before."""
    end.host.ip("address", "flush", "dev", "up", "label", "up:1")
    end.host.ip("address", "add", f"172.31.0.{next(_addresses) % 250 + 1}/32", "dev", "up", "label", "up:1")


# --- processes (S16, S19) ---


def process_told(process: str, how: signal.Signals) -> Break:
    """One of alice's processes is killed, or hangs."""
    return lambda stage: Broken(stage.tell(stage.alice, process, how))


def asleep(*who: str, seconds: float, still_s: float = 2.0) -> Break:
    """These machines sleep: their processes stand still, and then their clocks say that it was for so long."""

    def fault(stage: Stage) -> Broken:
        ends = _ends(stage, who)
        pids = [pid for end in ends for pid in stage.processes(end)]  # a supervisor first: it watches the others
        at = boot_time()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(min(still_s, seconds))
        for end in ends:
            stage.shift(end).add(boot_s=max(seconds - still_s, 0.0))
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        return Broken(at, boot_time())

    return fault


def wall_stepped(seconds: float) -> Break:
    """The wall clock of alice's machine is set (S23)."""

    def fault(stage: Stage) -> Broken:
        at = boot_time()
        stage.shift(stage.alice).add(wall_s=seconds)
        return Broken(at)

    return fault


def agents_restarted(stage: Stage) -> Broken:
    """Both agents end, and start anew (S7: what they cannot reach was so from the beginning)."""
    stage.stop_agents()
    return Broken(boot_time(), stage.start_agents())


def double_started(stage: Stage) -> Broken:
    """Another machine starts with alice's key (S21)."""
    assert stage.third is not None
    at = boot_time()
    stage.start_agent(stage.third)
    return Broken(at)


def unbroken(_stage: Stage) -> Broken:
    """Break nothing: what is measured was so from the beginning."""
    return Broken(boot_time())


# --- what packets meet (S18, S20) ---


def narrow(stage: Stage) -> None:
    """The link between alice's router and her carrier's takes 1280 bytes at most, and nobody is told (S18)."""
    uplink = stage.gate(stage.alice).uplink
    for host, device in ((uplink.host, "up"), (uplink.far_host, uplink.far_port)):
        host.ip("link", "set", "dev", device, "mtu", "1280")
        _keep(Drop(host, "meta l4proto icmp", hook="output"))


def lossy(share: float, seconds: float) -> Break:
    """Of all that goes to and from alice's router a share is lost, for a while."""

    def fault(stage: Stage) -> Broken:
        uplink = stage.gate(stage.alice).uplink
        at = boot_time()
        drops = (
            Drop(uplink.host, 'iifname "up"', share=share),
            Drop(stage.hub, f'iifname "{uplink.far_port}"', share=share),
        )
        time.sleep(seconds)
        return Broken(at, mend=lambda: _mend_all(drops))

    return fault


def _ends(stage: Stage, names: tuple[str, ...]) -> list[End]:
    return [end for end in stage.ends if end.name in names]


def _mend_all(drops: "tuple[Drop, ...] | list[Drop]") -> None:
    for drop in drops:
        drop.mend()
