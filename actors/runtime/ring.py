"""The last records of a process, in memory: whole frames as they came, and beside them what became of each message.

Keeping a message must cost next to nothing.  So a frame is copied once, as it came (encoded, secrets replaced), into
one buffer that is written round and round, and each delivery adds 48 bytes to another.  Nothing is allocated to stay,
for that would cost more than copying: memory that is not in the processor's caches.  The two are joined by the
message's id when somebody reads.  A delivery whose frame has been overwritten already is shown without its message.
"""

import struct
from collections import deque
from typing import Any

import msgspec

from actors.messages.envelope import (
    BODY,
    CAUSE,
    FLAGS,
    ID,
    SENDER,
    SENT_AT,
    SEQ,
    TO,
    TRACE,
    Envelope,
    is_envelope,
    unpack_frame,
)
from actors.trace.record import Kind, Record, Ring, RingWanted

RING_LEN = 4_096  # records
BYTES_PER_RECORD = 512  # of frames, on average
ROOM_FOR_A_FRAME = 128 * 1024  # bytes more, so that a short ring holds a batch too
LOSSES_PART = 4  # losses kept: the length divided by this
MAX_BODY_LEN = 4_096  # bytes of a message that are shown

Outcome = tuple[str, str, int, int, float, int]
"""State before, state after, first id sent, how many were, seconds taken, messages left in the mailbox."""

NO_OUTCOME: Outcome = ("", "", 0, 0, 0.0, 0)
NO_ENVELOPE: Envelope = ("", "", 0, 0, 0, 0, 0.0, 0, b"")

DELIVERY = struct.Struct("<ddqqqIHH")
"""Times before and after, the message's id, next id to send before and after, messages left, states (`states`)."""

Loss = tuple[float, Kind, Envelope, str, str, Outcome]
"""Time, kind, envelope (redacted), the process it came from, reason, and its Outcome."""


class _AnyMessage(msgspec.Struct):
    type: str = ""


_any_message = msgspec.msgpack.Decoder(_AnyMessage)


class States(dict[str, int]):
    """Numbers for the names of states."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class RoundBuffer:
    """Fixed memory that is written round and round, in pieces that are not split."""

    def __init__(self, size: int) -> None:
        self._buffer = bytearray(size)
        self._end = 0  # where the newest piece ends
        self._pieces: deque[tuple[int, int]] = deque()  # start and end of those that are whole, oldest first

    def put(self, piece: bytes) -> None:
        """Write a piece over the oldest ones; one that is larger than everything is left out."""
        size, buffer, pieces = len(piece), self._buffer, self._pieces
        if size > len(buffer):
            return
        start = self._end
        if start + size > len(buffer):
            while pieces and pieces[0][0] >= start:  # what is left of the last round
                pieces.popleft()
            start = 0
        end = start + size
        while pieces and start <= pieces[0][0] < end:
            pieces.popleft()
        buffer[start:end] = piece
        pieces.append((start, end))
        self._end = end

    def read(self) -> list[bytes]:
        """Return the pieces that are whole, oldest first."""
        return [bytes(self._buffer[start:end]) for start, end in self._pieces]


class RecordRing:
    """The records of one process; `length` 0 keeps none."""

    def __init__(self, process: str, incarnation: int, length: int = RING_LEN) -> None:
        self.process, self.incarnation, self.length = process, incarnation, length
        self.states = States()
        self._deliveries = RoundBuffer(length * DELIVERY.size)
        self._frames = RoundBuffer(length * BYTES_PER_RECORD + (ROOM_FOR_A_FRAME if length else 0))
        self._losses: deque[Loss] = deque(maxlen=length // LOSSES_PART)
        self._seen = 0
        self._fresh: list[bytes] = []
        self.keep_frame = self._frames.put  # its secrets replaced
        self.keep = self._fresh.append  # a packed DELIVERY; `settle` after some

    def settle(self) -> None:
        """Put away the deliveries kept since the last time."""
        if self._fresh:
            self._seen += len(self._fresh)
            self._deliveries.put(b"".join(self._fresh))
            self._fresh.clear()

    def keep_loss(self, loss: Loss) -> None:
        """Keep what became of a message that was not delivered."""
        self._seen += 1
        self._losses.append(loss)

    def read(self, wanted: RingWanted) -> Ring:
        """Return the records that are wanted, oldest first."""
        self.settle()
        known = self._messages()
        names = list(self.states)
        found = [
            self._delivery(fields, names, known)
            for piece in self._deliveries.read()
            for fields in DELIVERY.iter_unpack(piece)
            if fields[0] >= wanted.since
        ]
        found += [self.record(loss) for loss in self._losses if loss[0] >= wanted.since]
        found.sort(key=lambda record: record.at)
        chosen = tuple(record for record in found if record.to.startswith(wanted.actor))
        overwritten = self._seen - len(self._losses) - sum(map(len, self._deliveries.read())) // DELIVERY.size
        return Ring(self.process, self.incarnation, overwritten, chosen)

    def record(self, loss: Loss) -> Record:
        """Return what became of a message as a Record."""
        at, kind, envelope, origin, reason, (before, after, first, count, service_s, depth) = loss
        body, sender = envelope[BODY], envelope[SENDER]
        return Record(
            at=at,
            process=self.process,
            incarnation=self.incarnation,
            kind=kind,
            to=envelope[TO],
            sender=f"{sender}@{origin}" if sender else "",
            id=envelope[ID],
            cause=envelope[CAUSE],
            trace=envelope[TRACE],
            seq=envelope[SEQ],
            sent_at=envelope[SENT_AT],
            flags=envelope[FLAGS],
            tag=tag_in(body),
            body=body if len(body) <= MAX_BODY_LEN else b"",
            before=before,
            after=after,
            reason=reason,
            sent_first=first,
            sent_count=count,
            service_s=service_s,
            depth=depth,
        )

    def _delivery(self, fields: tuple[Any, ...], names: list[str], known: dict[int, tuple[Envelope, str]]) -> Record:
        at, done_at, number, first, beyond, depth, before, after = fields
        envelope, origin = known.get(number, ((*NO_ENVELOPE[:ID], number, *NO_ENVELOPE[CAUSE:]), ""))
        outcome = (names[before], names[after], first, beyond - first, done_at - at, depth)
        return self.record((at, "delivered", envelope, origin, "", outcome))

    def _messages(self) -> dict[int, tuple[Envelope, str]]:
        """Return the messages in the frames by id, each with the process it came from."""
        known: dict[int, tuple[Envelope, str]] = {}
        for data in self._frames.read():
            frame = unpack_frame(data)
            origin = frame.process.partition("/")[0]
            known.update({item[ID]: (item, origin) for item in frame.envelopes if is_envelope(item)})
        return known


def tag_in(body: bytes) -> str:
    """Return the tag of an encoded message; "" when it has none."""
    try:
        return _any_message.decode(body).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
