"""An agent in words and records, for `status` and `why`."""

from collections import Counter

from transport.ice.candidates import Candidate
from transport.ice.events import AgentState, IceReport
from transport.ice.pairs import CheckList, Pair
from transport.ice.states import Checking, Connected, Ended, IceState, Searching, Waiting


def phase_of(state: IceState) -> AgentState:
    """Return the state in one word."""
    match state:
        case Waiting():
            return "waiting"
        case Checking():
            return "checking"
        case Connected() | Searching():
            return "connected"
        case Ended():
            return "ended"


def report_of(
    state: IceState,
    pairs: CheckList,
    *,
    controlling: bool,
    local_candidates: tuple[Candidate, ...],
    drops: Counter[str],
    role_switches: int,
) -> IceReport:
    """Return what the agent is and what it tried."""
    connected = state if isinstance(state, Connected) else None
    return IceReport(
        state=phase_of(state),
        reason=state.reason if isinstance(state, Ended) else "",
        controlling=controlling,
        selected=None if connected is None else connected.pair.report(),
        doubtful=isinstance(state, Searching) or (connected is not None and connected.consent.doubtful),
        local_candidates=local_candidates,
        remote_candidates=tuple(remote.candidate for remote in pairs.remotes.values()),
        pairs=tuple(pair.report() for pair in pairs),
        drops={reason: count for reason, count in drops.items() if count},
        role_switches=role_switches,
    )


def why_no_pair(pairs: CheckList, limit_s: float) -> str:
    """Return why no pair was selected within the limit."""
    tried: list[Pair] = list(pairs)
    if not pairs.remotes:
        return "the remote told no candidates"
    if not tried:
        return "no address of ours fits a candidate of the remote's"
    answered = sum(pair.answered > 0 for pair in tried)
    if answered:
        return f"{answered} of {len(tried)} pairs answered, and none was nominated within {limit_s:g} s"
    return f"none of {len(tried)} pairs answered within {limit_s:g} s"
