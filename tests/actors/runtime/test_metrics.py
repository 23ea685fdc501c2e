import contextlib
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.runtime import clock, metrics
from actors.runtime.metrics import MAX_CONNECTIONS, Metrics, MetricsThread
from actors.runtime.snapshot import write_snapshot
from config.values import InvalidUrl, parse_listen
from tests.actors.cli.fake_agent import FakeAgent
from tests.actors.runtime.agents import Agent, agent, wait_until

WAIT_S = 20.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Metrics, int]]:
    with FakeAgent(tmp_path) as fake, socket.create_server(("127.0.0.1", 0)) as taken:
        fake.write_usual()
        port = taken.getsockname()[1]
        taken.close()
        thread = MetricsThread(fake.directory, "127.0.0.1", port)
        thread.start()
        try:
            wait_until(lambda: answers(port), "it listens")
            yield thread._metrics, port
        finally:
            thread.stop()


def answers(port: int) -> bool:
    """Whether it listens; a whole request, so that nothing of it is under way afterwards."""
    try:
        return say(port, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    except ConnectionRefusedError:
        return False


def get(port: int, target: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=WAIT_S) as answer:
        assert answer.headers["Content-Type"] == metrics.KIND
        return str(answer.read().decode())


def say(port: int, request: bytes) -> bytes:
    """Send a request, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as link:
        link.sendall(request)
        link.shutdown(socket.SHUT_WR)
        found = b""
        while part := link.recv(65536):
            found += part
        return found


@pytest.mark.process
def test_prometheus_reads_what_it_gets(served: tuple[Metrics, int]) -> None:
    _, port = served
    families = {family.name for family in text_string_to_metric_families(get(port))}
    assert {"homing_info", "homing_peer_path", "homing_peer_recoveries", "homing_process_up"} <= families
    assert "homing_info" in get(port, "/metrics?name=x")


@pytest.mark.process
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"hello\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01" + bytes(200), b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000, b"400 Bad Request"),
    ],
    ids=["elsewhere", "post", "no http", "http 0.9", "cut", "tls", "too long"],
)
def test_what_is_no_request_of_ours_is_answered(
    served: tuple[Metrics, int], request_bytes: bytes, status: bytes
) -> None:
    counted, port = served
    before = counted.counts["bad"]
    try:
        assert say(port, request_bytes).startswith(b"HTTP/1.1 " + status)
    except ConnectionResetError:  # it closed while we were still sending: too much to take
        assert len(request_bytes) > 8192
    wait_until(lambda: counted.counts["bad"] > before, "it is counted")


@pytest.mark.process
def test_who_says_nothing_holds_up_few_and_not_for_long(
    served: tuple[Metrics, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, port = served
    monkeypatch.setattr(metrics, "REQUEST_S", 0.3)
    wait_until(lambda: counted._open == 0, "nobody is left")
    idle = [socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) for _ in range(MAX_CONNECTIONS + 3)]
    wait_until(lambda: counted.counts["refused"] >= 3, "the others are refused")
    for link in idle:
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(1) == b""
        link.close()
    assert "homing_info" in get(port)
    assert counted.counts["too_slow"] >= MAX_CONNECTIONS


def test_the_files_are_read_once_a_second_however_often_somebody_asks(tmp_path: Path) -> None:
    with FakeAgent(tmp_path) as fake:
        fake.write_usual()
        now, told = clock.now(), Metrics(fake.directory)
        first = told.text(now)
        write_snapshot(fake.directory, "packet", b"{")
        assert told.text(now + 0.9) is first
        assert told.text(now + 1.1) != first


@pytest.mark.process
def test_a_port_that_another_has_is_taken_when_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RETRY_S", 0.05)
    with FakeAgent(tmp_path) as fake:
        fake.write_usual()
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        thread = MetricsThread(fake.directory, "127.0.0.1", port)
        thread.start()
        try:
            taken.close()
            wait_until(lambda: answers(port), "it listens")
            assert "homing_info" in get(port)
        finally:
            thread.stop()
        assert not answers(port)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("9586", ("127.0.0.1", 9586)),
        ("0.0.0.0:9586", ("0.0.0.0", 9586)),
        ("[::1]:1024", ("::1", 1024)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
    ],
)
def test_where_to_listen(text: str, place: tuple[str, int]) -> None:
    assert parse_listen(text) == place


@pytest.mark.parametrize(
    "text", ["", ":9586", "::1:9586", "host:9586", "127.0.0.1", "127.0.0.1:80", "1:65536", "[::1]"]
)
def test_where_nobody_can_listen(text: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_listen(text)


@pytest.fixture
def real() -> Iterator[Agent]:
    with agent(user="nobody") as one:
        yield one


@pytest.mark.process
@pytest.mark.netns
def test_a_real_agent_answers_as_nobody_and_again_after_a_restart(real: Agent) -> None:
    real.config.write_text(real.config.read_text() + '\n[metrics]\nlisten = "9586"\n')
    real.start().ready()

    def told() -> str:
        return real.space.run(sys.executable, "-c", FETCH)

    text = wait_until(lambda: "homing_process_up" in (found := told()) and found, "it is answered")
    (up,) = [family for family in text_string_to_metric_families(text) if family.name == "homing_process_up"]
    assert {one.labels["process"] for one in up.samples} == {"supervisor", "control-0", "packet"}
    before = real.incarnations()["control-0"]
    os.kill(real.pid("control-0"), signal.SIGKILL)
    real.restarted("control-0", before)
    restarted = 'homing_process_restarts_total{process="control-0"} 1'
    wait_until(lambda: restarted in told(), "it answers again")


FETCH = """
import urllib.request
try:
    print(urllib.request.urlopen("http://127.0.0.1:9586/metrics", timeout=5).read().decode())
except OSError:
    pass
"""
