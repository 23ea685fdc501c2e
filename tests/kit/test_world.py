from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import pytest

from actors.effects import Address, Effect, Later
from actors.messages.process import ProcessRestarted
from tests.kit.world import Handled, MachineRaised, Restless, World


class Note(msgspec.Struct, frozen=True, kw_only=True, tag="world_note"):
    number: int


class TickDue(msgspec.Struct, frozen=True, kw_only=True, tag="world_tick_due"):
    pass


@dataclass(frozen=True, slots=True)
class Calm:
    pass


class Doing:
    inbox: ClassVar[Any] = Note | TickDue | ProcessRestarted

    def __init__(self, does: Callable[[Any, float], Sequence[Effect]], first: Sequence[Effect] = ()) -> None:
        self._does, self._first = does, list(first)
        self.state = Calm()

    def start(self, now: float) -> list[Effect]:
        return self._first

    def handle(self, message: Any, now: float) -> list[Effect]:
        return list(self._does(message, now))


class Collector:
    inbox: ClassVar[Any] = Note | ProcessRestarted

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.state = Calm()

    def handle(self, message: Any, now: float) -> list[Effect]:
        self.heard.append(message)
        return []


def at(actor: str, process: str = "control-0") -> Address[Any]:
    return Address(actor, process)


def numbers(machine: Collector) -> list[int]:
    return [message.number for message in machine.heard]


def busy_world(seed: int) -> World:
    """Return a world of two processes whose actors mail each other, after ten seconds."""
    world = World(seed)

    def does(me: int) -> Callable[[Any, float], list[Effect]]:
        def each(message: Any, now: float) -> list[Effect]:
            process = "packet" if me % 2 else "control-0"
            other = at(f"a{(me * 7 + 3) % 10}", process)
            if isinstance(message, TickDue):
                return [Later(now + 0.5 + me / 10, TickDue()), *(other.send(Note(number=n)) for n in range(3))]
            return []

        return each

    for process in ("control-0", "packet"):
        world.add({at(f"a{me}", process): Doing(does(me), [Later(world.now, TickDue())]) for me in range(10)})
    world.run_for(10.0)
    return world


def test_equal_seeds_give_equal_runs_and_others_give_others() -> None:
    assert busy_world(1).trace_hash() == busy_world(1).trace_hash()
    hashes = {busy_world(seed).trace_hash() for seed in range(5)}
    assert len(hashes) == 5


def test_mail_of_one_actor_to_another_keeps_its_order_for_every_seed() -> None:
    for seed in range(50):
        for home in ("control-0", "packet"):
            world, collector = World(seed), Collector()
            burst = [at("collector").send(Note(number=n)) for n in range(20)]
            world.add({at("collector"): collector, at("sender", home): Doing(lambda message, now: [], burst)})
            world.run_until_idle()
            assert numbers(collector) == list(range(20))


def test_in_a_process_a_cause_is_there_before_its_effect_for_every_seed() -> None:
    for seed in range(100):
        world, collector = World(seed), Collector()
        world.add(
            {
                at("collector"): collector,
                at("second"): Doing(lambda message, now: [at("collector").send(Note(number=2))]),
                at("first"): Doing(
                    lambda message, now: [at("collector").send(Note(number=1)), at("second").send(message)]
                ),
            }
        )
        world.post(at("first"), Note(number=0))
        world.run_until_idle()
        assert numbers(collector) == [1, 2]


def test_what_is_not_promised_happens_both_ways() -> None:
    orders = set()
    for seed in range(30):
        world, collector = World(seed), Collector()
        one = Doing(lambda message, now: [at("collector").send(Note(number=1))])
        two = Doing(lambda message, now: [at("collector").send(Note(number=2))])
        world.add({at("collector"): collector, at("one"): one, at("two"): two})
        for name in ("one", "two"):
            world.post(at(name), Note(number=0))
        world.run_until_idle()
        orders.add(tuple(numbers(collector)))
    assert orders == {(1, 2), (2, 1)}


def test_timers_fire_at_their_time_or_within_the_slack() -> None:
    fired: list[float] = []

    def does(message: Any, now: float) -> list[Effect]:
        fired.append(now)
        return [Later(now + 1.0, TickDue())]

    world = World(3, now=100.0)
    world.add({at("timed"): Doing(does, [Later(101.0, TickDue())])})
    world.run_for(50.0)
    assert 48 <= len(fired) <= 50
    assert all(1.0 <= later - earlier <= 1.0201 for earlier, later in zip([100.0, *fired], fired, strict=False))
    assert world.now == 150.0
    assert world.timer_fires == len(fired)


def test_mail_for_nobody_is_kept_for_the_test_and_foreign_mail_is_a_dead_letter() -> None:
    world = World()
    world.add({at("collector"): Collector()})
    world.post(at("elsewhere"), Note(number=1))
    world.post(at("collector"), TickDue())
    world.run_until_idle()
    assert world.mail(at("elsewhere")) == [Note(number=1)]
    assert world.mail(at("elsewhere")) == []
    assert world.dead_letters == {"world_tick_due": 1}


