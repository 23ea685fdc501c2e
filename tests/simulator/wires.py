"""TCP connections between hosts and servers, as far as programs can tell: order, delay, silence, resets.

What is lost is sent again, at growing intervals; so a connection whose link was away goes on by itself, some time after
the link came back.  One whose way through a NAT is forgotten never does: a strict router eats what comes, a lax one
answers with a reset.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from tests.kit.agenda import Agenda
from tests.kit.net import Conditions
from transport.relay.signs import Signs

FIRST_RETRY_S = 0.2  # TCP's least retransmission timeout on Linux; doubles
LONGEST_RETRY_S = 120.0
SYN_S: Final = (0.0, 1.0, 3.0, 7.0)  # when a connection is tried, RFC 6298 section 2
MAX_HELD = 512  # items under way of one direction; more of them: the sender is told to wait
HANDSHAKE_TRIPS = 3  # TCP, then TLS or the upgrade, then the request


class End(Protocol):
    """One end of a stream."""

    def received(self, stream: "Stream", item: Any) -> None:
        """Take what the other end sent."""
        ...

    def lost(self, stream: "Stream", reason: str) -> None:
        """Take note that the stream is over."""
        ...


class _Fin:
    """The last that is sent."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _Way:
    """One direction."""

    def __init__(self) -> None:
        self.last_at = 0.0
        self.held: deque[Any] = deque()
        self.sent = 0
        self.came = 0
        self.repeated = 0


class Stream:
    """One connection of a host to a server."""

    def __init__(self, wires: "Wires", host: str, server: str, client: End, served_by: End) -> None:
        self.host, self.server = host, server
        self.over = False
        self.severed = False  # the NAT has forgotten it
        self.lax = False  # and would say so
        self._wires = wires
        self._ends = {True: served_by, False: client}
        self._ways = {True: _Way(), False: _Way()}
        self._shut: set[bool] = set()  # ends that have closed: True is the server's
        self.heard_at = wires.agenda.now  # by the client's TCP, acknowledgements included

    def signs(self) -> Signs | None:
        """Return what the client's kernel sees of the server."""
        if self.over:
            return None
        out, back = self._ways[True], self._ways[False]
        return Signs(
            heard_s=self._wires.agenda.now - self.heard_at,
            waiting=out.came < out.sent,
            segments=out.sent + back.came,
            troubled=out.repeated + back.repeated,
            acknowledged_len=out.came,
            in_flight=out.came < out.sent,
        )

    @property
    def full(self) -> bool:
        """Whether the client should wait before it sends more."""
        return len(self._ways[True].held) >= MAX_HELD

    @property
    def passes(self) -> bool:
        """Whether anything gets through now."""
        return not self.severed and self._wires.reaches(self.host, self.server)

    def under_way(self, *, to_server: bool) -> int:
        """Return how many items were sent and have not come."""
        way = self._ways[to_server]
        return way.sent - way.came

    def send(self, item: Any, *, to_server: bool) -> None:
        """Send something, unless the stream is over."""
        if self.over or (not to_server) in self._shut:
            return
        wires, way = self._wires, self._ways[to_server]
        delay_s = wires.delay_s()
        way.sent += 1
        way.repeated += delay_s >= FIRST_RETRY_S
        at = max(wires.agenda.now + delay_s, way.last_at)
        way.last_at = at
        wires.agenda.at(at, lambda: self._arrive(item, to_server))

    def close(self, reason: str, *, by_server: bool) -> None:
        """Close one end; the other hears of it after all that was sent before."""
        if not self.over and by_server not in self._shut:
            self.send(_Fin(reason), to_server=not by_server)
            self._shut.add(by_server)

    def _arrive(self, item: Any, to_server: bool) -> None:
        way = self._ways[to_server]
        if self.over:
            return
        if way.held or not self.passes:
            if len(way.held) < 2 * MAX_HELD:
                way.held.append(item)
            if len(way.held) == 1:
                self._retry_in(FIRST_RETRY_S, to_server)
            return
        self._deliver(item, to_server)

    def _retry_in(self, wait_s: float, to_server: bool) -> None:
        if self.severed and not self.lax:
            return  # for nothing
        agenda = self._wires.agenda
        agenda.at(agenda.now + wait_s, lambda: self._retry(wait_s, to_server))

    def _retry(self, waited_s: float, to_server: bool) -> None:
        if self.over:
            return
        way = self._ways[to_server]
        if self.severed and self.lax and to_server and self._wires.reaches(self.host, self.server):
            self.over = True
            if False not in self._shut:
                self._ends[False].lost(self, "connection reset by peer")
        elif not self.passes:
            way.repeated += 1
            self._retry_in(min(2 * waited_s, LONGEST_RETRY_S), to_server)
        else:
            while way.held and not self.over:
                self._deliver(way.held.popleft(), to_server)

    def _deliver(self, item: Any, to_server: bool) -> None:
        self._ways[to_server].came += 1
        self.heard_at = self._wires.agenda.now  # an acknowledgement is taken to need no time
        if isinstance(item, _Fin):
            self.over = True
            if to_server not in self._shut:
                self._ends[to_server].lost(self, item.reason)
        elif to_server not in self._shut:
            self._ends[to_server].received(self, item)


class Wires:
    """What lies between hosts and servers."""

    def __init__(self, agenda: Agenda, rng: Random, conditions: Conditions) -> None:
        self.agenda, self.conditions = agenda, conditions
        self.away: set[str] = set()  # hosts whose link is down, or who sleep
        self.apart: set[tuple[str, str]] = set()  # host, server: nothing gets through, either way
        self._rng = rng
        self._streams: list[Stream] = []

    def reaches(self, host: str, server: str) -> bool:
        """Whether packets get through."""
        return host not in self.away and (host, server) not in self.apart and self.conditions.loss < 1.0

    def delay_s(self) -> float:
        """Draw how long something takes, one way."""
        conditions, rng = self.conditions, self._rng
        delay_s = conditions.latency_s + rng.random() * conditions.jitter_s
        while conditions.loss and conditions.loss < 1.0 and rng.random() < conditions.loss:
            delay_s += FIRST_RETRY_S  # found by what follows it (RFC 8985), so the interval does not double
        return delay_s

    def dial(
        self,
        host: str,
        server: str,
        limit_s: float,
        done: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """Have a host connect; `done` may find that nobody listens there."""

        def look() -> None:
            if self.reaches(host, server):
                self.agenda.at(self.agenda.now + HANDSHAKE_TRIPS * self.delay_s(), done)
            elif (after := next((each for each in SYN_S if begun + each > self.agenda.now), None)) is not None:
                self.agenda.at(begun + after, look)
            else:
                self.agenda.at(begun + limit_s, lambda: failed(f"no answer within {limit_s:g} s"))

        begun = self.agenda.now
        look()

    def stream(self, host: str, server: str, client: End, served_by: End) -> Stream:
        """Make a connection that both ends know of."""
        self._streams = [stream for stream in self._streams if not stream.over]
        made = Stream(self, host, server, client, served_by)
        self._streams.append(made)
        return made

    def woke(self, host: str) -> None:
        """A host slept, and its kernel's clock of connections stood still."""
        for stream in self._streams:
            if stream.host == host:
                stream.heard_at = self.agenda.now

    def sever(self, hosts: set[str], *, lax: bool) -> None:
        """Have the NAT before these hosts forget their connections."""
        for stream in self._streams:
            if stream.host in hosts and not stream.over:
                stream.severed, stream.lax = True, lax
