"""Reads the records of all processes of an agent: the taps as they come, the rings for what has been.

Nothing is ever asked that the agent would wait for: a reader that stops reading loses records, which it sees by their
count once it reads again, and a process that does not answer is passed over.
"""

import heapq
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from actors.trace.record import (
    Record,
    Ring,
    RingWanted,
    Tapped,
    UnreadableRecord,
    decode_ring,
    decode_tapped,
    encode_wanted,
    ring_name,
    tap_name,
)
from config.keys import PublicKey

Context = zmq.Context[zmq.Socket[bytes]]

SOCKET_NAME = re.compile(r"(tap|ring)-(.+)-(\d+)\.sock")
RECEIVE_FRAMES = 4096  # records that may wait here
CONTROL = "control-"  # how the processes are called that have the peers' machines
REFRESH_S = 0.25  # between looks for processes that started anew
REORDER_S = 0.1  # a record is held this long, so that those of several processes come out in the order of time
BATCH = 256  # records taken from a tap before the next one has its turn


@dataclass(frozen=True, slots=True)
class Past:
    """What the rings hold."""

    rings: tuple[Ring, ...]
    silent: tuple[str, ...]  # processes that did not answer, or in no way that this version reads


def read_rings(directory: Path, since: float, limit_s: float, actor: str = "") -> Past:
    """Return the records since `since` (CLOCK_BOOTTIME seconds) of every process that answers within `limit_s`.

    `actor`: only mail to actors whose names begin so.
    """
    rings, silent = _asked(directory, encode_wanted(RingWanted(since=since, actor=actor)), limit_s)
    return Past(tuple(rings), tuple(silent))


def read_machines(directory: Path, peer: PublicKey, limit_s: float) -> Iterator[bytes]:
    """Yield how this peer's machines stand: an item of a tape, from the control process that has them."""
    wanted = encode_wanted(RingWanted(actor=f"peer/{peer}/", machines=True))
    for ring in _asked(directory, wanted, limit_s, CONTROL)[0]:
        if ring.machines:
            yield ring.machines


def _asked(directory: Path, wanted: bytes, limit_s: float, prefix: str = "") -> tuple[list[Ring], list[str]]:
    """Return what the processes answer whose names begin so, and who does not."""
    waiting: dict[zmq.Socket[bytes], str] = {}
    rings: list[Ring] = []
    silent: list[str] = []
    with _context() as context:
        poller = zmq.Poller()
        for process, incarnation in _newest(directory, "ring").items():
            if not process.startswith(prefix):
                continue
            socket = context.socket(zmq.REQ)
            socket.connect(f"ipc://{directory / ring_name(process, incarnation)}")
            socket.send(wanted, zmq.NOBLOCK)
            poller.register(socket, zmq.POLLIN)
            waiting[socket] = process
        until = time.monotonic() + limit_s
        while waiting and (left_s := until - time.monotonic()) > 0:
            for socket, _ in poller.poll(int(left_s * 1000)):
                poller.unregister(socket)
                process = waiting.pop(socket)
                try:
                    rings.append(decode_ring(socket.recv(zmq.NOBLOCK)))
                except UnreadableRecord:
                    silent.append(process)
    return rings, sorted([*silent, *waiting.values()])


@dataclass(order=True, slots=True)
class _Held:
    at: float
    number: int
    record: Record = field(compare=False)


class Taps:
    """A subscription to the taps of all processes of an agent, also of those that start later.

    `actor`: only to mail for actors whose names begin so.
    """

    def __init__(self, directory: Path, actor: str = "") -> None:
        self._directory, self._topic = directory, actor.encode()
        self._context = _context()
        self._poller = zmq.Poller()
        self._sockets: dict[tuple[str, int], zmq.Socket[bytes]] = {}
        self._refresh_at = 0.0
        self._held: list[_Held] = []
        self._count = 0
        self._counts: dict[tuple[str, int], int] = {}  # tap -> records for us that it had published when last heard
        self.lost = 0  # records that did not come to us since we listen, because we were too slow
        self.unreadable = 0

    def __enter__(self) -> Self:
        self._refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def read(self, wait_s: float, now: float) -> Iterator[Record]:
        """Yield the records that are due at `now`, after waiting for at most `wait_s` for more to come."""
        if time.monotonic() >= self._refresh_at:
            self._refresh()
        for socket, _ in self._poller.poll(int(1000 * (min(wait_s, REORDER_S) if self._held else wait_s))):
            self._drain(socket)
        while self._held and self._held[0].at <= now - REORDER_S:
            yield heapq.heappop(self._held).record

    def rest(self) -> Iterator[Record]:
        """Yield what is still held."""
        while self._held:
            yield heapq.heappop(self._held).record

    def _drain(self, socket: zmq.Socket[bytes]) -> None:
        for _ in range(BATCH):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                tapped = decode_tapped(frames[-1])
            except UnreadableRecord:
                self.unreadable += 1
                continue
            self._hold(tapped)

    def _hold(self, tapped: Tapped) -> None:
        record = tapped.record
        source = (record.process, record.incarnation)
        count = tapped.counts.get(self._topic.decode(), 0)
        self.lost += max(count - 1 - self._counts.get(source, count - 1), 0)
        self._counts[source] = count
        self._count += 1
        heapq.heappush(self._held, _Held(record.at, self._count, record))

    def _refresh(self) -> None:
        """Connect to the taps that are there, and close those of processes that are gone."""
        self._refresh_at = time.monotonic() + REFRESH_S
        present = _newest(self._directory, "tap")
        for process, incarnation in [one for one in self._sockets if present.get(one[0]) != one[1]]:
            socket = self._sockets.pop((process, incarnation))
            self._drain(socket)
            self._poller.unregister(socket)
            socket.close(linger=0)
        for process, incarnation in present.items():
            if (process, incarnation) in self._sockets:
                continue
            socket = self._context.socket(zmq.SUB)
            socket.set(zmq.RCVHWM, RECEIVE_FRAMES)
            socket.set(zmq.SUBSCRIBE, self._topic)
            socket.connect(f"ipc://{self._directory / tap_name(process, incarnation)}")
            self._poller.register(socket, zmq.POLLIN)
            self._sockets[process, incarnation] = socket


def _newest(directory: Path, kind: str) -> dict[str, int]:
    """Return the processes that have such a socket, each with its newest incarnation."""
    found: dict[str, int] = {}
    for path in directory.glob(f"{kind}-*.sock"):
        name = SOCKET_NAME.fullmatch(path.name)
        if name is not None:
            found[name[2]] = max(found.get(name[2], 0), int(name[3]))
    return found


def _context() -> Context:
    context: Context = zmq.Context()
    context.set(zmq.BLOCKY, False)
    return context