def test_a_crash_loses_one_contiguous_run_at_the_end_of_a_link() -> None:
    lengths = set()
    for seed in range(60):
        world, collector = World(seed), Collector()
        sender = Doing(lambda message, now: [at("collector").send(Note(number=n)) for n in range(10)])
        world.add({at("collector"): collector, at("sender", "packet"): sender})
        world.post(at("sender", "packet"), Note(number=0))
        world.run_for(0.0)
        world.crash("packet")
        world.run_until_idle()
        assert numbers(collector) == list(range(len(collector.heard)))
        assert len(collector.heard) + world.lost == 10
        lengths.add(len(collector.heard))
    assert {0, 10} < lengths


def test_a_restarted_process_has_a_new_incarnation_and_the_others_hear_of_it() -> None:
    world, collector, mine = World(), Collector(), Collector()
    world.add({at("collector"): collector, at("gone", "packet"): mine})
    world.post(at("gone", "packet"), Note(number=1))
    world.crash("packet")
    again = Collector()
    world.restart("packet", {at("gone", "packet"): again})
    world.post(at("gone", "packet"), Note(number=2))
    world.run_until_idle()
    assert collector.heard == [ProcessRestarted(process="packet", incarnation=2)]
    assert (numbers(mine), numbers(again)) == ([], [2])


def test_timers_of_a_crashed_actor_do_not_fire_in_its_successor() -> None:
    world = World()
    world.add({at("timed", "packet"): Doing(lambda message, now: [], [Later(world.now + 5.0, TickDue())])})
    world.crash("packet")
    world.restart("packet", {at("timed", "packet"): Doing(lambda message, now: [])})
    world.run_for(10.0)
    assert world.delivered["world_tick_due"] == 0


def test_a_cut_link_tells_both_ends_to_resync() -> None:
    world, control, packet = World(2), Collector(), Collector()
    world.add({at("c"): control, at("p", "packet"): packet})
    world.lose("control-0", "packet")
    world.run_until_idle()
    assert control.heard == [ProcessRestarted(process="packet", incarnation=1)]
    assert packet.heard == [ProcessRestarted(process="control-0", incarnation=1)]


def test_events_of_the_outside_happen_at_their_time() -> None:
    world, seen = World(now=10.0), list[float]()
    world.at(12.0, lambda: seen.append(world.now))
    world.at(11.0, lambda: seen.append(world.now))
    world.run_until_idle()
    assert seen == [11.0, 12.0]


def test_actors_that_go_in_circles_are_found_out() -> None:
    world = World(seed=9)
    world.add({at("a"): Doing(lambda message, now: [at("a").send(message)])})
    world.post(at("a"), Note(number=1))
    with pytest.raises(Restless, match="a@control-0, seed 9"):
        world.run_for(1.0)


def test_a_machine_that_raises_is_named_with_its_message_and_seed() -> None:
    def does(message: Any, now: float) -> list[Effect]:
        raise ValueError("no")

    world = World(seed=4)
    world.add({at("a"): Doing(does)})
    world.post(at("a"), Note(number=1))
    with pytest.raises(MachineRaised, match=r"a@control-0 on Note\(number=1\) at 1000.0, seed 4: ValueError"):
        world.run_for(1.0)


def test_a_removed_actor_is_gone_with_its_mail() -> None:
    world, collector = World(), Collector()
    world.add({at("a"): collector})
    world.post(at("a"), Note(number=1))
    world.remove(at("a"))
    world.post(at("a"), Note(number=2))
    world.run_until_idle()
    assert collector.heard == []
    assert world.dead_letters == {"world_note": 1}
    assert world.mail(at("a")) == [Note(number=2)]


def test_a_frozen_process_goes_on_where_it_stopped() -> None:
    world, box = World(1), Collector()
    world.add({at("box"): box})
    world.freeze("control-0")
    world.post(at("box"), Note(number=1))
    world.run_for(5.0)
    assert box.heard == []
    world.thaw("control-0")
    world.run_for(0.0)
    assert numbers(box) == [1]


def test_something_may_happen_between_two_messages() -> None:
    world, box = World(1), Collector()
    world.add({at("box"): box})
    world.after(2, lambda: world.crash("control-0"))
    for number in range(5):
        world.post(at("box"), Note(number=number))
    world.run_for(1.0)
    assert numbers(box) == [0, 1]
    assert world.machine_or_none(at("box")) is None


def test_what_is_handled_is_told_with_the_states_around_it() -> None:
    world, box, told = World(1), Collector(), list[Handled]()
    world.recorder = told.append
    world.add({at("box"): box})
    world.post(at("box"), Note(number=7))
    world.run_for(1.0)
    (handled,) = told
    assert (handled.actor, handled.message, handled.after) == ("box@control-0", Note(number=7), Calm())


def test_the_timers_of_an_actor_can_be_seen() -> None:
    world = World(1)
    world.add({at("clock"): Doing(lambda _message, _now: [], [Later(2000.0, TickDue())])})
    assert world.timers_of(at("clock")) == {TickDue}
    assert world.next_at() is not None
