"""Two tunnels, a link between them that may lose, delay, reorder and repeat, and one virtual clock."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from wg import messages, noise
from wg.constants import NO_PRESHARED_KEY
from wg.cookie import HandshakeGate
from wg.errors import InvalidMessage
from wg.messages import CookieReply, Initiation, MessageType, Response
from wg.noise import LocalStatic
from wg.tunnel import Tunnel
from wg.tunnel_records import TunnelEvent

LATENCY_S = 0.02
MTU = 1420
SOURCE = bytes([192, 0, 2, 1, 0xCA, 0x6C])


class CountedIndices:
    """Gives out base + 1, base + 2, ...; knows which are in use."""

    def __init__(self, base: int) -> None:
        self._next = itertools.count(base + 1)
        self.in_use: set[int] = set()

    def take(self, tunnel: Tunnel) -> int:
        assert isinstance(tunnel, Tunnel)
        index = next(self._next)
        self.in_use.add(index)
        return index

    def release(self, index: int) -> None:
        self.in_use.remove(index)


@dataclass(frozen=True)
class Sent:
    at: float
    by: "End"
    kind: MessageType
    datagram: bytes
    lost: bool


class End:
    """One host: a tunnel behind a handshake gate, and what came out of it."""

    def __init__(self, name: str, private: bytes, rng: random.Random) -> None:
        self.name = name
        self.local = LocalStatic(private)
        self.indices = CountedIndices(1000 * ord(name[0]))
        self.gate = HandshakeGate(self.local.public, rng.randbytes)
        self.packets: list[bytes] = []
        self.events: list[TunnelEvent] = []
        self._rng = rng
        self._timestamps = itertools.count(1)
        self.timestamp = lambda: next(self._timestamps).to_bytes(12, "big")
        self.tunnel: Tunnel

    def meet(self, remote: bytes, preshared_key: bytes = NO_PRESHARED_KEY, persistent_keepalive_s: float = 0.0) -> None:
        self.tunnel = Tunnel(
            self.local,
            remote,
            indices=self.indices,
            timestamp=self.timestamp,
            entropy=self._rng.randbytes,
            rng=self._rng,
            mtu=MTU,
            preshared_key=preshared_key,
            persistent_keepalive_s=persistent_keepalive_s,
        )

    def receive(self, datagram: bytes, now: float) -> list[bytes]:
        """Do as the packet path does with one datagram.  Returns what to send."""
        send: list[bytes] = []
        match messages.message_type(datagram):
            case None:
                return []
            case MessageType.TRANSPORT:
                result = self.tunnel.decapsulate(receiver_of(datagram), [datagram], "direct", now)
                self.packets += [plaintext.rstrip(b"\0") for plaintext in result.plaintexts if plaintext]
                send = result.send
            case MessageType.COOKIE_REPLY:
                reply = messages.decode(datagram)
                assert isinstance(reply, CookieReply)
                self.tunnel.consume_cookie_reply(reply, now)
            case MessageType.INITIATION | MessageType.RESPONSE:
                verdict = self.gate.admit(datagram, SOURCE, now)
                if verdict == "admitted":
                    send = self._receive_handshake(datagram, now)
                elif isinstance(verdict, bytes):
                    send = [verdict]
        self.take_events()
        return send

    def take_events(self) -> None:
        while (event := self.tunnel.next_event()) is not None:
            self.events.append(event)

    def _receive_handshake(self, datagram: bytes, now: float) -> list[bytes]:
        match messages.decode(datagram):
            case Initiation() as initiation:
                try:
                    read = noise.read_initiation(self.local, initiation)
                except InvalidMessage:
                    return []
                if read.remote != self.tunnel.remote:
                    return []
                response = self.tunnel.consume_initiation(read, now)
                return [] if response is None else [response]
            case Response() as response:
                return self.tunnel.consume_response(response, now) or []
            case CookieReply():
                raise AssertionError("the gate judges initiations and responses only")


class Pair:
    """Alice and Bob.  `lose` says of each message whether the link loses it."""

    def __init__(
        self,
        *,
        seed: int = 1,
        preshared_keys: tuple[bytes, bytes] = (NO_PRESHARED_KEY, NO_PRESHARED_KEY),
        persistent_keepalive_s: float = 0.0,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.alice, self.bob = End("alice", b"a" * 32, self.rng), End("bob", b"b" * 32, self.rng)
        self.lose: Callable[[Sent], bool] = lambda sent: False
        self.delays: Callable[[], list[float]] = lambda: [LATENCY_S]  # one a copy
        self.sent: list[Sent] = []
        self._in_flight: list[tuple[float, int, End, bytes]] = []
        self._order = itertools.count()
        self.alice.meet(self.bob.local.public, preshared_keys[0], persistent_keepalive_s)
        self.bob.meet(self.alice.local.public, preshared_keys[1])
        for end in (self.alice, self.bob):
            self.transmit(end, end.tunnel.set_reachable(True, self.now))

    def other(self, end: End) -> End:
        return self.bob if end is self.alice else self.alice

    def send(self, end: End, *packets: bytes) -> None:
        self.transmit(end, end.tunnel.encapsulate(packets, self.now))
        end.take_events()

    def transmit(self, by: End, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            kind = messages.message_type(datagram)
            assert kind is not None, datagram[:16]
            sent = Sent(self.now, by, kind, datagram, lost=False)
            if self.lose(sent):
                self.sent.append(Sent(self.now, by, kind, datagram, lost=True))
                continue
            self.sent.append(sent)
            for delay_s in self.delays():
                heapq.heappush(self._in_flight, (self.now + delay_s, next(self._order), self.other(by), datagram))

    def run(self, duration_s: float) -> None:
        """Let time pass: messages arrive, timers fire, each at its moment."""
        until = self.now + duration_s
        while (at := self._next_at()) is not None and at <= until:
            self.now = max(self.now, at)
            if self._in_flight and self._in_flight[0][0] <= self.now:
                _, _, to, datagram = heapq.heappop(self._in_flight)
                self.transmit(to, to.receive(datagram, self.now))
                continue
            for end in (self.alice, self.bob):
                self.transmit(end, end.tunnel.handle_timeout(self.now))
                end.take_events()
        self.now = until

    def times(self, by: End, kind: MessageType) -> list[float]:
        """Return when `by` sent messages of this type, in seconds since the start."""
        return [sent.at - 1000.0 for sent in self.sent if sent.by is by and sent.kind is kind]

    def keepalives(self, by: End) -> list[float]:
        """Return when `by` sent keepalives, in seconds since the start."""
        return [sent.at - 1000.0 for sent in self.sent if sent.by is by and len(sent.datagram) == 32]

    def _next_at(self) -> float | None:
        timeouts = [self.alice.tunnel.next_timeout(), self.bob.tunnel.next_timeout()]
        due = [at for at in timeouts if at is not None]
        if self._in_flight:
            due.append(self._in_flight[0][0])
        return min(due, default=None)


def established(seed: int = 1) -> Pair:
    """Return a pair in session, Alice its initiator, with nothing under way."""
    pair = Pair(seed=seed)
    pair.send(pair.alice, b"first")
    pair.run(1.0)
    assert pair.bob.packets == [b"first"]
    return pair


def receiver_of(datagram: bytes) -> int:
    """Return the receiver index of transport data."""
    return int.from_bytes(datagram[4:8], "little")
