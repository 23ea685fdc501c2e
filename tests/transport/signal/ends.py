"""Real ends on loopback: our client with what it reported, a raw gRPC client, a forwarder that can go silent."""

import asyncio
import contextlib
import datetime
import ipaddress
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.keys import PublicKey, Secret
from tests.transport.signal.vectors import public_key_of
from transport.signal import rpc
from transport.signal.client import SignalClient
from transport.signal.messages import SignalFact
from transport.signal.sealing import Sealer
from transport.signal.server import Limits, SignalServer
from transport.signal.timing import Timing

PATIENCE_S = 20.0  # for what should happen at once; reached only when a test fails
QUICK = Timing(quick_s=0.05)

Fact = TypeVar("Fact", bound=Any)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nobody announces."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


class End:
    """Our client, running, and the facts it reported."""

    def __init__(self, number: int, url: str, *, ca: bytes | None = None, timing: Timing = QUICK) -> None:
        key = Secret(bytes([number]) * 32)
        self.key = public_key_of(key)
        self.facts: list[SignalFact] = []
        self.client = SignalClient(
            url,
            self.key,
            Sealer(key, os.urandom),
            self.facts.append,
            clock=time.monotonic,
            unix_clock=time.time,
            rng=Random(number),
            ca=ca,
            timing=timing,
        )
        self._read = 0

    async def next(self, kind: type[Fact]) -> Fact:
        """Return the next fact of this kind that was not looked at yet; other kinds before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._read < len(self.facts):
                    fact = self.facts[self._read]
                    self._read += 1
                    if isinstance(fact, kind):
                        return fact
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*ends: End) -> AsyncIterator[None]:
    """Run these clients for the time of the block."""
    tasks = [asyncio.create_task(end.client.run()) for end in ends]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


@contextlib.asynccontextmanager
async def serving(
    limits: Limits | None = None, *, port: int = 0, tls: tuple[bytes, bytes] | None = None
) -> AsyncIterator[tuple[SignalServer, int]]:
    """Run a server on loopback for the time of the block; gives it and its port."""
    server = SignalServer(limits)
    port = await server.start(f"127.0.0.1:{port}", tls)
    try:
        yield server, port
    finally:
        await server.stop()


class RawClient:
    """A foreign client: plain gRPC, what the spec says and no more."""

    def __init__(self, port: int, options: Sequence[tuple[str, int]] = ()) -> None:
        self.channel = rpc.grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1), *options]
        )

    async def __aenter__(self) -> "RawClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    def stream(self, key: str | None) -> Any:
        """Open a stream under this key (None: without the header)."""
        metadata = () if key is None else ((rpc.PEER_ID, key),)
        return self.channel.stream_stream(rpc.CONNECT_STREAM)(metadata=metadata)

    async def registered(self, key: str) -> Any:
        """Open a stream and wait for the registration header."""
        stream = self.stream(key)
        async with asyncio.timeout(PATIENCE_S):
            assert dict(await stream.initial_metadata()) == {rpc.REGISTERED: "1"}
        return stream

    async def send(self, envelope: bytes, timeout: float = PATIENCE_S) -> bytes:
        """Make a unary Send and return the reply."""
        reply: bytes = await self.channel.unary_unary(rpc.SEND)(envelope, timeout=timeout)
        return reply


async def read(stream: Any) -> bytes:
    """Return the stream's next message."""
    async with asyncio.timeout(PATIENCE_S):
        data = await stream.read()
    assert isinstance(data, bytes), data
    return data


async def end_of(stream: Any) -> tuple[str, str]:
    """Return the name and text of the stream's final status, whatever comes before it."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(rpc.RpcError):
            while isinstance(await stream.read(), bytes):
                pass
        return (await stream.code()).name, await stream.details()


class Forwarder:
    """Passes TCP connections on to a port, until told to go silent: then those that are open pass nothing more."""

    def __init__(self, port: int) -> None:
        self._to, self._generation = port, 0
        self.port = 0

    async def __aenter__(self) -> "Forwarder":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def go_silent(self) -> None:
        """Pass nothing more on the connections that are open; new ones are passed on."""
        self._generation += 1

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink, self._generation))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if generation == self._generation:
                    sink.write(data)
                    await sink.drain()
            if generation == self._generation:
                sink.close()


class Authority:
    """Issues certificates for tests."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = _pem(self._sign(self._name, self._key.public_key(), -1, 1, None))

    def issue(self, host: str, begins_days: float = -1, ends_days: float = 1) -> tuple[bytes, bytes]:
        """Return private key and certificate (PEM) for a host, valid from and to so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, _pem(self._sign(name, key.public_key(), begins_days, ends_days, host))

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, begins_days: float, ends_days: float, host: str | None
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins_days))
            .not_valid_after(now + datetime.timedelta(days=ends_days))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def peer_key(number: int) -> PublicKey:
    """Return the public key of the End with this number."""
    return public_key_of(Secret(bytes([number]) * 32))
