"""`homing trace` as a process of its own; this one plays the agent that it watches."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import zmq

from actors.cli.reading import MAX_LINES_PER_S
from actors.cli.running import boot_now
from actors.messages.peer import OfferDue
from actors.trace.record import (
    Record,
    Ring,
    Tapped,
    decode_wanted,
    encode_ring,
    encode_tapped,
    ring_name,
    tap_name,
)
from tests.actors.cli.console import Result, failure, homing, really, spawn
from tests.actors.cli.fake_agent import FakeAgent
from tests.actors.trace.records import record
from tests.config.samples import BOB, CAROL
from transport.drivers.zmq import Publisher, ipc

pytestmark = pytest.mark.process

PROCESS = "control-0"
SUBSCRIBED_TRIES = 1000  # of 20 ms


class TracedAgent(FakeAgent):
    """A fake agent with a tap and a ring."""

    def __init__(self, run_directory: Path) -> None:
        super().__init__(run_directory)
        self.write_usual()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.tap = Publisher(self.context, ipc(self.directory / tap_name(PROCESS, 7)), 4096)

    @contextmanager
    def ring(self, *records: Record, overwritten: int = 0, machines: bytes | None = None) -> Iterator[None]:
        """Answer one question about the past with these records, and one about a peer's machines, if there are any."""
        socket = self.context.socket(zmq.REP)
        socket.bind(ipc(self.directory / ring_name(PROCESS, 7)))

        def answer() -> None:
            assert socket.poll(20_000), "nobody asked"
            since = decode_wanted(socket.recv()).since
            held = tuple(one for one in records if one.at >= since)
            socket.send(encode_ring(Ring(PROCESS, 7, overwritten, held)))
            if machines is not None:
                assert socket.poll(20_000), "nobody asked for machines"
                assert decode_wanted(socket.recv()).machines
                socket.send(encode_ring(Ring(PROCESS, 7, 0, (), machines)))

        with ThreadPoolExecutor(1) as other:
            answering = other.submit(answer)
            yield
            answering.result(30)
        socket.close(linger=0)

    def wait_for_reader(self) -> None:
        """Wait until somebody listens."""
        for _ in range(SUBSCRIBED_TRIES):
            if self.tap.prefixes():
                return
            self.tap.socket.poll(20)
        raise AssertionError("nobody listens")

    def tell(self, *records: Record, count: int = 0) -> None:
        """Publish these; `count`: the number of the last that was."""
        for one in records:
            assert self.tap.publish(one.to.encode(), encode_tapped(Tapped(0, one, {"": count})))

    def die(self) -> None:
        super().die()
        self.context.destroy(linger=0)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TracedAgent]:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path))
    with TracedAgent(tmp_path) as fake:
        yield fake


def mail(number: int, **changes: Any) -> Record:
    return record(**{"at": boot_now(), "id": number, **changes})


def offer_due(number: int) -> Record:
    return record(
        OfferDue(), at=boot_now(), id=number, to=f"peer/{CAROL}/guard", sender=f"peer/{CAROL}/guard@control-0"
    )


def watch(agent: TracedAgent, do: Callable[["subprocess.Popen[str]"], object], *arguments: str) -> Result:
    """Run a live trace, do something once it listens, and return what it left."""
    with spawn("trace", *arguments) as process:
        try:
            agent.wait_for_reader()
            do(process)
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    return Result(process.returncode, out, error)


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


# --- as it comes ---


def test_mail_is_shown_as_it_comes(agent: TracedAgent) -> None:
    result = watch(agent, lambda _: agent.tell(mail(1), mail(2)), "--count", "2")
    assert (result.code, result.error) == (0, "")
    first, second = result.out.splitlines()
    assert "relay_links@packet -> bob/relay_worker  relayed_opened generation=3 link=1  Opening -> Open  #1" in first
    assert second.endswith("#2 <- #38")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--type", "OfferDue"), "#2"),
        (("--actor", "guard"), "#2"),
        (("--peer", CAROL), "#2"),
        (("--peer", "bob", "--dropped"), "DROPPED: over its bound  #3"),
    ],
)
def test_filters_hold(arguments: tuple[str, ...], shown: str, agent: TracedAgent) -> None:
    records = (mail(1), offer_due(2), mail(3, kind="dropped", reason="over its bound"))
    result = watch(agent, lambda _: agent.tell(*records), *arguments, "--count", "1")
    (line,) = result.out.splitlines()
    assert shown in line


