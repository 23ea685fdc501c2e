"""What happens to a frame that arrives: whose it is, whether something is missing before it, which mailboxes it fills.

Nothing that a frame holds raises out of here; what is wrong with it is counted and traced.
"""

from typing import TYPE_CHECKING

import msgspec

from actors.messages.envelope import BODY, BadFrame, Envelope, Frame, is_envelope, unpack_frame
from actors.messages.overflow import TYPE_OF, tag_of
from actors.messages.process import StopActor
from actors.messages.redact import paths
from actors.runtime.links import Arrivals
from actors.runtime.mailbox import Entry
from actors.runtime.ring import NO_ENVELOPE, tag_in
from actors.runtime.shell import Shell
from actors.trace.record import FLAG_VOID

if TYPE_CHECKING:
    from actors.runtime.post_office import PostOffice

MAX_SENDERS = 256  # processes and outlets that mail is taken from


_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Reception:
    """Sorts incoming mail into mailboxes."""

    def __init__(self, office: "PostOffice") -> None:
        self._office = office
        self._senders: dict[str, Arrivals] = {}

    def take(self, data: bytes) -> int:
        """Sort one frame; return how many envelopes it held."""
        office = self._office
        try:
            frame = unpack_frame(data)
        except BadFrame as error:
            office.ledger.discarded("bad frame", NO_ENVELOPE, "", str(error))
            return 0
        arrivals = self._arrivals(frame)
        if arrivals is None:
            return len(frame.envelopes)
        origin, pairs, shells, ready = arrivals.process, arrivals.pairs, office.shells, office.ready
        secretive: dict[int, msgspec.Struct] = {}
        for place, envelope in enumerate(frame.envelopes):
            if not is_envelope(envelope):
                office.ledger.discarded(
                    "malformed envelope", NO_ENVELOPE, origin, f"a {type(envelope).__name__} of another shape"
                )
                continue
            to, sender, seq, _, _, _, _, flags, body = envelope
            shell = shells.get(to)
            if shell is None or shell.deaf:
                if not flags & FLAG_VOID and (message := self._no_reader(envelope, origin, shell)) is not None:
                    secretive[place] = message
                continue
            numbers = pairs.get(to)
            if numbers is not None and numbers.get(sender) == seq - 1:
                numbers[sender] = seq
            elif missing := arrivals.missing_in_pair(to, sender, seq):
                office.ledger.gap(arrivals.process, arrivals.incarnation, missing, envelope)
            if flags & FLAG_VOID:
                continue
            try:
                message = shell.decoder.decode(body)
            except _UNDECODABLE as error:
                message = self._foreign(envelope, origin, error)
                if message is None:
                    continue
            if shell.secretive and paths(type(message)):
                secretive[place] = message
            mailbox = shell.mailbox
            if len(mailbox.entries) < mailbox.soft:
                mailbox.entries.append((envelope, message, origin))
            else:
                self._put_over(shell, (envelope, message, origin))
            if not shell.queued:
                shell.queued = True
                ready.append(shell)
        if office.keep is not None:
            office.tap.keep_frame(data, frame, secretive)
        return len(frame.envelopes)

    def forget(self, actor: str) -> None:
        """Forget the numbering of an actor that has ended."""
        for arrivals in self._senders.values():
            arrivals.pairs.pop(actor, None)

    def _arrivals(self, frame: Frame) -> Arrivals | None:
        """Return the state of this link, or None when the frame does not count."""
        office = self._office
        process = frame.process.partition("/")[0]
        if frame.to_incarnation != office.incarnation:
            self._stale(frame, process, f"meant for incarnation {frame.to_incarnation} of {office.process}")
            return None
        arrivals = self._senders.get(frame.process)
        if arrivals is None and len(self._senders) >= MAX_SENDERS:
            self._stale(frame, process, f"more than {MAX_SENDERS} senders")
            return None
        if arrivals is not None and frame.incarnation < arrivals.incarnation:
            self._stale(frame, process, f"from incarnation {frame.incarnation} of {process}, which is gone")
            return None
        if arrivals is None or frame.incarnation > arrivals.incarnation:
            arrivals = self._senders[frame.process] = Arrivals(process, frame.incarnation)
        missing = arrivals.missing_before(frame.first, len(frame.envelopes))
        if missing:
            office.ledger.gap(process, frame.incarnation, missing, NO_ENVELOPE)
        return arrivals

    def _stale(self, frame: Frame, origin: str, reason: str) -> None:
        for envelope in frame.envelopes:
            self._office.ledger.discarded("stale", envelope if is_envelope(envelope) else NO_ENVELOPE, origin, reason)

    def _no_reader(self, envelope: Envelope, origin: str, shell: Shell | None) -> msgspec.Struct | None:
        message, _ = _decode_any(envelope[BODY])
        reason = "unknown actor" if shell is None else "group failed"
        self._office.ledger.dead(reason, (envelope, message, origin))
        return message

    def _foreign(self, envelope: Envelope, origin: str, error: Exception) -> msgspec.Struct | None:
        """Return a message that the shell itself takes; any other that is not of the actor's inbox is dead."""
        message, tag = _decode_any(envelope[BODY])
        if isinstance(message, StopActor):
            return message
        if message is not None and tag_of(message) == tag:
            self._office.ledger.dead("not in its inbox", (envelope, message, origin), f"takes no {tag}")
        elif tag and tag not in TYPE_OF:
            self._office.ledger.dead("unknown message type", (envelope, None, origin), f"no message type {tag[:40]!r}")
        else:
            self._office.ledger.dead("undecodable", (envelope, None, origin), " ".join(str(error).split())[:120])
        return None

    def _put_over(self, shell: Shell, entry: Entry) -> None:
        office, mailbox = self._office, shell.mailbox
        if mailbox.crowded:
            if shell.resting:
                office.ledger.dead("mailbox full", entry)
                return
            office.crowded.add(shell.name)
        for kind, taken in mailbox.put(entry):
            office.ledger.overflowed(kind, taken)


def _decode_any(body: bytes) -> tuple[msgspec.Struct | None, str]:
    """Return the message and its tag, whatever actor it is for; None and "" as far as they are not known."""
    tag = tag_in(body)
    message_type = TYPE_OF.get(tag)
    if message_type is None:
        return None, tag
    try:
        return msgspec.msgpack.decode(body, type=message_type), tag
    except _UNDECODABLE:
        return None, tag
