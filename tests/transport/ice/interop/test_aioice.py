"""Our agent against aioice, over a cable between two namespaces."""

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import pytest

from tests.transport.ice.interop.words import Greeting, Order, Told
from tests.wg.interop.net import PATIENCE_S, Host, Pair

pytestmark = [pytest.mark.interop, pytest.mark.netns]

CIDS = [letter * 32 for letter in "ABCDEFGH"]


class Program:
    """One of the two, started in a namespace."""

    def __init__(self, host: Host, name: str, *arguments: str) -> None:
        self.name = name
        module = f"tests.transport.ice.interop.{name}"
        self.process = host.start(
            sys.executable, "-m", module, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self.heard: list[Told] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.greeting = msgspec.json.decode(self._next(), type=Greeting)

    def tell(self, message: Greeting | Order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(message) + b"\n")
        self.process.stdin.flush()

    def wait_for(self, kind: str) -> Told:
        """Return what it says of this kind next; all it said stays in `heard`."""
        while True:
            told = msgspec.json.decode(self._next(), type=Told)
            self.heard.append(told)
            if told.kind == kind:
                return told

    def _next(self) -> bytes:
        try:
            line = self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            line = b""
        assert line, f"{self.name} says nothing more (code {self.process.poll()}); it said {self.heard}"
        return line

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")


@pytest.fixture
def cable() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


def introduce(
    pair: Pair, our_role: str, their_role: str, *, kind: str = "foreign", named: bool = False
) -> tuple[Program, Program]:
    """Start both, and tell each who the other is; `named`: as if theirs had named its candidates (signal spec 5.5)."""
    ours = Program(pair.a, "ours", our_role, kind, pair.a.outer, pair.a.outer6)
    theirs = Program(pair.b, "theirs", their_role)
    candidates = theirs.greeting.candidates
    if named:
        candidates = [f"{text} cid {cid}" for text, cid in zip(candidates, CIDS, strict=False)]
    theirs.tell(ours.greeting)
    ours.tell(msgspec.structs.replace(theirs.greeting, candidates=candidates))
    return ours, theirs


def hold_to_data(ours: Program, theirs: Program) -> None:
    """Data goes both ways on the pair that ours has selected."""
    theirs.wait_for("connected")
    ours.wait_for("PairSelected")
    ours.tell(Order(send="hello"))
    assert theirs.wait_for("data").text == "hello"
    echo = ours.wait_for("data")
    report = next(told.report for told in ours.heard if told.report is not None)
    assert report.selected is not None
    assert echo.text == "echo hello"
    assert echo.endpoint == str(report.selected.remote)


@pytest.mark.parametrize("named", [False, True], ids=["bare", "with attribute 0x8100"])
@pytest.mark.parametrize("kind", ["foreign", "ours"])
@pytest.mark.parametrize(
    ("our_role", "their_role"),
    [("controlling", "controlled"), ("controlled", "controlling")],
    ids=["we control", "they control"],
)
def test_connects(cable: Pair, our_role: str, their_role: str, kind: str, named: bool) -> None:
    ours, theirs = introduce(cable, our_role, their_role, kind=kind, named=named)
    hold_to_data(ours, theirs)
    ours.tell(Order())
    report = ours.wait_for("report").report
    assert report is not None
    assert (report.state, report.controlling) == ("connected", our_role == "controlling")
    assert report.role_switches == 0
    assert report.drops == {}


@pytest.mark.parametrize("role", ["controlling", "controlled"])
def test_a_role_conflict_is_settled(cable: Pair, role: str) -> None:
    ours, theirs = introduce(cable, role, role)
    hold_to_data(ours, theirs)


def test_a_pair_is_kept_and_its_end_is_noticed(cable: Pair) -> None:
    ours, theirs = introduce(cable, "controlling", "controlled", kind="ours", named=True)
    hold_to_data(ours, theirs)
    answered = 0
    while answered < 3:  # checks of the selected pair, each at its time
        ours.tell(Order())
        report = ours.wait_for("report").report
        assert report is not None
        assert report.state == "connected"
        assert report.selected is not None
        answered = report.selected.answered
    theirs.process.kill()
    ours.wait_for("AgentEnded")
