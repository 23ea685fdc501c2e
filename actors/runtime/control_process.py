"""A control process: the peers' actors, and in control-0 the node's own; signal on an asyncio thread.

Started by the supervisor: `python -m actors.runtime.control_process`, with a Bootstrap record on standard input.
"""

import gc
import os
import random
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from loguru import logger

from actors.addresses import AGENT, CONTROL_0, PACKET, PEERS, RELAYS, SIGNAL, SIGNAL_LINK, STATUS, control_processes
from actors.effects import Address, Machine
from actors.messages.process import ProcessReady, ProcessRestarted, StartPeer
from actors.messages.status import Snapshot
from actors.node.peers import Peers
from actors.node.relays import Relays
from actors.node.signal import Signal
from actors.node.signal_link import SignalLink
from actors.peer.wiring import make_peer
from actors.runtime import clock
from actors.runtime.bootstrap import Bootstrap, run_child
from actors.runtime.operator_log import LoggedStatus
from actors.runtime.post_office import PostOffice
from actors.runtime.process_actor import MakePeer, OfficeHost, add_process_actor
from actors.runtime.signal_link import SignalThread
from actors.runtime.snapshot import encode_snapshot
from actors.runtime.supervision import ActorsFailing
from actors.trace.draws import Draws
from config.values import parse_listen

if TYPE_CHECKING:
    from actors.runtime.metrics import MetricsThread

DRAWS_KEY_LEN = 16
METRICS = "actors.runtime.metrics"  # imported where it is wanted: a megabyte for the version's sake alone
LINKS_PER_INCARNATION = 1 << 20  # numbers of relay links that one incarnation may use


class ControlProcess:
    """Everything in a control process, wired up."""

    def __init__(self, told: Bootstrap) -> None:
        self._told = told
        self._started_at = clock.now()
        self._controls = control_processes(told.config.file.runtime.control_processes)
        self._rng = random.SystemRandom()
        self._signal: SignalThread | None = None
        self._metrics: MetricsThread | None = None
        self._ended = False
        self._office = PostOffice(
            told.process, told.incarnation, Path(told.run_dir), log_mail=told.config.file.log.level == "debug"
        )

    def run(self) -> int:
        """Run until told to end (SIGTERM), and return the exit code."""
        told, office = self._told, self._office
        self._mind_signals()
        try:
            for process, incarnation in told.others.items():
                office.connect(process, incarnation)
            # Every control process writes its own snapshot; only in control-0 is there something to tell STATUS.
            office.add(STATUS.actor, LoggedStatus(told.process), remake=lambda: LoggedStatus(told.process))
            if told.process == CONTROL_0:
                self._add_node()
            add_process_actor(office, ControlHost(office, self._make_peer, self._on_drain, self._started_at))
            office.post(AGENT, ProcessReady(process=told.process, incarnation=told.incarnation))
            gc.freeze()
            office.run(lambda: self._ended)
        except ActorsFailing as reason:
            logger.critical("{} cannot go on: {}", told.process, reason)
            return 1
        finally:
            if self._signal is not None:
                self._signal.stop()
            if self._metrics is not None:
                self._metrics.stop()
            office.close()
        return 0

    def _mind_signals(self) -> None:
        """End on SIGTERM, at once: without a descriptor to wake it, the wait for mail could go on for a second."""
        heard, told_by_kernel = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def forget() -> None:
            os.read(heard, 4096)

        self._office.watch(heard, forget)
        signal.set_wakeup_fd(told_by_kernel, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_end)

    def _add_node(self) -> None:
        """Run the node's own actors.  Peers has no remake: what it knows comes from the supervisor at a start."""
        told, office, controls = self._told, self._office, self._controls
        section, relay = told.config.file.signal, told.config.file.relay
        self._signal = driver = SignalThread(
            section.url,
            told.config.public_key,
            told.config.private_key,
            told.config.signal_ca,
            office.outlet("signal"),
            cause=lambda: office.current[0],
        )

        # Known at the start; what is made anew later takes the first restart that it hears of for one.
        packet = told.others.get(PACKET, 0)

        def relays(packet_incarnation: int = 0) -> Relays:
            # Never a number that an earlier incarnation, or an earlier machine of this one, has given to a link.
            first = told.incarnation * LINKS_PER_INCARNATION + int((clock.now() - self._started_at) * 100)
            return Relays(relay.urls, controls, rng=self._rng, first_link=first, packet_incarnation=packet_incarnation)

        office.add(RELAYS.actor, relays(packet), remake=relays)
        office.add(SIGNAL.actor, Signal(section.url, controls), remake=lambda: Signal(section.url, controls))
        office.add(SIGNAL_LINK.actor, SignalLink(driver), remake=lambda: SignalLink(driver))
        office.add(PEERS.actor, Peers(controls, rng=self._rng, packet_incarnation=packet))
        driver.start()
        self._serve_metrics()

    def _serve_metrics(self) -> None:
        listen = self._told.config.file.metrics.listen
        if listen is not None:
            metrics = import_module(METRICS)
            self._metrics = metrics.MetricsThread(Path(self._told.run_dir), *parse_listen(listen))
            self._metrics.start()

    def _make_peer(self, request: StartPeer) -> dict[str, Machine]:
        return make_peer(
            request,
            self._told.config.public_key,
            self._controls,
            rng=Draws(os.urandom(DRAWS_KEY_LEN)),  # the peer's own, and on its tapes
            entropy=os.urandom,
            first_generation=int(clock.unix_now() * 1000),
            listen_port=self._told.listen_port,
            ice=self._told.config.file.ice.enabled,
        )

    def _on_drain(self, reason: str) -> None:
        if self._signal is not None:
            self._signal.stop()

    def _on_end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended = True


class ControlHost(OfficeHost):
    """A control process as its own actor's host."""

    def __init__(self, office: PostOffice, make: MakePeer, on_drain: Callable[[str], None], started_at: float) -> None:
        super().__init__(office, make, on_drain)
        self._started_at = started_at

    def concerned(self) -> list[Address[ProcessRestarted]]:
        """Return who is told of a restarted process: PEERS, which tells the others in the order that they need."""
        return [PEERS] if self.process == CONTROL_0 else []

    def save_snapshot(self, document: bytes) -> None:
        """Write the process's snapshot file; without room for it the process goes on."""
        snapshot = Snapshot(
            process=self.process,
            incarnation=self.incarnation,
            pid=os.getpid(),
            written_at=clock.now(),
            started_at=self._started_at,
            runtime=self._office.status(),
        )
        super().save_snapshot(encode_snapshot(snapshot, control=document))


def main() -> int:
    """Run the process and return its exit code."""
    return run_child(lambda told: ControlProcess(told).run(), prepare=import_metrics)


def import_metrics(told: Bootstrap) -> None:
    """Import what serves metrics, where they are wanted."""
    if told.process == CONTROL_0 and told.config.file.metrics.listen is not None:
        import_module(METRICS)


if __name__ == "__main__":
    sys.exit(main())
