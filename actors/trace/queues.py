"""How the mailboxes fare, from the records of a while: who had to wait, and who took long."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from actors.trace.record import Record


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """One actor's mailbox."""

    actor: str
    process: str
    handled: int  # messages
    lost: int  # dropped, refused, dead, ...; timers that were cancelled are none
    depth: int  # most messages left waiting behind one that was handled
    oldest_s: float  # longest that a message had waited, from its sending on
    service_p50_s: float  # time that the machine took
    service_p99_s: float
    service_total_s: float


def queues(records: Iterable[Record]) -> list[Queue]:
    """Return the mailboxes that these records are about, the busiest first."""
    of: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.to and record.kind not in {"stale_timer", "gap"}:
            of[record.process, record.to].append(record)
    found = [_queue(process, actor, each) for (process, actor), each in of.items()]
    return sorted(found, key=lambda queue: (-queue.service_total_s, queue.process, queue.actor))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies, by the nearest rank; 0 of none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def _queue(process: str, actor: str, records: Sequence[Record]) -> Queue:
    handled = [record for record in records if record.kind == "delivered"]
    times = sorted(record.service_s for record in handled)
    return Queue(
        actor=actor,
        process=process,
        handled=len(handled),
        lost=len(records) - len(handled),
        depth=max((record.depth for record in handled), default=0),
        oldest_s=max((record.at - record.sent_at for record in handled if record.sent_at), default=0.0),
        service_p50_s=percentile(times, 0.5),
        service_p99_s=percentile(times, 0.99),
        service_total_s=sum(times),
    )
