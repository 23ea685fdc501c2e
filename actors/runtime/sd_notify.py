"""The service manager's side of the door: readiness, watchdog and status over its datagram socket (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Tells the service manager how we are; without one, tells nobody."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment)
        """How often it wants to hear that we are alive, in seconds; None: not at all."""
        self._fed_at = float("-inf")
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is complete."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """Say one line for people."""
        self._send(f"STATUS={_line(text)}")

    def alive(self, now: float) -> None:
        """Feed the watchdog, if there is one; twice as often as it asks for is enough."""
        if self.watchdog_s is not None and now - self._fed_at >= self.watchdog_s / 2 - 1.0:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is read anew; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, reason: str) -> None:
        """Say that we drain and end."""
        self._send(f"STOPPING=1\nSTATUS=stopping: {_line(reason)}")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        """Send, or let go: a service manager that does not read must not hold us up."""
        if self._socket is not None and self._address is not None:
            with suppress(OSError):
                self._socket.sendto(text.encode("utf-8", "replace"), self._address)


def _address(text: str) -> str | None:
    """Return the socket address: a path, or an abstract name that systemd writes with a leading @."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _line(text: str) -> str:
    """Return the text without line ends, which would begin another assignment."""
    return " ".join(text.splitlines())


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 1_000_000
