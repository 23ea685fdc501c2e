"""ICE_AGENTS: the control side's hand on the ICE agents, which look for direct paths.

    OpenIceAgent --> Checking --a pair proven--> Connected --> Doubtful --> Connected, or Ended
                         \\------------------------------------------------> Ended
    in every state: CloseIceAgent, another session, or the peer's removal ends it without a word

It hosts the agents of transport/ice/agents.py, which do all that; this keeps what each has told, so that `status` costs
nothing.  STUN is no mail: datagrams come and go by methods of their own, from the same thread, and are to be taken with
`datagrams` after every call.  The addresses of the host are read by the driver: at the start, when the kernel says that
they changed, and when `addresses_wanted` says so.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, assert_never

import msgspec

from actors.addresses import PEERS, peer_addresses
from actors.effects import Address, Effect
from actors.messages.node import OutsideEvent
from actors.messages.packet import (
    AddRemoteCandidate,
    CloseIceAgent,
    IceAgentClosed,
    IceAgentEnded,
    IceAgentsInbox,
    IceAgentSnapshot,
    IceAgentsSnapshot,
    IceAgentsSnapshotWanted,
    IcePairDoubtful,
    IcePairProven,
    LocalCandidateFound,
    OpenIceAgent,
    ProveIceNow,
    SetIceInUse,
)
from actors.messages.peer import IceWorkerInbox
from actors.messages.status import IceStatus
from actors.packet.ice_report import MAX_TRIED, address_lines, pair_words, server_lines, tried_lines
from config.keys import PublicKey
from config.values import Network, parse_network
from transport.errors import LocalProtocolError
from transport.ice import agents, events
from transport.ice.candidates import AddressRules
from transport.ice.events import AgentId
from transport.ice.interfaces import HostAddresses, InterfaceAddress, InterfaceRules, host_addresses
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import NOT_ECT
from wg.paths import DirectPath

MAX_AGENTS = 10_000


@dataclass(frozen=True, slots=True)
class Serving:
    """How many agents there are."""

    agents: int


@dataclass(frozen=True, slots=True)
class Checking:
    """No pair was proven yet."""


@dataclass(frozen=True, slots=True)
class Connected:
    """This pair is selected."""

    pair: events.PairSelected


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Answers on the selected pair are missing."""

    pair: events.PairSelected
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """There will be no pair any more."""

    reason: str
    tried: tuple[str, ...]


@dataclass(slots=True)
class Agent:
    """What an agent has told."""

    id: AgentId
    since_at: float  # of the state
    state: Checking | Connected | Doubtful | Ended = Checking()


class IceAgentsStatus(NamedTuple):
    """What `homing status` shows of direct paths."""

    agents: tuple[IceStatus, ...]
    servers: tuple[str, ...]  # a line for each STUN server and address of ours
    addresses: tuple[str, ...]  # a line for each of our addresses
    drops: dict[str, int]


