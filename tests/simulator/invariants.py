"""What must hold in every run, each a function over what was recorded: it returns what is wrong, in words."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from actors.addresses import CONTROL_0, RELAYS
from actors.effects import Address
from actors.messages.node import LinkRetryDue
from actors.messages.peer import (
    IceDue,
    OfferDue,
    OpenDue,
    ReopenDue,
    WatchDue,
)
from tests.simulator.rules import broken_rules

if TYPE_CHECKING:
    from tests.simulator.run import Run

MAILBOX = 256  # the mail of one moment that one actor has before it, of a few peers
ACTIONS = 6  # disruptive ones within an hour that no proof followed

Check = Callable[["Run"], list[str]]

# Which timer leads out of a state that nothing else is bound to end.
EXITS: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("relay_worker", "Opening"): OpenDue,
    ("relay_worker", "Closing"): OpenDue,
    ("ice_worker", "Checking"): IceDue,
    ("ice_worker", "Closing"): IceDue,
    ("guard", "Retrying"): OfferDue,
    ("wg_watcher", "Proving"): WatchDue,
    ("wg_watcher", "Proven"): WatchDue,
    ("wg_watcher", "Probing"): WatchDue,
    ("wg_watcher", "Dead"): WatchDue,
}


def recovered(run: "Run") -> list[str]:
    """Everybody has a proven path again in time, and keeps it."""
    figures, problems = run.scenario.figures, []
    if run.recovered_s is None:
        lost = [f"{agent.name}->{other.name}" for agent, other in run.sim.pairs() if not run.sim.proven(agent, other)]
        return [f"never recovered: {', '.join(lost)}"]
    if run.recovered_s > figures.recovered_s:
        problems.append(f"recovered after {run.recovered_s:.2f} s; the figure is {figures.recovered_s:g} s")
    if figures.direct_s is not None and (run.direct_s is None or run.direct_s > figures.direct_s):
        after = "never" if run.direct_s is None else f"after {run.direct_s:.1f} s"
        problems.append(f"direct {after}; the figure is {figures.direct_s:g} s")
    if not run.sim.all_proven():
        problems.append("not proven any more at the end, and there was no fault")
    return problems


def outage(run: "Run") -> list[str]:
    """Packets pass again in time."""
    limit_s = run.scenario.figures.outage_s
    if limit_s is None or run.outage_s <= limit_s:
        return []
    return [f"an outage of {run.outage_s:.2f} s; the figure is {limit_s:g} s"]


def mailboxes(run: "Run") -> list[str]:
    """No mailbox was over its bound."""
    bound = MAILBOX * max(1, len(run.sim.agents) - 1)
    return [
        f"{agent.name}: {agent.world.deepest} messages in one mailbox; the bound is {bound}"
        for agent in run.sim.agents
        if agent.world.deepest > bound
    ]


def budget(run: "Run") -> list[str]:
    """No more disruptive actions than R10 allows, and none where nothing was wrong."""
    account, limit = run.sim.account, run.scenario.figures.disruptive
    problems = [
        f"{node}: {most} disruptive actions towards {peer[:8]} within an hour, no proof between"
        for (node, peer), most in account.most_unproven.items()
        if most > ACTIONS
    ]
    if limit is not None and len(account.actions) > limit:
        first = account.actions[limit]
        problems.append(
            f"{len(account.actions)} disruptive actions, {limit} allowed: {first.node} at "
            f"{first.at - run.begun_at:.3f} s: {first.what}"
        )
    return problems


def settled(run: "Run") -> list[str]:
    """Once all is well, nothing that works is torn down."""
    if run.recovered_s is None:
        return []
    calm_at = run.over_at + max(run.recovered_s, run.direct_s or 0.0) + CALM_S
    late = [action for action in run.sim.account.actions if action.at > calm_at]
    return [
        f"{action.node} at {action.at - run.begun_at:.3f} s, long after the faults: {action.what}" for action in late
    ]


CALM_S = 45.0  # what was begun while things were bad comes to its end


def watched(run: "Run") -> list[str]:
    """Every path that carries packets has a live watcher (recovery R8)."""
    problems = []
    for agent, other in run.sim.pairs():
        watcher = agent.machine(other, "wg_watcher")
        if watcher is None or agent.packet is None:
            continue
        states = [state.watch for state in (watcher.state, watcher.standby) if hasattr(state, "watch")]
        names = {watch.path for watch in states}
        problems += [
            f"{agent.name} sends to {other.name} on a {kind} path that nobody watches"
            for kind in agent.packet.paths_of(other.key)
            if kind not in names
        ]
    return problems


def exits(run: "Run") -> list[str]:
    """Whoever waits for something has a timer that ends it."""
    problems = []
    for agent, other in run.sim.pairs():
        for role in ("relay_worker", "ice_worker", "guard", "wg_watcher"):
            machine = agent.machine(other, role)
            if machine is None:
                problems.append(f"{agent.name}: no {role} for {other.name}")
                continue
            state = type(machine.state).__name__
            timer = EXITS.get((role, state))
            if role == "relay_worker" and state == "Closed" and getattr(machine, "_latest", None) is not None:
                timer = ReopenDue
            address: Address[Any] = Address(f"peer/{other.key}/{role}", CONTROL_0)
            if timer is not None and timer not in agent.world.timers_of(address):
                problems.append(f"{agent.name}: {role} of {other.name} is {state} without {timer.__name__}")
    problems += [
        f"{agent.name}: relays are {type(agent.world.machine(RELAYS).state).__name__} without a timer"
        for agent in run.sim.agents
        if agent.control is not None
        and type(agent.world.machine(RELAYS).state).__name__ != "Homed"
        and LinkRetryDue not in agent.world.timers_of(RELAYS)
    ]
    return problems


def kept_rules(run: "Run") -> list[str]:
    """Each rule of recovery.md section 1 that shows in the mail was kept."""
    return broken_rules(run.sim.log, run.begun_at)


CHECKS: tuple[Check, ...] = (recovered, outage, mailboxes, budget, settled, watched, exits, kept_rules)
