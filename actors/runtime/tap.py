"""What a process lets others see of its mail: a ring of the last records, and a tap while somebody listens.

Secrets are gone before anything is kept or shown (actors/messages/redact.py).  A message that could not be decoded is
not shown at all, since nobody knows what it holds.  Everything here runs on the post office's thread.
"""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from loguru import logger

from actors.messages.envelope import BODY, TO, Envelope, Frame, FramePacker
from actors.messages.redact import Redactor, paths
from actors.runtime.ring import NO_OUTCOME, Loss, Outcome, RecordRing
from actors.trace.record import (
    Kind,
    Ring,
    RingWanted,
    Tapped,
    UnreadableRecord,
    decode_wanted,
    encode_ring,
    encode_tapped,
)
from transport.drivers.zmq import Answerer, Publisher

PUBLISH_FRAMES = 4_096  # records that may wait for a slow reader
KEY_FILE = "redaction.key"
KEY_LEN = 32

Subject = tuple[Envelope, msgspec.Struct | None, str]
"""Envelope, decoded message (None: its body is not shown), and the process it came from."""


class Tap:
    """The records of one process."""

    def __init__(
        self, ring: RecordRing, redactor: Redactor, publisher: Publisher, answerer: Answerer, *, log_mail: bool = False
    ) -> None:
        self.ring, self.publisher, self.answerer = ring, publisher, answerer
        self.dropped = 0  # how often a reader was found too slow
        self.machines: Callable[[str], bytes] = _no_machines  # of the actors whose names begin so, for a tape
        self._redactor = redactor
        self._prefixes: tuple[str, ...] = ()
        self._counts: dict[str, int] = {}  # records published so far for each of them
        self._log_mail = log_mail

    @property
    def watched(self) -> bool:
        """Whether deliveries are to be shown at once."""
        return bool(self._prefixes) or self._log_mail

    def keep_frame(self, data: bytes, frame: Frame, secretive: dict[int, msgspec.Struct]) -> None:
        """Keep a frame in the ring, without the secrets of these messages, each by its place in the frame."""
        if secretive:
            clean = list(frame.envelopes)
            for place, message in secretive.items():
                clean[place] = self.redacted((clean[place], message, ""))
            data = FramePacker(frame.process, frame.incarnation, frame.to_incarnation).pack(frame.first, clean)
        self.ring.keep_frame(data)

    def placeholder(self, secret: bytes) -> bytes:
        """Return what stands for a secret in all that this process shows."""
        return self._redactor.placeholder(secret)

    def lost(self, at: float, kind: Kind, subject: Subject, reason: str, outcome: Outcome = NO_OUTCOME) -> None:
        """Record a message that was not delivered."""
        loss = (at, kind, self.redacted(subject), subject[2], reason, outcome)
        self.ring.keep_loss(loss)
        if self.watched:
            self._show(loss)

    def delivered(self, at: float, subject: Subject, outcome: Outcome) -> None:
        """Show a delivery to whoever watches; the ring has it already."""
        if self._log_mail or subject[0][TO].startswith(self._prefixes):
            self._show((at, "delivered", self.redacted(subject), subject[2], "", outcome))

    def redacted(self, subject: Subject) -> Envelope:
        """Return the envelope as it may be kept."""
        envelope, message, _ = subject
        if message is None:
            return with_body(envelope, b"")
        if paths(type(message)):
            return with_body(envelope, self._redactor.redact(message, envelope[BODY]))
        return envelope

    def serve(self) -> None:
        """Look who listens, and answer who asked for the ring.  Returns at once."""
        self._prefixes = tuple(prefix.decode("utf-8", "replace") for prefix in self.publisher.prefixes())
        if self._prefixes != tuple(self._counts):
            self._counts = {prefix: self._counts.get(prefix, 0) for prefix in self._prefixes}
        while (request := self.answerer.request()) is not None:
            try:
                wanted = decode_wanted(request)
            except UnreadableRecord:
                wanted = RingWanted(since=float("inf"))
            if wanted.machines:
                ring = Ring(self.ring.process, self.ring.incarnation, 0, (), self.machines(wanted.actor))
            else:
                ring = self.ring.read(wanted)
            self.answerer.answer(encode_ring(ring))

    def close(self) -> None:
        """Close the sockets."""
        self.publisher.close()
        self.answerer.close()

    def _show(self, loss: Loss) -> None:
        record = self.ring.record(loss)
        if self._prefixes and record.to.startswith(self._prefixes):
            counts = {prefix: count + 1 for prefix, count in self._counts.items() if record.to.startswith(prefix)}
            self._counts |= counts
            tapped = encode_tapped(Tapped(self.dropped, record, counts))
            self.dropped += not self.publisher.publish(record.to.encode(), tapped)
        if self._log_mail:
            line = f"{record.kind} {record.tag} {record.sender} -> {record.to}: {record.before} -> {record.after}"
            logger.bind(id=record.id, cause=record.cause).debug(
                "{}, sent {} {}", line, record.sent_count, record.reason
            )


def _no_machines(_prefix: str) -> bytes:
    return b""


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


def with_body(envelope: Envelope, body: bytes) -> Envelope:
    """Return the envelope with another body."""
    to, sender, seq, number, cause, trace, sent_at, flags, _ = envelope
    return (to, sender, seq, number, cause, trace, sent_at, flags, body)
