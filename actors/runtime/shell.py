"""The pykka actor round a machine: takes mail out of its mailbox, lets the machine work on it, performs the effects.

A shell has no thread.  It is a `pykka.Actor` like any other (started, stopped and registered as such; `ActorRef.tell`
reaches it), but its inbox leads to the post office, and the post office runs it.  `ask` waits until the message has
been handled; machines do not reply, so its value is None.  On the post office's own thread a wait that would block
raises WouldBlock instead of hanging the process.
"""

import threading
import typing
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import pykka

from actors.effects import Counting, Effect, Later, Machine, Send, Starting
from actors.messages.envelope import FLAGS, ID, TRACE
from actors.messages.process import StopActor
from actors.messages.redact import paths
from actors.runtime.mailbox import Mailbox
from actors.runtime.ring import DELIVERY
from actors.runtime.timers import Timer
from actors.trace.record import FLAG_ASK, FLAG_TIMER

if TYPE_CHECKING:
    from actors.runtime.post_office import PostOffice

SLOW_S = 0.05  # a handler that takes longer holds up everybody

Story = tuple[float, int, int]
"""When mail is sent, the id of its cause (0: from outside), and of its story's root."""

_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_here = threading.local()
_pack = DELIVERY.pack


class WouldBlock(RuntimeError):
    """A wait on the post office's own thread: nobody else could ever answer it."""


class OfficeFuture(pykka.ThreadingFuture[Any]):
    """A future that refuses to block the thread that would have to resolve it."""

    def get(self, *, timeout: float | None = None) -> Any:
        """Return the value.  Raises WouldBlock on the post office's thread while there is none."""
        if not on_office_thread():
            return super().get(timeout=timeout)
        try:
            return super().get(timeout=0)
        except pykka.Timeout:
            raise WouldBlock("this is the post office's thread, which would have to do what is waited for") from None


class Inbox:
    """What pykka puts messages into: the way to the post office."""

    office: "PostOffice"
    actor: str

    def put(self, envelope: Any, /) -> None:
        """Send pykka's envelope on its way."""
        self.office.told(self.actor, envelope.message, envelope.reply_to)

    def get(self) -> Any:
        """Refuse: the post office runs this actor."""
        raise WouldBlock("the post office takes this actor's mail")

    def empty(self) -> bool:
        """Whether no mail waits."""
        return self.office.depth(self.actor) == 0


class Shell(pykka.Actor):
    """Runs one machine."""

    actor_inbox: Inbox

    def __init__(self, office: "PostOffice", name: str, machine: Machine, group: str | None = None) -> None:
        super().__init__()
        self.actor_inbox.office, self.actor_inbox.actor = office, name
        self.name, self.group = name, group
        self.mailbox = Mailbox()
        self.queued = False  # among the post office's ready ones
        self.resting = False  # failed, and waits to be made anew; mail waits with it
        self.deaf = False  # its group failed; mail for it is dead
        self._office = office
        self._take(machine)

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    @staticmethod
    def _create_future() -> OfficeFuture:
        return OfficeFuture()

    def _start_actor_loop(self) -> None:
        self._office.bind(self)

    def end(self) -> None:
        """Stop, as pykka sees it."""
        self._stop()

    def renew(self, machine: Machine) -> None:
        """Go on with another machine: same mailbox, same address, same ActorRef."""
        self._take(machine)
        self.resting = self.deaf = False

    def _take(self, machine: Machine) -> None:
        self.machine = machine
        self.counting = machine if isinstance(machine, Counting) else None
        self.decoder, self.secretive = decoder_for(machine), may_hold_secrets(machine)
        self.state_name = type(machine.state).__name__
        self._state_number = self._office.tap.ring.states[self.state_name]

    def begin(self, now: float) -> None:
        """Let the machine say what it wants before its first message."""
        if isinstance(self.machine, Starting):
            root = self._office.next_id
            self._office.next_id += 1
            self.perform(self.machine.start(now), (now, 0, root))

    def run(self, limit: int) -> int:
        """Handle at most `limit` messages; return how many."""
        office, mailbox, clock = self._office, self.mailbox, self._office.clock
        keep, show = office.keep, office.show
        handled, now, entries = 0, clock(), mailbox.entries
        states = office.tap.ring.states
        while handled < limit and (entry := mailbox.take()) is not None:
            handled += 1
            envelope, message, _ = entry
            flags, number, trace = envelope[FLAGS], envelope[ID], envelope[TRACE]
            if flags:
                if flags & FLAG_TIMER and not office.timers.admit(self.name, type(message), number):
                    office.tap.lost(now, "stale_timer", entry, "cancelled, or set anew")
                    continue
                if type(message) is StopActor:
                    office.stop_now(self, entry)
                    break
            machine = self.machine
            before = self.state_name
            first = office.next_id
            office.current = (number, trace)
            try:
                self.perform(machine.handle(message, now), (now, number, trace))
            except Exception as error:  # whatever the machine did wrong, the others go on
                office.wards.failed(self, entry, error)
                break
            finally:
                office.current = (0, 0)
            after = clock()
            state, before_number = type(machine.state).__name__, self._state_number
            if state is not before:
                self.state_name, self._state_number = state, states[state]
            if keep is not None:
                left, after_number = len(entries), self._state_number
                keep(_pack(now, after, number, first, office.next_id, left, before_number, after_number))
            if show is not None:
                sent = office.next_id - first
                show(now, entry, (before, state, first, sent, after - now, len(entries)))
            if flags & FLAG_ASK:
                office.ledger.answer(number, None)
            if after - now > SLOW_S:
                office.ledger.took_long(self.name, message, after - now)
            now = after
        office.delivered += handled
        return handled

    def perform(self, effects: list[Effect], story: Story) -> None:
        """Do what the machine asked for, in its order."""
        office = self._office
        for effect in effects:
            if isinstance(effect, Send):
                office.send(self.name, effect.to, effect.message, story)
            elif isinstance(effect, Later):
                number = office.next_id
                office.next_id = number + 1
                office.timers.set(Timer(effect.at, number, self.name, effect.message, story[1], story[2]))
            else:
                office.timers.cancel(self.name, effect.timer)


def decoder_for(machine: Machine) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder for this machine's inbox: it lets no other type through."""
    inbox = machine.inbox
    decoder = _decoders.get(inbox)
    if decoder is None:
        decoder = _decoders[inbox] = msgspec.msgpack.Decoder(inbox)
    return decoder


def may_hold_secrets(machine: Machine) -> bool:
    """Whether a message of this machine's inbox can hold a secret."""
    return any(paths(message_type) for message_type in types_of(machine))


def types_of(machine: Machine) -> tuple[type[msgspec.Struct], ...]:
    """Return the message types of this machine's inbox."""
    return typing.get_args(machine.inbox) or (machine.inbox,)


def on_office_thread() -> bool:
    """Whether a post office runs on this thread."""
    return getattr(_here, "running", 0) > 0


class OfficeThread:
    """Marks the current thread as a post office's, while entered."""

    def __enter__(self) -> None:
        _here.running = getattr(_here, "running", 0) + 1

    def __exit__(self, *_: object) -> None:
        _here.running -= 1


def added_up(shells: Iterable[Shell]) -> dict[str, int]:
    """Return what the machines count, added up by role: `offer_listener.repeated` of all peers."""
    total: Counter[str] = Counter()
    for shell in shells:
        if shell.counting is not None:
            role = shell.name.rpartition("/")[2]
            # Copied at once: the signal client counts on a thread of its own.
            for what, count in dict(shell.counting.counters).items():
                total[f"{role}.{what}"] += count
    return dict(total)
