"""Does a path carry messages of full size?  Asked by probes of two sizes, before it is used and while it is.

A path that loses every large datagram and passes the small ones looks alive to anything that pings.

    Trying --a full one answered--> Wide --10 s, or large ones lost--> Trying
       |--8 full ones unanswered, small ones answered--> Narrow
        \\--nothing answered--> Silent --10 s--> Trying

Eight, because a path that loses a fifth of everything is not narrow; a dead path is silent, which is for others to see.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

TRIES: Final = 8  # of full size
SPACING_S: Final = 0.2  # from one try to the next
ANSWER_S: Final = 1.0  # for the last of them
LEAST_SMALL: Final = 2  # answers to small ones that make it a matter of size
RECHECK_S: Final = 10.0  # also keeps the connection from idling out (relay spec 2.3: after 30 s)
LEAST_LOST: Final = 8  # large packets lost in a row that are worth a look

Size = Literal["full", "small"]


@dataclass(frozen=True, slots=True)
class Trying:
    """Probes are under way."""

    sent: int  # tries
    small_answered: int


@dataclass(frozen=True, slots=True)
class Wide:
    """Full size passes."""


@dataclass(frozen=True, slots=True)
class Narrow:
    """Full size does not pass, small ones do."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing passes that could be told from a dead path."""


class SizeWatch:
    """What is known of one path."""

    def __init__(self, now: float) -> None:
        self.state: Trying | Wide | Narrow | Silent = Trying(0, 0)
        self.due_at = now
        """When `handle_timeout` should be called next."""

    def handle_timeout(self, now: float) -> list[Size]:
        """Return the probes to send now."""
        if now < self.due_at:
            return []
        match self.state:
            case Trying(sent, small_answered) if sent < TRIES:
                self.state = Trying(sent + 1, small_answered)
                self.due_at = now + (SPACING_S if sent + 1 < TRIES else ANSWER_S)
                # The first one alone: it mostly passes, and then there is nothing to compare.
                return ["full", "small"] if sent else ["full"]
            case Trying(_, small_answered) if small_answered >= LEAST_SMALL:
                self.state, self.due_at = Narrow(), inf
            case Trying():
                self.state, self.due_at = Silent(), now + RECHECK_S
            case Wide() | Silent():
                self.state, self.due_at = Trying(0, 0), now
                return self.handle_timeout(now)
            case Narrow():
                self.due_at = inf
        return []

    def answered(self, size: Size, now: float) -> None:
        """Take an answer to a probe of this size, whichever it was."""
        if isinstance(self.state, Narrow):
            return
        if size == "full":
            self.state, self.due_at = Wide(), now + RECHECK_S
        elif isinstance(self.state, Trying):
            self.state = Trying(self.state.sent, self.state.small_answered + 1)

    def doubt(self, now: float) -> None:
        """Look at once: large packets were lost in a row."""
        if isinstance(self.state, Wide):
            self.state, self.due_at = Trying(0, 0), now
