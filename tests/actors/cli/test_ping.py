"""`homing ping` against post offices that play the agent: one answers echoes as TUNNELS does, one hears them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actors.addresses import TUNNELS, peer_addresses
from actors.cli import ping as pinging
from actors.cli.ping import Echo, Pinged, last_line, line, summary
from actors.cli.report import make_report
from actors.cli.running import boot_now
from actors.effects import Effect
from actors.messages.packet import InitiateHandshake, ProbePath
from actors.messages.status import Snapshot
from actors.runtime.post_office import PostOffice
from tests.actors.cli.console import Result, failure, homing
from tests.actors.cli.fake_agent import RELAY, FakeAgent, control, packet, peer, supervisor, tunnel
from tests.actors.cli.offices import on_a_thread
from tests.actors.runtime.town import Calm
from tests.config.samples import BOB, CAROL
from wg.reports import EchoAnswered, HandshakeCompleted

process_test = pytest.mark.process
WATCHER = peer_addresses(BOB).wg_watcher

Answer = Callable[[Any], list[Any]]


class Echoing:
    """Says to the watcher what a function makes of each ProbePath."""

    inbox: ClassVar[Any] = ProbePath | InitiateHandshake

    def __init__(self, answer: Answer) -> None:
        self._answer, self.state = answer, Calm()
        self.asked: list[Any] = []

    def handle(self, message: ProbePath | InitiateHandshake, now: float) -> list[Effect]:
        self.asked.append(message)
        return [WATCHER.send(report) for report in self._answer(message)]


class Listening:
    """The watcher."""

    inbox: ClassVar[Any] = EchoAnswered | HandshakeCompleted

    def __init__(self) -> None:
        self.state = Calm()

    def handle(self, message: EchoAnswered | HandshakeCompleted, now: float) -> list[Effect]:
        return []


def answered(probe: ProbePath, rtt_s: float = 0.0123) -> list[Any]:
    return [EchoAnswered(peer=probe.peer, path=probe.path, token=probe.token, rtt_s=rtt_s)]


@contextmanager
def agent(directory: Path, answer: Answer = answered, *parts: Snapshot) -> Iterator[Echoing]:
    """Run an agent that holds these snapshots, and hears of an echo what `answer` says."""
    tunnels = Echoing(answer)

    def furnish(offices: dict[str, PostOffice]) -> None:
        offices["packet"].add(TUNNELS.actor, tunnels)
        offices["control-0"].add(WATCHER.actor, Listening())

    with FakeAgent(directory) as fake:
        now = boot_now()
        fake.write([supervisor(now, age_s=-60), control(now, age_s=-60), packet(now, age_s=-60), *parts])
        with on_a_thread(fake.directory, ("control-0", "packet"), furnish):
            yield tunnels


def ping(capsys: pytest.CaptureFixture[str], directory: Path, *options: str) -> Result:
    return homing(capsys, "ping", "bob", "--run-directory", str(directory), "--interval", "100ms", *options)


@process_test
def test_each_answer_says_which_path_carried_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(tmp_path) as tunnels:
        result = ping(capsys, tmp_path, "--count", "2")
    assert result.code == 0
    assert result.out.splitlines() == [
        f"1: answer from bob on relay {RELAY} after 12.3 ms",
        f"2: answer from bob on relay {RELAY} after 12.3 ms",
        f"2 sent, 2 answered, 0 lost (0 %); least 12.3 ms, median 12.3 ms, most 12.3 ms; 2 by relay {RELAY}",
    ]
    assert [one.path for one in tunnels.asked] == ["relayed", "relayed"]
    assert len({one.token for one in tunnels.asked}) == 2


@process_test
def test_a_direct_path_is_named_by_the_peers_endpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    direct = packet(now, tunnel(now, path="direct 192.0.2.7:51820", heard_direct_at=now), age_s=-60)
    with agent(tmp_path, answered, direct):
        result = ping(capsys, tmp_path, "--count", "1", "--json")
    said = json.loads(result.out)
    assert result.code == 0
    assert said["sent"] == said["answered"] == 1
    assert said["echoes"] == [
        {"number": 1, "path": "direct", "endpoint": "192.0.2.7:51820", "rtt_s": 0.0123, "reason": ""}
    ]


@process_test
def test_what_is_not_answered_is_shown_as_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer to another's echo is none."""
    first: list[int] = []

    def second_only(probe: ProbePath) -> list[Any]:
        first.append(probe.token)
        if len(first) == 2:
            return answered(probe)
        return [EchoAnswered(peer=probe.peer, path=probe.path, token=probe.token ^ 1, rtt_s=0.001)]

    with agent(tmp_path, second_only):
        result = ping(capsys, tmp_path, "--count", "2")
    assert result.code == 0
    assert result.out.splitlines()[0] == f"1: lost on relay {RELAY}: no answer within 2 s"
    assert "2 sent, 1 answered, 1 lost (50 %)" in result.out.splitlines()[-1]


