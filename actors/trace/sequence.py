"""A sequence diagram of records: as text, a lane an actor, or for Mermaid.

time          guard   offer_listener   signal
12:00:01.100    |---------->|             |    send_offer reason="no path"
12:00:01.101    |           |------------>|    post_description kind=offer
"""

from collections.abc import Iterable, Iterator, Sequence

from actors.trace.record import FLAG_EXTERNAL, FLAG_TIMER, Record
from actors.trace.render import Names, actor_name, clock_time, fields_text, on_node
from config.text import one_line

OUTSIDE = "outside"
MAX_LANES = 12
GAP = 3  # characters between the names of two lanes
MAX_LABEL_LEN = 100
MERMAID_MARKS = str.maketrans({";": ",", "#": "no. ", "\n": " ", "%": " percent"})


def as_text(records: Sequence[Record], names: Names, wall_offset_s: float) -> Iterator[str]:
    """Yield the lines of the diagram.  Beyond MAX_LANES actors, mail is told without its arrow."""
    lanes = lanes_of(records, names)[:MAX_LANES]
    columns: dict[str, int] = {}
    at = 0
    for lane in lanes:
        columns[lane] = at + len(lane) // 2
        at += len(lane) + GAP
    yield " " * 14 + (" " * GAP).join(lanes)
    for record in records:
        sender, receiver = ends(record, names)
        drawn = _arrow(columns, sender, receiver, at)
        text = one_line(f"{clock_time(record.at + wall_offset_s)}  {drawn}{_label(record, names)}")
        yield text


def as_mermaid(records: Sequence[Record], names: Names) -> Iterator[str]:
    """Yield the lines of the diagram for Mermaid."""
    lanes = lanes_of(records, names)
    number = {lane: f"a{place}" for place, lane in enumerate(lanes)}
    yield "sequenceDiagram"
    for lane in lanes:
        yield f"  participant {number[lane]} as {_mermaid(lane)}"
    for record in records:
        sender, receiver = ends(record, names)
        arrow = "->>" if record.kind == "delivered" else "-x"
        yield f"  {number[sender]}{arrow}{number[receiver]}: {_mermaid(_label(record, names))}"


def ends(record: Record, names: Names) -> tuple[str, str]:
    """Return the lanes that an arrow goes from and to; a timer's are one."""
    receiver = on_node(record, actor_name(record.to, names) or record.process)
    if record.flags & FLAG_TIMER:
        return receiver, receiver
    if record.flags & FLAG_EXTERNAL or not record.sender:
        return OUTSIDE, receiver
    return on_node(record, actor_name(record.sender.rpartition("@")[0], names)), receiver


def lanes_of(records: Iterable[Record], names: Names) -> list[str]:
    """Return the lanes of a diagram, in the order in which they are first met."""
    return list(dict.fromkeys(end for record in records for end in ends(record, names)))


def _arrow(columns: dict[str, int], sender: str, receiver: str, width: int) -> str:
    line = [" "] * width
    for column in columns.values():
        line[column] = "|"
    start, end = columns.get(sender), columns.get(receiver)
    if start is None or end is None:
        return "".join(line)
    if start == end:
        line[start] = "o"
        return "".join(line)
    low, high = sorted((start, end))
    line[low + 1 : high] = "-" * (high - low - 1)
    line[end - 1 if end > start else end + 1] = ">" if end > start else "<"
    return "".join(line)


def _label(record: Record, names: Names) -> str:
    told = " ".join(filter(None, (record.tag or "(undecodable)", fields_text(record, names))))
    if record.kind != "delivered":
        told = f"{told} {record.kind.replace('_', ' ').upper()}: {record.reason}"
    elif record.before != record.after:
        told = f"{told}  {record.before} -> {record.after}"
    return told if len(told) <= MAX_LABEL_LEN else f"{told[:MAX_LABEL_LEN]}..."


def _mermaid(text: str) -> str:
    return one_line(text.translate(MERMAID_MARKS))
