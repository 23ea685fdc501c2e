"""`homing top`: the agent on one screen, as it is now."""

import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module

from actors.cli.errors import WRONG_USE, CommandFailed
from actors.cli.mail import CommandMail
from actors.cli.peers import report_of
from actors.cli.report import Report, names_of
from actors.cli.reset import reset_peer
from actors.cli.running import RUN_DIRECTORY, Agent, NodeOption, RunDirectoryOption, boot_now, find_agent, running_pid
from actors.cli.words import duration
from actors.trace.live import Taps
from actors.trace.render import render
from actors.trace.select import Cap, Selection
from config.keys import PublicKey

MAX_LINES_PER_S = 50  # of mail: more than anybody reads, and a terminal draws them in time
WAIT_S = 0.25
PROOF_S = 20.0  # for a path to be proven after a reset


def run(
    *,
    node: NodeOption = None,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Watch the agent: peers, paths, proofs, traffic, mailboxes, restarts, once a second.

    Keys: up and down choose a peer, enter follows its mail, / filters, s sorts, r resets the peer (asks first),
    ? helps, q quits.  Nothing is asked of the agent's processes but the mail of the peer that is followed.

    Example: homing top
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        told = "top needs a terminal; elsewhere use: homing status, or homing trace"
        raise CommandFailed(told, code=WRONG_USE)
    agent = find_agent(run_directory, node)
    running_pid(agent)
    # Imported here: the library that draws takes half a second to import, and no other command wants it.
    import_module("actors.cli.top_view").Top(AgentSource(agent)).run()


class AgentSource:
    """What the view shows, from a running agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def now(self) -> float:
        """Return the time of all ages."""
        return boot_now()

    def report(self) -> Report:
        """Return what the agent's processes wrote last."""
        return report_of(self._agent)

    def mail(self, peer: PublicKey) -> Iterator[str]:
        """Yield the mail of a peer's actors as it comes, a line each; "" when there was none for a moment."""
        names, offset_s = names_of(self._agent.snapshots()[0]), time.time() - boot_now()
        cap, selection = Cap(MAX_LINES_PER_S), Selection(stale_timers=False, heartbeat=False)
        with Taps(self._agent.directory, f"peer/{peer}/") as taps:
            while True:
                for record in taps.read(WAIT_S, boot_now()):
                    if selection.admits(record) and cap.admits(boot_now()):
                        yield render(record, names, offset_s)
                if suppressed := cap.take_suppressed(boot_now()):
                    yield f"... suppressed {suppressed} lines"
                yield ""

    def reset(self, peer: PublicKey, name: str) -> str:
        """Recover a peer by hand and return what came of it.  Raises CommandFailed."""
        with CommandMail(self._agent, "top", watch=f"peer/{peer}/conn") as mail:
            took_s = reset_peer(mail, peer, name, PROOF_S)
        if took_s is None:
            return f"{name} was reset; no path proven within {duration(PROOF_S)}"
        return f"{name} was reset; a path is proven again after {duration(took_s)}"
