"""The states of an ICE agent (agent.py draws their arrows)."""

from dataclasses import dataclass

from transport.ice.consent import Consent
from transport.ice.pairs import Pair


@dataclass(frozen=True, slots=True)
class Waiting:
    """The remote's credentials are not known."""


@dataclass(frozen=True, slots=True)
class Checking:
    """Pairs are checked; none is selected."""

    since: float


@dataclass(frozen=True, slots=True)
class Connected:
    """Packets go between these two."""

    pair: Pair
    consent: Consent


@dataclass(frozen=True, slots=True)
class Searching:
    """The address of ours that was in use is gone; the first pair that answers takes its place."""

    until: float


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no pair, and will be none."""

    reason: str


IceState = Waiting | Checking | Connected | Searching | Ended
