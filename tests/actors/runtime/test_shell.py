"""The shell is a pykka actor like any other, but nobody blocks on the post office's own thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pykka
import pytest

from actors.effects import Effect
from actors.runtime.post_office import PostOffice
from actors.runtime.shell import Shell, WouldBlock
from actors.runtime.supervision import ActorsFailing
from tests.actors.runtime.town import PATIENCE_S, Collector, Doing, Note, Poke, here, town


@contextmanager
def running(office: PostOffice) -> Iterator[None]:
    """Have the office run on a thread of its own."""
    stop = threading.Event()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            office.run(stop.is_set)
        except ActorsFailing as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        office.told("nobody", Poke(), None)  # so that it looks
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert not raised, raised


def test_actors_are_registered_while_they_live() -> None:
    with town() as place:
        office = place.office()
        refs = [office.add(f"peer/bob/{name}", Collector()) for name in ("conn", "guard", "ice_worker")]
        assert [ref for ref in pykka.ActorRegistry.get_by_class(Shell) if ref in refs] == refs
        office.remove("peer/bob/guard")
        assert [ref.is_alive() for ref in refs] == [True, False, True]
        assert refs[1] not in pykka.ActorRegistry.get_all()
        place.close(office)
        assert not set(refs) & set(pykka.ActorRegistry.get_all())


def test_tell_goes_through_the_post_office() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        ref = office.add("collector", collector)
        ref.tell(Note(number=1))
        assert collector.heard == []
        place.settle()
        assert collector.numbers == [1]
        assert [record.tag for record in office.ring().records] == ["note"]


def test_tell_from_another_thread_arrives_in_order() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        ref = office.add("collector", collector)
        with running(office):
            for number in range(500):
                ref.tell(Note(number=number))
            ref.ask(Note(number=500), timeout=PATIENCE_S)
        assert collector.numbers == list(range(501))


def test_ask_from_another_thread_waits_until_the_message_has_been_handled() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        ref = office.add("collector", collector)
        with running(office):
            assert ref.ask(Note(number=1), timeout=PATIENCE_S) is None
            assert collector.numbers == [1]


def test_ask_raises_what_the_machine_raised() -> None:
    def does(message: Any, now: float) -> list[Effect]:
        raise ZeroDivisionError("no")

    with town() as place:
        office = place.office()
        ref = office.add("broken", Doing(does), remake=Collector)
        with running(office), pytest.raises(ZeroDivisionError):
            ref.ask(Poke(), timeout=PATIENCE_S)


def test_ask_of_mail_that_nobody_takes_raises() -> None:
    with town() as place:
        office = place.office()
        ref = office.add("collector", Collector())
        with running(office), pytest.raises(pykka.ActorDeadError):
            ref.ask(Poke(), timeout=PATIENCE_S)


def test_stop_from_another_thread_stops_after_the_mail_before_it() -> None:
    with town() as place:
        office, collector = place.office(), Collector()
        ref = office.add("collector", collector)
        with running(office):
            ref.tell(Note(number=1))
            assert ref.stop(timeout=PATIENCE_S) is True
            assert collector.numbers == [1]
            assert not ref.is_alive()
            assert ref.stop(timeout=PATIENCE_S) is False
            with pytest.raises(pykka.ActorDeadError):
                ref.tell(Note(number=2))


@pytest.mark.parametrize("how", ["ask", "get", "stop"])
def test_blocking_on_the_post_offices_own_thread_raises(how: str) -> None:
    with town() as place:
        office = place.office()
        other = office.add("collector", Collector())
        raised: list[Exception] = []

        def does(message: Any, now: float) -> list[Effect]:
            try:
                match how:
                    case "ask":
                        other.ask(Note(number=1))
                    case "get":
                        other.ask(Note(number=1), block=False).get()
                    case _:
                        other.stop()
            except WouldBlock as error:
                raised.append(error)
            return []

        office.add("impatient", Doing(does))
        office.post(here("impatient"), Poke())
        deadline = time.monotonic() + PATIENCE_S
        office.run(lambda: bool(raised) or time.monotonic() > deadline)
        assert len(raised) == 1


def test_a_message_without_a_type_is_refused() -> None:
    with town() as place:
        ref = place.office().add("collector", Collector())
        with pytest.raises(TypeError, match="takes typed messages; this is a str"):
            ref.tell("hello")


def test_an_ask_that_is_open_when_the_office_closes_is_answered() -> None:
    with town() as place:
        office = place.office()
        ref = office.add("collector", Collector())
        future = ref.ask(Note(number=1), block=False)
        place.close(office)
        with pytest.raises(pykka.ActorDeadError):
            future.get(timeout=0)


def test_stopping_thousands_costs_about_as_much_as_starting_them() -> None:
    """pykka's registry is a list: stopping the last first would scan it each time."""
    with town() as place:
        office = place.office(ring_len=0)
        started = time.process_time()
        for number in range(6000):
            office.add(f"a{number}", Collector())
        starting = time.process_time() - started
        place.close(office)
        assert time.process_time() - started - starting < 3 * starting


def test_a_handler_that_takes_long_is_counted() -> None:
    with town() as place:
        office = place.office()

        def slow(message: Any, now: float) -> list[Effect]:
            place.clock.now += 0.06
            return []

        office.add("slow", Doing(slow))
        for _ in range(3):
            office.post(here("slow"), Poke())
        place.settle()
        assert office.ledger.slow == 3
