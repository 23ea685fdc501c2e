"""A machine's whole state as plain data, and back: how a tape tells from where `replay` begins.

    {"nodes": [node, ...], "roots": {actor's name: value}}
    value   None, a number, text, bytes; or [index] of a node
    node    [kind, ...]: what holds other values.  Two that share one object share it again.

Only what machines are made of is made again: containers, and classes of a few modules by name, filled without running
any code of theirs.  So a tape from somebody else can say how a machine stands, and nothing more.  A secret is a
placeholder; whatever draws randomness is a mark in the place of which `thaw` puts the reader's.
"""

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from importlib import import_module
from random import Random
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import msgspec
from msgspec.structs import asdict

from actors.trace.draws import Draws
from config.keys import Secret
from transport.errors import RemoteProtocolError

MODULES = (
    "actors.peer.", "actors.messages.", "actors.addresses", "actors.allowance", "actors.effects", "config.keys",
    "transport.signal.messages", "transport.ice.candidates", "wg.paths", "wg.reports",
)  # fmt: skip
MAX_NODES = 20_000  # of a peer's six machines
MAX_DEPTH = 100
SCALARS = (bool, int, float, str, bytes)
SEQUENCES: dict[type, str] = {tuple: "tuple", list: "list", set: "set", frozenset: "frozenset", deque: "deque"}
MAPPINGS: dict[type, str] = {
    dict: "dict",
    OrderedDict: "ordered",
    Counter: "counter",
    defaultdict: "dict",
}
MAKERS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple, "list": list, "set": set, "frozenset": frozenset,
    "dict": dict, "ordered": OrderedDict, "counter": lambda pairs: Counter(dict(pairs)),
}  # fmt: skip

Entropy = Callable[[int], bytes]


class Unfrozen(RemoteProtocolError):
    """What should be a machine's state is none; the message says why."""


class NotFrozen(ValueError):
    """A machine holds something that has no plain form; the message says what."""


