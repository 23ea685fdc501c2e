"""Whatever arrives in whatever order: no agent raises, and none grows without bound."""

import random
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from config.keys import PublicKey
from tests.kit.net import HOST_PORT
from tests.transport.ice.ends import credentials
from transport.ice.agents import IceAgents
from transport.ice.candidates import AddressRules, encode_candidate, make_candidate
from transport.ice.events import AgentId, AgentTold, PairDoubtful, PairProven, PairSelected
from transport.ice.pairs import MAX_PAIRS, MAX_REMOTES
from transport.ice.stun import (
    BindingError,
    BindingIndication,
    BindingRequest,
    BindingSuccess,
    CandidateIds,
    Role,
    encode,
)
from wg.datagrams import Endpoint

OWN, REMOTE = credentials("ownUfrag"), credentials("remoteUfrag")
PEER = PublicKey("peer")
PLACES = [Endpoint(f"203.0.113.{number}", 51820 + number % 3) for number in range(6)] + [
    Endpoint("2001:db8::9", 51820),
    Endpoint("fe80::9", 51820, 2),
    Endpoint("224.0.0.1", 1),
]
BASES = ["198.51.100.1", "198.51.100.2", "2001:db8::1"]
SERVER = Endpoint("192.0.2.1", 3478)

places = st.sampled_from(PLACES)
locals_ = st.sampled_from([None, b"", b"\x01\x02\x03\x04", *(ip_address(ip).packed for ip in BASES)])
texts = st.one_of(
    st.text(max_size=200),
    st.builds(
        lambda endpoint, kind, cid, ufrag, related: encode_candidate(
            make_candidate(kind, endpoint, cid=cid, ufrag=ufrag, related=related)
        ),
        places,
        st.sampled_from(["host", "srflx", "prflx", "relay"]),
        st.sampled_from([None, "c" * 32, "candidate:x", "\u00ff", "x" * 256]),
        st.sampled_from([None, REMOTE.ufrag, "else"]),
        st.sampled_from([None, *PLACES]),
    ),
)
ids = st.sampled_from([None, CandidateIds("S" * 32, "D" * 32), CandidateIds("", "")])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    username = draw(st.sampled_from([f"{OWN.ufrag}:{REMOTE.ufrag}", f"{OWN.ufrag}:x", "x:y", "", None]))
    request = BindingRequest(
        transaction=draw(st.binary(min_size=12, max_size=12)),
        username=username,
        role=draw(st.sampled_from(["controlling", "controlled", None])),
        tie_breaker=draw(st.sampled_from([0, 2**63, 2**64 - 1])),
        priority=draw(st.sampled_from([None, 0, 2**32 - 1])),
        use_candidate=draw(st.booleans()),
        ids=draw(ids),
    )
    return encode(request, draw(st.sampled_from([OWN.pwd, REMOTE.pwd, None])))


def mutated(datagram: bytes, at: int, change: int, cut: int) -> bytes:
    changed = bytearray(datagram)
    if changed:
        changed[at % len(changed)] ^= change
    return bytes(changed[: len(changed) - cut])


