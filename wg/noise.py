"""The handshake, Noise_IKpsk2, in both roles (whitepaper sections 5.4.1 to 5.4.5).

    initiator                                responder
    create_initiation  -- Initiation -->     read_initiation     who claims to send it?  Costs a Diffie-Hellman
        -> Initiated                         check_initiation    is it them, and when was it sent?
    consume_response   <-- Response ---      create_response
        -> TransportKeys                         -> TransportKeys

Records here carry no macs; `cookie` adds and checks them.  Whatever does not authenticate raises HandshakeRejected.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from config.keys import InvalidKey
from wg.constants import CONSTRUCTION, IDENTIFIER
from wg.errors import HandshakeRejected
from wg.messages import Initiation, Response

_NONCE_0 = bytes(12)


class LocalStatic:
    """Our static key pair, both 32 bytes."""

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Return DH(our static, public).  Raises HandshakeRejected if that is all zeros."""
        return _dh(self._private, public)


class RemoteStatic:
    """A peer's static public key, with the one Diffie-Hellman result that all its handshakes share.

    Raises InvalidKey for the few keys with which nothing can be agreed upon.
    """

    def __init__(self, local: LocalStatic, public: bytes) -> None:
        self.public = public
        try:
            self.static_static = local.exchange(public)
        except HandshakeRejected:
            raise InvalidKey("this public key is a point of low order: no handshake with it can be secret") from None


class TransportKeys(NamedTuple):
    """The two keys of a session, 32 bytes each."""

    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return "TransportKeys(...)"


class Transcript:
    """The chaining key C and the hash H, through which every step of the handshake goes."""

    def __init__(self, responder_public: bytes) -> None:
        self._chain = _hash(CONSTRUCTION)
        self._hash = _hash(_hash(self._chain, IDENTIFIER), responder_public)

    def copy(self) -> "Transcript":
        """Return another with the same C and H."""
        twin = object.__new__(Transcript)
        twin._chain, twin._hash = self._chain, self._hash
        return twin

    def mix_ephemeral(self, public: bytes) -> None:
        """C := KDF1(C, E); H := HASH(H || E)."""
        self.mix_secret(public)
        self._hash = _hash(self._hash, public)

    def mix_secret(self, secret: bytes) -> None:
        """C := KDF1(C, secret)."""
        (self._chain,) = _kdf(self._chain, secret, 1)

    def mix_key(self, secret: bytes) -> bytes:
        """(C, k) := KDF2(C, secret).  Returns k."""
        self._chain, key = _kdf(self._chain, secret, 2)
        return key

    def mix_preshared_key(self, preshared_key: bytes) -> bytes:
        """(C, t, k) := KDF3(C, Q); H := HASH(H || t).  Returns k."""
        self._chain, temporary, key = _kdf(self._chain, preshared_key, 3)
        self._hash = _hash(self._hash, temporary)
        return key

    def seal(self, key: bytes, plaintext: bytes) -> bytes:
        """Return AEAD(k, 0, plaintext, H) and mix it into H."""
        sealed = ChaCha20Poly1305(key).encrypt(_NONCE_0, plaintext, self._hash)
        self._hash = _hash(self._hash, sealed)
        return sealed

    def open(self, key: bytes, sealed: bytes, what: str) -> bytes:
        """Return the plaintext of AEAD(k, 0, plaintext, H) and mix the sealed form into H."""
        try:
            plaintext = ChaCha20Poly1305(key).decrypt(_NONCE_0, sealed, self._hash)
        except InvalidTag:
            raise HandshakeRejected(f"{what} does not authenticate") from None
        self._hash = _hash(self._hash, sealed)
        return plaintext

    def initiator_keys(self) -> TransportKeys:
        """(T_i, T_r) := KDF2(C, empty), as the initiator uses them."""
        return TransportKeys(*_kdf(self._chain, b"", 2))

    def responder_keys(self) -> TransportKeys:
        """Return the same, as the responder uses them."""
        receive, send = _kdf(self._chain, b"", 2)
        return TransportKeys(send, receive)


@dataclass(frozen=True, slots=True, repr=False)
class Initiated:
    """What the initiator keeps until the response comes."""

    sender: int
    ephemeral: X25519PrivateKey
    transcript: Transcript