def freeze(machines: Mapping[str, object], placeholder: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Return the state of machines that may share objects.  Raises NotFrozen."""
    freezer = _Freezer(placeholder)
    roots = {name: freezer.value(machine) for name, machine in machines.items()}
    return {"nodes": freezer.nodes, "roots": roots}


def thaw(frozen: Mapping[str, Any], entropy: Entropy) -> dict[str, Any]:
    """Return the machines, which draw from `entropy`.  Raises Unfrozen."""
    nodes, roots = frozen.get("nodes"), frozen.get("roots")
    if not isinstance(nodes, list) or not isinstance(roots, dict) or len(nodes) > MAX_NODES:
        raise Unfrozen("it is no state of machines")
    thawer = _Thawer(nodes, entropy)
    try:
        return {str(name): thawer.value(root) for name, root in roots.items()}
    except Unfrozen:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ImportError) as error:
        raise Unfrozen(f"this version cannot make these machines: {type(error).__name__}: {error}") from None


class _Freezer:
    def __init__(self, placeholder: Callable[[bytes], bytes]) -> None:
        self.nodes: list[Any] = []
        self._placeholder = placeholder
        self._known: dict[int, tuple[int, object]] = {}  # by identity; the object is kept so that it stays its own

    def value(self, value: object) -> Any:
        if value is None or type(value) in SCALARS:
            return value
        known = self._known.get(id(value))
        if known is None:
            place = len(self.nodes)
            if place >= MAX_NODES:
                raise NotFrozen(f"more than {MAX_NODES} parts")
            self.nodes.append(None)  # its place, for what refers to it from within
            self._known[id(value)] = known = (place, value)
            self.nodes[place] = self._node(value)
        return [known[0]]

    def _node(self, value: Any) -> list[Any]:
        kind = type(value)
        if kind is Secret:
            return ["secret", self._placeholder(value.value)]
        if kind in SEQUENCES:
            return [SEQUENCES[kind], [self.value(each) for each in value], getattr(value, "maxlen", None)]
        if kind in MAPPINGS:
            return [MAPPINGS[kind], [[self.value(key), self.value(item)] for key, item in value.items()]]
        if isinstance(value, Draws):
            return ["draws", value.key, value.count]
        if isinstance(value, Random):
            return ["random"]
        if isinstance(value, type):
            return ["class", _name(value)]
        if isinstance(value, BuiltinFunctionType | FunctionType | MethodType):
            return ["entropy"]  # the only function that a machine is given
        if isinstance(value, msgspec.Struct):
            return ["struct", _name(kind), {name: self.value(part) for name, part in asdict(value).items()}]
        return ["object", _name(kind), {name: self.value(part) for name, part in _attributes(value).items()}]


class _Thawer:
    def __init__(self, nodes: list[Any], entropy: Entropy) -> None:
        self._nodes, self._entropy = nodes, entropy
        self._made: dict[int, Any] = {}
        self._depth = 0

    def value(self, value: Any) -> Any:
        if value is None or type(value) in SCALARS:
            return value
        if not isinstance(value, list) or len(value) != 1 or type(value[0]) is not int or value[0] < 0:
            raise Unfrozen("a value is neither plain nor refers to a part")
        place = value[0]
        if place not in self._made:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise Unfrozen("its parts refer to each other without end")
            self._made[place] = self._make(place, self._nodes[place])
            self._depth -= 1
        return self._made[place]

    def _make(self, place: int, node: Any) -> Any:
        kind, *rest = node
        match kind:
            case "secret":
                return Secret(bytes(rest[0]))
            case "deque":
                return deque((self.value(each) for each in rest[0]), maxlen=rest[1])
            case "tuple" | "list" | "set" | "frozenset":
                return MAKERS[kind]([self.value(each) for each in rest[0]])
            case "dict" | "ordered" | "counter":
                return MAKERS[kind]([(self.value(key), self.value(item)) for key, item in rest[0]])
            case "draws":
                return Draws(bytes(rest[0]), int(rest[1]))
            case "random":
                return Draws(b"")
            case "class":
                return _class(rest[0])
            case "entropy":
                return self._entropy
            case "struct":
                return _class(rest[0])(**{name: self.value(part) for name, part in rest[1].items()})
            case "object":
                return self._object(place, _class(rest[0]), rest[1])
            case _:
                raise Unfrozen(f"a part of kind {str(kind)[:20]}")

    def _object(self, place: int, kind: type, parts: Mapping[str, Any]) -> Any:
        if not isinstance(kind, type) or issubclass(kind, msgspec.Struct | BaseException):
            raise Unfrozen(f"{kind} is no machine's part")
        made = self._made[place] = object.__new__(kind)
        for name, part in parts.items():
            object.__setattr__(made, name, self.value(part))
        return made


def _name(kind: type) -> str:
    if not _allowed(kind.__module__):
        raise NotFrozen(f"a {kind.__module__}.{kind.__qualname__}")
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: Any) -> type:
    module, _, qualified = str(name).partition(":")
    if not _allowed(module) or not qualified.isidentifier():
        raise Unfrozen(f"{str(name)[:80]} is no part of a machine")
    found = getattr(import_module(module), qualified)
    if not isinstance(found, type) or found.__module__ != module:
        raise Unfrozen(f"{str(name)[:80]} is no class")
    return found


def _allowed(module: str) -> bool:
    parts_are_names = all(part.isidentifier() and not part.startswith("__") for part in module.split("."))
    return parts_are_names and any(module == one or (one[-1] == "." and module.startswith(one)) for one in MODULES)


def _attributes(value: object) -> dict[str, Any]:
    """Return the attributes of an object, whether they lie in its dict, or in slots."""
    found: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        found.update({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    for kind in type(value).__mro__:
        for name in kind.__dict__.get("__slots__", ()):
            if name not in {"__dict__", "__weakref__"} and hasattr(value, name):
                found[name] = getattr(value, name)
    return {**found, **getattr(value, "__dict__", {})}
