"""All ICE agents of a node, on its one socket per address family (signal spec 5.9).

    request  --USERNAME: its ufrag--> agent --> checks its signature, answers
    answer   --transaction id-------> agent, or the gatherer if a STUN server sent it
    anything else: dropped and counted before it costs anything

A request that names an agent but comes from an unknown place is only looked at while its source, and all sources
together, have not sent too many that were badly signed.  Indications say nothing that is signed, so they are dropped.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import count
from math import inf
from typing import Final

from config.keys import PublicKey
from transport.errors import LocalProtocolError
from transport.ice.agent import IceAgent
from transport.ice.candidates import AddressRules
from transport.ice.events import AgentId, AgentTold, IceReport, IceSnapshot, NodeEvent, Outgoing
from transport.ice.gathering import Gatherer, ServerReport
from transport.ice.pacer import TURN_S, Pacer
from transport.ice.pairs import Base
from transport.ice.states import Connected
from transport.ice.strangers import Strangers
from transport.ice.stun import HEADER_LEN, peek
from transport.ice.timing import FOREIGN, OURS, Timing
from transport.ice.transactions import Transactions
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint

MAX_OUTBOX: Final = 8192  # datagrams that the driver has not taken yet
MAX_EVENTS: Final = 8192
PROVEN_PER_S: Final = 1000.0  # pairs, after an outside event: more at once would lose checks, and so make doubt

_REQUEST_HEAD: Final = b"\x00\x01"


@dataclass(slots=True, eq=False)
class _Held:
    """An agent and what it was opened with."""

    id: AgentId
    agent: IceAgent
    local: IceCredentials
    remote: IceCredentials | None
    ours: bool
    in_use: bool = False  # the direct path carries traffic
    wake_at: float = inf  # as it stands in the heap


class IceAgents:
    """Runs the agents of all peers, sans-IO: after every call take `datagrams_to_send` and `next_event`."""

    def __init__(
        self,
        *,
        port: int,
        rules: AddressRules,
        entropy: Callable[[int], bytes],
        rng: random.Random,
        turn_s: float = TURN_S,
        timing_ours: Timing = OURS,
        timing_foreign: Timing = FOREIGN,
    ) -> None:
        """`port` is our UDP port, in both families; `turn_s` the least time between ordinary checks of all agents."""
        self.drops: Counter[str] = Counter()
        """Datagrams and mail that no agent took, by reason; an agent counts its own."""
        self._past_drops: Counter[str] = Counter()  # of agents that were let go
        self._port, self._rules, self._entropy, self._rng = port, rules, entropy, rng
        phase_s = rng.uniform(0.0, timing_ours.beat_s)
        timings = {True: timing_ours, False: timing_foreign}
        self._timings = {ours: replace(timing, beat_phase_s=phase_s) for ours, timing in timings.items()}
        self._pacer = Pacer(turn_s)
        self._strangers = Strangers()
        self._gatherer = Gatherer(rules, entropy, rng, self.drops)
        self._transactions: Transactions[_Held] = Transactions()
        self._held: dict[PublicKey, _Held] = {}
        self._by_ufrag: dict[str, _Held] = {}
        self._bases: list[Base] = []
        self._servers: tuple[Endpoint, ...] = ()
        self._heap: list[tuple[float, int, _Held]] = []
        self._serial = count()
        self._outbox: list[Outgoing] = []
        self._events: deque[NodeEvent] = deque()

    # --- mail ---

    def open(
        self,
        agent: AgentId,
        local: IceCredentials,
        remote: IceCredentials | None,
        now: float,
        *,
        controlling: bool,
        ours: bool,
    ) -> None:
        """Start the agent of this session in place of the peer's former one.  The same again changes nothing."""
        held = self._held.get(agent.peer)
        if held is not None and held.id == agent:
            if remote is not None and held.remote is None:
                held.remote = remote
                held.agent.add_remote(remote, now)
                self._settle(held, now)
            return
        if held is not None:
            self._let_go(held)
        if local.ufrag in self._by_ufrag:
            raise LocalProtocolError(f"two peers with the ufrag {local.ufrag!a}; a random one for each would do")
        made = IceAgent(
            local,
            controlling=controlling,
            timing=self._timings[ours],
            rules=self._rules,
            pacer=self._pacer,
            entropy=self._entropy,
            rng=self._rng,
        )
        held = self._held[agent.peer] = self._by_ufrag[local.ufrag] = _Held(agent, made, local, remote, ours)
        made.local_addresses_changed(self._bases, self._gatherer.mapped(), now)
        if remote is not None:
            made.add_remote(remote, now)
        self._settle(held, now)

    def close(self, agent: AgentId) -> None:
        """Let go of this agent; one of another session stays."""
        held = self._of(agent)
        if held is not None:
            self._let_go(held)

    def add_remote_candidate(self, agent: AgentId, text: str, now: float) -> None:
        """Take a candidate of the remote's, as it was signalled."""
        held = self._of(agent)
        if held is not None:
            held.agent.add_remote_candidate(text, now)
            self._settle(held, now)

    def local_addresses_changed(self, addresses: Iterable[str], now: float) -> None:
        """Use these addresses of ours (literals of the allowed interfaces) from now on."""
        usable = dict.fromkeys(str(ip_address(ip)) for ip in addresses if self._rules.refusal(ip) is None)
        self._use([Base(ip, self._port, ip_address(ip).packed) for ip in usable], now)

    def port_changed(self, port: int, now: float) -> None:
        """Use this UDP port of ours from now on; every selected pair is checked."""
        self._port = port
        self._use([base._replace(port=port) for base in self._bases], now)
        self.prove_now(now)

    def _use(self, bases: list[Base], now: float) -> None:
        if bases == self._bases:
            return
        self._bases = bases
        self._gatherer.configure(bases, self._servers, now)
        self._gatherer.ask_now(now)
        self._tell_addresses(now)
        self._settle_gatherer(now)

    def set_stun_servers(self, servers: Iterable[Endpoint], now: float) -> None:
        """Ask these STUN servers how we look from outside."""
        self._servers = tuple(servers)
        self._gatherer.configure(self._bases, self._servers, now)
        self._settle_gatherer(now)

    def set_in_use(self, peer: PublicKey, in_use: bool, now: float) -> None:
        """Take note whether the direct path to this peer carries traffic."""
        held = self._held.get(peer)
        if held is not None:
            held.in_use = in_use
            held.agent.set_in_use(in_use, now)
            self._settle(held, now)

    def path_heard(self, peer: PublicKey, remote: Endpoint, now: float) -> None:
        """Take note of an authenticated WireGuard packet of this peer from this endpoint (recovery R13)."""
        held = self._held.get(peer)
        if held is not None:
            held.agent.path_heard(remote, now)  # moves no timer

    def ask_again(self, now: float) -> None:
        """Ask the STUN servers soon: packets are missing somewhere, so perhaps our mapping is another."""
        self._gatherer.doubt(now)
        self._settle_gatherer(now)

    def prove_now(self, now: float) -> None:
        """Check what is selected or sought, and ask the STUN servers: something changed outside (recovery R12).

        Pairs that carry traffic are first; many are checked one after the other.
        """
        self._gatherer.ask_now(now)
        self._settle_gatherer(now)
        for index, held in enumerate(sorted(self._held.values(), key=lambda held: not held.in_use)):
            held.agent.prove_at(now + index / PROVEN_PER_S)
            self._settle(held, now)

    # --- datagrams and time ---

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        """Take a datagram that is STUN (stun.is_stun) and came to our address `local`."""
        seen = peek(datagram)
        held = None
        if seen is None:
            self.drops["not_binding"] += 1
        elif seen.kind == "request":
            held = self._by_ufrag.get(seen.ufrag)
            if held is None:
                self.drops["unknown_ufrag"] += 1
            elif not held.agent.knows(source) and not self._strangers.admits(source.ip, now):
                self.drops["too_many_badly_signed"] += 1
                return
        elif seen.kind == "indication":
            self.drops["indication"] += 1
        else:
            held = self._transactions.find(seen.transaction)
            if held is None:
                reason = self._gatherer.receive(datagram, seen.transaction, source, now)
                if reason is not None:
                    self.drops[reason] += 1
                self._settle_gatherer(now)
        if held is None:
            return
        reason = held.agent.receive(datagram, source, local, now, seen=seen)
        if reason == "integrity":
            self._strangers.blame(source.ip, now)
        self._settle(held, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        if now >= self._gatherer.next_timeout():
            self._gatherer.handle_timeout(now)
            self._settle_gatherer(now)
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, held = heapq.heappop(self._heap)
            if at == held.wake_at:
                held.wake_at = inf
                due.append(held)
        for held in due:  # once each: what is due again at once waits for the next call
            held.agent.handle_timeout(now)
            self._settle(held, now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called next; None: never."""
        while self._heap and self._heap[0][0] != self._heap[0][2].wake_at:
            heapq.heappop(self._heap)
        at = min(self._gatherer.next_timeout(), self._heap[0][0] if self._heap else inf)
        return None if at == inf else at

    def datagrams_to_send(self) -> list[Outgoing]:
        """Return what to send now, and forget it."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> NodeEvent | None:
        """Return the oldest event, or None."""
        return self._events.popleft() if self._events else None

    # --- what they are ---

    def __len__(self) -> int:
        return len(self._held)

    def describe(self, peer: PublicKey) -> IceReport | None:
        """Return what the agent of this peer is and what it tried; None: there is none."""
        held = self._held.get(peer)
        return None if held is None else held.agent.describe()

    def all_drops(self) -> Counter[str]:
        """Return what was not taken, by reason: by no agent, and by each, also those that were let go."""
        found = self.drops + self._past_drops
        for held in self._held.values():
            found.update(held.agent.drops)
        return found

    def servers(self, now: float) -> tuple[ServerReport, ...]:
        """Return what each STUN server says of each of our addresses."""
        return self._gatherer.describe(now)

    def snapshot(self) -> tuple[IceSnapshot, ...]:
        """Return what a control process that starts anew must know."""
        return tuple(self._snapshot(held) for held in self._held.values())

    def _snapshot(self, held: _Held) -> IceSnapshot:
        state = held.agent.state
        connected = state if isinstance(state, Connected) else None
        report = held.agent.describe()
        return IceSnapshot(
            agent=held.id,
            local=held.local,
            remote=held.remote,
            controlling=report.controlling,
            ours=held.ours,
            state=report.state,
            reason=report.reason,
            endpoint=None if connected is None else connected.pair.remote.endpoint,
            rtt_s=None if connected is None else connected.consent.rtt_s,
        )

    # --- helpers ---

    def _of(self, agent: AgentId) -> _Held | None:
        """Return the agent of this session; mail of another one is dropped (recovery R7)."""
        held = self._held.get(agent.peer)
        if held is None or held.id != agent:
            self.drops["no_agent" if held is None else "other_session"] += 1
            return None
        return held

    def _let_go(self, held: _Held) -> None:
        del self._held[held.id.peer], self._by_ufrag[held.local.ufrag]
        held.wake_at = inf
        self._past_drops.update(held.agent.drops)
        self._transactions.forget(held)

    def _tell_addresses(self, now: float) -> None:
        mapped = self._gatherer.mapped()
        for held in self._held.values():
            held.agent.local_addresses_changed(self._bases, mapped, now)
            self._settle(held, now)

    def _settle_gatherer(self, now: float) -> None:
        gatherer = self._gatherer
        if now >= gatherer.next_timeout():
            gatherer.handle_timeout(now)
        outbox, gatherer.outbox = gatherer.outbox, []
        news, gatherer.news = gatherer.news, []
        self._outbox += outbox
        self._tell(*news)
        if gatherer.changed:
            gatherer.changed = False
            self._tell_addresses(now)

    def _settle(self, held: _Held, now: float) -> None:
        """Do what an agent wants done, after any input."""
        agent = held.agent
        for outgoing in agent.datagrams_to_send():
            if outgoing.datagram[:2] == _REQUEST_HEAD:
                self._transactions.add(outgoing.datagram[8:HEADER_LEN], held, now)
            if len(self._outbox) < MAX_OUTBOX:
                self._outbox.append(outgoing)
            else:
                self.drops["outbox_full"] += 1
        while (event := agent.next_event()) is not None:
            self._tell(AgentTold(held.id, event))
        at = agent.next_timeout()
        if at is not None and at != held.wake_at:
            held.wake_at = at
            heapq.heappush(self._heap, (at, next(self._serial), held))
        elif at is None:
            held.wake_at = inf

    def _tell(self, *events: NodeEvent) -> None:
        for event in events:
            if len(self._events) < MAX_EVENTS:
                self._events.append(event)
            else:
                self.drops["events"] += 1
