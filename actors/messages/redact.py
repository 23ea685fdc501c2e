"""Takes secrets out of an encoded message before a trace keeps it: every `config.keys.Secret`, and nothing else.

Which types can hold one is worked out from their fields, once, so that mail without secrets costs one look-up.  A
secret is replaced by a placeholder of the same length, so that the encoding around it stays as it is.  The placeholder
is a keyed hash: equal secrets have equal placeholders within a run, and tell nothing without the key.
"""

import hashlib
import typing
from collections.abc import Iterator

import msgspec

from config.keys import Secret

MARK = b"secret:"  # what a placeholder begins with, as far as there is room
_FILLER = b"*"
_HASH_LEN = 4

_carriers: dict[type[msgspec.Struct], tuple[str, ...]] = {}


class Redactor:
    """Redacts messages of one run."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def redact(self, message: msgspec.Struct, body: bytes) -> bytes:
        """Return the message's encoding `body` with every secret replaced; the same object when it holds none."""
        if not carriers(type(message)):
            return body
        for secret in secrets_in(message):
            if secret.value:
                body = body.replace(_encoded(secret.value), _encoded(self.placeholder(secret.value)))
        return body

    def placeholder(self, secret: bytes) -> bytes:
        """Return as many bytes that stand for the secret: `secret:3f2a9c01*****`."""
        digest = hashlib.blake2s(secret, key=self._key, digest_size=_HASH_LEN).hexdigest().encode("ascii")
        return (MARK + digest).ljust(len(secret), _FILLER)[: len(secret)]


def carriers(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields of this message type that can hold a secret, however deep."""
    known = _carriers.get(struct)
    if known is None:
        _carriers[struct] = ()  # a type that contains itself ends here
        known = tuple(field.name for field in msgspec.structs.fields(struct) if _can_hold(field.type))
        _carriers[struct] = known
    return known


def secrets_in(value: object) -> Iterator[Secret]:
    """Yield every secret in a message or a part of one."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in carriers(type(value)):
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from secrets_in(key)
            yield from secrets_in(item)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for item in value:
            yield from secrets_in(item)


def _can_hold(hint: object) -> bool:
    if hint is Secret:
        return True
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return bool(carriers(hint))
    return any(_can_hold(part) for part in typing.get_args(hint))


def _encoded(value: bytes) -> bytes:
    """Return a secret as it lies in an encoded message: an array of one bin."""
    return msgspec.msgpack.encode(Secret(value))
