"""`homing reset PEER`: recovers one peer by hand, without a restart of anything."""

from typing import Annotated

import msgspec
import typer

from actors.cli.errors import CommandFailed
from actors.cli.mail import CommandMail
from actors.cli.peers import one_peer, report_of
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import duration, seconds_of
from actors.messages.process import ResetPeer
from actors.trace.record import Record
from config.keys import PublicKey

TAKEN_S = 2.0  # for its actors to take the mail
TAKEN, REFUSED = "delivered", "dead_letter"


def run(
    *,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="Name, or the beginning of its key.")],
    wait: Annotated[str, typer.Option("--wait", metavar="TIME", help="For a path to be proven again.")] = "20s",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Begin anew with one peer: its ICE session, its relayed connection, its WireGuard handshake, its offers.

    What works is taken down as well, for a second or two; no other peer notices.  Also ends the peer's quarantine.
    Waits until a packet of the peer's proves a path again; exit code 1 when none does in time.

    \b
    Example: homing reset laptop
    Example: homing reset laptop --wait 0 --json
    """
    wait_s = seconds_of("--wait", wait)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    known = one_peer(report_of(agent).peers, peer)
    with CommandMail(agent, "reset", watch=f"peer/{known.public_key}/conn") as mail:
        took_s = reset_peer(mail, known.public_key, known.name, wait_s)
    if json_output:
        told = {"peer": known.name, "public_key": known.public_key, "reset": True, "proven_after_s": took_s}
        print(msgspec.json.encode(told).decode())
    elif took_s is not None:
        print(f"{known.name} was reset; a path is proven again after {duration(took_s)}")
    elif not wait_s:
        print(f"{known.name} is reset")
    if wait_s and took_s is None:
        why = f"no path proven within {duration(wait_s)}; see: homing why {known.name}"
        raise CommandFailed(f"{known.name} was reset, and {why}")


def reset_peer(mail: CommandMail, peer: PublicKey, name: str, wait_s: float) -> float | None:
    """Reset a peer; return after how long a path was proven again, None: not within `wait_s`.

    `mail` watches the peer's Conn.  Raises CommandFailed when its actors do not take it.
    """
    began_at = boot_now()
    story = mail.post(mail.actors_of(peer).conn, ResetPeer(peer=peer))
    _check(name, mail.caused(story, wait_s=TAKEN_S, until=lambda record: record.tag == "reset_peer"))
    proven = mail.heard(lambda record: _proves(record, began_at), wait_s=wait_s, until=lambda _: True)
    return proven[0].at - began_at if proven else None


def _check(name: str, taken: list[Record]) -> None:
    """Raise CommandFailed unless the peer's actors took the mail."""
    refused = next((record for record in taken if record.tag == "reset_peer" and record.kind == REFUSED), None)
    if refused is not None:
        raise CommandFailed(f"{name} has no actors now ({refused.reason}); see: homing status {name}")
    if not any(record.tag == "reset_peer" for record in taken):
        raise CommandFailed(f"{name} did not take it within {duration(TAKEN_S)}; see: homing status {name}")


def _proves(record: Record, since: float) -> bool:
    return record.tag == "path_proven" and record.kind == TAKEN and record.at > since
