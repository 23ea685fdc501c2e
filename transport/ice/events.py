"""What an ICE agent tells: events as they happen, and at any time what it is and what it tried."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from config.keys import PublicKey
from transport.ice.candidates import Candidate, CandidateKind
from transport.signal.messages import IceCredentials, SessionId
from wg.datagrams import Endpoint


class Outgoing(NamedTuple):
    """A datagram to send."""

    local: bytes | None  # our address that it leaves from, 4 or 16 bytes; None: any
    destination: Endpoint
    datagram: bytes


PairState = Literal["waiting", "in_progress", "succeeded", "failed"]


class PairReport(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate pair: what was asked of it, and what it answered."""

    local: str  # our address
    remote: Endpoint
    remote_kind: CandidateKind
    state: PairState
    sent: int  # checks
    answered: int  # of them
    heard: int  # checks of the remote's that arrived on it
    mapped: Endpoint | None = None  # what we look like to the remote; None: no answer yet
    rtt_s: float | None = None  # of the last answer
    error: int = 0  # code of the last refusal; 0: none


class AgentId(msgspec.Struct, frozen=True, kw_only=True):
    """Which agent: one for each session of ours with each session of the remote's (recovery R7)."""

    peer: PublicKey
    session: SessionId  # ours
    remote_session: SessionId | None  # None: an old peer that has none


AgentState = Literal["waiting", "checking", "connected", "ended"]


class IceReport(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as it is now, for `status` and `why`."""

    state: AgentState
    reason: str  # why it ended; empty: it has not
    controlling: bool
    selected: PairReport | None
    doubtful: bool  # answers on the selected pair are missing
    local_candidates: tuple[Candidate, ...]
    remote_candidates: tuple[Candidate, ...]
    pairs: tuple[PairReport, ...]  # by priority, the best first
    drops: dict[str, int]  # what was not taken: reason -> how many
    role_switches: int = 0  # after conflicts (RFC 8445 section 7.3.1.1)


class IceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a control process that starts anew must know of an agent."""

    agent: AgentId
    local: IceCredentials
    remote: IceCredentials | None
    controlling: bool
    ours: bool  # the remote is one of ours
    state: AgentState
    reason: str
    endpoint: Endpoint | None  # of the selected pair
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class LocalCandidateFound:
    """The remote should be told of this candidate of ours (trickle, RFC 8838)."""

    candidate: Candidate
    text: str  # as it is signalled


@dataclass(frozen=True, slots=True)
class PairSelected:
    """The direct path is this pair: the first one of the agent, or another than before."""

    local: str  # our address
    remote: Endpoint
    kind: CandidateKind  # of the remote candidate
    rtt_s: float | None
    changed: bool  # False: the first
    reason: str


@dataclass(frozen=True, slots=True)
class PairDoubtful:
    """Answers on the selected pair are missing."""

    remote: Endpoint
    since: float  # when the first check without an answer was sent


@dataclass(frozen=True, slots=True)
class PairProven:
    """The selected pair answers again."""

    remote: Endpoint
    rtt_s: float


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """There will be no pair any more: none was found, or the selected one died.  Checks are answered all the same."""

    reason: str
    was_connected: bool
    tried: tuple[PairReport, ...]


IceEvent = LocalCandidateFound | PairSelected | PairDoubtful | PairProven | AgentEnded
"""What one agent tells."""


@dataclass(frozen=True, slots=True)
class MappingChanged:
    """One of our addresses looks different from outside: the NAT before us has another address, or forgot us."""

    local: str
    before: Endpoint
    after: Endpoint


@dataclass(frozen=True, slots=True)
class AgentTold:
    """An event of this agent."""

    agent: AgentId
    event: IceEvent


NodeEvent = AgentTold | MappingChanged
"""What the agents of a node tell."""
