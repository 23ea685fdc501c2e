"""Whether we have a home relay (relays.py draws the arrows)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Starting:
    """The packet process is asked which links there are already; LinkRetryDue bounds it."""


@dataclass(frozen=True, slots=True)
class Homeless:
    """No configured server has accepted us."""

    lost: str | None  # the home we had, as dialled
    others_at: float  # until then it alone is tried


@dataclass(frozen=True, slots=True)
class Homed:
    """Offers name this server."""

    server: str  # as dialled
    url: str  # as it names itself
