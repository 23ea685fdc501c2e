"""The supervisor of one agent: opens what needs privilege, runs AGENT, and does for it what only a process can.

    signals -----------> ShutdownWanted, PeersConfigured --\\
    exits of children -> ProcessExited ---------------------+--> AGENT --> HOST --> start, signal, kill; sd_notify
    their mail --------> ProcessReady, Pong, Drained ------/

It holds the TUN device and the UDP sockets for as long as the agent runs, so that a restarted packet process goes on
with the same ones.  It parses nothing that comes from the network.
"""

import asyncio
import fcntl
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec
from loguru import logger

from actors.addresses import AGENT, HOST, PACKET, PEERS, SUPERVISOR, control_processes
from actors.effects import Effect
from actors.messages.node import OutsideEvent
from actors.messages.process import AgentStopped, Announce, HostInbox, RebindSockets, ShutdownWanted, StartProcess
from actors.messages.status import Snapshot
from actors.node.agent import Agent
from actors.node.sleep import SleepWatch
from actors.runtime import bootstrap, clock
from actors.runtime.bootstrap import Bootstrap, DirectoryUnavailable
from actors.runtime.children import Children, Fact
from actors.runtime.handover import UdpSockets
from actors.runtime.interface import InterfaceUnavailable, TunInterface
from actors.runtime.interface_keeper import InterfaceKeeper
from actors.runtime.post_office import PostOffice
from actors.runtime.privileges import Identity, UserUnavailable, resolve_user
from actors.runtime.sd_notify import Notifier
from actors.runtime.snapshot import CONFIGURATION, encode_snapshot, read_pid, write_configuration, write_snapshot
from actors.runtime.supervision import ActorsFailing
from config import logs
from config.schema import NodeConfig
from transport.drivers.zmq import EndpointTooLong, NameTaken
from wg.drivers.tun import TunUnavailable
from wg.drivers.udp import PortUnavailable

SNAPSHOT_S = 1.0
CLOCKS_S = 0.5  # from one look at the clocks to the next: a sleep is noticed so soon after it
# What processes leave in the run directory; anything else there is not ours to remove.
SNAPSHOTS = "status-*.json"
OURS = (SNAPSHOTS, "*.sock", "*.lock", "*.new", "redaction.key", CONFIGURATION, "log-*.txt", "log-*.txt.1")

ReadAgain = Callable[[], NodeConfig]


class AlreadyRunning(Exception):
    """This node's agent runs already."""


Unavailable = (
    AlreadyRunning,
    DirectoryUnavailable,
    EndpointTooLong,
    InterfaceUnavailable,
    PortUnavailable,
    TunUnavailable,
    UserUnavailable,
)


def run(config: NodeConfig, read_again: ReadAgain | None = None) -> int:
    """Run an agent until it is told to stop, and return its exit code: 0 it has drained, 1 it could not start.

    It is 1 too if the supervisor itself failed; the service manager starts another.

    `read_again` returns the configuration as its file says now, for SIGHUP; what it raises is told in the log, and the
    peers stay as they were.
    """
    logs.setup(config.file.log, SUPERVISOR)
    if clock.LAB_NOTE:
        logger.warning("{}", clock.LAB_NOTE)
    os.umask(0o077)
    with ExitStack() as stack:
        try:
            held = _open(config, stack)
        except Unavailable as error:
            print(f"homing: {error}", file=sys.stderr)
            return 1
        logs.keep_tail(config.file.log, SUPERVISOR, held.run_dir)
        if held.user.uid == 0:
            hint = "make a user homing (useradd --system homing), or name one at user in [node]"
            logger.warning("what meets the network runs as root, if without its capabilities: {}", hint)
        return Supervisor(config, held, read_again, Notifier(os.environ)).run()


class Held(NamedTuple):
    """What the supervisor holds as long as the agent runs."""

    office: PostOffice
    incarnation: int
    user: Identity
    run_dir: Path
    interface: TunInterface
    udp: UdpSockets


def _open(config: NodeConfig, stack: ExitStack) -> Held:
    """Take everything that an agent needs; `stack` gives it back."""
    node = config.file.node
    user = resolve_user(node.user)
    run_dir = bootstrap.run_directory(config)
    _refuse_if_running(run_dir)  # before its directory is handed to another user
    bootstrap.make_directory(run_dir, user)
    bootstrap.make_directory(bootstrap.state_directory(config), user)
    incarnation = int(clock.now() * 1000)
    try:
        office = PostOffice(SUPERVISOR, incarnation, run_dir)
    except NameTaken:  # it was quicker
        raise _already_running(run_dir) from None
    _remove(run_dir, SNAPSHOTS)  # of a run that was killed
    stack.callback(_clear, run_dir)
    stack.callback(office.close)
    udp = UdpSockets(node.listen_port)
    stack.callback(udp.close)
    interface = TunInterface(node.interface, node.name, node.addresses, node.mtu)
    stack.callback(interface.remove)
    return Held(
        office=office,
        incarnation=incarnation,
        user=user,
        run_dir=run_dir,
        interface=interface,
        udp=udp,
    )


