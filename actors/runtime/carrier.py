"""Carries packets between Tunnels and the descriptors: TUN device, UDP sockets, relay links.

    TUN readable ---\\                        /--> UDP sockets
    UDP readable ----+--> Tunnels --> output ---> TUN device
    relayed packets -+       |               \\--> relay links
    timer, mail -----/       \\--> reports: mail

Each source gives one bounded batch a turn of the loop, so none starves another.  While a UDP socket takes nothing more,
nothing more is read from the host: its own queue is where packets should wait, and be dropped.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

from actors.effects import Effect
from actors.packet.tunnels import Tunnels
from config.keys import PublicKey
from wg.datagrams import RelayedBatch, UdpBatch
from wg.drivers.tun import TunDriver, TunGone
from wg.drivers.udp import UdpDriver

MAX_WAIT_S = 1.0  # the loop's clock stops during suspend, deadlines do not


class Relayed(Protocol):
    """Takes packets for peers on relay links."""

    def send(self, batch: RelayedBatch, now: float) -> None:
        """Send these packets, or drop and count them."""
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
        self._blocked: set[int] = set()  # UDP descriptors whose buffer is full
        self._tun_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._settling = False
        self.drops: dict[str, int] = {}

    def open(self, relayed: Relayed) -> None:
        """Begin to read."""
        self._relayed = relayed
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
            self._send_udp(batch)
        if output.packets:
            self._write_tun(output.packets)
        for relayed in output.relayed:
            assert self._relayed is not None
            self._relayed.send(relayed, self._clock())
        self._arm()

    def _send_udp(self, batch: UdpBatch) -> None:
        driver = self._udp.get(socket.AF_INET6 if ":" in batch.endpoint.ip else socket.AF_INET)
        if driver is None:
            self.drops["no_udp6"] = self.drops.get("no_udp6", 0) + len(batch.datagrams)
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

    def _arm(self) -> None:
        """Wake in time for the next timeout; a timer that fires early is cheaper than one that is always set anew."""
        at = self.tunnels.next_timeout()
        if at is None or at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(min(max(at - self._clock(), 0.0), MAX_WAIT_S), self._on_timer)
