"""`homing trace queues`: how full the mailboxes are, and how long the actors take."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import typer

from actors.cli.errors import WRONG_USE, CommandFailed, as_line
from actors.cli.reading import RING_LIMIT_S
from actors.cli.report import names_of
from actors.cli.running import RUN_DIRECTORY, Agent, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import duration, seconds_of
from actors.trace.live import Taps, read_rings
from actors.trace.queues import Queue, queues
from actors.trace.record import Record
from actors.trace.render import Names, actor_name
from config.text import one_line

HEADINGS = ("ACTOR", "PROCESS", "HANDLED", "LOST", "DEPTH", "OLDEST", "P50", "P99")
CLEAR = "\x1b[H\x1b[2J"
LEAST_INTERVAL_S = 0.2
WAIT_S = 0.1
MAX_RECORDS = 100_000  # of one interval
MAX_ROWS = 40


def show_queues(
    *,
    interval: Annotated[str, typer.Option("--interval", metavar="TIME", help="From one table to the next.")] = "2s",
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="End after N tables.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="One table of the past this far back (60s, 5m).")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a table.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Show the mailboxes that had mail, the busiest first, again and again.

    Per actor: messages handled and lost, most of them left waiting behind one that was handled, the longest wait, and
    how long the actor took for a message (median, and 99 of 100).

    \b
    Example: homing trace queues
    Example: homing trace queues --since 60s
    """
    if since is not None and count is not None:
        raise CommandFailed("--since shows one table; leave --count away", code=WRONG_USE)
    since_s = None if since is None else seconds_of("--since", since)
    interval_s = seconds_of("--interval", interval, LEAST_INTERVAL_S)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    names: Names = names_of(agent.snapshots()[0])
    if since_s is not None:
        past = read_rings(agent.directory, boot_now() - since_s, RING_LIMIT_S)
        for process in past.silent:
            print(as_line(f"{process} did not answer; its actors are missing here"), file=sys.stderr)
        _show(queues(record for ring in past.rings for record in ring.records), since_s, names, json_output)
        return
    shown = 0
    try:
        for records in _intervals(agent, interval_s):
            if shown and not json_output:
                print(CLEAR if sys.stdout.isatty() else "")
            _show(queues(records), interval_s, names, json_output)
            shown += 1
            if shown == count:
                return
    except KeyboardInterrupt:
        return
    raise CommandFailed(f"the agent {agent.node} has ended")


def _intervals(agent: Agent, interval_s: float) -> Iterator[list[Record]]:
    """Yield the records of one interval after the other, until the agent ends."""
    with Taps(agent.directory) as taps:
        while agent.supervisor_pid() is not None:
            until, records = time.monotonic() + interval_s, list[Record]()
            while (left_s := until - time.monotonic()) > 0:
                for record in taps.read(min(WAIT_S, left_s), boot_now()):
                    if len(records) < MAX_RECORDS:
                        records.append(record)
            yield records


def _show(found: Sequence[Queue], seconds: float, names: Names, json_output: bool) -> None:
    if json_output:
        print(msgspec.json.encode({"seconds": seconds, "queues": found}).decode(), flush=True)
        return
    handled = sum(queue.handled for queue in found)
    print(f"{handled} messages in {duration(seconds)}, {len(found)} actors had mail")
    rows = [HEADINGS, *(_row(queue, names) for queue in found[:MAX_ROWS])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        print(one_line("  ".join((*left, *right))))
    if len(found) > MAX_ROWS:
        print(f"and {len(found) - MAX_ROWS} more")
    sys.stdout.flush()


def _row(queue: Queue, names: Names) -> tuple[str, ...]:
    return (
        actor_name(queue.actor, names),
        queue.process,
        str(queue.handled),
        str(queue.lost),
        str(queue.depth),
        duration(queue.oldest_s),
        duration(queue.service_p50_s),
        duration(queue.service_p99_s),
    )