def _refuse_if_running(run_dir: Path) -> None:
    """Raise AlreadyRunning if a supervisor holds the lock of its name there (transport/drivers/zmq.py)."""
    try:
        lock = os.open(run_dir / f"{SUPERVISOR}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # there is none, or what there is will be told when the directory is made
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _already_running(run_dir) from None
    finally:
        os.close(lock)


def _already_running(run_dir: Path) -> AlreadyRunning:
    pid = read_pid(run_dir, SUPERVISOR)
    return AlreadyRunning(f"already running, pid {pid}" if pid is not None else "already running")


class Supervisor:
    """The loop round AGENT."""

    def __init__(self, config: NodeConfig, held: Held, read_again: ReadAgain | None, notifier: Notifier) -> None:
        self._config, self._held, self._read_again, self._notifier = config, held, read_again, notifier
        self._loop = asyncio.new_event_loop()
        self._children = Children(self._loop, self._tell)
        self._keeper = InterfaceKeeper(self._loop, held.interface, clock.now)
        self._started_at = clock.now()
        self._sleep = SleepWatch(clock.now(), clock.awake_now())
        self._exit_code = 1
        controls = control_processes(config.file.runtime.control_processes)
        self._agent = Agent(controls, bootstrap.settings_of(config), random.SystemRandom())

    def run(self) -> int:
        """Run until AGENT has stopped, and return the exit code.  Whatever happens, no child is left."""
        office, loop = self._held.office, self._loop
        try:
            self._route(self._config)
            self._write_configuration()
            office.add(HOST.actor, Host(self))
            office.add(AGENT.actor, self._agent)
            office.attach(loop, self._on_fatal)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._on_stop_signal, number)
            loop.add_signal_handler(signal.SIGHUP, self._on_reload_signal)
            self._keeper.open()
            self._keep_snapshot()
            self._watch_clocks()
            loop.run_forever()
            return self._exit_code
        finally:
            self._children.kill_all()
            self._keeper.close()
            self._notifier.close()
            loop.close()

    # --- what AGENT has done ---

    def start(self, wanted: StartProcess) -> None:
        """Start a child, and have our own mail go to that incarnation."""
        held, packet = self._held, wanted.process == PACKET
        if packet:
            self._restore_interface()
        held.office.connect(wanted.process, wanted.incarnation)
        channel = held.udp.channel() if packet else None
        self._children.start(
            Bootstrap(
                process=wanted.process,
                incarnation=wanted.incarnation,
                others={**wanted.others, SUPERVISOR: held.incarnation},
                run_dir=str(held.run_dir),
                state_dir=str(bootstrap.state_directory(self._config)),
                supervisor_pid=os.getpid(),
                user=held.user,
                config=bootstrap.pruned(self._config, wanted.process),
                listen_port=held.udp.port,
                tun_fd=held.interface.fd if packet else -1,
                udp_fds=held.udp.fds if packet else (),
                handover_fd=channel.fileno() if channel is not None else -1,
            )
        )
        if channel is not None:
            channel.close()

    def _restore_interface(self) -> None:
        """A packet process may have ended because somebody deleted the interface."""
        try:
            if self._held.interface.restore():
                logger.warning("the interface {} was gone, and is made anew", self._held.interface.name)
        except (InterfaceUnavailable, TunUnavailable, OSError) as error:
            logger.error("{}", error)

    def perform(self, message: HostInbox) -> None:
        """Do what AGENT wants done."""
        match message:
            case StartProcess():
                self.start(message)
            case Announce():
                self._announce(message)
            case RebindSockets():
                before = self._held.udp.port
                if self._held.udp.rebind(elsewhere=message.elsewhere):
                    logger.warning("UDP port {} in place of {}: {}", self._held.udp.port, before, message.reason)
            case AgentStopped():
                self._exit_code = 0
                self._loop.stop()
            case _:
                self._children.handle(message)

    def _announce(self, message: Announce) -> None:
        if message.kind != "alive":
            self._write_snapshot()
        match message.kind:
            case "ready":
                logger.info("ready: {}", message.text)
                self._notifier.ready(message.text)
            case "alive":
                self._notifier.alive(clock.now())
            case "status":
                logger.log("INFO" if message.healthy else "ERROR", "{}", message.text)
                self._notifier.status(message.text)
            case "stopping":
                logger.info("stopping: {}", message.text)
                self._notifier.stopping(message.text)

    def _tell(self, fact: Fact) -> None:
        self._held.office.post(AGENT, fact)

    # --- what comes from outside ---

    def _on_fatal(self, reason: ActorsFailing) -> None:
        logger.critical("the supervisor cannot go on: {}", reason)
        self._loop.stop()

    def _on_stop_signal(self, number: signal.Signals) -> None:
        self._held.office.post(AGENT, ShutdownWanted(reason=number.name))

    def _on_reload_signal(self) -> None:
        """Have the peers follow the configuration file.  The rest of it takes a restart."""
        if self._read_again is None:
            return
        self._notifier.reloading()
        try:
            config = self._read_again()
        except Exception as error:  # whatever is wrong with the file, the agent runs on
            logger.error("the configuration was not read again, the peers stay as they are: {}", error)
        else:
            if changed := _changed_beside_peers(self._config, config):
                logger.warning("what has changed in {} takes a restart", ", ".join(changed))
            self._config = msgspec.structs.replace(
                self._config,
                file=msgspec.structs.replace(self._config.file, peer=config.file.peer),
                preshared_keys=config.preshared_keys,
            )
            self._route(self._config)
            self._write_configuration()
            self._held.office.post(AGENT, bootstrap.settings_of(self._config))
            count = len(config.file.peer)
            logger.info("the configuration was read again: {} peer{}", count, "" if count == 1 else "s")
            self._held.office.post(PEERS, OutsideEvent(kind="configuration_changed"))
        self._notifier.ready("configuration read again")

    def _watch_clocks(self) -> None:
        """Tell the peers when the machine has slept: nobody knows what became of their paths (recovery R12)."""
        if slept_s := self._sleep.slept_s(clock.now(), clock.awake_now()):
            logger.info("resumed from sleep", slept_s=round(slept_s, 1))
            self._held.office.post(PEERS, OutsideEvent(kind="resumed", detail=f"slept for {slept_s:.0f} s"))
        self._loop.call_later(CLOCKS_S, self._watch_clocks)

    def _route(self, config: NodeConfig) -> None:
        self._held.interface.route(prefix for peer in config.file.peer for prefix in peer.allowed_ips)

    def _write_configuration(self) -> None:
        try:
            write_configuration(self._held.run_dir, self._config.file)
        except OSError as error:
            logger.warning("what the agent runs with cannot be written: {}", error)

    def _keep_snapshot(self) -> None:
        self._write_snapshot()
        self._loop.call_later(SNAPSHOT_S, self._keep_snapshot)

    def _write_snapshot(self) -> None:
        now = clock.now()
        snapshot = Snapshot(
            process=SUPERVISOR,
            incarnation=self._held.incarnation,
            pid=os.getpid(),
            written_at=now,
            started_at=self._started_at,
            runtime=self._held.office.status(),
            agent=msgspec.structs.replace(
                self._agent.status(now),
                interface_repairs=self._keeper.repairs,
                udp_port=self._held.udp.port,
                rebinds=self._held.udp.rebinds,
            ),
        )
        try:
            write_snapshot(self._held.run_dir, SUPERVISOR, encode_snapshot(snapshot))
        except OSError as error:
            logger.warning("the status file cannot be written: {}", error)


