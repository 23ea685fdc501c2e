"""The candidate pairs of one agent: formed, pruned, bounded, in the order of their priority (RFC 8445 section 6.1.2).

    waiting --check sent--> in_progress --answered--> succeeded
       ^                        \\--checks used up--> failed
       +--the remote checks it, or doubt about the selected pair---+

There is one component and one stream, so pairs are never frozen: that would only order checks, as the priority does.
A local srflx has its host's base, so pairs are formed with bases (section 6.1.2.4).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from transport.ice.attributes import CandidateIds
from transport.ice.candidates import AddressRules, Candidate, make_candidate, pair_priority, priority
from transport.ice.events import PairReport, PairSelected, PairState
from transport.ice.timing import CHECK_AT_S
from wg.datagrams import Endpoint

MAX_SIGNALLED: Final = 32  # remote candidates that came by signal
MAX_REMOTES: Final = 48  # with those that showed themselves by a check
MAX_PAIRS: Final = 100  # RFC 8445 section 6.1.2.5

_HOST_PRIORITY: Final = priority("host")


class Base(NamedTuple):
    """One of our own addresses, which checks leave from."""

    ip: str
    port: int
    packed: bytes  # the address: 4 or 16 bytes

    @property
    def endpoint(self) -> Endpoint:
        """Address and port."""
        return Endpoint(self.ip, self.port)


@dataclass(slots=True, eq=False)
class Remote:
    """One place where the remote may be."""

    candidate: Candidate
    endpoint: Endpoint  # of the candidate; with the zone, where it showed itself by one


@dataclass(slots=True, eq=False)
class Pair:
    """One of our addresses and one of the remote's."""

    base: Base
    remote: Remote
    priority: int
    state: PairState = "waiting"
    began_at: float = 0.0  # of this round of checks
    step: int = 0  # checks sent in this round
    check_at: float = inf  # when it is checked next; inf: not by itself
    triggered: bool = False  # by a check of the remote's: goes before the others
    nominated: bool = False  # the remote has nominated it, which counts once it succeeds
    nominations: int = 0  # requests of ours to nominate it that are not answered
    answered_at: float = -inf
    sent: int = 0
    answered: int = 0
    heard: int = 0
    mapped: Endpoint | None = None
    rtt_s: float | None = None
    error: int = 0

    @property
    def key(self) -> tuple[bytes, Endpoint]:
        """Names the pair in its list."""
        return self.base.packed, self.remote.endpoint

    def begin(self, now: float, *, triggered: bool = False) -> None:
        """Check it, from the first step on."""
        if self.state != "succeeded":
            self.state = "waiting"
        self.step, self.began_at, self.check_at, self.triggered = 0, now, now, triggered

    def checked(self, now: float) -> None:
        """Take note that an ordinary check was sent."""
        if self.step == 0:
            self.began_at = now
        self.step += 1
        self.triggered = False
        self.check_at = self.began_at + _step_at(self.step)
        if self.state != "succeeded":
            self.state = "in_progress"

    def stop(self) -> None:
        """Check it no more by itself."""
        self.check_at, self.triggered = inf, False

    def fail(self) -> None:
        """Give it up."""
        self.state = "failed"
        self.stop()

    def selection(self, reason: str, *, changed: bool) -> PairSelected:
        """Return the news that it is the direct path."""
        return PairSelected(
            local=self.base.ip,
            remote=self.remote.endpoint,
            kind=self.remote.candidate.kind,
            rtt_s=self.rtt_s,
            changed=changed,
            reason=reason,
        )

    def report(self) -> PairReport:
        """Return what was asked and answered."""
        return PairReport(
            local=self.base.ip,
            remote=self.remote.endpoint,
            remote_kind=self.remote.candidate.kind,
            state=self.state,
            sent=self.sent,
            answered=self.answered,
            heard=self.heard,
            mapped=self.mapped,
            rtt_s=self.rtt_s,
            error=self.error,
        )


def _step_at(step: int) -> float:
    """Return when, in its round, a pair is checked for the step-th time; after the last step, when that is too late."""
    return CHECK_AT_S[step] if step < len(CHECK_AT_S) else 2 * CHECK_AT_S[-1] - CHECK_AT_S[-2]


