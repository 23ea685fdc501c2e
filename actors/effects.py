"""All that a machine can ask for: send mail, set a timer, cancel a timer.

A machine is the logic of one actor.  It is pure: `handle` takes one message and the time, changes the machine's own
state and returns what should happen.  The runtime (actors/runtime/shell.py) performs the effects in their order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

M_contra = TypeVar("M_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Address(Generic[M_contra]):
    """A mailbox that takes messages of type M: an actor's name, and the process it lives in.

    Its text form is `actor@process`, for example `peer/<public key>/guard@control-0`.
    """

    actor: str
    process: str

    def send(self, message: M_contra) -> "Send":
        """Return the effect that puts `message` into this mailbox."""
        assert isinstance(message, msgspec.Struct)
        return Send(self, message)

    def __str__(self) -> str:
        return f"{self.actor}@{self.process}"


@dataclass(frozen=True, slots=True)
class Send:
    """Mail for another actor (or for oneself)."""

    to: Address[Any]
    message: msgspec.Struct


@dataclass(frozen=True, slots=True)
class Later:
    """Mail to oneself at `at` (CLOCK_BOOTTIME seconds).  A second Later of the same message type replaces the first."""

    at: float
    message: msgspec.Struct


@dataclass(frozen=True, slots=True)
class Cancel:
    """Forget the timer of this message type, also when its message already lies in the mailbox."""

    timer: type[msgspec.Struct]


Effect = Send | Later | Cancel


class Machine(Protocol):
    """What the shell needs of an actor's logic."""

    inbox: ClassVar[Any]
    """The union of message types that `handle` takes; mail of any other type is a dead letter."""

    @property
    def state(self) -> object:
        """What is true now: a frozen dataclass whose class name is the state's name in traces (a plain attribute)."""
        ...

    def handle(self, message: Any, now: float) -> list[Effect]:
        """Work on one message at `now` (CLOCK_BOOTTIME seconds)."""
        ...


@runtime_checkable
class Counting(Protocol):
    """A machine that counts what it did not do, or did often.  Optional beside Machine; status adds them up by role."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Return what was counted since the machine was made, by name."""
        ...


@runtime_checkable
class Starting(Protocol):
    """A machine that wants something before its first message, such as its first timer.  Optional beside Machine."""

    def start(self, now: float) -> list[Effect]:
        """Return what should happen first; called once for each machine, also for one made anew after a failure."""
        ...
