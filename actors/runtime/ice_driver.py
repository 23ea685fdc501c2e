"""The world behind ICE_AGENTS: its datagrams, its timer, the addresses of the host, the names of STUN servers.

Carrier --STUN--> IceAgents --datagrams--> Carrier
netlink --> read_network --^  ^-- Resolver
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from loguru import logger

from actors.effects import Effect, Send
from actors.messages.node import OutsideEvent
from actors.packet.ice_agents import IceAgents
from actors.runtime.resolver import Resolver, Server
from config.keys import PublicKey
from transport.drivers.interfaces import AddressWatch, read_network
from transport.ice.interfaces import HostNetwork, NetworkWatch
from wg.datagrams import Endpoint, UdpBatch

MAX_WAIT_S = 1.0  # the loop's clock stops during suspend, deadlines do not
SETTLE_S = 0.2  # from a change of addresses to reading them: more of it follows, mostly
POLL_S = 30.0  # where the kernel does not tell
SHARE = 20  # of the time goes into reading at the most one part in so many: some routers' routes change all the time


class IceDriver:
    """The hands of IceAgents."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        agents: IceAgents,
        *,
        servers: Sequence[Server],
        send: Callable[[UdpBatch], None],
        deliver: Callable[[list[Effect]], None],
        clock: Callable[[], float],
        read: Callable[[], HostNetwork] = read_network,
        watch: Callable[[], AddressWatch] = AddressWatch,
    ) -> None:
        self._loop, self._agents, self._send, self._deliver, self._clock = loop, agents, send, deliver, clock
        self._read, self._make_watch = read, watch
        self._resolver = Resolver(loop, servers, self._on_resolved)
        self._network = NetworkWatch(agents.interfaces)
        self._losers: set[tuple[int, str]] = set()  # what was lost since the last reading
        self._reading_s = 0.0  # that it took
        self._watch: AddressWatch | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._settling = False

    def open(self) -> None:
        """Begin."""
        try:
            self._watch = self._make_watch()
        except OSError as error:
            logger.warning("changes of our addresses are not told ({}); they are read every {:.0f} s", error, POLL_S)
        else:
            self._loop.add_reader(self._watch.fd, self._on_news)
        self._read_addresses()
        self._resolver.start()

    def close(self) -> None:
        """Do nothing more."""
        self._resolver.close()
        for timer in (self._timer, self._reading):
            if timer is not None:
                timer.cancel()
        if self._watch is not None:
            self._loop.remove_reader(self._watch.fd)
            self._watch.close()
            self._watch = None

    def receive(self, batches: Iterable[UdpBatch]) -> None:
        """Take STUN that came to the UDP sockets."""
        self._settle(self._agents.receive(batches, self._clock()))

    def rebound(self, port: int) -> None:
        """Take note that our UDP sockets have another port."""
        self._settle(self._agents.rebound(port, self._clock()))

    def path_heard(self, peer: PublicKey, endpoint: Endpoint) -> None:
        """Take note that WireGuard heard the peer there."""
        self._agents.path_heard(peer, endpoint, self._clock())

    def doubted(self) -> None:
        """Take note that packets are missing on some path."""
        self._deliver(self._agents.doubted(self._clock()))
        self.settle_soon()

    def problems(self) -> tuple[str, ...]:
        """Return a line for each STUN server whose name has no address."""
        return self._resolver.problems()

    def settle_soon(self) -> None:
        """Do what mail to ICE_AGENTS has made, once that mail has been handled."""
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle, [])

    # --- addresses ---

    def _on_news(self) -> None:
        assert self._watch is not None
        self._losers |= self._watch.news()
        if self._reading is None:
            settle_s = max(SETTLE_S, SHARE * self._reading_s)
            self._reading = self._loop.call_later(settle_s, self._read_addresses)

    def _read_addresses(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        # Without a watch the next time is now, in POLL_S.
        self._reading = None if self._watch is not None else self._loop.call_later(POLL_S, self._read_addresses)
        began_at = self._loop.time()
        try:
            found = self._read()
        except OSError as error:
            logger.warning("our addresses cannot be read: {}", error)
            return
        losers, self._losers = self._losers, set()
        besides = self._network.look(found, losers)
        self._reading_s = self._loop.time() - began_at
        effects = self._agents.addresses_read(found.addresses, self._clock(), besides=besides)
        if effects:
            self._resolver.again()
        self._settle(effects)

    def _on_resolved(self, servers: list[Endpoint]) -> None:
        self._settle(self._agents.servers_resolved(servers, self._clock()))

    # --- what goes ---

    def _settle(self, effects: list[Effect]) -> None:
        """Do all that IceAgents wants done, after any input."""
        self._settling = False
        self._deliver(effects)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, OutsideEvent):
                logger.info("network changed", what=effect.message.detail)
        for batch in self._agents.datagrams():
            self._send(batch)
        self._arm()
        if self._agents.addresses_wanted():
            self._read_addresses()

    def _arm(self) -> None:
        at = self._agents.next_timeout()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(min(max(at - self._clock(), 0.0), MAX_WAIT_S), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._settle(self._agents.handle_timeout(self._clock()))
