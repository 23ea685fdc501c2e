"""`homing trace merge`: the tapes of two machines as one."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec import structs

from actors.cli.errors import CommandFailed, as_line
from actors.cli.trace_record import MEGA, TapeFile
from actors.cli.trace_tape import opened, tell_missing
from actors.cli.words import duration, size
from actors.trace.merge import merge as merged_of
from actors.trace.record import Record
from actors.trace.tape import Header

MAX_RECORDS = 2_000_000  # of a tape; they are sorted in memory


def merge(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help="The tape of one machine; the result has its clock.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The tape of the other.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to keep the result; it must not exist yet.")
    ] = Path("merged.tape"),
) -> None:
    """Join the tapes of two machines that are each other's peers, kept at the same time.

    Offers and answers carry the id of the mail that they left with, so what a message caused on the other machine
    hangs below it, and the clocks are set by when offers left and came.  The result is a tape: `show`, `sequence` read
    it.

    \b
    Example: homing trace merge alice.tape bob.tape -o both.tape
    Example: homing trace sequence both.tape --cause 615855
    """
    one, other = _read(first), _read(second)
    common = {record.id for record in one[1] if record.id} & {record.id for record in other[1] if record.id}
    if common:
        raise CommandFailed(f"{first} and {second} are of the same agent: {len(common)} messages are on both")
    whole = merged_of(one, other)
    try:
        tape = TapeFile(output, whole.header, 2 * MAX_RECORDS * MEGA)
    except FileExistsError:
        raise CommandFailed(f"{output} exists and is left as it is; choose another with --output") from None
    try:
        tape.write(whole.records)
    finally:
        tape.close()
    print(f"{tape.records} records, {size(output.stat().st_size)} in {output}; {_words(whole.crossings)} join them")
    ahead = "ahead of" if whole.offset_s >= 0 else "behind"
    apart = f"the clock of {whole.header.nodes[1]} is {duration(abs(whole.offset_s))} {ahead} {whole.header.nodes[0]}'s"
    if whole.uncertain_s is None:
        why = "offers went one way only" if whole.crossings else "no offer of the one is on the other"
        print(as_line(f"{apart} by their wall clocks, which may be wrong: {why}"), file=sys.stderr)
    else:
        print(f"{apart}, give or take {duration(whole.uncertain_s)}")


def _read(path: Path) -> tuple[Header, list[Record]]:
    with opened(path) as (tape, names):
        records = [record for _, record in zip(range(MAX_RECORDS), tape, strict=False)]
        tell_missing(path, tape)
        if tape.header.nodes:
            raise CommandFailed(f"{path} joins two machines already")
        if not records:
            raise CommandFailed(f"{path}: there is no mail on it")
        return structs.replace(tape.header, names=names), records


def _words(count: int) -> str:
    return f"{count} offer or answer" if count == 1 else f"{count} offers and answers"
