"""Feeds a tape's mail to the machines that once handled it, and finds the first answer that differs.

A tape tells how a peer's six machines stood at a time (tape.Machines); from there on each message that they handled is
handled again, in the same order, at the same `now`.  An answer is the mail that was sent, the timers that were set, and
the name of the state after.  What was drawn:

    jitter          the machines' own Draws, which stand as they stood (draws.py)
    ids, tokens     taken from the recorded answer; passwords are made up, and secrets are not compared

A stretch ends where the tape does, or mail is missing on it, or the machines were made anew; the next state that the
tape tells begins another.
"""

import difflib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.effects import Cancel, Effect, Later, Machine, Send
from actors.messages.redact import MARK, Redactor
from actors.trace.freeze import Unfrozen, thaw
from actors.trace.record import FLAG_TIMER, Record, fields_of
from actors.trace.tape import Lost, Machines, Note
from transport.errors import RemoteProtocolError

SESSION_LEN, UFRAG_LEN, TOKEN_LEN = 5, 16, 8  # bytes that machines draw for them (ice_credentials.py, path_watch.py)
LETTER_BASE = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")}
EARLY_S = 0.1  # that a timer may fire before it is due, for those that are due together
RENEWED = frozenset({"start_peer", "stop_peer"})
UNKNOWN = "(not on the tape)"
HIDDEN = "<hidden>"


class NothingToReplay(RemoteProtocolError):
    """The tape holds no state of a machine to begin from; the message says why."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A message that is answered differently than it was."""

    record: Record
    diff: tuple[str, ...]  # lines, as of a unified diff: - as it was, + as it is


@dataclass(slots=True)
class Replayed:
    """How one machine did."""

    actor: str
    handled: int = 0  # messages
    first: Difference | None = None
    ended: list[str] = field(default_factory=list)  # why its stretches ended before the tape did


def replay(records: Sequence[Record], notes: Sequence[Note]) -> list[Replayed]:
    """Return how each machine does whose state the tape tells.  Raises NothingToReplay."""
    states = sorted((note for note in notes if isinstance(note, Machines)), key=lambda note: note.at)
    if not states:
        raise NothingToReplay("it tells of no machine's state; homing trace record notes it as it begins")
    losses = [note for note in notes if isinstance(note, Lost)]
    known = {record.id: record for record in records if record.id}
    results: dict[str, Replayed] = {}
    for number, state in enumerate(states):
        until = _until(state, states[number + 1 :])
        _Stretch(state, until, losses, known, results).run(records)
    return list(results.values())


def _until(state: Machines, later: Iterable[Machines]) -> float:
    """Return when the tape tells of the same machines again."""
    actors = _actors(state)
    return next((each.at for each in later if actors & _actors(each)), float("inf"))


def _actors(state: Machines) -> frozenset[str]:
    roots = state.frozen.get("roots")
    return frozenset(roots) if isinstance(roots, dict) else frozenset()


class _Ended(Exception):
    """The stretch ends here; the message says why."""


class _Stretch:
    """The mail from one state to the next."""

    def __init__(
        self,
        state: Machines,
        until: float,
        losses: Sequence[Lost],
        known: Mapping[int, Record],
        results: dict[str, Replayed],
    ) -> None:
        self._state, self._until, self._known, self._results = state, until, known, results
        self._missing_from = min((loss.since for loss in losses if state.at < loss.at), default=float("inf"))
        self._drawn = _Drawn()
        self._told: dict[str, str] = {}  # actor -> state after its last message, by the tape
        self._machines: dict[str, Machine] = {}

    def run(self, records: Iterable[Record]) -> None:
        """Handle this stretch's mail."""
        actors = _actors(self._state)
        results = {actor: self._results.setdefault(actor, Replayed(actor)) for actor in sorted(actors)}
        try:
            self._machines = thaw(self._state.frozen, self._drawn)
            for record in records:
                if record.process == self._state.process and self._state.at <= record.at < self._until:
                    self._take(record, actors)
        except (_Ended, Unfrozen) as reason:
            for result in results.values():
                result.ended.append(str(reason))

    def _take(self, record: Record, actors: frozenset[str]) -> None:
        if record.at >= self._missing_from:
            raise _Ended("mail is missing from here on: whoever kept the tape was too slow")
        if record.incarnation != self._state.incarnation:
            raise _Ended("the process was started anew")
        if record.tag in RENEWED and f"peer/{_peer_of(record)}/conn" in actors:
            raise _Ended("the machines were made anew")
        if record.to in actors and record.kind in {"delivered", "failed"}:
            self._handle(record)

    def _handle(self, record: Record) -> None:
        machine, result = self._machines[record.to], self._results[record.to]
        stood = self._told.get(record.to, _name(machine))
        if record.before != stood:
            raise _Ended(f"mail is missing before #{record.id}: the state was {stood}, then {record.before}")
        if not record.body:
            raise _Ended(f"#{record.id} {record.tag} was too long to be kept")
        self._told[record.to] = record.after
        result.handled += 1
        self._drawn.expect(self._caused(record))
        was, now = self._answers(record, machine)
        if was != now and result.first is None:
            diff = list(difflib.unified_diff(was, now, lineterm="", n=9))[2:]
            result.first = Difference(record, tuple(line for line in diff if not line.startswith("@@")))
        if record.kind == "failed":
            raise _Ended("the machine failed")

    def _answers(self, record: Record, machine: Machine) -> tuple[list[str], list[str]]:
        """Return the answer as it was, and as it is, a line each part."""
        try:
            message = msgspec.msgpack.decode(record.body, type=machine.inbox)
            effects = machine.handle(message, record.at)
        except Exception as error:  # a machine of another version may do anything
            raised = f"raised {type(error).__name__}: {error}"
            if record.kind == "failed":
                return ["raised"], ["raised"]
            return [*self._recorded(record, []), f"state {record.after}"], [raised]
        asked = [effect for effect in effects if not isinstance(effect, Cancel)]
        now = [_line(effect, record.at) for effect in asked]
        if record.kind == "failed":
            return [f"raised {record.reason}"], [*now, f"state {_name(machine)}"]
        was = self._recorded(record, asked)
        return [*was, f"state {record.after}"], [*now, f"state {_name(machine)}"]

    def _caused(self, record: Record) -> Iterator[Record]:
        for number in range(record.sent_first, record.sent_first + record.sent_count):
            if number in self._known:
                yield self._known[number]

    def _recorded(self, record: Record, asked: Sequence[Send | Later]) -> list[str]:
        """Return what the tape tells of the answer; where it does not tell, what the machine says now."""
        lines = []
        for place in range(record.sent_count):
            sent = self._known.get(record.sent_first + place)
            now = asked[place] if place < len(asked) else None
            if sent is None:
                lines.append(UNKNOWN if now is None else _line(now, record.at))
            else:
                lines.append(_recorded_line(sent, now, record.at))
        return lines


