"""`homing status`: how every peer is reached, from the snapshots that the agent's processes write every second."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import typer
from msgspec import structs

from actors.cli.errors import CommandFailed
from actors.cli.peers import report_of, some_peers
from actors.cli.report import Check, LinkReport, PeerReport, ProcessReport, Report, failure_of
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, find_agent
from actors.cli.words import duration, size
from actors.messages.recoveries import Cause, Rung
from config.text import one_line

HEADINGS = ("PEER", "STATE", "PATH", "LAST PROOF", "RTT", "RECEIVED", "SENT", "RECOVERIES")


def run(
    peer: Annotated[str | None, typer.Argument(metavar="PEER", help="Name, or the beginning of its key.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    check: Annotated[
        Check | None, typer.Option("--check", help="Only tell whether the agent is so: exit code 0 or 1, with why.")
    ] = None,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Show how every peer is reached, and why not better.

    Per peer: its path, the age of the last proof (an authenticated packet heard on that path), round trip time, bytes,
    recoveries, and the reason when it is not up or not direct.  "connected" means: heard within the last 55 s.
    Nothing is asked of the agent's processes, so this answers even if all of them hang.

    Checks: startup (every process has come up), live (every process makes progress), ready (it can be reached, or
    reaches a peer).

    \b
    Example: homing status laptop
    Example: homing status --check ready
    """
    agent = find_agent(run_directory, node)
    report = report_of(agent)
    if check is not None:
        _answer_check(check, report, json_output)
        return
    if peer is not None:
        report = structs.replace(report, peers=some_peers(report.peers, peer))
    if json_output:
        print(msgspec.json.encode(report).decode())
    else:
        for line in lines(report, detailed=peer is not None):
            print(one_line(line))
    if not report.running:
        raise CommandFailed(f"the agent {agent.node} is not running; start it with: homing up -c FILE")


def _answer_check(check: Check, report: Report, json_output: bool) -> None:
    failure = failure_of(check, report)
    if json_output:
        print(msgspec.json.encode({"check": check, "ok": not failure, "reason": failure}).decode())
    if failure:
        raise CommandFailed(f"{report.node} is not {WORDS[check]}: {failure}")
    if not json_output:
        print(f"{report.node} is {WORDS[check]}")


WORDS: dict[Check, str] = {"live": "live", "ready": "ready", "startup": "started"}


def lines(report: Report, *, detailed: bool) -> Iterator[str]:
    """Return the report for people; `detailed`: with all that is known of each peer."""
    if report.running:
        yield f"node {report.node}, process {report.pid}{', stopping' if report.draining else ''}"
        for link in report.links:
            yield f"  {_link(link)}"
    else:
        yield f"node {report.node}, not running; what follows is its last word"
    for problem in report.problems:
        yield f"  note: {problem}"
    yield ""
    yield from _table(report.peers)
    if detailed:
        for peer in report.peers:
            yield ""
            yield from _details(peer)
            if peer.path != "direct":
                yield from _sight(report)
    yield ""
    if report.drops:
        yield f"dropped, of no peer: {', '.join(f'{reason} {count}' for reason, count in report.drops.items())}"
    if report.rebinds:
        times = "once" if report.rebinds == 1 else f"{report.rebinds} times"
        yield f"the UDP port was changed {times}, since no peer was proven: it is {report.udp_port} now"
    if report.interface_repairs:
        yield f"our interface was put right {report.interface_repairs} times"
    yield f"processes: {'; '.join(_process(one) for one in report.processes) or 'none has started yet'}"


def _link(link: LinkReport) -> str:
    role = link.role if link.role == "signal" else f"relay ({link.role})"
    over = f" over {CARRIERS[link.transport]}" if link.transport is not None else ""
    unused = f"; not over QUIC: {link.quic_fault}" if link.quic_fault else ""
    reason = f": {link.reason}" if link.reason else ""
    return f"{role} {link.url}: {link.state}{over} for {duration(link.age_s)}{reason}{unused}"


CARRIERS = {"ws": "WebSocket", "quic": "QUIC"}


