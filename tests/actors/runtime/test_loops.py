"""The two ways to run: on a thread of its own, and on an asyncio loop."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

import pytest

from actors.effects import Effect, Later
from actors.runtime import loops
from actors.runtime.bridge import Bridge
from actors.runtime.clock import now as boot_now
from actors.runtime.loops import wait_s
from actors.runtime.post_office import PostOffice
from actors.runtime.supervision import ActorsFailing
from tests.actors.runtime.test_tap import Reader
from tests.actors.runtime.town import PATIENCE_S, Collector, Doing, LookDue, Note, Poke, Town, here, town

Ts = TypeVarTuple("Ts")


class Counting(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    wake_ups = 0

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.wake_ups += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def real(place: Town, process: str = "control-0") -> PostOffice:
    """Return an office with the real clock."""
    office = place.office(process)
    office.clock = boot_now
    return office


def test_an_idle_office_waits_for_its_next_timer_and_never_longer_than_a_second() -> None:
    with town() as place:
        office = place.office()
        assert wait_s(office) == loops.MAX_WAIT_S
        office.add("timed", Doing(lambda message, now: [], first=[Later(place.clock.now + 0.3, LookDue())]))
        assert wait_s(office) == pytest.approx(0.3 + 0.02)
        place.clock.now += 5.0
        assert wait_s(office) == pytest.approx(0.02)


def test_run_sleeps_until_mail_or_a_timer_comes() -> None:
    with town() as place:
        office, collector = real(place), Collector()
        at = boot_now() + 0.05
        office.add("timed", Doing(lambda message, now: [here("c").send(message)], first=[Later(at, LookDue())]))
        office.add("c", collector)
        turns = 0

        def done() -> bool:
            nonlocal turns
            turns += 1
            return bool(collector.heard)

        office.run(done)
        assert boot_now() >= at
        assert turns < 12  # it did not spin


def test_run_calls_back_for_a_watched_descriptor() -> None:
    with town() as place:
        office = real(place)
        reading, writing = os.pipe()
        seen: list[bytes] = []
        office.watch(reading, lambda: seen.append(os.read(reading, 10)))
        os.write(writing, b"news")
        office.run(lambda: bool(seen))
        os.close(reading)
        os.close(writing)
        assert seen == [b"news"]


def test_run_serves_the_tap() -> None:
    with town() as place:
        office = real(place)
        reader = Reader(place)
        office.run(lambda: office.show is not None)
        reader.close()
        office.run(lambda: office.show is None)


def test_on_a_loop_mail_arrives_from_itself_and_from_another_process() -> None:
    async def story(place: Town) -> None:
        control, packet = real(place, "control-0"), real(place, "packet")
        loop, collector = asyncio.get_running_loop(), Collector()
        packet.attach(loop)
        packet.connect("control-0", 1)
        control.attach(loop)
        control.connect("packet", 1)
        control.add("collector", collector)
        packet.add("echo", Doing(lambda message, now: [here("collector").send(message)]))
        for number in range(3000):
            control.post(here("echo", "packet"), Note(number=number))
        await reached(lambda: len(collector.heard) == 3000)
        assert collector.numbers == list(range(3000))

    with town() as place:
        asyncio.run(story(place))


def test_on_a_loop_a_lone_message_is_not_forgotten() -> None:
    """The descriptor tells of a change once: each of these comes when all before it has been read."""

    async def story(place: Town) -> None:
        control, packet = real(place, "control-0"), real(place, "packet")
        loop, collector = asyncio.get_running_loop(), Collector()
        for office, other in ((control, "packet"), (packet, "control-0")):
            office.connect(other, 1)
            office.attach(loop)
        control.add("collector", collector)
        packet.add("echo", Doing(lambda message, now: [here("collector").send(message)]))
        started = time.monotonic()
        for number in range(300):
            control.post(here("echo", "packet"), Note(number=number))
            await reached(lambda count=number + 1: len(collector.heard) == count)  # type: ignore[misc]
        assert time.monotonic() - started < 300 * loops.MAX_WAIT_S / 10  # a forgotten one would wait for the next look

    with town() as place:
        asyncio.run(story(place))


def test_on_a_loop_timers_fire() -> None:
    async def story(place: Town) -> None:
        office, collector = real(place), Collector()
        office.attach(asyncio.get_running_loop())
        office.add("c", collector)
        at = boot_now() + 0.05

        def does(message: object, now: float) -> list[Effect]:
            assert now >= at
            return [here("c").send(Note(number=1))]

        office.add("timed", Doing(does, first=[Later(at, LookDue())]))
        await reached(lambda: bool(collector.heard))

    with town() as place:
        asyncio.run(story(place))


def test_on_a_loop_a_burst_does_not_starve_the_loop() -> None:
    async def story(place: Town) -> None:
        office = real(place)
        office.attach(asyncio.get_running_loop())
        office.add("restless", Doing(lambda message, now: [here("restless").send(message)]))
        office.post(here("restless"), Poke())
        for _ in range(50):
            await asyncio.sleep(0)
        assert office.status().delivered > 0

    with town() as place:
        asyncio.run(story(place))


def test_on_a_loop_the_tap_is_served_while_it_publishes() -> None:
    async def story(place: Town) -> None:
        office = real(place)
        office.attach(asyncio.get_running_loop())
        office.add("c", Collector())
        reader = Reader(place)
        await reached(lambda: office.show is not None)
        office.post(here("c"), Note(number=1))
        await reached(lambda: bool(reader.socket.poll(0)))
        reader.close()
        await reached(lambda: office.show is None)

    with town() as place:
        asyncio.run(story(place))


def test_on_a_loop_the_end_of_the_process_is_told() -> None:
    async def story(place: Town) -> None:
        office, told = real(place), list[ActorsFailing]()

        def does(message: object, now: float) -> list[Effect]:
            raise ValueError("no")

        office.attach(asyncio.get_running_loop(), on_fatal=told.append)
        office.add("broken", Doing(does))
        office.post(here("broken"), Poke())
        await reached(lambda: bool(told))
        assert "broken failed and cannot be made anew here" in str(told[0])

    with town() as place:
        asyncio.run(story(place))


def test_without_a_hearer_the_end_of_the_process_stops_the_loop() -> None:
    def does(message: object, now: float) -> list[Effect]:
        raise ValueError("no")

    with town() as place:
        office, loop = real(place), asyncio.new_event_loop()
        office.attach(loop)
        office.add("broken", Doing(does))
        office.post(here("broken"), Poke())
        loop.run_forever()
        assert office.wards.fatal is not None
        place.close(office)
        loop.close()


def test_the_bridge_runs_jobs_on_the_loop_in_order_with_one_wake_up_for_many() -> None:
    async def story() -> None:
        loop, ran = asyncio.get_running_loop(), list[tuple[int, int]]()
        bridge = Bridge(loop)

        def work() -> None:
            for number in range(1000):
                bridge.call(lambda number=number: ran.append((number, threading.get_ident())))  # type: ignore[misc]

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()  # the loop stands still meanwhile, so one wake-up has to do
        await reached(lambda: len(ran) == 1000)
        assert [number for number, _ in ran] == list(range(1000))
        assert {ident for _, ident in ran} == {threading.get_ident()}
        assert bridge.idle

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(story())
        loop = runner.get_loop()
        assert isinstance(loop, Counting)
        assert loop.wake_ups == 1


def test_the_bridge_wakes_the_loop_again_for_the_next_burst() -> None:
    async def story() -> None:
        ran: list[int] = []
        bridge = Bridge(asyncio.get_running_loop())
        for burst in range(3):
            bridge.call(lambda burst=burst: ran.append(burst))  # type: ignore[misc]
            await reached(lambda burst=burst: ran[-1:] == [burst])  # type: ignore[misc]

    asyncio.run(story())


def test_the_bridge_is_bounded_and_a_job_that_fails_stops_no_other() -> None:
    async def story() -> None:
        ran: list[int] = []
        bridge = Bridge(asyncio.get_running_loop(), limit=3)
        assert bridge.call(lambda: 1 // 0)
        assert bridge.call(lambda: ran.append(1))
        assert bridge.call(lambda: ran.append(2))
        assert not bridge.call(lambda: ran.append(3))
        assert bridge.refused == 1
        assert bridge.call(lambda: ran.append(5), always=True)
        await reached(lambda: ran == [1, 2, 5])
        bridge.close()
        assert not bridge.call(lambda: ran.append(4))

    asyncio.run(story())


def test_a_bridge_to_a_closed_loop_refuses() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    assert not Bridge(loop).call(lambda: None)


def test_an_outlet_reports_what_is_not_taken_instead_of_waiting() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        office.add("collector", collector)
        outlet = office.outlet("thread")
        sent = 0
        while outlet.send(here("collector"), Note(number=sent)):
            sent += 1
        assert outlet.refused == 1
        place.until(lambda: len(collector.heard) == sent)
        place.until(lambda: outlet.send(here("collector"), Note(number=sent)))
        place.until(lambda: len(collector.heard) == sent + 1)
        assert office.status().gaps == 0
