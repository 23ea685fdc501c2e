"""`homing down`: stop the running agent."""

import os
import select
import signal
from typing import Annotated

import typer

from actors.cli.errors import CommandFailed
from actors.cli.running import RUN_DIRECTORY, NodeOption, RunDirectoryOption, find_agent, running_pid

LIMIT_S = 15.0  # a drain ends within 5 s


def run(
    node: NodeOption = None,
    limit_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="How long to wait for its end.")
    ] = LIMIT_S,
    run_directory: RunDirectoryOption = RUN_DIRECTORY,
) -> None:
    """Stop the running agent and wait for its end.

    It tells its peers and servers, closes its sockets and takes its interface away.  Under a service manager, stop
    its service instead.

    Example: homing down --node home
    """
    agent = find_agent(run_directory, node)
    pid = running_pid(agent)
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if agent.supervisor_pid() != pid:
            return  # it ended by itself, and the number may be another process's by now
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], limit_s)
    except PermissionError:
        raise CommandFailed(f"process {pid} belongs to another user; run as root") from None
    finally:
        os.close(process)
    if not ended:
        raise CommandFailed(f"the agent {agent.node} (process {pid}) has not ended after {limit_s:g} s; try again")
    print(f"the agent {agent.node} has ended")
