"""Why a peer is as it is: its present state, and what the mail says of the last trouble and how it ended.

A trouble begins with the first thing that broke, of the peer's or of the node's links and processes, and ends where
nothing more of the kind came for QUIET_S: what goes silent together is not noticed at once.  Once the peer was reached
again, what breaks with a bang SETTLED_S later begins another one.  What happened up to LEAD_S before belongs to it.
Its cause is named by the rules of causes.py; without one, it is "unknown".
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from actors.trace.causes import Cause, Trouble, fell_silent, verdicts
from actors.trace.facts import EVENTS, TROUBLES, UNTOLD, Fact, FactKind, facts_about
from actors.trace.record import Record
from config.keys import PublicKey
from wg.paths import PathKind

QUIET_S = 30.0  # a link that died with others may be found dead by its own timers only
SETTLED_S = 4.0
LEAD_S = 2.0
TAIL_S = 20.0  # after the last thing that broke: what recovered it
FOUND_LATE_S = 12.0  # longer than the first search takes
NEVER_UP: dict[str, Cause] = {
    "has not answered any offer": "remote_never_answered",
    "no relay in the remote's offer": "remote_without_relay",
    "not connected to our relay": "relay_unreachable",
}
"""What a status says of a peer that was never reached, and the cause that it names."""
REFUSED_LOGIN = "the relay refused our secret or token"
SIGNAL_LINK: tuple[FactKind, ...] = ("signal_opened", "signal_closed", "signal_failed")
MAX_EARLIER, MAX_TOLD = 20, 40


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the peer stands now, as `homing status` says it."""

    peer: PublicKey
    name: str
    state: str  # "connected", "doubtful", "connecting", "idle", "parked"
    path: PathKind | None
    endpoint: str  # of the path: ip:port of the peer, or URL of the relay server
    proof_age_s: float | None
    reason: str  # why it is not up, or not direct
    tried: tuple[str, ...] = ()  # a line for each pair that the last search for a direct path tried


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an explanation."""

    at: float  # CLOCK_BOOTTIME s
    text: str
    process: str
    id: int  # of the message that says so: `homing trace why ID`


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble: what broke, why, and what recovered it."""

    cause: Cause
    because: str  # the cause in words; of an unknown one, what broke first
    also: tuple[Cause, ...]  # what else the mail names
    began_at: float  # CLOCK_BOOTTIME s
    path_kept: bool  # nothing of the peer's broke
    proven_at: float | None  # when a path was proven again after the last one was lost; None: no path was lost
    outage_s: float | None  # from the first doubt to that proof
    path: PathKind | None  # that was proven then
    happenings: tuple[Happening, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    peer: str
    public_key: PublicKey
    now: float  # CLOCK_BOOTTIME s
    standing: Standing
    cause: Cause  # of the last trouble, or of the present state where that was never better
    because: str
    last: Episode | None  # None: nothing broke as far back as the processes remember
    earlier: tuple[Episode, ...]  # newest first, without their happenings
    known_since: float | None  # the oldest record; None: there is none
    missing: tuple[str, ...] = ()  # what keeps this from being whole


def explain(standing: Standing, records: Iterable[Record], now: float, *, missing: Sequence[str] = ()) -> Explanation:
    """Explain how a peer stands, from its status and the records of all processes."""
    kept = list(records)
    facts = facts_about(standing.peer, kept)
    episodes = [_episode(trouble) for trouble in troubles(facts, now)]
    last = episodes[-1] if episodes else None
    cause, because = (last.cause, last.because) if last is not None else _without_trouble(standing, facts)
    if last is not None and last.path_kept and (found := _direct_found(standing, facts, last.began_at - FOUND_LATE_S)):
        cause, because = found
    return Explanation(
        peer=standing.name,
        public_key=standing.peer,
        now=now,
        standing=standing,
        cause=cause,
        because=because,
        last=last,
        earlier=tuple(msgspec.structs.replace(one, happenings=()) for one in episodes[-2 : -2 - MAX_EARLIER : -1]),
        known_since=min((record.at for record in kept), default=None),
        missing=tuple(missing),
    )


def troubles(facts: Sequence[Fact], now: float) -> Iterator[Trouble]:
    """Yield the troubles among these facts, which are all until `now`, oldest first."""
    proven_at = _first_proof(facts)
    groups: list[list[Fact]] = []
    for fact in facts:
        if fact.kind not in TROUBLES | EVENTS or (fact.at < proven_at and not _was_up(fact, facts)):
            continue  # nothing was up yet, so nothing broke
        if groups and fact.at - groups[-1][-1].at <= QUIET_S and not _another(fact, groups[-1], facts):
            groups[-1].append(fact)
        else:
            groups.append([fact])
    for place, group in enumerate(groups):
        begun_at, ended_at = group[0].at - LEAD_S, group[-1].at + TAIL_S
        if place + 1 < len(groups):
            ended_at = min(ended_at, groups[place + 1][0].at - LEAD_S)
        yield Trouble(
            [fact for fact in facts if begun_at <= fact.at <= ended_at],
            [fact for fact in facts if fact.at < begun_at],
            _signal_until(facts, begun_at, now),
        )


def _signal_until(facts: Sequence[Fact], begun_at: float, now: float) -> float:
    """Return when the link to the signal server broke next, `now` if it has not; 0: it was not up when this began."""
    told = [fact for fact in facts if fact.kind in SIGNAL_LINK]
    before = [fact.kind for fact in told if fact.at < begun_at]
    if not before or before[-1] != "signal_opened":
        return 0.0
    return next((fact.at for fact in told if fact.at >= begun_at), now)


def _another(fact: Fact, group: Sequence[Fact], facts: Sequence[Fact]) -> bool:
    """Whether this begins another trouble than the group's, from which the peer had recovered."""
    sudden = fact.kind in {"process_ended", "resumed", "reset"} or (
        fact.kind == "link_closed" and not fell_silent(fact)
    )
    broke = [one.at for one in group if one.kind in TROUBLES]
    if not sudden or not broke or fact.at - group[-1].at < SETTLED_S:
        return False
    return any(one.kind == "path_proven" and broke[-1] < one.at < fact.at for one in facts)


def _first_proof(facts: Sequence[Fact]) -> float:
    """Return when this peer was first reached; 0 if that was longer ago than the facts reach."""
    started = next((fact.at for fact in facts if fact.kind == "started"), None)
    if started is None or any(fact.kind in {"heard", "path_proven"} and fact.at < started for fact in facts):
        return 0.0
    return next((fact.at for fact in facts if fact.kind == "path_proven"), float("inf"))


def _was_up(fact: Fact, facts: Sequence[Fact]) -> bool:
    """Whether what broke had been up before, though the peer's actors are new."""
    match fact.kind:
        case "process_ended" | "process_killed":
            process = fact.of.get("process")
            return any(
                one.kind == "process_ready" and one.at < fact.at and one.of.get("process") == process for one in facts
            )
        case "path_doubtful" | "path_dead" | "ice_doubtful" | "link_closed" | "signal_closed" | "resumed":
            return True
        case _:
            return False


def _episode(trouble: Trouble) -> Episode:
    named, beside = verdicts(trouble)
    if trouble.broke is None:
        named, beside = [*named, *beside], []
    cause: Cause = named[0].cause if named else "unknown"
    because = named[0].because if named else f"the mail does not say why; first {_first(trouble).text}"
    proof = _proof(trouble)
    told = [fact for fact in trouble.facts if fact.kind not in UNTOLD]
    if named and named[0].fact not in told:
        told.append(named[0].fact)
    told.sort(key=lambda fact: fact.at)
    return Episode(
        cause=cause,
        because=because,
        also=tuple(dict.fromkeys(verdict.cause for verdict in [*named[1:], *beside] if verdict.cause != cause)),
        began_at=_first(trouble).at,
        path_kept=trouble.broke is None,
        proven_at=None if proof is None else proof.at,
        outage_s=None if proof is None else proof.at - trouble.broke_at,
        path=None if proof is None else proof.of.get("path"),
        happenings=tuple(
            Happening(at=fact.at, text=fact.text, process=fact.process, id=fact.id) for fact in _shortened(told)
        ),
    )


def _first(trouble: Trouble) -> Fact:
    return next(fact for fact in trouble.facts if fact.kind in TROUBLES | EVENTS)


def _proof(trouble: Trouble) -> Fact | None:
    """Return the first proof of a path after one was doubtful or lost; None: none was, or there is none yet."""
    if trouble.broke is None:
        return None
    lost = trouble.first("path_lost", "path_dead", "relay_lost", "path_doubtful", "ice_doubtful") or trouble.broke
    return next((fact for fact in trouble.all("path_proven") if fact.at > lost.at), None)


def _shortened(facts: Sequence[Fact]) -> Iterator[Fact]:
    """Yield the facts, of those that repeat what was said the first only, and no more than can be read."""
    said: set[tuple[FactKind, str]] = set()
    told = 0
    for fact in facts:
        text = "" if fact.kind == "their_view" else fact.text  # the same said later
        again = fact.kind in {"link_failed", "signal_failed", "their_view"} and (fact.kind, text) in said
        said.add((fact.kind, text))
        if not again and told < MAX_TOLD:
            told += 1
            yield fact


def _without_trouble(standing: Standing, facts: Sequence[Fact]) -> tuple[Cause, str]:
    """Return the cause of the present state when nothing broke."""
    if standing.state == "connected":
        return _direct_found(standing, facts, 0.0) or ("none", "nothing broke")
    failures = [fact for fact in facts if fact.kind == "link_failed"]
    linked = any(fact.kind == "link_opened" for fact in facts)
    if failures and not linked:
        refused = REFUSED_LOGIN in failures[-1].reason
        return "login_refused" if refused else "relay_unreachable", failures[-1].text
    for sign, cause in NEVER_UP.items():
        if sign in standing.reason:
            return cause, standing.reason
    return "unknown", standing.reason or "the mail does not say why"


def _direct_found(standing: Standing, facts: Sequence[Fact], since: float) -> tuple[Cause, str] | None:
    """Tell whether a direct path took over from a relayed one that had been in use for a while."""
    if standing.state != "connected" or standing.path != "direct":
        return None
    proofs = [fact for fact in facts if fact.kind == "path_proven"]
    relayed = next((fact.at for fact in proofs if fact.of.get("path") == "relayed"), None)
    direct = next((fact.at for fact in reversed(proofs) if fact.of.get("path") == "direct"), None)
    if relayed is None or direct is None or direct < since or direct - relayed < FOUND_LATE_S:
        return None
    return "direct_found", f"a direct path was found {direct - relayed:.0f} s after the relayed one"
