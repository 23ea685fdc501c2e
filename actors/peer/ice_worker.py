"""Which ICE session this peer has, what its agent in the packet process finds, and when the session changes.

    Resting --IceTurn--> Checking --IcePairProven--> Connected <--IcePairDoubtful, IcePairProven
       ^                    |                            |
       |                    +--another session, no ICE---+--> Closing --IceAgentClosed, IceDue--> Checking, or Resting
       +--IceAgentEnded, Distress, IceDue, the packet process restarted (from all of them)

Our session id, ufrag and pwd change on every distress of our own, once each, in one step with forgetting the remote's
id and closing the agent (recovery R6): the remote sees it in our next offer and makes a new agent.  That the *remote's*
id changed replaces our agent and does not change our session, else two peers would replace each other's healthy agents
for ever.  Such an agent is closed first and the next one opened after the acknowledgement, so that whatever the old one
still says is told from what the new one says; mail of any other session than ours is dropped (R7).

While a direct path carries packets, a dead relay is the relay worker's alone: rotating would take the good path down.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, assert_never

from actors.addresses import ICE_AGENTS, PACKET, SIGNAL, PeerAddresses
from actors.effects import Cancel, Effect, Later
from actors.messages.packet import (
    AddRemoteCandidate,
    CloseIceAgent,
    IceAgentClosed,
    IceAgentEnded,
    IceAgentSnapshot,
    IcePairDoubtful,
    IcePairProven,
    LocalCandidateFound,
    OpenIceAgent,
)
from actors.messages.peer import (
    CandidatesDue,
    Distress,
    IceDoubtful,
    IceDue,
    IceLost,
    IceReady,
    IceTurn,
    IceTurnDone,
    IceWorkerInbox,
    LocalIceChanged,
    RemoteIdle,
)
from actors.messages.process import ProcessRestarted
from actors.peer.ice_candidates import RemoteCandidates
from actors.peer.ice_credentials import Session, draw_session
from config.keys import PublicKey
from transport.signal.messages import CandidateReceived, PostCandidate, SessionId
from wg.datagrams import Endpoint
from wg.paths import DirectPath

CHECKING_S = 20.0  # for an agent that ends by itself after 12 s without a pair (signal spec 5.7)
DOUBT_S = 15.0  # for one that gives a silent pair up after 12 s at the most
CLOSE_S = 2.0  # for the acknowledgement
REPEAT_S = 1.0  # from a candidate of ours to its repetition, which a foreign remote needs (signal spec 5.7)
MAX_REPEATED = 16  # candidates

IceOutcome = Literal["taken", "kept", "no_ice"]


@dataclass(frozen=True, slots=True)
class Resting:
    """There is no agent: the next session of the remote's that an offer names counts."""

    session: SessionId  # ours


@dataclass(frozen=True, slots=True)
class Checking:
    """The agent looks for a pair; IceDue is set."""

    session: SessionId
    remote_session: SessionId | None  # None: an old peer that has none (signal spec 5.8)
    ours: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """The agent keeps a pair; IceDue is set while it is doubtful."""

    session: SessionId
    remote_session: SessionId | None
    ours: bool
    path: DirectPath
    words: str  # the pair, for the operator
    doubtful: bool


@dataclass(frozen=True, slots=True)
class Closing:
    """The agent of a session that the remote has left is being closed; IceDue is set."""

    session: SessionId
    turn: IceTurn | None  # to open the next agent with; None: the remote has no ICE


State = Resting | Checking | Connected | Closing


