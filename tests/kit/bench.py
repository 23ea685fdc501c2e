"""One machine on a bench: mail in, mail and timers caught, time by hand.

A story runs on the bare machine (`Bench`) or on the real pykka shell round it with its mailbox and its mail mocked
(`ShellBench`).  `BENCHES` is both, for a test that should hold for either:

    @pytest.mark.parametrize("bench_of", BENCHES)
    def test_a_lost_relay_earns_an_offer(bench_of: type[Bench]) -> None:
        with bench_of(Guard(BOB, OFFERS)) as bench:
            bench.tell(RelayLost(peer=BOB))
            bench.advance(FIRST_RETRY_S)
            assert bench.mail(OFFERS) == [SendOffer(peer=BOB)]

Where a test fails, its report shows the mail as a sequence diagram (picture.py).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pykka

from actors.effects import Address, Cancel, Effect, Later, Machine, Send, Starting
from actors.messages.envelope import Envelope
from actors.runtime.post_office import PostOffice
from actors.runtime.shell import Shell, Story, types_of
from actors.trace.record import FLAG_EXTERNAL, FLAG_TIMER
from tests.kit.picture import Picture

NAME = "bench"


class Bench:
    """Runs one machine in virtual time, which begins at `now` (s)."""

    def __init__(self, machine: Machine, now: float = 1000.0) -> None:
        self.machine, self.now = machine, now
        self.outbox: list[Send] = []
        self.timers: dict[type[msgspec.Struct], Later] = {}
        self._picture = Picture(machine)
        self._set_up()

    @property
    def state(self) -> Any:
        """What the machine's state is."""
        return self.machine.state

    def tell(self, *messages: msgspec.Struct) -> None:
        """Have the machine handle these messages now, and the timers that are due after each."""
        for message in messages:
            assert type(message) in types_of(self.machine), f"{type(message).__name__} is not in the machine's inbox"
            told, before = over_the_wire(message), len(self.outbox)
            try:
                self._deliver(told)
            finally:
                self._picture.handled(told, self.now, self.outbox[before:], timer=False)
            self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let this much time pass; timers fire in their order."""
        end = self.now + seconds
        while (timer := self._next_timer()) is not None and timer.at <= end:
            self.now = max(self.now, timer.at)
            before = len(self.outbox)
            try:
                self._fire(timer)
            finally:
                self._picture.handled(timer.message, self.now, self.outbox[before:], timer=True)
        self.now = end

    def mail(self, to: Address[Any]) -> list[Any]:
        """Return what was sent to this mailbox since the last look."""
        found = [send.message for send in self.outbox if send.to == to]
        self.outbox = [send for send in self.outbox if send.to != to]
        return found

    def tags(self) -> list[str]:
        """Return the names of all mail not looked at yet, in order, and forget it."""
        names = [type(send.message).__name__ for send in self.outbox]
        self.outbox = []
        return names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the bench took."""

    def _set_up(self) -> None:
        if isinstance(self.machine, Starting):
            self._perform(self.machine.start(self.now))

    def _next_timer(self) -> Later | None:
        return min(self.timers.values(), key=lambda timer: timer.at, default=None)

    def _deliver(self, message: msgspec.Struct) -> None:
        self._perform(self.machine.handle(message, self.now))

    def _fire(self, timer: Later) -> None:
        del self.timers[type(timer.message)]
        self._deliver(over_the_wire(timer.message))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    over_the_wire(effect.message)
                    self.outbox.append(effect)
                case Later():
                    self.timers[type(effect.message)] = effect
                case Cancel():
                    self.timers.pop(effect.timer, None)


class ShellBench(Bench):
    """Runs the machine in its pykka shell: the bench plays post office, so the mailbox holds what the story puts in."""

    def _set_up(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="homing-bench-")
        self._office = PostOffice(NAME, 1, Path(self._directory.name), clock=lambda: self.now)
        self._office.send = self._catch
        self.ref: pykka.ActorRef[Shell] = self._office.add(NAME, self.machine)
        self._shell = self._office.shells[NAME]
        self._ids = iter(range(1, 1 << 40))

    def close(self) -> None:
        """Stop the actor and take its post office away."""
        self._office.close()
        self._directory.cleanup()

    def _catch(self, sender: str, to: Address[Any], message: msgspec.Struct, story: Story, flags: int = 0) -> None:
        assert sender == NAME, "only the machine sends here"
        over_the_wire(message)
        self._office.next_id += 1
        self.outbox.append(Send(to, message))

    def _next_timer(self) -> Later | None:
        return min(self._timers_set(), key=lambda timer: timer.at, default=None)

    def _timers_set(self) -> Iterator[Later]:
        yield from (Later(timer.at, timer.message) for timer in self._office.timers.of(NAME))

    def _deliver(self, message: msgspec.Struct) -> None:
        self._put(next(self._ids), FLAG_EXTERNAL, message)

    def _fire(self, timer: Later) -> None:
        for due in self._office.timers.due(timer.at):
            self._put(due.id, FLAG_TIMER, over_the_wire(due.message))

    def _put(self, number: int, flags: int, message: msgspec.Struct) -> None:
        envelope: Envelope = (NAME, "", number, number, 0, number, self.now, flags, msgspec.msgpack.encode(message))
        self._shell.mailbox.put((envelope, message, NAME))
        self._shell.run(1)
        quarantine = self._office.wards.policy.quarantine
        assert not quarantine, f"the machine raised: {quarantine[-1].error} ({quarantine[-1].where})"


BENCHES = (Bench, ShellBench)


def over_the_wire(message: msgspec.Struct) -> Any:
    """Return the message as its receiver gets it; it must come out as it went in."""
    arrived = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=type(message))
    assert arrived == message, f"{message} arrives as {arrived}"
    return arrived
