"""`homing relay` as a process: it serves, says what is wrong in one line, and ends cleanly."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.cli.errors import CommandFailed
from actors.cli.relay import run
from config.keys import Secret
from tests.actors.cli.console import really, spawn
from tests.transport.drivers import certificates
from tests.transport.drivers.relays import PATIENCE_S, SECRET, Party, free_port, write_private
from tests.transport.drivers.relays import run as run_story
from transport.drivers.certificates import Trust
from transport.drivers.quic_link import dial_quic
from transport.relay.events import LoggedIn, PeerOnline
from transport.relay.frames import peer_id

pytestmark = pytest.mark.process

ALICE, BOB = peer_id("alice"), peer_id("bob")
SECRET_IN_ENVIRONMENT = {"HOMING_RELAY_SECRET": SECRET.value.decode()}
EXPOSED = ("--exposed-url", "rel://relay.example")


class Silent:
    """Owns a link that nothing comes on."""

    def received(self, messages: list[bytes]) -> None:
        raise AssertionError(messages)

    def pong(self) -> None:
        raise AssertionError

    def doubted(self) -> None:
        raise AssertionError

    def writable(self, yes: bool) -> None:
        raise AssertionError(yes)

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)


@contextmanager
def serving(*arguments: str, exposed: tuple[str, ...] = EXPOSED) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A relay server on a port of 127.0.0.1 that the kernel picks."""
    with spawn("relay", "--listen", "127.0.0.1:0", *exposed, *arguments, env=SECRET_IN_ENVIRONMENT) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            found = re.search(r"address=127\.0\.0\.1:(\d+)", line)
            assert found, line
            yield server, int(found[1])
        finally:
            server.kill()


def test_it_serves_tells_its_clients_that_it_stops_and_ends_with_exit_code_0() -> None:
    with serving() as (server, port):

        async def story() -> str:
            url = f"rel://127.0.0.1:{port}"
            alice, bob = await Party(ALICE).login(url), await Party(BOB).login(url)
            assert alice.of(LoggedIn) == [LoggedIn("rel://relay.example")]
            alice.open(BOB)
            await alice.until(lambda: alice.of(PeerOnline))
            alice.send(BOB, b"hello")
            await bob.until(lambda: bob.payloads() == [b"hello"])
            server.send_signal(signal.SIGTERM)
            return (await alice.closed()).reason

        assert run_story(story) == "the relay server said Close"
        assert server.wait(10) == 0


def test_clients_notice_a_server_that_is_killed() -> None:
    with serving() as (server, port):

        async def story() -> str:
            alice = await Party(ALICE).login(f"rel://127.0.0.1:{port}")
            server.kill()
            return (await alice.closed()).reason

        assert run_story(story) == "the other end closed the connection"


def test_it_serves_with_tls_and_tells_its_health(tmp_path: Path) -> None:
    tls, health = certificates.make(tmp_path), free_port()
    arguments = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key), "--health-port", str(health))
    with serving(*arguments, exposed=("--exposed-url", "relay.example:443")) as (_, port):

        async def story() -> None:
            alice = await Party(ALICE).login(f"rels://localhost:{port}", ca=tls.ca)
            assert alice.of(LoggedIn) == [LoggedIn("rels://relay.example:443")]
            alice.send(BOB, b"nobody hears")
            alice.send(ALICE, b"echo")
            await alice.until(alice.payloads)
            told = json.loads(await asyncio.to_thread(get, health, "/health"))
            assert told["status"] == "healthy"
            assert told["listeners"] == ["ws", "quic"]
            assert told["certificate_valid"] is True
            metrics = (await asyncio.to_thread(get, health, "/metrics")).splitlines()
            assert 'relay_peers{transport="ws"} 1' in metrics
            assert 'relay_peers{transport="quic"} 0' in metrics
            assert f"relay_transfer_received_bytes_total {2 * 38 + 16}" in metrics
            assert f"relay_transfer_sent_bytes_total {38 + 4}" in metrics
            assert 'relay_drops_total{reason="unknown_destination"} 1' in metrics

        run_story(story)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(health, "/else")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\0", ("127.0.0.1", port))
        deadline = time.monotonic() + PATIENCE_S
        while 'relay_drops_total{reason="quic_no_quic"} 1' not in get(health, "/metrics"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_client_that_leaves_amid_the_tls_handshake_is_a_line_for_who_looks_closely(tmp_path: Path) -> None:
    tls = certificates.make(tmp_path)
    files = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key), "--no-quic", "--log-level", "debug")
    with serving(*files, exposed=("--exposed-url", "relay.example:443")) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"\x16\x03\x01")
        assert server.stderr is not None
        line = server.stderr.readline()
    assert " DEBUG relay no TLS handshake address=127.0.0.1:" in line
    assert "does the client speak TLS, and trust this certificate?" in line


