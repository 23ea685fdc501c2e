"""The supervisor's machine in virtual time, with children played by the test."""

from collections import deque
from random import Random
from typing import Any

import msgspec
import pytest

from actors.addresses import AGENT, CONTROL_0, PACKET, PEERS
from actors.effects import Effect, Later, Send
from actors.messages.process import (
    AgentDue,
    AgentStopped,
    Announce,
    Drain,
    Drained,
    DumpProcess,
    EndProcess,
    InspectProcess,
    KillProcess,
    PeersConfigured,
    PeerSettings,
    Ping,
    Pong,
    ProcessExited,
    ProcessInspected,
    ProcessReady,
    ProcessRestarted,
    RebindSockets,
    RebindWanted,
    ShutdownWanted,
    StartProcess,
)
from actors.node import agent as machine
from actors.node.agent import Agent
from actors.node.child import Activity
from config.keys import PublicKey

BOB = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
NOBODY = PeersConfigured(peers=())
WITH_BOB = PeersConfigured(peers=(PeerSettings(peer=BOB, name="bob", allowed_ips=("10.77.0.2/32",)),))


def test_both_children_start_and_know_each_other() -> None:
    story = Story()
    assert [(one.process, sorted(one.others)) for one in story.caught(StartProcess)] == [
        (PACKET, [CONTROL_0]),
        (CONTROL_0, [PACKET]),
    ]


def test_the_agent_is_ready_once_both_are() -> None:
    story = Story()
    story.ready(PACKET)
    assert story.announced("ready") == []
    story.ready(CONTROL_0)
    assert story.announced("ready") == ["packet up; control-0 up"]


def test_control_hears_of_the_peers_when_it_is_ready_and_after_a_reload() -> None:
    story = Story(peers=WITH_BOB).up()
    assert story.sent_to(PEERS.actor) == [WITH_BOB]
    story.tell(NOBODY)
    assert story.sent_to(PEERS.actor) == [WITH_BOB, NOBODY]
    story.exit(CONTROL_0)
    story.ready(CONTROL_0)
    assert story.sent_to(PEERS.actor)[-1] == NOBODY


def test_a_reload_while_control_is_away_reaches_its_next_incarnation() -> None:
    story = Story(peers=NOBODY).up()
    story.exit(CONTROL_0)
    story.tell(WITH_BOB)
    assert story.sent_to(PEERS.actor) == [NOBODY]
    story.ready(CONTROL_0)
    assert story.sent_to(PEERS.actor) == [NOBODY, WITH_BOB]


def test_other_sockets_are_opened_for_a_packet_process_that_can_take_them() -> None:  # recovery R11
    story = Story()
    story.tell(RebindWanted(reason="nobody is proven"))
    assert story.caught(RebindSockets) == []
    story.up()
    story.tell(RebindWanted(reason="nobody is proven", elsewhere=False))
    assert story.caught(RebindSockets) == [RebindSockets(reason="nobody is proven", elsewhere=False)]


def test_answering_children_are_left_alone_and_the_service_manager_hears_it() -> None:
    story = Story().up()
    story.advance(100.0)
    assert story.caught(InspectProcess) == []
    assert story.caught(KillProcess) == []
    assert 90 <= len(story.announced("alive")) <= 101


def test_the_packet_process_is_asked_four_times_a_second_and_control_once() -> None:
    story = Story().up()
    before = len(story.pings(PACKET)), len(story.pings(CONTROL_0))
    story.advance(10.0)
    assert len(story.pings(PACKET)) - before[0] == 40
    assert len(story.pings(CONTROL_0)) - before[1] == 10


# --- crashes ---


def test_the_first_crash_costs_no_wait_and_the_others_hear_of_it() -> None:
    story = Story().up()
    old = story.incarnation(PACKET)
    story.advance(5.0)
    story.exit(PACKET, "killed by SIGKILL")
    assert story.starts(PACKET) == 2
    assert story.incarnation(PACKET) > old
    assert story.sent_to(f"process@{CONTROL_0}", ProcessRestarted) == [
        ProcessRestarted(process=PACKET, incarnation=story.incarnation(PACKET))
    ]
    assert story.sent_to(f"process@{PACKET}", ProcessRestarted) == []
    assert story.announced("status") == ["packet starting after: killed by SIGKILL; control-0 up"]


