"""Two hosts' packet sides on real sockets of this machine: STUN and WireGuard share them."""

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import pytest

from actors.addresses import CONTROL_0
from actors.effects import Effect, Send
from actors.messages.node import OutsideEvent
from actors.messages.packet import (
    AddRemoteCandidate,
    ConfigurePeer,
    IceAgentsInbox,
    IcePairProven,
    LocalCandidateFound,
    OpenIceAgent,
    ProveIceNow,
    SetPath,
    TunnelsInbox,
)
from actors.packet.ice_agents import IceAgents
from actors.packet.tunnels import Tunnels
from actors.runtime import clock, ice_driver
from actors.runtime.carrier import Carrier
from actors.runtime.ice_driver import IceDriver
from config.keypairs import derive_public_key
from config.keys import Secret
from tests.actors.packet.ice_ends import credentials
from tests.actors.runtime.test_packet_process import arrived, packet, run_until
from transport.drivers.interfaces import AddressWatch
from transport.drivers.stun_server import StunService
from transport.ice import agents
from transport.ice.candidates import AddressRules
from transport.ice.interfaces import HostNetwork, InterfaceAddress, InterfaceRules, Route
from transport.ice.stun import BindingRequest, decode, encode
from wg.datagrams import Endpoint
from wg.drivers.tun import TunDriver
from wg.drivers.udp import UdpDriver, open_udp
from wg.packet_path import PacketPath

pytestmark = pytest.mark.process

LOOPBACK = InterfaceAddress(interface="lo", index=1, ip="127.0.0.1", prefix_len=8)
OTHER = InterfaceAddress(interface="lo", index=1, ip="127.0.0.2", prefix_len=8)


class NoLinks:
    """Relay links that nothing is sent on."""

    def send(self, batch: Any, now: float) -> None:
        raise AssertionError(batch)


class Watch:
    """A kernel that tells of changes when the test says so."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self.fd = self._here.fileno()
        self.losers: set[tuple[int, str]] = set()

    def tell(self) -> None:
        self._there.send(b"something changed")

    def news(self) -> set[tuple[int, str]]:
        self._here.recv(1024)
        losers, self.losers = self.losers, set()
        return losers

    def close(self) -> None:
        self._here.close()
        self._there.close()


class End:
    """One host: carrier and ICE driver on the same UDP sockets; its addresses are what the test says."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, address: str, servers: list[tuple[str, int]], *, told: bool
    ) -> None:
        self.address, self.session, self.local = (
            address,
            name.encode()[:5].ljust(5, b"-"),
            credentials(f"ufragOf{name}"),
        )
        private = Secret(secrets.token_bytes(32))
        self.key = derive_public_key(private)
        ticks = iter(range(1, 1 << 30))
        path = PacketPath(
            private.value,
            mtu=1280,
            timestamp=lambda: (1 << 62).to_bytes(8, "big") + next(ticks).to_bytes(4, "big"),
            entropy=os.urandom,
            rng=random.Random(1),
        )
        self.tunnels = Tunnels(path, (CONTROL_0,))
        self.host, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.host.setblocking(False)
        self.sockets = open_udp(0)
        self.port = self.sockets[0].getsockname()[1]
        self.mail: list[Any] = []
        self.carrier = Carrier(
            loop,
            self.tunnels,
            TunDriver(self._device.fileno()),
            [UdpDriver(each) for each in self.sockets],
            deliver=self._deliver,
            gone=self.mail.append,
            clock=clock.now,
        )
        rules = AddressRules(loopback=True)
        self.agents = IceAgents(
            agents.IceAgents(port=self.port, rules=rules, entropy=os.urandom, rng=random.Random(2)),
            rules,
            InterfaceRules("homing0", rules, ["lo"]),
            (CONTROL_0,),
        )
        self.addresses, self.routes = [LOOPBACK], list[Route]()
        self.reads, self.watch = 0, Watch() if told else None
        self.ice = IceDriver(
            loop,
            self.agents,
            servers=servers,
            send=self.carrier.send_udp,
            deliver=self._deliver,
            clock=clock.now,
            read=self._read,
            watch=self._make_watch,
        )
        self.carrier.open(NoLinks(), self.ice)
        self.ice.open()
        self.other: End | None = None

    def _read(self) -> HostNetwork:
        self.reads += 1
        return HostNetwork(self.addresses, self.routes)

    def _make_watch(self) -> AddressWatch:
        if self.watch is None:
            raise PermissionError("no netlink here")
        return cast(AddressWatch, self.watch)

    def _deliver(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Send)
            self.mail.append(effect.message)
            if isinstance(effect.message, LocalCandidateFound) and self.other is not None:
                found = AddRemoteCandidate(
                    peer=self.key, session=self.other.session, candidate=effect.message.candidate
                )
                self.other.tell_agents(found)

    def told(self, kind: type) -> list[Any]:
        return [message for message in self.mail if isinstance(message, kind)]

    def tell(self, message: TunnelsInbox) -> None:
        self._deliver(self.tunnels.handle(message, clock.now()))
        self.carrier.settle_soon()

    def tell_agents(self, message: IceAgentsInbox) -> None:
        self._deliver(self.agents.handle(message, clock.now()))
        self.ice.settle_soon()

    def opens(self, other: "End") -> None:
        self.other = other
        self.tell(ConfigurePeer(peer=other.key, allowed_ips=(f"{other.address}/32",), persistent_keepalive_s=0))
        self.tell_agents(
            OpenIceAgent(
                peer=other.key,
                session=self.session,
                remote_session=other.session,
                local=self.local,
                remote=other.local,
                controlling=self.key > other.key,
                ours=True,
            )
        )

    def close(self) -> None:
        self.carrier.close()
        self.ice.close()
        for each in (self.host, self._device, *self.sockets):
            each.close()


