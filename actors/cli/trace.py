"""`homing trace`: the mail between the agent's actors, as it comes or as it was."""

import sys
import time
from dataclasses import fields
from typing import Annotated

import typer

from actors import addresses
from actors.cli.errors import WRONG_USE, CommandFailed
from actors.cli.reading import Printer, Reader, known, parse_id
from actors.cli.report import find_peer, names_of
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import seconds_of
from actors.effects import Address
from actors.messages.overflow import TYPE_OF
from actors.trace.render import PROCESS_ACTOR, Names
from actors.trace.select import Caused, Selection, tag_of
from config.keys import InvalidKey, PublicKey, public_key

ACTORS = frozenset(
    (PROCESS_ACTOR, *(value.actor for value in vars(addresses).values() if isinstance(value, Address)))
) | {field.name for field in fields(addresses.PeerAddresses)}
"""Every actor's name; a peer's six by their role."""


def run(
    context: typer.Context,
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
    cause: Annotated[
        str | None, typer.Option("--cause", metavar="ID", help="Only this message, and all that it caused.")
    ] = None,
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
        bool, typer.Option("--all", help="The heartbeat too (pings, snapshots), and timers that were cancelled late.")
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
    if context.invoked_subcommand is not None:
        return
    if since is not None and limit is not None:
        raise CommandFailed("--for is for what comes, --since for what was; give one of them", code=WRONG_USE)
    since_s = None if since is None else seconds_of("--since", since)
    limit_s = None if limit is None else seconds_of("--for", limit)
    caused = None if cause is None else Caused(parse_id("--cause", cause))
    wanted = frozenset(tag_of(name) for text in types or () for name in text.split(",") if name.strip())
    for tag in wanted:
        known("--type", tag, TYPE_OF, "message type")
    if actor:
        known("--actor", actor.rpartition("/")[2], ACTORS, "actor")
    agent = find_agent(run_directory, node)
    running_pid(agent)
    names: Names = names_of(agent.snapshots()[0])
    selection = Selection(
        peers=frozenset() if peer is None else _peers(peer, names),
        types=wanted,
        actor=actor,
        lost=dropped,
        stale_timers=everything,
        heartbeat=everything or bool(types or actor),
    )
    reader = Reader(agent, selection, caused, count, Printer(names, json_output, time.time() - boot_now()))
    try:
        if since_s is None:
            reader.watch(limit_s, _filters(peer=peer, type=", ".join(sorted(wanted)), actor=actor, cause=cause))
        else:
            reader.look_back(since_s)
    except KeyboardInterrupt:
        sys.stdout.flush()
        return
    if not reader.printer.lines:
        raise CommandFailed(f"nothing matched{reader.went_by()}")


def _filters(**options: str | None) -> str:
    return "".join(f" --{name} {value}" for name, value in options.items() if value)


def _peers(wanted: str, names: Names) -> frozenset[PublicKey]:
    found = find_peer(dict(names), wanted)
    if found:
        return frozenset(found)
    try:
        return frozenset({public_key(wanted)})
    except InvalidKey:
        known = ", ".join(sorted(names.values())[:20]) or "none yet"
        raise CommandFailed(f"no peer {wanted[:44]}; known are: {known}") from None
