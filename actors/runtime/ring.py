"""The last records of a process, in memory: whole frames as they came, and beside them what became of each message.

Keeping a message must cost next to nothing, so the ring shares the frame that brought it (encoded, secrets replaced)
and adds one short tuple at its delivery; the two are joined by the message's id when somebody reads.  Memory is bounded
by records and by bytes; a delivery whose frame has been let go already is shown without its message.
"""

from collections import deque

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
BYTES_PER_RECORD = 1_024  # of frames, on average
MAX_BODY_LEN = 4_096  # bytes of a message that are shown

Outcome = tuple[str, str, int, int, float, int]
"""State before, state after, first id sent, how many were, seconds taken, messages left in the mailbox."""

NO_OUTCOME: Outcome = ("", "", 0, 0, 0.0, 0)
NO_ENVELOPE: Envelope = ("", "", 0, 0, 0, 0, 0.0, 0, b"")

Delivery = tuple[float, int, str, str, int, int, float, int]
"""Time, the message's id, and its Outcome."""

Loss = tuple[float, Kind, Envelope, str, str, Outcome]
"""Time, kind, envelope (redacted), the process it came from, reason, and its Outcome."""


class _AnyMessage(msgspec.Struct):
    type: str = ""


_any_message = msgspec.msgpack.Decoder(_AnyMessage)


class RecordRing:
    """The records of one process; `length` 0 keeps none."""

    def __init__(self, process: str, incarnation: int, length: int = RING_LEN) -> None:
        self.process, self.incarnation, self.length = process, incarnation, length
        self._entries: deque[Delivery | Loss] = deque(maxlen=length)
        self._frames: deque[tuple[bytes, int]] = deque()
        self._frame_messages = self._frame_bytes = 0
        self._seen = 0  # messages that came, and losses
        self.keep = self._entries.append  # takes a Delivery or a Loss; on the way of every message

    def keep_frame(self, data: bytes, count: int) -> None:
        """Keep a frame of `count` messages, its secrets replaced already."""
        self._seen += count
        self._frames.append((data, count))
        self._frame_messages += count
        self._frame_bytes += len(data)
        while self._frames and (
            self._frame_messages - self._frames[0][1] >= 2 * self.length
            or self._frame_bytes > self.length * BYTES_PER_RECORD
        ):
            old, messages = self._frames.popleft()
            self._frame_messages -= messages
            self._frame_bytes -= len(old)

    def read(self, wanted: RingWanted) -> Ring:
        """Return the records that are wanted, oldest first."""
        known = self._messages()
        records = (self._record(entry, known) for entry in self._entries if entry[0] >= wanted.since)
        chosen = tuple(record for record in records if record.to.startswith(wanted.actor))
        return Ring(self.process, self.incarnation, max(self._seen - len(self._entries), 0), chosen)

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

    def _record(self, entry: Delivery | Loss, known: dict[int, tuple[Envelope, str]]) -> Record:
        if len(entry) == 6:
            return self.record(entry)
        at, number, before, after, first, count, service_s, depth = entry
        envelope, origin = known.get(number, ((*NO_ENVELOPE[:ID], number, *NO_ENVELOPE[CAUSE:]), ""))
        return self.record((at, "delivered", envelope, origin, "", (before, after, first, count, service_s, depth)))

    def _messages(self) -> dict[int, tuple[Envelope, str]]:
        """Return the messages in the frames by id, each with the process it came from."""
        known: dict[int, tuple[Envelope, str]] = {}
        for data, _ in self._frames:
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
