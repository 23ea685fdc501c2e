"""Finds the agent that runs on this machine, by its run directory.  Nothing here waits for any of its processes.

The supervisor holds a lock (flock(2)) in its node's run directory for as long as it lives, so the lock tells a running
agent from what a dead one left behind.
"""

import os
import re
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from actors.cli.errors import CommandFailed
from actors.messages.status import Snapshot
from actors.runtime.snapshot import read_snapshots
from config.schema import NodeSection

LOCK_NAME = "supervisor.lock"
LOCKS = Path("/proc/locks")
MAIL_SOCKET = re.compile(r"(?!tap-|ring-)(.+)-(\d+)\.sock")  # transport/drivers/zmq.py, mail_name
RUN_DIRECTORY: str = next(
    field.default for field in msgspec.structs.fields(NodeSection) if field.name == "run_directory"
)

NodeOption = Annotated[str | None, typer.Option("--node", metavar="NAME", help="Which agent, if several run here.")]
RunDirectoryOption = Annotated[
    str,
    typer.Option(
        "--run-directory", metavar="DIR", envvar="HOMING_NODE_RUN_DIRECTORY", help="The agent's node.run_directory."
    ),
]


class Agent(msgspec.Struct, frozen=True):
    """One node's run directory, whether or not its agent runs."""

    node: str
    directory: Path

    def supervisor_pid(self) -> int | None:
        """Return the process that holds the lock, or None: the agent does not run.

        The kernel's list is read instead of trying the lock, which could make a start at that moment fail.
        """
        try:
            found = (self.directory / LOCK_NAME).stat()
        except FileNotFoundError:
            return None
        except PermissionError:
            raise _not_allowed(self.directory) from None
        file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in LOCKS.read_text(encoding="ascii").splitlines():
            # "1: FLOCK  ADVISORY  WRITE 1234 fe:00:9977859 0 EOF"
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5:6] == [file]:
                return int(words[4])
        return None

    def incarnations(self) -> dict[str, int]:
        """Return the processes that take mail, each with its newest incarnation."""
        found: dict[str, int] = {}
        for path in self.directory.glob("*.sock"):
            name = MAIL_SOCKET.fullmatch(path.name)
            if name is not None:
                found[name[1]] = max(found.get(name[1], 0), int(name[2]))
        return found

    def snapshots(self) -> tuple[list[Snapshot], list[str]]:
        """Return what the processes wrote last, and a line for each file that cannot be used."""
        try:
            return read_snapshots(self.directory)
        except PermissionError:
            raise _not_allowed(self.directory) from None


def find_agent(run_directory: str, node: str | None) -> Agent:
    """Return the agent of that node; without a name the only one there is, a running one before a dead one.

    Raises CommandFailed.
    """
    root = Path(run_directory)
    try:
        agents = [Agent(path.name, path) for path in sorted(root.iterdir()) if path.is_dir()]
    except FileNotFoundError:
        agents = []
    except PermissionError:
        raise _not_allowed(root) from None
    if node is not None:
        known = ", ".join(agent.node for agent in agents) or "none"
        agents = [agent for agent in agents if agent.node == node]
        if not agents:
            raise CommandFailed(f"no agent {node} runs here; {root} knows of: {known}")
    if not agents:
        raise CommandFailed(f"no agent runs here ({root} holds none); start one with: homing up -c FILE")
    if len(agents) > 1:
        agents = [agent for agent in agents if agent.supervisor_pid() is not None] or agents
    if len(agents) > 1:
        names = ", ".join(agent.node for agent in agents)
        raise CommandFailed(f"several agents are here: {names}; choose one with --node NAME")
    return agents[0]


def running_pid(agent: Agent) -> int:
    """Return the supervisor's process id.  Raises CommandFailed unless the agent runs."""
    pid = agent.supervisor_pid()
    if pid is None:
        raise CommandFailed(f"the agent {agent.node} is not running; start it with: homing up -c FILE")
    return pid


def boot_now() -> float:
    """Return the time that all ages are taken from: CLOCK_BOOTTIME seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _not_allowed(path: Path) -> CommandFailed:
    return CommandFailed(f"{path} is its agent's alone; run as root, or as the user that started it")