class ReadInitiation(NamedTuple):
    """An initiation, read as far as who claims to have sent it."""

    remote: bytes  # the static public key, 32 bytes: it picks the tunnel
    initiation: Initiation
    transcript: Transcript


class CheckedInitiation(NamedTuple):
    """An initiation that its sender's static key authenticates; it may still be a replay."""

    timestamp: bytes  # TAI64N, 12 bytes
    initiation: Initiation
    remote: RemoteStatic
    transcript: Transcript


def create_initiation(
    local: LocalStatic, remote: RemoteStatic, *, sender: int, ephemeral_private: bytes, timestamp: bytes
) -> tuple[Initiation, Initiated]:
    """Start a handshake (section 5.4.2)."""
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_private)
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    transcript = Transcript(remote.public)
    transcript.mix_ephemeral(ephemeral_public)
    sealed_static = transcript.seal(transcript.mix_key(_dh(ephemeral, remote.public)), local.public)
    sealed_timestamp = transcript.seal(transcript.mix_key(remote.static_static), timestamp)
    initiation = Initiation(sender, ephemeral_public, sealed_static, sealed_timestamp)
    return initiation, Initiated(sender, ephemeral, transcript)


def read_initiation(local: LocalStatic, initiation: Initiation) -> ReadInitiation:
    """Open the sender's static key.  Raises HandshakeRejected.

    It proves only that the sender knows our public key; nothing may change before `check_initiation`.
    """
    transcript = Transcript(local.public)
    transcript.mix_ephemeral(initiation.ephemeral)
    key = transcript.mix_key(local.exchange(initiation.ephemeral))
    return ReadInitiation(transcript.open(key, initiation.sealed_static, "static key"), initiation, transcript)


def check_initiation(read: ReadInitiation, remote: RemoteStatic) -> CheckedInitiation:
    """Open the timestamp.  Raises HandshakeRejected.  `remote` is the peer whose key was read."""
    transcript = read.transcript.copy()
    key = transcript.mix_key(remote.static_static)
    timestamp = transcript.open(key, read.initiation.sealed_timestamp, "timestamp")
    return CheckedInitiation(timestamp, read.initiation, remote, transcript)


def create_response(
    checked: CheckedInitiation, *, sender: int, ephemeral_private: bytes, preshared_key: bytes
) -> tuple[Response, TransportKeys]:
    """Answer an initiation (section 5.4.3).  Raises HandshakeRejected for an ephemeral of low order."""
    transcript, theirs = checked.transcript.copy(), checked.initiation.ephemeral
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_private)
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    transcript.mix_ephemeral(ephemeral_public)
    transcript.mix_secret(_dh(ephemeral, theirs))
    transcript.mix_secret(_dh(ephemeral, checked.remote.public))
    sealed_empty = transcript.seal(transcript.mix_preshared_key(preshared_key), b"")
    response = Response(sender, checked.initiation.sender, ephemeral_public, sealed_empty)
    return response, transcript.responder_keys()


def consume_response(
    local: LocalStatic, initiated: Initiated, response: Response, *, preshared_key: bytes
) -> TransportKeys:
    """Finish a handshake of ours.  Raises HandshakeRejected, and then a genuine response may still come."""
    transcript = initiated.transcript.copy()
    transcript.mix_ephemeral(response.ephemeral)
    transcript.mix_secret(_dh(initiated.ephemeral, response.ephemeral))
    transcript.mix_secret(local.exchange(response.ephemeral))
    transcript.open(transcript.mix_preshared_key(preshared_key), response.sealed_empty, "handshake response")
    return transcript.initiator_keys()


def _dh(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # the library's word for an all-zero result, which RFC 7748 section 6.1 has us refuse
        raise HandshakeRejected("a public key of low order") from None


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    """KDF_n of section 5.4: HKDF with HMAC-BLAKE2s, `count` outputs of 32 bytes."""
    secret = hmac.digest(key, data, hashlib.blake2s)
    outputs = [b""]
    for index in range(1, count + 1):
        outputs.append(hmac.digest(secret, outputs[-1] + bytes([index]), hashlib.blake2s))
    return outputs[1:]
