"""The actor of a process itself: answers pings, starts and stops peers, has processes resynced, drains.

    Working --Drain--> Draining --DrainDue finds nothing waiting, twice--> Done

Resync: mail between processes is lost when a process dies with mail in its mailboxes, or when a link is over its bound.
The supervisor tells the first (ProcessRestarted), the post office finds the second where it arrives (GapFound).  Both
end the same: every local machine that takes ProcessRestarted hears it and asks for, or declares, the state that it
shares with that process.  After a gap the sender's machines hear it too, of us, for what was lost may have been theirs
to declare.  Nothing is sent again: a message tells of a moment, and that is past.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, assert_never

from loguru import logger

from actors.addresses import AGENT, PEERS, process_actor
from actors.effects import Address, Effect, Later, Machine, Send
from actors.messages.process import (
    Drain,
    DrainDue,
    Drained,
    GapFound,
    PeerFailed,
    Ping,
    Pong,
    ProcessInbox,
    ProcessRestarted,
    ResyncDue,
    SaveSnapshot,
    StartPeer,
    StopPeer,
)
from actors.runtime.post_office import PostOffice
from actors.runtime.snapshot import write_snapshot
from actors.runtime.supervision import describe
from actors.runtime.wards import GROUP_PREFIX

NAME = "process"
RESYNC_WAIT_S = 1.0  # gaps of a process within this time are one
DRAIN_LOOK_S = 0.02  # how often a draining process looks whether it is done
QUIET_LOOKS = 2  # in a row, for mail may be on the way between two looks

MakePeer = Callable[[StartPeer], dict[str, Machine]]


@dataclass(frozen=True, slots=True)
class Working:
    """Takes everything in."""


@dataclass(frozen=True, slots=True)
class Draining:
    """Nothing new is taken in; what there is is worked off."""

    quiet_looks: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """Drained; waits for the end."""


class Host(Protocol):
    """What a process can do for its own actor."""

    process: str
    incarnation: int

    def start_peer(self, request: StartPeer) -> None:
        """Run this peer's actors, in place of those it has.  Raises what its factory raises."""

    def stop_peer(self, request: StopPeer) -> None:
        """Stop and forget this peer's actors."""

    def connect(self, process: str, incarnation: int) -> None:
        """Send mail to that incarnation from now on."""

    def concerned(self) -> list[Address[ProcessRestarted]]:
        """Return the local machines that take ProcessRestarted."""

    def save_snapshot(self, document: bytes) -> None:
        """Write the process's snapshot file."""

    def shut_ingress(self, reason: str) -> None:
        """Take nothing new in from outside."""

    def quiet(self) -> bool:
        """Whether nothing waits anywhere in the process."""


class ProcessActor:
    """The machine behind `process@NAME`."""

    inbox: ClassVar[object] = ProcessInbox

    def __init__(self, host: Host) -> None:
        self._host = host
        self._suspects: dict[str, int] = {}  # processes whose mail went missing -> incarnation
        self._resynced_at: float = float("-inf")
        self.state: Working | Draining | Done = Working()

    def handle(self, message: ProcessInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case Ping():
                host = self._host
                return [AGENT.send(Pong(process=host.process, incarnation=host.incarnation, token=message.token))]
            case StartPeer():
                return self._on_start_peer(message)
            case StopPeer():
                self._host.stop_peer(message)
                return []
            case SaveSnapshot():
                self._host.save_snapshot(message.document)
                return []
            case ProcessRestarted():
                self._host.connect(message.process, message.incarnation)
                self._suspects.pop(message.process, None)
                return [address.send(message) for address in self._host.concerned()]
            case GapFound():
                self._suspects[message.process] = message.incarnation
                return [Later(max(now, self._resynced_at + RESYNC_WAIT_S), ResyncDue())]
            case ResyncDue():
                return self._on_resync_due(now)
            case Drain():
                self._host.shut_ingress(message.reason)
                self.state = Draining()
                return [Later(now + DRAIN_LOOK_S, DrainDue())]
            case DrainDue():
                return self._on_drain_due(now)
            case _:
                assert_never(message)

    def _on_start_peer(self, message: StartPeer) -> list[Effect]:
        if not isinstance(self.state, Working):
            return []  # the process ends; whoever takes over will start it
        try:
            self._host.start_peer(message)
        except Exception as error:  # one peer that cannot be made must not take the others along
            peer = message.settings.peer
            return [PEERS.send(PeerFailed(peer=peer, actor=NAME, error=describe(error)))]
        return []

    def _on_resync_due(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        host, self._resynced_at = self._host, now
        for process, incarnation in self._suspects.items():
            theirs = ProcessRestarted(process=process, incarnation=incarnation)
            effects += [address.send(theirs) for address in host.concerned()]
            ours = ProcessRestarted(process=host.process, incarnation=host.incarnation)
            effects.append(Send(process_actor(process), ours))
        self._suspects.clear()
        return effects

    def _on_drain_due(self, now: float) -> list[Effect]:
        if not isinstance(self.state, Draining):
            return []
        looks = self.state.quiet_looks + 1 if self._host.quiet() else 0
        if looks < QUIET_LOOKS:
            self.state = Draining(looks)
            return [Later(now + DRAIN_LOOK_S, DrainDue())]
        self.state = Done()
        return [AGENT.send(Drained(process=self._host.process))]


class OfficeHost:
    """A process with a post office, as its own actor's host.

    `make_peer` makes a peer's machines by actor name.  `on_drain` shuts what takes things in from outside; `is_idle`
    says whether the drivers have nothing in hand.
    """

    def __init__(
        self,
        office: PostOffice,
        make_peer: MakePeer | None = None,
        on_drain: Callable[[str], None] = lambda reason: None,
        is_idle: Callable[[], bool] = lambda: True,
    ) -> None:
        self.process, self.incarnation = office.process, office.incarnation
        self._office, self._make_peer, self._on_drain, self._is_idle = office, make_peer, on_drain, is_idle

    def start_peer(self, request: StartPeer) -> None:
        """Run this peer's actors, in place of those it has."""
        assert self._make_peer is not None, f"{self.process} takes no peers"
        self._office.start_group(GROUP_PREFIX + request.settings.peer, self._make_peer(request))

    def stop_peer(self, request: StopPeer) -> None:
        """Stop and forget this peer's actors."""
        self._office.remove_group(GROUP_PREFIX + request.peer)

    def connect(self, process: str, incarnation: int) -> None:
        """Send mail to that incarnation from now on."""
        self._office.connect(process, incarnation)

    def concerned(self) -> list[Address[ProcessRestarted]]:
        """Return the local machines that take ProcessRestarted, this one aside."""
        takers = self._office.takers(ProcessRestarted)
        return [Address(actor, self.process) for actor in takers if actor != NAME]

    def save_snapshot(self, document: bytes) -> None:
        """Write the process's snapshot file; without room for it the process goes on."""
        try:
            write_snapshot(self._office.run_dir, self.process, document)
        except OSError as error:
            logger.warning("cannot write the snapshot of {}: {}", self.process, error)

    def shut_ingress(self, reason: str) -> None:
        """Take nothing new in from outside."""
        self._on_drain(reason)

    def quiet(self) -> bool:
        """Whether nothing waits anywhere in the process."""
        return self._is_idle() and self._office.quiet()


def add_process_actor(office: PostOffice, host: OfficeHost) -> None:
    """Run the process actor in this post office."""
    office.add(NAME, ProcessActor(host), remake=lambda: ProcessActor(host))
