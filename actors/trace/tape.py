"""A tape: records in a file, to keep, to send, to read on another machine and with a later version.

    tape      header, item, item, ...       MessagePack objects one after the other, read as a stream
    header    {"tape": "homing", "version": 1, "node": ..., "made_unix_s": ..., "wall_offset_s": ..., "names": {...}}
    item      an array: a record (record.py: fields by place, new ones at the end); a map: something a later version
              adds, left out by those before it

It may end anywhere: what is whole is read, and the rest is told.  Secrets were redacted before there was a record.
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO

import msgpack  # type: ignore[import-untyped]  # the package ships neither types nor stubs
import msgspec

from actors.trace.record import Record
from config.keys import PublicKey
from transport.errors import RemoteProtocolError

MARK = "homing"
VERSION = 1
MAX_ITEM_LEN = 1 << 20  # bytes; a record holds 4 KiB of body at the most

_BROKEN = (ValueError, TypeError, RecursionError, msgpack.UnpackException, UnicodeDecodeError)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tape comes from."""

    tape: str = MARK
    version: int = VERSION
    node: str = ""
    made_unix_s: float = 0.0
    wall_offset_s: float = 0.0  # wall time less boot time, there and then
    names: Mapping[PublicKey, str] = {}  # of the peers


class NotATape(RemoteProtocolError):
    """The file is none, or one of a version that this one does not read; the message says which."""


def encode_header(header: Header) -> bytes:
    """Return how a tape begins; `record.encode_record` makes what follows."""
    return msgspec.msgpack.encode(header)


class Tape:
    """A tape that is read from its beginning.  Raises NotATape."""

    def __init__(self, file: BinaryIO) -> None:
        self._unpacker = msgpack.Unpacker(file, max_buffer_size=MAX_ITEM_LEN, strict_map_key=False)
        self.unreadable = 0  # items that were left out
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
            try:
                yield msgspec.convert(item, Record)
            except msgspec.ValidationError:
                self.unreadable += 1
