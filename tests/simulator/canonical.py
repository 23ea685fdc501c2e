"""What tells one state from others: numbers and random bytes count by their order and sameness, not by their value.

Offers, turns and generations are numbered upwards and only compared; session ids and passwords are drawn fresh and only
compared for being equal.  So two states that differ in nothing else do the same from here on, and are one.
"""

import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from random import Random
from types import MethodType
from typing import Any

import msgspec

NUMBERS = ("generation", "against", "open", "closes", "offer_id", "acknowledges", "remote_id", "turn", "in_hand")
"""Parts of the names of fields that hold such numbers; 0 stays 0."""

WITHOUT = frozenset(
    {
        *("nonce", "_nonces", "_entropy", "drawn"),
        *("repeated", "overtaken", "replaced", "moves", "dropped", "disruptions", "counts", "recoveries", "_by_cause"),
        *("reason", "words", "hindrances", "recovered", "cause", "last_recovery_s", "last_recovery_cause"),
        *(
            "_account",
            "_noted",
            "_unanswered",
            "tried",
            "_tried",
            "posted",
            "count",
            "last_s",
            "last_words",
            "longest_s",
        ),
    }
)
"""Fields that decide nothing: what was counted, what is said of it, and nonces, which never come twice here."""


def canonical(root: object) -> bytes:
    """Return 16 bytes that tell this state."""
    leaves = list(_leaves(root, ""))
    numbers = sorted({value for name, value in leaves if _is_number(name, value)})
    ranks = {value: rank for rank, value in enumerate(numbers)}
    drawn: dict[object, int] = {}
    said = []
    for name, value in leaves:
        if _is_number(name, value):
            said.append(f"{name}=#{ranks[value]}")
        elif _is_drawn(name, value):
            said.append(f"{name}=~{drawn.setdefault(value, len(drawn))}")
        else:
            said.append(f"{name}={value!r}")
    return hashlib.blake2b("\n".join(said).encode(), digest_size=16).digest()


def _is_number(name: str, value: Any) -> bool:
    return type(value) is int and value > 0 and any(part in name for part in NUMBERS)


def _is_drawn(name: str, value: object) -> bool:
    return isinstance(value, bytes) or name in ("ufrag", "pwd")


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what an object is made of, in the order of its fields."""
    match value:
        case None | bool() | int() | float() | str() | bytes() | Enum():
            yield name, value
        case Random() | MethodType() | type():
            return
        case Mapping():
            for key, held in value.items():
                yield from _leaves(key, name)
                yield from _leaves(held, name)
            yield name, "}"
        case list() | tuple() | deque():
            for held in value:
                yield from _leaves(held, name)
            yield name, "]"
        case set() | frozenset():
            yield name, sorted(repr(held) for held in value)
        case _:
            yield name, type(value).__name__
            for field in _fields(value):
                if field not in WITHOUT:
                    yield from _leaves(getattr(value, field), field)


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, msgspec.Struct):
        yield from value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        yield from (field.name for field in dataclasses.fields(value))
    else:
        yield from vars(value)
