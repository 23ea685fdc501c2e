"""`homing trace replay`: a tape's mail fed to the machines once more."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from actors.addresses import PeerAddresses
from actors.cli.errors import WRONG_USE, CommandFailed
from actors.cli.reading import known
from actors.cli.trace_tape import opened, peers_of, tell_missing
from actors.trace.render import Names, actor_name, render
from actors.trace.replay import NothingToReplay, Replayed
from actors.trace.replay import replay as replayed
from config.text import one_line

MAX_DIFF_LINES = 60
ROLES = tuple(field.name for field in fields(PeerAddresses))


def replay(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tape that `homing trace record` has kept.")],
    actor: Annotated[
        str, typer.Option("--actor", metavar="ACTOR", help="Only this one of a peer's six: guard, bob/guard.")
    ] = "",
    peer: Annotated[str | None, typer.Option("--peer", metavar="NAME|KEY", help="Only this peer's.")] = None,
) -> int:
    """Have this version's machines handle a tape's mail, and show the first answer of each that is another.

    The machines begin as they stood when the tape began; each message comes in the same order, at the same time.  An
    answer is the mail and the timers that a machine asks for, and the state that it is in afterwards.  A line with -
    is as it was, with + as it is now.  Exit code 1: an answer differs.

    Example: homing trace replay fault.tape --actor guard
    """
    role = actor.rpartition("/")[2]
    if actor:
        known("--actor", role, ROLES, "actor that can be replayed")
    with opened(file) as (tape, names):
        if tape.header.nodes:
            raise CommandFailed(f"{file} joins two machines; replay the tape of one of them", code=WRONG_USE)
        records = list(tape)
        keys = peers_of(names, peer)
        tell_missing(file, tape)
        try:
            found = replayed(records, tape.notes)
        except NothingToReplay as error:
            raise CommandFailed(f"{file}: {error}") from None
        offset_s = tape.header.wall_offset_s
    chosen = [one for one in found if _is_wanted(one.actor, actor, names) and _is_of(one.actor, keys)]
    if not chosen:
        there = ", ".join(actor_name(one.actor, names) for one in found[:12])
        raise CommandFailed(f"no machine matched; on the tape are: {there}")
    for one in chosen:
        for line in _lines(one, names, offset_s):
            print(one_line(line))
    return 1 if any(one.first for one in chosen) else 0


def _lines(one: Replayed, names: Names, offset_s: float) -> list[str]:
    said = f"{actor_name(one.actor, names)}: {one.handled} messages, "
    ended = [f"  not further: {reason}" for reason in dict.fromkeys(one.ended)]
    if one.first is None:
        return [f"{said}every answer is the same" if one.handled else f"{said}nothing to compare", *ended]
    shown = one.first.diff[:MAX_DIFF_LINES]
    left_out = len(one.first.diff) - len(shown)
    more = [f"  ... and {left_out} lines more"] if left_out else []
    head = f"{said}the first answer that differs is to"
    return [head, f"  {render(one.first.record, names, offset_s)}", *(f"  {line}" for line in shown), *more, *ended]


def _is_wanted(name: str, wanted: str, names: Names) -> bool:
    return not wanted or wanted in {name, name.rpartition("/")[2], actor_name(name, names)}


def _is_of(name: str, keys: frozenset[str]) -> bool:
    return not keys or any(name.startswith(f"peer/{key}/") for key in keys)
