"""Keys as the operator writes them: 32 bytes, in base64 text of 44 characters.

Public keys travel as text everywhere (the signal server routes by it, roles are settled by comparing it), so the text
is the type.  Whatever must stay secret is a `Secret`, which has no readable `repr` and is redacted in every trace.
"""

import base64
import binascii
from importlib import import_module
from typing import NewType

import msgspec

KEY_LEN = 32
SHORT_LEN = 8  # characters of a key in logs and status

PublicKey = NewType("PublicKey", str)
"""A WireGuard public key: canonical standard base64 with padding, 44 characters."""


class InvalidKey(ValueError):
    """The text is no key; the message says what it is, and never repeats it."""


class Secret(msgspec.Struct, frozen=True, array_like=True, repr_omit_defaults=True):
    """Bytes that must not be shown: private and preshared keys, ICE passwords, the relay secret."""

    value: bytes

    def __repr__(self) -> str:
        return f"Secret({len(self.value)} bytes)"

    def __eq__(self, other: object) -> bool:
        # hmac loads OpenSSL, 5 ms: a tenth of what `homing status` costs, which has no secrets.
        return isinstance(other, Secret) and bool(import_module("hmac").compare_digest(self.value, other.value))

    def __hash__(self) -> int:
        return hash(self.value)


def decode_key(text: str) -> bytes:
    """Return the 32 bytes of a key's base64 text.  Raises InvalidKey."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKey(f"{len(text.strip())} characters that are not base64; a key is 44 characters") from None
    if len(raw) != KEY_LEN:
        raise InvalidKey(f"{len(raw)} bytes; a key has {KEY_LEN}")
    return raw


def encode_key(raw: bytes) -> str:
    """Return the base64 text of a key (44 characters)."""
    return base64.b64encode(raw).decode("ascii")


def public_key(text: str) -> PublicKey:
    """Return the canonical public key of this text.  Raises InvalidKey."""
    return PublicKey(encode_key(decode_key(text)))


def short(key: PublicKey) -> str:
    """Return the first 8 characters: how logs and status name a peer."""
    return key[:SHORT_LEN]
