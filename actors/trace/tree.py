"""The causal tree of one message: from its root event to it, and all that it caused.

Every record names its cause, the message that was handled when its own was sent; a timer's is the message that set it.
What hangs beside the way from the root is counted, since a story that timers carry on goes through a whole day.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.trace.record import Record
from actors.trace.select import is_id

MAX_BRANCHES = 300


@dataclass(frozen=True, slots=True)
class Branch:
    """One message of the tree."""

    record: Record
    depth: int  # below the root
    chosen: bool = False  # the one that was asked for
    left_out: int = 0  # messages that it caused and that are not shown


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree, in the order in which it is read."""

    branches: Sequence[Branch]
    whole: bool  # the root event is there: nothing came before it


def find(records: Iterable[Record], number: int) -> list[Record]:
    """Return the records of the message with this id, or whose id ends so as lines show it."""
    found = {record.id: record for record in records if is_id(record.id, number)}
    return [found[number]] if number in found else list(found.values())


def tree_of(records: Iterable[Record], chosen: Record, *, everything: bool = False) -> Tree:
    """Return the tree of a record; with `everything` also what hangs beside the way to it."""
    known: dict[int, Record] = {}
    for record in records:
        if record.id and (record.kind == "delivered" or record.id not in known):
            known[record.id] = record
    known[chosen.id] = chosen
    caused: dict[int, list[Record]] = defaultdict(list)
    for record in sorted(known.values(), key=lambda record: (record.at, record.id)):
        if record.cause != record.id:
            caused[record.cause].append(record)
    way = _way_to(chosen, known)
    branches: list[Branch] = []
    waiting, met = [(way[0], 0)], {way[0].id}
    on_way = {record.id for record in way}
    while waiting:
        record, depth = waiting.pop()
        above = record.id in on_way and record.id != chosen.id
        below = [each for each in caused[record.id] if each.id not in met]
        if above and not everything:
            below = [each for each in below if each.id in on_way]
        room = max(MAX_BRANCHES - len(branches) - len(waiting) - 1, 0)
        shown = below if above and not everything else below[:room]
        left_out = len(caused[record.id]) - len(shown)
        branches.append(Branch(record, depth, record.id == chosen.id, left_out))
        met |= {each.id for each in shown}
        waiting += [(each, depth + 1) for each in reversed(shown)]
    return Tree(branches, whole=way[0].cause == 0)


def _way_to(chosen: Record, known: dict[int, Record]) -> list[Record]:
    """Return the records from the oldest cause that is known to the chosen one."""
    way = [chosen]
    met = {chosen.id}
    while (cause := known.get(way[-1].cause)) is not None and cause.id not in met:
        way.append(cause)
        met.add(cause.id)
    return way[::-1]