class _Drawn:
    """Stands in for entropy: gives what the tape shows was drawn."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[bytes]] = {}
        self._made_up = 0

    def expect(self, caused: Iterable[Record]) -> None:
        """Take what the next message is known to draw."""
        self._waiting = {length: deque() for length in (SESSION_LEN, UFRAG_LEN, TOKEN_LEN)}
        for record in caused:
            told = fields_of(record)
            session, ice, token = told.get("session"), told.get("ice"), told.get("token")
            if isinstance(token, int) and 0 <= token < 1 << (8 * TOKEN_LEN):
                self._waiting[TOKEN_LEN].append(token.to_bytes(TOKEN_LEN, "big"))
            if record.tag == "local_ice_changed" and isinstance(session, bytes):
                self._waiting[SESSION_LEN].append(session)
                ufrag = ice.get("ufrag") if isinstance(ice, dict) else None
                if isinstance(ufrag, str):
                    self._waiting[UFRAG_LEN].append(bytes(LETTER_BASE.get(letter, 0) for letter in ufrag))

    def __call__(self, length: int) -> bytes:
        waiting = self._waiting.get(length)
        if waiting:
            return waiting.popleft()
        self._made_up += 1
        return self._made_up.to_bytes(8, "big").rjust(length, b"\0")[-length:]


def _name(machine: Machine) -> str:
    return type(machine.state).__name__


def _peer_of(record: Record) -> str:
    told = fields_of(record)
    settings = told.get("settings")
    return str(settings.get("peer") if isinstance(settings, dict) else told.get("peer"))


def _recorded_line(sent: Record, now: Send | Later | None, at: float) -> str:
    """Return a sent message as the tape tells it."""
    if not sent.flags & FLAG_TIMER:
        if not sent.body and isinstance(now, Send) and _tag(now) == sent.tag:
            return _line(now, at)  # too long to be kept: its type is all that is known
        return _words(f"send {sent.to}", sent.tag, fields_of(sent))
    in_time = isinstance(now, Later) and sent.sent_at + EARLY_S >= now.at  # it came no sooner than it is due now
    after_s = now.at - at if isinstance(now, Later) and in_time else sent.sent_at - at
    return _words(f"timer {after_s:.3f}s", sent.tag, fields_of(sent))


def _line(effect: Effect, at: float) -> str:
    """Return an effect as it is now."""
    assert not isinstance(effect, Cancel)
    told = msgspec.msgpack.decode(Redactor(b"").redact(effect.message, msgspec.msgpack.encode(effect.message)))
    told.pop("type", None)
    what = f"send {effect.to.actor}" if isinstance(effect, Send) else f"timer {effect.at - at:.3f}s"
    return _words(what, _tag(effect), told)


def _tag(effect: Send | Later) -> str:
    return str(type(effect.message).__struct_config__.tag)


def _words(what: str, tag: str, fields: Mapping[str, Any]) -> str:
    return " ".join((what, tag, *(f"{name}={_plain(value)}" for name, value in fields.items())))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], bytes) and value[0].startswith(MARK):
            return HIDDEN
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.hex() if isinstance(value, bytes) else value
