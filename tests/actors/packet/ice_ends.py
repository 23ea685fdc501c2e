"""Two hosts with their ICE_AGENTS in the virtual network, a STUN server, and the control sides played by the test."""

import random
from collections.abc import Iterable
from ipaddress import ip_network
from typing import TypeVar

import msgspec

from actors.addresses import CONTROL_0, PEERS, peer_addresses
from actors.effects import Effect, Send
from actors.messages.node import OutsideEvent
from actors.messages.packet import (
    AddRemoteCandidate,
    IceAgentsInbox,
    IceAgentsSnapshot,
    IcePairProven,
    LocalCandidateFound,
    OpenIceAgent,
)
from actors.messages.status import IceStatus
from actors.packet.ice_agents import IceAgents
from config.keys import PublicKey, Secret, encode_key
from tests.kit.nats import FULL_CONE, Router, Site
from tests.kit.net import HOST_PORT, Host, Network
from transport.ice import agents
from transport.ice.candidates import AddressRules
from transport.ice.events import Outgoing
from transport.ice.interfaces import InterfaceAddress, InterfaceRules
from transport.ice.responder import StunResponder
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import NOT_ECT

M = TypeVar("M", bound=msgspec.Struct)
OWN_NETWORK = ip_network("10.77.0.0/24")


def credentials(ufrag: str) -> IceCredentials:
    return IceCredentials(ufrag=ufrag, pwd=Secret(f"password-of-{ufrag}".ljust(32, "x").encode()))


class StunServer:
    """A host that says how others look."""

    def __init__(self) -> None:
        self._responder, self._outbox = StunResponder(0.0), list[Outgoing]()

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        if (answer := self._responder.respond(datagram, source, now)) is not None:
            self._outbox.append(Outgoing(local, source, answer))

    def handle_timeout(self, now: float) -> None: ...

    def next_timeout(self) -> float | None:
        return None

    def datagrams_to_send(self) -> list[Outgoing]:
        outbox, self._outbox = self._outbox, []
        return outbox


class End:
    """One host: ICE_AGENTS, and the mail that they sent."""

    def __init__(self, net: Network, number: int, site: Site, *, ours: bool = True, enabled: bool = True) -> None:
        self.net, self.ours = net, ours
        self.host: Host = net.add(f"host{number}", site, self)
        self.key = PublicKey(encode_key(bytes([number]) * 32))
        self.session = b"our-%d" % number
        self.local = credentials(f"ufragOfHost{number}")
        rng, rules = random.Random(number), AddressRules()
        self.agents = IceAgents(
            agents.IceAgents(port=HOST_PORT, rules=rules, entropy=rng.randbytes, rng=rng),
            rules,
            InterfaceRules("homing0", rules),
            (CONTROL_0,),
            own_networks=[OWN_NETWORK],
            enabled=enabled,
        )
        self.mail: list[msgspec.Struct] = []
        self.other: End | None = None  # who gets our candidates

    # --- as a node of the network ---

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        self.take(self.agents.receive([UdpBatch(source, local, NOT_ECT, [datagram])], now))

    def handle_timeout(self, now: float) -> None:
        self.take(self.agents.handle_timeout(now))

    def next_timeout(self) -> float | None:
        return self.agents.next_timeout()

    def datagrams_to_send(self) -> list[Outgoing]:
        return [
            Outgoing(batch.local, batch.endpoint, each) for batch in self.agents.datagrams() for each in batch.datagrams
        ]

    # --- as the control side ---

    def tell(self, message: IceAgentsInbox) -> None:
        self.take(self.agents.handle(message, self.net.now))

    def open(self, other: "End") -> None:
        self.other = other
        self.tell(
            OpenIceAgent(
                peer=other.key,
                session=self.session,
                remote_session=other.session,
                local=self.local,
                remote=other.local,
                controlling=self.key > other.key,
                ours=self.ours,
            )
        )

    def reads(self, *addresses: str) -> None:
        """Have the driver read these addresses, on eth0."""
        found = [InterfaceAddress(interface="eth0", index=2, ip=ip, prefix_len=24) for ip in addresses]
        self.take(self.agents.addresses_read(found, self.net.now))

    def take(self, effects: Iterable[Effect]) -> None:
        """Note mail, each checked to go where it belongs, and signal candidates to the other end."""
        for effect in effects:
            assert isinstance(effect, Send)
            message = effect.message
            if isinstance(message, IceAgentsSnapshot | OutsideEvent):
                assert effect.to == PEERS
            else:
                assert effect.to == peer_addresses(message.peer).ice_worker  # type: ignore[attr-defined]
            self.mail.append(message)
            if isinstance(message, LocalCandidateFound) and self.other is not None:
                self._signal(self.other, message)

    def _signal(self, other: "End", found: LocalCandidateFound) -> None:
        # A candidate that is still on its way when the other has another session is for that one, and dropped there.
        heard = AddRemoteCandidate(peer=self.key, session=other.session, candidate=found.candidate)
        self.net.at(self.net.now + 0.05, lambda: other.tell(heard))

    # --- what came of it ---

    def told(self, kind: type[M]) -> list[M]:
        """Return the mail of this type, and forget all mail."""
        mail, self.mail = self.mail, []
        return [message for message in mail if isinstance(message, kind)]

    @property
    def status(self) -> IceStatus:
        (status,) = self.agents.status(self.net.now).agents
        return status


def two_ends(
    alice: Site | None = None, bob: Site | None = None, *, seed: int = 1, ours: bool = True
) -> tuple[Network, End, End]:
    """Return two hosts, each behind a NAT of its own unless told otherwise, that know their addresses."""
    net = Network(seed)
    server = net.add("stun", Site(()), StunServer())
    sites = [site or Site((Router(f"nat{number}", FULL_CONE),)) for number, site in ((1, alice), (2, bob))]
    ends = [End(net, number, site, ours=ours) for number, site in enumerate(sites, start=1)]
    for end in ends:
        end.reads(*end.host.addresses)
        end.take(end.agents.servers_resolved([Endpoint(ip, HOST_PORT) for ip in server.addresses], net.now))
    return net, ends[0], ends[1]


def connected(**how: bool) -> tuple[Network, End, End]:
    """Return two hosts with a direct path, their mail forgotten."""
    net, alice, bob = two_ends(**how)  # type: ignore[arg-type]
    alice.open(bob)
    bob.open(alice)
    assert net.run_until(lambda: all(any_proven(end) for end in (alice, bob)), 10.0)
    net.run_for(1.0)
    for end in (alice, bob):
        end.mail.clear()
    return net, alice, bob


def any_proven(end: End) -> bool:
    return any(isinstance(message, IcePairProven) for message in end.mail)