class Agent(RuleBasedStateMachine):
    """One agent, its remote gone mad."""

    @initialize(seed=st.integers(0, 9), controlling=st.booleans(), ours=st.booleans(), known=st.booleans())
    def begin(self, seed: int, controlling: bool, ours: bool, known: bool) -> None:
        rng = random.Random(seed)
        self.now, self.session = 1000.0, 0
        self.controlling, self.ours = controlling, ours
        self.agents = IceAgents(port=HOST_PORT, rules=AddressRules(), entropy=rng.randbytes, rng=rng)
        self.requests: list[tuple[Endpoint, bytes]] = []
        self.selected = False
        self.open(known, False)
        self.addresses(BASES, [])

    @property
    def id(self) -> AgentId:
        return AgentId(peer=PEER, session=self.session.to_bytes(5), remote_session=None)

    @rule(known=st.booleans(), another=st.booleans())
    def open(self, known: bool, another: bool) -> None:
        if another:
            self.session, self.selected = self.session + 1, False
        remote = REMOTE if known else None
        self.agents.open(self.id, OWN, remote, self.now, controlling=self.controlling, ours=self.ours)
        self.take()

    @rule(text=texts)
    def candidate(self, text: str) -> None:
        self.agents.add_remote_candidate(self.id, text, self.now)
        self.take()

    @rule(bases=st.lists(st.sampled_from(BASES)), servers=st.sampled_from([[], [SERVER], [SERVER] * 9 + PLACES]))
    def addresses(self, bases: list[str], servers: list[Endpoint]) -> None:
        self.agents.local_addresses_changed(bases, self.now)
        self.agents.set_stun_servers(servers, self.now)
        self.take()

    @rule(datagram=requests(), source=places, local=locals_)
    def request(self, datagram: bytes, source: Endpoint, local: bytes | None) -> None:
        self.receive(datagram, source, local)

    @rule(datagram=st.one_of(st.binary(max_size=80), requests()), source=places, at=st.integers(0, 200),
          change=st.integers(0, 255), cut=st.integers(0, 30))  # fmt: skip
    def nonsense(self, datagram: bytes, source: Endpoint, at: int, change: int, cut: int) -> None:
        self.receive(mutated(datagram, at, change, cut), source, None)

    @rule(pick=st.integers(0), fate=st.sampled_from(["success", "success", "error", "indication"]), source=places,
          from_there=st.booleans(), signed=st.booleans(), code=st.sampled_from([400, 487]), tag=ids)  # fmt: skip
    def answer(self, *, pick: int, fate: str, source: Endpoint, from_there: bool, signed: bool, code: int,
               tag: CandidateIds | None) -> None:  # fmt: skip
        if not self.requests:
            return
        destination, request = self.requests[pick % len(self.requests)]
        transaction = request[8:20]
        answer: BindingSuccess | BindingError | BindingIndication = BindingIndication(transaction=transaction)
        if fate == "success":
            answer = BindingSuccess(transaction=transaction, mapped=source, ids=tag)
        elif fate == "error":
            answer = BindingError(transaction=transaction, code=code)
        self.receive(encode(answer, REMOTE.pwd if signed else None), destination if from_there else source, None)

    @rule(source=places, rounds=st.integers(1, 8), local=locals_)
    def behave(self, source: Endpoint, rounds: int, local: bytes | None) -> None:
        """For a while the remote does as it should."""
        for number in range(rounds):
            self.open(True, False)
            role: Role = "controlled" if self.controlling else "controlling"
            request = BindingRequest(
                transaction=number.to_bytes(12),
                username=f"{OWN.ufrag}:{REMOTE.ufrag}",
                role=role,
                use_candidate=not self.controlling,
            )
            self.receive(encode(request, OWN.pwd), source, local)
            self.time(0.1)
            asked, self.requests = self.requests, []
            for place, datagram in asked:
                self.receive(encode(BindingSuccess(transaction=datagram[8:20], mapped=source), REMOTE.pwd), place, None)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.2, 1.0, 5.0, 3600.0]))
    def time(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(200):
            at = self.agents.next_timeout()
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.agents.handle_timeout(self.now)
            self.take()
        self.now = end

    @rule(in_use=st.booleans(), heard=places)
    def use(self, in_use: bool, heard: Endpoint) -> None:
        self.agents.set_in_use(PEER, in_use, self.now)
        self.agents.path_heard(PEER, heard, self.now)
        self.agents.prove_now(self.now)
        self.take()

    @rule()
    def close(self) -> None:
        self.agents.close(self.id)
        self.selected = False
        self.take()

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None) -> None:
        self.agents.receive(datagram, source, local, self.now)
        self.take()

    def take(self) -> None:
        for out in self.agents.datagrams_to_send():
            assert len(out.datagram) <= 1280
            if out.datagram[:2] == b"\x00\x01":
                self.requests.append((out.destination, out.datagram))
        del self.requests[:-50]
        while (told := self.agents.next_event()) is not None:
            if isinstance(told, AgentTold) and isinstance(told.event, PairSelected):
                assert told.event.changed == self.selected
                self.selected = True
            elif isinstance(told, AgentTold) and isinstance(told.event, PairDoubtful | PairProven):
                assert self.selected

    @invariant()
    def bounded_and_consistent(self) -> None:
        report = self.agents.describe(PEER)
        self.agents.snapshot()
        if report is not None:
            assert len(report.pairs) <= MAX_PAIRS
            assert len(report.remote_candidates) <= MAX_REMOTES
            assert (report.selected is None) or report.state == "connected"
            assert (report.reason != "") == (report.state == "ended")
            assert report.state != "ended" or report.selected is None


TestAgent = Agent.TestCase
TestAgent.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(texts, max_size=60))
@settings(max_examples=50, deadline=None)
def test_candidate_texts(candidates: list[str]) -> None:
    agent = Agent()
    agent.begin(seed=1, controlling=True, ours=True, known=True)
    agent.addresses(BASES, [])
    for text in candidates:
        agent.candidate(text)
    agent.time(1.0)
    agent.bounded_and_consistent()
