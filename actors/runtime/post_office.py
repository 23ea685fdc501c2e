"""The post office: takes mail from ZeroMQ, puts it into mailboxes, runs the actors, sends what they send.

One per process, on one thread:

    other processes --ipc--> ROUTER --> mailboxes --> shells --> one DEALER per destination process --ipc--> ...
    other threads (Outlet) -inproc-^                                     `-- its own: inproc, back to the ROUTER

How a process uses it:

    office = PostOffice("control-0", incarnation, run_dir)    # takes the name's lock, binds the sockets
    office.connect("packet", packet_incarnation)              # again with the next incarnation when that one restarted
    office.add("peers", Peers(...), remake=lambda: Peers(...))
    office.run(until)                                         # or office.attach(loop) in an asyncio process

Order: mail from one actor to another arrives in the order sent (each step is first in, first out); a mailbox has one
order; and since all mail of a process to itself goes through one queue, what caused a message is delivered before it to
whoever gets both.  An Outlet is outside: its own mail stays in order, nothing more.

Nothing here waits for a destination: what a link does not take stays in its outbox; from a bound on the rules of
actors/messages/overflow.py apply, from a higher one mail is refused and shows as a gap at the receiver.  The process's
link to itself is such a link like any other, so it cannot dead-lock.

A gap (lost, or refused) is told to the process actor as GapFound, which has both ends resync by state.

A failed actor: one of a group (`peer/KEY`) makes the whole group deaf, and PEERS is told; any other starts again by
`remake` after a rest; without `remake`, or too often, `run` raises ActorsFailing (`attach`: see there).
"""

import asyncio
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pykka
import zmq
from loguru import logger
from pykka.messages import _ActorStop

from actors.addresses import PEERS
from actors.effects import Address, Machine
from actors.messages.envelope import ID, FramePacker
from actors.messages.process import StopActor
from actors.messages.redact import Redactor
from actors.messages.status import RuntimeStatus
from actors.runtime import clock as clocks
from actors.runtime.dispatch import Dispatch
from actors.runtime.ledger import Ledger
from actors.runtime.loops import LoopDriver, run_here
from actors.runtime.mailbox import Entry
from actors.runtime.outlet import OUTLET_FRAMES, Outlet
from actors.runtime.reception import Reception
from actors.runtime.ring import RING_LEN, RecordRing
from actors.runtime.shell import Shell, added_up, types_of
from actors.runtime.supervision import ActorsFailing, Supervision
from actors.runtime.tap import PUBLISH_FRAMES, Tap, run_key
from actors.runtime.timers import Timers
from actors.runtime.wards import GROUP_PREFIX, Remake, Wards
from actors.trace.freeze import NotFrozen, freeze
from actors.trace.record import FLAG_ASK, FLAG_EXTERNAL, Ring, RingWanted, ring_name, tap_name
from actors.trace.tape import Machines, encode_note
from transport.drivers.zmq import (
    Answerer,
    Publisher,
    Receiver,
    Sender,
    claim,
    ipc,
    mail_name,
    release,
)

TURN_FRAMES = 32  # frames taken in before the actors run
TURN_MESSAGES = 32  # messages of one actor before the next one's turn
ID_COUNT_BITS = 40  # of an id: a count, below a random number that tells processes and outlets apart
ID_TAG_BITS = 22
VISITORS = "visitors"  # the outlet of ActorRef.tell from other threads


