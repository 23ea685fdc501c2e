"""What carries packets, on real sockets of this machine; the TUN device is played by a pair of sockets."""

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from actors.addresses import CONTROL_0
from actors.effects import Effect, Send
from actors.messages.packet import ConfigurePeer, SetPath
from actors.packet.tunnels import Tunnels
from actors.runtime import clock
from actors.runtime.carrier import Carrier
from actors.runtime.packet_process import Timestamps
from config.keypairs import derive_public_key
from config.keys import PublicKey, Secret
from wg.datagrams import RelayedBatch
from wg.drivers.tun import TunDriver, TunGone
from wg.drivers.udp import UdpDriver
from wg.packet_path import PacketPath
from wg.paths import DirectPath, RelayedPath
from wg.reports import HandshakeCompleted

pytestmark = pytest.mark.process

LINK = 7


class FullSocket(socket.socket):
    """A socket that takes nothing while it is full."""

    full = True

    def sendmsg(self, *arguments: Any) -> int:
        if self.full:
            raise BlockingIOError
        return super().sendmsg(*arguments)


class RelayedPipe:
    """A relay link that ends at another end's carrier."""

    def __init__(self) -> None:
        self.far: End | None = None
        self.sender: PublicKey | None = None
        self.sent = 0

    def send(self, batch: RelayedBatch, now: float) -> None:
        self.sent += len(batch.payloads)
        if self.far is not None and self.sender is not None:
            self.far.carrier.receive_relayed(self.sender, LINK, 1, batch.payloads)


class End:
    """One host's packet path, its TUN device, and its UDP socket on the loopback."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str) -> None:
        self.address = address
        self.private = Secret(secrets.token_bytes(32))
        self.key = derive_public_key(self.private)
        ticks = iter(range(1, 1 << 30))
        path = PacketPath(
            self.private.value,
            mtu=1280,
            timestamp=lambda: (1 << 62).to_bytes(8, "big") + next(ticks).to_bytes(4, "big"),
            entropy=os.urandom,
            rng=random.Random(1),
        )
        self.tunnels = Tunnels(path, (CONTROL_0,))
        self.host, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.host.setblocking(False)
        self._device = device
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.mail: list[Send] = []
        self.gone: list[str] = []
        self.relay = RelayedPipe()
        self.tun = TunDriver(device.fileno())
        self.driver = UdpDriver(self.udp)
        self.carrier = Carrier(
            loop,
            self.tunnels,
            self.tun,
            [self.driver],
            deliver=self._deliver,
            gone=self.gone.append,
            clock=clock.now,
        )
        self.carrier.open(self.relay)

    def _deliver(self, effects: list[Effect]) -> None:
        self.mail += [effect for effect in effects if isinstance(effect, Send)]

    def tell(self, message: ConfigurePeer | SetPath) -> None:
        """Handle one mail as the post office would, then send what came of it."""
        self._deliver(self.tunnels.handle(message, clock.now()))
        self.carrier.settle_soon()

    def knows(self, other: "End") -> None:
        self.tell(ConfigurePeer(peer=other.key, allowed_ips=(f"{other.address}/32",), persistent_keepalive_s=0))

    def sends_directly_to(self, other: "End") -> None:
        ip, port = other.udp.getsockname()
        self.tell(SetPath(peer=other.key, path=DirectPath(ip=ip, port=port), handshake_after_s=0.0))

    def sends_relayed_to(self, other: "End") -> None:
        self.relay.far, self.relay.sender = other, self.key
        self.tell(SetPath(peer=other.key, path=RelayedPath(link=LINK, generation=1), handshake_after_s=0.0))

    def close(self) -> None:
        self.carrier.close()
        for each in (self.host, self._device, self.udp):
            each.close()


@contextmanager
def two_ends() -> Iterator[tuple[asyncio.AbstractEventLoop, End, End]]:
    loop = asyncio.new_event_loop()
    alice, bob = End(loop, "10.77.0.1"), End(loop, "10.77.0.2")
    alice.knows(bob)
    bob.knows(alice)
    try:
        yield loop, alice, bob
    finally:
        alice.close()
        bob.close()
        loop.close()


def packet(source: str, destination: str, payload: bytes) -> bytes:
    """Return an IPv4 packet of an unassigned protocol; nothing here looks at its checksum."""
    length = 20 + len(payload)
    head = bytes([0x45, 0]) + length.to_bytes(2, "big") + bytes([0, 0, 0x40, 0, 64, 253, 0, 0])
    return head + socket.inet_aton(source) + socket.inet_aton(destination) + payload


def run_until(loop: asyncio.AbstractEventLoop, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Run the loop until then; the limit is for broken things only."""

    async def watch() -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.001)

    loop.run_until_complete(watch())


class HasHost(Protocol):
    """Whatever has a host's end of a TUN device."""

    host: socket.socket


def arrived(end: HasHost, into: list[bytes]) -> list[bytes]:
    """Move what has come to this host into the list, and return the list."""
    try:
        while True:
            into.append(end.host.recv(65535))
    except BlockingIOError:
        return into


