"""Each thing that must hold can be seen not to."""

from collections.abc import Callable

import pytest

from actors.addresses import CONTROL_0, RELAYS
from actors.effects import Address
from actors.messages.peer import WatchDue
from actors.node.relay_server import Server
from tests.simulator import invariants
from tests.simulator.account import Action
from tests.simulator.invariants import MAILBOX, Check
from tests.simulator.run import Run, judge, perform
from tests.simulator.scenario import NAMED, Figures, Scenario, pair


def calm() -> Run:
    scenario = Scenario(
        name="calm",
        topology=pair(per_second=10.0),
        faults=(),
        figures=Figures(outage_s=1.0, direct_s=10.0, disruptive=0),
        quiet_s=5.0,
    )
    done = perform(scenario, 1)
    assert isinstance(done, Run), done
    assert judge(done, 1).problems == ()
    return done


def slow(run: Run) -> None:
    run.recovered_s = 21.0


def never(run: Run) -> None:
    run.recovered_s = None


def never_direct(run: Run) -> None:
    run.direct_s = None


def lost_again(run: Run) -> None:
    run.sim.agents[0].fail_peer(run.sim.agents[1].key)


def silent(run: Run) -> None:
    run.outage_s = 1.1


def flooded(run: Run) -> None:
    run.sim.agents[1].world.deepest = MAILBOX + 1


def over_budget(run: Run) -> None:
    run.sim.account.most_unproven["node0", run.sim.agents[1].key] = 7


def disruptive(run: Run) -> None:
    run.sim.account.actions.append(Action(run.over_at, "node0", run.sim.agents[1].key, "a story"))


def torn_down(run: Run) -> None:
    run.sim.account.actions.append(Action(run.over_at + 100.0, "node0", run.sim.agents[1].key, "a story"))


def unwatched(run: Run) -> None:
    watcher = run.sim.agents[0].machine(run.sim.agents[1], "wg_watcher")
    for path in watcher._paths.values():
        path.end()


def stuck(run: Run) -> None:
    agent, other = run.sim.agents
    address: Address[object] = Address(f"peer/{other.key}/wg_watcher", CONTROL_0)
    agent.world._timers.cancel(str(address), WatchDue)


def homeless(run: Run) -> None:
    agent = run.sim.agents[0]
    agent.world.machine(RELAYS).state = Server  # of any name but Homed
    agent.world._timers.forget(str(RELAYS))


@pytest.mark.parametrize(
    ("trouble", "check"),
    [
        (slow, invariants.recovered),
        (never, invariants.recovered),
        (never_direct, invariants.recovered),
        (lost_again, invariants.recovered),
        (silent, invariants.outage),
        (flooded, invariants.mailboxes),
        (over_budget, invariants.budget),
        (disruptive, invariants.budget),
        (torn_down, invariants.settled),
        (unwatched, invariants.watched),
        (stuck, invariants.exits),
        (homeless, invariants.exits),
    ],
)
def test_what_is_wrong_is_seen(trouble: Callable[[Run], None], check: Check) -> None:
    run = calm()
    assert check(run) == []
    trouble(run)
    assert check(run) != []


def test_a_run_whose_machine_raises_has_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_args: object) -> None:
        raise ValueError("a story")

    monkeypatch.setattr("actors.peer.conn.Conn._on_proven", raises)
    outcome = judge(perform(NAMED["S14 direct"], 1), 1, "S14 direct")
    assert not outcome.ok
    assert "ValueError('a story')" in outcome.problems[0]
