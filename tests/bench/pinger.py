"""Stands in for the TUN device of a light agent: sends nothing, or pings the other end of the tunnel."""

import asyncio
import os
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from actors.runtime import clock

_IP = struct.Struct("!BBHHHBBH4s4s")
_ICMP = struct.Struct("!BBHHHd")
_REQUEST, _REPLY = 8, 0
_ICMP_AT = _IP.size


class NoTun:
    """The TUN device of a host that sends nothing."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0)
        self.drops: dict[str, int] = {}

    def read(self) -> list[bytes]:
        """Nothing is to be sent."""
        return []

    def write(self, packets: Iterable[bytes]) -> None:
        """Nobody looks."""

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


class PingTun(NoTun):
    """The TUN device of a host that pings, every `every_s`."""

    def __init__(self, source: str, target: str, every_s: float, send: Callable[[list[bytes]], None]) -> None:
        super().__init__()
        self._addresses = IPv4Address(source).packed, IPv4Address(target).packed
        self._every_s, self._send, self._number = every_s, send, 0
        self.on = True
        self.answered: list[tuple[float, float]] = []  # when, and after how long
        self._timer = asyncio.get_running_loop().call_later(every_s, self._ping)

    def write(self, packets: Iterable[bytes]) -> None:
        """Take note of answers."""
        now = clock.now()
        for packet in packets:
            if len(packet) >= _ICMP_AT + _ICMP.size and packet[9] == 1 and packet[_ICMP_AT] == _REPLY:
                sent_at = _ICMP.unpack_from(packet, _ICMP_AT)[5]
                self.answered.append((now, now - sent_at))

    def close(self) -> None:
        """Ping no more."""
        self._timer.cancel()
        super().close()

    def _ping(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._ping)
        if not self.on:
            return
        self._number = (self._number + 1) & 0xFFFF
        source, target = self._addresses
        bare = _ICMP.pack(_REQUEST, 0, 0, 1, self._number, clock.now())
        icmp = bare[:2] + checksum(bare) + bare[4:]
        head = _IP.pack(0x45, 0, _IP.size + len(icmp), self._number, 0, 64, 1, 0, source, target)
        self._send([head[:10] + checksum(head) + head[12:] + icmp])


def checksum(data: bytes) -> bytes:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")
