"""Keeps a stream to the signal server, hands it our posts, and reports what comes (signal spec 6).

A driver: grpc.aio does the I/O.  What it decides is elsewhere: timing.py, outbox.py, body.py, sealing.py, reasons.py.
Every attempt has a channel of its own, so that nothing of a dead connection, of the core's own back-off or of an old
DNS answer is left when the next one starts.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from loguru import logger

from config.keys import PublicKey, short
from config.values import parse_url
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.signal import rpc
from transport.signal.body import (
    MAX_ENVELOPE_LEN,
    Envelope,
    Heartbeat,
    OwnBody,
    body_of,
    decode_body,
    decode_envelope,
    encode_body,
    encode_envelope,
    received,
)
from transport.signal.messages import (
    SignalConnected,
    SignalDisconnected,
    SignalFact,
    SignalPost,
    SignalPostFailed,
)
from transport.signal.outbox import Outbox
from transport.signal.reasons import explain, is_displacement
from transport.signal.sealing import Sealer
from transport.signal.timing import Backoff, Step, Timing, Watchdog

PORTS = {"http": 80, "https": 443}
SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
OPTIONS: rpc.Options = (
    ("grpc.keepalive_time_ms", 30_000),  # signal spec 2.7
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_ENVELOPE_LEN),
    ("grpc.max_send_message_length", MAX_ENVELOPE_LEN),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),  # retries are ours, counted
    ("grpc.enable_http_proxy", 0),  # the server is where the configuration says
    ("grpc.service_config_disable_resolution", 1),  # no TXT queries
)


@dataclass(frozen=True, slots=True)
class _Ended:
    """Why an attempt or a link came to its end."""

    reason: str
    displaced: bool = False


class _Link:
    """One attempt: its channel, and its tasks once it is up."""

    def __init__(self, channel: rpc.Channel, watchdog: Watchdog) -> None:
        self.watchdog = watchdog
        self.send = channel.unary_unary(rpc.SEND)
        self.tasks: set[asyncio.Task[None]] = set()
        self.rearm = asyncio.Event()  # the watchdog's timeout has moved


class SignalClient:
    """One client of one signal server.

    `deliver` gets every fact, on the event loop, and must not block.  `clock` is CLOCK_BOOTTIME seconds, `unix_clock`
    wall time for messages about certificates.  Raises InvalidUrl for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        me: PublicKey,
        sealer: Sealer,
        deliver: Callable[[SignalFact], None],
        *,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        rng: Random,
        ca: bytes | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._url, self._me, self._sealer, self._deliver = url, me, sealer, deliver
        self._host, port = parse_url(url, ("http", "https"))
        scheme = url.partition(":")[0]
        self._port, self._tls = port or PORTS[scheme], scheme == "https"
        self._ca, self._clock, self._unix_clock = ca, clock, unix_clock
        self._timing = timing if timing is not None else Timing()
        self._backoff = Backoff(rng, self._timing)
        self._outbox = Outbox()
        self._link: _Link | None = None  # None: no stream is registered
        self._known: frozenset[PublicKey] | None = None
        self._last_fact: SignalConnected | SignalDisconnected | None = None
        self._told = ""  # in the log: why the link is down
        self._log = logger.bind(signal=f"{self._host}:{self._port}")
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        while True:
            started_at = self._clock()
            ended = await self._one_link()
            lived_s = self._clock() - started_at if isinstance(self._last_fact, SignalConnected) else 0.0
            if ended.displaced:
                retry_s = self._backoff.after_displacement(self._clock())
            else:
                retry_s = self._backoff.after_failure(lived_s)
            # Every try is counted in the status; the log is told once.
            level = "DEBUG" if ended.reason == self._told else "WARNING"
            self._told = ended.reason
            self._log.log(level, "signal link down", reason=ended.reason, retry_s=round(retry_s, 2))
            self._report(
                SignalDisconnected(url=self._url, reason=ended.reason, retry_s=retry_s, displaced=ended.displaced)
            )
            await asyncio.sleep(retry_s)

    def post(self, post: SignalPost) -> None:
        """Seal this and hand it to the server; SignalPostFailed tells if that came to nothing."""
        if self._link is None:
            self._fail(post.peer, "the signal server is not connected")
            return
        self._outbox.put(post)
        self._pump(self._link)

    def know(self, peers: frozenset[PublicKey]) -> None:
        """From now on drop what comes from anybody else, before any work is done on it."""
        self._known = peers

    def repeat(self) -> None:
        """Report again whether the link is up."""
        if self._last_fact is not None:
            self._deliver(self._last_fact)

    def doubt(self) -> None:
        """See whether the link is still there: something changed outside (recovery R12)."""
        if self._link is not None:
            self._doubt(self._link)

    async def _one_link(self) -> _Ended:
        channel = rpc.open_channel(self._host, self._port, tls=self._tls, ca=self._roots(), options=OPTIONS)
        stream = channel.stream_stream(rpc.CONNECT_STREAM)(metadata=((rpc.PEER_ID, self._me),))
        link = _Link(channel, Watchdog(self._clock(), self._timing))
        try:
            problem = await self._register(stream)
            if problem is not None:
                return problem
            link.watchdog.heard(self._clock())
            self._link, self._told = link, ""
            self._log.info("signal link up")
            self._report(SignalConnected(url=self._url))
            return await self._until_ended(link, stream)
        finally:
            self._link = None
            stream.cancel()
            for task in link.tasks:
                task.cancel()
            await asyncio.gather(*link.tasks, return_exceptions=True)
            for post in self._outbox.clear():
                self._fail(post.peer, "the signal link ended before this was sent")
            await channel.close()

    async def _register(self, stream: rpc.Stream) -> _Ended | None:
        """Wait for the registration header; None: it is there."""
        try:
            async with asyncio.timeout(self._timing.registration_s):
                if rpc.REGISTERED in await stream.initial_metadata():
                    return None
                return await self._status_of(stream)
        except TimeoutError:
            return _Ended(
                f"registration header missing: {self._host}:{self._port} did not answer as a signal server does "
                f"within {self._timing.registration_s:g} s"
            )

    async def _until_ended(self, link: _Link, stream: rpc.Stream) -> _Ended:
        receiving = asyncio.create_task(self._receive(link, stream))
        watching = asyncio.create_task(self._watch(link))
        both = (receiving, watching)
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _receive(self, link: _Link, stream: rpc.Stream) -> _Ended:
        while True:
            try:
                data = await stream.read()
            except rpc.RpcError:
                return await self._status_of(stream)
            if not isinstance(data, bytes):  # the end of the stream
                return await self._status_of(stream)
            link.watchdog.heard(self._clock())
            link.rearm.set()
            self._receive_envelope(data)

    def _receive_envelope(self, data: bytes) -> None:
        self.counters["received"] += 1
        try:
            envelope = decode_envelope(data)
            if envelope.sender == self._me:
                return  # a heartbeat of ours: that it came is all it says
            if self._known is not None and envelope.sender not in self._known:
                self.counters["unknown_peer"] += 1
                return
            body, nonce = self._sealer.open(envelope.sealed, envelope.sender)
            mail = received(decode_body(body), PublicKey(envelope.sender), nonce)
        except RemoteProtocolError as error:
            self.counters["malformed"] += 1
            self._log.debug("signal message dropped", reason=str(error))
            return
        if mail is None:
            self.counters["without_effect"] += 1
        else:
            self._deliver(mail)

    async def _watch(self, link: _Link) -> _Ended:
        while True:
            link.rearm.clear()
            try:
                async with asyncio.timeout(max(0.0, link.watchdog.next_timeout() - self._clock())):
                    await link.rearm.wait()
            except TimeoutError:
                match link.watchdog.handle_timeout(self._clock()):
                    case Step.PROBE:
                        self._spawn(link, self._probe(link))
                    case Step.GIVE_UP:
                        silent_s = link.watchdog.silent_s(self._clock())
                        return _Ended(
                            f"the link went silent: nothing came for {silent_s:.0f} s, not even our heartbeat"
                        )
                    case Step.NOTHING:
                        pass

    async def _probe(self, link: _Link) -> None:
        self.counters["probes"] += 1
        await self._send(link, self._seal(Heartbeat(), self._me))

    def _pump(self, link: _Link) -> None:
        while (post := self._outbox.take()) is not None:
            self._spawn(link, self._send_post(link, post))

    async def _send_post(self, link: _Link, post: SignalPost) -> None:
        try:
            try:
                envelope = self._seal(body_of(post), post.peer)
            except LocalProtocolError as error:
                self._fail(post.peer, str(error))
                return
            doubt = asyncio.get_running_loop().call_later(self._timing.doubt_s, self._doubt, link)
            try:
                problem = await self._send(link, envelope)
            except asyncio.CancelledError:
                self._fail(post.peer, "the signal link ended while this was sent")
                raise
            finally:
                doubt.cancel()
            if problem is None:
                self.counters["sent"] += 1
            else:
                self._fail(post.peer, problem)
        finally:
            self._outbox.done(post.peer)
            if self._link is link:
                self._pump(link)

    def _doubt(self, link: _Link) -> None:
        if link.watchdog.suspect(self._clock()) is Step.PROBE:
            self._spawn(link, self._probe(link))
        link.rearm.set()

    async def _send(self, link: _Link, envelope: bytes) -> str | None:
        """Make up to four attempts; return why they failed, None: the server has it."""
        problem = None
        for deadline_s in self._timing.send_deadlines_s:
            call = link.send(envelope, timeout=deadline_s)
            try:
                await call
            except rpc.RpcError:
                code, details = (await call.code()).name, await call.details() or ""
                problem = explain(code, details, self._host, self._port, self._unix_clock())
                self.counters["send_errors"] += 1
                if code == "CANCELLED":
                    break
            else:
                return None
        return problem

    def _seal(self, body: OwnBody, to: PublicKey) -> bytes:
        return encode_envelope(Envelope(self._me, to, self._sealer.seal(encode_body(body), to)))

    def _spawn(self, link: _Link, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        link.tasks.add(task)
        task.add_done_callback(link.tasks.discard)

    def _fail(self, peer: PublicKey, reason: str) -> None:
        self.counters["failed"] += 1
        self._log.debug("signal post failed", peer=short(peer), reason=reason)
        self._deliver(SignalPostFailed(peer=peer, reason=reason))

    def _report(self, fact: SignalConnected | SignalDisconnected) -> None:
        self._last_fact = fact
        self._deliver(fact)

    async def _status_of(self, stream: rpc.Stream) -> _Ended:
        code, details = (await stream.code()).name, await stream.details() or ""
        greeted = self._link is not None
        reason = explain(code, details, self._host, self._port, self._unix_clock(), greeted=greeted)
        return _Ended(reason, is_displacement(code, details))

    def _roots(self) -> bytes | None:
        """Return whom to trust, read anew each time: an update of the system's roots then counts at once."""
        if not self._tls or self._ca is not None:
            return self._ca
        paths = (Path(path) for path in SYSTEM_ROOTS)
        return next((path.read_bytes() for path in paths if path.is_file()), None)
