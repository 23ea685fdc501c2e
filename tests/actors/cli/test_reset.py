"""`homing reset` against a post office that plays the agent: the peer's Conn takes the mail, or is not there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actors.addresses import peer_addresses
from actors.cli.running import boot_now
from actors.effects import Effect
from actors.messages.peer import PathProven, ResetPeer
from actors.runtime.post_office import PostOffice
from tests.actors.cli.console import Result, homing
from tests.actors.cli.fake_agent import FakeAgent, control, packet, supervisor
from tests.actors.cli.offices import on_a_thread
from tests.actors.runtime.town import Calm
from tests.config.samples import BOB

CONN = peer_addresses(BOB).conn


class Recovering:
    """The peer's Conn: its watcher proves a path at once, or never."""

    inbox: ClassVar[Any] = ResetPeer | PathProven

    def __init__(self, *, recovers: bool) -> None:
        self._recovers, self.state = recovers, Calm()
        self.resets: list[ResetPeer] = []

    def handle(self, message: ResetPeer | PathProven, now: float) -> list[Effect]:
        if isinstance(message, PathProven):
            return []
        self.resets.append(message)
        proven = PathProven(peer=BOB, path="relayed", generation=1, heard_at=now)
        return [CONN.send(proven)] if self._recovers else []


@contextmanager
def agent(directory: Path, conn: Recovering | None) -> Iterator[None]:
    """Run an agent with this Conn for bob, or with none."""

    def furnish(offices: dict[str, PostOffice]) -> None:
        if conn is not None:
            offices["control-0"].add(CONN.actor, conn)

    with FakeAgent(directory) as fake:
        now = boot_now()
        fake.write([supervisor(now, age_s=-60), control(now, age_s=-60), packet(now, age_s=-60)])
        with on_a_thread(fake.directory, ("control-0",), furnish, incarnation=7):
            yield


def reset(capsys: pytest.CaptureFixture[str], directory: Path, *options: str) -> Result:
    return homing(capsys, "reset", "bob", "--run-directory", str(directory), *options)


@pytest.mark.process
def test_the_peer_is_reset_and_proven_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conn = Recovering(recovers=True)
    with agent(tmp_path, conn):
        first = reset(capsys, tmp_path)
        second = reset(capsys, tmp_path, "--json")
    assert first.out.startswith("bob was reset; a path is proven again after ")
    told = json.loads(second.out)
    assert (first.code, second.code, told["peer"], told["reset"]) == (0, 0, "bob", True)
    assert told["proven_after_s"] > 0
    assert conn.resets == [ResetPeer(peer=BOB)] * 2


@pytest.mark.process
def test_a_peer_that_does_not_recover_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conn = Recovering(recovers=False)
    with agent(tmp_path, conn):
        waited = reset(capsys, tmp_path, "--wait", "500ms")
        unwatched = reset(capsys, tmp_path, "--wait", "0")
    told = "homing: bob was reset, and no path proven within 500 ms; see: homing why bob\n"
    assert (waited.code, waited.error) == (1, told)
    assert (unwatched.code, unwatched.out) == (0, "bob is reset\n")
    assert len(conn.resets) == 2


@pytest.mark.process
def test_a_peer_without_actors_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(tmp_path, None):
        result = reset(capsys, tmp_path)
    assert result.code == 1
    assert result.error.startswith("homing: bob has no actors now (")


def test_wrong_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = reset(capsys, tmp_path, "--wait", "soon")
    assert result.code == 2
    assert "'soon' is no duration" in result.error
    with FakeAgent(tmp_path) as fake:
        fake.write_usual()
        unknown = homing(capsys, "reset", "nobody", "--run-directory", str(tmp_path))
    assert (unknown.code, unknown.error) == (1, "homing: no peer nobody; known are: bob\n")
