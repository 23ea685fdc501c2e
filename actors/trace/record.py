"""One record of the trace: what became of one message in one mailbox, and what a reader asks and hears.

Every process writes a record for each message that one of its actors handled, and for each that was lost on the way,
with the reason.  A reader meets them in two places, both ZeroMQ sockets in the run directory (mode 0700):

    tap-PROCESS-INCARNATION.sock    XPUB; subscribe with a prefix of the receiving actor's name (b"": everything).
                                    Two frames: the actor's name, then `encode_tapped`.  Published only while
                                    somebody subscribes; bounded, what a reader missed it sees by `Tapped.counts`.
    ring-PROCESS-INCARNATION.sock   REP; send `encode_wanted(RingWanted(...))`, receive `encode_ring(Ring(...))`: the
                                    last records, oldest first.

Ids are unique among all processes of an agent's run: cause and trace join records of different processes.  Secrets are
redacted before a record is made; `body` holds placeholders such as `secret:3f2a9c01***`, stable within a run.
"""

from typing import Any, Literal, TypeVar

import msgspec

from transport.errors import RemoteProtocolError

Kind = Literal[
    "delivered",  # the machine handled it
    "failed",  # the machine raised; the message is in quarantine and comes never again
    "dead_letter",  # no such actor, not in its inbox, not decodable, its group was cleared: `reason` says which
    "discarded",  # meant for, or sent by, an incarnation that is gone; or a frame of another wire version
    "coalesced",  # a newer one of its kind made it needless
    "dropped",  # the mailbox or link was over its bound, and this type may be dropped
    "refused",  # the mailbox or link was over its bound, and nothing more is taken
    "stale_timer",  # a timer that was cancelled or set anew while it lay in the mailbox
    "gap",  # mail from `sender` is missing before this: `reason` says how many
]

T = TypeVar("T")

FLAG_TIMER = 1  # a timer: mail to oneself that was set by Later
FLAG_EXTERNAL = 2  # posted by a driver or another thread, not by an actor
FLAG_VOID = 4  # its place in the sequence only; the mail itself was coalesced on the way
FLAG_ASK = 8  # somebody waits until it has been handled (tests, ActorRef.stop)


class Record(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What became of one message.  Fields are positional on the wire: new ones go to the end, with a default."""

    at: float  # CLOCK_BOOTTIME s; of a delivery: the `now` that the machine was given
    process: str  # where this was recorded
    kind: Kind
    to: str = ""  # receiving actor's name, without its process
    sender: str = ""  # actor@process; "" in the process's own external mail
    id: int = 0
    cause: int = 0  # id of the message being handled when this was sent; 0: came from outside
    trace: int = 0  # id of the root of this story
    seq: int = 0  # of this pair of actors
    sent_at: float = 0.0  # CLOCK_BOOTTIME s
    flags: int = 0  # FLAG_*
    tag: str = ""  # the message type's tag, "offer_received"; "" when undecodable
    body: bytes = b""  # the message as a msgpack map with its tag under "type", redacted; b"" when too long to keep
    before: str = ""  # name of the machine's state before and after
    after: str = ""
    reason: str = ""  # of every kind but "delivered"
    sent_first: int = 0  # ids of the mail and timers that it caused: sent_first <= id < sent_first + sent_count
    sent_count: int = 0
    service_s: float = 0.0  # how long the machine took
    depth: int = 0  # messages left in the mailbox
    incarnation: int = 0  # of the process
    node: str = ""  # which machine's, on a tape that joins two


class Tapped(msgspec.Struct, frozen=True, array_like=True):
    """What the tap publishes."""

    dropped: int  # how often this tap has found a reader too slow
    record: Record
    counts: dict[str, int] = {}  # prefix that wants this record -> records published for it so far, this one included


class RingWanted(msgspec.Struct, frozen=True, array_like=True):
    """A reader asks for the past."""

    since: float = 0.0  # CLOCK_BOOTTIME s; 0: all there is
    actor: str = ""  # prefix of the receiving actor's name
    machines: bool = False  # how the machines of the actors stand whose names begin so, instead of records


class Ring(msgspec.Struct, frozen=True, array_like=True):
    """The last records of one process, oldest first."""

    process: str
    incarnation: int
    overwritten: int  # records that the ring has held and lost to newer ones
    records: tuple[Record, ...]
    machines: bytes = b""  # an item of a tape (tape.Machines), encoded; b"" unless asked for


class UnreadableRecord(RemoteProtocolError):
    """The bytes are no record of this version."""


_encoder = msgspec.msgpack.Encoder()
_records = msgspec.msgpack.Decoder(Record)
_tapped = msgspec.msgpack.Decoder(Tapped)
_wanted = msgspec.msgpack.Decoder(RingWanted)
_rings = msgspec.msgpack.Decoder(Ring)


def tap_name(process: str, incarnation: int) -> str:
    """Return the file name of a process's tap in the run directory."""
    return f"tap-{process}-{incarnation}.sock"


def ring_name(process: str, incarnation: int) -> str:
    """Return the file name of a process's ring in the run directory."""
    return f"ring-{process}-{incarnation}.sock"


def encode_record(record: Record) -> bytes:
    """Return the record as bytes: how tapes keep it."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> Record:
    """Return the record.  Raises UnreadableRecord."""
    return _decode(_records, data)


def encode_tapped(tapped: Tapped) -> bytes:
    """Return the second frame of what the tap publishes."""
    return _encoder.encode(tapped)


def decode_tapped(data: bytes) -> Tapped:
    """Return what the tap published.  Raises UnreadableRecord."""
    return _decode(_tapped, data)


def encode_wanted(wanted: RingWanted) -> bytes:
    """Return the request for the past."""
    return _encoder.encode(wanted)


def decode_wanted(data: bytes) -> RingWanted:
    """Return the request for the past.  Raises UnreadableRecord."""
    return _decode(_wanted, data)


def encode_ring(ring: Ring) -> bytes:
    """Return the answer to a RingWanted."""
    return _encoder.encode(ring)


def decode_ring(data: bytes) -> Ring:
    """Return the answer to a RingWanted.  Raises UnreadableRecord."""
    return _decode(_rings, data)


def fields_of(record: Record) -> dict[str, Any]:
    """Return the message's fields by name, without its tag; empty when the body was not kept.

    Works also for a message type that this version does not know.
    """
    if not record.body:
        return {}
    try:
        fields = msgspec.msgpack.decode(record.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {str(name): value for name, value in fields.items() if name != "type"}


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UnreadableRecord(f"{len(data)} bytes that are no trace record: {error}") from error
