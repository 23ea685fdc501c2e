"""Two hosts joined by a cable, each a network namespace; a WireGuard of ours or wireguard-go on either.

Everything is made with a name of its own and is gone when the `Pair` closes, also after a failure.
"""

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from config.keys import PublicKey, encode_key
from tests.wg.interop.node import Command, PeerSetup, Setup, Status, WantStatus
from wg.paths import DirectPath

PORT = 51820
MTU = 1420
PATIENCE_S = 20.0  # for something that takes milliseconds on an idle machine
ROOT = Path(__file__).resolve().parents[3]

_numbers = itertools.count()


def run(*command: str, check: bool = True, text: str | None = None) -> str:
    """Run a program to its end and return what it said."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Keys:
    """A private key and its public key, as text."""

    def __init__(self) -> None:
        self.private = run("wg", "genkey").strip()
        self.public = PublicKey(run("wg", "pubkey", text=self.private).strip())


class Host:
    """One end: number 1 or 2, with outer addresses 192.0.2.N and fd00::N, and inner 10.77.0.N and fd77::N."""

    def __init__(self, number: int, tag: str, stack: ExitStack) -> None:
        self.number = number
        self.namespace = f"ppath-{tag}-{number}"
        self.interface = f"pp{tag}-{number}"
        self.keys = Keys()
        self.outer, self.outer6 = f"192.0.2.{number}", f"fd00::{number}"
        self.inner, self.inner6 = f"10.77.0.{number}", f"fd77::{number}"
        self.inner_networks = (f"{self.inner}/32", f"{self.inner6}/128")
        self.endpoint = DirectPath(ip=self.outer, port=PORT)
        self._stack = stack
        run("ip", "netns", "add", self.namespace)
        stack.callback(run, "ip", "netns", "delete", self.namespace, check=False)
        run(*self.inside("ip", "link", "set", "lo", "up"))

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs this one in the host's namespace."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program here that ends with the pair at the latest."""
        process = subprocess.Popen(self.inside(*command), cwd=ROOT, **options)
        self._stack.callback(_end, process)
        return process

    def ping(self, address: str, count: int = 3, *, size: int = 56) -> bool:
        """Return whether all echoes come back, 50 ms apart."""
        arguments = ["-q", "-c", str(count), "-i", "0.05", "-w", "10", "-s", str(size), address]
        return ", 0% packet loss" in run(*self.inside("ping", *arguments), check=False)


class Pair:
    """Two hosts and the cable."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        tag = f"{os.getpid()}{next(_numbers)}"
        with ExitStack() as guard:
            guard.push(self._stack.__exit__)
            self.a = Host(1, tag, self._stack)
            self.b = Host(2, tag, self._stack)
            ends = f"ppv{tag}a", f"ppv{tag}b"
            run("ip", "link", "add", ends[0], "netns", self.a.namespace, "type", "veth", "peer", "name", ends[1],
                "netns", self.b.namespace)  # fmt: skip
            for host, end in zip((self.a, self.b), ends, strict=True):
                run(*host.inside("ip", "link", "set", end, "name", "eth0", "up"))
                run(*host.inside("ip", "address", "add", f"{host.outer}/24", "dev", "eth0"))
                run(*host.inside("ip", "address", "add", f"{host.outer6}/64", "dev", "eth0", "nodad"))
            guard.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove everything."""
        self._stack.close()


class Ours:
    """A node of ours on a host (tests/wg/interop/node.py)."""

    def __init__(self, host: Host, *peers: PeerSetup, mtu: int = MTU) -> None:
        self.host = host
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.reports: list[dict[str, Any]] = []
        setup = Setup(
            private_key=host.keys.private,
            interface=host.interface,
            addresses=(f"{host.inner}/24", f"{host.inner6}/64"),
            listen_port=PORT,
            mtu=mtu,
            peers=peers,
        )
        arguments = [sys.executable, "-m", "tests.wg.interop.node"]
        self.process = host.start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._tell(setup)
        threading.Thread(target=self._read, daemon=True).start()
        self.wait_for("ready")

    def tell(self, command: Command) -> None:
        """Have it do something."""
        self._tell(command)

    def status(self) -> Status:
        """Return what it knows now."""
        self._tell(WantStatus())
        return msgspec.convert(self.wait_for("status"), Status)

    def drops(self) -> dict[str, int]:
        """Return what it dropped, of its first peer and of nobody."""
        status = self.status()
        return {**status.drops, **status.peers[0].drops}

    def wait_for(self, kind: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Return the next line of this type that matches; what comes before is kept in `reports`."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"no {kind} from {self.host.namespace}; until now: {self.reports}") from None
            if line["type"] == kind and matches(line):
                return line
            self.reports.append(line)

    def _tell(self, message: msgspec.Struct) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(message) + b"\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))


class Theirs:
    """wireguard-go on a host."""

    def __init__(self, host: Host, *peers: PeerSetup, mtu: int = MTU) -> None:
        self.host = host
        with suppress(FileNotFoundError):
            self.socket_file.unlink()
        self.process = host.start("wireguard-go", "-f", host.interface, stderr=subprocess.DEVNULL)
        wait_until(self.socket_file.exists)
        self.set("private-key", "/dev/stdin", "listen-port", str(PORT), text=host.keys.private)
        for peer in peers:
            self.add_peer(peer)
        for address in (f"{host.inner}/24", f"{host.inner6}/64"):
            options = ["nodad"] if ":" in address else []
            run(*host.inside("ip", "address", "add", address, "dev", host.interface, *options))
        run(*host.inside("ip", "link", "set", host.interface, "mtu", str(mtu), "up"))

    def add_peer(self, peer: PeerSetup) -> None:
        """Configure a peer."""
        arguments = ["peer", peer.peer, "allowed-ips", ",".join(peer.allowed_ips)]
        if peer.endpoint is not None:
            ip = f"[{peer.endpoint.ip}]" if ":" in peer.endpoint.ip else peer.endpoint.ip
            arguments += ["endpoint", f"{ip}:{peer.endpoint.port}"]
        if peer.preshared_key is not None:
            arguments += ["preshared-key", "/dev/stdin"]
        self.set(*arguments, "persistent-keepalive", str(peer.persistent_keepalive_s), text=peer.preshared_key)

    def set(self, *arguments: str, text: str | None = None) -> None:
        """Change settings, as `wg set` does."""
        run(*self.host.inside("wg", "set", self.host.interface, *arguments), text=text)

    def dump(self) -> dict[str, str]:
        """Return what `wg show dump` says of its only peer."""
        line = run(*self.host.inside("wg", "show", self.host.interface, "dump")).splitlines()[1]
        names = ("public_key", "preshared_key", "endpoint", "allowed_ips", "handshake", "rx", "tx", "keepalive")
        return dict(zip(names, line.split("\t"), strict=True))

    @property
    def socket_file(self) -> Path:
        """Where wireguard-go listens for `wg`; namespaces do not part it."""
        return Path(f"/var/run/wireguard/{self.host.interface}.sock")


def peer_of(host: Host, *, endpoint: DirectPath | None = None, preshared_key: str | None = None) -> PeerSetup:
    """Return what the other end is told of this host."""
    return PeerSetup(
        peer=host.keys.public, allowed_ips=host.inner_networks, endpoint=endpoint, preshared_key=preshared_key
    )


def new_preshared_key() -> str:
    """Return the text of a random key."""
    return encode_key(os.urandom(32))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens outside of this process."""
    pause = threading.Event()
    for _ in range(round(PATIENCE_S / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("waited in vain")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program: by closing its input, by signal, by force."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