def test_an_exposed_url_that_promises_tls_where_there_is_none_is_told(tmp_path: Path) -> None:
    with serving(exposed=("--exposed-url", "rels://relay.example")) as (server, _):
        assert server.stderr is not None
        line = server.stderr.readline()
    assert " WARNING relay the exposed URL is rels://, and this server has no certificate url=rels://relay" in line
    assert "give --tls-cert and --tls-key, or have a proxy in front do so" in line


def test_quic_is_served_with_a_certificate_of_its_own_that_is_told_and_kept(tmp_path: Path) -> None:
    directory, health = tmp_path / "quic", free_port()
    with serving("--quic-dir", str(directory), "--health-port", str(health)) as (server, port):
        assert server.stderr is not None
        told = re.search(r"fingerprint=sha256:([0-9a-f]{64})", server.stderr.readline())
        assert told is not None
        trust = Trust(fingerprints=(bytes.fromhex(told[1]),))

        async def story() -> None:
            link = await dial_quic(f"rel://127.0.0.1:{port}", None, Silent(), trust=trust, message_len=1350)
            health_told = json.loads(await asyncio.to_thread(get, health, "/health"))
            assert (health_told["status"], health_told["listeners"]) == ("healthy", ["ws", "quic"])
            assert health_told["certificate_valid"] is False  # of rel://, as relay spec 5.9 has it
            metrics = await asyncio.to_thread(get, health, "/metrics")
            assert 'relay_peers{transport="quic"} 0' in metrics  # it has not logged in
            link.abort()

        run_story(story)
    assert really("key", "fingerprint", str(directory / "relay.pem")).out == f"sha256:{told[1]}\n"
    with serving("--quic-dir", str(directory)) as (server, _):
        assert server.stderr is not None
        assert told[0] in server.stderr.readline()


