"""Keeps the newest word of every part of the control side, and has it written each second.

Reporting --SnapshotDue--> Reporting

It alone hears of all peers, so it has the rungs climbed for the whole node, when none of them is proven for too long:
another home relay (home_ladder.py), other UDP sockets (rebind_ladder.py).
"""

from dataclasses import dataclass
from typing import ClassVar, assert_never

import msgspec

from actors.addresses import AGENT, RELAYS, process_actor
from actors.effects import Effect, Later
from actors.messages.node import ChangeHome, PeerForgotten, SnapshotDue, StatusInbox
from actors.messages.process import RebindWanted, SaveSnapshot
from actors.messages.status import ControlStatus, PeerStatus, RelaysStatus, SignalStatus
from actors.node.home_ladder import HomeLadder
from actors.node.rebind_ladder import RebindLadder
from config.keys import PublicKey

SNAPSHOT_S = 1.0
LATE_S = 2.0  # SnapshotDue after its time: the machine slept, or we did


@dataclass(frozen=True, slots=True)
class Reporting:
    """SnapshotDue is set."""

    stale: bool  # something was told since the document was encoded


class Status:
    """Keeps the status table; `process` is where it runs, whose own actor writes the file."""

    inbox: ClassVar[object] = StatusInbox

    def __init__(self, process: str) -> None:
        self._process = process_actor(process)
        self._peers: dict[PublicKey, PeerStatus] = {}
        self._signal: SignalStatus | None = None
        self._relays: RelaysStatus | None = None
        self._home_url: str | None = None  # of the relay that is home and connected
        self._home_ladder, self._rebind_ladder = HomeLadder(), RebindLadder()
        self._document = b""
        self._due_at: float | None = None  # of SnapshotDue; None: at the start
        self._slept_s = 0.0  # in which nobody could be proven: no rung counts it
        self.state = Reporting(stale=True)

    def start(self, now: float) -> list[Effect]:
        """Write the first document at once."""
        return [Later(now, SnapshotDue())]

    def handle(self, message: StatusInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case PeerStatus():
                self._peers[message.peer] = message
                self._home_ladder.learn(message, self._home_url, now - self._slept_s)
                self._rebind_ladder.learn(message, now - self._slept_s)
            case SignalStatus():
                self._signal = message
            case RelaysStatus():
                self._relays = message
                homes = (link.url for link in message.links if link.role == "home" and link.state == "connected")
                self._home_url = next(homes, None)
            case PeerForgotten():
                self._peers.pop(message.peer, None)
                self._home_ladder.forget(message.peer)
                self._rebind_ladder.forget(message.peer)
            case SnapshotDue():
                return self._on_snapshot_due(now)
            case _:
                assert_never(message)
        self.state = Reporting(stale=True)
        return []

    def _on_snapshot_due(self, now: float) -> list[Effect]:
        """Have the document written, also when it has not changed: its age says that control is alive."""
        if self.state.stale:
            peers = tuple(self._peers.values())
            self._document = msgspec.json.encode(ControlStatus(peers=peers, signal=self._signal, relays=self._relays))
            self.state = Reporting(stale=False)
        saved = self._process.send(SaveSnapshot(document=self._document))
        effects: list[Effect] = [saved]
        if self._due_at is not None and now > self._due_at + LATE_S:
            self._slept_s += now - self._due_at
        awake, self._due_at = now - self._slept_s, now + SNAPSHOT_S
        if self._home_ladder.climb(awake):
            effects.append(RELAYS.send(ChangeHome()))
        network = self._signal is not None and self._signal.connected
        if self._rebind_ladder.climb(awake, network=network):
            why, elsewhere = "no peer is proven, and one answers our offers", self._rebind_ladder.elsewhere
            effects.append(AGENT.send(RebindWanted(reason=why, elsewhere=elsewhere)))
        return [*effects, Later(self._due_at, SnapshotDue())]
