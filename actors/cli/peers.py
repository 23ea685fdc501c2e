"""The peers that a command is about."""

from collections.abc import Sequence

from actors.cli.errors import CommandFailed
from actors.cli.report import PeerReport, Report, make_report
from actors.cli.running import Agent, boot_now

LEAST_OF_KEY = 4  # characters
MAX_SHOWN = 20


def report_of(agent: Agent) -> Report:
    """Return what the agent's processes wrote last, put together."""
    snapshots, unreadable = agent.snapshots()
    return make_report(agent.node, agent.supervisor_pid(), snapshots, unreadable, boot_now())


def some_peers(peers: Sequence[PeerReport], wanted: str) -> tuple[PeerReport, ...]:
    """Return the peers of that name, or else those whose keys begin so.  Raises CommandFailed: there are none."""
    found = [one for one in peers if one.name == wanted]
    found = found or [one for one in peers if len(wanted) >= LEAST_OF_KEY and one.public_key.startswith(wanted)]
    if not found:
        raise CommandFailed(f"no peer {wanted[:44]}; known are: {_names(peers) or 'none yet'}")
    return tuple(found)


def one_peer(peers: Sequence[PeerReport], wanted: str) -> PeerReport:
    """Return the only one of them.  Raises CommandFailed."""
    found = some_peers(peers, wanted)
    if len(found) == 1:
        return found[0]
    raise CommandFailed(f"{wanted[:44]} may be any of: {_names(found)}; say its name, or more of its key")


def _names(peers: Sequence[PeerReport]) -> str:
    return ", ".join(one.name for one in peers[:MAX_SHOWN]) + (", ..." if len(peers) > MAX_SHOWN else "")