def test_quic_may_be_left_out(tmp_path: Path) -> None:
    tls, health = certificates.make(tmp_path), free_port()
    files = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    exposed = ("--exposed-url", "relay.example:443")
    with serving(*files, "--no-quic", "--health-port", str(health), exposed=exposed) as (_, port):
        assert json.loads(get(health, "/health"))["listeners"] == ["ws"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", port))


def test_a_refused_login_is_logged_once_in_one_line_without_secrets() -> None:
    with serving() as (server, port):

        async def story() -> None:
            await (await Party(ALICE, Secret(b"guess")).connect(f"rel://127.0.0.1:{port}")).closed()

        run_story(story)
        server.terminate()
        _, log = server.communicate(timeout=10)
    (line,) = [line for line in log.splitlines() if "WARNING" in line]
    assert "login refused: signed with another secret" in line
    assert "address=127.0.0.1:" in line
    assert "guess" not in log


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secret = write_private(tmp_path / "secret", "from the file\n")
    with serving("--secret-file", str(secret)) as (_, port):

        async def story() -> None:
            await Party(ALICE, Secret(b"from the file")).login(f"rel://127.0.0.1:{port}")

        run_story(story)


# --- wrong use ---


def refused(*arguments: str, code: int, env: dict[str, str] | None = None) -> str:
    """Run the real command, which must fail with one line, and return it."""
    result = really("relay", *arguments, env=SECRET_IN_ENVIRONMENT if env is None else env)
    assert result.code == code, result
    (line,) = result.error.splitlines()
    return line


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("--listen", f"127.0.0.1:{port}", *EXPOSED, code=1)
    assert f"--listen 127.0.0.1:{port}: Address already in use; another program uses that port" in line


def test_a_udp_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        line = refused("--listen", f"127.0.0.1:{port}", *EXPOSED, "--quic-dir", str(tmp_path), code=1)
    assert f"--listen 127.0.0.1:{port} (UDP, for QUIC): Address already in use; another program uses that" in line
    assert line.endswith(", or leave QUIC out (no --quic-dir, or --no-quic)")


def _fails(code: int, **arguments: object) -> str:
    with pytest.raises(CommandFailed) as caught:
        run(**{"listen": "127.0.0.1:0", "exposed_url": "rel://relay.example", **arguments})  # type: ignore[arg-type]
    assert caught.value.code == code
    (line,) = caught.value.lines
    return line


@pytest.mark.parametrize("listen", ["33080", "host:", "127.0.0.1:65536", "::1:33080", "127.0.0.1:-1"])
def test_an_address_that_is_none_is_told(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMING_RELAY_SECRET", "x")
    assert "HOST:PORT, [IPV6]:PORT or :PORT would do" in _fails(2, listen=listen)


@pytest.mark.parametrize("url", ["http://relay.example", "rel://", "a://b://c", "rel://h:0"])
def test_a_wrong_exposed_url_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMING_RELAY_SECRET", "x")
    line = _fails(2, exposed_url=url)
    assert line.startswith("--exposed-url: ")
    assert "would do" in line


def test_a_missing_secret_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOMING_RELAY_SECRET", raising=False)
    assert "give --secret-file FILE, or the variable HOMING_RELAY_SECRET" in _fails(2)


def test_a_secret_file_that_others_can_read_is_told(tmp_path: Path) -> None:
    file = write_private(tmp_path / "secret", "shared")
    file.chmod(0o644)
    assert _fails(1, secret_file=file).startswith(f"--secret-file: {file}: readable by others")


def test_tls_needs_both_files_and_they_must_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMING_RELAY_SECRET", "x")
    one, other = certificates.make(tmp_path, "one"), certificates.make(tmp_path, "other")
    junk = write_private(tmp_path / "junk", "no certificate")
    assert "--tls-cert without --tls-key" in _fails(2, tls_cert=one.certificate)
    assert "no such file" in _fails(1, tls_cert=tmp_path / "none", tls_key=one.key)
    assert "the key is not the certificate's" in _fails(1, tls_cert=one.certificate, tls_key=other.key)
    assert "no PEM pair" in _fails(1, tls_cert=junk, tls_key=one.key)
    assert "says no TLS" in _fails(2, tls_cert=one.certificate, tls_key=one.key)


def test_options_about_quic_that_do_not_go_together_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMING_RELAY_SECRET", "x")
    tls = certificates.make(tmp_path)
    assert _fails(2, quic_dir=tmp_path, no_quic=True) == "--quic-dir with --no-quic; one of the two"
    line = _fails(2, quic_dir=tmp_path, tls_cert=tls.certificate, tls_key=tls.key)
    assert line == "--quic-dir with --tls-cert; QUIC uses the certificate of --tls-cert"
    line = _fails(2, listen="127.0.0.1:3478", quic_dir=tmp_path, stun_port=3478)
    assert line == "--stun-port 3478: QUIC has that port of UDP; 3478 is usual"
    write_private(tmp_path / "relay.key", "no key")
    assert _fails(1, quic_dir=tmp_path).startswith(f"--quic-dir: {tmp_path / 'relay.key'}: no PEM private key")


def test_an_unknown_log_level_is_told() -> None:
    assert "debug, info, warning, error" in _fails(2, log_level="loud")


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as reply:
        return str(reply.read().decode())
