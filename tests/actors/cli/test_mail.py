"""A command's mail against real post offices, which a thread of the test runs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import zmq

from actors.cli.errors import CommandFailed
from actors.cli.mail import FRAMES, NAMES, CommandMail
from actors.cli.running import Agent
from actors.effects import Address, Effect
from actors.runtime.post_office import PostOffice
from actors.trace.record import Record
from config.keys import PublicKey
from tests.actors.cli.offices import on_a_thread
from tests.actors.runtime.town import Calm, Note, Poke, here
from tests.config.samples import BOB
from transport.drivers.zmq import ipc, mail_name

pytestmark = pytest.mark.process

WAIT_S = 20.0  # for what takes milliseconds


class Chain:
    """Passes a Note on with one less, until it is 0."""

    inbox: ClassVar[Any] = Note

    def __init__(self, following: Address[Note]) -> None:
        self._following, self.state = following, Calm()

    def handle(self, message: Note, now: float) -> list[Effect]:
        return [self._following.send(Note(number=message.number - 1))] if message.number else []


@contextmanager
def running(directory: Path, *processes: str, incarnation: int = 1) -> Iterator[list[PostOffice]]:
    """Run an office for each process on a thread, with a Chain `chain` that leads to the next one's."""

    def furnish(offices: dict[str, PostOffice]) -> None:
        for index, office in enumerate(offices.values()):
            office.add("chain", Chain(here("chain", processes[(index + 1) % len(processes)])))

    with on_a_thread(directory, processes, furnish, incarnation) as offices:
        yield list(offices.values())


def agent(directory: Path) -> Agent:
    return Agent("alice", directory)


def last(record: Record) -> bool:
    """Whether this one caused nothing more."""
    return record.tag == "note" and record.sent_count == 0


def test_what_a_command_mails_is_handled_and_all_that_it_caused_is_seen(tmp_path: Path) -> None:
    with running(tmp_path, "control-0", "packet"), CommandMail(agent(tmp_path), "test") as mail:
        story = mail.post(here("chain"), Note(number=3))
        records = mail.caused(story, wait_s=WAIT_S, until=last)
        assert [(one.process, one.kind) for one in records] == [
            ("control-0", "delivered"), ("packet", "delivered"), ("control-0", "delivered"), ("packet", "delivered")
        ]  # fmt: skip
        assert records[0].sender.startswith("test@command-")
        assert {one.trace for one in records} == {story}
        assert [one.cause for one in records] == [0, *(one.id for one in records[:-1])]


def test_what_the_taps_did_not_show_is_found_in_the_rings(tmp_path: Path) -> None:
    with running(tmp_path, "control-0"), CommandMail(agent(tmp_path), "test", watch="chain") as mail:
        mail._taps._refresh_at = math.inf
        for socket in mail._taps._sockets.values():  # as if the subscription had not come there yet
            socket.set(zmq.UNSUBSCRIBE, b"chain")
        story = mail.post(here("chain"), Note(number=2))
        assert [one.trace for one in mail.caused(story, wait_s=WAIT_S, until=last)] == [story] * 3


def test_one_command_after_another_is_heard_and_so_are_two_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "control-0") as offices:
        for number in range(10):  # more than there are names
            with (
                CommandMail(agent(tmp_path), f"test{number}") as first,
                CommandMail(agent(tmp_path), "beside") as other,
            ):
                for mail in (first, other, first):
                    story = mail.post(here("chain"), Note(number=0))
                    assert len(mail.caused(story, wait_s=WAIT_S, until=last)) == 1
        (office,) = offices
        assert office.delivered == 30
        assert office.status().dead_letters == {}
        assert office.status().gaps == 0
        assert len(office._reception._senders) <= 1 + len(NAMES)  # nothing of a command stays but its name


def test_a_process_that_started_anew_is_mailed_at_its_new_place(tmp_path: Path) -> None:
    with CommandMail(agent(tmp_path), "test") as mail:
        for incarnation in (1, 2):
            with running(tmp_path, "control-0", incarnation=incarnation):
                story = mail.post(here("chain"), Note(number=0))
                assert [one.incarnation for one in mail.caused(story, wait_s=WAIT_S, until=last)] == [incarnation]


def test_mail_that_nobody_takes_is_a_dead_letter_which_the_command_sees(tmp_path: Path) -> None:
    with running(tmp_path, "control-0"), CommandMail(agent(tmp_path), "test") as mail:
        for to, message, reason in (
            (here("nobody"), Note(number=0), "unknown actor"),
            (here("chain"), Poke(), "no message type 'poke'"),
        ):
            story = mail.post(to, message)
            (record,) = mail.caused(story, wait_s=WAIT_S, until=lambda _: True)
            assert (record.kind, record.reason) == ("dead_letter", reason)


def test_a_process_that_is_not_there_is_told(tmp_path: Path) -> None:
    with CommandMail(agent(tmp_path), "test") as mail, pytest.raises(CommandFailed, match="control-0 is not up"):
        mail.post(here("chain"), Note(number=0))


def test_a_process_that_takes_nothing_in_is_told_and_nothing_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / mail_name("control-0", 1)).touch()  # there is a socket's file, and nobody behind it
    with CommandMail(agent(tmp_path), "test") as mail:
        for _ in range(FRAMES):
            mail.post(here("chain"), Note(number=0))
        with pytest.raises(CommandFailed, match="control-0 takes no mail now"):
            mail.post(here("chain"), Note(number=0))


def test_no_more_commands_than_there_are_names(tmp_path: Path) -> None:
    mails = [CommandMail(agent(tmp_path), "test") for _ in NAMES]
    with pytest.raises(CommandFailed, match="8 other commands"):
        CommandMail(agent(tmp_path), "test")
    mails.pop().__exit__(None, None, None)
    mails.append(CommandMail(agent(tmp_path), "test"))
    for mail in mails:
        mail.__exit__(None, None, None)


def test_a_command_that_floods_and_lies_does_not_stop_the_actors(tmp_path: Path) -> None:
    """Whole and broken frames, thousands of them, from who does not read what it caused."""
    with running(tmp_path, "control-0") as offices, CommandMail(agent(tmp_path), "test") as mail:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect(ipc(tmp_path / mail_name("control-0", 1)))
        for number in range(3000):
            dealer.send(b"\xc1" * 100)
            dealer.send(
                msgspec.msgpack.encode([1, "command-0", number, 1, 7, [["chain", "", 9, 1, 1, 1, 0.5, 2, b""]]])
            )
        story = mail.post(here("chain"), Note(number=1))
        assert len(mail.caused(story, wait_s=WAIT_S, until=last)) == 2
        context.destroy(linger=0)
        (office,) = offices
        assert office.wards.fatal is None


def test_a_peers_actors_are_looked_for_where_they_live(tmp_path: Path) -> None:
    peers = [PublicKey(BOB), *(PublicKey(f"{letter * 42}A=") for letter in "abcdefgh")]
    with CommandMail(agent(tmp_path), "test") as mail:
        assert mail.actors_of(peers[0]).guard.process == "control-0"
        for number in range(3):
            (tmp_path / mail_name(f"control-{number}", 7)).touch()
            (tmp_path / f"tap-control-{number}-7.sock").touch()
        (tmp_path / mail_name("control-1", 8)).touch()
        assert {mail.actors_of(peer).guard.process for peer in peers} == {"control-0", "control-1", "control-2"}
