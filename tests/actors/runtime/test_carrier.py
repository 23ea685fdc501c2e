"""The carrier between descriptors that the test plays: a TUN device that is deleted, a UDP socket that is full."""

import asyncio
import os
import random
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from actors.packet.tunnels import Tunnels
from actors.runtime.carrier import Carrier
from wg.datagrams import Endpoint, RelayedBatch, UdpBatch
from wg.drivers.tun import TunDriver, TunGone
from wg.drivers.udp import UdpDriver
from wg.outbox import Output
from wg.packet_path import PacketPath

ANYWHERE = UdpBatch(Endpoint("127.0.0.1", 9), None, 0, [b"datagram"])


class Device:
    """One end of a socket pair in place of a TUN device, which may be deleted."""

    def __init__(self) -> None:
        self.host, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.host.setblocking(False)
        self.fd = self._device.fileno()
        self.drops: dict[str, int] = {}
        self.deleted = False
        self.reads = 0

    def read(self) -> list[bytes]:
        self.reads += 1
        if self.deleted:
            raise TunGone("the TUN device is gone")
        return [os.read(self.fd, 2048)]

    def write(self, packets: list[bytes]) -> None:
        if self.deleted:
            raise TunGone("the TUN device is gone")

    def close(self) -> None:
        self.host.close()
        self._device.close()


class Room:
    """A UDP socket whose buffer is full until the test says otherwise."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.full = True

    def setblocking(self, blocking: bool) -> None:
        self._socket.setblocking(blocking)

    def fileno(self) -> int:
        return self._socket.fileno()

    def sendmsg(self, *_: object) -> None:
        if self.full:
            raise BlockingIOError

    def close(self) -> None:
        self._socket.close()


class ScriptedTunnels(Tunnels):
    """Tunnels whose output the test writes."""

    def __init__(self) -> None:
        rng = random.Random(1)
        path = PacketPath(bytes(31) + b"k", mtu=1280, timestamp=bytes, entropy=rng.randbytes, rng=rng)
        super().__init__(path, ())
        self.next = Output([], [], [], [])

    def output(self) -> Output:
        output, self.next = self.next, Output([], [], [], [])
        return output


class NoLinks:
    """Relay links that nothing is sent on."""

    def send(self, batch: RelayedBatch, now: float) -> None:
        raise AssertionError(batch)


class Bench:
    """A carrier and what it holds."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tun, self.room, self.tunnels = Device(), Room(), ScriptedTunnels()
        self.driver = UdpDriver(cast(socket.socket, self.room))
        self.gone: list[str] = []
        self.carrier = Carrier(
            self.loop,
            self.tunnels,
            cast(TunDriver, self.tun),
            [self.driver],
            deliver=lambda effects: None,
            gone=self.gone.append,
            clock=lambda: 0.0,
        )
        self.carrier.open(NoLinks())

    def send(self, *, udp: list[UdpBatch] | None = None, packets: list[bytes] | None = None) -> None:
        """Have the tunnels want this, and give the loop some turns."""
        self.tunnels.next = Output(udp or [], [], packets or [], [])
        self.carrier.settle_soon()
        self.turn()

    def turn(self) -> None:
        """Let the loop look at its descriptors a few times."""
        for _ in range(5):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.carrier.close()
    bench.tun.close()
    bench.room.close()
    bench.loop.close()


def test_nothing_is_read_from_the_host_while_a_socket_is_full(bench: Bench) -> None:
    bench.send(udp=[ANYWHERE])
    bench.tun.host.send(b"waits")
    bench.turn()
    assert bench.tun.reads == 0
    bench.room.full = False
    bench.turn()
    assert (bench.driver.blocked, bench.tun.reads) == (False, 1)


def test_a_device_that_is_gone_is_told_once_however_it_is_noticed(bench: Bench) -> None:
    bench.tun.deleted = True
    bench.send(packets=[b"packet"])
    bench.send(packets=[b"packet"])
    assert bench.gone == ["the TUN device is gone"]


def test_a_device_that_is_gone_is_not_read_again_when_the_socket_has_room(bench: Bench) -> None:
    bench.tun.host.send(b"never read")
    bench.tun.deleted = True
    bench.send(udp=[ANYWHERE], packets=[b"packet"])
    bench.room.full = False
    bench.turn()
    assert (bench.gone, bench.tun.reads) == (["the TUN device is gone"], 0)


def test_after_the_end_nothing_is_read(bench: Bench) -> None:
    bench.send(udp=[ANYWHERE])
    bench.carrier.close()
    bench.room.full = False
    bench.tun.host.send(b"too late")
    bench.turn()
    assert bench.tun.reads == 0