class PostOffice:
    """The mail of one process.

    Every method is for the post office's own thread, except what `outlet` returns and what an ActorRef does.
    """

    def __init__(
        self,
        process: str,
        incarnation: int,
        run_dir: Path,
        *,
        ring_len: int = RING_LEN,
        log_mail: bool = False,
        failures_to: Address[Any] = PEERS,
        clock: Callable[[], float] = clocks.now,
        rng: random.Random | None = None,
    ) -> None:
        """Take the process's name in `run_dir` (it must exist) and start receiving.

        `ring_len` 0: no ring.  `log_mail`: a debug line for each message.  `failures_to` hears of groups that failed.
        Raises NameTaken, EndpointTooLong.
        """
        self.process, self.incarnation, self.run_dir, self.clock = process, incarnation, run_dir, clock
        self.driver: LoopDriver | None = None
        self._lock = claim(run_dir, process)
        self._inproc = inproc = f"inproc://{process}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.receiver = Receiver(self._context, [inproc, ipc(run_dir / mail_name(process, incarnation))])
        publisher = Publisher(self._context, ipc(run_dir / tap_name(process, incarnation)), PUBLISH_FRAMES)
        answerer = Answerer(self._context, ipc(run_dir / ring_name(process, incarnation)))
        redactor = Redactor(run_key(run_dir))
        records = RecordRing(process, incarnation, ring_len)
        self.tap = Tap(records, redactor, publisher, answerer, log_mail=log_mail)
        self.keep = records.keep if ring_len else None  # of each delivery, for the ring
        self.show = self.tap.delivered if log_mail else None  # of each delivery, while somebody watches
        self.tap.machines = self._machines
        self.shells: dict[str, Shell] = {}
        self.ready: deque[Shell] = deque()  # shells with mail
        self.crowded: set[str] = set()  # actors whose mailbox was over its hard bound
        self.timers = Timers()
        self.next_id = _first_id()
        self.current = (0, 0)  # id and trace of the message that is being handled
        self.delivered = 0
        self.ledger = Ledger(self)
        self.wards = Wards(self, Supervision(rng or random.SystemRandom()), failures_to)
        self.watched: dict[int, Callable[[], None]] = {}  # descriptors that `run` waits for too
        self.wake: Callable[[], None] = _nothing  # called after mail was posted from outside a turn
        self._reception = Reception(self)
        self._thread = threading.get_ident()
        self._outlets: list[Outlet] = []
        self._closed = False
        self.dispatch = Dispatch(self, self._context, inproc)
        self.send = self.dispatch.send  # on the way of every message
        self._visitors, self._visitors_lock = self.outlet(VISITORS), threading.Lock()

    # --- actors ---

    def add(
        self,
        actor: str,
        machine: Machine,
        *,
        group: str | None = None,
        remake: Remake | None = None,
        begin: bool = True,
    ) -> pykka.ActorRef[Shell]:
        """Start an actor.

        `group` (`peer/KEY`): its actors fail and start anew together.  `remake` makes a fresh machine after a failure;
        an actor with neither ends the process when it fails.  A machine with a `start` method (effects.Starting) is
        asked at once, unless `begin` is False.
        """
        assert actor not in self.shells, f"there is an actor {actor} already"
        ref = Shell.start(self, actor, machine, group)
        shell = self.shells[actor]
        self.wards.watch(shell, remake)
        if begin:
            self.wards.begin(shell)
            self.wake()
        return ref

    def bind(self, shell: Shell) -> None:
        """Take in a shell that pykka started."""
        self.shells[shell.name] = shell

    def remove(self, actor: str) -> None:
        """Stop and forget an actor; the mail it has left is dead.  An unknown one is already gone."""
        shell = self.shells.pop(actor, None)
        if shell is None:
            return
        shell.end()
        shell.deaf = True
        for entry in shell.mailbox.clear():
            self.ledger.dead("actor stopped", entry)
        self.timers.forget(actor)
        self.wards.forget(shell)
        self._reception.forget(actor)
        self.dispatch.forget(actor)

    def start_group(self, group: str, machines: dict[str, Machine]) -> None:
        """Run these machines as the group's actors, in place of those that it has."""
        self.wards.start_group(group, machines)

    def remove_group(self, group: str) -> None:
        """Stop and forget the actors of a group."""
        for actor in self.wards.members(group):
            self.remove(actor)

    def enqueue(self, shell: Shell) -> None:
        """Have an actor run when its turn comes."""
        if not shell.queued and shell.mailbox.entries:
            shell.queued = True
            self.ready.append(shell)

    def stop_now(self, shell: Shell, entry: Entry) -> None:
        """An actor has come to its StopActor."""
        self.remove(shell.name)
        self.ledger.answer(entry[0][ID], None)

    def takers(self, message_type: type[msgspec.Struct]) -> list[str]:
        """Return the actors whose machines take this message type."""
        return [actor for actor, shell in self.shells.items() if message_type in types_of(shell.machine)]

    def depth(self, actor: str) -> int:
        """Return how many messages wait for an actor."""
        shell = self.shells.get(actor)
        return 0 if shell is None else len(shell.mailbox)

    # --- mail ---

    def connect(self, process: str, incarnation: int) -> None:
        """Send this process's mail to that incarnation from now on.

        What has not reached an older one is discarded and traced; a link to this one, or a newer, stays as it is.
        """
        self.dispatch.connect(process, incarnation)

    def disconnect(self, process: str) -> None:
        """Drop the link to a process that is gone; mail for it is dead until `connect`."""
        self.dispatch.disconnect(process)

    def post(self, to: Address[Any], message: msgspec.Struct, *, trace: int = 0) -> None:
        """Mail an actor from outside of the actors: a driver on this thread.

        Called while a machine handles a message, it has that message as its cause.
        """
        assert threading.get_ident() == self._thread, "only its own thread may post; others need an outlet"
        cause, current_trace = self.current
        self.send("", to, message, (self.clock(), cause, trace or current_trace or self.next_id), FLAG_EXTERNAL)
        self.wake()

    def outlet(self, name: str) -> Outlet:
        """Return the way for one other thread to mail this process's actors; `name` is its sender's name in traces."""
        sender = Sender(self._context, self._inproc, OUTLET_FRAMES)
        packer = FramePacker(f"{self.process}/{name}", self.incarnation, self.incarnation)
        outlet = Outlet(sender, packer, process=self.process, name=name, first_id=_first_id(), clock=self.clock)
        self._outlets.append(outlet)
        return outlet

    def told(self, actor: str, message: Any, reply_to: pykka.Future[Any] | None) -> None:
        """Mail what somebody told, asked or stopped by an ActorRef, on any thread."""
        if isinstance(message, _ActorStop):
            message = StopActor()
        if not isinstance(message, msgspec.Struct):
            raise TypeError(f"{actor} takes typed messages; this is a {type(message).__name__}")
        to: Address[Any] = Address(actor, self.process)
        flags = FLAG_EXTERNAL if reply_to is None else FLAG_EXTERNAL | FLAG_ASK
        if threading.get_ident() == self._thread:
            if reply_to is not None:
                self.ledger.ask(self.next_id, reply_to)
            cause, trace = self.current
            self.send("", to, message, (self.clock(), cause, trace or self.next_id), flags)
            self.wake()
            return
        with self._visitors_lock:
            number = self._visitors.next_id
            if reply_to is not None:
                self.ledger.ask(number, reply_to)
            if not self._visitors.send(to, message, flags=flags):
                self.ledger.answer(number, pykka.ActorDeadError(f"{actor}: its post office takes no more mail"))

    # --- running ---

    def turn(self) -> bool:
        """Do a bounded share of what there is to do; return whether there may be more.  Never waits."""
        now = self.clock()
        busy = self._fire(now) | self.wards.revive(now)
        self.dispatch.flush()
        busy |= self._take_in()
        for _ in range(len(self.ready)):
            shell = self.ready.popleft()
            shell.queued = False
            if shell.resting or shell.deaf:
                continue
            shell.run(TURN_MESSAGES)
            busy = True
            if not shell.resting:
                self.enqueue(shell)
        self.tap.ring.settle()
        return busy

    def next_at(self) -> float | None:
        """Return when a turn is due at the latest; None: when mail comes."""
        return min((at for at in (self.timers.next_at(), self.wards.next_at()) if at is not None), default=None)

    def serve_tap(self) -> None:
        """Look who listens to the tap, answer who asked for the ring."""
        self.tap.serve()
        self.show = self.tap.delivered if self.tap.watched else None

    def _machines(self, prefix: str) -> bytes:
        """Return how the machines of a peer stand, for a tape; b"" when one has no plain form (not a peer's)."""
        chosen = {name: shell.machine for name, shell in self.shells.items() if name.startswith(prefix)}
        try:
            frozen = freeze(chosen, self.tap.placeholder) if prefix.startswith(GROUP_PREFIX) else {}
        except NotFrozen as error:
            logger.warning("{} cannot be put on a tape: it holds {}", prefix, error)
            return b""
        if not frozen or not chosen:
            return b""
        return encode_note(Machines(at=self.clock(), process=self.process, incarnation=self.incarnation, frozen=frozen))

    def run(self, until: Callable[[], bool]) -> None:
        """Run until `until()` says so: asked after every turn, and once a second.  Raises ActorsFailing."""
        self._thread = threading.get_ident()
        run_here(self, until)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have `run` call back, between turns, while this descriptor is readable."""
        self.watched[fd] = callback

    def attach(self, loop: asyncio.AbstractEventLoop, on_fatal: Callable[[ActorsFailing], None] | None = None) -> None:
        """Run on this thread's asyncio loop from now on, until `close`.

        When the process cannot go on, `on_fatal` is told why; without it the loop is stopped, which `asyncio.run` makes
        an error, and `wards.fatal` says why.
        """
        self._thread = threading.get_ident()
        self.driver = LoopDriver(self, loop, on_fatal)

    def quiet(self) -> bool:
        """Whether no mail is on the way or waits here; timers that are set do not count."""
        return not self.ready and not self.dispatch.waiting

    def status(self) -> RuntimeStatus:
        """Return how the runtime fares."""
        return RuntimeStatus(
            actors=len(self.shells),
            delivered=self.delivered,
            mailbox_depth=max((len(shell.mailbox) for shell in self.shells.values()), default=0),
            dead_letters=dict(self.ledger.dead_letters),
            overflow=dict(self.ledger.overflow),
            restarts=self.wards.failures,
            gaps=self.ledger.gaps,
            counters=added_up(self.shells.values()),
        )

    def ring(self, wanted: RingWanted | None = None) -> Ring:
        """Return the last records."""
        return self.tap.ring.read(wanted or RingWanted())

    def close(self) -> None:
        """Stop all actors, close everything, give the name back.  Threads with an outlet must have ended."""
        if self._closed:
            return
        if self.driver is not None:
            self.driver.close()
        self.dispatch.flush()
        for actor in list(self.shells):  # oldest first: pykka's registry is a list
            self.remove(actor)
        with self._visitors_lock:
            self._closed = True
            for outlet in self._outlets:
                outlet.close()
        self.ledger.answer_all(pykka.ActorDeadError("the post office has closed"))
        self.dispatch.close()
        self.tap.close()
        self.receiver.close()
        self._context.term()
        release(self._lock)

    # --- inside ---

    def _fire(self, now: float) -> bool:
        due = self.timers.due(now)
        for timer in due:
            self.dispatch.send_timer(timer, now)
        return bool(due)

    def _take_in(self) -> bool:
        if self.crowded:
            self.crowded = {name for name in self.crowded if (s := self.shells.get(name)) and s.mailbox.crowded}
            if self.crowded:
                return True
        for count in range(TURN_FRAMES):
            data = self.receiver.receive()
            if data is None:
                return count > 0
            self._reception.take(data)
        return True


def _first_id() -> int:
    """Return the first id of a post office or an outlet: no other's ids come near it."""
    return (secrets.randbits(ID_TAG_BITS) << ID_COUNT_BITS) + 1


def _nothing() -> None:
    """Do nothing: `run` looks at the mail anyway."""
