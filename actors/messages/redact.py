"""Takes secrets out of an encoded message before a trace keeps it: every `config.keys.Secret`, and nothing else.

Which types can hold one is worked out from their fields, once, so that mail without secrets costs one look-up.  A
secret is replaced by a placeholder of the same length, so that the encoding around it stays as it is.  The placeholder
is a keyed hash: equal secrets have equal placeholders within a run, and tell nothing without the key.
"""

import hashlib
import types
import typing
from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from config.keys import Secret

MARK = b"secret:"  # what a placeholder begins with, as far as there is room
_FILLER = b"*"
_HASH_LEN = 4

_Path = tuple[str, ...]

_paths: dict[type[msgspec.Struct], tuple[_Path, ...]] = {}


class Redactor:
    """Redacts messages of one run."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def redact(self, message: msgspec.Struct, body: bytes) -> bytes:
        """Return the message's encoding `body` with every secret replaced; the same object when it holds none."""
        for secret in secrets_of(message):
            if secret.value:
                body = body.replace(_encoded(secret.value), _encoded(self.placeholder(secret.value)))
        return body

    def placeholder(self, secret: bytes) -> bytes:
        """Return as many bytes that stand for the secret: `secret:3f2a9c01*****`."""
        digest = hashlib.blake2s(secret, key=self._key, digest_size=_HASH_LEN).hexdigest().encode("ascii")
        return (MARK + digest).ljust(len(secret), _FILLER)[: len(secret)]


def secrets_of(message: msgspec.Struct) -> list[Secret]:
    """Return every secret in a message."""
    found: list[Secret] = []
    for path in paths(type(message)):
        value: object = message
        for name in path:
            value = getattr(value, name)
            if value is None:
                break
        else:
            found.extend((value,) if isinstance(value, Secret) else _secrets_within(value))
    return found


def paths(struct: type[msgspec.Struct]) -> tuple[_Path, ...]:
    """Return the ways to all that can hold a secret in this message type: attribute names, down to a container."""
    known = _paths.get(struct)
    if known is None:
        known = _paths[struct] = tuple(_find_paths(struct, (struct,)))
    return known


def _find_paths(struct: type[msgspec.Struct], above: tuple[type, ...]) -> Iterator[_Path]:
    for field in msgspec.structs.fields(struct):
        carriers = [part for part in _alternatives(field.type) if _can_hold(part, set())]
        if not carriers:
            continue
        inner = carriers[0]
        if len(carriers) > 1 or not _is_struct(inner) or inner is Secret or inner in above:
            yield (field.name,)
        else:
            yield from ((field.name, *path) for path in _find_paths(inner, (*above, inner)))


def _is_struct(hint: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _alternatives(hint: object) -> tuple[object, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _can_hold(hint: object, asked: set[type]) -> bool:
    """Whether a value of this type can hold a secret; `asked` are types that are being looked at already."""
    if hint is Secret:
        return True
    if not _is_struct(hint):
        return any(_can_hold(part, asked) for part in typing.get_args(hint))
    if hint in asked:
        return False
    asked.add(hint)
    return any(_can_hold(field.type, asked) for field in msgspec.structs.fields(hint))


def _secrets_within(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from secrets_of(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets_within(key)
            yield from _secrets_within(item)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for item in value:
            yield from _secrets_within(item)


def _encoded(value: bytes) -> bytes:
    """Return a secret as it lies in an encoded message: an array of one bin."""
    return msgspec.msgpack.encode(Secret(value))
