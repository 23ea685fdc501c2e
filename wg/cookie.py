"""mac1, mac2, cookie replies, and whose handshakes are worth the work under load (whitepaper sections 5.3 and 5.4.7).

    handshake message -> HandshakeGate -> wrong mac1: dropped
                                       -> no load: admitted
                                       -> load, no valid mac2: a cookie reply goes back
                                       -> load, valid mac2: admitted, at a limited rate for each source

Every message of ours gets its macs from the CookieJar of the peer it goes to, which holds that peer's last cookie.
"""

import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from wg.constants import (
    COOKIE_LATENCY,
    COOKIE_NONCE_LEN,
    COOKIE_SECRET_MAX_AGE,
    HASH_LEN,
    LABEL_COOKIE,
    LABEL_MAC1,
    MAC_LEN,
)
from wg.messages import NO_MAC, Buffer, CookieReply, Initiation, Response, encode

# Handshake messages of all peers: at 200/s they cost about 8 % of a core; a burst is a network that comes back at once.
LOAD_PER_S = 200.0
LOAD_BURST = 500.0
UNDER_LOAD_S = 1.0  # how long load is assumed after the last excess

# Of one source under load, once it has proven its address (the numbers are the kernel's).
SOURCE_PER_S = 20.0
SOURCE_BURST = 5.0
MAX_SOURCES = 4096
_NETWORK_LENS = {6: 4, 18: 8}  # an IPv4 host and an IPv6 /64 are one source each; a relayed sender is one itself

Verdict = Literal["admitted", "dropped"] | bytes


@dataclass(slots=True)
class GateCounters:
    """What the gate did with handshake messages."""

    admitted: int = 0
    wrong_mac1: int = 0  # not meant for our key
    cookies_sent: int = 0
    rate_limited: int = 0
    sources_forgotten: int = 0  # pushed out of the full table of rates; the next message finds a full bucket


class HandshakeGate:
    """Stands before the handshakes of one static key.  `entropy(n)` returns n secret random bytes."""

    def __init__(self, local_public: bytes, entropy: Callable[[int], bytes]) -> None:
        self.counters = GateCounters()
        self._entropy = entropy
        self._mac1_key = _hash(LABEL_MAC1, local_public)
        self._cookie_key = _hash(LABEL_COOKIE, local_public)
        self._secret = b""
        self._secret_expires_at = float("-inf")
        self._load = TokenBucket(LOAD_PER_S, LOAD_BURST)
        self._load_until = float("-inf")
        self._sources: OrderedDict[bytes, TokenBucket] = OrderedDict()  # the one heard last at the end

    def admit(self, datagram: Buffer, source: bytes, now: float) -> Verdict:
        """Judge an initiation or a response of the right length; bytes are a cookie reply to send back instead.

        `source` is what a cookie binds to: the packed IP address and 2 bytes of port, or whatever names the sender of
        a relayed message in another length than 6 or 18.
        """
        data = bytes(datagram)
        unsigned, mac1, mac2 = data[: -2 * MAC_LEN], data[-2 * MAC_LEN : -MAC_LEN], data[-MAC_LEN:]
        if not hmac.compare_digest(mac1, _mac(self._mac1_key, unsigned)):
            self.counters.wrong_mac1 += 1
            return "dropped"
        if not self._load.take(now):
            self._load_until = now + UNDER_LOAD_S
        if self.under_load(now):
            if not hmac.compare_digest(mac2, _mac(self._cookie(source, now), unsigned + mac1)):
                self.counters.cookies_sent += 1
                return self._cookie_reply(int.from_bytes(data[4:8], "little"), mac1, source, now)
            if not self._bucket_of(source, now).take(now):
                self.counters.rate_limited += 1
                return "dropped"
        self.counters.admitted += 1
        return "admitted"

    def under_load(self, now: float) -> bool:
        """Return whether a cookie is asked for now."""
        return now < self._load_until

    def _cookie(self, source: bytes, now: float) -> bytes:
        if now >= self._secret_expires_at:
            self._secret = self._entropy(HASH_LEN)
            self._secret_expires_at = now + COOKIE_SECRET_MAX_AGE
        return _mac(self._secret, source)

    def _cookie_reply(self, receiver: int, mac1: bytes, source: bytes, now: float) -> bytes:
        nonce = self._entropy(COOKIE_NONCE_LEN)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(self._cookie(source, now), mac1, nonce, self._cookie_key)
        return encode(CookieReply(receiver, nonce, sealed))

    def _bucket_of(self, source: bytes, now: float) -> "TokenBucket":
        network = source[: _NETWORK_LENS.get(len(source), len(source))]
        bucket = self._sources.get(network)
        if bucket is None:
            bucket = self._sources[network] = TokenBucket(SOURCE_PER_S, SOURCE_BURST, now)
        self._sources.move_to_end(network)
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
            self.counters.sources_forgotten += 1
        return bucket


class CookieJar:
    """Signs the handshake messages to one peer, with the cookie that it gave us last."""

    def __init__(self, remote_public: bytes) -> None:
        self._mac1_key = _hash(LABEL_MAC1, remote_public)
        self._cookie_key = _hash(LABEL_COOKIE, remote_public)
        self._cookie = b""
        self._cookie_expires_at = float("-inf")
        # Both roles may be at work at once, each with a message on the way that a cookie reply can be for.
        self._sent: deque[tuple[int, bytes]] = deque(maxlen=2)  # sender index and mac1

    def sign(self, message: Initiation | Response, now: float) -> bytes:
        """Return the bytes of the message with mac1, and with mac2 while there is a fresh cookie."""
        data = encode(message)[: -2 * MAC_LEN]
        mac1 = _mac(self._mac1_key, data)
        self._sent.append((message.sender, mac1))
        return b"".join((data, mac1, _mac(self._cookie, data + mac1) if now < self._cookie_expires_at else NO_MAC))

    def consume(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie for later messages.  Returns False if it answers none of our last two."""
        for sender, mac1 in self._sent:
            if sender != reply.receiver:
                continue
            try:
                cookie = crypto_aead_xchacha20poly1305_ietf_decrypt(
                    reply.sealed_cookie, mac1, reply.nonce, self._cookie_key
                )
            except CryptoError:
                continue
            self._cookie = cookie
            self._cookie_expires_at = now + COOKIE_SECRET_MAX_AGE - COOKIE_LATENCY
            return True
        return False


class TokenBucket:
    """Allows `burst` at once and `per_s` in the long run."""

    __slots__ = ("_burst", "_checked_at", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: float, now: float = 0.0) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._checked_at = burst, now

    def take(self, now: float) -> bool:
        """Take one token; False: there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._checked_at) * self._per_s)
        self._checked_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _hash(label: bytes, key: bytes) -> bytes:
    return hashlib.blake2s(label + key).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=MAC_LEN).digest()
