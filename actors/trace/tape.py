"""A tape: records in a file, to keep, to send, to read on another machine and with a later version.

    tape      header, item, item, ...       MessagePack objects one after the other, read as a stream
    header    {"tape": "homing", "version": 1, "node": ..., "made_unix_s": ..., "wall_offset_s": ..., "names": {...}}
    item      an array: a record (record.py: fields by place, new ones at the end); a map: anything else, named by its
              "item", and left out by a version that does not know it.  This one knows:
                "machines"   how machines stood at a time (freeze.py), from where `replay` begins
                "names"      of peers that are known only now
                "lost"       that mail is missing before a time, since the reader was too slow

It may end anywhere: what is whole is read, and the rest is told.  Secrets were redacted before there was a record.
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import msgpack  # type: ignore[import-untyped]  # the package ships neither types nor stubs
import msgspec

from actors.trace.record import Record
from config.keys import PublicKey
from transport.errors import RemoteProtocolError

MARK = "homing"
VERSION = 1
MAX_ITEM_LEN = 1 << 20  # bytes; a record holds 4 KiB of body at the most
MAX_NOTES = 100_000
NOTES = frozenset({"machines", "lost", "names"})

_BROKEN = (ValueError, TypeError, RecursionError, msgpack.UnpackException, UnicodeDecodeError)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tape comes from."""

    tape: str = MARK
    version: int = VERSION
    node: str = ""
    made_unix_s: float = 0.0
    wall_offset_s: float = 0.0  # wall time less boot time, there and then
    names: Mapping[PublicKey, str] = {}  # of the peers
    nodes: tuple[str, ...] = ()  # of a tape that joins two (merge.py): the machines, in whose first one's time it is
    uncertain_s: float | None = None  # that the other one's times may be wrong by; None: not known


class Machines(msgspec.Struct, frozen=True, kw_only=True, tag_field="item", tag="machines"):
    """How machines of one process stood between two messages."""

    at: float  # CLOCK_BOOTTIME s: mail handled before is in it, mail handled from then on is not
    process: str
    incarnation: int
    frozen: dict[str, Any]  # by actor (freeze.py)


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag_field="item", tag="lost"):
    """Mail is missing: the taps dropped some, since a reader was too slow."""

    since: float  # CLOCK_BOOTTIME s: it is whole until then
    at: float  # and again from here on
    count: int


class MoreNames(msgspec.Struct, frozen=True, kw_only=True, tag_field="item", tag="names"):
    """Peers that were not known when the tape began."""

    names: dict[PublicKey, str]


Note = Machines | Lost | MoreNames


class NotATape(RemoteProtocolError):
    """The file is none, or one of a version that this one does not read; the message says which."""


def encode_note(note: Note) -> bytes:
    """Return a note as a tape keeps it."""
    return msgspec.msgpack.encode(note)


def encode_header(header: Header) -> bytes:
    """Return how a tape begins; `record.encode_record` makes what follows."""
    return msgspec.msgpack.encode(header)


class Tape:
    """A tape that is read from its beginning.  Raises NotATape."""

    def __init__(self, file: BinaryIO) -> None:
        self._unpacker = msgpack.Unpacker(file, max_buffer_size=MAX_ITEM_LEN, strict_map_key=False)
        self.unreadable = 0  # items that were left out
        self.notes: list[Note] = []  # as far as the tape has been read, MAX_NOTES at the most
        self.cut = False  # it ended, or broke, within an item
        self._file = file
        try:
            first = next(self._unpacker)
        except StopIteration:
            raise NotATape("it is empty, or too short to be a tape") from None
        except _BROKEN:
            raise NotATape("it is no tape; homing trace record writes one") from None
        if not isinstance(first, dict) or first.get("tape") != MARK:
            raise NotATape("it is no tape; homing trace record writes one")
        if first.get("version") != VERSION:
            raise NotATape(f"it is a tape of version {str(first.get('version'))[:20]}; this homing reads {VERSION}")
        try:
            self.header = msgspec.convert(first, Header)
        except msgspec.ValidationError as error:
            raise NotATape(f"its header cannot be read: {error}") from None
        self.names: dict[PublicKey, str] = dict(self.header.names)  # of the peers; whole when the tape has been read

    def __iter__(self) -> Iterator[Record]:
        """Yield the records, in the order in which they were kept."""
        while True:
            whole = self._unpacker.tell()  # bytes
            try:
                item = next(self._unpacker)
            except StopIteration:
                self.cut = whole < self._file.tell()
                return
            except _BROKEN:  # from here on nobody knows where an item begins
                self.cut = True
                return
            if isinstance(item, dict):
                self._note(item)
                continue
            try:
                yield msgspec.convert(item, Record)
            except msgspec.ValidationError:
                self.unreadable += 1

    def _note(self, item: dict[Any, Any]) -> None:
        if item.get("item") not in NOTES or len(self.notes) == MAX_NOTES:
            return  # something that a later version adds
        try:
            note: Note = msgspec.convert(item, Note)
        except msgspec.ValidationError:
            self.unreadable += 1
            return
        self.notes.append(note)
        if isinstance(note, MoreNames):
            self.names.update(note.names)