def test_crashes_in_a_row_wait_longer_up_to_the_cap() -> None:
    story = Story().up()
    waits = []
    for _ in range(12):
        crashed_at = story.now
        starts = story.starts(PACKET)
        story.exit(PACKET)
        while story.starts(PACKET) == starts:
            story.advance(0.01)
        waits.append(story.now - crashed_at)
        story.ready(PACKET)
    assert waits[0] == 0.0
    for index, wait_s in enumerate(waits[1:5], start=1):
        assert 0.24 * 2 ** (index - 1) <= wait_s <= 0.5 * 2 ** (index - 1) + 0.011
    assert all(14.9 <= wait_s <= 30.02 for wait_s in waits[5:])


def test_waits_differ_between_agents() -> None:
    def second_wait(seed: int) -> float:
        story = Story(seed=seed).up()
        story.exit(PACKET)
        story.exit(PACKET)
        return story.timer_at - story.now

    assert len({second_wait(seed) for seed in range(8)}) == 8


def test_one_that_was_healthy_for_a_minute_starts_again_at_once() -> None:
    story = Story().up()
    for _ in range(3):
        story.exit(PACKET)
        story.advance(2.0)
        story.ready(PACKET)
        story.advance(61.0)
    assert story.starts(PACKET) == 4
    story.exit(PACKET)
    assert story.starts(PACKET) == 5


def test_one_that_did_its_work_for_a_while_starts_again_at_once_however_often() -> None:
    story = Story().up()
    for count in range(1, 11):
        story.advance(11.0)
        story.exit(PACKET)
        assert story.starts(PACKET) == 1 + count
        story.ready(PACKET)
    assert child_status(story, PACKET).unhealthy
    story.exit(PACKET)  # and now a short life
    assert child_status(story, PACKET).state == "waiting"


def test_more_than_five_restarts_in_five_minutes_are_unhealthy_until_time_has_passed() -> None:
    story = Story().up()
    for count in range(1, 7):
        assert not child_status(story, PACKET).unhealthy
        story.exit(PACKET, "exit code 1")
        assert child_status(story, PACKET).restarts == count
        story.advance_until_state(PACKET, "starting", limit_s=31.0)
        story.ready(PACKET)
    assert child_status(story, PACKET).unhealthy
    assert "unhealthy" in story.announced("status")[-1]
    assert child_status(story, PACKET).reason == "exit code 1"
    story.advance(301.0)
    assert not child_status(story, PACKET).unhealthy


def test_one_child_in_trouble_does_not_touch_the_other() -> None:
    story = Story().up()
    for _ in range(20):
        story.exit(CONTROL_0)
        story.advance_until_state(CONTROL_0, "starting", limit_s=31.0)
        story.ready(CONTROL_0)
    assert story.starts(PACKET) == 1


def test_the_exit_of_an_incarnation_that_was_replaced_counts_for_nothing() -> None:
    story = Story().up()
    old = story.incarnation(PACKET)
    story.exit(PACKET)
    story.tell(ProcessExited(process=PACKET, incarnation=old, status="exit code 0"))
    story.tell(ProcessReady(process=PACKET, incarnation=old))
    story.tell(Pong(process=PACKET, incarnation=old, token=1))
    assert story.starts(PACKET) == 2
    assert child_status(story, PACKET).state == "starting"


def test_a_child_that_never_gets_ready_is_killed() -> None:
    story = Story()
    story.ready(CONTROL_0)
    story.advance_until(KillProcess, limit_s=machine.READY_S)
    assert [kill.process for kill in story.caught(KillProcess)] == [PACKET]
    story.exit(PACKET, "killed by SIGKILL")
    assert child_status(story, PACKET).reason == "not ready 15 s after its start"


def test_incarnations_of_a_later_agent_are_higher() -> None:
    first, second = Story(), Story(now=1001.0)
    for _ in range(5):
        first.exit(PACKET)
        first.advance(40.0)
    assert second.incarnation(PACKET) > Story(now=1000.0).incarnation(CONTROL_0)


# --- hangs ---


@pytest.mark.parametrize("phase_s", [0.0, 0.01, 0.1, 0.2, 0.24])
def test_a_stopped_packet_process_is_killed_within_two_thirds_of_a_second(phase_s: float) -> None:
    story = Story().up()
    story.advance(10.0 + phase_s)
    story.silence(PACKET, "stopped")
    stopped_at = story.now
    story.advance_until(KillProcess, limit_s=5.0)
    assert 0.3 <= story.now - stopped_at <= 0.65
    assert story.caught(DumpProcess) == []
    story.exit(PACKET, "killed by SIGKILL")
    assert child_status(story, PACKET).reason.startswith("hung: stopped, no answer to a ping for 0.")


