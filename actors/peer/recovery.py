"""One peer's outages: what caused them, what is done about them, what that may cost, how long they took."""

from collections.abc import Mapping

import msgspec

from actors.messages.recoveries import Cause, Kept, Recovered, Rung
from actors.peer.budget import CARRIED_S, Budget
from actors.peer.ladder import Ladder
from actors.peer.ways import Way
from wg.paths import PathKind


class Recovery:
    """Keeps the budget, the ladder and the counts of one peer.

    Where the peer's actors start anew, `kept` is what those before them had; `carried`, by kind, the generation of the
    path that there is (0: none) and when it carried a packet.
    """

    def __init__(self, kept: Kept | None = None, carried: Mapping[PathKind, tuple[int, float]] | None = None) -> None:
        self.budget = Budget(kept)
        self.ladder = Ladder(kept.climbed if kept is not None else None)
        self.count = 0  # outages that are over
        self.last_s: float | None = None  # how long the last one was
        self.last_words = ""  # its cause
        self.resets = 0
        self._by_cause: dict[Cause, Recovered] = {}
        self._cause: Cause = "silence"  # of the outage that there is, or of the next
        self._resetting = False
        self._carried = dict(carried or {})  # generation, and when it carried a packet at the latest
        self._relay_url: str | None = None  # of the last relayed connection

    def by_cause(self) -> tuple[Recovered, ...]:
        """Return how often, and how long, for each cause that there was."""
        return tuple(self._by_cause.values())

    def kept(self) -> Kept:
        """Return what the peer's actors after these begin from."""
        return msgspec.structs.replace(self.budget.kept(), climbed={k: n for k, n in self.ladder.places.items() if n})

    # --- what happens ---

    def proven(self, kind: PathKind, generation: int, heard_at: float) -> None:
        """A path is proven, after it was new or doubtful."""
        self._carried[kind] = (generation, heard_at)
        self.budget.give_back(heard_at)
        self.ladder.descend()

    def relay_opened(self, url: str) -> None:
        """A relayed connection is open on this server."""
        self.ladder.opened(elsewhere=self._relay_url not in (None, url))
        self._relay_url = url

    def doubted(self, way: Way, now: float, *, by_ice: bool = False) -> None:
        """Probes, or ICE's checks, go unanswered; until now it may have carried packets."""
        self._noted(way, now)
        if by_ice:
            self._blame("ice")
            return
        self.ladder.note("probe")
        self._blame("silence" if self._has_carried(way, now) else "never_proven")

    def failed(self, cause: Cause) -> None:
        """Something was lost without our giving it up."""
        self._blame(cause)

    def given_up(self, way: Way, reason: str, now: float, *, cause: Cause | None = None, proven: bool) -> Rung | None:
        """We give this way up; `proven`: the other one is.  Return which rung is to be climbed now; None: none.

        `cause` None: it was silent.
        """
        if way.standing == "proven":
            self._noted(way, now)
        if cause is None:
            self.ladder.note("probe")  # to the end
        carried = self._has_carried(way, now)
        self._blame(cause or ("silence" if carried else "never_proven"))
        # The remote may hear us on a relayed connection that carries nothing here, while there can be a session.
        if carried or (way.kind == "relayed" and not proven and self._lives(now)):
            self.budget.spend(reason, now)
        return None if proven else self.ladder.climb(way.kind, self._heard_at(), now)

    def reset(self) -> None:
        """The operator wants everything tried."""
        self.resets += 1
        self.budget.give_back()
        self.ladder.descend()
        self._cause, self._resetting = "reset", True

    def recovered(self, words: str, length_s: float) -> None:
        """An outage is over."""
        before = self._by_cause.get(self._cause)
        self._by_cause[self._cause] = Recovered(
            cause=self._cause,
            count=1 if before is None else before.count + 1,
            last_s=length_s,
            longest_s=length_s if before is None else max(before.longest_s, length_s),
        )
        self.count, self.last_s, self.last_words = self.count + 1, length_s, words
        self._resetting = False

    # --- within ---

    def _blame(self, cause: Cause) -> None:
        if not self._resetting:  # what a reset takes down is its own
            self._cause = cause

    def _noted(self, way: Way, now: float) -> None:
        generation, _ = self._carried.get(way.kind, (0, 0.0))
        if generation == way.generation and way.standing in ("proven", "resumed"):
            self._carried[way.kind] = (generation, now)

    def _has_carried(self, way: Way, now: float) -> bool:
        generation, at = self._carried.get(way.kind, (0, 0.0))
        return generation == way.generation and now - at < CARRIED_S

    def _heard_at(self) -> float | None:
        return max((at for _, at in self._carried.values()), default=None)

    def _lives(self, now: float) -> bool:
        heard_at = self._heard_at()
        return heard_at is not None and now - heard_at < CARRIED_S
