"""Hosts, routers and links in network namespaces of our own, gone when the block ends.

Everything that is made carries the network's prefix, which holds the maker's process id: what a killed run left
behind is recognised by the next one and removed.  Needs root, iproute2 and nftables.
"""

import contextlib
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PREFIX = "homing"
TOOLS = {"ip": "iproute2", "nft": "nftables", "sysctl": "procps"}
STOP_WAIT_S = 6.0

# A home router as RFC 4787 would describe it: address-and-port-dependent filtering, a port-preserving mapping where it
# can; strict conntrack, so that a mapping that is gone stays gone.  It drops what nobody inside asked for.
NAT_RULES = """
table ip homing_nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{outside}" masquerade
  }}
}}
table inet homing_filter {{
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{outside}" ct state {{ new, invalid, untracked }} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ct state invalid drop
    iifname "{outside}" ct state {{ new, invalid, untracked }} drop
  }}
}}
"""


class NetworkUnavailable(Exception):
    """The machine cannot make namespaces; the message says what is missing and what would do."""


def require_tools() -> None:
    """Raise NetworkUnavailable unless namespaces, links and NAT rules can be made here."""
    if os.geteuid() != 0:
        raise NetworkUnavailable("network namespaces need root; run it with sudo")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise NetworkUnavailable(f"programs are missing; install them with: apt-get install {' '.join(missing)}")
    if not Path("/dev/net/tun").exists():
        raise NetworkUnavailable("/dev/net/tun is missing; load the kernel module with: modprobe tun")


def run(argv: Sequence[str], *, stdin: str | None = None) -> str:
    """Run a set-up command to its end and return what it printed.  Raises NetworkUnavailable with its own words."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkUnavailable(f"`{' '.join(argv)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Host:
    """One namespace: a host, a router, or the hub."""

    def __init__(self, network: "Network", name: str) -> None:
        self.name = name
        self.namespace = f"{network.prefix}-{name}"
        self._network = network
        run(["ip", "netns", "add", self.namespace])
        run(["ip", "-n", self.namespace, "link", "set", "lo", "up"])

    def ip(self, *arguments: str) -> str:
        """Run `ip` here."""
        return run(["ip", "-n", self.namespace, *arguments])

    def exec(self, *argv: str, stdin: str | None = None) -> str:
        """Run a command here to its end."""
        return run(["ip", "netns", "exec", self.namespace, *argv], stdin=stdin)

    def spawn(
        self,
        *argv: str,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[str] | None = subprocess.DEVNULL,
        stderr: int | IO[str] | None = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program here; the network ends it at the latest."""
        # `ip netns exec` replaces itself by the program, so this is the program's own process id.
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
        self._network.adopt(process)
        return process

    def route(self, via: str, to: str = "default") -> None:
        """Send what goes to `to` by way of `via`."""
        self.ip("route", "replace", to, "via", via)

    def masquerade(self, outside: str) -> None:
        """Make this a NAT router whose public side is the interface `outside`."""
        self.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.netfilter.nf_conntrack_tcp_loose=0")
        self.exec("nft", "-f", "-", stdin=NAT_RULES.format(outside=outside))


class Network:
    """The namespaces of one run: `with Network("demo") as network:`."""

    def __init__(self, purpose: str) -> None:
        self.prefix = f"{PREFIX}-{purpose}-{os.getpid()}"
        self._processes: list[subprocess.Popen[str]] = []
        self._links = 0

    def __enter__(self) -> Self:
        require_tools()
        remove_leftovers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """Add a namespace."""
        return Host(self, name)

    def link(self, left: Host, left_address: str, right: Host, right_address: str) -> tuple[str, str]:
        """Join two namespaces by a cable; the addresses carry prefix lengths.  Returns the interface names."""
        self._links += 1
        names = (f"to-{right.name}"[:15], f"to-{left.name}"[:15])
        left.ip("link", "add", names[0], "type", "veth", "peer", "name", names[1], "netns", right.namespace)
        for host, name, address in ((left, names[0], left_address), (right, names[1], right_address)):
            ipaddress.ip_interface(address)
            host.ip("address", "add", address, "dev", name)
            host.ip("link", "set", name, "up")
        return names

    def adopt(self, process: "subprocess.Popen[str]") -> None:
        """End this process with the network."""
        self._processes.append(process)

    def stop(self, process: "subprocess.Popen[str]", wait_s: float = STOP_WAIT_S) -> int:
        """Ask a program to end, make it end if it does not, and return its exit code."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                process.kill()
        code = process.wait()
        if process in self._processes:
            self._processes.remove(process)
        return code

    def close(self) -> None:
        """End the programs, newest first, and remove the namespaces with all that is in them."""
        running, self._processes = self._processes[::-1], []
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # By name: whoever was stopped while a namespace was made does not know of it yet.
        for namespace in _namespaces():
            if namespace.startswith(f"{self.prefix}-"):
                _remove(namespace)


def remove_leftovers() -> None:
    """Remove the namespaces and directories of runs whose maker is gone."""
    for namespace in _namespaces():
        if _is_left_over(namespace):
            _remove(namespace)
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if _is_left_over(directory.name):
            shutil.rmtree(directory, ignore_errors=True)


def _namespaces() -> list[str]:
    # "NAME" or "NAME (id: 3)"
    return [line.partition(" ")[0] for line in run(["ip", "netns", "list"]).splitlines()]


def _is_left_over(name: str) -> bool:
    made = re.match(rf"{PREFIX}-[a-z0-9]+-(\d+)-", name)
    return made is not None and not Path(f"/proc/{made[1]}").exists()


def _remove(namespace: str) -> None:
    # What still runs inside holds the links up: it is ours, since the namespace is.
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False).stdout
    for pid in pids.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