def test_one_that_is_stopped_for_a_moment_lives() -> None:
    story = Story().up()
    for _ in range(20):
        story.silence(PACKET, "stopped")
        story.advance(0.29)
        story.answer(PACKET)
        story.advance(0.3)
    assert story.caught(InspectProcess) != []
    assert story.caught(KillProcess) == []


def test_a_waiting_packet_process_dumps_its_stacks_before_it_is_killed() -> None:
    story = Story().up()
    story.advance(10.1)
    story.silence(PACKET, "waiting")
    hung_at = story.now
    story.advance_until(DumpProcess, limit_s=5.0)
    assert 0.7 <= story.now - hung_at <= 1.1
    dumped_at = story.now
    story.advance_until(KillProcess, limit_s=5.0)
    assert story.now - dumped_at == pytest.approx(machine.DUMP_S)
    assert child_status(story, PACKET).state == "hung"


def test_a_busy_packet_process_has_three_seconds() -> None:
    story = Story().up()
    story.advance(10.0)
    story.silence(PACKET, "runnable")
    busy_at = story.now
    story.advance_until(DumpProcess, limit_s=10.0)
    assert 3.0 <= story.now - busy_at <= 3.6


def test_a_child_that_is_merely_slow_now_and_then_is_not_hung() -> None:
    story = Story().up()
    for _ in range(20):
        story.silence(PACKET, "runnable")
        story.advance(2.5)
        story.answer(PACKET)
        story.advance(1.0)
    assert story.caught(KillProcess) == []
    assert story.caught(DumpProcess) == []


def test_one_look_that_finds_it_waiting_between_busy_ones_is_not_enough() -> None:
    story = Story().up()
    story.silence(PACKET, "runnable")
    story.advance(2.0)
    story.silence(PACKET, "waiting")
    story.advance(0.25)
    story.silence(PACKET, "runnable")
    story.advance(0.5)
    assert story.caught(DumpProcess) == []


def test_one_that_is_busy_again_and_again_is_not_taken_for_idle() -> None:
    story = Story().up()
    story.advance(10.0)
    for _ in range(14):  # 2.8 s without an answer
        story.silence(PACKET, "runnable")
        story.advance(0.1)
        story.silence(PACKET, "waiting")
        story.advance(0.1)
    assert story.caught(DumpProcess) == []


@pytest.mark.parametrize(("activity", "low_s", "high_s"), [("waiting", 5.0, 6.5), ("runnable", 15.0, 16.5)])
def test_control_may_be_silent_for_longer(activity: Activity, low_s: float, high_s: float) -> None:
    story = Story().up()
    story.advance(10.0)
    story.silence(CONTROL_0, activity)
    hung_at = story.now
    story.advance_until(DumpProcess, limit_s=30.0)
    assert low_s <= story.now - hung_at <= high_s
    assert [one.process for one in story.caught(DumpProcess)] == [CONTROL_0]


def test_a_sleep_of_the_machine_is_no_silence_of_its_children() -> None:
    story = Story().up()
    story.silence(PACKET, "waiting")
    story.advance(0.26)
    story.jump(8 * 3600.0)  # the timer fires late, the answers come a moment later
    story.answer(PACKET)
    story.advance(10.0)
    assert story.caught(KillProcess) == []
    assert story.caught(DumpProcess) == []


def test_what_the_kernel_does_not_let_go_is_killed_again() -> None:
    story = Story().up()
    story.silence(PACKET, "stopped")
    story.advance(5.0)
    assert len(story.caught(KillProcess)) >= 4
    assert story.starts(PACKET) == 1


def test_an_answer_after_the_dump_comes_too_late() -> None:
    story = Story().up()
    story.silence(PACKET, "waiting")
    story.advance_until(DumpProcess, limit_s=5.0)
    story.answer(PACKET)
    story.advance_until(KillProcess, limit_s=5.0)


# --- drain ---


