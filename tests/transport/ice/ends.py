"""Two hosts with their ICE agents in the virtual network, STUN servers, and a signal server between the two."""

import random
from collections.abc import Iterable

from config.keys import PublicKey, Secret
from tests.kit.nats import PORT_RESTRICTED_CONE, Nat, Router
from tests.kit.net import HOST_PORT, Conditions, Host, Network, Site
from transport.ice.agents import IceAgents
from transport.ice.candidates import AddressRules, Candidate, encode_candidate
from transport.ice.events import (
    AgentEnded,
    AgentId,
    IceEvent,
    IceReport,
    LocalCandidateFound,
    MappingChanged,
    Outgoing,
    PairSelected,
)
from transport.ice.responder import StunResponder
from transport.signal.messages import IceCredentials, SessionId
from wg.datagrams import Endpoint

NAMES = ("alice", "bob")
OTHER = {"alice": "bob", "bob": "alice"}
SIGNAL_DELAY_S = 0.03
BOTH = Site(v4=True, v6=True)
PUBLIC = Site()


def credentials(ufrag: str, pwd: str | None = None) -> IceCredentials:
    return IceCredentials(ufrag=ufrag, pwd=Secret((pwd or f"password-of-{ufrag}".ljust(32, "x")).encode()))


class StunServer:
    """A server as hosts reach it."""

    def __init__(self) -> None:
        self.responder = StunResponder(0.0)
        self.silent = False
        self.lie: Endpoint | None = None  # what it says instead of the truth
        self.lies: list[Endpoint] = []  # the same, once each
        self._outbox: list[Outgoing] = []

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        said = self.lies.pop(0) if self.lies else self.lie or source
        answer = None if self.silent else self.responder.respond(datagram, said, now)
        if answer is not None:
            self._outbox.append(Outgoing(local, source, answer))

    def handle_timeout(self, now: float) -> None: ...

    def next_timeout(self) -> float | None:
        return None

    def datagrams_to_send(self) -> list[Outgoing]:
        outbox, self._outbox = self._outbox, []
        return outbox


class End:
    """One host's agents, and what they told."""

    def __init__(self, name: str, host: Host, net: Network) -> None:
        rng = random.Random(f"{net.rng.random()} {name}")
        self.name, self.host, self.net = name, host, net
        self.agents = IceAgents(port=HOST_PORT, rules=AddressRules(), entropy=rng.randbytes, rng=rng)
        self.local = credentials(f"{name}Ufrag")
        self.session, self.remote_session = name.encode()[:3] + b"01", b"?????"
        self.told: list[tuple[float, IceEvent]] = []
        self.mappings: list[MappingChanged] = []
        host.node = self.agents

    @property
    def id(self) -> AgentId:
        return AgentId(peer=PublicKey(OTHER[self.name]), session=self.session, remote_session=self.remote_session)

    @property
    def report(self) -> IceReport:
        report = self.agents.describe(self.id.peer)
        assert report is not None, "there is no agent"
        return report

    @property
    def endpoint(self) -> Endpoint | None:
        """Where its packets to the other go; None: there is no direct path."""
        return None if self.report.selected is None else self.report.selected.remote

    def all(self, kind: type[IceEvent]) -> list[tuple[float, IceEvent]]:
        """Return the events of this kind, with their times."""
        return [(at, event) for at, event in self.told if isinstance(event, kind)]


class Ends:
    """Alice and Bob.  Alice controls, unless told otherwise."""

    def __init__(
        self,
        alice: Site,
        bob: Site,
        *,
        seed: int = 1,
        conditions: Conditions | None = None,
        ours: bool = True,
        servers: int = 2,
        controlling: Iterable[str] = ("alice",),
    ) -> None:
        self.net = Network(seed, conditions=conditions)
        self.ours, self.controlling = ours, frozenset(controlling)
        self.servers = [StunServer() for _ in range(servers)]
        hosts = [self.net.add(f"stun{number}", BOTH, server) for number, server in enumerate(self.servers)]
        self.stun = [Endpoint(address, HOST_PORT) for host in hosts for address in host.addresses]
        self.alice, self.bob = (
            End(name, self.net.add(name, site), self.net) for name, site in zip(NAMES, (alice, bob), strict=True)
        )
        self.ends = {end.name: end for end in (self.alice, self.bob)}
        self.mute: set[str] = set()  # whose candidates the signal server loses
        self.opened_at = self.net.now
        for end in self.ends.values():
            end.agents.local_addresses_changed(end.host.addresses, self.net.now)
            end.agents.set_stun_servers(self.stun, self.net.now)

    def open(self, *names: str) -> None:
        """Start the agents: both, or those of these names."""
        self.opened_at = self.net.now
        for name in names or NAMES:
            end, other = self.ends[name], self.ends[OTHER[name]]
            end.remote_session = other.session
            end.agents.open(
                end.id, end.local, other.local, self.net.now, controlling=name in self.controlling, ours=self.ours
            )

    def rotate(self, name: str) -> None:
        """Give one end a new session, as after a distress of its own; the other hears of it as its new remote."""
        end = self.ends[name]
        number = int(end.session[3:]) + 1
        end.session = end.session[:3] + f"{number:02}".encode()
        end.local = credentials(f"{name}Ufrag{number}")

    def say_again(self, end: End, candidate: Candidate) -> None:
        """Signal a candidate once more."""
        self._signal(end, end.session, encode_candidate(candidate))

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.net.run_until(self._carry_signals, seconds)

    def run_until_settled(self, limit_s: float = 20.0) -> None:
        """Run until both ends have a pair, or none and have given up."""
        self.net.run_until(lambda: self._carry_signals() or self._settled(), limit_s)

    @property
    def path(self) -> str:
        """Which path both have."""
        return "direct" if all(end.endpoint is not None for end in self.ends.values()) else "relayed"

    def use(self, in_use: bool = True) -> None:
        """Have traffic on the direct path, or none."""
        for end in self.ends.values():
            end.agents.set_in_use(end.id.peer, in_use, self.net.now)

    def _settled(self) -> bool:
        return all(
            any(isinstance(event, PairSelected | AgentEnded) and at >= self.opened_at for at, event in end.told)
            for end in self.ends.values()
        )

    def _carry_signals(self) -> bool:
        for end in self.ends.values():
            while (told := end.agents.next_event()) is not None:
                if isinstance(told, MappingChanged):
                    end.mappings.append(told)
                elif isinstance(told.event, LocalCandidateFound) and end.name not in self.mute:
                    self._signal(end, told.agent.session, told.event.text)
                elif told.agent == end.id:
                    end.told.append((self.net.now, told.event))
        return False

    def _signal(self, sender: End, session: SessionId, text: str) -> None:
        end = self.ends[OTHER[sender.name]]

        def arrive() -> None:
            if end.remote_session == session:  # as the worker of this peer checks
                end.agents.add_remote_candidate(end.id, text, self.net.now)

        self.net.at(self.net.now + SIGNAL_DELAY_S, arrive)


def home(name: str, nat: Nat = PORT_RESTRICTED_CONE) -> Site:
    return Site((Router(name, nat),))


def connected(
    a: Site = PUBLIC, b: Site = PUBLIC, *, ours: bool = True, seed: int = 1, wires: Conditions | None = None
) -> Ends:
    ends = Ends(a, b, ours=ours, seed=seed, conditions=wires)
    ends.run_for(0.5)
    ends.open()
    ends.run_until_settled()
    ends.run_for(1.5)  # the last nomination is over
    assert ends.path == "direct"
    return ends
