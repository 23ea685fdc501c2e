"""Counts the disruptive actions of a run from its mail, as recovery R10 defines them.

Disruptive is to close or replace what carried an authenticated packet in the last CARRIED_S.  A proven path gives back
what was spent before it; what no proof followed is bounded for each hour.
"""

from collections import deque
from typing import Any, NamedTuple

import msgspec

from actors.messages.packet import CloseIceAgent, CloseOnLink, IcePairProven, OpenIceAgent, RelayedClosed
from actors.messages.peer import PathProven
from config.keys import PublicKey
from tests.kit.world import Handled
from wg.reports import PathHeard

CARRIED_S = 180.0
WINDOW_S = 3600.0


class Action(NamedTuple):
    """One disruptive action."""

    at: float
    node: str
    peer: PublicKey
    what: str


class Account:
    """Follows what carries, and what is closed."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.most_unproven: dict[tuple[str, PublicKey], int] = {}  # within WINDOW_S, ever
        self._heard: dict[tuple[str, PublicKey, str, int], float] = {}  # node, peer, path, generation -> when
        self._agents: dict[tuple[str, PublicKey], tuple[bytes, float]] = {}  # session and since when it has a pair
        self._unproven: dict[tuple[str, PublicKey], deque[float]] = {}
        self._takes: dict[type[msgspec.Struct], Any] = {
            PathHeard: self._on_heard,
            IcePairProven: self._on_pair,
            PathProven: self._on_proven,
            CloseOnLink: self._on_close,
            RelayedClosed: self._on_gone,
            CloseIceAgent: self._on_agent_gone,
            OpenIceAgent: self._on_agent_gone,
        }

    def take(self, node: str, handled: Handled) -> None:
        """Take note of a message that was handled."""
        take = self._takes.get(type(handled.message))
        if take is not None:
            take(node, handled.message, handled.at)

    def _on_heard(self, node: str, heard: PathHeard, now: float) -> None:
        self._heard[node, heard.peer, heard.path, heard.generation] = now

    def _on_pair(self, node: str, proven: IcePairProven, now: float) -> None:
        known = self._agents.get((node, proven.peer))
        if known is None or known[0] != proven.session:
            self._agents[node, proven.peer] = (proven.session, now)

    def _on_proven(self, node: str, proven: PathProven, _now: float) -> None:
        self._unproven.pop((node, proven.peer), None)

    def _on_close(self, node: str, close: CloseOnLink, now: float) -> None:
        heard_at = self._heard.pop((node, close.peer, "relayed", close.generation), None)
        if heard_at is not None and now - heard_at <= CARRIED_S:
            self._spend(node, close.peer, "a relayed connection was closed", now)

    def _on_gone(self, node: str, gone: RelayedClosed, _now: float) -> None:
        """The remote left the server, or the link broke: what is closed after that carries nothing."""
        self._heard.pop((node, gone.peer, "relayed", gone.generation), None)

    def _on_agent_gone(self, node: str, message: CloseIceAgent | OpenIceAgent, now: float) -> None:
        session, since_at = self._agents.get((node, message.peer), (b"", 0.0))
        same = session == message.session
        if not session or (same and isinstance(message, OpenIceAgent)):
            return
        del self._agents[node, message.peer]
        heard_at = self._heard.get((node, message.peer, "direct", 0))
        if heard_at is not None and heard_at >= since_at and now - heard_at <= CARRIED_S:
            self._spend(node, message.peer, "a direct path was given up", now)

    def _spend(self, node: str, peer: PublicKey, what: str, now: float) -> None:
        self.actions.append(Action(now, node, peer, what))
        unproven = self._unproven.setdefault((node, peer), deque())
        unproven.append(now)
        while now - unproven[0] > WINDOW_S:
            unproven.popleft()
        self.most_unproven[node, peer] = max(self.most_unproven.get((node, peer), 0), len(unproven))
