"""The two ends of a link between processes: what waits to leave, and what has been heard.

A link goes from one incarnation of a process to one incarnation of another (or to itself).  Its envelopes are numbered,
and so are those of each pair of actors on it, from 1; both are checked where they arrive.  Mail leaves in batches:
whatever waits, never waiting for more.
"""

from typing import Literal

from actors.messages.envelope import FLAGS, Envelope, FramePacker
from actors.trace.record import FLAG_VOID
from transport.drivers.zmq import Sender

BATCH = 128  # envelopes in a frame
SOFT_LIMIT = 2_000  # messages that wait to leave before the overflow rules apply
HARD_LIMIT = 20_000  # before everything is refused
MAX_PAIRS = 65_536  # remembered for one sender; beyond it numbering starts again, which is no gap


class Link:
    """Mail on its way to one incarnation of a process."""

    def __init__(self, sender: Sender, packer: FramePacker, process: str, incarnation: int) -> None:
        self.process, self.incarnation = process, incarnation
        self.outbox: list[Envelope] = []
        self.soft, self.hard = SOFT_LIMIT, HARD_LIMIT
        self.sender = sender
        self._packer = packer
        self._first = 1  # number of the next envelope that is packed
        self._frame: bytes | None = None  # packed, but not taken yet
        self._blocked = False
        self._pairs: dict[str, dict[str, int]] = {}
        self._newest: dict[tuple[object, ...], int] = {}  # what may be coalesced -> its place in the outbox

    @property
    def waiting(self) -> bool:
        """Whether something has not left yet."""
        return self._frame is not None or bool(self.outbox)

    @property
    def full(self) -> Literal["", "soft", "hard"]:
        """Which bound is reached."""
        if len(self.outbox) < self.soft:
            return ""
        return "soft" if len(self.outbox) < self.hard else "hard"

    def number(self, sender: str, to: str) -> int:
        """Return the next sequence number of this pair of actors."""
        numbers = self._pairs.get(sender)
        if numbers is None or len(numbers) >= MAX_PAIRS:
            numbers = self._pairs[sender] = {}
        seq = numbers.get(to, 0) + 1
        numbers[to] = seq
        return seq

    def forget(self, actor: str) -> None:
        """Forget the numbering of an actor that has ended."""
        self._pairs.pop(actor, None)

    def put_newest(self, key: tuple[object, ...], envelope: Envelope) -> Envelope | None:
        """Put mail in of which only the newest counts; return the older one that it replaces, if that still waits."""
        place = self._newest.get(key)
        self._newest[key] = len(self.outbox)
        self.outbox.append(envelope)
        if place is None:
            return None
        older = self.outbox[place]
        to, sender, seq, number, cause, trace, sent_at, flags, _ = older
        self.outbox[place] = (
            to,
            sender,
            seq,
            number,
            cause,
            trace,
            sent_at,
            flags | FLAG_VOID,
            b"",
        )  # keeps its number
        return older

    def flush(self) -> bool:
        """Send what waits; False: the link takes no more now."""
        if self._blocked and not self.sender.writable():
            return False
        self._blocked = False
        while self._frame is not None or self.outbox:
            if self._frame is None:
                batch = self.outbox[:BATCH]
                del self.outbox[:BATCH]
                self._newest.clear()
                self._frame = self._packer.pack(self._first, batch)
                self._first += len(batch)
            if not self.sender.send(self._frame):
                self._blocked = True
                return False
            self._frame = None
        return True

    def discard(self) -> list[Envelope]:
        """Close at once; return the mail that had not left, as far as it is known."""
        self.sender.close()
        left = [envelope for envelope in self.outbox if not envelope[FLAGS] & FLAG_VOID]
        self.outbox = []
        self._frame = None
        return left


class Arrivals:
    """What has been heard from one incarnation of a process."""

    def __init__(self, process: str, incarnation: int) -> None:
        self.process, self.incarnation = process, incarnation
        self.expected = 1  # number of the next envelope on the link
        self.pairs: dict[str, dict[str, int]] = {}  # to -> from -> last number

    def missing_before(self, first: int, count: int) -> int:
        """Take note of a frame; return how many envelopes are missing before it."""
        missing = first - self.expected
        self.expected = first + count
        if missing == 0:
            return 0
        self.pairs.clear()  # their numbers are missing as well, and that is told already
        return max(missing, 1)  # fewer than none: it numbers anew, and nobody knows what was lost

    def missing_in_pair(self, to: str, sender: str, seq: int) -> int:
        """Take note of mail of a pair of actors; return how many are missing before it.

        The first that is heard may have any number: the receiver may be newer than the sender.  A sender that starts
        again at 1 is a new actor of that name.
        """
        numbers = self.pairs.get(to)
        if numbers is None or len(numbers) >= MAX_PAIRS:
            numbers = self.pairs[to] = {}
        last = numbers.get(sender)
        numbers[sender] = seq
        if last is None or seq == last + 1 or seq == 1:
            return 0
        return max(seq - last - 1, 1)
