"""The node's budget of ICE retries: whose turn it is to look for a direct path (recovery R10).

A relayed peer looks again and again, each time with an offer, an answer and some ten seconds of checks, and with two
hundred peers whose direct path is impossible that would add up.  Each guard bounds its own; here is what all of them
may do together.  It must be one place for the peers of all control processes, so it is an actor's: SIGNAL's, which
every offer goes through, and which knows when there is no sense in any.  Peers with traffic, or after an outside event,
have three turns in four, the others the rest.
"""

from actors.allowance import Allowance
from config.keys import PublicKey

BURST = 20
EVERY_S = 0.5  # some twenty searches are under way at the most
EAGER_TURNS = 3  # in four


class Searches:
    """The peers that wait for their turn, in the order of asking."""

    def __init__(self) -> None:
        self._eager: dict[PublicKey, None] = {}
        self._others: dict[PublicKey, None] = {}
        self._allowance = Allowance(BURST, EVERY_S)
        self._eager_turns = 0  # in a row

    def __len__(self) -> int:
        return len(self._eager) + len(self._others)

    def want(self, peer: PublicKey, *, eager: bool) -> None:
        """Have a peer wait; one that waits already keeps its place, unless it is in another line now."""
        line, other = (self._eager, self._others) if eager else (self._others, self._eager)
        other.pop(peer, None)
        line[peer] = None

    def keep(self, peers: frozenset[PublicKey]) -> None:
        """Have no others wait: they are not configured any more."""
        for line in (self._eager, self._others):
            for peer in [peer for peer in line if peer not in peers]:
                del line[peer]

    def grant(self, now: float) -> list[PublicKey]:
        """Return whose turn it is now, and have them wait no longer."""
        granted = []
        while len(self) and self._allowance.take(now):
            granted.append(self._next())
        return granted

    def next_at(self, now: float) -> float | None:
        """Return when `grant` is to be asked again; None: when somebody wants a turn."""
        return self._allowance.next_at(now) if len(self) else None

    def _next(self) -> PublicKey:
        eager = bool(self._eager) and (not self._others or self._eager_turns < EAGER_TURNS)
        self._eager_turns = self._eager_turns + 1 if eager else 0
        line = self._eager if eager else self._others
        peer = next(iter(line))
        del line[peer]
        return peer
