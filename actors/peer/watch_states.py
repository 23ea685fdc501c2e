"""The states of a watched path (path_watch.py draws their arrows)."""

from dataclasses import dataclass
from typing import Literal

from wg.paths import PathKind

Role = Literal["in_use", "standby"]


@dataclass(frozen=True, slots=True)
class Watch:
    """The path, and what for."""

    path: PathKind
    generation: int  # of the relayed connection, or the direct path
    since_at: float
    role: Role = "in_use"


@dataclass(frozen=True, slots=True)
class Probes:
    """A series of probes."""

    due_at: float  # the next one, or the verdict
    sent: int = 0  # 0: the first one is still to come
    tokens: tuple[int, ...] = ()  # of the echoes
    sent_at: float = 0.0  # the last one


@dataclass(frozen=True, slots=True)
class Unwatched:
    """The peer has no such path."""


@dataclass(frozen=True, slots=True)
class Proving:
    """Nothing has been heard on this path yet."""

    watch: Watch
    limit_at: float
    probes: Probes


@dataclass(frozen=True, slots=True)
class Proven:
    """Heard."""

    watch: Watch
    heard_at: float


@dataclass(frozen=True, slots=True)
class Probing:
    """Heard once, and silent, or hinted at."""

    watch: Watch
    heard_at: float
    probes: Probes
    doubtful: bool
    why: str
    answer_wanted: bool = False  # nothing else that is heard proves the path


@dataclass(frozen=True, slots=True)
class Dead:
    """The evidence was told; it is repeated until another path is to be watched."""

    watch: Watch
    reason: str


State = Unwatched | Proving | Proven | Probing | Dead
