"""`homing status` and `homing bundle` beside a real agent: while it runs, hangs altogether, and is dead."""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.cli.report import STALE_S
from tests.actors.cli.console import homing
from tests.actors.cli.leaks import leaks, of_files, unpacked
from tests.actors.runtime.agents import PROCESSES, Agent, agent, wait_until

pytestmark = [pytest.mark.process, pytest.mark.netns]

WORK_S = 0.1  # of processor time that `homing status` may take
PSK = os.urandom(32)


@pytest.fixture(scope="module")
def running() -> Iterator[Agent]:
    with agent(user="nobody") as one:
        one.configure(("bob-of-eve", "10.77.0.2/32"))
        (one.directory / "bob.psk").touch(0o600)
        (one.directory / "bob.psk").write_text(base64.b64encode(PSK).decode())
        text = one.config.read_text().replace('level = "info"', 'level = "debug"')
        one.config.write_text(f'{text}preshared_key_file = "bob.psk"\n')
        yield one.start().ready()


def secrets_of(running: Agent) -> dict[str, bytes]:
    relay = (running.directory / "relay.secret").read_bytes().strip()
    key = base64.b64decode((running.directory / "alice.key").read_bytes())
    return {"relay secret": relay, "relay secret's bytes": bytes.fromhex(relay.decode()), "key": key, "psk": PSK}


def at(running: Agent) -> tuple[str, ...]:
    return ("--run-directory", str(running.directory / "run"))


def status(running: Agent, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(homing(capsys, "status", "--json", *at(running)).out))


def ages(found: dict[str, Any]) -> dict[str, float]:
    return {one["process"]: one["snapshot_age_s"] for one in found["processes"]}


def bundle(running: Agent, capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    result = homing(capsys, "bundle", "--json", "-o", str(path), *at(running))
    assert result.code == 0, result
    return dict(json.loads(result.out))


def test_no_secret_is_in_anything_that_a_running_agent_shows(
    running: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_until(lambda: status(running, capsys)["peers"], "control tells of its peer")
    told = bundle(running, capsys, tmp_path / "b.tar.gz")
    dump = homing(capsys, "trace", "--since", "10m", "--all", "--json", *at(running))
    tape = ("trace", "record", str(tmp_path / "t.tape"), "--since", "10m", "--for", "10ms", *at(running))
    kept = homing(capsys, *tape)
    assert (dump.code, kept.code) == (0, 0), (dump.error, kept)
    parts = unpacked(tmp_path / "b.tar.gz")
    files = of_files([*running.run_dir.glob("log-*"), *running.run_dir.glob("*.json"), running.log])
    places = {**parts, **files, "dump": dump.out.encode(), "tape": (tmp_path / "t.tape").read_bytes()}
    assert leaks(places, secrets_of(running)) == []
    assert {"mail.txt", "mail.tape", "why.txt", "status.txt", "configuration.json"} <= set(parts)
    assert {f"log-{name}.txt" for name in PROCESSES} <= set(parts)
    assert "start_peer" in dump.out  # it held the preshared key
    assert told["missing"] == []
    named = [name for name, data in parts.items() if b"bob-of-eve" in data or b"10.77.0." in data]
    assert named == []


def test_nor_is_a_relay_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = f"4102444800 {base64.b64encode(os.urandom(32)).decode()}"
    with agent(user="nobody") as one:
        (one.directory / "relay.secret").write_text(token)
        one.config.write_text(one.config.read_text().replace("secret_file", "token_file"))
        one.start().ready()
        bundle(one, capsys, tmp_path / "b.tar.gz")
        dump = homing(capsys, "trace", "--since", "10m", "--all", "--json", *at(one))
        files = of_files([*one.run_dir.glob("log-*"), *one.run_dir.glob("*.json"), one.log])
    places = {**unpacked(tmp_path / "b.tar.gz"), **files, "dump": dump.out.encode()}
    kept = {"token": token.encode(), "signature": base64.b64decode(token.split()[1])}
    assert leaks(places, kept) == []
    assert len(places) > 10


def test_status_and_bundle_while_every_process_is_stopped_and_after_their_death(
    running: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pids = running.pids()
    for name in PROCESSES:  # the supervisor first, or it would replace the others
        os.kill(pids[name], signal.SIGSTOP)
    first = ages(status(running, capsys))
    began = time.process_time()
    found = status(running, capsys)
    assert time.process_time() - began < WORK_S
    assert found["running"]
    assert all(age > first[name] for name, age in ages(found).items())
    wait_until(lambda: min(ages(status(running, capsys)).values()) > STALE_S, "snapshots grow old")
    text = homing(capsys, "status", *at(running)).out
    assert all(f"note: {name} has been silent for " in text for name in PROCESSES)
    check = homing(capsys, "status", "--check", "ready", *at(running))
    assert check.code == 1
    assert "has been silent for" in check.error
    told = bundle(running, capsys, tmp_path / "stopped.tar.gz")
    assert [line for line in told["missing"] if line.startswith("the messages of packet: no answer")]
    kernel = unpacked(tmp_path / "stopped.tar.gz")["processes.txt"].decode()
    assert kernel.count("State: T (stopped)") == 3

    for name in PROCESSES:
        os.kill(pids[name], signal.SIGKILL)
    wait_until(lambda: not status(running, capsys)["running"], "the supervisor is dead")
    told = bundle(running, capsys, tmp_path / "dead.tar.gz")
    parts = unpacked(tmp_path / "dead.tar.gz")
    assert {"status.txt", "configuration.json", *(f"log-{name}.txt" for name in PROCESSES)} <= set(parts)
    assert "the agent alice is not running; what is here of it is its last word" in told["missing"]
    assert leaks(parts, secrets_of(running)) == []