class CheckList:
    """All pairs of an agent."""

    def __init__(self, rules: AddressRules, *, controlling: bool, drops: Counter[str]) -> None:
        self.bases: list[Base] = []
        self.remotes: dict[Endpoint, Remote] = {}
        self._rules, self._controlling, self._drops = rules, controlling, drops
        self._pairs: dict[tuple[bytes, Endpoint], Pair] = {}
        self._sorted: list[Pair] = []

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs, the best first."""
        return iter(self._sorted)

    def find(self, base: Base, remote: Endpoint) -> Pair | None:
        """Return the pair of these two."""
        return self._pairs.get((base.packed, remote))

    def set_bases(self, bases: list[Base], now: float) -> list[Pair]:
        """Use these addresses of ours from now on.  Returns the pairs of those that are gone."""
        gone = [pair for pair in self._sorted if pair.base not in bases]
        for pair in gone:
            del self._pairs[pair.key]
        added = [base for base in bases if base not in self.bases]
        self.bases = bases
        for base in added:
            for remote in self.remotes.values():
                self._pair(base, remote, now)
        self._sort()
        return gone

    def add_remote(self, candidate: Candidate, endpoint: Endpoint, now: float, *, keep: Pair | None) -> None:
        """Take a remote candidate and pair it, unless it is known, refused, or too many; `keep` stays in any case."""
        known = self.remotes.get(endpoint)
        if known is not None and (known.candidate.kind == "prflx" or candidate.priority > known.candidate.priority):
            known.candidate = candidate  # it showed itself before its signal came (RFC 8838 section 11.4)
            self.reorder(controlling=self._controlling)
        elif known is not None:
            self._drops["candidate_known"] += 1
        elif self._rules.refusal_of(candidate) is not None:
            self._drops["refused_candidate"] += 1
        elif not self._make_room(MAX_REMOTES if candidate.kind == "prflx" else MAX_SIGNALLED, keep):
            self._drops["too_many_candidates"] += 1
        else:
            remote = self.remotes[endpoint] = Remote(candidate, endpoint)
            for base in self.bases:
                self._pair(base, remote, now)
            self._sort()

    def learn(
        self, local: bytes | None, source: Endpoint, ids: CandidateIds | None, now: float, *, keep: Pair | None
    ) -> Pair | None:
        """Return the pair that a check came on; an unknown source is a new candidate (RFC 8445 section 7.3.1.3).

        `local` is our address that it came to; None: any, so the first of the family.  None is returned where that is
        no base, or where there is no room.
        """
        length = 16 if ":" in source.ip else 4
        bases = (base for base in self.bases if (base.packed == local if local else len(base.packed) == length))
        base = next(bases, None)
        if base is None:
            return None
        if source not in self.remotes:
            seen = make_candidate("prflx", source, cid=None if ids is None else ids.source)
            self.add_remote(seen, source, now, keep=keep)
        return self.find(base, source)

    def reorder(self, *, controlling: bool) -> None:
        """Compute the priorities anew, for this role of ours."""
        self._controlling = controlling
        for pair in self._sorted:
            pair.priority = self._priority(pair.remote)
        self._sort()

    def begin(self, at: float, *, besides: Pair | None = None) -> None:
        """Check all pairs but this one from the first step on; those whose turn is before go on."""
        for pair in self._sorted:
            if pair is not besides and pair.check_at >= at:
                pair.begin(at)

    def due(self, now: float) -> Pair | None:
        """Return which pair to check now: those that the remote checked go first, then by priority."""
        best = None
        for pair in self._sorted:
            if pair.check_at <= now and (best is None or (pair.triggered and not best.triggered)):
                best = pair
        return best

    def next_at(self) -> float:
        """Return when the next pair is due; inf: none by itself."""
        return min((pair.check_at for pair in self._sorted), default=inf)

    def expire(self, now: float) -> None:
        """Fail the pairs whose checks are used up."""
        for pair in self._sorted:
            if pair.check_at <= now and pair.step >= len(CHECK_AT_S):
                pair.fail()

    def _pair(self, base: Base, remote: Remote, now: float) -> None:
        if (len(base.packed) == 4) != (":" not in remote.endpoint.ip):
            return
        if len(self._pairs) >= MAX_PAIRS:
            self._drops["too_many_pairs"] += 1
            return
        pair = Pair(base, remote, self._priority(remote))
        pair.begin(now)
        self._pairs[pair.key] = pair

    def _make_room(self, limit: int, keep: Pair | None) -> bool:
        """Let go of a remote candidate that came to nothing and is not checked, if there is no room otherwise."""
        if len(self.remotes) < limit:
            return True
        if not self.bases:  # nothing has been tried yet
            return False
        hopeful = {
            pair.remote.endpoint
            for pair in self._sorted
            if pair.state == "succeeded" or pair.check_at < inf or pair is keep
        }
        spent = next((endpoint for endpoint in self.remotes if endpoint not in hopeful), None)
        if spent is None:
            return False
        del self.remotes[spent]
        for base in self.bases:
            self._pairs.pop((base.packed, spent), None)
        return True

    def _priority(self, remote: Remote) -> int:
        sides = (_HOST_PRIORITY, remote.candidate.priority)
        return pair_priority(*(sides if self._controlling else reversed(sides)))

    def _sort(self) -> None:
        self._sorted = sorted(self._pairs.values(), key=lambda pair: -pair.priority)
