"""Which records of the trace are shown: filters, and a cap on how many a second."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from actors.trace.record import Record, fields_of
from actors.trace.render import ID_DIGITS
from config.keys import PublicKey

CAP_WINDOW_S = 1.0
MAX_CAUSED = 10_000  # messages of one story that are remembered

# What goes round every second or more often while nothing happens.
HEARTBEAT = frozenset({"ping", "pong", "agent_due", "announce", "snapshot_due", "save_snapshot"})


@dataclass(frozen=True, slots=True)
class Selection:
    """What a record must be about; an empty filter lets everything through."""

    peers: frozenset[PublicKey] = frozenset()
    types: frozenset[str] = frozenset()  # tags: "offer_received"
    actor: str = ""  # "guard", "relays", "peer/<key>/guard": receiver or sender
    lost: bool = False  # only what no machine has handled
    stale_timers: bool = True  # also timers that were cancelled, or set anew, while they lay in the mailbox
    heartbeat: bool = True  # also the deliveries of HEARTBEAT

    def admits(self, record: Record) -> bool:
        """Tell whether this record is wanted."""
        if self.lost and record.kind == "delivered":
            return False
        if not self.stale_timers and record.kind == "stale_timer":
            return False
        if not self.heartbeat and record.kind == "delivered" and record.tag in HEARTBEAT:
            return False
        if self.types and record.tag not in self.types:
            return False
        if self.actor and not (_is_actor(record.to, self.actor) or _is_actor(sender_of(record), self.actor)):
            return False
        return not self.peers or any(_concerns(record, key) for key in self.peers)


class Caused:
    """Lets through what one message caused, and that message; show it all records, in the order of time."""

    def __init__(self, number: int) -> None:
        self._number = number  # its id, or the last digits of it that lines show
        self._ids: deque[int] = deque(maxlen=MAX_CAUSED)
        self._known: set[int] = set()

    def admits(self, record: Record) -> bool:
        """Tell whether this record is of that story."""
        if not (is_id(record.id, self._number) or is_id(record.cause, self._number) or record.cause in self._known):
            return False
        if record.id not in self._known:
            if len(self._ids) == MAX_CAUSED:
                self._known.discard(self._ids[0])
            self._ids.append(record.id)
            self._known.add(record.id)
        return True


def is_id(number: int, wanted: int) -> bool:
    """Tell whether this is the id that was asked for, whole or by the last digits that lines show."""
    return number > 0 and (number == wanted or (wanted < 10**ID_DIGITS and number % 10**ID_DIGITS == wanted))


def sender_of(record: Record) -> str:
    """Return the sending actor's name, without its process."""
    return record.sender.rpartition("@")[0]


def tag_of(text: str) -> str:
    """Return the tag of a message type, written as tag or as class name: OfferReceived is offer_received."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text.strip()).lower()


def newest(records: Iterable[Record], count: int | None) -> list[Record]:
    """Return the last `count` records (None: all) in the order in which they happened."""
    ordered = sorted(records, key=lambda record: (record.at, record.id))
    return ordered if count is None else ordered[max(len(ordered) - count, 0) :]


class Cap:
    """Lets at most `limit` records a second through and counts the others."""

    def __init__(self, limit: int) -> None:
        self._limit, self._began_at, self._passed, self._suppressed = limit, float("-inf"), 0, 0

    def admits(self, now: float) -> bool:
        """Tell whether one more may be shown at `now`."""
        if now - self._began_at >= CAP_WINDOW_S:
            self._began_at, self._passed = now, 0
        self._passed += 1
        if self._passed > self._limit:
            self._suppressed += 1
            return False
        return True

    def take_suppressed(self, now: float, *, end: bool = False) -> int:
        """Return how many were held back, once their second is over (or at the end), and forget them."""
        if not end and now - self._began_at < CAP_WINDOW_S:
            return 0
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


def _is_actor(name: str, wanted: str) -> bool:
    return name == wanted or name.rpartition("/")[2] == wanted


def _concerns(record: Record, key: PublicKey) -> bool:
    own = f"peer/{key}/"
    if record.to.startswith(own) or record.sender.startswith(own):
        return True
    # Mail of the node's own actors names the peer in a field; looked for in the bytes first, since decoding costs.
    return key.encode() in record.body and _mentions(fields_of(record), key)


def _mentions(value: object, key: PublicKey) -> bool:
    if isinstance(value, dict):
        return any(_mentions(part, key) for part in value.values())
    if isinstance(value, list):
        return any(_mentions(part, key) for part in value)
    return value == key
