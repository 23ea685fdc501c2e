"""A relayed pair over QUIC: client, relay server, client, three processes, messages of a full tunnel packet.

python -m tests.bench.quic [--seconds N] [--runs N] [--profile sender|relay|receiver]
"""

import argparse
import asyncio
import cProfile
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from config.keys import Secret
from tests.bench.relay import RECEIVER, SECRET, SENDER, End, cpu_s_of, heard_by, token
from transport.drivers.certificates import Trust
from transport.drivers.quic_link import QuicLink, dial_quic
from transport.drivers.quic_server import QuicListener
from transport.drivers.relay_server import Service
from transport.drivers.self_made import self_made
from transport.relay.auth import key_of
from transport.relay.codec import encode
from transport.relay.frames import TRANSPORT_HEADER_LEN, Auth, PeerId, Transport
from transport.relay.server import RelayServer

RUNS = 3
SECONDS = 4.0
MESSAGE_LEN = 1350
BATCH = 32  # acknowledged by one message, as TCP in a tunnel does
WINDOW = 256  # messages under way
ROLES = ("relay", "receiver", "sender")


async def serve(directory: Path) -> None:
    """Serve until the end; print port and fingerprint."""
    made = self_made(directory, ["localhost"])
    service = Service(RelayServer("rels://bench", key_of(Secret(SECRET.encode())), time.time))
    listener = QuicListener(service, made.certificate, made.key)
    port = await listener.listen("127.0.0.1", 0)
    print(port, made.fingerprint.hex(), flush=True)
    await until_terminated()


async def send(port: int, fingerprint: bytes) -> None:
    """Send, at most WINDOW messages ahead of the receiver: like TCP in a tunnel, it does not overrun it."""
    end = PatientEnd()
    link = await login(end, SENDER, port, fingerprint)
    batch = [encode(Transport(RECEIVER, bytes(MESSAGE_LEN - TRANSPORT_HEADER_LEN)))] * BATCH
    ended = asyncio.ensure_future(until_terminated())
    sent = 0
    while not ended.done():
        end.news.clear()
        while sent < (end.heard - 1) * BATCH + WINDOW:
            link.send(batch)
            sent += BATCH
        try:
            await asyncio.wait_for(end.news.wait(), 0.5)
        except TimeoutError:
            sent = (end.heard - 1) * BATCH  # an acknowledgement or a whole batch was lost


async def receive(port: int, fingerprint: bytes) -> None:
    """Acknowledge every BATCH messages; print how many were heard so far whenever a line comes in."""
    end = PatientEnd()
    link = await login(end, RECEIVER, port, fingerprint)
    print("ready", flush=True)
    asyncio.get_running_loop().add_reader(0, lambda: print(end.heard, sys.stdin.readline().strip(), flush=True))
    acknowledgement, acknowledged = encode(Transport(SENDER, b"")), 0
    ended = asyncio.ensure_future(until_terminated())
    while not ended.done():
        end.news.clear()
        due = (end.heard - 1) // BATCH - acknowledged
        link.send([acknowledgement] * due)
        acknowledged += due
        await asyncio.wait([ended, asyncio.ensure_future(end.news.wait())], return_when=asyncio.FIRST_COMPLETED)


class PatientEnd(End):
    """An end that outlives its link: the processes are ended one after the other."""

    def lost(self, reason: str) -> None:
        print(reason, file=sys.stderr)


async def login(end: End, peer: PeerId, port: int, fingerprint: bytes) -> QuicLink:
    url, trust = f"rels://127.0.0.1:{port}", Trust(fingerprints=(fingerprint,))
    link = await dial_quic(url, None, end, trust=trust, message_len=MESSAGE_LEN)
    link.send([encode(Auth(peer, token()))])
    await end.news.wait()
    return link


async def until_terminated() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def one_run(seconds: float, profiled: str = "") -> dict[str, float]:
    """Return messages per second of wall time, and microseconds of CPU time that each took in each process."""
    with tempfile.TemporaryDirectory() as directory:
        processes = [start("relay", directory, profiled=profiled)]
        try:
            port, fingerprint = said_by(processes[0]).split()
            processes.append(start("receiver", port, fingerprint, profiled=profiled))
            assert said_by(processes[1]) == "ready\n"
            processes.append(start("sender", port, fingerprint, profiled=profiled))
            time.sleep(1.0)
            before = [heard_by(processes[1]), time.monotonic(), *(cpu_s_of(process.pid) for process in processes)]
            time.sleep(seconds)
            after = [heard_by(processes[1]), time.monotonic(), *(cpu_s_of(process.pid) for process in processes)]
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()
    heard, wall_s, *cpu_s = (now - then for now, then in zip(after, before, strict=True))
    figures = {f"{role}_us": spent / heard * 1e6 for role, spent in zip(ROLES, cpu_s, strict=True)}
    return {"per_s": heard / wall_s, "mbit_s": heard * MESSAGE_LEN * 8 / wall_s / 1e6, **figures}


def measure(runs: int = RUNS, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the figure of the README, and what it was made of."""
    results = [one_run(seconds) for _ in range(runs)]
    figures: dict[str, Any] = {
        f"quic_{name}": round(statistics.median(r[name] for r in results)) for name in results[0]
    }
    figures["quic_mbit_s_runs"] = [round(result["mbit_s"]) for result in results]
    return figures


def start(role: str, *arguments: str, profiled: str = "") -> subprocess.Popen[str]:
    flags = ["--profiled"] if role == profiled else []
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.quic", "--role", role, *flags, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--profile", choices=ROLES, default="", help="print where one of the processes spends its time")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--profiled", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role is None and arguments.profile:
        print(json.dumps(one_run(arguments.seconds, arguments.profile), indent=2))
        return
    if arguments.role is None:
        print(json.dumps(measure(arguments.runs, arguments.seconds), indent=2))
        return
    if arguments.role == "relay":
        job = serve(Path(arguments.rest[0]))
    else:
        port, fingerprint = int(arguments.rest[0]), bytes.fromhex(arguments.rest[1])
        job = (send if arguments.role == "sender" else receive)(port, fingerprint)
    if arguments.profiled:
        profile = cProfile.Profile()
        profile.enable()
        asyncio.run(job)
        profile.disable()
        sys.stdout = sys.stderr
        profile.print_stats("tottime")
    else:
        asyncio.run(job)


if __name__ == "__main__":
    main()
