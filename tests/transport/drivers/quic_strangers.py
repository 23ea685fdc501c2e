"""Strangers at a relay server's QUIC port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.transport.drivers.certificates import Files
from tests.transport.drivers.quic import QuicHub, QuicParty
from transport.drivers.certificates import Trust
from transport.drivers.quic_connection import RelayQuic
from transport.drivers.quic_settings import configuration
from transport.drivers.relay_server import boot_time
from transport.relay.frames import peer_id

ALICE = peer_id("alice")


class Stranger(asyncio.DatagramProtocol):
    """A UDP socket that sends what it likes, and may run a QUIC connection of its own kind."""

    def __init__(self, port: int) -> None:
        self.server = ("127.0.0.1", port)
        self.heard: list[bytes] = []
        self.quic: QuicConnection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.socket = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, _addr: object) -> None:
        self.heard.append(data)
        if self.quic is not None:
            self.quic.receive_datagram(data, self.server, boot_time())
            self.flush()

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.socket.sendto(datagram, self.server)

    def connect(self, quic: QuicConnection) -> None:
        self.quic = quic
        quic.connect(self.server, boot_time())
        self.flush()

    def flush(self) -> None:
        assert self.quic is not None
        if isinstance(self.quic, RelayQuic):
            self.quic._library_due = True
            self.send(*(datagram for datagram, _ in self.quic.flush(boot_time())))
        else:
            self.send(*(datagram for datagram, _ in self.quic.datagrams_to_send(boot_time())))

    @property
    def reason(self) -> str:
        assert self.quic is not None
        end = self.quic._close_event
        return "" if end is None else f"{end.error_code:#x} {end.reason_phrase}"


@asynccontextmanager
async def stranger(relay: QuicHub) -> AsyncIterator[Stranger]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Stranger(relay.port), local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol
    finally:
        transport.close()


def client(tls: Files, **changes: object) -> QuicConfiguration:
    config = configuration(client=True)
    config.cadata, config.server_name = tls.ca, "127.0.0.1"
    for name, value in changes.items():
        setattr(config, name, value)
    return config


async def still_serves(relay: QuicHub, trust: Trust) -> None:
    alice = await QuicParty(ALICE).joined(relay.url, trust)
    alice.send(ALICE, b"still here")
    await alice.until(alice.payloads)