def _table(peers: Sequence[PeerReport]) -> Iterator[str]:
    if not peers:
        yield "no peers yet"
        return
    rows = [HEADINGS, *(_row(peer) for peer in peers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number and (reason := peers[number - 1].reason):
            yield f"    {reason}"


def _row(peer: PeerReport) -> tuple[str, ...]:
    return (
        peer.name,
        peer.state,
        f"{peer.path} {peer.endpoint}" if peer.path is not None else "-",
        "never" if peer.proof_age_s is None else f"{duration(peer.proof_age_s)} ago",
        "-" if peer.rtt_s is None else duration(peer.rtt_s),
        size(peer.rx_bytes),
        size(peer.tx_bytes),
        str(peer.recoveries),
    )


def _details(peer: PeerReport) -> Iterator[str]:
    yield f"public key      {peer.public_key}"
    yield f"in this state   {'?' if peer.state_age_s is None else f'for {duration(peer.state_age_s)}'}"
    yield f"last handshake  {'never' if peer.handshake_age_s is None else f'{duration(peer.handshake_age_s)} ago'}"
    yield f"speaks          {KINDS[peer.ours]}"
    if peer.last_recovery_s is not None:
        yield f"last recovery   took {duration(peer.last_recovery_s)}, after: {peer.last_recovery_cause or 'unknown'}"
    yield from _recovery(peer)
    if peer.rtt_s is not None and peer.rtt_age_s is not None:
        yield f"round trip      {duration(peer.rtt_s)}, {duration(peer.rtt_age_s)} ago"
    yield from _direct(peer)
    if peer.drops:
        yield f"dropped         {', '.join(f'{reason} {count}' for reason, count in sorted(peer.drops.items()))}"


def _recovery(peer: PeerReport) -> Iterator[str]:
    """Tell what the peer was recovered from, how, and what that may still cost."""
    recovery = peer.recovery
    if recovery is None:
        return
    for cause, past in recovery.by_cause.items():
        took = f"the last took {duration(past.last_s)}, the longest {duration(past.longest_s)}"
        yield f"recovered       {past.count} times from: {CAUSES[cause]}; {took}"
    if recovery.rungs:
        yield f"tried           {', '.join(f'{RUNGS[rung]} {count}' for rung, count in recovery.rungs.items())}"
    if recovery.disruptive_actions:
        left = "" if recovery.budget_left is None else f", {recovery.budget_left} more without a proof"
        yield f"disruptive      {recovery.disruptive_actions} actions so far{left}"
    if recovery.quarantined_s is not None:
        yield f"quarantined     for {duration(recovery.quarantined_s)}: {recovery.quarantined_for}"
    if recovery.resets:
        yield f"reset by hand   {recovery.resets} times"


CAUSES: dict[Cause, str] = {
    "silence": "silence on the path",
    "never_proven": "a new path that nothing came over",
    "ice": "the direct path's checks",
    "relay": "the relayed connection",
    "packet_restarted": "a restart of the packet process",
    "reset": "a reset by hand",
}
RUNGS: dict[Rung, str] = {
    "probe": "probes",
    "warm_relay": "the relay beside",
    "offer": "an offer",
    "new_connection": "a new relayed connection",
    "other_relay": "another relay",
    "handshake": "the handshake anew",
}


def _direct(peer: PeerReport) -> Iterator[str]:
    """Tell how the search for a direct path stands."""
    search = peer.direct
    if search is None:
        yield "direct          not looked for"
        return
    ago = f"for {duration(search.age_s)}"
    match search.state:
        case "checking":
            yield f"direct          not yet, after {duration(search.age_s)} of looking"
        case "connected":
            unused = "" if peer.path == "direct" else ", answers to checks, and is not in use"
            yield f"direct          {search.pair}, {ago}{unused}"
        case "doubtful":
            yield f"direct          {search.pair}, doubtful {ago}: {search.reason}"
        case "ended":
            yield f"not direct      {ago}: {search.reason}"
    yield from (f"  tried         {line}" for line in search.tried)


def _sight(report: Report) -> Iterator[str]:
    """Tell where peers can look for us."""
    yield from (f"our address     {line}" for line in report.addresses)
    yield from (f"from outside    {line}" for line in report.stun)


KINDS = {True: "homing", False: "NetBird's protocol only", None: "unknown: nothing was heard from it yet"}


def _process(one: ProcessReport) -> str:
    words = one.process
    if one.state not in {"", "up"}:
        words += f" is {one.state}"
    elif one.snapshot_age_s is None:
        words += " has said nothing yet"
    else:
        words += f" spoke {duration(one.snapshot_age_s)} ago"
    if one.restarts:
        words += f", restarted {one.restarts} times" + (f" (last: {one.reason})" if one.reason else "")
    if one.actor_restarts:
        words += f", {one.actor_restarts} actor restarts"
    return words + (", unhealthy" if one.unhealthy else "")
