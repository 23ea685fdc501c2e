"""Relay servers, the signal server and the ways between them, as far as the machines can tell."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import msgspec

from actors.effects import Effect
from actors.messages.node import SignalConnected, SignalDisconnected
from config.keys import PublicKey
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    OfferReceived,
    PostCandidate,
    PostDescription,
)
from wg.datagrams import Endpoint

if TYPE_CHECKING:
    from tests.actors.stories.ice_side import IceSide
    from tests.actors.stories.packet_side import FakeRelayLinks, FakeTunnels

LATENCY_S = 0.015  # one way
PORT = 51820
PINGS_S = 3.0  # until a relay client in use knows its link for half-open


class Server:
    """One relay server: who is logged in, over which link."""

    def __init__(self) -> None:
        self.up = True
        self.mute = False  # it takes packets and delivers none
        self.logins: dict[PublicKey, int] = {}


class Network:
    """What lies between the agents."""

    def __init__(
        self,
        rng: Random,
        clock: Callable[[], float],
        call_at: Callable[[float, Callable[[], None]], None],
        relays: tuple[str, ...],
    ) -> None:
        self.rng, self.clock, self.call_at = rng, clock, call_at
        self.servers = {url: Server() for url in relays}
        self.links: dict[PublicKey, FakeRelayLinks] = {}
        self.tunnels: dict[PublicKey, FakeTunnels] = {}
        self.ice: dict[PublicKey, IceSide] = {}
        self.addresses: dict[PublicKey, str] = {}
        self.direct = True  # whether agents reach each other at all without a relay
        self.cut: set[tuple[PublicKey, PublicKey]] = set()  # sender, receiver: no datagrams get through directly
        self.cut_packets: set[tuple[PublicKey, PublicKey]] = set()  # the same, of WireGuard's; STUN passes
        self._perform: dict[PublicKey, Callable[[list[Effect]], None]] = {}
        self._signal: dict[PublicKey, Callable[[msgspec.Struct], None]] = {}
        self.signal_up = True
        self.posts = 0
        self.unreachable: set[tuple[PublicKey, str]] = set()  # agent and relay URL
        self.deaf: set[PublicKey] = set()  # whose links are half-open: what they send and should hear vanishes
        self.foreign: set[PublicKey] = set()  # who do not know our fields and echoes
        self.received: dict[tuple[PublicKey, PublicKey], list[float]] = {}  # receiver, sender -> arrivals of data
        self.loss = 0.0  # of packets

    def soon(self, call: Callable[[], None], trips: int = 1) -> None:
        """Call after so many one-way trips."""
        self.call_at(self.clock() + trips * LATENCY_S, call)

    # --- agents come and go ---

    def attach(
        self,
        key: PublicKey,
        tunnels: "FakeTunnels",
        links: "FakeRelayLinks",
        ice: "IceSide",
        perform: Callable[[list[Effect]], None],
    ) -> None:
        self.tunnels[key], self.links[key], self.ice[key], self._perform[key] = tunnels, links, ice, perform

    def perform(self, key: PublicKey, effects: list[Effect]) -> None:
        if key in self._perform:
            self._perform[key](effects)

    def detach(self, key: PublicKey) -> None:
        """The packet process died: its links end."""
        del self.tunnels[key], self.links[key], self.ice[key], self._perform[key]
        for server in self.servers.values():
            if server.logins.pop(key, None) is not None:
                self._tell_presence(server, key)

    # --- relay ---

    def login(self, url: str, key: PublicKey, link: int) -> bool:
        server = self.servers.get(url)
        if server is None or not server.up or key in self.deaf or (key, url) in self.unreachable:
            return False
        displaced = server.logins.get(key)
        server.logins[key] = link
        if displaced is not None:
            self.soon(lambda: self._displace(key, displaced))
        self._tell_presence(server, key)
        return True

    def undeafen(self) -> None:
        """Have everybody hear again; what TCP still holds for a link that was not given up arrives."""
        keys, self.deaf = self.deaf, set()
        for key in sorted(keys & self.links.keys()):
            self.links[key].hear_again()

    def _displace(self, key: PublicKey, link: int) -> None:
        if key in self.links:
            self.links[key].on_link_lost(link, "displaced by a newer login")

    def logout(self, url: str, key: PublicKey, link: int) -> None:
        server = self.servers[url]
        if server.logins.get(key) == link:
            del server.logins[key]
            self._tell_presence(server, key)

    def online(self, url: str, key: PublicKey) -> bool:
        return self.servers[url].up and key in self.servers[url].logins

    def _tell_presence(self, server: Server, key: PublicKey) -> None:
        url = next(url for url, other in self.servers.items() if other is server)

        def tell() -> None:
            for links in list(self.links.values()):
                links.on_presence(url, key, online=self.online(url, key))

        self.soon(tell)

    def stop_relay(self, url: str) -> None:
        server = self.servers[url]
        server.up, logins, server.logins = False, server.logins, {}
        for key, link in logins.items():
            self.links[key].on_link_lost(link, "connection reset")

    def start_relay(self, url: str) -> None:
        self.servers[url].up = True

    def deafen(self, key: PublicKey) -> None:
        """Have this agent's relay links go half-open; its relay client notices after some pings."""
        self.deaf.add(key)
        links = self.links[key]
        lost = list(links.links)

        def notice() -> None:
            for link in lost:
                if key in self.deaf:
                    links.on_link_lost(link, "two pings unanswered")

        self.call_at(self.clock() + PINGS_S, notice)

    def carry(self, url: str, sender: PublicKey, to: PublicKey, packet: tuple[str, int]) -> None:
        """Take one packet over the relay, if both are there."""
        server = self.servers[url]

        def arrive() -> None:
            link = server.logins.get(to)
            if server.up and not server.mute and link is not None and to in self.tunnels and to not in self.deaf:
                self.tunnels[to].receive(sender, link, packet)

        if sender in server.logins and sender not in self.deaf and self.rng.random() >= self.loss:
            self.soon(arrive, trips=2)

    # --- direct ---

    def at_address(self, ip: str) -> PublicKey | None:
        """Return whose address this is now."""
        return next((key for key, address in self.addresses.items() if address == ip), None)

    def readdress(self, key: PublicKey) -> None:
        """Give this agent another address; what goes to the old one vanishes."""
        network, _, host = self.addresses[key].rpartition(".")
        self.addresses[key] = f"{network}.{int(host) + 100 if int(host) < 100 else int(host) - 100}"

    def _passes(self, sender: PublicKey, receiver: PublicKey) -> bool:
        return self.direct and (sender, receiver) not in self.cut and self.rng.random() >= self.loss

    def send_stun(self, sender: PublicKey, to: Endpoint, datagram: bytes) -> None:
        receiver, source = self.at_address(to.ip), Endpoint(self.addresses[sender], PORT)
        if receiver is None or not self._passes(sender, receiver):
            return

        def arrive() -> None:
            if receiver in self.ice:
                self.ice[receiver].receive(source, datagram)

        self.soon(arrive)

    def carry_directly(self, sender: PublicKey, ip: str, packet: tuple[str, int]) -> None:
        """Take one packet to whoever has this address."""
        receiver, source = self.at_address(ip), self.addresses[sender]
        if receiver is None or (sender, receiver) in self.cut_packets or not self._passes(sender, receiver):
            return

        def arrive() -> None:
            if receiver in self.tunnels:
                self.tunnels[receiver].receive(sender, source, packet)

        self.soon(arrive)

    # --- signal ---

    def watch_signal(self, key: PublicKey, tell: Callable[[msgspec.Struct], None]) -> None:
        self._signal[key] = tell
        if self.signal_up:
            self.call_at(self.clock() + 0.05, lambda: tell(SignalConnected(url="http://signal.test")))

    def stop_signal(self) -> None:
        self.signal_up = False
        for tell in self._signal.values():
            tell(SignalDisconnected(url="http://signal.test", reason="connection reset", retry_s=1.0))

    def start_signal(self) -> None:
        self.signal_up = True
        for tell in self._signal.values():
            tell(SignalConnected(url="http://signal.test"))

    def post(self, sender: PublicKey, post: PostDescription | PostCandidate) -> None:
        self.posts += 1
        if isinstance(post, PostCandidate):
            candidate = CandidateReceived(peer=sender, candidate=post.candidate, nonce=self.rng.randbytes(24))
            self._hand_over(post.peer, candidate)
            return
        received = OfferReceived if post.kind == "offer" else AnswerReceived
        said = post.description
        if sender in self.foreign:
            said = msgspec.structs.replace(said, homing=None)
        message = received(peer=sender, description=said, nonce=self.rng.randbytes(24))
        self._hand_over(post.peer, message)

    def _hand_over(self, to: PublicKey, message: msgspec.Struct) -> None:
        if self.signal_up and to in self._signal:
            self.soon(lambda: self._signal[to](message), trips=2)
