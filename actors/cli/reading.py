"""Reads an agent's records, as they come or as they were, and prints those that are wanted."""

import difflib
import sys
from collections.abc import Collection

from actors.cli.errors import WRONG_USE, CommandFailed, as_line
from actors.cli.running import Agent, boot_now
from actors.cli.words import duration
from actors.trace.live import Taps, read_rings
from actors.trace.record import Record
from actors.trace.render import Names, as_json, render
from actors.trace.select import Cap, Caused, Selection, newest, sender_of

MAX_LINES_PER_S = 300
RING_LIMIT_S = 2.0
WAIT_S = 0.25
QUIET_S = 2.0  # without a line, before it is said what is waited for
MAX_NAMES, MAX_NAMES_SHOWN = 500, 12
MAX_NAMES_LISTED = 30
MAX_ID_DIGITS = 19


class Printer:
    """Prints records as lines, and counts them."""

    def __init__(self, names: Names, as_objects: bool, wall_offset_s: float) -> None:
        self._names, self._as_objects, self._wall_offset_s = names, as_objects, wall_offset_s
        self.lines = 0

    def show(self, record: Record) -> None:
        """Print a record."""
        self.lines += 1
        if self._as_objects:
            print(as_json(record, self._wall_offset_s))
        else:
            print(render(record, self._names, self._wall_offset_s))


class Reader:
    """Reads an agent's records and prints those that are wanted."""

    def __init__(
        self, agent: Agent, selection: Selection, caused: Caused | None, count: int | None, printer: Printer
    ) -> None:
        self._agent, self._selection, self._caused = agent, selection, caused
        self._count, self.printer = count, printer
        self._records = 0
        self._tags: set[str] = set()
        self._actors: set[str] = set()

    def watch(self, limit_s: float | None, filters: str = "") -> None:
        """Print records as they come, until there were enough, time is up or the agent ends.

        When it stays quiet, `filters` says for what it waits.
        """
        began_at = boot_now()
        until = None if limit_s is None else began_at + limit_s
        cap, lost = Cap(MAX_LINES_PER_S), 0
        with Taps(self._agent.directory) as taps:
            while self._agent.supervisor_pid() is not None:
                now = boot_now()
                wait_s = WAIT_S if until is None else min(WAIT_S, until - now)
                if wait_s <= 0:
                    break
                for record in taps.read(wait_s, now):
                    if self._wants(record) and cap.admits(now):
                        self.printer.show(record)
                    if self._enough():
                        return
                if not self.printer.lines and began_at + QUIET_S <= now:
                    began_at = float("inf")
                    print(as_line(f"waiting for mail{filters}; {self._records} others went by"), file=sys.stderr)
                _tell_missing(cap.take_suppressed(now), taps.lost - lost)
                lost = taps.lost
                sys.stdout.flush()
            for record in taps.rest():
                if self._wants(record) and not self._enough():
                    self.printer.show(record)
            _tell_missing(cap.take_suppressed(boot_now(), end=True), taps.lost - lost)
        if until is None or boot_now() < until:
            print(as_line(f"the agent {self._agent.node} has ended"), file=sys.stderr)

    def look_back(self, since_s: float) -> None:
        """Print the records of the last `since_s` seconds that the processes still hold."""
        since = boot_now() - since_s
        past = read_rings(self._agent.directory, since, RING_LIMIT_S)
        for process in past.silent:
            told = f"{process} did not answer within {RING_LIMIT_S:g} s; its mail is missing here"
            print(as_line(told), file=sys.stderr)
        for ring in past.rings:
            if ring.overwritten and ring.records and ring.records[0].at > since + 1.0:
                held = duration(boot_now() - ring.records[0].at)
                print(as_line(f"{ring.process} holds no more than the last {held}"), file=sys.stderr)
        everything = newest((record for ring in past.rings for record in ring.records), None)
        for record in newest((record for record in everything if self._wants(record)), self._count):
            self.printer.show(record)

    def went_by(self) -> str:
        """Return what there was, for filters that let none of it through."""
        if not self._records:
            return ": there was no mail at all"
        what, names = "types", sorted(self._tags - {""})
        wanted = self._selection.actor.rpartition("/")[2]
        if wanted and wanted not in self._actors:
            what, names = "actors", sorted(self._actors - {""})
        more = ", ..." if len(names) > MAX_NAMES_SHOWN else ""
        return f" among {self._records} records; their {what} are: {', '.join(names[:MAX_NAMES_SHOWN])}{more}"

    def _wants(self, record: Record) -> bool:
        self._records += 1
        if len(self._tags) < MAX_NAMES:
            self._tags.add(record.tag)
        if len(self._actors) < MAX_NAMES:
            self._actors.update((record.to.rpartition("/")[2], sender_of(record).rpartition("/")[2]))
        return (self._caused is None or self._caused.admits(record)) and self._selection.admits(record)

    def _enough(self) -> bool:
        return self._count is not None and self.printer.lines >= self._count


def _tell_missing(suppressed: int, lost: int) -> None:
    if suppressed:
        print(
            as_line(f"suppressed {suppressed} lines (over {MAX_LINES_PER_S} a second; --type or --peer narrow it)"),
            file=sys.stderr,
        )
    if lost:
        print(as_line(f"lost {lost} records: this reader was too slow"), file=sys.stderr)


def parse_id(option: str, text: str) -> int:
    """Return a message's id as lines show it (#123456), or whole.  Raises CommandFailed."""
    digits = text.strip().removeprefix("#")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_ID_DIGITS):
        told = f"{option}: {text[:40]!r} is no id; the number behind # in a line of `homing trace` would do"
        raise CommandFailed(told, code=WRONG_USE)
    return int(digits)


def known(option: str, wanted: str, names: Collection[str], what: str) -> None:
    """Refuse a name that no record could have.  Raises CommandFailed."""
    if wanted in names:
        return
    near = difflib.get_close_matches(wanted, names, n=5)
    more = f", ... ({len(names)}; a shell completes them: homing completion)" if len(names) > MAX_NAMES_LISTED else ""
    there = f"there are: {', '.join(sorted(names)[:MAX_NAMES_LISTED])}{more}"
    listed = f"is it {' or '.join(near)}?" if near else there
    raise CommandFailed(f"{option}: {wanted[:40]} is no {what}; {listed}", code=WRONG_USE)
