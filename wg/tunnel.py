"""One WireGuard peer: its handshake in both roles, its keypairs, its timers, and the packets that wait for a session.

Sans-IO and without paths.  Whatever a method returns as `send`, or as a plain list of datagrams, goes where the peer's
packets go now; what is returned as an answer goes back to where the message came from.  Drain `next_event` and re-read
`next_timeout` after each call.  No input from the network raises.
"""

import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from itertools import compress
from operator import not_
from typing import Protocol

from wg import noise
from wg.constants import INITIATION_INTERVAL, KEY_LEN, MAX_QUEUED_PACKETS, NO_PRESHARED_KEY, REKEY_TIMEOUT
from wg.cookie import CookieJar
from wg.errors import HandshakeRejected
from wg.keypair import NEVER, Keypair, Keypairs, Role
from wg.messages import Buffer, CookieReply, Response
from wg.noise import CheckedInitiation, Initiated, LocalStatic, ReadInitiation, RemoteStatic
from wg.timers import Reminder, Timers
from wg.tunnel_records import (
    Decapsulated,
    HandshakeGivenUp,
    InitiationUnanswered,
    SessionProven,
    TunnelCounters,
    TunnelEvent,
)


class Indices(Protocol):
    """Gives out session indices: 32 bits, random, unique among all tunnels of a socket."""

    def take(self, tunnel: "Tunnel") -> int:
        """Return a fresh index; messages whose receiver it is belong to `tunnel` until it is given back."""

    def release(self, index: int) -> None:
        """Take an index back; messages for it are strangers' from now on."""


OTHER_PATH_WAIT = 1.0  # s from an initiation on one path to the next on another; a response takes less where it works


