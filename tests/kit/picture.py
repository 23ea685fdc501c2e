"""The mail of a bench as the sequence diagram that `homing trace sequence` draws: for a test that failed."""

from collections import deque
from collections.abc import Sequence

import msgspec

from actors.effects import Machine, Send
from actors.trace.record import FLAG_EXTERNAL, FLAG_TIMER, Record
from actors.trace.select import tag_of
from actors.trace.sequence import as_text

MAX_MESSAGES = 100  # the last ones
MAX_BENCHES = 8  # the last ones of a test
_open: deque["Picture"] = deque(maxlen=MAX_BENCHES)


class Picture:
    """What one machine was told, and what it sent."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._name = machine, tag_of(type(machine).__name__)
        self._records: deque[Record] = deque(maxlen=MAX_MESSAGES)
        self._state = _state(machine)
        _open.append(self)

    def handled(self, message: msgspec.Struct, at: float, sent: Sequence[Send], *, timer: bool) -> None:
        """Keep a message, and what came of it."""
        before, self._state = self._state, _state(self._machine)
        flags = FLAG_TIMER if timer else FLAG_EXTERNAL
        self._records.append(_record(message, at, to=self._name, flags=flags, before=before, after=self._state))
        for each in sent:
            sender = f"{self._name}@bench"
            self._records.append(_record(each.message, at, to=each.to.actor, sender=sender))

    def lines(self) -> list[str]:
        """Return the diagram; nothing when there was no mail."""
        return list(as_text(list(self._records), {}, 0.0)) if self._records else []


def of_this_test() -> list[str]:
    """Return the diagrams of the benches that a test has used since `forget`."""
    return [line for picture in _open for line in (*picture.lines(), "")]


def forget() -> None:
    """A test begins."""
    _open.clear()


def _state(machine: Machine) -> str:
    return type(machine.state).__name__


def _record(
    message: msgspec.Struct, at: float, *, to: str, sender: str = "", flags: int = 0, before: str = "", after: str = ""
) -> Record:
    tag, body = str(message.__struct_config__.tag), msgspec.msgpack.encode(message)
    return Record(
        at=at, process="bench", kind="delivered", to=to, sender=sender, flags=flags, tag=tag, body=body,
        before=before, after=after,
    )  # fmt: skip