def test_json_is_an_object_a_line(agent: TracedAgent) -> None:
    result = watch(agent, lambda _: agent.tell(mail(1)), "--json", "--count", "1")
    assert json.loads(result.out)["fields"] == {"peer": BOB, "generation": 3, "link": 1}


def test_an_interrupt_ends_it_cleanly(agent: TracedAgent) -> None:
    def interrupt(process: "subprocess.Popen[str]") -> None:
        agent.tell(mail(1))
        assert "#1" in line_of(process.stdout)
        process.send_signal(signal.SIGINT)

    result = watch(agent, interrupt)
    assert (result.code, result.error) == (0, "")


def test_a_reader_of_its_lines_that_goes_away_ends_it_cleanly(agent: TracedAgent) -> None:
    def close(process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        agent.tell(mail(1))
        line_of(process.stdout)
        process.stdout.close()
        for number in range(SUBSCRIBED_TRIES):
            agent.tell(mail(number))
            if not agent.tap.prefixes():
                return
            agent.tap.socket.poll(20)

    with spawn("trace") as process:
        try:
            agent.wait_for_reader()
            close(process)
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_flood_is_capped_and_counted(agent: TracedAgent) -> None:
    flood = [mail(number) for number in range(2 * MAX_LINES_PER_S + 1)]
    result = watch(agent, lambda _: agent.tell(*flood), "--for", "2s")
    shown = len(result.out.splitlines())
    told = [int(line.split()[2]) for line in result.error.splitlines() if line.startswith("homing: suppressed ")]
    assert told
    assert shown + sum(told) == len(flood)
    assert shown >= MAX_LINES_PER_S


def test_what_the_tap_lost_is_said(agent: TracedAgent) -> None:
    def lose(_: object) -> None:
        agent.tell(mail(1), count=1)
        agent.tell(mail(2), count=7)

    assert "homing: lost 5 records" in watch(agent, lose, "--for", "1s").error


def test_a_watcher_that_hangs_stops_nobody(agent: TracedAgent) -> None:
    def hang(process: "subprocess.Popen[str]") -> None:
        process.send_signal(signal.SIGSTOP)
        big = encode_tapped(Tapped(0, mail(1, body=bytes(4000))))
        for _ in range(100_000):  # each returns at once; the last one because nobody takes it
            if not agent.tap.publish(b"x", big):
                break
        else:
            pytest.fail("everything was taken: unbounded")
        process.kill()

    assert watch(agent, hang).code == -signal.SIGKILL


def test_the_end_of_the_agent_ends_it(agent: TracedAgent) -> None:
    def end(process: "subprocess.Popen[str]") -> None:
        agent.tell(mail(1))
        line_of(process.stdout)
        agent.die()

    result = watch(agent, end)
    assert (result.code, result.error) == (0, "homing: the agent alice has ended\n")


def test_a_filter_that_nothing_matches_says_so(agent: TracedAgent) -> None:
    result = watch(agent, lambda _: agent.tell(mail(1), mail(2)), "--type", "offer_due", "--for", "1s")
    assert (result.code, result.out) == (1, "")
    assert result.error == "homing: nothing matched among 2 records; their types are: relayed_opened\n"


def test_an_actor_without_mail_is_answered_with_those_that_had_some(agent: TracedAgent) -> None:
    result = watch(agent, lambda _: agent.tell(mail(1)), "--actor", "guard", "--for", "1s")
    assert result.error.startswith("homing: nothing matched among 1 records; their actors are: ")
    assert "relay_worker" in result.error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--type", "RelayLots"), "--type: relay_lots is no message type; is it relay_lost"),
        (("--type", "offer_due,xyzzy"), "--type: xyzzy is no message type; there are: add_remote_candidate, "),
        (("--actor", "gaurd"), "--actor: gaurd is no actor; is it guard"),
        (("--actor", f"peer/{BOB}/nobody"), "--actor: nobody is no actor; there are: agent, conn, guard, host, "),
        (("--cause", "yesterday"), "--cause: 'yesterday' is no id; the number behind #"),
    ],
)
def test_a_name_that_there_is_not_is_answered_at_once(
    arguments: tuple[str, ...], said: str, agent: TracedAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failure(capsys, "trace", *arguments, code=2).startswith(said)


def test_a_quiet_agent_is_said_to_be_waited_for(agent: TracedAgent) -> None:
    result = watch(agent, lambda _: agent.tell(mail(1)), "--actor", "guard", "--peer", "bob", "--for", "3s")
    assert result.error.splitlines()[0] == "homing: waiting for mail --peer bob --actor guard; 1 others went by"


def test_timers_that_were_cancelled_late_are_no_lost_mail(agent: TracedAgent) -> None:
    stale, lost = mail(1, kind="stale_timer", reason="cancelled"), mail(2, kind="dropped", reason="over its bound")
    with agent.ring(stale, lost):
        result = really("trace", "--since", "60s", "--dropped")
    assert [line[-9:] for line in result.out.splitlines()] == ["#2 <- #38"]
    with agent.ring(stale, lost):
        result = really("trace", "--since", "60s", "--dropped", "--all")
    assert len(result.out.splitlines()) == 2


def test_what_a_message_caused_is_followed(agent: TracedAgent) -> None:
    whole = 7_000_123_456
    records = (
        mail(1),
        mail(whole),
        mail(3, cause=whole),
        mail(4, cause=1),
        mail(5, cause=3, kind="dropped"),
    )
    result = watch(agent, lambda _: agent.tell(*records), "--cause", "#123456", "--count", "3", "--json")
    assert [json.loads(line)["id"] for line in result.out.splitlines()] == [whole, 3, 5]


# --- as it was ---


def test_the_past_comes_from_the_rings(agent: TracedAgent) -> None:
    old, new = mail(1, at=boot_now() - 300), mail(2)
    with agent.ring(new, offer_due(3), old):
        result = really("trace", "--since", "60s", "--json")
    assert (result.code, result.error) == (0, "")
    assert [json.loads(line)["id"] for line in result.out.splitlines()] == [2, 3]


def test_a_count_of_the_past_means_its_end(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with agent.ring(*(mail(number) for number in range(1, 6))):
        result = homing(capsys, "trace", "--since", "60s", "--count", "2")
    assert [line.split("#")[1].split()[0] for line in result.out.splitlines()] == ["4", "5"]


def test_types_may_be_given_in_any_way(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with agent.ring(mail(1), offer_due(2), mail(3, tag="relay_ready")):
        result = homing(
            capsys, "trace", "--since", "1m", "--type", "RelayReady,OfferDue", "--type", "relay_lost", "--json"
        )
    assert [json.loads(line)["type"] for line in result.out.splitlines()] == ["offer_due", "relay_ready"]


def test_the_heartbeat_is_shown_when_it_is_asked_for(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, ids in (((), [1]), (("--all",), [1, 2]), (("--type", "pong"), [2]), (("--actor", "conn"), [2])):
        with agent.ring(mail(1), mail(2, tag="pong", to="conn")):
            result = homing(capsys, "trace", "--since", "60s", "--json", *arguments)
        assert [json.loads(line)["id"] for line in result.out.splitlines()] == ids


def test_how_far_back_a_ring_reaches_is_said(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with agent.ring(mail(1, at=boot_now() - 20), overwritten=1000):
        result = homing(capsys, "trace", "--since", "1h")
    assert result.error.startswith("homing: control-0 holds no more than the last 20.")
    assert result.code == 0


def test_a_process_that_hangs_is_named(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    socket = agent.context.socket(zmq.REP)
    socket.bind(ipc(agent.directory / ring_name("packet", 7)))
    with agent.ring(mail(1)):
        result = homing(capsys, "trace", "--since", "60s")
    assert result.error == "homing: packet did not answer within 2 s; its mail is missing here\n"
    assert "#1" in result.out


def test_no_past_at_all(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(capsys, "trace", "--since", "60s") == "nothing matched: there was no mail at all"


def test_two_may_watch_at_once(agent: TracedAgent) -> None:
    with spawn("trace", "--count", "2", "--json") as first, spawn("trace", "--peer", "bob", "--json") as second:
        try:
            agent.wait_for_reader()
            shown: list[str] = []
            for number in range(1, SUBSCRIBED_TRIES):  # until the second one listens too
                agent.tell(mail(number))
                agent.tap.socket.poll(20)
                if first.poll() is not None:
                    break
            shown += line_of(second.stdout), line_of(second.stdout)
            out, error = first.communicate(timeout=30)
        finally:
            first.kill()
            second.kill()
    assert (first.returncode, error, len(out.splitlines())) == (0, "", 2)
    assert all(json.loads(line)["type"] == "relayed_opened" for line in shown)


# --- what cannot be ---


def test_an_agent_that_does_not_run(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.die()
    assert failure(capsys, "trace") == "the agent alice is not running; start it with: homing up -c FILE"


def test_an_unknown_peer(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(capsys, "trace", "--peer", "dave") == "no peer dave; known are: bob"


# --- the tree of a message, and the mailboxes ---


def test_why_shows_the_way_from_the_root_and_what_followed(agent: TracedAgent) -> None:
    story = (mail(1, cause=0), mail(2, cause=1), mail(3, cause=1), mail(4, cause=2), mail(5, cause=4))
    with agent.ring(*story):
        result = really("trace", "why", "2")
    assert (result.code, result.error) == (0, "")
    assert [(line[:2], line.split("#", 1)[1]) for line in result.out.splitlines()] == [
        ("  ", "1  (+1 more)"),
        ("> ", "2 <- #1"),
        ("  ", "4 <- #2"),
        ("  ", "5 <- #4"),
    ]


def test_why_of_a_message_that_nobody_remembers(agent: TracedAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with agent.ring(mail(1), mail(2)):
        assert failure(capsys, "trace", "why", "99").startswith("no message #99 among the 2 of the last ")
    with agent.ring(mail(3_000_000_099), mail(5_000_000_099)):
        assert failure(capsys, "trace", "why", "99", code=2).startswith(
            "several messages end in 99: 3000000099 (relayed_opened to relay_worker); 5000000099"
        )
    assert failure(capsys, "trace", "why", "soon", code=2).startswith("ID: 'soon' is no id")


def test_queues_of_the_past(agent: TracedAgent) -> None:
    with agent.ring(*(mail(number, service_s=0.001 * number, depth=number) for number in range(1, 5))):
        result = really("trace", "queues", "--since", "60s")
    assert (result.code, result.error) == (0, "")
    assert result.out.splitlines()[0] == "4 messages in 1 min 0 s, 1 actors had mail"
    assert result.out.splitlines()[2].split()[:5] == ["bob/relay_worker", "control-0", "4", "0", "4"]
    assert result.out.splitlines()[2].endswith("3 ms  4 ms")


def test_queues_are_shown_again_and_again(agent: TracedAgent) -> None:
    with spawn("trace", "queues", "--interval", "300ms", "--count", "2", "--json") as process:
        try:
            agent.wait_for_reader()
            agent.tell(mail(1), mail(2))
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    tables = [json.loads(line) for line in out.splitlines()]
    assert (process.returncode, error, len(tables)) == (0, "", 2)
    assert sum(queue["handled"] for table in tables for queue in table["queues"]) == 2