class Tunnel:
    """One peer.

    `timestamp()` returns 12 bytes of TAI64N, each greater than any before; `entropy(n)` n secret random bytes; `rng`
    serves jitter only.  `mtu` is the inner MTU: padding never makes a packet longer.  Raises InvalidKey for a remote
    key with which no secret can be agreed upon.
    """

    def __init__(
        self,
        local: LocalStatic,
        remote: bytes,
        *,
        indices: Indices,
        timestamp: Callable[[], bytes],
        entropy: Callable[[int], bytes],
        rng: random.Random,
        mtu: int,
        preshared_key: bytes = NO_PRESHARED_KEY,
        persistent_keepalive_s: float = 0.0,
    ) -> None:
        self.remote = remote  # the peer's static public key, 32 bytes
        self.mtu = mtu
        self.counters = TunnelCounters()
        self.proven_at: float | None = None  # when the last session was proven; None: never
        self.reachable = False
        self._local = local
        self._remote_static = RemoteStatic(local, remote)
        self._preshared_key = preshared_key
        self._indices, self._timestamp, self._entropy = indices, timestamp, entropy
        self._jar = CookieJar(remote)
        self._timers = Timers(rng, persistent_keepalive_s)
        self._keypairs = Keypairs(indices.release)
        self._initiated: Initiated | None = None  # our initiation that waits for its response
        self._initiated_at = NEVER  # the last initiation we sent
        self._initiate_from = NEVER  # the next one goes out no earlier
        self._unanswered = 0  # initiations sent since the last answer, or since they began anew
        self._taken_at, self._taken_timestamp = NEVER, b""  # of the last initiation we took
        self._waiting: deque[bytes] = deque()
        self._events: deque[TunnelEvent] = deque()

    # --- packets ---

    def encapsulate(self, packets: Sequence[Buffer], now: float) -> list[bytes]:
        """Return the datagrams that carry these (non-empty) packets; without a session they wait, and one is asked for.

        An initiation may be among them: asked for, or because the keypair is due for renewal.
        """
        if not packets:
            return []
        if not self.reachable or not self._may_send(len(packets), now):
            self._wait(packets)
            self._timers.on_session_wanted(now)
            return self._initiation(now)
        return self._seal(packets, now)

    def decapsulate(self, receiver: int, datagrams: Sequence[Buffer], via: Hashable, now: float) -> Decapsulated:
        """Open transport data for one receiver index that arrived on one path.

        `via` names the path and is compared only; it should be stable (a kind and an incarnation, not an endpoint).
        Each datagram has that receiver in its header, and 32 bytes at least.
        """
        keypair = self._keypairs.by_index(receiver)
        if keypair is None or not keypair.may_receive(now):
            self.counters.expired += len(datagrams)
            return Decapsulated([None] * len(datagrams))
        result = self._open(keypair, datagrams, via, now)
        if result.heard:
            result.send = self._on_heard(keypair, any(result.plaintexts), now)
        return result

    def answer(self, packet: Buffer, now: float) -> list[bytes]:
        """Return the datagrams that carry an in-session answer, which goes back where the question came from.

        Unlike packets it needs no path and does not wait: without a session it is dropped.
        """
        return self._seal([packet], now) if self._may_send(1, now) else []

    def has_session(self, now: float) -> bool:
        """Return whether a packet handed to `encapsulate` would leave at once."""
        return self.reachable and self._may_send(1, now)

    # --- handshake messages, whose macs `cookie.HandshakeGate` has checked ---

    @property
    def initiations_from(self) -> float:
        """When the next initiation may be taken: each costs Diffie-Hellmans (section 5.1)."""
        return self._taken_at + INITIATION_INTERVAL

    def check_initiation(self, read: ReadInitiation) -> CheckedInitiation | None:
        """Return the initiation if it is this peer's and newer than the last one taken."""
        with suppress(HandshakeRejected):
            checked = noise.check_initiation(read, self._remote_static)
            return checked if checked.timestamp > self._taken_timestamp else None
        return None

    def consume_initiation(self, read: ReadInitiation, now: float) -> bytes | None:
        """Return the handshake response, which goes back where the initiation came from; None: refused."""
        checked = self.check_initiation(read)
        if checked is None or now < self.initiations_from:
            self.counters.initiations_refused += 1
            return None
        self._taken_at, self._taken_timestamp = now, checked.timestamp
        sender = self._indices.take(self)
        response, keys = noise.create_response(
            checked, sender=sender, ephemeral_private=self._entropy(KEY_LEN), preshared_key=self._preshared_key
        )
        self._keypairs.add_answered(Keypair("responder", keys, sender, read.initiation.sender, now))
        datagram = self._jar.sign(response, now)
        self.counters.tx_bytes += len(datagram)
        self._timers.on_authenticated_received(now)
        self._timers.on_keypair_made(now)
        self._timers.on_authenticated_sent(now)
        return datagram

    def consume_response(self, response: Response, now: float) -> list[bytes] | None:
        """Take the answer to our initiation.  Returns what proves it: the packets that waited, or a keepalive.

        They go on the path in use, or where there is none back where the response came from.  None: refused, and
        nothing changed.
        """
        initiated, keys = self._initiated, None
        if initiated is not None and response.receiver == initiated.sender:
            with suppress(HandshakeRejected):
                keys = noise.consume_response(self._local, initiated, response, preshared_key=self._preshared_key)
        if initiated is None or keys is None:
            self.counters.responses_refused += 1
            return None
        self._initiated = None  # its index is the keypair's now
        self._keypairs.add_initiated(Keypair("initiator", keys, initiated.sender, response.sender, now))
        self._timers.on_authenticated_received(now)
        self._timers.on_keypair_made(now)
        self._on_proven("initiator", now - self._initiated_at, now)
        return self._flush(now) or self._seal([b""], now)

    def consume_cookie_reply(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie for the next handshake message, which still waits its time (section 5.4.7).

        Returns False where it is for none of our last messages.
        """
        taken = self._jar.consume(reply, now)
        self.counters.cookies_refused += not taken
        return taken

    # --- what the control side asks for ---

    def initiate(self, now: float) -> bytes | None:
        """Return a handshake initiation; None: there is no path, or one was sent less than REKEY_TIMEOUT ago.

        In the second case the next one follows as soon as REKEY_TIMEOUT allows, or OTHER_PATH_WAIT on another path.
        """
        return next(iter(self._initiation(now)), None)

    def keepalive(self, now: float) -> list[bytes]:
        """Return a keepalive, or without a session an initiation as `initiate` gives it."""
        return self._seal([b""], now) if self.has_session(now) else self._initiation(now)

    def set_reachable(self, reachable: bool, now: float) -> list[bytes]:
        """Say whether the peer has a path.  Without one packets wait, and nothing is sent but answers.

        Returns what is owed at once when a path appears: the packets that waited, or the initiation they need.
        """
        if reachable == self.reachable:
            return []
        self.reachable = reachable
        if not reachable:
            self._unanswered = 0
            self._timers.on_path_lost()
            return []
        return self._flush(now) or (self.keepalive(now) if self._waiting or self._timers.persistent_keepalive_s else [])

    def take_other_path(self, now: float) -> None:
        """Say that what is sent goes another way from now on.

        REKEY_TIMEOUT spares a peer that does not answer.  Where it was not asked, it need not be spared: an initiation
        that went out on a path that is not used any more is followed after OTHER_PATH_WAIT.
        """
        if self._initiated is not None:  # unanswered; one that was answered needs no other
            self._initiate_from = min(self._initiate_from, self._initiated_at + OTHER_PATH_WAIT)
        self._unanswered = 0
        self._timers.on_initiation_hastened(max(now, self._initiate_from))

    def configure(self, *, preshared_key: bytes, persistent_keepalive_s: float, now: float) -> list[bytes]:
        """Change settings; sessions stay.  Returns the first keepalive where persistent keepalive is new."""
        self._preshared_key = preshared_key
        turned_on = persistent_keepalive_s and not self._timers.persistent_keepalive_s
        self._timers.set_persistent_keepalive(persistent_keepalive_s, now)
        return self.keepalive(now) if turned_on else []

    def forget_sessions(self) -> None:
        """Drop all keypairs and the initiation under way, and give back their indices; waiting packets stay."""
        self._keypairs.clear()
        self._forget_initiated()

    def renew(self, now: float) -> list[bytes]:
        """Begin as if the peer had never been met.  Returns the initiation, where there is a path.

        What is forgotten besides sessions can keep one from being made: a cookie of a peer that has restarted, and the
        timestamp below which initiations are refused, of one whose clock has gone back.  As after a restart of ours, an
        old initiation may then be answered once more, which makes no session.
        """
        self.forget_sessions()
        self._jar = CookieJar(self.remote)
        self._taken_at, self._taken_timestamp = NEVER, b""
        self._initiate_from, self._unanswered = NEVER, 0
        return self._initiation(now)

    # --- time ---

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before another call."""
        return self._timers.next_timeout()

    def handle_timeout(self, now: float) -> list[bytes]:
        """Return the datagrams that are due: retransmitted initiations, keepalives."""
        send: list[bytes] = []
        for reminder in self._timers.due(now):
            match reminder:
                case Reminder.FORGET_KEYS:
                    self.forget_sessions()
                case Reminder.RETRANSMIT:
                    send.append(self._next_initiation(now))
                case Reminder.GIVE_UP:
                    self._give_up()
                case Reminder.NEW_HANDSHAKE:
                    send += self._initiation(now)
                case Reminder.KEEPALIVE if self.has_session(now):
                    send += self._seal([b""], now)
                case Reminder.PERSISTENT_KEEPALIVE:
                    send += self.keepalive(now)
        return send

    def next_event(self) -> TunnelEvent | None:
        """Return the oldest event not yet returned."""
        return self._events.popleft() if self._events else None

    # --- sending ---

    def _may_send(self, count: int, now: float) -> bool:
        current = self._keypairs.current
        return current is not None and current.may_send(count, now)

    def _seal(self, packets: Sequence[Buffer], now: float) -> list[bytes]:
        """Seal with the current keypair; an initiation follows where that is due."""
        current = self._keypairs.current
        assert current is not None
        datagrams = current.seal(packets, self.mtu)
        self.counters.tx_bytes += sum(map(len, datagrams))
        if any(packets):
            self._timers.on_data_sent(now)
        self._timers.on_authenticated_sent(now)
        if current.rekey_after_send(now):
            datagrams += self._initiation(now)
        return datagrams

    def _wait(self, packets: Sequence[Buffer]) -> None:
        self._waiting.extend(map(bytes, packets))
        while len(self._waiting) > MAX_QUEUED_PACKETS:
            self._waiting.popleft()
            self.counters.queued_dropped += 1

    def _flush(self, now: float) -> list[bytes]:
        """Seal the packets that waited, if they can go."""
        if not self._waiting or not self.reachable or not self._may_send(len(self._waiting), now):
            return []
        packets, self._waiting = self._waiting, deque()
        return self._seal(packets, now)

    def _initiation(self, now: float) -> list[bytes]:
        """Return an initiation, unless there is no path or it is too early; then it follows in time."""
        if not self.reachable:
            return []
        if now < self._initiate_from:
            self._timers.on_initiation_deferred(self._initiate_from, now)
            return []
        return [self._next_initiation(now)]

    def _next_initiation(self, now: float) -> bytes:
        timestamp = self._timestamp()  # may have to write to a disk, which can fail: before anything has changed
        self._forget_initiated()
        initiation, self._initiated = noise.create_initiation(
            self._local,
            self._remote_static,
            sender=self._indices.take(self),
            ephemeral_private=self._entropy(KEY_LEN),
            timestamp=timestamp,
        )
        self._initiated_at, self._initiate_from = now, now + REKEY_TIMEOUT
        self._unanswered += 1
        if self._unanswered > 1:
            self._events.append(InitiationUnanswered(self._unanswered))
        self._timers.on_initiation_sent(now)
        self._timers.on_authenticated_sent(now)
        datagram = self._jar.sign(initiation, now)
        self.counters.tx_bytes += len(datagram)
        return datagram

    def _forget_initiated(self) -> None:
        if self._initiated is not None:
            self._indices.release(self._initiated.sender)
            self._initiated = None

    def _give_up(self) -> None:
        self._forget_initiated()
        self._unanswered = 0
        self.counters.queued_dropped += len(self._waiting)
        self._waiting.clear()
        self._events.append(HandshakeGivenUp())

    # --- receiving ---

    def _open(self, keypair: Keypair, datagrams: Sequence[Buffer], via: Hashable, now: float) -> Decapsulated:
        """Decrypt a batch, then drop from it what the window has seen."""
        counters, plaintexts = keypair.open(datagrams)
        genuine = counters
        if None in plaintexts:
            genuine = [counter for counter, opened in zip(counters, plaintexts, strict=True) if opened is not None]
            self.counters.forged += len(counters) - len(genuine)
        accepted = keypair.window.accept_batch(genuine)
        fresh: list[int] = genuine
        stale: list[int] = []
        if False in accepted:
            fresh, stale = list(compress(genuine, accepted)), list(compress(genuine, map(not_, accepted)))
            self.counters.replayed += len(stale)
            verdicts = iter(accepted)
            plaintexts = [opened if opened is not None and next(verdicts) else None for opened in plaintexts]
        if len(fresh) < len(datagrams):
            datagrams = [datagram for datagram, kept in zip(datagrams, plaintexts, strict=True) if kept is not None]
        self.counters.rx_bytes += sum(map(len, datagrams))
        keypair.credits.accepted(via, fresh, now)
        credited = bool(fresh or (stale and keypair.credits.seen_on(via, max(stale), now)))
        return Decapsulated(plaintexts, heard=bool(fresh), credited=credited)

    def _on_heard(self, keypair: Keypair, data: bool, now: float) -> list[bytes]:
        """Take note of authenticated packets.  Returns what they set free."""
        send: list[bytes] = []
        keypair.heard_at = now
        self._timers.on_authenticated_received(now)
        if data:
            self._timers.on_data_received(now)
        if self._keypairs.on_opened(keypair, peer_wins=self.remote > self._local.public):
            self._forget_initiated()  # an initiation of ours that crossed the peer's would only make another keypair
            self._on_proven("responder", None, now)
            send += self._flush(now)
        current = self._keypairs.current  # not what was heard: that may have been renewed already
        if current is not None and current.rekey_after_receive(now):
            send += self._initiation(now)
        return send

    def _on_proven(self, role: Role, rtt_s: float | None, now: float) -> None:
        self._unanswered = 0
        self.proven_at = now
        self._timers.on_session_proven()
        self._events.append(SessionProven(role, rtt_s))
