"""`homing trace`: the mail between the agent's actors, as it comes or as it was."""

import sys
import time
from typing import Annotated

import typer

from actors.cli.errors import WRONG_USE, CommandFailed, as_line
from actors.cli.report import find_peer, names_of
from actors.cli.running import (
    RUN_DIRECTORY,
    Agent,
    NodeOption,
    RunDirectoryOption,
    boot_now,
    find_agent,
    running_pid,
)
from actors.cli.words import InvalidDuration, duration, parse_duration_s
from actors.trace.live import Taps, read_rings
from actors.trace.record import Record
from actors.trace.render import Names, as_json, render
from actors.trace.select import Cap, Selection, newest, sender_of, tag_of
from config.keys import InvalidKey, PublicKey, public_key

MAX_LINES_PER_S = 300
RING_LIMIT_S = 2.0
WAIT_S = 0.25
MAX_NAMES, MAX_NAMES_SHOWN = 500, 12


def run(
    *,
    peer: Annotated[
        str | None,
        typer.Option("--peer", metavar="NAME|KEY", help="Only mail about this peer (or what its key begins with)."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", metavar="TYPE", help="Only these messages: offer_received, RelayLost; repeat, or use commas."
        ),
    ] = None,
    actor: Annotated[
        str, typer.Option("--actor", metavar="ACTOR", help="Only mail to or from it: guard, relays, signal, tunnels.")
    ] = "",
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="The past this far back (60s, 5m), not what comes.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="End after N lines; with --since: the last N.")
    ] = None,
    limit: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after this long (10s, 2m).")] = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Only mail that no actor handled, with the reason.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="The heartbeat too: pings, snapshots, and the timers of both.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Show the mail between the agent's actors: as it comes, or with --since as it was.

    A line: time, from -> to, message and its fields, the receiver's state before -> after, #id <- #cause.  At most 300
    lines a second are shown as they come; what was suppressed is counted.  The heartbeat is left out unless it is asked
    for (--all, --type, --actor).  Watching never slows the agent down.

    \b
    Example: homing trace --peer laptop
    Example: homing trace --since 60s --type relay_lost,path_dead,send_offer
    """
    if since is not None and limit is not None:
        raise CommandFailed("--for is for what comes, --since for what was; give one of them", code=WRONG_USE)
    since_s = None if since is None else _seconds("--since", since)
    limit_s = None if limit is None else _seconds("--for", limit)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    names: Names = names_of(agent.snapshots()[0])
    selection = Selection(
        peers=frozenset() if peer is None else _peers(peer, names),
        types=frozenset(tag_of(name) for text in types or () for name in text.split(",") if name.strip()),
        actor=actor,
        lost=dropped,
        heartbeat=everything or bool(types or actor),
    )
    reader = _Reader(agent, selection, count, _Printer(names, json_output, time.time() - boot_now()))
    try:
        if since_s is None:
            reader.watch(limit_s)
        else:
            reader.look_back(since_s)
    except KeyboardInterrupt:
        sys.stdout.flush()
        return
    if not reader.printer.lines:
        raise CommandFailed(f"nothing matched{reader.went_by()}")


class _Printer:
    """Prints records as lines, and counts them."""

    def __init__(self, names: Names, as_objects: bool, wall_offset_s: float) -> None:
        self._names, self._as_objects, self._wall_offset_s = names, as_objects, wall_offset_s
        self.lines = 0

    def show(self, record: Record) -> None:
        self.lines += 1
        if self._as_objects:
            print(as_json(record, self._wall_offset_s))
        else:
            print(render(record, self._names, self._wall_offset_s))


class _Reader:
    """Reads an agent's records and prints those that are wanted."""

    def __init__(self, agent: Agent, selection: Selection, count: int | None, printer: _Printer) -> None:
        self._agent, self._selection, self._count, self.printer = agent, selection, count, printer
        self._records = 0
        self._tags: set[str] = set()
        self._actors: set[str] = set()

    def watch(self, limit_s: float | None) -> None:
        """Print records as they come, until there were enough, time is up or the agent ends."""
        until = None if limit_s is None else boot_now() + limit_s
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
        wanted = (record for ring in past.rings for record in ring.records if self._wants(record))
        for record in newest(wanted, self._count):
            self.printer.show(record)

    def went_by(self) -> str:
        """Return what there was, for a filter that let none of it through."""
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
        return self._selection.admits(record)

    def _enough(self) -> bool:
        return self._count is not None and self.printer.lines >= self._count


def _tell_missing(suppressed: int, lost: int) -> None:
    if suppressed:
        print(
            as_line(f"suppressed {suppressed} lines (over {MAX_LINES_PER_S} a second; --type or --peer narrow it)"),
            file=sys.stderr,
        )
    if lost:
        print(as_line(f"lost {lost} records: this reader, or another, was too slow"), file=sys.stderr)


def _peers(wanted: str, names: Names) -> frozenset[PublicKey]:
    found = find_peer(dict(names), wanted)
    if found:
        return frozenset(found)
    try:
        return frozenset({public_key(wanted)})
    except InvalidKey:
        known = ", ".join(sorted(names.values())[:20]) or "none yet"
        raise CommandFailed(f"no peer {wanted[:44]}; known are: {known}") from None


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration_s(text)
    except InvalidDuration as error:
        raise CommandFailed(f"{option}: {error}", code=WRONG_USE) from None
