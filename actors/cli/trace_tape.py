"""`homing trace show` and `sequence`: mail that was kept in a file, read again, drawn."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from actors.cli.errors import WRONG_USE, CommandFailed, as_line
from actors.cli.reading import RING_LIMIT_S, Printer, known, parse_id
from actors.cli.report import find_peer, names_of
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import seconds_of, size
from actors.messages.overflow import TYPE_OF
from actors.trace.live import read_rings
from actors.trace.page import page
from actors.trace.record import Record
from actors.trace.render import Names
from actors.trace.select import Caused, Selection, newest, tag_of
from actors.trace.sequence import as_mermaid, as_text
from actors.trace.tape import NotATape, Tape
from config.keys import PublicKey

WAIT_S = 0.25
MEGA = 1_000_000
MAX_DRAWN = 500
MAX_TAGS = 12
MAX_ON_A_PAGE = 5000

PeerOption = Annotated[str | None, typer.Option("--peer", metavar="NAME|KEY", help="Only mail about this peer.")]
TypeOption = Annotated[str | None, typer.Option("--type", metavar="TYPES", help="Only these messages; with commas.")]
ActorOption = Annotated[str, typer.Option("--actor", metavar="ACTOR", help="Only mail to or from this actor.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="The past this far back (60s, 5m).")]
CauseOption = Annotated[str | None, typer.Option("--cause", metavar="ID", help="Only this, and all that it caused.")]


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
    with opened(file) as (tape, names):
        every = list(tape)
        wanted = Selection(
            peers=peers_of(names, peer),
            types=_types(types),
            actor=actor,
            lost=dropped,
            stale_timers=everything,
            heartbeat=everything or bool(types or actor),
        )
        caused = None if cause is None else Caused(parse_id("--cause", cause))
        records = [one for one in every if (caused is None or caused.admits(one)) and wanted.admits(one)]
        printer = Printer(names, json_output, tape.header.wall_offset_s)
        for one in newest(records, count):
            printer.show(one)
        tell_missing(file, tape)
    if not printer.lines:
        raise CommandFailed(f"nothing on the tape matched{there_is(every)}")


def sequence(
    *,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A tape; without: the running agent.")] = None,
    since: SinceOption = None,
    peer: PeerOption = None,
    types: TypeOption = None,
    cause: CauseOption = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="For Mermaid, instead of as text.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="As a page to share, into this new file.")
    ] = None,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Draw mail as a sequence diagram: of a tape, or of what the agent's processes remember (--since).

    A page (--html) is one file that needs no network: it zooms, filters, and shows a message's fields on a click.

    \b
    Example: homing trace sequence --since 60s --peer laptop --mermaid
    Example: homing trace sequence fault.tape --html fault.html
    """
    if mermaid and html is not None:
        raise CommandFailed("--mermaid and --html are two kinds of diagram; give one of them", code=WRONG_USE)
    if (file is None) == (since is None):
        raise CommandFailed("give a tape, or --since TIME for the running agent", code=WRONG_USE)
    if file is not None:
        with opened(file) as (tape, names):
            records, wall_offset_s = list(tape), tape.header.wall_offset_s
            tell_missing(file, tape)
    else:
        agent = find_agent(run_directory, node)
        running_pid(agent)
        names, wall_offset_s = names_of(agent.snapshots()[0]), time.time() - boot_now()
        past = read_rings(agent.directory, boot_now() - seconds_of("--since", since or ""), RING_LIMIT_S)
        records = [one for ring in past.rings for one in ring.records]
    wanted = Selection(peers=peers_of(names, peer), types=_types(types), stale_timers=False, heartbeat=bool(types))
    caused = None if cause is None else Caused(parse_id("--cause", cause))
    ordered = newest(records, None)
    drawn = [one for one in ordered if (caused is None or caused.admits(one)) and wanted.admits(one)]
    if not drawn:
        raise CommandFailed(f"nothing matched{there_is(records)}")
    most = MAX_DRAWN if html is None else MAX_ON_A_PAGE
    if len(drawn) > most:
        print(as_line(f"drawn are the last {most} of {len(drawn)}; --peer or --type narrow it"), file=sys.stderr)
    last = drawn[-most:]
    if html is not None:
        _write_page(
            html,
            page(last, names, wall_offset_s, f"{len(last)} messages of {file.name if file else 'the running agent'}"),
        )
        return
    for text in as_mermaid(last, names) if mermaid else as_text(last, names, wall_offset_s):
        print(text)


def _write_page(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            path.chmod(0o600)  # whose addresses are in it may decide who sees it
            file.write(text)
    except FileExistsError:
        raise CommandFailed(f"{path} exists and is left as it is; choose another name") from None
    print(f"a page of {size(len(text.encode()))} in {path}")


@contextmanager
def opened(path: Path) -> Iterator[tuple[Tape, Names]]:
    """Open a tape; its peers' names are whole when it has been read.  Raises CommandFailed."""
    with path.open("rb") as file:
        try:
            tape = Tape(file)
        except NotATape as error:
            raise CommandFailed(f"{path}: {error}") from None
        yield tape, tape.names


def tell_missing(path: Path, tape: Tape) -> None:
    """Say what of a tape that was read could not be."""
    if tape.unreadable:
        print(as_line(f"{path}: left out {tape.unreadable} items that this version cannot read"), file=sys.stderr)
    if tape.cut:
        print(as_line(f"{path} ends, or is damaged, within a record; used is what stands before"), file=sys.stderr)


def there_is(records: Sequence[Record]) -> str:
    """Return what there was, for a filter that let none of it through."""
    if not records:
        return ": there is no mail at all"
    tags = sorted({record.tag for record in records} - {""})
    more = ", ..." if len(tags) > MAX_TAGS else ""
    return f" among {len(records)} records; their types are: {', '.join(tags[:MAX_TAGS])}{more}"


def peers_of(names: Names, wanted: str | None) -> frozenset[PublicKey]:
    """Return the peers that are meant; none: all of them.  Raises CommandFailed."""
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