def test_packets_go_from_one_host_to_the_other_and_back() -> None:
    with two_ends() as (loop, alice, bob):
        alice.sends_directly_to(bob)
        bob.sends_directly_to(alice)
        at_bob: list[bytes] = []
        sent = [packet(alice.address, bob.address, b"%d" % number) for number in range(200)]
        for each in sent:
            alice.host.send(each)
        run_until(loop, lambda: len(arrived(bob, at_bob)) == len(sent))
        assert at_bob == sent
        at_alice: list[bytes] = []
        bob.host.send(packet(bob.address, alice.address, b"answer"))
        run_until(loop, lambda: len(arrived(alice, at_alice)) == 1)
        completed = [send for send in alice.mail if isinstance(send.message, HandshakeCompleted)]
        assert str(completed[0].to) == f"peer/{bob.key}/wg_watcher@control-0"


def test_relayed_packets_take_no_detour_by_mail() -> None:
    with two_ends() as (loop, alice, bob):
        alice.sends_relayed_to(bob)
        bob.sends_relayed_to(alice)
        at_bob: list[bytes] = []
        sent = [packet(alice.address, bob.address, b"%d" % number) for number in range(50)]
        for each in sent:
            alice.host.send(each)
        run_until(loop, lambda: len(arrived(bob, at_bob)) == len(sent))
        assert at_bob == sent
        assert alice.relay.sent >= 51  # and the handshake
        assert len(alice.mail) < 10


def test_a_flood_from_the_host_does_not_starve_what_comes_by_udp() -> None:
    with two_ends() as (loop, alice, bob):
        alice.sends_directly_to(bob)
        bob.sends_directly_to(alice)
        at_alice: list[bytes] = []
        flood = packet(alice.address, "10.99.9.9", b"for nobody")

        def flooded_and_answered() -> bool:
            try:
                while True:
                    alice.host.send(flood)
            except BlockingIOError:
                pass
            return bool(arrived(alice, at_alice))

        bob.host.send(packet(bob.address, alice.address, b"through"))
        run_until(loop, flooded_and_answered)
        assert at_alice == [packet(bob.address, alice.address, b"through")]
        status = alice.tunnels.status({})
        assert status.drops["no_peer_for_destination"] > 100


def test_while_the_udp_socket_is_full_the_host_waits() -> None:
    with two_ends() as (loop, alice, bob):
        alice.sends_directly_to(bob)
        bob.sends_directly_to(alice)
        run_until(loop, lambda: any(isinstance(send.message, HandshakeCompleted) for send in alice.mail))
        driver = alice.driver
        driver.socket = full = FullSocket(fileno=os.dup(alice.udp.fileno()))
        sent = [packet(alice.address, bob.address, b"%d" % number) for number in range(20)]
        for each in sent:
            alice.host.send(each)
        run_until(loop, lambda: driver.blocked)
        alice.host.send(sent[0])
        loop.run_until_complete(asyncio.sleep(0.02))
        assert alice._device.recv(65535, socket.MSG_PEEK) == sent[0]  # it lies in the host's queue
        full.full = False
        at_bob: list[bytes] = []
        run_until(loop, lambda: len(arrived(bob, at_bob)) == 21)
        assert at_bob == [*sent, sent[0]]
        full.close()


def test_timers_go_on_without_packets() -> None:
    with two_ends() as (loop, alice, bob):
        alice.sends_directly_to(bob)  # bob has no path, but knows alice: it answers
        run_until(loop, lambda: any(isinstance(send.message, HandshakeCompleted) for send in alice.mail))


def test_a_device_that_is_gone_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_ends() as (loop, alice, _bob):

        def read() -> list[bytes]:
            raise TunGone("the TUN device is gone")

        monkeypatch.setattr(alice.tun, "read", read)
        alice.host.send(b"anything")
        run_until(loop, lambda: bool(alice.gone))
        loop.run_until_complete(asyncio.sleep(0.01))
        assert alice.gone == ["the TUN device is gone"]


def test_a_datagram_for_a_family_that_the_host_lacks_is_counted() -> None:
    with two_ends() as (loop, alice, bob):
        alice.tell(SetPath(peer=bob.key, path=DirectPath(ip="2001:db8::1", port=9), handshake_after_s=0.0))
        run_until(loop, lambda: alice.carrier.dropped().get("no_udp6", 0) > 0)


def test_handshake_times_rise_also_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "RESERVED_S", 0)  # every stamp is written down
    stamps = Timestamps(tmp_path / "there" / "tai64n")
    (tmp_path / "there").mkdir()
    given = [stamps.stamp()]
    (tmp_path / "there" / "tai64n.new").mkdir()  # in the way of the file that would be written
    given += [stamps.stamp() for _ in range(100)]
    (tmp_path / "there" / "tai64n.new").rmdir()
    given += [stamps.stamp() for _ in range(3)]
    assert given == sorted(set(given))
    assert {len(each) for each in given} == {12}
