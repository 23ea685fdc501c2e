"""`homing signal` as a process: it serves, says what is wrong in one line, and ends cleanly."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.cli.errors import CommandFailed
from actors.cli.signal import metrics_text, run
from tests.transport.signal.ends import Authority, End, running, until
from transport.signal.messages import CandidateReceived, PostCandidate, SignalConnected
from transport.signal.server import SignalServer

pytestmark = pytest.mark.process

RUN = "import sys; from pathlib import Path; from actors.cli.signal import run; sys.exit(run({arguments}))"


def test_it_serves_and_ends_with_exit_code_0() -> None:
    with _serving("listen='127.0.0.1:0'") as (server, port):
        asyncio.run(_exchange(f"http://127.0.0.1:{port}", None))
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0


def test_it_serves_with_tls(tmp_path: Path) -> None:
    authority = Authority("trusted")
    cert, key = _write_pair(tmp_path, authority)
    with _serving(f"listen='127.0.0.1:0', tls_cert=Path({str(cert)!r}), tls_key=Path({str(key)!r})") as (_, port):
        asyncio.run(_exchange(f"https://localhost:{port}", authority.certificate))


def test_metrics_are_served_as_text() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        metrics_port = probe.getsockname()[1]
    with _serving(f"listen='127.0.0.1:0', metrics_port={metrics_port}") as (_, port):
        asyncio.run(_exchange(f"http://127.0.0.1:{port}", None))
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as reply:
            text = reply.read().decode()
        assert "\nregistrations_total 2\n" in text
        assert "\nmessages_forwarded_total 1\n" in text


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for listen in (f"127.0.0.1:{port}", f":{port}"):
            assert "Address already in use" in _refused(listen=listen)
        assert "--metrics-port" in _refused(listen="127.0.0.1:0", metrics_port=port)


@pytest.mark.parametrize(
    ("listen", "code", "told"),
    [
        ("10000", 2, "HOST:PORT"),
        ("host:", 2, "HOST:PORT"),
        ("127.0.0.1:65536", 2, "0 to 65535"),
        ("127.0.0.1:-1", 2, "0 to 65535"),
        ("::1:10000", 2, "[IPV6]:PORT"),
        ("192.0.2.1:10000", 1, "no interface of this machine has that address"),
        ("signal.invalid:10000", 1, "an address of this machine would do"),
    ],
)
def test_an_address_that_cannot_be_is_told(listen: str, code: int, told: str) -> None:
    assert told in _refused(listen=listen, code=code)


def test_an_unknown_log_level_is_told() -> None:
    assert "debug, info, warning, error" in _refused(listen=":0", log_level="loud", code=2)


def test_tls_needs_both_files_and_they_must_fit(tmp_path: Path) -> None:
    authority = Authority("trusted")
    cert, key = _write_pair(tmp_path, authority)
    other, _ = authority.issue("localhost")
    (tmp_path / "other.key").write_bytes(other)
    (tmp_path / "empty").write_bytes(b"")
    assert "without --tls-key" in _refused(tls_cert=cert, code=2)
    assert "without --tls-cert" in _refused(tls_key=key, code=2)
    assert "not the key of the certificate" in _refused(tls_cert=cert, tls_key=tmp_path / "other.key")
    assert "no certificate in it" in _refused(tls_cert=tmp_path / "empty", tls_key=key)
    assert "not a certificate chain and its key" in _refused(tls_cert=cert, tls_key=cert)
    assert "No such file" in _refused(tls_cert=cert, tls_key=tmp_path / "missing")
    assert "missing" in _refused(tls_cert=tmp_path / "missing", tls_key=key)


def test_a_counter_s_kind_becomes_a_label() -> None:
    server = SignalServer()
    server.counters["messages_forwarded_total"] = 3
    server.counters["message_forward_failures_total.timeout"] = 2
    server.counters["registration_failures_total.missing_id"] = 1
    assert metrics_text(server).splitlines() == [
        "active_peers 0",
        'message_forward_failures_total{type="timeout"} 2',
        "messages_forwarded_total 3",
        'registration_failures_total{error="missing_id"} 1',
    ]


async def _exchange(url: str, ca: bytes | None) -> None:
    alice, bob = End(1, url, ca=ca), End(2, url, ca=ca)
    async with running(alice, bob):
        await asyncio.gather(alice.next(SignalConnected), bob.next(SignalConnected))
        alice.client.post(PostCandidate(peer=bob.key, candidate="c"))
        await bob.next(CandidateReceived)
        await until(lambda: alice.client.counters["sent"] == 1)  # else the server sees a sender that went away


@contextmanager
def _serving(arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the command; gives it and the port it listens on."""
    command = [sys.executable, "-c", RUN.format(arguments=arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            found = re.search(r"signal server listens address=\S+:(\d+)", line)
            assert found, line
            yield server, int(found[1])
        finally:
            server.terminate()


def _refused(
    *, listen: str = "127.0.0.1:0", code: int = 1, log_level: str = "info", metrics_port: int | None = None,
    tls_cert: Path | None = None, tls_key: Path | None = None,
) -> str:  # fmt: skip
    with pytest.raises(CommandFailed) as caught:
        run(listen=listen, tls_cert=tls_cert, tls_key=tls_key, log_level=log_level, metrics_port=metrics_port)
    assert caught.value.code == code
    (line,) = caught.value.lines
    return line


def _write_pair(directory: Path, authority: Authority) -> tuple[Path, Path]:
    cert, key = directory / "cert.pem", directory / "key.pem"
    private, certificate = authority.issue("localhost")
    key.write_bytes(private)
    cert.write_bytes(certificate)
    return cert, key
