"""What a run of a scenario gave: the outage, when it was noticed, what was torn down (recovery.md section 3)."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.trace.record import Record, fields_of
from tests.lab.blame import Blamed

MANY, VERY_MANY = 20, 100  # runs that a median and a 99th percentile need

# The mail that calls a path doubtful or dead.
DOUBTS = frozenset(
    {
        *("path_doubtful", "path_dead", "path_lost", "relay_lost", "relay_evidence", "distress"),
        *("link_closed", "relayed_closed", "ice_pair_doubtful", "ice_doubtful"),
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    seconds: float | None  # what the scenario measures, mostly the outage; None: there was no end of it
    noticed_s: float | None  # None: nobody called a path doubtful
    disruptive: int
    error: str = ""
    blamed: Blamed | None = None  # None: nobody was asked

    @property
    def recovered(self) -> bool:
        """Tell whether all was well in the end."""
        return not self.error


@dataclass(frozen=True, slots=True)
class Spread:
    """Some measurements."""

    runs: int
    p50: float | None
    p99: float | None  # None: too few runs
    max: float | None


def spread(values: Sequence[float]) -> Spread:
    """Return how they are spread; percentiles by the nearest rank."""
    if not values:
        return Spread(0, None, None, None)
    ordered = sorted(values)
    p99 = ordered[-(-99 * len(ordered) // 100) - 1] if len(ordered) >= VERY_MANY else None
    return Spread(len(ordered), statistics.median(ordered), p99, ordered[-1])


def noticed_at(records: Iterable[Record], since: float) -> float | None:
    """Return when a path was first called doubtful or dead."""
    found = (record.at for record in records if record.at >= since and _is_delivered(record) and record.tag in DOUBTS)
    return min(found, default=None)


def disruptions(records: Sequence[Record], since: float) -> list[Record]:
    """Return the mail since then that closed what was open: relayed connections, ICE agents that had a pair."""
    paired = {_session(record) for record in records if record.tag == "ice_pair_proven"}
    opened = {fields_of(record).get("generation") for record in records if record.tag == "relay_ready"}
    return [
        record
        for record in records
        if record.at >= since
        and _is_delivered(record)
        and (
            (record.tag == "close_relayed" and fields_of(record).get("generation") in opened)
            or (record.tag == "close_ice_agent" and _session(record) in paired)
        )
    ]


def _is_delivered(record: Record) -> bool:
    return record.kind == "delivered"


def _session(record: Record) -> str:
    return str(fields_of(record).get("session"))