class IceAgents:
    """Runs the ICE agents for the control processes `controls`."""

    inbox: ClassVar[object] = IceAgentsInbox

    def __init__(
        self,
        core: agents.IceAgents,
        rules: AddressRules,
        interfaces: InterfaceRules,
        controls: tuple[str, ...],
        *,
        own_networks: Sequence[Network] = (),
        enabled: bool = True,
    ) -> None:
        """`rules` are those of `core` and of `interfaces`; `own_networks` the prefixes of our addresses in the tunnel.

        Not `enabled`, every agent ends at once.
        """
        self._core, self._rules, self.interfaces, self._controls = core, rules, interfaces, controls
        self._own_networks, self._enabled = tuple(own_networks), enabled
        rules.set_overlay(self._own_networks)
        self._agents: dict[PublicKey, Agent] = {}
        self._addresses: HostAddresses | None = None  # None: not read yet
        self._addresses_wanted = False
        self._drops: Counter[str] = Counter()

    @property
    def state(self) -> Serving:
        """What there is now."""
        return Serving(len(self._agents))

    # --- mail ---

    def handle(self, message: IceAgentsInbox, now: float) -> list[Effect]:
        """Do what the control side asks."""
        match message:
            case OpenIceAgent():
                return self._open(message, now)
            case AddRemoteCandidate():
                if (agent := self._of(message.peer, message.session)) is not None:
                    self._core.add_remote_candidate(agent.id, message.candidate, now)
            case CloseIceAgent():
                return self._close(message)
            case SetIceInUse():
                self._core.set_in_use(message.peer, message.in_use, now)
            case ProveIceNow():
                self._addresses_wanted = True
                self._core.prove_now(now)
            case IceAgentsSnapshotWanted():
                return [PEERS.send(self._snapshot())]
            case _:
                assert_never(message)
        return self._told(now)

    def forget(self, peer: PublicKey) -> None:
        """Let go of the agent of a peer that is not configured any more."""
        agent = self._agents.pop(peer, None)
        if agent is not None:
            self._core.close(agent.id)

    def tunnel_leads_to(self, prefixes: Iterable[str]) -> None:
        """Set the allowed IPs of all peers: no direct path leads through the tunnel."""
        networks = (network for prefix in prefixes if (network := parse_network(prefix)) is not None)
        self._rules.set_overlay([*self._own_networks, *networks])
        self._addresses_wanted = True

    # --- the driver's side ---

    def addresses_wanted(self) -> bool:
        """Tell, once, whether the addresses of the host should be read now."""
        wanted, self._addresses_wanted = self._addresses_wanted, False
        return wanted

    def addresses_read(self, found: Iterable[InterfaceAddress], now: float, *, besides: str = "") -> list[Effect]:
        """Take the addresses of the host, and what else has changed.  Either is an outside event (recovery R12)."""
        before, self._addresses = self._addresses, host_addresses(found, self.interfaces)
        ours = [address.ip for address in self._addresses.used]
        moved = before is None or [address.ip for address in before.used] != ours
        if moved:
            self._core.local_addresses_changed(ours, now)
        if before is None or not (moved or besides):
            return self._told(now)
        self._core.prove_now(now)
        words = f"our addresses are {', '.join(ours) or 'none'}" if moved else besides
        return [_network_changed(words), *self._told(now)]

    def rebound(self, port: int, now: float) -> list[Effect]:
        """Use another UDP port from now on: our candidates are others.  It is an outside event (recovery R12)."""
        self._core.port_changed(port, now)
        return [_network_changed(f"our UDP port is {port}"), *self._told(now)]

    def doubted(self, now: float) -> list[Effect]:
        """Take note that packets are missing on some path: perhaps we look different from outside."""
        self._core.ask_again(now)
        return self._told(now)

    def servers_resolved(self, servers: Iterable[Endpoint], now: float) -> list[Effect]:
        """Take the addresses of the STUN servers."""
        self._core.set_stun_servers(servers, now)
        return self._told(now)

    def receive(self, batches: Iterable[UdpBatch], now: float) -> list[Effect]:
        """Take STUN datagrams that came to our port."""
        for batch in batches:
            for datagram in batch.datagrams:
                self._core.receive(datagram, batch.endpoint, batch.local, now)
        return self._told(now)

    def path_heard(self, peer: PublicKey, remote: Endpoint, now: float) -> None:
        """Take note of an authenticated WireGuard packet of this peer from this endpoint (recovery R13)."""
        self._core.path_heard(peer, remote, now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before the next input, mail included."""
        return self._core.next_timeout()

    def handle_timeout(self, now: float) -> list[Effect]:
        """Do what is due."""
        self._core.handle_timeout(now)
        return self._told(now)

    def datagrams(self) -> list[UdpBatch]:
        """Return what is to be sent, once."""
        return [UdpBatch(to, local, NOT_ECT, [datagram]) for local, to, datagram in self._core.datagrams_to_send()]

    # --- status ---

    def status(self, now: float) -> IceAgentsStatus:
        """Return what the snapshot file says."""
        return IceAgentsStatus(
            agents=tuple(self._status_of(agent) for agent in self._agents.values()),
            servers=server_lines(self._core.servers(now)),
            addresses=() if self._addresses is None else address_lines(self._addresses),
            drops={reason: count for reason, count in (self._core.all_drops() + self._drops).items() if count},
        )

    def _status_of(self, agent: Agent) -> IceStatus:
        status = IceStatus(peer=agent.id.peer, state="checking", since_at=agent.since_at)
        match agent.state:
            case Checking():
                report = self._core.describe(agent.id.peer)
                return msgspec.structs.replace(status, tried=() if report is None else tried_lines(report.pairs))
            case Connected(pair):
                return msgspec.structs.replace(status, state="connected", pair=pair_words(pair))
            case Doubtful(pair, reason):
                return msgspec.structs.replace(status, state="doubtful", pair=pair_words(pair), reason=reason)
            case Ended(reason, tried):
                return msgspec.structs.replace(status, state="ended", reason=reason, tried=tried[:MAX_TRIED])
            case _:
                assert_never(agent.state)

    def _snapshot(self) -> IceAgentsSnapshot:
        return IceAgentsSnapshot(agents=tuple(self._snapshot_of(each) for each in self._core.snapshot()))

    def _snapshot_of(self, known: events.IceSnapshot) -> IceAgentSnapshot:
        snapshot = IceAgentSnapshot(
            peer=known.agent.peer,
            session=known.agent.session,
            remote_session=known.agent.remote_session,
            local=known.local,
            controlling=known.controlling,
            ours=known.ours,
            state="checking",
            rtt_s=known.rtt_s,
        )
        state = self._agents[known.agent.peer].state
        match state:
            case Checking():
                return snapshot
            case Connected(pair) | Doubtful(pair):
                return msgspec.structs.replace(
                    snapshot,
                    state="connected",
                    selected=pair.remote,
                    local_ip=pair.local,
                    remote_kind=pair.kind,
                    doubtful=isinstance(state, Doubtful),
                )
            case Ended(reason):
                return msgspec.structs.replace(snapshot, state="ended", reason=reason)
            case _:
                assert_never(state)

    # --- agents ---

    def _open(self, wanted: OpenIceAgent, now: float) -> list[Effect]:
        agent = AgentId(peer=wanted.peer, session=wanted.session, remote_session=wanted.remote_session)
        known = self._agents.get(wanted.peer)
        if known is None or known.id != agent:
            if (refusal := self._refusal(known)) is not None:
                return [self._refuse(agent, refusal)]
            self._agents[wanted.peer] = Agent(agent, now)
        try:
            self._core.open(agent, wanted.local, wanted.remote, now, controlling=wanted.controlling, ours=wanted.ours)
        except LocalProtocolError as error:  # the control side made the same ufrag twice: it draws another
            del self._agents[wanted.peer]
            return [self._refuse(agent, str(error))]
        return self._told(now)

    def _refusal(self, known: Agent | None) -> str | None:
        if not self._enabled:
            return "[ice] enabled is false"
        return f"more than {MAX_AGENTS} ICE agents" if known is None and len(self._agents) >= MAX_AGENTS else None

    def _refuse(self, agent: AgentId, reason: str) -> Effect:
        return self._worker(agent.peer).send(
            IceAgentEnded(peer=agent.peer, session=agent.session, reason=reason, tried=())
        )

    def _close(self, wanted: CloseIceAgent) -> list[Effect]:
        agent = self._of(wanted.peer, wanted.session)
        if agent is not None:
            del self._agents[wanted.peer]
            self._core.close(agent.id)
        return [self._worker(wanted.peer).send(IceAgentClosed(peer=wanted.peer, session=wanted.session))]

    def _of(self, peer: PublicKey, session: bytes) -> Agent | None:
        """Return the agent of this session of ours; mail of another one is dropped (recovery R7)."""
        agent = self._agents.get(peer)
        if agent is None or agent.id.session != session:
            self._drops["mail_without_agent" if agent is None else "mail_of_other_session"] += 1
            return None
        return agent

    # --- what they tell ---

    def _told(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while (event := self._core.next_event()) is not None:
            match event:
                case events.AgentTold(told_by, told):
                    agent = self._agents.get(told_by.peer)
                    if agent is not None and agent.id == told_by:  # else it was let go meanwhile
                        effects.append(self._tell(agent, told, now))
                case events.MappingChanged(local, before, after):
                    self._core.prove_now(now)
                    effects.append(_network_changed(f"{local} looks like {after} from outside, after {before}"))
                case _:
                    assert_never(event)
        return effects

    def _tell(self, agent: Agent, event: events.IceEvent, now: float) -> Effect:
        """Note what an agent told, and tell its worker."""
        peer, session = agent.id.peer, agent.id.session
        worker = self._worker(peer)
        match event:
            case events.LocalCandidateFound(_, text):
                return worker.send(LocalCandidateFound(peer=peer, session=session, candidate=text))
            case events.PairSelected():
                return self._tell_proven(agent, event, event.reason, now)
            case events.PairProven(_, rtt_s):
                assert isinstance(agent.state, Connected | Doubtful), agent.state
                pair = agent.state.pair
                again = events.PairSelected(pair.local, pair.remote, pair.kind, rtt_s, pair.changed, pair.reason)
                return self._tell_proven(agent, again, "it answers again", now)
            case events.PairDoubtful(remote, since):
                assert isinstance(agent.state, Connected | Doubtful), agent.state
                silent = f"no answer from {remote} for {now - since:.1f} s"
                reason = silent if since < now else f"our address {agent.state.pair.local} is gone"
                agent.state, agent.since_at = Doubtful(agent.state.pair, reason), now
                self._core.ask_again(now)
                return worker.send(IcePairDoubtful(peer=peer, session=session, reason=reason))
            case events.AgentEnded(reason, _, pairs):
                tried = tried_lines(pairs)
                agent.state, agent.since_at = Ended(reason, tried), now
                return worker.send(IceAgentEnded(peer=peer, session=session, reason=reason, tried=tried))
            case _:
                assert_never(event)

    def _tell_proven(self, agent: Agent, pair: events.PairSelected, reason: str, now: float) -> Effect:
        agent.state, agent.since_at = Connected(pair), now
        return self._worker(agent.id.peer).send(
            IcePairProven(
                peer=agent.id.peer,
                session=agent.id.session,
                remote_session=agent.id.remote_session,
                path=DirectPath(ip=pair.remote.ip, port=pair.remote.port, local=pair.local),
                local=pair.local,
                remote_kind=pair.kind,
                rtt_s=pair.rtt_s,
                reason=reason,
            )
        )

    def _worker(self, peer: PublicKey) -> Address[IceWorkerInbox]:
        return peer_addresses(peer, self._controls).ice_worker


def _network_changed(detail: str) -> Effect:
    return PEERS.send(OutsideEvent(kind="network_changed", detail=detail))
