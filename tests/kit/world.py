"""Many machines on one virtual clock.

A seed decides whatever the order promises leave open, and nothing else: which actor of a process runs next, how long a
link between processes takes, how late within the slack a timer fires.  What is promised holds: a process's own mail
arrives in the order sent (so it is causal), a link between processes is first in, first out, and a crash loses one
contiguous run of each of its links.  Equal seeds give equal runs; `trace_hash` tells whether two were.

    world = World(seed=7)
    world.add({conn: Conn(...), guard: Guard(...)})
    world.post(conn, RelayReady(...))
    world.run_for(60.0)
    assert world.mail(TUNNELS) == [...]      # nobody lives there, so the world keeps its mail
"""

import hashlib
import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import msgspec

from actors.effects import Address, Effect, Later, Machine, Send, Starting
from actors.messages.overflow import tag_of
from actors.messages.process import ProcessRestarted
from actors.runtime.shell import types_of
from actors.runtime.timers import SLACK_S, Timer, Timers

LINK_DELAY_S = (0.000_05, 0.002)  # shortest and longest on a link between processes
RESTLESS = 100_000  # messages at one instant: the actors go in circles


class Handled(NamedTuple):
    """One message that a machine handled."""

    at: float
    actor: str  # actor@process
    sender: str  # the same; empty: from outside
    message: msgspec.Struct
    before: object  # the receiver's state
    after: object


class Restless(AssertionError):
    """The actors mail each other for ever without time passing."""


class MachineRaised(AssertionError):
    """A machine raised; the cause says what."""


@dataclass(slots=True, eq=False)
class _Mail:
    sender: str
    message: msgspec.Struct
    timer: int = 0  # id of the timer; 0: none


@dataclass(slots=True, eq=False)
class _Actor:
    address: Address[Any]
    name: str
    machine: Machine
    types: frozenset[type[msgspec.Struct]]
    mailbox: deque[_Mail] = field(default_factory=deque)
    alive: bool = True
    runnable: bool = False


@dataclass(slots=True, eq=False)
class _Link:
    """Mail under way from one process to another: each with the time at which it arrives."""

    under_way: deque[tuple[float, Address[Any], str, msgspec.Struct]] = field(default_factory=deque)
    last_at: float = 0.0