class IceWorker:
    """Keeps our ICE session for one peer, and its agent.

    `first_generation` numbers the direct paths; with `in_use`, the first is the one of the `resumed` agent, on which
    packets go.  Not `enabled`, offers say that we have no ICE; everything else goes on, so that a session never
    outlives a distress.
    """

    inbox: ClassVar[object] = IceWorkerInbox

    def __init__(
        self,
        peer: PublicKey,
        addresses: PeerAddresses,
        *,
        entropy: Callable[[int], bytes],
        enabled: bool,
        controlling: bool,
        first_generation: int = 1,
        resumed: IceAgentSnapshot | None = None,
        in_use: bool = False,
    ) -> None:
        self._peer, self._to, self._entropy = peer, addresses, entropy
        self._enabled, self._controlling, self._next_generation = enabled, controlling, first_generation
        self._generation = 0  # of the direct path that the Conn knows of; 0: none
        self._remote_candidates = RemoteCandidates()
        self._to_repeat: list[str] = []
        self._ours = draw_session(entropy) if resumed is None else Session(resumed.session, resumed.local)
        self.state: State = Resting(self._ours.id) if resumed is None else _state_of(resumed)
        if in_use:
            self._generation = self._new_generation()

    def start(self, now: float) -> list[Effect]:
        """Tell what our first offer says; go on with an agent that outlived the control process."""
        effects = self._tell()
        match self.state:
            case Resting() | Closing():
                return effects
            case Checking():
                return [*effects, Later(now + CHECKING_S, IceDue())]
            case Connected(doubtful=doubtful):
                if self._generation == 0:
                    self._generation = self._new_generation()
                    effects.append(self._ready(self.state))
                if doubtful:
                    effects += [self._doubt("answers on the pair are missing"), Later(now + DOUBT_S, IceDue())]
                return effects
            case _:
                assert_never(self.state)

    def handle(self, message: IceWorkerInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case IceTurn():
                outcome, effects = self._on_turn(message, now)
                done = IceTurnDone(peer=self._peer, turn=message.turn, outcome=outcome)
                return [*effects, self._to.offer_listener.send(done)]
            case CandidateReceived():
                return self._on_remote_candidate(message.candidate)
            case LocalCandidateFound():
                return self._on_local_candidate(message, now)
            case IcePairProven():
                return self._on_pair_proven(message)
            case IcePairDoubtful():
                return self._on_pair_doubtful(message, now)
            case IceAgentEnded():
                if not self._is_of_agent(message.session):
                    return []  # of an agent that we have closed
                return self._rotate(message.reason, message.tried)
            case IceAgentClosed():
                if isinstance(self.state, Closing) and message.session == self.state.session:
                    return self._on_closed(self.state, now)
                return []  # the late closing of an agent whose session ended in a distress
            case Distress():
                return self._on_distress(message)
            case RemoteIdle():
                return self._leave("the remote closed its side for want of traffic", now)
            case ProcessRestarted():
                return self._on_packet_restarted() if message.process == PACKET else []
            case CandidatesDue():
                return self._repeat_candidates()
            case IceDue():
                return self._on_due(now)
            case _:
                assert_never(message)

    @property
    def counters(self) -> dict[str, int]:
        """Candidates of the remote's that were told before, or were too many."""
        return {"candidates_dropped": self._remote_candidates.dropped}

    # --- what the remote says ---

    def _on_turn(self, turn: IceTurn, now: float) -> tuple[IceOutcome, list[Effect]]:
        state = self.state
        if turn.ice is None or not self._enabled:
            return "no_ice", self._leave("the remote looks for no direct path", now)
        match state:
            case Resting():
                return "taken", self._open(turn, now)
            case Checking(remote_session=known) | Connected(remote_session=known):
                if turn.session in (None, known):
                    return "kept", []  # the agent of that session is there; old peers name none (recovery R7)
                return "taken", self._replace(turn, now)
            case Closing():
                if state.turn is not None and turn.session in (None, state.turn.session):
                    return "kept", []
                self.state = replace(state, turn=turn)
                return "taken", []
            case _:
                assert_never(state)

    def _open(self, turn: IceTurn, now: float) -> list[Effect]:
        assert turn.ice is not None
        self.state = Checking(self._ours.id, turn.session, turn.ours)
        opening = OpenIceAgent(
            peer=self._peer,
            session=self._ours.id,
            remote_session=turn.session,
            local=self._ours.credentials,
            remote=turn.ice,
            controlling=self._controlling,
            ours=turn.ours,
        )
        early = [self._add(candidate) for candidate in self._remote_candidates.begin(turn.ice.ufrag)]
        return [ICE_AGENTS.send(opening), *early, Later(now + CHECKING_S, IceDue())]

    def _replace(self, turn: IceTurn, now: float) -> list[Effect]:
        """Close the agent of the remote's former session; its pair may go on until there is another."""
        reason = "the remote has begun another ICE session"
        told: list[Effect] = []
        if self._generation != 0:
            told = [self._doubt(reason)] if turn.ours else self._lose_path(reason)
        self.state = Closing(self._ours.id, turn)
        return [self._close(), *told, Later(now + CLOSE_S, IceDue())]

    def _leave(self, reason: str, now: float) -> list[Effect]:
        """Close the agent, if there is one: the remote speaks no ICE now."""
        if isinstance(self.state, Resting | Closing):
            if isinstance(self.state, Closing):
                self.state = replace(self.state, turn=None)
            return self._lose_path(reason)
        self.state = Closing(self._ours.id, None)
        return [self._close(), *self._lose_path(reason), Later(now + CLOSE_S, IceDue())]

    def _on_closed(self, state: Closing, now: float) -> list[Effect]:
        if state.turn is not None:
            return self._open(state.turn, now)
        self.state = Resting(state.session)
        return [Cancel(IceDue)]

    # --- candidates ---

    def _on_remote_candidate(self, candidate: str) -> list[Effect]:
        if isinstance(self.state, Checking | Connected):
            return [self._add(candidate)] if self._remote_candidates.take(candidate) else []
        self._remote_candidates.keep(candidate)
        return []  # it waits for the agent that it is meant for

    def _on_local_candidate(self, found: LocalCandidateFound, now: float) -> list[Effect]:
        if not self._is_of_agent(found.session):
            return []  # of an agent that we have closed
        assert isinstance(self.state, Checking | Connected), self.state
        post = SIGNAL.send(PostCandidate(peer=self._peer, candidate=found.candidate))
        if self.state.ours or len(self._to_repeat) >= MAX_REPEATED:
            return [post]
        self._to_repeat.append(found.candidate)
        return [post, Later(now + REPEAT_S, CandidatesDue())]

    def _repeat_candidates(self) -> list[Effect]:
        repeated, self._to_repeat = self._to_repeat, []
        return [SIGNAL.send(PostCandidate(peer=self._peer, candidate=candidate)) for candidate in repeated]

    # --- what the agent says ---

    def _on_pair_proven(self, proven: IcePairProven) -> list[Effect]:
        state = self.state
        if not self._is_of_agent(proven.session):
            return []  # of an agent that we have closed
        assert isinstance(state, Checking | Connected), state
        if proven.remote_session != state.remote_session:
            return []  # of the agent before this one, closed without an acknowledgement
        if not isinstance(state, Connected) or state.path != proven.path:
            self._generation = self._new_generation()
        words = _words(proven.path, proven.remote_kind)
        self.state = Connected(state.session, state.remote_session, state.ours, proven.path, words, doubtful=False)
        return [Cancel(IceDue), self._ready(self.state)]

    def _on_pair_doubtful(self, doubtful: IcePairDoubtful, now: float) -> list[Effect]:
        state = self.state
        if not isinstance(state, Connected) or not self._is_of_agent(doubtful.session):
            return []  # of an agent that we have closed
        if not state.ours:
            return self._rotate(doubtful.reason)  # one path at a time: on doubt the relay, and a new session (R9)
        self.state = replace(state, doubtful=True)
        return [self._doubt(doubtful.reason), Later(now + DOUBT_S, IceDue())]

    def _is_of_agent(self, session: SessionId) -> bool:
        return isinstance(self.state, Checking | Connected) and session == self.state.session

    # --- distress ---

    def _on_distress(self, distress: Distress) -> list[Effect]:
        state = self.state
        match distress.path:
            case "relayed":
                if isinstance(state, Connected) and not state.doubtful:
                    return []  # the direct path goes on: the relay worker has closed what is dead
                return self._rotate(distress.reason)
            case "direct":
                if distress.generation not in (0, self._generation):
                    return []  # the path has been replaced, or its session has ended: one distress, one rotation
                if isinstance(state, Connected):
                    return self._rotate(distress.reason)
                # It is the path of the remote's former session; the next one is on its way.
                return self._lose_path(distress.reason)
            case _:
                assert_never(distress.path)

    def _on_packet_restarted(self) -> list[Effect]:
        """Begin a new session: the agent is gone, and the Conn knows it.  The guard's next offer tells the remote."""
        self._generation = 0
        self._begin_session()
        return [Cancel(IceDue), Cancel(CandidatesDue), *self._tell()]

    def _on_due(self, now: float) -> list[Effect]:
        match self.state:
            case Closing():
                return self._on_closed(self.state, now)
            case Checking() | Connected():
                return self._rotate("the ICE agent did not say what became of it")
            case Resting():
                raise AssertionError(self.state)
            case _:
                assert_never(self.state)

    def _rotate(self, reason: str, tried: tuple[str, ...] = ()) -> list[Effect]:
        """End the session, agent and all, and begin another: in one step, ordered before the next offer (R6)."""
        close = [] if isinstance(self.state, Resting) else [self._close()]
        lost = IceLost(peer=self._peer, generation=self._generation, reason=reason, tried=tried)
        told = [self._to.conn.send(lost), self._to.guard.send(lost)] if close else []
        self._generation = 0
        self._begin_session()
        if not self._enabled:
            return []  # without ICE there is nothing that the remote could see
        return [*close, Cancel(IceDue), Cancel(CandidatesDue), *self._tell(), *told]

    def _begin_session(self) -> None:
        self._ours, self._to_repeat = draw_session(self._entropy), []
        self._remote_candidates.end()
        self.state = Resting(self._ours.id)

    # --- who is told ---

    def _ready(self, state: Connected) -> Effect:
        return self._to.conn.send(
            IceReady(peer=self._peer, generation=self._generation, path=state.path, words=state.words)
        )

    def _doubt(self, reason: str) -> Effect:
        return self._to.conn.send(IceDoubtful(peer=self._peer, generation=self._generation, reason=reason))

    def _lose_path(self, reason: str) -> list[Effect]:
        if self._generation == 0:
            return []
        lost = IceLost(peer=self._peer, generation=self._generation, reason=reason)
        self._generation = 0
        return [self._to.conn.send(lost)]

    def _tell(self) -> list[Effect]:
        ice, session = (self._ours.credentials, self._ours.id) if self._enabled else (None, None)
        return [self._to.offer_listener.send(LocalIceChanged(peer=self._peer, ice=ice, session=session))]

    def _close(self) -> Effect:
        return ICE_AGENTS.send(CloseIceAgent(peer=self._peer, session=self._ours.id))

    def _add(self, candidate: str) -> Effect:
        return ICE_AGENTS.send(AddRemoteCandidate(peer=self._peer, session=self._ours.id, candidate=candidate))

    def _new_generation(self) -> int:
        self._next_generation += 1
        return self._next_generation - 1


def _state_of(agent: IceAgentSnapshot) -> State:
    """Return the state that goes with a live agent; one that has ended is found out by IceDue."""
    if agent.selected is None:
        return Checking(agent.session, agent.remote_session, agent.ours)
    path = DirectPath(ip=agent.selected.ip, port=agent.selected.port, local=agent.local_ip or None)
    words = _words(path, agent.remote_kind)
    return Connected(agent.session, agent.remote_session, agent.ours, path, words, agent.doubtful)


def _words(path: DirectPath, remote_kind: str) -> str:
    return f"{path.local} -> {remote_kind} {Endpoint(path.ip, path.port)}"
