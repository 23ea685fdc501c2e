"""One WireGuard peer: its handshake in both roles, its keypairs, its timers, and the packets that wait for them.

Sans-IO and without paths.  Whatever a method returns as `send`, or as a plain list of datagrams, goes where the peer's
packets go now; what is returned as an answer goes back to where the message came from.  Drain `next_event` and re-read
`next_timeout` after each call.  No input from the network raises.
"""

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wg.constants import NO_PRESHARED_KEY
from wg.keypair import Role
from wg.messages import Buffer, CookieReply, Response
from wg.noise import LocalStatic, ReadInitiation


class Indices(Protocol):
    """Gives out session indices: 32 bits, random, unique among all tunnels of a socket."""

    def take(self, tunnel: "Tunnel") -> int:
        """Return a fresh index; messages whose receiver it is belong to `tunnel` until it is given back."""

    def release(self, index: int) -> None:
        """Take an index back; messages for it are strangers' from now on."""


@dataclass(frozen=True, slots=True)
class SessionProven:
    """A new keypair is proven: as initiator by the response, as responder by the first transport data."""

    role: Role
    rtt_s: float | None  # initiation to response; None for the responder


@dataclass(frozen=True, slots=True)
class InitiationUnanswered:
    """An initiation went unanswered for REKEY_TIMEOUT, and another was sent."""

    attempts: int  # initiations sent since the last answer


@dataclass(frozen=True, slots=True)
class HandshakeGivenUp:
    """REKEY_ATTEMPT_TIME went by without an answer; initiations stop until there is something to send."""


TunnelEvent = SessionProven | InitiationUnanswered | HandshakeGivenUp


@dataclass(slots=True)
class Decapsulated:
    """What came of a batch of transport data that arrived on one path."""

    plaintexts: list[bytes | None]  # parallel to the datagrams, padding still on; b"": keepalive; None: dropped
    counters: list[int]  # parallel to the datagrams
    heard: bool = False  # something authenticated passed the replay window
    credited: bool = False  # `heard`, or a first duplicate of what another path delivered just now (recovery R13)
    send: list[bytes] = field(default_factory=list)  # datagrams for the peer, on the path in use


@dataclass(slots=True)
class TunnelCounters:
    """What happened to a peer's packets."""

    tx_bytes: int = 0  # whole datagrams, handshake messages among them
    rx_bytes: int = 0  # of datagrams that authenticated
    queued_dropped: int = 0  # packets, the oldest first, while more than MAX_QUEUED_PACKETS waited; or when given up
    forged: int = 0  # transport data that did not authenticate
    replayed: int = 0  # transport data that the window had seen, or that is too old for it
    expired: int = 0  # transport data for a keypair past its limits, or gone
    initiations_refused: int = 0  # replayed timestamps, floods, wrong keys
    responses_refused: int = 0  # to no initiation of ours, or wrong keys (preshared key among them)
    cookies_refused: int = 0


class Tunnel:
    """One peer.

    `timestamp()` returns 12 bytes of TAI64N, each greater than any before; `entropy(n)` n secret random bytes; `rng`
    serves jitter only.  `mtu` is the inner MTU: padding never makes a packet longer.
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
        self.counters = TunnelCounters()
        self.proven_at: float | None = None  # when the last session was proven; None: never
        self.reachable = True

    # --- packets ---

    def encapsulate(self, packets: Sequence[Buffer], now: float) -> list[bytes]:
        """Return the datagrams that carry these (non-empty) packets; without a session they wait, and one is asked for.

        An initiation may be among them: asked for, or because the keypair is due for renewal.
        """
        raise NotImplementedError

    def decapsulate(self, receiver: int, datagrams: Sequence[Buffer], via: Hashable, now: float) -> Decapsulated:
        """Open transport data for one receiver index that arrived on one path.

        `via` names the path and is compared only; it should be stable (a kind and an incarnation, not an endpoint).
        Each datagram has that receiver in its header (`messages.transport_receiver`).
        """
        raise NotImplementedError

    def has_session(self, now: float) -> bool:
        """Return whether a packet handed to `encapsulate` would leave at once."""
        raise NotImplementedError

    # --- handshake messages; their mac1 was checked by `cookie.HandshakeGate` ---

    def consume_initiation(self, read: ReadInitiation, now: float) -> bytes | None:
        """Return the handshake response, which goes back where the initiation came from; None: refused."""
        raise NotImplementedError

    def consume_response(self, response: Response, now: float) -> list[bytes] | None:
        """Take the answer to our initiation.  Returns what proves it: the packets that waited, or a keepalive.

        None: refused, nothing changed.
        """
        raise NotImplementedError

    def consume_cookie_reply(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie for the next handshake message.  Returns False where it is not for our last ones."""
        raise NotImplementedError

    # --- what the control side asks for ---

    def initiate(self, now: float) -> bytes | None:
        """Return a handshake initiation, or None if one was sent less than REKEY_TIMEOUT ago or there is no path."""
        raise NotImplementedError

    def keepalive(self, now: float) -> list[bytes]:
        """Return a keepalive, or without a session what `initiate` gives."""
        raise NotImplementedError

    def set_reachable(self, reachable: bool, now: float) -> list[bytes]:
        """Say whether the peer has a path.  Without one nothing is sent but answers, and packets wait.

        Returns what is owed at once when a path appears: an initiation for the packets that wait, or these.
        """
        raise NotImplementedError

    def configure(self, *, preshared_key: bytes, persistent_keepalive_s: float, now: float) -> list[bytes]:
        """Change settings; sessions stay.  Returns the first keepalive where persistent keepalive was turned on."""
        raise NotImplementedError

    def forget_sessions(self) -> None:
        """Drop all keypairs and the handshake in flight and give back their indices; waiting packets stay."""
        raise NotImplementedError

    # --- time ---

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before another call."""
        raise NotImplementedError

    def handle_timeout(self, now: float) -> list[bytes]:
        """Return the datagrams that are due now: retransmitted initiations, keepalives."""
        raise NotImplementedError

    def next_event(self) -> TunnelEvent | None:
        """Return the oldest event not yet returned."""
        raise NotImplementedError