@process_test
def test_a_peer_without_a_session_gets_one_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[ProbePath] = []

    def handshake_first(probe: ProbePath) -> list[Any]:
        asked.append(probe)
        if len(asked) > 1:
            return answered(probe)
        return [HandshakeCompleted(peer=probe.peer, path=probe.path, role="initiator", rtt_s=0.05)]

    now = boot_now()
    with agent(tmp_path, handshake_first, packet(now, tunnel(now, handshake_at=now - 181), age_s=-60)):
        result = ping(capsys, tmp_path, "--count", "1")
    assert (result.code, len(asked)) == (0, 2)
    assert result.out.startswith(f"1: answer from bob on relay {RELAY}")


@process_test
def test_a_peer_that_answers_no_handshake_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinging, "HANDSHAKE_S", 0.5)
    now = boot_now()
    with agent(tmp_path, lambda probe: [], packet(now, tunnel(now, handshake_at=None), age_s=-60)) as tunnels:
        said = failure(capsys, "ping", "bob", "--run-directory", str(tmp_path))
    unanswered = f"a handshake on relay {RELAY} was not answered within 0.5 s"
    assert said == f"no WireGuard session with bob: {unanswered}; see: homing why bob"
    assert len(tunnels.asked) == 1


@process_test
def test_a_peer_that_is_not_homing_is_measured_by_handshakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinging, "HANDSHAKES_S", 0.2)
    asked: list[InitiateHandshake] = []

    def shaken(message: InitiateHandshake) -> list[Any]:
        """Theirs, which says nothing of the way there and back, then ours."""
        asked.append(message)
        theirs = HandshakeCompleted(peer=BOB, path="relayed", role="responder", rtt_s=None)
        return [theirs, HandshakeCompleted(peer=BOB, path="relayed", role="initiator", rtt_s=0.04 * len(asked))]

    now = boot_now()
    with agent(tmp_path, shaken, control(now, peer(now, ours=False), age_s=-60)):
        result = ping(capsys, tmp_path, "--count", "2")
    assert (result.code, asked) == (0, [InitiateHandshake(peer=BOB)] * 2)
    assert result.out.splitlines()[:2] == [
        f"1: answer from bob on relay {RELAY} after 40 ms",
        f"2: answer from bob on relay {RELAY} after 80 ms",
    ]
    assert result.error == (
        "homing: bob does not run homing: these are round trips of WireGuard handshakes, one in 0.2 s\n"
    )


@process_test
def test_a_peer_that_is_not_homing_and_answers_no_handshake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinging, "HANDSHAKE_S", 0.5)
    now = boot_now()
    with agent(tmp_path, lambda _: [], control(now, peer(now, ours=False), age_s=-60)):
        result = ping(capsys, tmp_path, "--count", "1", "--json")
    said = json.loads(result.out)
    assert (result.code, said["by"], said["answered"]) == (1, "handshake", 0)
    assert said["echoes"][0]["reason"] == "no answer within 0.5 s"


@process_test
def test_nothing_answered_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(tmp_path, lambda probe: []):
        result = ping(capsys, tmp_path, "--count", "1", "--json")
    assert (result.code, json.loads(result.out)["answered"]) == (1, 0)


def test_what_cannot_be_pinged_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    where = ("--run-directory", str(tmp_path))
    assert failure(capsys, "ping", "bob", *where).startswith("no agent runs here")
    with FakeAgent(tmp_path) as fake:
        fake.write_usual()
        assert failure(capsys, "ping", "nobody", *where) == "no peer nobody; known are: bob"
        assert failure(capsys, "ping", "bob", "--interval", "1ms", *where, code=2) == (
            "--interval: at least 100 ms, not 1ms"
        )
        assert "is no duration" in failure(capsys, "ping", "bob", "--interval", "soon", *where, code=2)
        why = "the relay server refused us"
        fake.write(
            [control(now, peer(now, state="connecting", path=None, reason=why)), packet(now, tunnel(now, path=""))]
        )
        assert failure(capsys, "ping", "bob", *where) == (
            "there is no path to bob: the relay server refused us; see: homing why bob"
        )
        twice = (peer(now), peer(now, CAROL, name="carol"), peer(now, CAROL, name="bob"))
        fake.write([control(now, *twice[:1], twice[2])])
        assert failure(capsys, "ping", "bob", *where).startswith("bob may be any of: bob, bob; say")
    assert failure(capsys, "ping", "bob", *where).startswith("the agent alice is not running")


def echo(number: int, rtt_s: float | None, endpoint: str = "192.0.2.7:1") -> Echo:
    return Echo(number=number, path="direct", endpoint=endpoint, rtt_s=rtt_s, reason="" if rtt_s else "no path")


def pinged(*echoes: Echo) -> Pinged:
    now = boot_now()
    report = make_report("alice", 1, [control(now), packet(now)], (), now)
    return summary(report.peers[0], echoes)


def test_the_summary_counts_what_came_by_which_path() -> None:
    told = last_line(pinged(echo(1, 0.01), echo(2, None), echo(3, 0.03, "192.0.2.7:2"), echo(4, 0.02)))
    assert told == (
        "4 sent, 3 answered, 1 lost (25 %); least 10 ms, median 20 ms, most 30 ms;"
        " 2 by direct 192.0.2.7:1, 1 by direct 192.0.2.7:2"
    )
    assert last_line(pinged()) == "0 sent, 0 answered, 0 lost"
    assert line("bob", Echo(number=9, path=None, endpoint="", rtt_s=None, reason="no path")) == "9: lost: no path"