def test_control_drains_before_packet_and_then_both_end() -> None:
    story = Story().up()
    story.tell(ShutdownWanted(reason="SIGTERM"))
    assert story.drains() == [CONTROL_0]
    assert story.announced("stopping") == ["SIGTERM"]
    story.tell(Drained(process=CONTROL_0))
    assert story.drains() == [CONTROL_0, PACKET]
    assert story.caught(EndProcess) == []
    story.tell(Drained(process=PACKET))
    assert {one.process for one in story.caught(EndProcess)} == {CONTROL_0, PACKET}
    story.exit(PACKET, "exit code 0")
    story.exit(CONTROL_0, "exit code 0")
    assert len(story.caught(AgentStopped)) == 1
    assert story.starts(PACKET) == story.starts(CONTROL_0) == 1


def test_nothing_is_restarted_while_draining() -> None:
    story = Story().up()
    story.tell(ShutdownWanted(reason="SIGTERM"))
    story.exit(CONTROL_0, "exit code 1")
    assert story.drains() == [CONTROL_0, PACKET]
    story.exit(PACKET)
    assert len(story.caught(AgentStopped)) == 1
    assert story.starts(CONTROL_0) == 1


def test_a_drain_that_nobody_follows_ends_within_five_seconds() -> None:
    story = Story().up()
    story.silence(PACKET, "runnable")
    story.silence(CONTROL_0, "runnable")
    asked_at = story.now
    story.tell(ShutdownWanted(reason="SIGTERM"))
    while {one.process for one in story.caught(KillProcess)} != {PACKET, CONTROL_0}:
        story.advance_until(KillProcess, limit_s=10.0)
    assert story.now - asked_at < 4.5


def test_told_twice_it_stops_at_once() -> None:
    story = Story().up()
    story.tell(ShutdownWanted(reason="SIGINT"))
    story.tell(ShutdownWanted(reason="SIGINT"))
    assert {one.process for one in story.caught(KillProcess)} == {PACKET, CONTROL_0}
    story.exit(PACKET)
    story.exit(CONTROL_0)
    assert len(story.caught(AgentStopped)) == 1
    story.tell(ShutdownWanted(reason="SIGINT"))
    assert len(story.caught(AgentStopped)) == 1


def test_told_to_stop_before_anything_was_ready() -> None:
    story = Story()
    story.tell(ShutdownWanted(reason="SIGTERM"))
    assert {one.process for one in story.caught(KillProcess)} == {PACKET, CONTROL_0}
    story.exit(PACKET)
    story.exit(CONTROL_0)
    assert len(story.caught(AgentStopped)) == 1


def test_told_to_stop_while_a_child_waits_for_its_restart() -> None:
    story = Story().up()
    story.exit(PACKET)
    story.exit(PACKET)
    assert child_status(story, PACKET).state == "waiting"
    story.tell(ShutdownWanted(reason="SIGTERM"))
    story.tell(Drained(process=CONTROL_0))
    story.exit(CONTROL_0, "exit code 0")
    assert len(story.caught(AgentStopped)) == 1
    assert story.starts(PACKET) == 2


def test_every_state_has_a_timer_or_an_exit() -> None:
    """Random faults for an hour: whatever happened, both are up again once they behave."""
    for seed in range(15):
        rng = Random(seed)
        story = Story(seed=seed).up()
        for _ in range(60):
            name = rng.choice([PACKET, CONTROL_0])
            match rng.randrange(4):
                case 0:
                    story.exit(name)
                case 1:
                    story.silence(name, rng.choice(["stopped", "waiting", "runnable"]))
                case 2:
                    story.answer(name)
                case _:
                    story.ready(name)
            story.advance(rng.random() * 20.0)
        for _ in range(10):
            story.behave()
            story.advance(31.0)
        states = {one.process: one.state for one in story.agent.status(story.now).children}
        assert states == {PACKET: "up", CONTROL_0: "up"}, seed


def test_the_agent_is_where_its_address_says() -> None:
    assert str(AGENT) == "agent@supervisor"


# --- helpers ---


def child_status(story: "Story", name: str) -> Any:
    """Return what the snapshot says of this child."""
    return next(one for one in story.agent.status(story.now).children if one.process == name)


