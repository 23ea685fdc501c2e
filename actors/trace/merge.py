"""Joins the tapes of two machines: one clock, and causes that go from one machine to the other.

    first    ... -> signal_link  post_description  #41            (an offer leaves)
    second   outside -> signal   offer_received, cause #41   =>   first:signal_link -> second:signal, caused by #41

Between two of ours an offer or answer takes along the id of the mail that it left with (recovery R14).  Each that is on
both tapes was received after it was sent, whatever the clocks say: seen from one machine to the other that bounds how
far the clocks are apart from one side, seen back from the other side.  The middle of the two bounds is taken, and half
their distance is how wrong it may be.  With offers in one direction only, or none, the wall clocks are believed, as far
as the bound allows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import structs

from actors.addresses import SIGNAL, SIGNAL_LINK
from actors.trace.record import FLAG_EXTERNAL, Record, fields_of
from actors.trace.tape import Header

RECEIVED = frozenset({"offer_received", "answer_received"})
POSTED = "post_description"


@dataclass(frozen=True, slots=True)
class Crossing:
    """An offer or answer that is on both tapes."""

    sent: Record
    received: Record


@dataclass(frozen=True, slots=True)
class Merged:
    """Two tapes as one, in the first one's time."""

    header: Header
    records: Sequence[Record]
    crossings: int
    offset_s: float  # the second's clock less the first's
    uncertain_s: float | None  # that it may be wrong by; None: nobody knows, the wall clocks were believed


def merge(first: tuple[Header, Sequence[Record]], second: tuple[Header, Sequence[Record]]) -> Merged:
    """Join the tapes of two machines."""
    (head, ours), (other, theirs) = first, second
    names = _nodes(head, other)
    there, back = list(crossings(ours, theirs)), list(crossings(theirs, ours))
    offset_s, uncertain_s = clock_offset(there, back, head.wall_offset_s - other.wall_offset_s)
    joined = {each.received.id: (each.sent, node) for each, node in _each(there, back, names)}
    roots = {each.received.trace: each.sent.trace for each in (*there, *back)}
    records = [
        *(_placed(record, names[0], 0.0, joined, roots) for record in ours),
        *(_placed(record, names[1], offset_s, joined, roots) for record in theirs),
    ]
    records.sort(key=lambda record: record.at)
    header = structs.replace(
        head,
        node="+".join(names),
        made_unix_s=max(head.made_unix_s, other.made_unix_s),
        names={**other.names, **head.names},
        nodes=names,
        uncertain_s=uncertain_s,
    )
    return Merged(header, records, len(there) + len(back), offset_s, uncertain_s)


def crossings(sender: Sequence[Record], receiver: Sequence[Record]) -> Iterator[Crossing]:
    """Yield the offers and answers that left one machine and came to the other."""
    posted = {record.id: record for record in sender if record.tag == POSTED and record.to == SIGNAL_LINK.actor}
    for record in receiver:
        if record.tag in RECEIVED and record.to == SIGNAL.actor and record.kind == "delivered":
            sent = posted.get(_remote_cause(record))
            if sent is not None:
                yield Crossing(sent, record)


def clock_offset(there: Sequence[Crossing], back: Sequence[Crossing], believed_s: float) -> tuple[float, float | None]:
    """Return the second clock less the first, and how wrong that may be; `believed_s` is what the wall clocks say."""
    most = min((_sent_at(each.received) - each.sent.at for each in there), default=None)
    least = max((each.sent.at - _sent_at(each.received) for each in back), default=None)
    if most is not None and least is not None:
        # Clocks that drift apart over a long tape may cross the bounds; then the distance is how far.
        return (most + least) / 2, abs(most - least) / 2
    if most is not None:
        return min(believed_s, most), None
    return (believed_s if least is None else max(believed_s, least)), None


def _sent_at(received: Record) -> float:
    """Return when an offer came out of the signal client, on the receiver's clock."""
    return received.sent_at or received.at


def _remote_cause(record: Record) -> int:
    description = fields_of(record).get("description")
    homing = description.get("homing") if isinstance(description, dict) else None
    cause = homing.get("cause") if isinstance(homing, dict) else None
    return cause if isinstance(cause, int) else 0


def _nodes(first: Header, second: Header) -> tuple[str, str]:
    """Return what the two machines are called: their nodes, or by number where those do not tell them apart."""
    one, two = (_plain(header.node) for header in (first, second))
    return (one, two) if one and two and one != two else ("first", "second")


def _plain(node: str) -> str:
    return node.replace(":", "_").replace("/", "_").replace("@", "_")


def _each(
    there: Sequence[Crossing], back: Sequence[Crossing], names: tuple[str, str]
) -> Iterator[tuple[Crossing, str]]:
    yield from ((each, names[0]) for each in there)
    yield from ((each, names[1]) for each in back)


def _placed(
    record: Record, node: str, offset_s: float, joined: dict[int, tuple[Record, str]], roots: dict[int, int]
) -> Record:
    """Return a record as it stands on the joint tape."""
    moved = structs.replace(
        record,
        node=node,
        at=record.at - offset_s,
        sent_at=record.sent_at - offset_s if record.sent_at else 0.0,
        trace=_root(record.trace, roots),
    )
    crossed = joined.get(record.id)
    if crossed is None:
        return moved
    sent, sender = crossed
    return structs.replace(
        moved,
        cause=sent.id,
        sender=f"{sender}:{SIGNAL_LINK.actor}@{sent.process}",
        flags=record.flags & ~FLAG_EXTERNAL,
    )


def _root(trace: int, roots: dict[int, int]) -> int:
    """Return the root of a story that may have begun on the other machine, or gone to and fro."""
    met = {trace}
    while (further := roots.get(trace)) is not None and further not in met:
        met.add(further)
        trace = further
    return trace
