"""`homing why`: how a peer stands, and what its mail says of how that came about."""

import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from actors.cli.peers import one_peer, report_of
from actors.cli.report import PeerReport
from actors.cli.running import RUN_DIRECTORY, Agent, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import duration, seconds_of
from actors.trace.explain import Episode, Explanation, Standing, explain
from actors.trace.live import Past, read_rings
from actors.trace.render import ID_DIGITS, clock_time
from config.text import one_line

RING_LIMIT_S = 2.0


def run(
    *,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="Name, or the beginning of its key.")],
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Look no further back than this (60s, 10m).")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, with its `cause`.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Explain how a peer stands: by which path, why not directly, what broke last, why, and what recovered it.

    It is read from the last messages that the agent's processes remember (some minutes).  A cause is named only where
    the messages leave no other; else it is "unknown", and what happened is told all the same.

    \b
    Example: homing why laptop
    Example: homing why laptop --since 10m --json
    """
    agent = find_agent(run_directory, node)
    running_pid(agent)
    now, wall_offset_s = boot_now(), time.time() - boot_now()
    found = explanation_of(agent, peer, None if since is None else now - seconds_of("--since", since), now)
    if json_output:
        whole = {**msgspec.to_builtins(found), "now_unix_s": round(now + wall_offset_s, 3)}
        print(msgspec.json.encode(whole).decode())
        return
    for line in lines(found, wall_offset_s):
        print(one_line(line))


def explanation_of(agent: Agent, wanted: str, since: float | None, now: float) -> Explanation:
    """Explain a peer of a running agent; `since`, `now`: CLOCK_BOOTTIME seconds.  Raises CommandFailed."""
    report = report_of(agent)
    peer = one_peer(report.peers, wanted)
    past = read_rings(agent.directory, since or 0.0, RING_LIMIT_S)
    records = [record for ring in past.rings for record in ring.records]
    return explain(standing_of(peer), records, now, missing=(*report.problems, *_missing(past, since)))


def lines(found: Explanation, wall_offset_s: float) -> Iterator[str]:
    """Return the explanation for people; `wall_offset_s` is wall time less boot time."""
    yield f"{found.peer}: {_stands(found.standing)}"
    yield from (f"  {pair}" for pair in found.standing.tried)
    if found.last is None:
        yield f"{found.cause}: {found.because}"
    else:
        if found.cause != found.last.cause:
            yield f"{found.cause}: {found.because}"
        yield _headline(found.last, found.now, wall_offset_s)
        for one in found.last.happenings:
            yield f"  {clock_time(one.at + wall_offset_s)}  {one.text}  #{one.id % 10**ID_DIGITS}"
    if found.earlier:
        yield "before that:"
        yield from (f"  {_headline(one, found.now, wall_offset_s)}" for one in found.earlier)
    if found.known_since is not None:
        yield f"known are the last {duration(found.now - found.known_since)}"
    yield from (f"note: {text}" for text in found.missing)


def standing_of(peer: PeerReport) -> Standing:
    """Return how the peer stands, as far as an explanation begins from it."""
    tried = () if peer.direct is None or peer.path == "direct" else peer.direct.tried
    return Standing(
        peer=peer.public_key,
        name=peer.name,
        state=peer.state,
        path=peer.path,
        endpoint=peer.endpoint,
        proof_age_s=peer.proof_age_s,
        reason=peer.reason,
        tried=tried,
    )


def _stands(standing: Standing) -> str:
    if standing.path is None:
        return f"{standing.state}, without a path" + (f": {standing.reason}" if standing.reason else "")
    way = "directly" if standing.path == "direct" else "over the relay"
    heard = "nothing heard yet" if standing.proof_age_s is None else f"heard {duration(standing.proof_age_s)} ago"
    return f"{standing.state} {way} {standing.endpoint}, {heard}" + (f"; {standing.reason}" if standing.reason else "")


def _headline(one: Episode, now: float, wall_offset_s: float) -> str:
    began = f"{clock_time(one.began_at + wall_offset_s)}, {duration(now - one.began_at)} ago"
    also = f"; also {', '.join(one.also)}" if one.also else ""
    if one.outage_s is None:
        ended = "" if one.path_kept else "; not recovered yet"
    else:
        ended = f"; the {one.path} path was proven again after {duration(one.outage_s)}"
    return f"{began}: {one.cause}: {one.because}{also}{ended}"


def _missing(past: Past, since: float | None) -> Iterator[str]:
    for process in past.silent:
        yield f"{process} did not answer within {RING_LIMIT_S:g} s; what it knows is missing"
    for ring in past.rings:
        if since is not None and ring.overwritten and ring.records and ring.records[0].at > since + 1.0:
            yield f"{ring.process} remembers no more than the last {duration(boot_now() - ring.records[0].at)}"
