"""The signal server: passes sealed messages to whoever is registered under the receiver's key (signal spec 2.3 to 2.6).

It stores nothing and reads nothing but the envelope.  A sender hears the same whether the receiver is there or not, and
one receiver that does not read holds up nobody else: each has a bounded queue and a writer of its own.
"""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from config.keys import PublicKey, short
from transport.errors import RemoteProtocolError
from transport.signal import rpc
from transport.signal.body import MAX_ENVELOPE_LEN, decode_envelope
from transport.signal.reasons import DISPLACED

NO_ID = f"missing connection header: {rpc.PEER_ID}"  # signal spec 2.6
STOPPING = "the signal server is stopping"
NOTHING = b""  # an EncryptedMessage without fields: the reply to every Send
OPTIONS: rpc.Options = (
    ("grpc.so_reuseport", 0),  # or a port in use would be shared with whoever has it
    ("grpc.max_receive_message_length", MAX_ENVELOPE_LEN),
    ("grpc.max_send_message_length", MAX_ENVELOPE_LEN),
    ("grpc.max_concurrent_streams", 250),  # on a connection (signal spec 2.7)
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients ping every 30 s on a stream without traffic
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 20_000),  # a client that vanished is noticed within 30 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server bears."""

    delivery_s: float = 10.0  # for one message to be written to its receiver (signal spec 2.5)
    registrations: int = 100_000
    queued: int = 256  # messages for one receiver
    queued_len: int = 8 << 20  # bytes of them; two of the largest fit


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A message on its way to its receiver."""

    data: bytes
    written: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Registration:
    """One client's stream."""

    ended: asyncio.Future[tuple[Any, str]]  # the status to end it with
    queue: deque[_Delivery] = field(default_factory=deque)
    queued_len: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, code: Any, details: str) -> None:
        """Have the stream end with this status."""
        if not self.ended.done():
            self.ended.set_result((code, details))


class SignalServer:
    """Routes between the streams registered here.  `counters` has the names of signal spec 7.5, as far as they fit."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits if limits is not None else Limits()
        self._registry: dict[str, _Registration] = {}
        self._streams: set[asyncio.Task[Any]] = set()  # those of _connect_stream
        self._server: rpc.Server | None = None
        self._stopping = False
        self.counters: Counter[str] = Counter()

    @property
    def active_peers(self) -> int:
        """Return how many clients are registered now."""
        return len(self._registry)

    async def start(self, address: str, key_and_chain: tuple[bytes, bytes] | None = None) -> int:
        """Listen on host:port, with TLS if a private key and its certificate chain (PEM) are given; return the port.

        Raises RuntimeError if the address cannot be had.
        """
        self._server, port = rpc.make_server(
            self._send, self._connect_stream, address=address, key_and_chain=key_and_chain, options=OPTIONS
        )
        await self._server.start()
        return port

    async def stop(self, grace_s: float = 1.0) -> None:
        """End all streams, with a status that has their clients come back, and stop."""
        self._stopping = True
        for registration in self._registry.values():
            registration.end(rpc.UNAVAILABLE, STOPPING)
        if self._streams:
            await asyncio.wait(self._streams, timeout=grace_s)  # until everybody has been told
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _connect_stream(self, _requests: object, context: rpc.ServerContext) -> None:
        # The requests are never read: what a client writes is not routed, and its half-close does not end the stream.
        metadata = context.invocation_metadata() or ()
        peer = next((value for name, value in metadata if name == rpc.PEER_ID), None)
        if peer is None:
            self.counters["registration_failures_total.missing_id"] += 1
            await context.abort(rpc.FAILED_PRECONDITION, NO_ID)
        if self._stopping:
            await context.abort(rpc.UNAVAILABLE, STOPPING)
        if len(self._registry) >= self._limits.registrations and peer not in self._registry:
            self.counters["registration_failures_total.too_many"] += 1
            await context.abort(rpc.RESOURCE_EXHAUSTED, f"{self._limits.registrations} clients are registered already")

        registration = _Registration(asyncio.get_running_loop().create_future())
        self._register(peer, registration)
        stream = asyncio.current_task()
        assert stream is not None
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)
        try:
            # At once and before any message: the client waits for this header before anything else.  Never broken off
            # by us: the status of a call whose headers are half sent does not arrive.
            await context.send_initial_metadata(((rpc.REGISTERED, "1"),))
            await self._write_until_ended(registration, context)
        finally:  # also when the client went away: grpc cancels this then
            self._deregister(peer, registration)
            for delivery in registration.queue:
                delivery.written.cancel()
        if registration.ended.done():
            try:
                await context.abort(*registration.ended.result())
            except rpc.InternalError:  # a client that did not read went away before it was told
                raise asyncio.CancelledError from None

    def _register(self, peer: str, registration: _Registration) -> None:
        before = self._registry.get(peer)
        self._registry[peer] = registration
        if before is None:
            self.counters["registrations_total"] += 1
        else:  # the newest wins
            self.counters["replaced_total"] += 1
            before.end(rpc.UNKNOWN, DISPLACED)
        logger.debug("registered", peer=short(PublicKey(peer)), replaced=before is not None)

    def _deregister(self, peer: str, registration: _Registration) -> None:
        if self._registry.get(peer) is registration:
            del self._registry[peer]
            self.counters["deregistrations_total"] += 1
            logger.debug("deregistered", peer=short(PublicKey(peer)))

    async def _write_until_ended(self, registration: _Registration, context: rpc.ServerContext) -> None:
        writer = asyncio.create_task(self._write_to(registration, context))
        try:
            await asyncio.wait((writer, registration.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write_to(self, registration: _Registration, context: rpc.ServerContext) -> None:
        while True:
            while registration.queue:
                delivery = registration.queue[0]
                await context.write(delivery.data)
                registration.queue.popleft()
                registration.queued_len -= len(delivery.data)
                if not delivery.written.done():
                    delivery.written.set_result(None)
            registration.wake.clear()
            await registration.wake.wait()

    async def _send(self, request: bytes, context: rpc.ServerContext) -> bytes:
        try:
            envelope = decode_envelope(request)
        except RemoteProtocolError as error:
            self.counters["message_forward_failures_total.malformed"] += 1
            await context.abort(rpc.INTERNAL, str(error))
        receiver = self._registry.get(envelope.receiver)
        if receiver is None:
            self.counters["message_forward_failures_total.not_connected"] += 1
        else:
            self.counters[await self._deliver(receiver, request)] += 1
        return NOTHING

    async def _deliver(self, receiver: _Registration, data: bytes) -> str:
        """Write this to the receiver's stream; return the counter of what came of it."""
        if len(receiver.queue) >= self._limits.queued or receiver.queued_len + len(data) > self._limits.queued_len:
            return "message_forward_failures_total.overflow"
        delivery = _Delivery(data, asyncio.get_running_loop().create_future())
        receiver.queue.append(delivery)
        receiver.queued_len += len(data)
        receiver.wake.set()
        done, _ = await asyncio.wait((delivery.written,), timeout=self._limits.delivery_s)
        if not done:
            # Not what signal spec 2.6 has: the client would believe that another has its key, and stay away for long.
            receiver.end(rpc.UNAVAILABLE, f"the client read nothing for {self._limits.delivery_s:g} s")
            return "message_forward_failures_total.timeout"
        if delivery.written.cancelled():
            return "message_forward_failures_total.disconnected"
        return "messages_forwarded_total"
