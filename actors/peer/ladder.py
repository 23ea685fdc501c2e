"""Which rung is next for a peer that no path leads to: each differs from the last, and none is repeated for ever (R11).

    probe, warm relay                      the watcher's and ways.py's; noted here
    -> offer                               a direct path is given up: the session has rotated, and the guard offers
    -> new connection -> other relay -> handshake -> new connection ...   one for each relayed connection given up
    -> offer -> handshake -> offer ...                                    one for each direct path given up

At which server a relayed connection is opened, the same or another, is counted when it is open: the remote may reach no
other, or be who chooses.

How long each has to work is the watcher's: its limit for a new path doubles while nothing is proven.  WireGuard's
handshake begins anew only where no session can be left, since a session that is good proves a path at once.
"""

from collections.abc import Mapping
from typing import get_args

from actors.messages.recoveries import Rung
from wg.paths import PathKind

NO_SESSION_S = 180.0  # without a packet from the remote: REJECT_AFTER_TIME of the whitepaper
CYCLES: Mapping[PathKind, tuple[Rung, ...]] = {
    "relayed": ("new_connection", "other_relay", "handshake"),
    "direct": ("offer", "handshake"),
}


class Ladder:
    """The rungs that were climbed for one peer.  `places` are those that the Ladder before this one had come to."""

    def __init__(self, places: Mapping[PathKind, int] | None = None) -> None:
        self.places: dict[PathKind, int] = {"relayed": 0, "direct": 0, **(places or {})}  # in the cycles
        self._asked: Rung | None = None  # of the relayed connection that is not open yet
        self._noted: set[Rung] = set()  # since the last proof, of those that nobody climbs here
        self.counts: dict[Rung, int] = dict.fromkeys(get_args(Rung), 0)

    def note(self, rung: Rung) -> None:
        """Count a rung that others climb by themselves; once until there is a proof."""
        if rung not in self._noted:
            self._noted.add(rung)
            self.counts[rung] += 1

    def climb(self, given_up: PathKind, heard_at: float | None, now: float) -> Rung:
        """A path was given up, and none is proven: return what is next.  `heard_at`: the remote, last; None: never."""
        cycle = CYCLES[given_up]
        rung = cycle[self.places[given_up] % len(cycle)]
        if rung == "handshake" and heard_at is not None and now - heard_at < NO_SESSION_S:
            self.places[given_up] += 1
            rung = cycle[self.places[given_up] % len(cycle)]
        self.places[given_up] += 1
        if given_up == "relayed":
            self._asked = rung
        if rung != "other_relay":
            self.counts[rung] += 1
        return rung

    def opened(self, *, elsewhere: bool) -> None:
        """A relayed connection is open after one was given up; `elsewhere`: at another server than that."""
        asked, self._asked = self._asked, None
        if asked is not None and elsewhere:
            self.counts["other_relay"] += 1
        elif asked == "other_relay":
            self.counts["new_connection"] += 1

    def descend(self) -> None:
        """A path is proven: the next outage begins at the bottom."""
        self.places = {"relayed": 0, "direct": 0}
        self._asked = None
        self._noted.clear()
