"""Sees to it that the interface stays up, addressed and routed: looks when the kernel says that something changed."""

import asyncio
from collections.abc import Callable

from loguru import logger

from actors.node.repairs import RepairBudget
from actors.runtime.interface import TunInterface
from transport.drivers.interfaces import AddressWatch

SETTLE_S = 0.2  # from a change to looking: who sets it down and up again has done so by then
POLL_S = 30.0  # where the kernel does not tell, and for what it could not
SHARE = 20  # of the time goes into looking at the most one part in so many: some routers' routes change all the time


class InterfaceKeeper:
    """Repairs the interface, and counts that in `repairs`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interface: TunInterface, clock: Callable[[], float]) -> None:
        self.repairs = 0
        self._loop, self._interface, self._clock = loop, interface, clock
        self._budget = RepairBudget()
        self._watch: AddressWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._looking_s = 0.0  # that it took

    def open(self) -> None:
        """Begin."""
        try:
            self._watch = AddressWatch()
        except OSError as error:
            logger.warning("changes of the interface are not told ({}); it is looked at now and then", error)
        else:
            self._loop.add_reader(self._watch.fd, self._on_news)
        self._look_in(POLL_S)

    def close(self) -> None:
        """Do nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._loop.remove_reader(self._watch.fd)
            self._watch.close()
            self._watch = None

    def _on_news(self) -> None:
        assert self._watch is not None
        self._watch.news()
        self._look_in(max(SETTLE_S, SHARE * self._looking_s))

    def _look_in(self, seconds: float) -> None:
        """Look at the interface then, or sooner if that is due sooner."""
        at = self._loop.time() + seconds
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._clock()
        if (wait_s := self._budget.wait_s(now)) > 0:
            self._look_in(wait_s)
            return
        self._look_in(POLL_S)
        name, began_at = self._interface.name, self._loop.time()
        try:
            done = self._interface.repair()
        except OSError as error:
            logger.error("the interface cannot be repaired", interface=name, reason=error.strerror or str(error))
            return
        finally:
            self._looking_s = self._loop.time() - began_at
        if not done:
            return
        self.repairs += 1
        self._budget.repaired(now)
        logger.warning("interface repaired", interface=name, why=", ".join(done))
        if self._budget.spent(now):
            logger.error("somebody else changes the interface again and again; it is repaired once a minute now")
