"""What the service manager hears, with a socket of our own in its place."""

import os
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from actors.runtime.sd_notify import Notifier


class Manager:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(address)

    def heard(self) -> list[str]:
        """Return what has been said since the last time."""
        told = []
        while True:
            try:
                told.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def environment(manager: Manager, tmp_path: Path) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"}


def test_the_life_of_a_service(manager: Manager, environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.ready("both up")
    notifier.status("packet starting")
    notifier.reloading()
    notifier.stopping("SIGTERM")
    ready, status, reloading, stopping = manager.heard()
    assert ready == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=both up"
    assert status == "STATUS=packet starting"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert stopping == "STOPPING=1\nSTATUS=stopping: SIGTERM"


def test_the_watchdog_is_fed_at_least_twice_in_its_time(manager: Manager, environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    fed_at = []
    for second in range(60):
        notifier.alive(1000.0 + second)
        if manager.heard() == ["WATCHDOG=1"]:
            fed_at.append(second)
    assert max(later - earlier for earlier, later in pairwise(fed_at)) <= 5
    assert len(fed_at) <= 20


@pytest.mark.parametrize(
    "environment_says", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "-1"}, {"WATCHDOG_USEC": "x"}]
)
def test_without_a_watchdog_none_is_fed(manager: Manager, tmp_path: Path, environment_says: dict[str, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environment_says})
    notifier.alive(1000.0)
    assert manager.heard() == []


def test_a_watchdog_meant_for_another_process_is_not_fed(manager: Manager, environment: dict[str, str]) -> None:
    notifier = Notifier({**environment, "WATCHDOG_PID": "1"})
    notifier.alive(1000.0)
    assert manager.heard() == []


def test_a_line_end_in_a_text_begins_no_assignment_of_its_own(manager: Manager, environment: dict[str, str]) -> None:
    Notifier(environment).status("down\nREADY=1")
    assert manager.heard() == ["STATUS=down READY=1"]


def test_an_abstract_socket_is_written_with_an_at_sign() -> None:
    manager = Manager(f"\0homing-test-{os.getpid()}")
    Notifier({"NOTIFY_SOCKET": f"@homing-test-{os.getpid()}"}).status("here")
    assert manager.heard() == ["STATUS=here"]
    manager.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1"])
def test_without_a_service_manager_nobody_is_told(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notifier.ready("up")
    notifier.alive(0.0)
    notifier.close()


def test_a_service_manager_that_is_gone_or_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for _ in range(10_000):
        notifier.status("x" * 1000)
    assert 0 < len(manager.heard()) < 10_000
    manager.close()
    notifier.status("nobody is there")
