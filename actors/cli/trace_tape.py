"""`homing trace record`, `show`, `sequence`: mail kept in a file, read again, drawn."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from actors.cli.errors import WRONG_USE, CommandFailed, as_line
from actors.cli.reading import RING_LIMIT_S, Printer, known, parse_id, seconds_of
from actors.cli.report import find_peer, names_of
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import size
from actors.messages.overflow import TYPE_OF
from actors.trace.live import Taps, read_rings
from actors.trace.record import Record, encode_record
from actors.trace.render import Names
from actors.trace.select import Caused, Selection, newest, tag_of
from actors.trace.sequence import as_mermaid, as_text
from actors.trace.tape import Header, NotATape, Tape, encode_header
from config.keys import PublicKey

WAIT_S = 0.25
MEGA = 1_000_000
MAX_DRAWN = 500

PeerOption = Annotated[str | None, typer.Option("--peer", metavar="NAME|KEY", help="Only mail about this peer.")]
TypeOption = Annotated[str | None, typer.Option("--type", metavar="TYPES", help="Only these messages; with commas.")]
ActorOption = Annotated[str, typer.Option("--actor", metavar="ACTOR", help="Only mail to or from this actor.")]
CauseOption = Annotated[str | None, typer.Option("--cause", metavar="ID", help="Only this, and all that it caused.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="The past this far back (60s, 5m).")]


class TapeFile:
    """A tape that is written; beyond half its limit it goes on in a new file, and the one before becomes FILE.1."""

    def __init__(self, path: Path, header: Header, limit: int) -> None:
        self._path, self._head, self._half = path, encode_header(header), limit // 2
        self.records = 0
        self._file = self._open()

    def write(self, records: Iterable[Record]) -> None:
        """Keep these."""
        for record in records:
            data = encode_record(record)
            if self._size + len(data) > self._half and self._size > len(self._head):
                self._file.close()
                self._path.replace(f"{self._path}.1")
                self._file = self._open()
            self._file.write(data)
            self._size += len(data)
            self.records += 1
        self._file.flush()

    def close(self) -> None:
        """End it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _open(self) -> BinaryIO:
        file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        file.write(self._head)
        self._size = len(self._head)
        return file


