"""`homing up` where it cannot run: one line that says what to do.  Agents that run are tested with the processes."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.actors.cli.console import Result, failure
from tests.config.samples import TEXT, write_sample

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
WITHOUT_TUN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /dev/net && exec "$@"', "sh")


@pytest.fixture
def port() -> Iterator[int]:
    """A UDP port that is taken."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("0.0.0.0", 0))
        yield taken.getsockname()[1]


def config(directory: Path, listen_port: int = 0) -> Path:
    lines = (
        "[node]",
        f"listen_port = {listen_port}",
        'interface = "cliup0"',
        f'run_directory = "{directory}/r"',
        f'state_directory = "{directory}/s"',
    )
    return write_sample(directory, TEXT.replace("[node]", "\n".join(lines)))


def up(path: Path, *wrapper: str) -> Result:
    done = subprocess.run(
        [*wrapper, sys.executable, "-m", "actors.cli", "up", "-c", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")  # a short name: the paths of sockets are


def only_line(result: Result) -> str:
    """Return what a start that failed told the user."""
    assert result.code == 1, result
    (line,) = [one for one in result.error.splitlines() if one.startswith("homing: ")]
    assert "Traceback" not in result.error
    return line


def test_a_broken_configuration_starts_nothing(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(directory)
    path.write_text(path.read_text().replace('name = "alice"', ""))
    assert failure(capsys, "up", "-c", str(path), code=2) == f"{path}: node.name: missing; it has no default"
    assert not (directory / "r").exists()


@pytest.mark.process
def test_a_port_in_use(directory: Path, port: int) -> None:
    line = only_line(up(config(directory, port)))
    assert str(port) in line
    assert "listen_port" in line


@pytest.mark.netns
def test_no_privilege(directory: Path) -> None:
    assert "run as root, or with CAP_NET_ADMIN" in only_line(up(config(directory), *WITHOUT_NET_ADMIN))


@pytest.mark.netns
def test_no_tun_device(directory: Path) -> None:
    assert "there is no /dev/net/tun: load the module (modprobe tun)" in only_line(up(config(directory), *WITHOUT_TUN))