@contextmanager
def two_ends(
    *, servers: list[tuple[str, int]] | None = None, told: bool = True
) -> Iterator[tuple[asyncio.AbstractEventLoop, End, End]]:
    loop = asyncio.new_event_loop()
    alice = End(loop, "Alice", "10.77.0.1", servers or [], told=told)
    bob = End(loop, "Bob", "10.77.0.2", servers or [], told=told)
    try:
        yield loop, alice, bob
    finally:
        alice.close()
        bob.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def both_proven(alice: End, bob: End) -> Callable[[], bool]:
    return lambda: bool(alice.told(IcePairProven)) and bool(bob.told(IcePairProven))


def test_a_proven_pair_carries_wireguard_on_the_same_sockets() -> None:
    with two_ends() as (loop, alice, bob):
        alice.opens(bob)
        bob.opens(alice)
        run_until(loop, both_proven(alice, bob))
        for end, other in ((alice, bob), (bob, alice)):
            proven = end.told(IcePairProven)[-1]
            assert (proven.path.ip, proven.path.port, proven.path.local) == ("127.0.0.1", other.port, "127.0.0.1")
            end.tell(SetPath(peer=other.key, path=proven.path, handshake_after_s=0.0))
        sent = [packet(alice.address, bob.address, b"%d" % number) for number in range(100)]
        for each in sent:
            alice.host.send(each)
        at_bob: list[bytes] = []
        run_until(loop, lambda: len(arrived(bob, at_bob)) == len(sent))
        assert at_bob == sent


def test_packets_on_the_path_are_told_to_its_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_ends() as (loop, alice, bob):
        alice.opens(bob)
        bob.opens(alice)
        run_until(loop, both_proven(alice, bob))
        heard: list[tuple[str, object]] = []
        monkeypatch.setattr(bob.ice, "path_heard", lambda peer, endpoint: heard.append((peer, endpoint)))
        alice.tell(SetPath(peer=bob.key, path=alice.told(IcePairProven)[-1].path, handshake_after_s=0.0))
        alice.host.send(packet(alice.address, bob.address, b"anything"))
        run_until(loop, lambda: bool(heard))
        assert heard[0] == (alice.key, ("127.0.0.1", alice.port, 0))


