"""`homing why` reads what the processes remember; here a thread of the test answers for them."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from msgspec import structs

from actors.cli.running import boot_now
from actors.messages.status import IceStatus
from actors.trace.record import Record, Ring, decode_wanted, encode_ring, ring_name
from tests.actors.cli.console import failure, homing
from tests.actors.cli.fake_agent import RELAY, FakeAgent, control, packet, peer, supervisor, tunnel
from tests.actors.trace.stories import CLOSED, FAULT, REFUSED, Story
from tests.config.samples import BOB
from transport.drivers.zmq import ipc

pytestmark = pytest.mark.process

PROCESS = "control-0"
TRIED = "192.168.1.2 -> srflx 198.51.100.2:51820: 13 checks, no answer"


@contextmanager
def agent(directory: Path, records: Sequence[Record]) -> Iterator[None]:
    """Run an agent whose control process remembers these, the fault 60 s ago, and answers one question."""
    now = boot_now()
    moved = [structs.replace(one, at=one.at - FAULT + now - 60) for one in records]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with FakeAgent(directory) as fake, ThreadPoolExecutor(1) as other:
        searched = IceStatus(peer=BOB, state="ended", since_at=now - 9, reason="none answered", tried=(TRIED,))
        relayed = peer(now, reason="no direct path: none answered")
        fake.write([supervisor(now), control(now, relayed), packet(now, tunnel(now), ice=(searched,))])
        socket = context.socket(zmq.REP)
        socket.bind(ipc(fake.directory / ring_name(PROCESS, 7)))

        def answer() -> None:
            since = decode_wanted(socket.recv()).since
            socket.send(encode_ring(Ring(PROCESS, 7, 5, tuple(one for one in moved if one.at >= since))))

        answering = other.submit(answer)
        try:
            yield
            answering.result(30)
        finally:
            context.destroy(linger=100)


def restarted() -> Story:
    story = Story().up().link(0.0, "broke", CLOSED).relay_lost(0.01, "the link closed")
    return story.link(0.3, "failed", REFUSED).link(1.7, "opened").proven(1.81, "relayed")


def test_it_says_by_which_path_why_not_directly_and_what_broke_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(tmp_path, restarted().records):
        result = homing(capsys, "why", "bob", "--run-directory", str(tmp_path))
    assert result.code == 0
    said = result.out.splitlines()
    assert said[0].startswith(f"bob: connected over the relay {RELAY}, heard 2")
    assert said[0].endswith(" s ago; no direct path: none answered")
    assert said[1] == f"  {TRIED}"
    assert "relay_restarted: rel://203.0.113.1:8080 closed the link, and took none for a while" in said[2]
    assert said[2].endswith("the relayed path was proven again after 1.8 s")
    assert [line.split("  ")[2] for line in said[3:8]] == [
        f"the link to {RELAY} broke: {CLOSED}",
        "the relayed connection was lost: the link closed",
        f"no link to {RELAY}: {REFUSED}",
        f"the link to {RELAY} was up",
        "the relayed path was proven",
    ]
    assert said[8].startswith("known are the last 2 min 4")


def test_a_program_reads_the_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(tmp_path, restarted().records):
        result = homing(capsys, "why", "bob", "--json", "--run-directory", str(tmp_path))
    said = json.loads(result.out)
    assert (said["cause"], said["last"]["cause"]) == ("relay_restarted", "relay_restarted")
    assert said["standing"]["tried"] == [TRIED]
    assert said["last"]["outage_s"] == pytest.approx(1.8)
    assert 59 < said["now"] - said["last"]["began_at"] < 90


def test_only_as_far_back_as_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(tmp_path, restarted().heard(50.0, "relayed").records):
        result = homing(capsys, "why", "bob", "--json", "--since", "30s", "--run-directory", str(tmp_path))
    said = json.loads(result.out)
    assert (said["cause"], said["last"]) == ("none", None)
    assert said["missing"][0].startswith("control-0 remembers no more than the last 1")


def test_what_cannot_be_explained_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--run-directory", str(tmp_path))
    with FakeAgent(tmp_path) as fake:
        fake.write_usual()
        assert failure(capsys, "why", "nobody", *where) == "no peer nobody; known are: bob"
        assert "is no duration" in failure(capsys, "why", "bob", "--since", "long", *where, code=2)
        assert "nothing broke" in homing(capsys, "why", "bob", *where).out
    assert failure(capsys, "why", "bob", *where).startswith("the agent alice is not running")
