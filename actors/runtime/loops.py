"""The two ways a post office gets its turns: a thread of its own that polls, or an asyncio loop.

Both wait for the same: mail, a link that takes mail again, a reader of the tap or the ring, the next timer.  A wait
lasts at most MAX_WAIT_S, since waits stop during suspend and timers do not.
"""

import asyncio
import gc
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq
from loguru import logger

from actors.runtime.links import Link
from actors.runtime.shell import OfficeThread
from actors.runtime.supervision import ActorsFailing
from actors.runtime.timers import SLACK_S

if TYPE_CHECKING:
    from actors.runtime.post_office import PostOffice

MAX_WAIT_S = 1.0
COLLECT = (20_000, 20, 20)  # the collector's thresholds: mail makes many short-lived objects, and no cycles
BUSY_POLL_S = 0.01  # how often a busy post office looks at other things than mail


def wait_s(office: "PostOffice") -> float:
    """Return how long an idle post office may wait for mail."""
    at = office.next_at()
    if at is None:
        return MAX_WAIT_S
    return min(max(at - office.clock(), 0.0) + SLACK_S, MAX_WAIT_S)


def run_here(office: "PostOffice", until: Callable[[], bool]) -> None:
    """Run on this thread until `until()`.  Raises ActorsFailing."""
    poller = zmq.Poller()
    for socket in (office.receiver.socket, office.tap.publisher.socket, office.tap.answerer.socket):
        poller.register(socket, zmq.POLLIN)
    polled_at = float("-inf")
    with OfficeThread():
        gc.set_threshold(*COLLECT)
        while not until():
            busy = office.turn()
            if office.wards.fatal is not None:
                raise office.wards.fatal
            now = office.clock()
            if busy and now - polled_at < BUSY_POLL_S:
                continue
            polled_at = now
            _poll(office, poller, 0.0 if busy else wait_s(office))


def _poll(office: "PostOffice", poller: zmq.Poller, seconds: float) -> None:
    blocked = [link.sender.socket for link in office.dispatch.links.values() if link.waiting]
    watched = list(office.watched)
    for socket in blocked:
        poller.register(socket, zmq.POLLOUT)
    for descriptor in watched:
        poller.register(descriptor, zmq.POLLIN)
    events = dict(poller.poll(math.ceil(1000 * seconds)))
    for thing in (*blocked, *watched):
        poller.unregister(thing)
    for descriptor in watched:
        if descriptor in events and (callback := office.watched.get(descriptor)) is not None:
            callback()
    if any(thing is not office.receiver.socket for thing in events):
        office.serve_tap()


class LoopDriver:
    """Gives a post office its turns on an asyncio loop."""

    def __init__(
        self,
        office: "PostOffice",
        loop: asyncio.AbstractEventLoop,
        on_fatal: Callable[[ActorsFailing], None] | None,
    ) -> None:
        self._office, self._loop, self._on_fatal = office, loop, on_fatal
        self._timer: asyncio.TimerHandle | None = None
        self._turn_due = False
        self._closed = False
        self._descriptors: set[int] = set()
        self._thread_mark = OfficeThread()
        office.wake = self._wake
        gc.set_threshold(*COLLECT)
        self._watch(office.receiver.fd, self._wake)
        for socket in (office.tap.publisher, office.tap.answerer):
            self._watch(socket.fd, self._on_tap)
        for link in office.dispatch.links.values():
            self.watch_link(link)
        self._on_tap()

    def watch_link(self, link: Link) -> None:
        """Have a turn when a link may take mail again."""
        self._watch(link.sender.fd, lambda: self._on_link(link))

    def unwatch_link(self, link: Link) -> None:
        """Forget a link that is closed next."""
        self._descriptors.discard(link.sender.fd)
        self._loop.remove_reader(link.sender.fd)

    def close(self) -> None:
        """Take no more turns."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)

    def _watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._descriptors.add(descriptor)
        self._loop.add_reader(descriptor, callback)

    def _wake(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _on_link(self, link: Link) -> None:
        # The descriptor stays readable until the socket has looked at its commands, which only a send does otherwise: a
        # link that reconnects and has nothing to send would keep the loop spinning.
        link.sender.writable()
        self._wake()

    def _on_tap(self) -> None:
        self._office.serve_tap()
        self._wake()

    def _turn(self) -> None:
        self._turn_due = False
        if self._closed:
            return
        office = self._office
        with self._thread_mark:
            busy = office.turn()
        if office.wards.fatal is not None:
            self._end(office.wards.fatal)
            return
        if office.show is not None:
            office.serve_tap()  # publishing may have taken the edge of its descriptor
        if busy:
            self._wake()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(wait_s(office), self._wake)

    def _end(self, reason: ActorsFailing) -> None:
        self.close()
        if self._on_fatal is not None:
            self._on_fatal(reason)
        else:
            logger.error("the process ends: {}", reason)
            self._loop.stop()
