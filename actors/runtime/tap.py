"""What a process lets others see of its mail: a ring of the last records, and a tap while somebody listens.

`note` is called once for each message, on the post office's thread.  A ring entry is a tuple that shares the encoded
envelope, so it costs little; it becomes a Record only when somebody reads it.  A body longer than MAX_BODY_LEN is not
kept, so the ring's memory is fixed.  Secrets are gone before anything is kept (actors/messages/redact.py).
"""

import contextlib
import os
import secrets
from collections import deque
from pathlib import Path

import msgspec
from loguru import logger

from actors.messages.envelope import BODY, CAUSE, FLAGS, ID, SENDER, SENT_AT, SEQ, TO, TRACE, Envelope
from actors.messages.overflow import tag_of
from actors.messages.redact import Redactor, paths
from actors.trace.record import (
    Kind,
    Record,
    Ring,
    RingWanted,
    Tapped,
    UnreadableRecord,
    decode_wanted,
    encode_ring,
    encode_tapped,
)
from transport.drivers.zmq import Answerer, Publisher

RING_LEN = 4_096  # records
MAX_BODY_LEN = 4_096  # bytes of one message
PUBLISH_FRAMES = 4_096  # records that may wait for a slow reader
KEY_FILE = "redaction.key"
KEY_LEN = 32

NO_ENVELOPE: Envelope = ("", "", 0, 0, 0, 0, 0.0, 0, b"")

Subject = tuple[Envelope, msgspec.Struct | None, str]
"""Envelope, decoded message (None: its body is not kept), and the process it came from."""

Outcome = tuple[str, str, int, int, float, int]
"""State before, state after, first id sent, how many were, seconds taken, messages left in the mailbox."""

NO_OUTCOME: Outcome = ("", "", 0, 0, 0.0, 0)

_Entry = tuple[float, Kind, Envelope, str, type[msgspec.Struct] | None, str, Outcome]


class Tap:
    """The records of one process."""

    def __init__(
        self,
        process: str,
        incarnation: int,
        redactor: Redactor,
        *,
        ring_len: int = RING_LEN,
        publisher: Publisher | None = None,
        answerer: Answerer | None = None,
        log_mail: bool = False,
    ) -> None:
        self.process, self.incarnation = process, incarnation
        self.dropped = 0  # records that did not reach a slow reader
        self.publisher, self.answerer = publisher, answerer
        self._redactor = redactor
        self._ring: deque[_Entry] = deque(maxlen=ring_len)
        self._ring_len = ring_len
        self._noted = 0
        self._prefixes: tuple[str, ...] = ()
        self._log_mail = log_mail

    @property
    def recording(self) -> bool:
        """Whether `note` has anything to do."""
        return bool(self._ring_len or self._prefixes or self._log_mail)

    def note(
        self,
        at: float,
        kind: Kind,
        subject: Subject,
        reason: str = "",
        outcome: Outcome = NO_OUTCOME,
    ) -> None:
        """Record what became of one message."""
        envelope, message, origin = subject
        message_type = None if message is None else type(message)
        entry = (at, kind, self.redacted(envelope, message), origin, message_type, reason, outcome)
        self._noted += 1
        self._ring.append(entry)
        if self._prefixes and envelope[TO].startswith(self._prefixes):
            self._publish(entry)
        if self._log_mail:
            self._log(entry)

    def redacted(self, envelope: Envelope, message: msgspec.Struct | None) -> Envelope:
        """Return the envelope as it may be kept."""
        if message is None:
            return _with_body(envelope, b"")
        if paths(type(message)):
            envelope = _with_body(envelope, self._redactor.redact(message, envelope[BODY]))
        return envelope if len(envelope[BODY]) <= MAX_BODY_LEN else _with_body(envelope, b"")

    def serve(self) -> None:
        """Look who listens, and answer who asked for the ring.  Returns at once."""
        if self.publisher is not None:
            self._prefixes = tuple(prefix.decode("utf-8", "replace") for prefix in self.publisher.prefixes())
        if self.answerer is not None and (request := self.answerer.request()) is not None:
            try:
                wanted = decode_wanted(request)
            except UnreadableRecord:
                wanted = RingWanted(since=float("inf"))
            self.answerer.answer(encode_ring(self.ring(wanted)))

    def ring(self, wanted: RingWanted) -> Ring:
        """Return the last records that are wanted, oldest first."""
        records = tuple(
            self._record(entry)
            for entry in self._ring
            if entry[0] >= wanted.since and entry[2][TO].startswith(wanted.actor)
        )
        return Ring(self.process, self.incarnation, self._noted - len(self._ring), records)

    def close(self) -> None:
        """Close the sockets."""
        for socket in (self.publisher, self.answerer):
            if socket is not None:
                socket.close()

    def _publish(self, entry: _Entry) -> None:
        assert self.publisher is not None
        record = self._record(entry)
        if not self.publisher.publish(record.to.encode(), encode_tapped(Tapped(self.dropped, record))):
            self.dropped += 1

    def _log(self, entry: _Entry) -> None:
        record = self._record(entry)
        logger.debug(
            "{} {} {} -> {}: {} -> {}, sent {} {}",
            record.kind,
            record.tag,
            record.sender,
            record.to,
            record.before,
            record.after,
            record.sent_count,
            record.reason,
        )

    def _record(self, entry: _Entry) -> Record:
        at, kind, envelope, origin, message_type, reason, outcome = entry
        before, after, first, count, service_s, depth = outcome
        sender = envelope[SENDER]
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
            tag="" if message_type is None else tag_of(message_type),
            body=envelope[BODY],
            before=before,
            after=after,
            reason=reason,
            sent_first=first,
            sent_count=count,
            service_s=service_s,
            depth=depth,
        )


def run_key(run_dir: Path) -> bytes:
    """Return the redaction key that all processes of this run share; the first of them makes it."""
    path = run_dir / KEY_FILE
    if not path.exists():
        temporary = run_dir / f"{KEY_FILE}.{os.getpid()}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # the directory is closed to others; processes of another user read it
            file.write(secrets.token_bytes(KEY_LEN))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_bytes()


def _with_body(envelope: Envelope, body: bytes) -> Envelope:
    to, sender, seq, number, cause, trace, sent_at, flags, _ = envelope
    return (to, sender, seq, number, cause, trace, sent_at, flags, body)
