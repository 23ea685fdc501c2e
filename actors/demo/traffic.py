"""Traffic to measure a tunnel by, each end a program of its own: `python -m actors.demo.traffic flow|sink|source ...`.

`flow` sends 50 numbered UDP packets a second and notes when the other end's arrive.  It takes commands on standard
input, a line each, and answers each with one JSON line before it takes the next:

    first             the time (CLOCK_BOOTTIME, s) at which the first reply came; waits for it
    arrivals FROM     the arrival times since FROM
    sent              how many packets were sent so far
    lost FROM [AFTER] how many of the packets between the first and the last that arrived since FROM never came; only
                      of those that were sent after AFTER others
    rate N            send N packets a second from now on

`sink` receives one TCP stream and prints its bytes and seconds, `source` sends one for some seconds.
"""

import argparse
import itertools
import json
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable

PERIOD_S = 0.02
BUFFER_LEN = 4 << 20  # bytes that may wait for us: what we were too slow to read would look like a loss
NUMBERS = struct.Struct("!QQ")  # own number; newest number heard from the other end, 0: none
KEPT = 200_000  # arrivals: more than an hour
CHUNK = bytes(1 << 16)
WRITTEN_ZERO_S = 0.1  # a gap up to this is the machine's noise, not an outage


def boot_time() -> float:
    """Return seconds since boot, suspend included: one clock for all processes of this machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def longest_gap(arrivals: list[float], start: float, end: float) -> float:
    """Return the outage in [start, end]: the longest gap between arrivals less the sending period, in seconds.

    The time up to the first arrival and from the last one counts; up to 0.1 s is written 0.
    """
    marks = [start, *(at for at in arrivals if start <= at <= end), end]
    gap = max(later - earlier for earlier, later in itertools.pairwise(marks)) - PERIOD_S
    return gap if gap > WRITTEN_ZERO_S else 0.0


def lost(arrivals: Iterable[tuple[float, int]], start: float, after: int = 0) -> int:
    """Return how many numbers over `after` are missing between the least and the greatest that came since `start`."""
    numbers = {number for at, number in arrivals if at >= start and number > after}
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


class Flow:
    """One end of the numbered packets."""

    def __init__(self, local: tuple[str, int], remote: tuple[str, int]) -> None:
        self._remote = remote
        self._socket = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET, socket.SOCK_DGRAM)
        # The tunnel's address may not exist yet.
        self._socket.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
        self._socket.setsockopt(socket.SOL_SOCKET, 33, BUFFER_LEN)  # SO_RCVBUFFORCE
        self._socket.bind(local)
        self._socket.setblocking(False)
        self._period_s = PERIOD_S
        self._number = 0
        self._heard = 0
        self._first_reply_at: float | None = None
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=KEPT)  # with the packet's number

    def run(self) -> None:
        """Send, note and answer until standard input ends."""
        due = boot_time()
        waiting_for_first = False
        while True:
            ready, _, _ = select.select([self._socket, sys.stdin], [], [], max(0.0, due - boot_time()))
            if self._socket in ready:
                self._receive()
            if sys.stdin in ready:
                command = sys.stdin.readline().split()
                if not command:
                    return
                if command[0] == "first":
                    waiting_for_first = True
                elif command[0] == "arrivals":
                    print(json.dumps([at for at, _ in self._arrivals if at >= float(command[1])]), flush=True)
                elif command[0] == "lost":
                    print(json.dumps(lost(self._arrivals, float(command[1]), *map(int, command[2:]))), flush=True)
                elif command[0] == "sent":
                    print(self._number, flush=True)
                elif command[0] == "rate":
                    self._period_s = 1 / float(command[1])
                    print(command[1], flush=True)
            if waiting_for_first and self._first_reply_at is not None:
                waiting_for_first = False
                print(json.dumps(self._first_reply_at), flush=True)
            if boot_time() >= due:
                due = max(due + self._period_s, boot_time() - 10 * PERIOD_S)
                self._send()

    def _send(self) -> None:
        self._number += 1
        try:
            self._socket.sendto(NUMBERS.pack(self._number, self._heard), self._remote)
        except OSError:
            return  # no route yet, or the interface is being made anew: a lost packet, which the gap shows

    def _receive(self) -> None:
        while True:
            try:
                data = self._socket.recv(2048)
            except OSError:
                return
            if len(data) != NUMBERS.size:
                continue
            number, answered = NUMBERS.unpack(data)
            self._heard = max(self._heard, number)
            now = boot_time()
            if answered and self._first_reply_at is None:
                self._first_reply_at = now
            self._arrivals.append((now, number))


def sink(local: tuple[str, int]) -> None:
    """Take one TCP stream and print how many bytes it had and how long it took."""
    with socket.create_server(local) as server:
        print("ready", flush=True)
        stream, _ = server.accept()
        with stream:
            received, begun = 0, boot_time()
            while data := stream.recv(1 << 18):
                received += len(data)
            print(json.dumps({"bytes": received, "seconds": boot_time() - begun}), flush=True)


def source(local: str, remote: tuple[str, int], seconds: float) -> None:
    """Send one TCP stream for so many seconds."""
    with socket.create_connection(remote, timeout=10, source_address=(local, 0)) as stream:
        end = boot_time() + seconds
        while boot_time() < end:
            stream.sendall(CHUNK)
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    """Run one end."""
    parser = argparse.ArgumentParser(prog="python -m actors.demo.traffic")
    modes = parser.add_subparsers(dest="mode", required=True)
    flow_mode = modes.add_parser("flow")
    flow_mode.add_argument("local", type=_endpoint)
    flow_mode.add_argument("remote", type=_endpoint)
    sink_mode = modes.add_parser("sink")
    sink_mode.add_argument("local", type=_endpoint)
    source_mode = modes.add_parser("source")
    source_mode.add_argument("local")
    source_mode.add_argument("remote", type=_endpoint)
    source_mode.add_argument("seconds", type=float)
    options = parser.parse_args()
    if options.mode == "flow":
        Flow(options.local, options.remote).run()
    elif options.mode == "sink":
        sink(options.local)
    else:
        source(options.local, options.remote, options.seconds)


if __name__ == "__main__":
    main()
