"""What carries a message: the envelope, and the frame of envelopes that crosses a link.

Both are msgpack (packed and unpacked by `msgpack`); an envelope is a flat array, so that it costs little, and its body
is a bin of its own, so that one message that cannot be decoded spoils nothing else:

    frame     [wire version, sending process, its incarnation, receiving incarnation, number of the first envelope on
               this link, [envelope, ...]]
    envelope  [to, from, sequence of this pair, id, cause, trace, time sent, flags, body]

`to` and `from` are actor names without their process, which the link knows.  Numbers on a link and in a pair start at 1
and count every envelope, so that a loss shows.  A body is a msgpack map (by msgspec) with the message's tag under
"type": another version can still read what it knows.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]  # the package ships neither types nor stubs

from transport.errors import RemoteProtocolError

WIRE_VERSION: Final = 1
MAX_ID: Final = 2**63 - 1

Envelope = tuple[str, str, int, int, int, int, float, int, bytes]
TO: Final = 0
SENDER: Final = 1
SEQ: Final = 2
ID: Final = 3
CAUSE: Final = 4
TRACE: Final = 5
SENT_AT: Final = 6
FLAGS: Final = 7
BODY: Final = 8

_ENVELOPE_TYPES: Final = (str, str, int, int, int, int, float, int, bytes)
_FRAME_TYPES: Final = (int, str, int, int, int, tuple)


class Frame(NamedTuple):
    """A batch of envelopes on one link."""

    process: str  # the sender's; of an outlet `process/outlet`
    incarnation: int  # the sender's
    to_incarnation: int  # the receiver's that was meant
    first: int  # number of the first envelope on this link
    envelopes: tuple[Any, ...]  # each still to be checked by `is_envelope`


class BadFrame(RemoteProtocolError):
    """The bytes are no frame that this version reads."""


class FramePacker:
    """Packs frames for one link.  For one thread only: it keeps its buffer."""

    def __init__(self, process: str, incarnation: int, to_incarnation: int) -> None:
        self._packer = msgpack.Packer(use_bin_type=True)
        self._head = (WIRE_VERSION, process, incarnation, to_incarnation)

    def pack(self, first: int, envelopes: Sequence[Envelope]) -> bytes:
        """Return one frame of these envelopes, the first of which has this number on the link."""
        packed: bytes = self._packer.pack((*self._head, first, envelopes))
        return packed


def unpack_frame(data: bytes) -> Frame:
    """Return the frame.  Raises BadFrame: not msgpack, not of this shape, or of another wire version."""
    try:
        fields = msgpack.unpackb(data, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise BadFrame(f"{len(data)} bytes that are no msgpack: {type(error).__name__}") from error
    if type(fields) is not tuple or not fields or type(fields[0]) is not int:
        raise BadFrame(f"{len(data)} bytes without a wire version; expected {WIRE_VERSION}")
    if fields[0] != WIRE_VERSION:
        raise BadFrame(f"wire version {fields[0]}; this one speaks {WIRE_VERSION}")
    if tuple(map(type, fields)) != _FRAME_TYPES or not all(0 <= number <= MAX_ID for number in fields[2:5]):
        raise BadFrame(f"{len(data)} bytes that are no frame")
    return Frame(*fields[1:])


def is_envelope(item: Any) -> bool:
    """Whether this item of a frame has an envelope's shape."""
    return type(item) is tuple and tuple(map(type, item)) == _ENVELOPE_TYPES and 0 <= item[ID] <= MAX_ID >= item[SEQ]