@dataclass(frozen=True, slots=True)
class Serving:
    """The only state of a port."""


class Host:
    """AGENT's port to the operating system: hands its mail to the Supervisor."""

    inbox: ClassVar[object] = HostInbox

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.state = Serving()

    def handle(self, message: HostInbox, now: float) -> list[Effect]:
        """Do it; what comes of it is told to AGENT as a fact."""
        self._supervisor.perform(message)
        return []


def _changed_beside_peers(before: NodeConfig, after: NodeConfig) -> list[str]:
    """Return the tables, [[peer]] aside, that are not what they were; the files that they name count too."""
    was, now = msgspec.structs.asdict(before.file), msgspec.structs.asdict(after.file)
    files = {
        "node": (before.private_key, after.private_key),
        "signal": (before.signal_ca, after.signal_ca),
        "relay": ((before.relay_credentials, before.relay_ca), (after.relay_credentials, after.relay_ca)),
    }
    differ = {table for table in was if table != "peer" and was[table] != now[table]}
    return [f"[{table}]" for table in sorted(differ | {table for table, (old, new) in files.items() if old != new})]


def _clear(run_dir: Path) -> None:
    """Remove what an agent's processes leave in the run directory, and the directory if nothing else is in it."""
    for pattern in OURS:
        _remove(run_dir, pattern)
    with suppress(OSError):  # somebody keeps something there
        run_dir.rmdir()


def _remove(run_dir: Path, pattern: str) -> None:
    for path in run_dir.glob(pattern):
        path.unlink(missing_ok=True)