def test_a_stun_server_tells_how_we_look() -> None:
    with two_ends() as (loop, alice, _bob):
        service = StunService()
        port = loop.run_until_complete(service.listen(0))
        alice.ice = IceDriver(  # the same agents, with a server by name
            loop,
            alice.agents,
            servers=[("localhost", port)],
            send=alice.carrier.send_udp,
            deliver=alice._deliver,
            clock=clock.now,
            read=alice._read,
            watch=Watch,  # type: ignore[arg-type]
        )
        alice.carrier._direct = alice.ice
        alice.ice.open()

        def answered() -> bool:
            lines = alice.agents.status(clock.now()).servers
            return any(f"we look like 127.0.0.1:{alice.port}" in line for line in lines)

        run_until(loop, answered)

        async def close() -> None:
            service.close()

        loop.run_until_complete(close())


def test_a_flood_of_stun_from_strangers_costs_no_mail() -> None:
    with two_ends() as (loop, alice, _bob):
        alice.mail.clear()
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(1000):
            request = encode(BindingRequest(transaction=number.to_bytes(12, "big")), fingerprint=False)
            stranger.sendto(request, ("127.0.0.1", alice.port))
        run_until(loop, lambda: alice.agents.status(clock.now()).drops.get("unknown_ufrag") == 1000)
        assert alice.mail == []
        stranger.close()


def test_addresses_are_read_when_the_kernel_tells_and_once_for_many_changes() -> None:
    with two_ends() as (loop, alice, _bob):
        assert alice.reads == 1
        alice.addresses = [LOOPBACK, OTHER]
        for _ in range(5):
            assert alice.watch is not None
            alice.watch.tell()
            loop.run_until_complete(asyncio.sleep(0.01))
        run_until(loop, lambda: bool(alice.told(OutsideEvent)))
        assert (alice.reads, alice.told(OutsideEvent)[0].detail) == (2, "our addresses are 127.0.0.1, 127.0.0.2")


def test_another_way_out_and_an_interface_that_was_away_are_told_though_no_address_moved() -> None:
    eth0 = InterfaceAddress(interface="eth0", index=2, ip="192.0.2.1", prefix_len=24)
    with two_ends() as (loop, alice, _bob):
        assert alice.watch is not None
        for routes, losers in (
            ([Route("eth0", "0.0.0.0/0", "192.0.2.254", 0, 254)], set[tuple[int, str]]()),
            ([Route("homing0", "10.8.0.0/16", "", 0, 254)], set()),  # of our own tunnel
            ([], {(2, "")}),
        ):
            alice.addresses, alice.routes, alice.watch.losers = [LOOPBACK, eth0], routes, losers
            reads = alice.reads
            alice.watch.tell()
            run_until(loop, partial(was_read, alice, reads))
        assert [event.detail for event in alice.told(OutsideEvent)] == [
            "a route to 0.0.0.0/0 by 192.0.2.254 on eth0",
            "no route to 0.0.0.0/0 by 192.0.2.254 on eth0",
            "eth0 was away",
        ]


def was_read(end: End, before: int) -> bool:
    return end.reads > before


def test_a_doubt_has_the_stun_servers_asked() -> None:
    with two_ends() as (loop, alice, _bob):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        alice.agents.servers_resolved([Endpoint(*server.getsockname())], clock.now())
        alice.ice.doubted()
        loop.run_until_complete(asyncio.sleep(0.01))
        assert decode(server.recv(1024))
        server.close()


def test_addresses_are_read_at_once_when_mail_asks_for_it() -> None:
    with two_ends() as (loop, alice, _bob):
        alice.tell_agents(ProveIceNow(reason="resumed"))
        loop.run_until_complete(asyncio.sleep(0.001))
        assert alice.reads == 2


def test_where_the_kernel_does_not_tell_addresses_are_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_driver, "POLL_S", 0.01)
    with two_ends(told=False) as (loop, alice, _bob):
        run_until(loop, lambda: alice.reads >= 3)
        alice.tell_agents(ProveIceNow(reason="resumed"))
        run_until(loop, lambda: alice.reads >= 6)


def test_addresses_that_cannot_be_read_leave_those_that_are_known() -> None:
    with two_ends() as (loop, alice, bob):

        def fail() -> HostNetwork:
            raise OSError("no kernel")

        alice.ice._read = fail
        alice.tell_agents(ProveIceNow(reason="resumed"))
        alice.opens(bob)
        bob.opens(alice)
        run_until(loop, both_proven(alice, bob))