class World:
    """Runs machines until they are idle, or until a time."""

    def __init__(self, seed: int = 0, now: float = 1000.0, *, traced: bool = True) -> None:
        self.seed, self.now = seed, now
        self.rng = random.Random(seed)
        self.delivered: Counter[str] = Counter()  # message tag -> deliveries
        self.timer_fires = 0
        self.dead_letters: Counter[str] = Counter()  # tag -> messages that came for nobody, or for another inbox
        self.lost = 0  # by crashes and cut links
        self.deepest = 0  # mailbox, ever
        self.incarnations: dict[str, int] = {}
        self._actors: dict[Address[Any], _Actor] = {}
        self._by_name: dict[str, _Actor] = {}
        self._runnable: list[_Actor] = []
        self._timers = Timers()
        self._ids = count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._links: dict[tuple[str, str], _Link] = {}
        self._caught: dict[Address[Any], list[Any]] = {}
        self._frozen: set[str] = set()  # processes
        self._countdowns: list[tuple[int, Callable[[], None]]] = []  # deliveries from now -> what happens then
        self.recorder: Callable[[Handled], None] | None = None
        self._hash = hashlib.blake2b(digest_size=16) if traced else None
        self._encode = msgspec.msgpack.Encoder(order="deterministic").encode  # sets have no order of their own

    # --- who lives here ---

    def add(self, machines: Mapping[Address[Any], Machine]) -> None:
        """Start these actors; all are there before the first of them says what it wants."""
        for address, machine in machines.items():
            old = self._actors.get(address)
            if old is not None:
                self._end(old)
            types = frozenset(types_of(machine))
            actor = _Actor(address, str(address), machine, types)
            self._actors[address] = self._by_name[actor.name] = actor
            self.incarnations.setdefault(address.process, 1)
        for address, machine in machines.items():
            if isinstance(machine, Starting):
                self._perform(self._actors[address], machine.start(self.now))

    def remove(self, address: Address[Any]) -> None:
        """Stop an actor; the mail it has left is dead."""
        actor = self._actors.pop(address, None)
        if actor is not None:
            self.dead_letters.update(tag_of(mail.message) for mail in actor.mailbox)
            self._end(actor)

    def machine(self, address: Address[Any]) -> Any:
        """Return the machine that lives there."""
        return self._actors[address].machine

    def machine_or_none(self, address: Address[Any]) -> Any:
        """Return the machine that lives there, or None."""
        actor = self._actors.get(address)
        return None if actor is None else actor.machine

    def timers_of(self, address: Address[Any]) -> set[type[msgspec.Struct]]:
        """Return the message types of the timers that an actor has set."""
        return {type(timer.message) for timer in self._timers.of(str(address))}

    def crash(self, process: str) -> None:
        """End a process at once: its actors, their mail, and a contiguous run of what was on its links.

        Mail to it is lost; of its own mail a seeded part at the end had not left yet.
        """
        self._frozen.discard(process)
        for address in [address for address in self._actors if address.process == process]:
            actor = self._actors.pop(address)
            self.lost += len(actor.mailbox)
            self._end(actor)
        for (source, target), link in self._links.items():
            if target == process:
                self.lost += len(link.under_way)
                link.under_way.clear()
            elif source == process:
                self._cut_end(link)

    def freeze(self, process: str) -> None:
        """Stop a process as SIGSTOP does: mail for it waits, and so do its timers."""
        self._frozen.add(process)
        self._runnable = [actor for actor in self._runnable if actor.address.process != process]
        for actor in self._of(process):
            actor.runnable = False

    def thaw(self, process: str) -> None:
        """Have it go on."""
        self._frozen.discard(process)
        for actor in self._of(process):
            self._wake(actor)

    def after(self, deliveries: int, call: Callable[[], None]) -> None:
        """Have something happen once so many further messages have been handled: between two of them."""
        self._countdowns.append((sum(self.delivered.values()) + max(deliveries, 1), call))

    def cut(self, source: str, target: str) -> None:
        """Lose a seeded run at the end of what is under way; nobody is told."""
        self._cut_end(self._links.setdefault((source, target), _Link()))

    def restart(self, process: str, machines: Mapping[Address[Any], Machine]) -> None:
        """Start a process anew with these actors, and tell those of the others who take it (ProcessRestarted)."""
        self.incarnations[process] = self.incarnations.get(process, 0) + 1
        self.add(machines)
        self.tell_restarted(process, self.incarnations[process], besides=process)

    def lose(self, source: str, target: str) -> None:
        """Lose a seeded run at the end of what is under way, as a link that was over its bound; both ends resync."""
        self._cut_end(self._links.setdefault((source, target), _Link()))
        self.tell_restarted(source, self.incarnations.get(source, 1), only=target)
        self.tell_restarted(target, self.incarnations.get(target, 1), only=source)

    def tell_restarted(self, process: str, incarnation: int, *, besides: str = "", only: str = "") -> None:
        """Tell every actor who takes it that this process restarted."""
        news = ProcessRestarted(process=process, incarnation=incarnation)
        for actor in list(self._actors.values()):
            lives_in = actor.address.process
            if ProcessRestarted in actor.types and lives_in != besides and only in ("", lives_in):
                self._put(actor, "", news)

    # --- mail and time ---

    def post(self, to: Address[Any], message: msgspec.Struct) -> None:
        """Mail an actor from outside."""
        self._arrive(to, "", message)

    def perform(self, actor: Address[Any], effects: list[Effect]) -> None:
        """Do what the driver behind an actor wants done: mail of its process, without a message that led to it."""
        self._perform(self._actors[actor], effects)

    def at(self, at: float, event: Callable[[], None]) -> None:
        """Have something happen at this time: a fault, a driver's answer."""
        heapq.heappush(self._events, (max(at, self.now), next(self._ids), event))

    def mail(self, to: Address[Any]) -> list[Any]:
        """Return what came since the last look for an address where nobody lives."""
        return self._caught.pop(to, [])

    def next_at(self) -> float | None:
        """Return when the next timer or event is due; None: there is none."""
        return self._next_at()

    def run_for(self, seconds: float) -> None:
        """Run until this much time has passed."""
        self.run_until(self.now + seconds)

    def run_until(self, end: float) -> None:
        """Run until this time."""
        self._work()
        while (at := self._next_at()) is not None and at <= end:
            self.now = max(self.now, at)
            self._happen()
            self._work()
        self.now = max(self.now, end)

    def run_until_idle(self, limit_s: float = 3600.0) -> None:
        """Run until no mail is under way and no timer is set; raise Restless after `limit_s`."""
        end = self.now + limit_s
        self._work()
        while (at := self._next_at()) is not None:
            if at > end:
                raise Restless(f"not idle after {limit_s:.0f} s: {len(self._timers)} timers are set")
            self.now = max(self.now, at)
            self._happen()
            self._work()

    def trace_hash(self) -> str:
        """Return a digest of every delivery so far: time, receiver, sender, message."""
        assert self._hash is not None, "this world is not traced"
        return self._hash.hexdigest()

    def _next_at(self) -> float | None:
        timer = self._timers.next_at()
        event = self._events[0][0] if self._events else None
        if timer is None or event is None:
            return timer if event is None else event
        return min(timer, event)

    def _happen(self) -> None:
        """Let happen what is due now."""
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
        due = self._timers.due(self.now)
        if len(due) > 1:
            self.rng.shuffle(due)
        for timer in due:
            actor = self._by_name.get(timer.owner)
            if actor is not None:  # its timers end with it, but a crash may come between
                self._put(actor, timer.owner, timer.message, timer.id)

    def _work(self) -> None:
        """Run actors, in a seeded order, until none has mail."""
        runnable, random_number, handled = self._runnable, self.rng.random, 0
        while runnable:
            place = int(random_number() * len(runnable))
            actor = runnable[place]
            if not actor.mailbox or not actor.alive:
                actor.runnable = False
                runnable[place] = runnable[-1]
                runnable.pop()
                continue
            handled += 1
            if handled > RESTLESS:
                raise Restless(f"{RESTLESS} messages at {self.now}; the last was for {actor.name}, seed {self.seed}")
            self._handle(actor, actor.mailbox.popleft())

    def _handle(self, actor: _Actor, mail: _Mail) -> None:
        message = mail.message
        if mail.timer and not self._timers.admit(actor.name, type(message), mail.timer):
            return
        tag = tag_of(message)
        self.delivered[tag] += 1
        if self._hash is not None:
            line = f"{self.now!r} {actor.name} {mail.sender} {tag} "
            self._hash.update(line.encode() + self._encode(message))
        machine = actor.machine
        before = machine.state if self.recorder is not None else None
        try:
            effects = machine.handle(message, self.now)
        except Exception as error:
            raise MachineRaised(f"{actor.name} on {message} at {self.now}, seed {self.seed}: {error!r}") from error
        if self.recorder is not None:
            self.recorder(Handled(self.now, actor.name, mail.sender, message, before, machine.state))
        self._perform(actor, effects)
        if self._countdowns:
            self._count_down()

    def _count_down(self) -> None:
        handled = sum(self.delivered.values())
        due = [call for at, call in self._countdowns if at <= handled]
        self._countdowns = [(at, call) for at, call in self._countdowns if at > handled]
        for call in due:
            call()

    def _perform(self, actor: _Actor, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(actor, effect.to, effect.message)
            elif isinstance(effect, Later):
                late = self.rng.random() * SLACK_S if effect.at > self.now else 0.0
                timer = Timer(effect.at + late, next(self._ids), actor.name, effect.message, 0, 0)
                self._timers.set(timer)
            else:
                self._timers.cancel(actor.name, effect.timer)

    def _send(self, sender: _Actor, to: Address[Any], message: msgspec.Struct) -> None:
        source = sender.address.process
        if to.process == source:
            self._arrive(to, sender.name, message)
            return
        link = self._links.setdefault((source, to.process), _Link())
        low, high = LINK_DELAY_S
        link.last_at = max(self.now + low + self.rng.random() * (high - low), link.last_at)
        link.under_way.append((link.last_at, to, sender.name, message))
        self.at(link.last_at, lambda: self._hand_over(link))

    def _hand_over(self, link: _Link) -> None:
        while link.under_way and link.under_way[0][0] <= self.now:
            _, to, sender, message = link.under_way.popleft()
            self._arrive(to, sender, message)

    def _arrive(self, to: Address[Any], sender: str, message: msgspec.Struct) -> None:
        actor = self._actors.get(to)
        if actor is None:
            self._caught.setdefault(to, []).append(message)
        elif type(message) not in actor.types:
            self.dead_letters[tag_of(message)] += 1
        else:
            self._put(actor, sender, message)

    def _put(self, actor: _Actor, sender: str, message: msgspec.Struct, timer: int = 0) -> None:
        actor.mailbox.append(_Mail(sender, message, timer))
        self.timer_fires += timer > 0
        self.deepest = max(self.deepest, len(actor.mailbox))
        self._wake(actor)

    def _wake(self, actor: _Actor) -> None:
        if not actor.runnable and actor.mailbox and actor.address.process not in self._frozen:
            actor.runnable = True
            self._runnable.append(actor)

    def _of(self, process: str) -> list[_Actor]:
        return [actor for address, actor in self._actors.items() if address.process == process]

    def _end(self, actor: _Actor) -> None:
        actor.alive = False
        if self._by_name.get(actor.name) is actor:
            del self._by_name[actor.name]
        actor.mailbox.clear()
        self._timers.forget(actor.name)

    def _cut_end(self, link: _Link) -> None:
        if link.under_way:
            lost = self.rng.randrange(len(link.under_way) + 1)
            self.lost += lost
            for _ in range(lost):
                link.under_way.pop()
