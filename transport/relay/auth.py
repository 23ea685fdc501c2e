"""The token by which a client logs in: a signed expiry time (relay spec 4).

    0       1            33
    +-------+------------+------------------------------------------+
    | 0x01  | signature  | expiry: Unix seconds, decimal ASCII text |
    +-------+------------+------------------------------------------+

The signature is HMAC-SHA256 over the expiry text, with the SHA-256 of the shared secret's text as key.
"""

import hashlib
import hmac
import re
from typing import Final

from config.keys import Secret
from config.schema import RelayCredentials
from transport.errors import RemoteProtocolError

HMAC_SHA256: Final = 1  # the algorithm byte; no other is assigned
SIGNATURE_LEN = 32
MIN_EXPIRY_LEN = 10  # relay spec 4.5
TOKEN_TTL_S = 48 * 3600.0
"""How long a token that we make for ourselves is valid: a local clock that is a day behind still logs in."""

_INT64 = range(-(2**63), 2**63)
_DECIMAL = re.compile(rb"[+-]?[0-9]{1,200}")  # as many as a token has room for, leading zeros included


class TokenRefused(RemoteProtocolError):
    """The token does not entitle to a login; the message says why."""


def key_of(secret: Secret) -> Secret:
    """Return the HMAC key (32 bytes) of the shared secret's text."""
    return Secret(hashlib.sha256(secret.value).digest())


def make_token(key: Secret, now_unix_s: float, ttl_s: float = TOKEN_TTL_S) -> Secret:
    """Return a token that is valid for `ttl_s` from now."""
    expiry = str(int(now_unix_s + ttl_s)).encode("ascii")
    return Secret(bytes((HMAC_SHA256,)) + _signature(key, expiry) + expiry)


def login_token(credentials: RelayCredentials, now_unix_s: float) -> Secret:
    """Return the token to log in with now: the issued one, or one made from the secret."""
    if credentials.token is not None:
        return credentials.token
    assert credentials.secret is not None, "credentials hold a secret or a token"
    return make_token(key_of(credentials.secret), now_unix_s)


def expiry_of(token: Secret) -> int | None:
    """Return when this token expires (Unix seconds), unchecked; None if it does not say."""
    return _expiry(token.value[1 + SIGNATURE_LEN :])


def check_token(token: bytes, key: Secret, now_unix_s: float) -> None:
    """Raise TokenRefused unless the token is signed with `key` and valid now (the order of relay spec 4.5)."""
    if not token:
        raise TokenRefused("empty token")
    # A token too short for the digest of its algorithm, then for an expiry, then of an algorithm nobody knows.
    digest_len = SIGNATURE_LEN if token[0] == HMAC_SHA256 else 0
    if len(token) < 1 + digest_len:
        raise TokenRefused(f"token of {len(token)} bytes, too short for its signature")
    signature, expiry = token[1 : 1 + digest_len], token[1 + digest_len :]
    if len(expiry) < MIN_EXPIRY_LEN:
        raise TokenRefused(f"expiry of {len(expiry)} characters; it has at least {MIN_EXPIRY_LEN}")
    if token[0] != HMAC_SHA256:
        raise TokenRefused(f"unknown algorithm {token[0]}; {HMAC_SHA256} is HMAC-SHA256")
    if not hmac.compare_digest(signature, _signature(key, expiry)):
        raise TokenRefused("signed with another secret")
    expires_unix_s = _expiry(expiry)
    if expires_unix_s is None:
        raise TokenRefused("the expiry is no number")
    if int(now_unix_s) > expires_unix_s:
        raise TokenRefused(f"expired {int(now_unix_s) - expires_unix_s} s ago")


def _signature(key: Secret, expiry: bytes) -> bytes:
    return hmac.digest(key.value, expiry, hashlib.sha256)


def _expiry(text: bytes) -> int | None:
    if not _DECIMAL.fullmatch(text):
        return None
    value = int(text)
    return value if value in _INT64 else None
