"""How often a peer may be disturbed without a proof: the budget of disruptive actions (recovery R10).

    At large --the last action is spent--> quarantined --proof, reset, the oldest action is WINDOW_S ago--> at large

An action is disruptive if it closes or replaces, here or at the remote, something that carried an authenticated packet
in the last CARRIED_S.  What is counted here is what we do ourselves: give up a relayed connection, or a direct path
with its session.  What carried here was proven here.  Of what carries at the remote alone we know this: without a
packet from there for CARRIED_S no WireGuard session is left that could carry anything either way (REJECT_AFTER_TIME of
the whitepaper), so nothing after that disturbs anybody.

A proof gives back all that was spent before it: a path that comes and goes is bounded by the guard's backoff, and a
remote whose address changes twenty times in an hour is recovered twenty times.
"""

from collections import deque
from dataclasses import dataclass

from actors.messages.recoveries import Kept

ACTIONS = 6
WINDOW_S = 3600.0
CARRIED_S = 180.0


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The budget is spent: offers go out slowly."""

    since_at: float
    until: float  # unless a proof comes before
    reason: str


class Budget:
    """The disruptive actions towards one peer that no proof has followed; `kept` by the Budget before this one."""

    def __init__(self, kept: Kept | None = None) -> None:
        kept = kept or Kept(spent_at=(), disruptions=0)
        self._spent: deque[float] = deque(kept.spent_at, maxlen=ACTIONS)  # when; oldest first
        self._quarantine: Quarantine | None = None
        if kept.quarantined_at is not None:
            self._quarantine = Quarantine(kept.quarantined_at, kept.quarantined_until, kept.quarantined_for)
        self.disruptions = kept.disruptions  # proof or not

    def spend(self, reason: str, now: float) -> None:
        """Take note of a disruptive action; the last one's reason is the quarantine's."""
        self.disruptions += 1
        self._spent.append(now)
        if self._quarantine is None and self.left(now) == 0:
            words = f"{ACTIONS} attempts within {WINDOW_S / 60:.0f} min proved no path; the last one after: {reason}"
            self._quarantine = Quarantine(now, self._spent[0] + WINDOW_S, words)

    def give_back(self, proven_at: float = float("inf")) -> None:
        """A path is proven by what was heard then, or the operator starts anew."""
        while self._spent and self._spent[0] <= proven_at:
            self._spent.popleft()
        if len(self._spent) < ACTIONS:
            self._quarantine = None

    def kept(self) -> Kept:
        """Return what the next Budget of this peer begins from."""
        spent_at, quarantine = tuple(self._spent), self._quarantine
        if quarantine is None:
            return Kept(spent_at=spent_at, disruptions=self.disruptions)
        return Kept(
            spent_at=spent_at,
            disruptions=self.disruptions,
            quarantined_at=quarantine.since_at,
            quarantined_until=quarantine.until,
            quarantined_for=quarantine.reason,
        )

    def left(self, now: float) -> int:
        """Return how many actions are left."""
        return ACTIONS - sum(now - at < WINDOW_S for at in self._spent)

    def quarantine(self, now: float) -> Quarantine | None:
        """Return why the peer is quarantined; None: it is not."""
        if self._quarantine is not None and now >= self._quarantine.until:
            self._quarantine = None
        return self._quarantine
