"""The STUN service on real sockets, as a command, and together with coturn's client and server."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.keys import Secret
from tests.actors.cli.console import really, spawn
from tests.transport.drivers.relays import PATIENCE_S
from transport.drivers.stun_server import StunService
from transport.ice.stun import BindingRequest, BindingSuccess, decode, encode, is_stun
from wg.datagrams import Endpoint

pytestmark = pytest.mark.process

TRANSACTION = bytes(range(12))
REQUEST = encode(BindingRequest(transaction=TRANSACTION), fingerprint=False)
ENVIRONMENT = {"HOMING_RELAY_SECRET": "verysecret"}


@contextmanager
def client(host: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(PATIENCE_S)
        yield sock


def ask(host: str, port: int, request: bytes = REQUEST) -> tuple[BindingSuccess, Endpoint]:
    """Return the answer, and where it was asked from.  The socket takes it from the address that was asked alone."""
    with client(host) as sock:
        sock.connect((host, port))
        sock.send(request)
        answer = decode(sock.recv(2048))
        assert isinstance(answer, BindingSuccess)
        return answer, Endpoint(*sock.getsockname()[:2])


def test_it_answers_in_both_families_from_the_address_that_was_asked() -> None:
    async def story() -> None:
        service = StunService()
        port = await service.listen(0)
        try:
            for host in ("127.0.0.1", "127.0.0.2", "::1"):
                answer, asked_from = await asyncio.to_thread(ask, host, port)
                assert answer == BindingSuccess(transaction=TRANSACTION, mapped=asked_from)
            assert (service.responder.answered, service.drops) == (3, {})
        finally:
            service.close()

    asyncio.run(story())


def test_a_burst_is_answered_whole_and_strangers_not_at_all() -> None:
    async def story() -> None:
        service = StunService()
        port = await service.listen(0)
        loop = asyncio.get_running_loop()
        try:
            with client("127.0.0.1") as sock:
                for number in range(100):  # more than is read a wake-up
                    sock.sendto(b"what is this", ("127.0.0.1", port))
                    sock.sendto(encode(BindingRequest(transaction=number.to_bytes(12))), ("127.0.0.1", port))
                sock.setblocking(False)
                async with asyncio.timeout(PATIENCE_S):
                    answers = [decode(await loop.sock_recv(sock, 2048)) for _ in range(100)]
            assert [int.from_bytes(answer.transaction) for answer in answers] == list(range(100))
            assert (service.responder.answered, service.drops) == (100, {"no_request": 100})
        finally:
            service.close()

    asyncio.run(story())


def test_what_waits_for_a_full_socket_goes_out_before_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        service = StunService()
        port = await service.listen(0)
        four = service._drivers[0]
        real, full = four._send, True
        monkeypatch.setattr(four, "_send", lambda batch: batch if full else real(batch))
        try:
            with client("127.0.0.1") as sock:
                sock.sendto(REQUEST, ("127.0.0.1", port))
                async with asyncio.timeout(PATIENCE_S):
                    while not four.blocked:
                        await asyncio.sleep(0)
                full = False
                answer = decode(await asyncio.to_thread(sock.recv, 2048))
                assert answer.transaction == TRANSACTION
                sock.sendto(REQUEST, ("127.0.0.1", port))  # and it reads again
                assert await asyncio.to_thread(sock.recv, 2048)
        finally:
            service.close()

    asyncio.run(story())


# --- as a command ---


@contextmanager
def relay(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A relay server that has said that it listens."""
    with spawn("relay", "--listen", "127.0.0.1:0", "--exposed-url", "rel://r", *arguments, env=ENVIRONMENT) as server:
        try:
            assert server.stderr is not None
            assert "relay server listens" in server.stderr.readline()
            yield server
        finally:
            server.kill()


def test_a_relay_server_answers_stun_if_it_is_told_to() -> None:
    port = free_udp_port()
    with relay("--stun-port", str(port)) as server:
        answer, asked_from = ask("127.0.0.1", port)
        assert answer.mapped == asked_from
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=PATIENCE_S)
        assert re.search(r"STUN service stops.*answered=1", log), log
        assert server.returncode == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", port))


def test_a_relay_server_without_a_stun_port_has_none() -> None:
    with relay() as server:
        sockets = subprocess.run(["ss", "-Hulnp"], check=True, capture_output=True, text=True).stdout
        assert f"pid={server.pid}," not in sockets


def test_a_stun_port_in_use_is_told_in_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = str(taken.getsockname()[1])
        result = really("relay", "--exposed-url", "rel://r", "--stun-port", port, env=ENVIRONMENT)
    assert result.code == 1
    (line,) = result.error.splitlines()
    assert f"--stun-port *:{port}: Address already in use; another program uses that port" in line


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_stun_port_that_is_none_is_told(port: str) -> None:
    result = really("relay", "--exposed-url", "rel://r", "--stun-port", port, env=ENVIRONMENT)
    assert result.code == 2
    assert f"--stun-port {port}: 0 to 65535 would do" in result.error


# --- with coturn ---


@pytest.mark.interop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_coturns_client_learns_its_address_from_us(host: str) -> None:
    port = free_udp_port()
    with relay("--stun-port", str(port)):
        command = ["turnutils_stunclient", "-p", str(port), "-L", host, host]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert re.search(rf"reflexive addr: \[?{re.escape(host)}\]?:\d+", done.stdout), done.stdout


@contextmanager
def coturn(host: str) -> Iterator[int]:
    """Debian's turnserver, as a STUN server on this address."""
    program = shutil.which("turnserver")
    assert program is not None, "apt-get install coturn"
    port = free_udp_port()
    with tempfile.TemporaryDirectory() as place:
        log = Path(place, "log")
        options = ["--no-auth", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp", f"--listening-port={port}"]
        options += [f"--listening-ip={host}", f"--log-file={log}", "--simple-log", f"--pidfile={place}/pid"]
        options += [f"--userdb={place}/db", f"--relay-ip={host}", "-c", os.devnull]
        with subprocess.Popen(
            [program, *options], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                yield port
            finally:
                server.kill()


@pytest.mark.interop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        encode(BindingRequest(transaction=TRANSACTION, software="homing")),
        encode(BindingRequest(transaction=TRANSACTION, username="a:b"), Secret(b"pwd")),
    ],
    ids=["plain", "fingerprint", "signed"],
)
def test_we_learn_our_address_from_coturn(host: str, request_: bytes) -> None:
    with coturn(host) as port, client(host) as sock:
        answer = repeat_until_answered(sock, (host, port), request_)
        assert is_stun(answer)
        message = decode(answer)
        assert isinstance(message, BindingSuccess)
        assert (message.transaction, message.mapped) == (TRANSACTION, Endpoint(*sock.getsockname()[:2]))
        assert message.unknown == ()


def repeat_until_answered(sock: socket.socket, server: tuple[str, int], request: bytes) -> bytes:
    """Ask again and again, as a client does that does not know when the server is up."""
    sock.settimeout(0.1)
    for _ in range(int(PATIENCE_S / 0.1)):
        sock.sendto(request, server)
        try:
            return sock.recv(2048)
        except TimeoutError:
            continue
    raise AssertionError("coturn does not answer")


def free_udp_port() -> int:
    """Return a port that is free for UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
