"""Post offices in a run directory of their own, given their turns by the test; and machines that do little."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.effects import Address, Effect
from actors.messages.process import GapFound
from actors.runtime.post_office import PostOffice

PATIENCE_S = 20.0  # after which something is broken; nothing waits this long when it is not


class Note(msgspec.Struct, frozen=True, kw_only=True, tag="note"):
    number: int
    text: str = ""


class Poke(msgspec.Struct, frozen=True, kw_only=True, tag="poke"):
    pass


class LookDue(msgspec.Struct, frozen=True, kw_only=True, tag="look_due"):
    number: int = 0


@dataclass(frozen=True, slots=True)
class Having:
    """What a Collector has."""

    count: int


class Collector:
    """Keeps what it hears."""

    inbox: ClassVar[Any] = Note | LookDue | GapFound

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @property
    def state(self) -> Having:
        return Having(len(self.heard))

    @property
    def numbers(self) -> list[int]:
        return [message.number for message in self.heard]

    def handle(self, message: Note | LookDue | GapFound, now: float) -> list[Effect]:
        self.heard.append(message)
        return []


@dataclass(frozen=True, slots=True)
class Calm:
    """The state of a machine that has none."""


class Doing:
    """Does what a function says with each Note, Poke or LookDue."""

    inbox: ClassVar[Any] = Note | Poke | LookDue

    def __init__(self, does: Callable[[Any, float], list[Effect]], first: list[Effect] | None = None) -> None:
        self._does, self._first = does, first or []
        self.state = Calm()

    def start(self, now: float) -> list[Effect]:
        return self._first

    def handle(self, message: Any, now: float) -> list[Effect]:
        return self._does(message, now)


class Clock:
    """Stands still unless told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Town:
    """Some post offices."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.clock = Clock()
        self.offices: list[PostOffice] = []

    def office(self, process: str = "control-0", incarnation: int = 1, **settings: Any) -> PostOffice:
        made = PostOffice(process, incarnation, self.run_dir, clock=self.clock, **settings)
        self.offices.append(made)
        return made

    def pair(self) -> tuple[PostOffice, PostOffice]:
        """Return two that have a link to each other."""
        control, packet = self.office("control-0"), self.office("packet")
        control.connect("packet", 1)
        packet.connect("control-0", 1)
        return control, packet

    def close(self, office: PostOffice) -> None:
        self.offices.remove(office)
        office.close()

    def until(self, reached: Callable[[], bool]) -> None:
        """Give all of them turns until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            busy = [office.turn() for office in self.offices]
            if not any(busy):
                time.sleep(0.000_1)  # a frame crosses a socket
            assert time.monotonic() < deadline, "it does not come to that"

    def settle(self) -> None:
        """Give turns until no local mail is left."""
        while sum(office.turn() for office in self.offices):
            pass


@contextmanager
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="homing-town-") as directory:
        made = Town(Path(directory))
        try:
            yield made
        finally:
            for office in made.offices:
                office.close()


def here(actor: str, process: str = "control-0") -> Address[Any]:
    return Address(actor, process)
