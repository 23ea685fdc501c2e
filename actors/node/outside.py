"""Outside events on their way to the peers: several of a kind that come together are told once, many peers in turns.

    happened --first of its kind, or the last was told long ago--> told to all peers
        \\--else held, the newest of its kind--> told when the pause is over

The first one is told at once, since a pair that broke waits for it; what follows waits for a pause, which grows while
that kind goes on and on (an interface that flaps), and is short again after as long a quiet.  All peers are probed
after an event (recovery R12), so they are told of it some at a time.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from actors.addresses import ICE_AGENTS, RELAY_LINKS, SIGNAL_LINK
from actors.effects import Effect
from actors.messages.node import OutsideEvent, SignalLinkDoubted
from actors.messages.packet import ProveIceNow, ProveLinksNow
from config.keys import PublicKey

FIRST_PAUSE_S = 1.0  # from one told to the next of its kind; doubles
LONGEST_PAUSE_S = 16.0
TOLD_AT_ONCE = 50  # peers
TURN_S = 0.05  # from so many to the next
OFFERS_PER_S = 1000.0  # at the most, of peers that all offer for one reason


def spread_s(peers: int) -> float:
    """Return within what time so many peers should offer; 0 for so few that they may at once."""
    return 0.0 if peers <= TOLD_AT_ONCE else peers / OFFERS_PER_S


@dataclass(slots=True)
class _Kind:
    """One kind of event."""

    told_at: float
    pause_s: float = FIRST_PAUSE_S
    held: OutsideEvent | None = None

    @property
    def due_at(self) -> float:
        return self.told_at + self.pause_s


class Told(NamedTuple):
    """An event that one peer is to be told of now."""

    peer: PublicKey
    event: OutsideEvent


class OutsideEvents:
    """What has happened, and who is still to be told of it."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._kinds: dict[str, _Kind] = {}
        self._queue: deque[Told] = deque()
        self._turn_at = float("-inf")  # of the next ones in the queue

    def happened(self, event: OutsideEvent, now: float) -> list[OutsideEvent]:
        """Return the event if all are to be told of it now; else it is held until `due`."""
        self.counters[f"events_{event.kind}"] += 1
        known = self._kinds.get(event.kind)
        if known is None or (known.held is None and now >= known.due_at):
            quiet = known is None or now >= known.due_at + known.pause_s
            self._kinds[event.kind] = _Kind(now, FIRST_PAUSE_S if known is None or quiet else known.pause_s)
            return [event]
        known.held = event
        self.counters["events_held"] += 1
        return []

    def due(self, now: float) -> list[OutsideEvent]:
        """Return the held events whose time has come, once."""
        found = []
        for kind in self._kinds.values():
            if kind.held is not None and now >= kind.due_at:
                found.append(kind.held)
                kind.told_at, kind.pause_s, kind.held = now, min(2 * kind.pause_s, LONGEST_PAUSE_S), None
        return found

    def tell(self, event: OutsideEvent, peers: Iterable[PublicKey], now: float) -> None:
        """Put the peers in the queue: `next_turn` says who is told when."""
        waiting = {each.peer for each in self._queue if each.event.kind == event.kind}
        added = [peer for peer in peers if peer not in waiting]
        told = msgspec.structs.replace(event, spread_s=min(len(added), TOLD_AT_ONCE) / OFFERS_PER_S)
        self._queue.extend(Told(peer, told) for peer in added)
        self._turn_at = max(self._turn_at, now)

    def next_turn(self, now: float) -> list[Told]:
        """Return whom to tell of what now, once."""
        if now < self._turn_at:
            return []
        turn = [self._queue.popleft() for _ in range(min(TOLD_AT_ONCE, len(self._queue)))]
        if self._queue:
            self._turn_at = now + TURN_S
        return turn

    def next_at(self) -> float | None:
        """Return when `due` and `next_turn` have something to say; None: nothing waits."""
        times = [kind.due_at for kind in self._kinds.values() if kind.held is not None]
        if self._queue:
            times.append(self._turn_at)
        return min(times, default=None)


def doubt_links(event: OutsideEvent) -> list[Effect]:
    """Return what has everything proven anew that peers share: links to servers, ICE pairs, our looks from outside.

    No session is rotated for an event: it is no distress of ours (recovery R6), and where our addresses did change the
    agents tell the remote their new candidates in the session that there is.  What comes unproven rotates by itself.
    """
    if event.kind not in ("network_changed", "resumed"):
        return []
    reason = event.detail or event.kind
    return [
        RELAY_LINKS.send(ProveLinksNow(reason=reason)),
        ICE_AGENTS.send(ProveIceNow(reason=reason)),
        SIGNAL_LINK.send(SignalLinkDoubted(reason=reason)),
    ]
