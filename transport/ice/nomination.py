"""Which pair the controlling end nominates, and when (RFC 8445 section 8.1.1; waits: signal spec 5.1)."""

from math import inf
from typing import Final

from transport.ice.pairs import Pair
from transport.ice.timing import Timing

NOMINATE_AGAIN_S: Final = 0.2  # while a nomination is not answered
MAX_NOMINATIONS: Final = 16  # requests, of one pair
FRESH_S: Final = 1.0  # an answer as old as this does not tell how a pair is now


class Nomination:
    """The nomination under way, if there is one."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.pair: Pair | None = None
        self.due_at = inf  # a request, or another look at which pair it should be
        self._sent = 0

    def withdraw(self) -> None:
        """Nominate nothing."""
        self.pair, self.due_at, self._sent = None, inf, 0

    def give_up(self) -> Pair | None:
        """Withdraw what has been nominated often enough without an answer, or waits no longer.  Returns the former."""
        given_up = self.pair if self._sent >= MAX_NOMINATIONS else None
        if self.pair is None or given_up is not None:
            self.withdraw()
        return given_up

    def consider(self, best: Pair | None, *, since: float | None, selected: Pair | None, now: float) -> None:
        """See whether `best`, the best pair that works, should be nominated now or later.

        `since` is when checks began; None: the agent neither looks for its first pair nor has one.
        """
        if best is None or best is self.pair or best is selected:
            return
        if selected is not None:
            if not (self._timing.renominate and best.priority > selected.priority):
                return
            ready_at = now if now - best.answered_at <= FRESH_S else inf
        elif since is not None and (self.pair is None or self._timing.renominate):
            ready_at = since + self._timing.nomination_wait_s[best.remote.candidate.kind]
        else:
            return
        if ready_at <= now:
            self.pair, self.due_at, self._sent = best, now, 0
        elif self.pair is None:
            self.due_at = ready_at

    def take(self, now: float) -> Pair | None:
        """Return the pair to send a nomination on now."""
        if self.pair is None or now < self.due_at:
            return None
        self._sent += 1
        self.due_at = now + NOMINATE_AGAIN_S
        return self.pair