def record(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep it; it must not exist yet.")],
    since: SinceOption = None,
    limit: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after this long (10s, 2m).")] = None,
    megabytes: Annotated[
        int, typer.Option("--limit", metavar="MB", min=1, max=100_000, help="Of both files, FILE and FILE.1.")
    ] = 64,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Keep the agent's mail in a file, until Ctrl-C; secrets are not in it.

    With --since it begins with what the processes remember.  At half of its limit the file becomes FILE.1, in place of
    the FILE.1 before it, and a new one begins.

    \b
    Example: homing trace record fault.tape
    Example: homing trace record fault.tape --since 10m --for 1s
    """
    limit_s = None if limit is None else seconds_of("--for", limit)
    since_s = None if since is None else seconds_of("--since", since)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    names = names_of(agent.snapshots()[0])
    now = boot_now()
    wall_offset_s = time.time() - now
    header = Header(node=agent.node, made_unix_s=now + wall_offset_s, wall_offset_s=wall_offset_s, names=names)
    try:
        tape = TapeFile(file, header, megabytes * MEGA)
    except FileExistsError:
        raise CommandFailed(f"{file} exists and is left as it is; choose another name") from None
    try:
        with Taps(agent.directory) as taps:
            if since_s is not None:
                past = read_rings(agent.directory, now - since_s, RING_LIMIT_S)
                tape.write(newest((one for ring in past.rings for one in ring.records if one.at < now), None))
            while agent.supervisor_pid() is not None and (limit_s is None or boot_now() < now + limit_s):
                tape.write(one for one in taps.read(WAIT_S, boot_now()) if one.at >= now)
            tape.write(one for one in taps.rest() if one.at >= now)
            if taps.lost:
                print(as_line(f"lost {taps.lost} records: this reader, or another, was too slow"), file=sys.stderr)
    except KeyboardInterrupt:
        pass
    finally:
        tape.close()
    print(f"{tape.records} records, {size(file.stat().st_size)} in {file}")


def show(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tape.")],
    peer: PeerOption = None,
    types: TypeOption = None,
    actor: ActorOption = "",
    cause: CauseOption = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="Only the last N.")] = None,
    dropped: Annotated[bool, typer.Option("--dropped", help="Only mail that no actor handled.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="The heartbeat too, and cancelled timers.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the mail that a tape holds; no agent is needed.

    Example: homing trace show fault.tape --peer laptop
    """
    with _tape(file) as (tape, names):
        wanted = Selection(
            peers=_peers(names, peer),
            types=_types(types),
            actor=actor,
            lost=dropped,
            stale_timers=everything,
            heartbeat=everything or bool(types or actor),
        )
        caused = None if cause is None else Caused(parse_id("--cause", cause))
        records = [one for one in tape if (caused is None or caused.admits(one)) and wanted.admits(one)]
        printer = Printer(names, json_output, tape.header.wall_offset_s)
        for one in newest(records, count):
            printer.show(one)
        _tell_missing(tape)
    if not printer.lines:
        raise CommandFailed("nothing on the tape matched")


def sequence(
    *,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A tape; without: the running agent.")] = None,
    since: SinceOption = None,
    peer: PeerOption = None,
    types: TypeOption = None,
    cause: CauseOption = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="For Mermaid, instead of as text.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Draw mail as a sequence diagram: of a tape, or of what the agent's processes remember (--since).

    Example: homing trace sequence --since 60s --peer laptop --mermaid
    """
    if (file is None) == (since is None):
        raise CommandFailed("give a tape, or --since TIME for the running agent", code=WRONG_USE)
    if file is not None:
        with _tape(file) as (tape, names):
            records, wall_offset_s = list(tape), tape.header.wall_offset_s
            _tell_missing(tape)
    else:
        agent = find_agent(run_directory, node)
        running_pid(agent)
        names, wall_offset_s = names_of(agent.snapshots()[0]), time.time() - boot_now()
        past = read_rings(agent.directory, boot_now() - seconds_of("--since", since or ""), RING_LIMIT_S)
        records = [one for ring in past.rings for one in ring.records]
    wanted = Selection(peers=_peers(names, peer), types=_types(types), stale_timers=False, heartbeat=bool(types))
    caused = None if cause is None else Caused(parse_id("--cause", cause))
    ordered = newest(records, None)
    drawn = [one for one in ordered if (caused is None or caused.admits(one)) and wanted.admits(one)]
    if not drawn:
        raise CommandFailed(f"nothing matched among {len(records)} records")
    if len(drawn) > MAX_DRAWN:
        print(as_line(f"drawn are the last {MAX_DRAWN} of {len(drawn)}; --peer or --type narrow it"), file=sys.stderr)
    last = drawn[-MAX_DRAWN:]
    for text in as_mermaid(last, names) if mermaid else as_text(last, names, wall_offset_s):
        print(text)


@contextmanager
def _tape(path: Path) -> Iterator[tuple[Tape, Names]]:
    with path.open("rb") as file:
        try:
            tape = Tape(file)
        except NotATape as error:
            raise CommandFailed(f"{path}: {error}") from None
        yield tape, tape.header.names


def _tell_missing(tape: Tape) -> None:
    if tape.unreadable:
        print(as_line(f"left out {tape.unreadable} items that this version cannot read"), file=sys.stderr)
    if tape.cut:
        print(as_line("the tape ends within a record; what is whole is shown"), file=sys.stderr)


def _peers(names: Names, wanted: str | None) -> frozenset[PublicKey]:
    if wanted is None:
        return frozenset()
    found = find_peer(dict(names), wanted)
    if not found:
        raise CommandFailed(f"no peer {wanted[:44]}; known are: {', '.join(sorted(names.values())[:20]) or 'none'}")
    return frozenset(found)


def _types(text: str | None) -> frozenset[str]:
    wanted = frozenset(tag_of(name) for name in (text or "").split(",") if name.strip())
    for tag in wanted:
        known("--type", tag, TYPE_OF, "message type")
    return wanted
