"""Carries packets between Tunnels and the descriptors: TUN device, UDP sockets, relay links.

    TUN readable ---\\                        /--> UDP sockets <-- Direct (its own STUN)
    UDP readable ----+--> Tunnels --> output ---> TUN device
    relayed packets -+       |             \\ \\--> relay links
    timer, mail -----/       |              \\--> Direct: STUN that came
                             \\--> reports: mail

Each source gives one bounded batch a turn of the loop, so none starves another.  While a UDP socket takes nothing more,
nothing more is read from the host: its own queue is where packets should wait, and be dropped.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

from actors.effects import Effect, Send
from actors.packet.tunnels import Tunnels
from config.keys import PublicKey
from wg.datagrams import Endpoint, RelayedBatch, UdpBatch
from wg.drivers.tun import TunDriver, TunGone
from wg.drivers.udp import UdpDriver
from wg.reports import PathHeard

MAX_WAIT_S = 1.0  # the loop's clock stops during suspend, deadlines do not


class Relayed(Protocol):
    """Takes packets for peers on relay links."""

    def send(self, batch: RelayedBatch, now: float) -> None:
        """Send these packets, or drop and count them."""
        ...


class Direct(Protocol):
    """Looks for direct paths, with STUN on the same UDP sockets."""

    def receive(self, batches: Iterable[UdpBatch]) -> None:
        """Take STUN that came."""
        ...

    def path_heard(self, peer: PublicKey, endpoint: Endpoint) -> None:
        """Take note that WireGuard heard the peer there."""
        ...


class Carrier:
    """The packet path's hands."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tunnels: Tunnels,
        tun: TunDriver,
        udp: Iterable[UdpDriver],
        *,
        deliver: Callable[[list[Effect]], None],
        gone: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """`deliver` puts mail on its way; `gone` is told, once, when the TUN device has been deleted."""
        self._loop, self.tunnels, self._tun, self._clock = loop, tunnels, tun, clock
        self._udp = {driver.family: driver for driver in udp}
        self._deliver, self._gone = deliver, gone
        self._relayed: Relayed | None = None
        self._direct: Direct | None = None
        self._blocked: set[int] = set()  # UDP descriptors whose buffer is full
        self._tun_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._settling = False
        self.drops: dict[str, int] = {}

    def open(self, relayed: Relayed, direct: Direct | None = None) -> None:
        """Begin to read.  STUN is counted and dropped if nobody looks for direct paths."""
        self._relayed, self._direct = relayed, direct
        self._loop.add_reader(self._tun.fd, self._on_tun)
        for driver in self._udp.values():
            self._loop.add_reader(driver.fd, self._on_udp, driver)
        self._arm()

    def close(self) -> None:
        """Read and write no more.  The descriptors stay open: they are lent."""
        self._loop.remove_reader(self._tun.fd)
        for driver in self._udp.values():
            self._loop.remove_reader(driver.fd)
            self._loop.remove_writer(driver.fd)
        if self._timer is not None:
            self._timer.cancel()

    def rebind(self, udp: Iterable[UdpDriver]) -> None:
        """Go on with these UDP sockets; the ones before are closed, and what waited in them is lost."""
        for before in self._udp.values():
            self._loop.remove_reader(before.fd)
            self._loop.remove_writer(before.fd)
            before.close()
        if self._blocked and not self._tun_lost:
            self._loop.add_reader(self._tun.fd, self._on_tun)
        self._blocked.clear()
        counted = {family: driver.drops for family, driver in self._udp.items()}
        self._udp = {driver.family: driver for driver in udp}
        for driver in self._udp.values():
            driver.drops = counted.get(driver.family, {})
            self._loop.add_reader(driver.fd, self._on_udp, driver)

    def receive_relayed(self, peer: PublicKey, link: int, generation: int, payloads: list[bytes]) -> None:
        """Take what a relay link delivered from this peer; generation 0: no relayed connection is open there."""
        self._settle(self.tunnels.receive_relayed(peer, link, generation, payloads, self._clock()))

    def settle_soon(self) -> None:
        """Send what mail to TUNNELS has made, once that mail has been handled."""
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle, [])

    def dropped(self) -> dict[str, int]:
        """Return what the descriptors did not take: where and why -> how many."""
        found = {f"tun_{reason}": count for reason, count in self._tun.drops.items()}
        for driver in self._udp.values():
            name = "udp6" if driver.family == socket.AF_INET6 else "udp4"
            found |= {f"{name}_{reason}": count for reason, count in driver.drops.items()}
        return found | self.drops

    # --- what comes ---

    def _on_tun(self) -> None:
        try:
            packets = self._tun.read()
        except TunGone as error:
            self._lose_tun(str(error))
            return
        self._settle(self.tunnels.receive_tun(packets, self._clock()))

    def _on_udp(self, driver: UdpDriver) -> None:
        self._settle(self.tunnels.receive_udp(driver.receive(), self._clock()))

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._settle(self.tunnels.handle_timeout(self._clock()))

    def _on_writable(self, driver: UdpDriver) -> None:
        driver.flush()
        if driver.blocked:
            return
        self._loop.remove_writer(driver.fd)
        self._blocked.discard(driver.fd)
        if not self._blocked and not self._tun_lost:
            self._loop.add_reader(self._tun.fd, self._on_tun)

    # --- what goes ---

    def _settle(self, reports: list[Effect]) -> None:
        """Do all that Tunnels wants done, after any input."""
        self._settling = False
        self._deliver(reports)
        output = self.tunnels.output()
        for batch in output.udp:
            self.send_udp(batch)
        if output.packets:
            self._write_tun(output.packets)
        for relayed in output.relayed:
            assert self._relayed is not None
            self._relayed.send(relayed, self._clock())
        if self._direct is not None:
            self._tell_direct(self._direct, reports, output.stun)
        else:
            self._count("stun", sum(len(batch.datagrams) for batch in output.stun))
        self._arm()

    def _tell_direct(self, direct: Direct, reports: list[Effect], stun: list[UdpBatch]) -> None:
        for report in reports:
            match report:
                case Send(message=PathHeard(peer=peer, path="direct")):
                    endpoint = self.tunnels.direct_endpoint(peer)
                    if endpoint is not None:
                        direct.path_heard(peer, endpoint)
                case _:
                    pass
        if stun:
            direct.receive(stun)

    def send_udp(self, batch: UdpBatch) -> None:
        """Send datagrams from our port."""
        driver = self._udp.get(socket.AF_INET6 if ":" in batch.endpoint.ip else socket.AF_INET)
        if driver is None:
            self._count("no_udp6", len(batch.datagrams))
            return
        driver.send(batch)
        if driver.blocked and driver.fd not in self._blocked:
            self._blocked.add(driver.fd)
            self._loop.remove_reader(self._tun.fd)
            self._loop.add_writer(driver.fd, self._on_writable, driver)

    def _write_tun(self, packets: list[bytes]) -> None:
        try:
            self._tun.write(packets)
        except TunGone as error:
            self._lose_tun(str(error))

    def _lose_tun(self, reason: str) -> None:
        if not self._tun_lost:
            self._tun_lost = True
            self._loop.remove_reader(self._tun.fd)
            self._gone(reason)

    def _count(self, reason: str, datagrams: int) -> None:
        if datagrams:
            self.drops[reason] = self.drops.get(reason, 0) + datagrams

    def _arm(self) -> None:
        """Wake in time for the next timeout; a timer that fires early is cheaper than one that is always set anew."""
        at = self.tunnels.next_timeout()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(min(max(at - self._clock(), 0.0), MAX_WAIT_S), self._on_timer)
