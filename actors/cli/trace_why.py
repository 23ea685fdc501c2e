"""`homing trace why`: what caused a message, and what it caused, as a tree from the root event."""

import sys
import time
from typing import Annotated

import typer

from actors.cli.errors import WRONG_USE, CommandFailed, as_line
from actors.cli.reading import RING_LIMIT_S, parse_id
from actors.cli.report import names_of
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.trace.live import read_rings
from actors.trace.record import Record
from actors.trace.render import Names, as_json, render
from actors.trace.tree import Branch, find, tree_of


def why(
    *,
    number: Annotated[str, typer.Argument(metavar="ID", help="The number behind # in a line of `homing trace`.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also what the causes of the message have caused besides.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a line, in the same order.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Show why a message came: its causes from the root event on, then it (marked >), then all that it caused.

    It is read from the last messages that the agent's processes remember.

    Example: homing trace why 615855
    """
    wanted = parse_id("ID", number)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    past = read_rings(agent.directory, 0.0, RING_LIMIT_S)
    for process in past.silent:
        print(as_line(f"{process} did not answer; its mail is missing here"), file=sys.stderr)
    records = [record for ring in past.rings for record in ring.records]
    found = find(records, wanted)
    if not found:
        oldest_s = boot_now() - min((record.at for record in records), default=boot_now())
        raise CommandFailed(f"no message #{wanted} among the {len(records)} of the last {oldest_s:.0f} s")
    names, wall_offset_s = names_of(agent.snapshots()[0]), time.time() - boot_now()
    if len(found) > 1:
        which = "; ".join(f"{one.id} ({one.tag} to {one.to.rpartition('/')[2]})" for one in found[:8])
        raise CommandFailed(f"several messages end in {wanted}: {which}; give one whole", code=WRONG_USE)
    tree = tree_of(records, found[0], everything=everything)
    if not tree.whole and not json_output:
        print("(what caused the first is no longer remembered)")
    for branch in tree.branches:
        print(_as_json(branch, wall_offset_s) if json_output else _line(branch, names, wall_offset_s))


def _line(branch: Branch, names: Names, wall_offset_s: float) -> str:
    record: Record = branch.record
    mark = "> " if branch.chosen else "  "
    more = f"  (+{branch.left_out} more)" if branch.left_out else ""
    return f"{mark}{'  ' * branch.depth}{render(record, names, wall_offset_s)}{more}"


def _as_json(branch: Branch, wall_offset_s: float) -> str:
    return as_json(branch.record, wall_offset_s)
