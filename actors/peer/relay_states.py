"""The states of a relayed connection (relay_worker.py draws their arrows)."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["opened", "reused", "failed", "unavailable"]  # of a turn
REPLACED = "another turn came"  # from the listener that was made anew; one gives one turn at a time


@dataclass(frozen=True, slots=True)
class Closed:
    """There is no connection.  ReopenDue is set if an offer says where one could be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Opening:
    """Asked for; OpenDue is set."""

    generation: int
    url: str
    since_at: float
    turn: int | None  # in hand; None: ended, and the opening goes on
    against: int  # the remote's generation that it answers; 0: the next one named
    offered_at: float | None  # since when the remote speaks, and could have come; None: it has not yet


@dataclass(frozen=True, slots=True)
class Open:
    """Packets may flow.  There is no evidence against it: with evidence, it is Closing."""

    generation: int
    url: str
    against: int


@dataclass(frozen=True, slots=True)
class Closing:
    """The close is on its way; OpenDue is set."""

    generation: int  # 0: of whatever entry there is
    turn: int | None  # in hand, for the opening that follows
    lost: str | None  # why an open connection was closed; None: it never was open
    distress: bool  # the evidence was our own
