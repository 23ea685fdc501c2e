"""A command's mail to the actors of a running agent, and what it caused there.

    with CommandMail(agent, "reset", watch=f"peer/{peer}/") as mail:
        story = mail.post(mail.actors_of(peer).guard, SomeRequest(peer=peer))
        for record in mail.caused(story, wait_s=2.0): ...

A command is a process among the agent's processes: it takes one of the names `command-0` .. `command-7` by its lock in
the run directory (mode 0700, so only root and the node's user get here), and sends frames like any other.  It has no
mailbox: nobody can answer it, and nothing waits for it.  What came of its mail it sees as every reader of the trace
does: the id of its message is the trace id of all that it caused, which the taps show, and the rings hold what the taps
had not begun to show.

A process takes in so many frames a turn and no more, a frame that is none is counted and dropped, a message that the
actor does not take is a dead letter: no command can hold an agent up or end it.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import zmq

from actors.addresses import PeerAddresses, control_processes, peer_addresses
from actors.cli.errors import CommandFailed
from actors.cli.running import Agent, boot_now
from actors.effects import Address
from actors.messages.envelope import FramePacker
from actors.trace.live import REORDER_S, Taps, read_rings
from actors.trace.record import FLAG_EXTERNAL, Record
from config.keys import PublicKey
from transport.drivers.zmq import NameTaken, Sender, claim, ipc, mail_name, release

NAMES = tuple(f"command-{number}" for number in range(8))  # as many commands with mail at once
FRAMES = 16  # that may wait for a process which does not take them
LINGER_MS = 500
SUBSCRIBING_S = 0.1  # until the taps know that somebody listens
RING_LIMIT_S = 1.0
RINGS_AFTER_S = 0.5
LOOK_S = 0.05
CONTROL = "control-"
ID_COUNT_BITS, ID_TAG_BITS = 40, 22  # as all ids are made (actors/runtime/post_office.py)

M = TypeVar("M", bound=msgspec.Struct)


class CommandMail:
    """Mail of one command, until the `with` ends.

    `command` is the sender's name in traces.  `watch`: the prefix of the actors whose mail `caused` shall see.
    Raises CommandFailed when too many commands are at it.
    """

    def __init__(self, agent: Agent, command: str, *, watch: str = "") -> None:
        self._agent, self._command, self._opened_at = agent, command, boot_now()
        self._name, self._lock = _take_name(agent.directory)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._links: dict[str, _Link] = {}
        self._next_id = (secrets.randbits(ID_TAG_BITS) << ID_COUNT_BITS) + 1
        self._taps = Taps(agent.directory, watch)
        self._watch = watch
        self._kept: list[Record] = []  # shown by the taps, and asked for by nobody yet

    def __enter__(self) -> Self:
        self._taps.__enter__()
        self._kept += self._taps.read(SUBSCRIBING_S, boot_now())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taps.__exit__(kind, error, trace)
        for link in self._links.values():
            link.sender.close(LINGER_MS)
        self._context.term()
        release(self._lock)

    def actors_of(self, peer: PublicKey) -> PeerAddresses:
        """Return the addresses of a peer's actors."""
        count = sum(name.startswith(CONTROL) for name in self._agent.incarnations())
        return peer_addresses(peer, control_processes(count or 1))

    def post(self, to: Address[M], message: M) -> int:
        """Mail an actor and return the id of the story that this begins.

        Raises CommandFailed when the actor's process is not up, or takes no mail.
        """
        link = self._link(to.process)
        number, self._next_id = self._next_id, self._next_id + 1
        seq = link.numbers.get(to.actor, 0) + 1
        body = msgspec.msgpack.encode(message)
        envelope = (to.actor, self._command, seq, number, 0, number, boot_now(), FLAG_EXTERNAL, body)
        if not link.sender.send(link.packer.pack(link.count + 1, (envelope,))):
            raise CommandFailed(f"{to.process} takes no mail now; try again, and see: homing status")
        link.count, link.numbers[to.actor] = link.count + 1, seq
        return number

    def caused(
        self, story: int, *, wait_s: float, until: Callable[[Record], bool] = lambda record: False
    ) -> list[Record]:
        """Return the records of a story, oldest first, as soon as `until` likes one of them or `wait_s` is over."""
        return self.heard(lambda record: record.trace == story, wait_s=wait_s, until=until)

    def heard(
        self,
        wanted: Callable[[Record], bool],
        *,
        wait_s: float,
        until: Callable[[Record], bool] = lambda record: False,
    ) -> list[Record]:
        """Return the records that are wanted, oldest first, as soon as `until` likes one, or `wait_s` is over.

        What the taps did not show, since they had not begun to or were too fast for us, the rings are asked for: after
        a moment, and before it is said that nothing came.
        """
        found: dict[tuple[str, int, str], Record] = {}
        for record in self._seen(boot_now() + wait_s):
            if wanted(record):
                found.setdefault((record.process, record.id, record.kind), record)
                if until(record):
                    break
        return sorted(found.values(), key=_at)

    def _seen(self, until_at: float) -> Iterator[Record]:
        """Yield what there is to see until then, some of it twice."""
        yield from self._shown(min(boot_now() + RINGS_AFTER_S, until_at))
        yield from self._held()
        if boot_now() < until_at:
            yield from self._shown(until_at)
            yield from self._held()

    def _shown(self, until_at: float) -> Iterator[Record]:
        """Yield what the taps show until then."""
        kept, self._kept = self._kept, []
        yield from kept
        while (left_s := until_at - boot_now()) > 0:
            yield from self._taps.read(min(LOOK_S, left_s), boot_now() + REORDER_S)  # put in order later
        yield from self._taps.rest()

    def _held(self) -> Iterator[Record]:
        """Yield what the rings hold."""
        past = read_rings(self._agent.directory, self._opened_at, RING_LIMIT_S, self._watch)
        return (record for ring in past.rings for record in ring.records)

    def _link(self, process: str) -> "_Link":
        incarnation = self._agent.incarnations().get(process)
        if incarnation is None:
            raise CommandFailed(f"{process} is not up; see: homing status --node {self._agent.node}")
        link = self._links.get(process)
        if link is not None and link.incarnation == incarnation:
            return link
        if link is not None:
            link.sender.close()
        link = self._links[process] = _Link(self._context, self._agent.directory, self._name, process, incarnation)
        return link


class _Link:
    """The way to one incarnation of a process."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], directory: Path, name: str, process: str, incarnation: int
    ) -> None:
        self.incarnation = incarnation
        self.sender = Sender(context, ipc(directory / mail_name(process, incarnation)), FRAMES)
        # Whoever has the name's lock is later than all who had it before, so this number is greater than theirs.
        self.packer = FramePacker(name, int(boot_now() * 1_000_000), incarnation)
        self.count = 0  # envelopes that it took
        self.numbers: dict[str, int] = {}  # actor -> last sequence number


def _take_name(directory: Path) -> tuple[str, int]:
    for name in NAMES:
        # PermissionError: another user's command has used that name.
        with contextlib.suppress(NameTaken, PermissionError):
            return name, claim(directory, name)
    raise CommandFailed(f"{len(NAMES)} other commands mail this agent now; try again when one of them has ended")


def _at(record: Record) -> float:
    return record.at
