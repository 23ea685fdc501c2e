"""The relay server, without TLS: how many messages of a tunnel's size it forwards for a second of its CPU time.

python -m tests.bench.relay [--seconds N] [--runs N]
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from config.keys import Secret
from transport.drivers.websocket import DialFailed, dial
from transport.relay.auth import key_of, make_token
from transport.relay.codec import encode
from transport.relay.frames import TRANSPORT_HEADER_LEN, Auth, Transport, peer_id

RUNS = 3
SECONDS = 4.0
MESSAGE_LEN = 1400
BATCH = 32  # messages handed to the sending link at once, as a packet path does; acknowledged by one
WINDOW = 256  # messages under way
SECRET = "bench"
SENDER, RECEIVER = peer_id("sender"), peer_id("receiver")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class End:
    """One client, which counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0
        self.news = asyncio.Event()

    def received(self, messages: list[bytes]) -> None:
        self.heard += len(messages)
        self.news.set()

    def pong(self) -> None:
        pass

    def doubted(self) -> None:
        pass

    def writable(self, yes: bool) -> None:
        pass

    def lost(self, reason: str) -> None:
        raise SystemExit(reason)


async def send(port: int) -> None:
    """Send for ever, at most WINDOW messages ahead of the receiver: like TCP in a tunnel, it does not overrun it."""
    end = End()
    link = await dial(f"rel://127.0.0.1:{port}", None, end)
    link.send([encode(Auth(SENDER, token()))])
    await end.news.wait()
    batch = [encode(Transport(RECEIVER, bytes(MESSAGE_LEN - TRANSPORT_HEADER_LEN)))] * BATCH
    sent = 0
    while True:
        end.news.clear()
        while sent < (end.heard - 1) * BATCH + WINDOW:
            link.send(batch)
            sent += BATCH
        await end.news.wait()


async def receive(port: int) -> None:
    """Acknowledge every BATCH messages; print how many were heard so far whenever a line comes in."""
    end = End()
    link = await dial(f"rel://127.0.0.1:{port}", None, end)
    link.send([encode(Auth(RECEIVER, token()))])
    await end.news.wait()
    print("ready", flush=True)
    asyncio.get_running_loop().add_reader(0, lambda: print(end.heard, sys.stdin.readline().strip(), flush=True))
    acknowledgement, acknowledged = encode(Transport(SENDER, b"")), 0
    while True:
        end.news.clear()
        due = (end.heard - 1) // BATCH - acknowledged
        link.send([acknowledgement] * due)
        acknowledged += due
        await end.news.wait()


def one_run(seconds: float) -> dict[str, float]:
    """Return messages per CPU-second of the relay, and per second of wall time, of one run."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    exposed = ("--exposed-url", f"rel://{address}", "--log-level", "warning")
    relay = start("-m", "actors.cli", "relay", "--listen", address, *exposed)
    wait_for(port)
    receiver = start("-m", "tests.bench.relay", "--receive", str(port))
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    sender = start("-m", "tests.bench.relay", "--send", str(port))
    try:
        time.sleep(1.0)
        heard, cpu_s, at = heard_by(receiver), cpu_s_of(relay.pid), time.monotonic()
        time.sleep(seconds)
        heard, cpu_s, wall_s = heard_by(receiver) - heard, cpu_s_of(relay.pid) - cpu_s, time.monotonic() - at
    finally:
        for process in (sender, receiver, relay):
            process.terminate()
            process.wait()
    return {"per_cpu_s": heard / cpu_s, "per_s": heard / wall_s, "mbit_s": heard * MESSAGE_LEN * 8 / wall_s / 1e6}


def measure(runs: int = RUNS, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the figure of the README, and what it was made of."""
    results = [one_run(seconds) for _ in range(runs)]
    return {
        "relay_messages_per_cpu_s": round(statistics.median(result["per_cpu_s"] for result in results)),
        "relay_messages_per_cpu_s_runs": [round(result["per_cpu_s"]) for result in results],
        "relay_messages_per_s": round(statistics.median(result["per_s"] for result in results)),
        "relay_mbit_s": round(statistics.median(result["mbit_s"] for result in results)),
    }


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOMING_RELAY_SECRET": SECRET},
    )


def heard_by(receiver: subprocess.Popen[str]) -> int:
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    receiver.stdin.write("\n")
    receiver.stdin.flush()
    return int(receiver.stdout.readline().split()[0])


def cpu_s_of(pid: int) -> float:
    """Return user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise DialFailed("the relay server did not start within 10 s")


def token() -> bytes:
    return make_token(key_of(Secret(SECRET.encode())), time.time()).value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--send", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--receive", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send is not None:
        asyncio.run(send(arguments.send))
    elif arguments.receive is not None:
        asyncio.run(receive(arguments.receive))
    else:
        print(json.dumps(measure(arguments.runs, arguments.seconds), indent=2))


if __name__ == "__main__":
    main()
