"""Child processes as the operating system has them: started as fresh interpreters, signalled and reaped."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger

from actors.addresses import PACKET
from actors.messages.process import (
    DumpProcess,
    EndProcess,
    InspectProcess,
    KillProcess,
    ProcessExited,
    ProcessInspected,
)
from actors.runtime import lab_clock, watchdog
from actors.runtime.bootstrap import Bootstrap, memory_file

# -I: the module is found where we were found, whatever folder or environment we were started in.
INTERPRETER = (sys.executable, "-I")
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", lab_clock.VARIABLE)

Fact = ProcessExited | ProcessInspected


@dataclass(slots=True)
class _Running:
    """One child that has not been reaped."""

    process: str
    incarnation: int
    popen: subprocess.Popen[bytes]
    pid_fd: int  # readable when it has exited; and a signal sent by it cannot hit a stranger


class Children:
    """Starts and ends child processes, and tells what became of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[Fact], None]) -> None:
        self._loop, self._tell = loop, tell
        self._running: dict[tuple[str, int], _Running] = {}

    def start(self, bootstrap: Bootstrap) -> None:
        """Start this process; from the main thread only, since the child is bound to the life of the thread."""
        process, incarnation = bootstrap.process, bootstrap.incarnation
        standard_input = memory_file(bootstrap)
        inherited = [fd for fd in (bootstrap.tun_fd, bootstrap.handover_fd, *bootstrap.udp_fds) if fd >= 0]
        try:
            popen = subprocess.Popen(
                [*INTERPRETER, "-m", module_of(process)],
                stdin=standard_input,
                pass_fds=inherited,
                env={name: os.environ[name] for name in INHERITED if name in os.environ},
                cwd="/",
                process_group=0,
            )
        except OSError as error:
            self._tell(ProcessExited(process=process, incarnation=incarnation, status=f"cannot be started: {error}"))
            return
        finally:
            os.close(standard_input)
        child = _Running(process, incarnation, popen, os.pidfd_open(popen.pid))
        self._running[process, incarnation] = child
        self._loop.add_reader(child.pid_fd, self._reap, child)
        logger.info("{} started, pid {}, incarnation {}", process, popen.pid, incarnation)

    def handle(self, message: EndProcess | DumpProcess | KillProcess | InspectProcess) -> None:
        """Do that to a child; nothing if it is gone, which has been or will be told."""
        child = self._running.get((message.process, message.incarnation))
        if child is None:
            return
        match message:
            case EndProcess():
                self._signal(child, signal.SIGTERM)
            case DumpProcess():
                logger.error("{} is hung; the stacks of its threads follow", child.process)
                self._signal(child, watchdog.DUMP_SIGNAL)
            case KillProcess():
                self._signal(child, signal.SIGKILL)
            case InspectProcess():
                activity = watchdog.activity(child.popen.pid)
                self._tell(ProcessInspected(process=child.process, incarnation=child.incarnation, activity=activity))

    def kill_all(self) -> None:
        """End and reap whatever still runs: for leaving by an unforeseen way."""
        for child in list(self._running.values()):
            self._signal(child, signal.SIGKILL)
            child.popen.wait()
            self._forget(child)

    def _signal(self, child: _Running, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has exited and waits to be reaped
            signal.pidfd_send_signal(child.pid_fd, number)

    def _reap(self, child: _Running) -> None:
        code = child.popen.poll()
        if code is None:
            return
        self._forget(child)
        status = f"exit code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"
        logger.log("INFO" if code == 0 else "WARNING", "{} ended: {}", child.process, status)
        self._tell(ProcessExited(process=child.process, incarnation=child.incarnation, status=status))

    def _forget(self, child: _Running) -> None:
        self._loop.remove_reader(child.pid_fd)
        os.close(child.pid_fd)
        del self._running[child.process, child.incarnation]


def module_of(process: str) -> str:
    """Return the module that is this process."""
    return "actors.runtime.packet_process" if process == PACKET else "actors.runtime.control_process"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
