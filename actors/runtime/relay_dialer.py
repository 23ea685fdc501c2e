"""The sockets behind RELAY_LINKS: dials, sends, pings and closes as it asks, and hands in what happens on the links.

RelayLinks --requests--> RelayDialer --> WebSocket and QUIC links
    ^                         |
    +-- connected, received --+--> packets to the Carrier, mail to the post office
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import assert_never

from actors.effects import Effect
from actors.packet.relay_link import Abort, Dial, Ping, SendMessages
from actors.packet.relay_links import RelayLinks
from actors.runtime.relay_race import Dialler, RelayLink, dial_first
from config.keys import PublicKey
from transport.drivers.websocket import DialFailed
from transport.relay.race import Transport
from wg.datagrams import RelayedBatch

MAX_WAIT_S = 1.0  # the loop's clock stops during suspend, deadlines do not

Receive = Callable[[PublicKey, int, int, list[bytes]], None]
"""Takes a peer's payloads: peer, link, generation, payloads."""


class RelayDialer:
    """The hands of RelayLinks."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        links: RelayLinks,
        *,
        diallers: Mapping[Transport, Dialler],
        deliver: Callable[[list[Effect]], None],
        receive: Receive,
        clock: Callable[[], float],
    ) -> None:
        self._loop, self._links, self._diallers = loop, links, diallers
        self._deliver, self._receive, self._clock = deliver, receive, clock
        self._open: dict[int, RelayLink] = {}
        self._dialling: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._settling = False

    def send(self, batch: RelayedBatch, now: float) -> None:
        """Send packets to a peer over a link; what cannot be sent is counted by RelayLinks."""
        self._links.send_packets(batch.peer, batch.link, batch.payloads, now)
        self._work_off_requests()

    def settle_soon(self) -> None:
        """Do what mail to RELAY_LINKS has made, once that mail has been handled."""
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self.settle, [])

    def settle(self, effects: list[Effect]) -> None:
        """Do all that RelayLinks wants done, after any input."""
        self._settling = False
        self._deliver(effects)
        self._work_off_requests()
        for packets in self._links.packets():
            self._receive(packets.peer, packets.link, packets.generation, packets.payloads)
        self._arm()

    def close(self) -> None:
        """Say Close on every link and end them; what was sent may still leave while the loop runs."""
        self._links.shutdown(self._clock())
        self._work_off_requests()
        if self._timer is not None:
            self._timer.cancel()

    def _work_off_requests(self) -> None:
        for request in self._links.requests():
            match request:
                case SendMessages():
                    if (link := self._open.get(request.link)) is not None:
                        link.send(request.messages)
                case Ping():
                    if (link := self._open.get(request.link)) is not None:
                        link.ping()
                case Dial():
                    self._dialling[request.link] = self._loop.create_task(self._dial(request))
                case Abort():
                    self._abort(request.link)
                case _:
                    assert_never(request)

    async def _dial(self, wanted: Dial) -> None:
        number = wanted.link
        try:
            winner = await dial_first(wanted, self._diallers, _Owner(self, number), self._clock)
        except DialFailed as error:
            self._dialling.pop(number, None)
            self.settle(self._links.lost(number, str(error), self._clock()))
            return
        self._dialling.pop(number, None)
        self._open[number] = winner.link
        self.settle(self._links.connected(number, winner.server_ip, self._clock(), winner.won, winner.link.signs))

    def _abort(self, number: int) -> None:
        task = self._dialling.pop(number, None)
        if task is not None:
            task.cancel()
        link = self._open.pop(number, None)
        if link is not None:
            link.abort()

    def _arm(self) -> None:
        at = self._links.next_timeout()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(min(max(at - self._clock(), 0.0), MAX_WAIT_S), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self.settle(self._links.handle_timeout(self._clock()))

    # --- what happens on a link ---

    def received(self, number: int, messages: list[bytes]) -> None:
        """Take what came in one read."""
        self.settle(self._links.received(number, messages, self._clock()))

    def pong(self, number: int) -> None:
        """Take note that a ping was answered."""
        self.settle(self._links.pong(number, self._clock()))

    def doubted(self, number: int) -> None:
        """Take note of a hint that the server of a link is gone."""
        self.settle(self._links.doubted(number, self._clock()))

    def writable(self, number: int, yes: bool) -> None:
        """Take note that a link is full, or has room."""
        self._links.writable(number, yes)

    def lost(self, number: int, reason: str) -> None:
        """Take note that a link ended."""
        link = self._open.pop(number, None)
        too_narrow = link is not None and link.too_narrow
        self.settle(self._links.lost(number, reason, self._clock(), too_narrow=too_narrow))


class _Owner:
    """Gives a link its number (transport.drivers.websocket.LinkOwner)."""

    def __init__(self, dialer: RelayDialer, number: int) -> None:
        self._dialer, self._number = dialer, number

    def received(self, messages: list[bytes]) -> None:
        self._dialer.received(self._number, messages)

    def pong(self) -> None:
        self._dialer.pong(self._number)

    def doubted(self) -> None:
        self._dialer.doubted(self._number)

    def writable(self, yes: bool) -> None:
        self._dialer.writable(self._number, yes)

    def lost(self, reason: str) -> None:
        self._dialer.lost(self._number, reason)