class Story:
    """One Agent, its children played: they answer pings at once, unless told to be silent."""

    def __init__(self, *, peers: PeersConfigured = NOBODY, seed: int = 1, now: float = 1000.0) -> None:
        self.agent = Agent((CONTROL_0,), peers, Random(seed))
        self.now = now
        self.timer_at = float("inf")
        self.mail: list[Send] = []
        self._silent: dict[str, Activity] = {}
        self._unanswered: dict[str, int] = {}
        self._inbox: deque[Any] = deque()
        self._perform(self.agent.start(now))

    def up(self) -> "Story":
        """Have both children ready."""
        self.ready(PACKET)
        self.ready(CONTROL_0)
        return self

    def tell(self, message: Any) -> None:
        self._inbox.append(message)
        while self._inbox:
            self._perform(self.agent.handle(self._inbox.popleft(), self.now))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timer_at <= until:
            self._fire()
        self.now = until

    def advance_until(self, kind: type[msgspec.Struct], limit_s: float) -> None:
        """Advance to the next message of this kind; it must come within the limit."""
        until, count = self.now + limit_s, len(self.caught(kind))
        while len(self.caught(kind)) == count:
            assert self.timer_at <= until, f"no {kind.__name__} within {limit_s} s"
            self._fire()

    def advance_until_state(self, name: str, state: str, limit_s: float) -> None:
        """Advance until the child is in this state, as the snapshot calls it."""
        until = self.now + limit_s
        while child_status(self, name).state != state:
            assert self.timer_at <= until, f"{name} is not {state} within {limit_s} s"
            self._fire()

    def jump(self, seconds: float) -> None:
        """Let time pass without anything running."""
        self.now += seconds
        self.timer_at, at = float("inf"), self.timer_at
        assert at <= self.now
        self.tell(AgentDue())

    def ready(self, name: str) -> None:
        self._silent.pop(name, None)
        self.tell(ProcessReady(process=name, incarnation=self.incarnation(name)))

    def exit(self, name: str, status: str = "exit code 1") -> None:
        self._unanswered.pop(name, None)
        self.tell(ProcessExited(process=name, incarnation=self.incarnation(name), status=status))

    def silence(self, name: str, activity: Activity) -> None:
        self._silent[name] = activity

    def answer(self, name: str) -> None:
        self._silent.pop(name, None)
        if (token := self._unanswered.pop(name, None)) is not None:
            self.tell(Pong(process=name, incarnation=self.incarnation(name), token=token))

    def behave(self) -> None:
        """Have each child do what a healthy one in its state would do."""
        for child in self.agent.status(self.now).children:
            match child.state:
                case "starting":
                    self.ready(child.process)
                case "hung":
                    self.exit(child.process, "killed by SIGKILL")
                case "up":
                    self.answer(child.process)
                case _:
                    pass

    def incarnation(self, name: str) -> int:
        return next(one.incarnation for one in self.agent.status(self.now).children if one.process == name)

    def starts(self, name: str) -> int:
        return sum(start.process == name for start in self.caught(StartProcess))

    def caught(self, kind: type[msgspec.Struct]) -> list[Any]:
        return [send.message for send in self.mail if isinstance(send.message, kind)]

    def sent_to(self, address: str, kind: type[msgspec.Struct] = msgspec.Struct) -> list[Any]:
        return [
            send.message
            for send in self.mail
            if address in (send.to.actor, str(send.to)) and isinstance(send.message, kind)
        ]

    def pings(self, name: str) -> list[Any]:
        return self.sent_to(f"process@{name}", Ping)

    def drains(self) -> list[str]:
        return [send.to.process for send in self.mail if isinstance(send.message, Drain)]

    def announced(self, kind: str) -> list[str]:
        return [one.text for one in self.caught(Announce) if one.kind == kind]

    def _fire(self) -> None:
        self.now, self.timer_at = max(self.timer_at, self.now), float("inf")
        self.tell(AgentDue())

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Later(at=at, message=AgentDue()):
                    assert at >= self.now - 1e-9, "a timer in the past would never let go"
                    self.timer_at = at
                case Send(message=message):
                    self.mail.append(effect)
                    self._answer_at_once(effect.to.process, message)
                case _:
                    raise AssertionError(effect)

    def _answer_at_once(self, to: str, message: msgspec.Struct) -> None:
        match message:
            case Ping(token=token) if to in self._silent:
                self._unanswered[to] = token
            case Ping(token=token):
                self._inbox.append(Pong(process=to, incarnation=self.incarnation(to), token=token))
            case InspectProcess(process=name, incarnation=incarnation):
                activity = self._silent.get(name, "runnable")
                self._inbox.append(ProcessInspected(process=name, incarnation=incarnation, activity=activity))
