"""Dials a relay server by one transport or by both at once, and keeps the link that wins (transport/relay/race.py)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from actors.packet.relay_link import Dial
from transport.drivers.websocket import DialFailed, LinkOwner
from transport.relay.race import Lost, Race, Transport, Won
from transport.relay.signs import Signs
from transport.relay.urls import InvalidRelayUrl


class RelayLink(Protocol):
    """A link to a relay server, whatever carries it."""

    @property
    def server_ip(self) -> str | None:
        """The address of the server; None: the link is over."""

    @property
    def too_narrow(self) -> bool:
        """Whether it ended because full-size messages do not pass any more."""

    def send(self, messages: list[bytes]) -> None:
        """Send messages."""

    def ping(self) -> None:
        """Ask for a sign of life; the owner hears of its pong."""

    def signs(self) -> Signs | None:
        """Return what there is to see of the server; None: this transport does not show it."""

    def abort(self) -> None:
        """End the link without another word to the owner."""


Dialler = Callable[[str, str | None, LinkOwner], Awaitable[RelayLink]]
"""Connects to a server: URL, address to try first, owner of the link.  Raises DialFailed, InvalidRelayUrl."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The link, and how it was won."""

    link: RelayLink
    server_ip: str
    won: Won


async def dial_first(
    wanted: Dial, diallers: Mapping[Transport, Dialler], owner: LinkOwner, clock: Callable[[], float]
) -> Winner:
    """Connect by the transport that wins; close the other.  Raises DialFailed, which names both if both failed.

    The owner hears of the winner alone, from the return on.
    """
    race = Race(wanted.transports, clock())
    running = _Running(wanted, diallers, owner, race, clock)
    try:
        while race.outcome is None:
            running.moved.clear()
            await _moved(running.moved, race.next_timeout(), clock)
            race.handle_timeout(clock())
        if isinstance(race.outcome, Lost):
            raise DialFailed(race.outcome.reason)
        return running.winner(race.outcome)
    finally:
        running.end()


async def _moved(event: asyncio.Event, until: float | None, clock: Callable[[], float]) -> None:
    """Wait until a dial came to something, or it is time."""
    try:
        async with asyncio.timeout(None if until is None else max(until - clock(), 0.0)):
            await event.wait()
    except TimeoutError:
        return


class _Running:
    """The dials of one race."""

    def __init__(
        self,
        wanted: Dial,
        diallers: Mapping[Transport, Dialler],
        owner: LinkOwner,
        race: Race,
        clock: Callable[[], float],
    ) -> None:
        self._wanted, self._race, self._clock = wanted, race, clock
        self._owners = {transport: _RaceOwner(self, transport, owner) for transport in wanted.transports}
        self._links: dict[Transport, RelayLink] = {}
        self.moved = asyncio.Event()
        self._tasks = [
            asyncio.get_running_loop().create_task(self._dial(transport, diallers[transport]))
            for transport in wanted.transports
        ]

    async def _dial(self, transport: Transport, dialler: Dialler) -> None:
        try:
            link = await dialler(self._wanted.url, self._wanted.server_ip, self._owners[transport])
        except (DialFailed, InvalidRelayUrl) as error:
            self.failed(transport, str(error))
            return
        except Exception as error:  # a bug of ours, which the loop tells; the other dial goes on
            self.failed(transport, f"{type(error).__name__} in the dialler")
            raise
        if not self._owners[transport].over:  # else it ended at once, and was told as lost
            self._links[transport] = link
            self._race.ready(transport, self._clock())
            self.moved.set()

    def failed(self, transport: Transport, reason: str) -> None:
        """Take note that a dial failed, or that its link ended before the race did."""
        self._links.pop(transport, None)
        # Whoever shows the reason names the server.
        for prefix in (f"{self._wanted.url}: ", f"{self._wanted.url} by QUIC: "):
            reason = reason.removeprefix(prefix)
        self._race.failed(transport, reason)
        self.moved.set()

    def winner(self, won: Won) -> Winner:
        """Give the link away.  Raises DialFailed if it ended in this very moment."""
        link = self._links.pop(won.transport, None)
        server_ip = link.server_ip if link is not None else None
        if link is None or server_ip is None:
            raise DialFailed("the other end closed the connection")
        self._owners[won.transport].racing = False
        return Winner(link, server_ip, won)

    def end(self) -> None:
        """Close what was not given away."""
        for task in self._tasks:
            task.cancel()
        for link in self._links.values():
            link.abort()


class _RaceOwner:
    """Owns a link while it races, and passes everything on once it has won."""

    def __init__(self, running: _Running, transport: Transport, owner: LinkOwner) -> None:
        self._running, self._transport, self._owner = running, transport, owner
        self.racing = True
        self.over = False

    def received(self, messages: list[bytes]) -> None:
        if not self.racing:  # a server says nothing before our login
            self._owner.received(messages)

    def pong(self) -> None:
        if not self.racing:
            self._owner.pong()

    def doubted(self) -> None:
        if not self.racing:
            self._owner.doubted()

    def writable(self, yes: bool) -> None:
        if not self.racing:
            self._owner.writable(yes)

    def lost(self, reason: str) -> None:
        self.over = True
        if self.racing:
            self._running.failed(self._transport, reason)
        else:
            self._owner.lost(reason)
