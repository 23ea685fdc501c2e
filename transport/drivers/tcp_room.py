"""Bounds what waits to be sent on the TCP connection of a relay link, in the kernel and in the transport above it."""

import asyncio
import socket
import struct
import time
from typing import Any, Final

from transport.relay.send_room import SendRoom

_ACKNOWLEDGED: Final = struct.Struct("=120xQ")  # bytes_acked of struct tcp_info in linux/tcp.h


class TcpRoom:
    """The room of one connection.  Its owner passes on when the transport pauses it and has it resume."""

    def __init__(self, transport: asyncio.WriteTransport, connection: Any) -> None:
        self._transport, self._connection = transport, connection
        self._room = SendRoom()
        self._full = False
        self._apply()

    @property
    def room_len(self) -> int:
        """Bytes that may wait."""
        return self._room.room_len

    def filled(self) -> None:
        """Take note that the transport takes no more."""
        self._full = True
        if (acknowledged_len := self._acknowledged_len()) is not None:
            self._room.filled(acknowledged_len, time.monotonic())

    def emptied(self) -> bool:
        """Take note that the transport takes more; False: not by the narrower bounds, so it has paused us again."""
        self._full = False
        acknowledged_len = self._acknowledged_len()
        if acknowledged_len is not None and self._room.emptied(acknowledged_len, time.monotonic()):
            self._apply()  # the transport may call its protocol, and that `filled`, from in here
        return not self._full

    def _apply(self) -> None:
        """Two thirds may wait in the kernel, the rest in the transport."""
        high_len = self._room.room_len // 3
        self._transport.set_write_buffer_limits(high_len, high_len * 3 // 4)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * high_len)

    def _acknowledged_len(self) -> int | None:
        try:
            told = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
        except OSError:
            return None  # it is over
        return int(_ACKNOWLEDGED.unpack(told)[0]) if len(told) == _ACKNOWLEDGED.size else None
