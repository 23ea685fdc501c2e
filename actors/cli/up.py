"""`homing up`: run an agent under its supervisor, in the foreground."""

from actors.cli.check import ConfigOption, read
from actors.runtime import supervisor


def run(config: ConfigOption) -> int:
    """Run an agent in the foreground.

    Starts the agent's processes, watches them, and ends when told to: by SIGTERM, Ctrl-C or `homing down`.  SIGHUP has
    the peers of the configuration read again.  Needs root for the TUN device; the processes that meet the network run
    as the user of node.user.

    Example: homing up -c /etc/homing/home.toml
    """
    return supervisor.run(read(config), lambda: read(config))
