"""TCP of relay links that lose packets: how long nothing comes, with transport/drivers/tcp_repeats.py and without.

python -m tests.bench.lossy [--share 0.2] [--seconds 60] [--links 8]

Two namespaces and a cable that loses a share of the packets each way; on each link 50 messages a second both ways.
Both kinds of links run beside each other, once for each congestion control that this machine has.
"""

import argparse
import json
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.demo.network import Network
from tests.lab.faults import Drop
from tests.lab.probe import inside
from transport.drivers.tcp_repeats import repeat_soon

SHARE, SECONDS, LINKS = 0.2, 60.0, 8
EVERY_S = 0.02
MESSAGE = struct.Struct("!d172x")  # when it was sent; of the size of a small packet in the tunnel
WAITING_LEN = 64 * 1024
LONG_S = 1.0
NEAR, FAR, PORT = "10.9.0.1", "10.9.0.2", 7000
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
WANTED = ("cubic", "bbr")  # what Linux does by itself, and what servers are often told


@dataclass
class End:
    """One end of a link, which sends and listens."""

    socket: socket.socket
    heard_at: float
    waiting: bytes = b""
    begun: bytes = b""
    gaps: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)

    def send(self, now: float) -> None:
        if len(self.waiting) < WAITING_LEN:
            self.waiting += MESSAGE.pack(now)
        try:
            self.waiting = self.waiting[self.socket.send(self.waiting) :]
        except BlockingIOError:
            return

    def receive(self, now: float) -> None:
        data = self.begun + self.socket.recv(WAITING_LEN)
        whole_len = len(data) - len(data) % MESSAGE.size
        self.begun = data[whole_len:]
        if whole_len:
            self.ages += [now - sent_at for (sent_at,) in MESSAGE.iter_unpack(data[:whole_len])]
            self.gaps.append(now - self.heard_at)
            self.heard_at = now


@contextmanager
def links(congestion: str, share: float, count: int) -> Iterator[dict[str, list[End]]]:
    """Make so many links of either kind, and lose packets of them."""
    with Network("lossy") as network, ExitStack() as stack:
        near, far = network.host("near"), network.host("far")
        near_port, far_port = network.link(near, f"{NEAR}/24", far, f"{FAR}/24")
        with inside(far):
            listener = stack.enter_context(socket.create_server((FAR, PORT)))
        made: dict[str, list[End]] = {"plain": [], "ours": []}
        with inside(near):
            for kind in list(made) * count:
                pair = socket.create_connection((FAR, PORT)), listener.accept()[0]
                for each in pair:
                    stack.enter_context(each)
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
                    each.setblocking(False)
                    if kind == "ours":
                        repeat_soon(each)
                    made[kind].append(End(each, time.monotonic()))
        for host, port in ((near, near_port), (far, far_port)):
            Drop(host, f'iifname "{port}"', share=share)
        yield made


def one_run(ends: list[End], seconds: float) -> None:
    by_fd = {end.socket.fileno(): end for end in ends}
    poll = select.epoll()
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    next_at = until = time.monotonic()
    until += seconds
    while (now := time.monotonic()) < until:
        if now >= next_at:
            next_at = now + EVERY_S
            for end in ends:
                end.send(now)
        for fd, _ in poll.poll(max(next_at - time.monotonic(), 0.0)):
            by_fd[fd].receive(time.monotonic())
    for end in ends:
        end.gaps.append(until - end.heard_at)
    poll.close()


def measure(share: float = SHARE, seconds: float = SECONDS, count: int = LINKS) -> dict[str, Any]:
    """Return the figures of the README."""
    figures: dict[str, Any] = {"lossy_share": share}
    for congestion in (one for one in AVAILABLE.read_text().split() if one in WANTED):
        with links(congestion, share, count) as made:
            one_run([end for ends in made.values() for end in ends], seconds)
            figures[congestion] = {kind: _figures(ends, seconds) for kind, ends in made.items()}
    return figures


def _figures(ends: list[End], seconds: float) -> dict[str, float]:
    gaps, ages = [gap for end in ends for gap in end.gaps], sorted(age for end in ends for age in end.ages)
    return {
        "pauses_over_1_s_per_hour": round(sum(gap > LONG_S for gap in gaps) / len(ends) / seconds * 3600),
        "longest_pause_s": round(max(gaps), 2),
        "age_p99_s": round(ages[len(ages) * 99 // 100], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--links", type=int, default=LINKS)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.share, arguments.seconds, arguments.links), indent=2))


if __name__ == "__main__":
    main()
