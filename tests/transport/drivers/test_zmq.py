import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from transport.drivers.zmq import (
    ENDPOINT_MAX_LEN,
    Answerer,
    EndpointTooLong,
    NameTaken,
    Publisher,
    Receiver,
    Sender,
    claim,
    ipc,
    mail_name,
    release,
)

PATIENCE_S = 20.0


@pytest.fixture
def run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="homing-zmq-") as directory:
        yield Path(directory)


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made.set(zmq.BLOCKY, False)  # else a socket that is dropped with mail for nobody holds its end up for ever
    yield made
    made.destroy(linger=0)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        time.sleep(0.000_5)
        assert time.monotonic() < deadline, "it does not come to that"


def test_frames_arrive_in_order_over_ipc(run_dir: Path, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    endpoint = ipc(run_dir / mail_name("packet", 1))
    receiver, sender = Receiver(context, [endpoint]), Sender(context, endpoint)
    for number in range(50):
        assert sender.send(b"%d" % number)
    heard: list[bytes] = []

    def all_heard() -> bool:
        while (frame := receiver.receive()) is not None:
            heard.append(frame)
        return len(heard) == 50

    until(all_heard)
    assert heard == [b"%d" % number for number in range(50)]


def test_what_is_sent_inside_a_process_is_there_at_once(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    receiver, sender = Receiver(context, ["inproc://here"]), Sender(context, "inproc://here")
    assert receiver.receive() is None
    assert sender.send(b"a")
    assert sender.send(b"b")
    assert [receiver.receive(), receiver.receive(), receiver.receive()] == [b"a", b"b", None]


def test_a_sender_that_is_refused_never_waits_and_is_told_when_there_is_room(
    context: "zmq.Context[zmq.Socket[bytes]]",
) -> None:
    receiver, sender = Receiver(context, ["inproc://here"]), Sender(context, "inproc://here")
    sent = 0
    while sender.send(b"%d" % sent):
        sent += 1
    assert not sender.writable()
    for number in range(sent):
        assert receiver.receive() == b"%d" % number
    assert receiver.receive() is None
    assert sender.writable()
    assert sender.send(b"again")
    assert receiver.receive() == b"again"


def test_a_claimed_name_is_taken_until_it_is_given_back(run_dir: Path) -> None:
    held = claim(run_dir, "packet")
    with pytest.raises(NameTaken, match="another process 'packet' runs"):
        claim(run_dir, "packet")
    release(claim(run_dir, "control-0"))
    release(held)
    release(claim(run_dir, "packet"))


@pytest.mark.process
def test_a_name_is_free_again_when_its_process_is_killed(run_dir: Path) -> None:
    program = "import sys, time, pathlib; from transport.drivers.zmq import claim; "
    program += "claim(pathlib.Path(sys.argv[1]), 'packet'); print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program, str(run_dir)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(NameTaken):
            claim(run_dir, "packet")
    finally:
        child.kill()
        child.communicate()
    release(claim(run_dir, "packet"))


def test_claiming_removes_what_an_earlier_incarnation_left_and_nothing_else(run_dir: Path) -> None:
    stale = ["packet-1.sock", "packet-23.sock", "tap-packet-1.sock", "ring-packet-1.sock"]
    others = ["packet-0-1.sock", "control-0-1.sock", "packet-x.sock", "status-packet.json", "tap-control-0-1.sock"]
    for name in (*stale, *others):
        (run_dir / name).touch()
    release(claim(run_dir, "packet"))
    assert {path.name for path in run_dir.iterdir()} == {*others, "packet.lock"}


def test_a_lock_file_that_is_a_link_is_not_followed(run_dir: Path) -> None:
    (run_dir / "packet.lock").symlink_to(run_dir / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        claim(run_dir, "packet")


def test_another_user_in_the_directory_may_connect(run_dir: Path, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    path = run_dir / mail_name("packet", 1)
    Receiver(context, [ipc(path)])
    assert path.stat().st_mode & 0o777 == 0o666


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_advice() -> None:
    directory = Path("/run/" + "d" * ENDPOINT_MAX_LEN)
    with pytest.raises(EndpointTooLong, match="choose a shorter run directory"):
        ipc(directory / mail_name("packet", 1))
    assert ipc(Path("/" + "d" * (ENDPOINT_MAX_LEN - 1))).startswith("ipc:///d")


def test_a_publisher_knows_what_is_wanted_and_when_nobody_is_left(
    run_dir: Path, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    endpoint = ipc(run_dir / "tap")
    publisher = Publisher(context, endpoint, 10)
    assert publisher.prefixes() == ()
    reader = context.socket(zmq.SUB)
    reader.subscribe(b"peer/")
    reader.connect(endpoint)
    until(lambda: publisher.prefixes() == (b"peer/",))
    assert publisher.publish(b"peer/bob", b"data")
    assert reader.recv_multipart() == [b"peer/bob", b"data"]
    reader.close(linger=0)
    until(lambda: publisher.prefixes() == ())


def test_a_publisher_says_when_a_reader_is_too_slow(run_dir: Path, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    endpoint = ipc(run_dir / "tap")
    publisher = Publisher(context, endpoint, 10)
    reader = context.socket(zmq.SUB)
    reader.set(zmq.RCVHWM, 1)
    reader.subscribe(b"")
    reader.connect(endpoint)
    until(lambda: bool(publisher.prefixes()))
    sent = 0
    while publisher.publish(b"topic", b"x" * 100_000):
        sent += 1
        assert sent < 10_000
    assert sent > 0


def test_a_request_is_answered_and_a_lost_asker_blocks_nobody(
    run_dir: Path, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    endpoint = ipc(run_dir / "ring")
    answerer = Answerer(context, endpoint)
    assert answerer.request() is None
    for number in range(3):
        asker = context.socket(zmq.REQ)
        asker.connect(endpoint)
        asker.send_multipart([b"part of", b"what %d" % number])
        found: list[bytes | None] = [None]

        def asked(found: list[bytes | None] = found) -> bool:
            found[0] = answerer.request()
            return found[0] is not None

        until(asked)
        assert found == [b"what %d" % number]
        if number == 1:
            asker.close(linger=0)
            answerer.answer(b"nobody hears it")
            continue
        answerer.answer(b"so")
        assert asker.recv() == b"so"
        asker.close(linger=0)


def test_descriptors_can_be_waited_for(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    receiver, sender = Receiver(context, ["inproc://here"]), Sender(context, "inproc://here")
    assert os.fstat(receiver.fd)
    assert os.fstat(sender.fd)
    assert receiver.fd != sender.fd
