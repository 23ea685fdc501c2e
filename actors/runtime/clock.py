"""The clocks: boot time for everything that waits, wall time for people, TAI64N for handshakes.

`now` counts through suspend (CLOCK_BOOTTIME), so that a deadline that passed while the machine slept is due when it
wakes.  Wall time may be stepped; whatever must never go back goes through `Tai64n`.
"""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from actors.runtime.lab_clock import open_lab_clock

_BOOTTIME = time.CLOCK_BOOTTIME
_clock_gettime = time.clock_gettime
_lab, LAB_NOTE = open_lab_clock(os.environ)

TAI64_EPOCH = 2**62 + 10  # label of 1970-01-01 00:00:00 UTC; TAI was 10 s ahead then
RESERVED_S = 600  # the mark on disk runs ahead by this much, so that it is written once in ten minutes
_NS = 1_000_000_000
_STAMP = struct.Struct("!QI")


if _lab is None:

    def now() -> float:
        """Return the seconds since boot, suspend included (CLOCK_BOOTTIME)."""
        return _clock_gettime(_BOOTTIME)

    def unix_ns() -> int:
        """Return wall time in nanoseconds since the epoch of Unix."""
        return time.time_ns()

else:
    _boot_s, _wall_s = _lab.boot_s, _lab.wall_s

    def now() -> float:
        """Return the seconds since boot as the lab would have them."""
        return _clock_gettime(_BOOTTIME) + _boot_s()

    def unix_ns() -> int:
        """Return wall time in nanoseconds as the lab would have it."""
        return time.time_ns() + int(_wall_s() * _NS)


def awake_now() -> float:
    """Return the seconds since boot without those of suspend (CLOCK_MONOTONIC)."""
    return time.monotonic()


def unix_now() -> float:
    """Return wall time in Unix seconds: for people and certificates, never for waiting."""
    return unix_ns() / _NS


class Tai64n:
    """Hands out TAI64N timestamps (12 bytes, big-endian) that never go back, not even over a restart or a clock step.

    A remote that has seen a later timestamp refuses the handshake (whitepaper section 5.1), so a wall clock stepped
    back by a day would cut us off for a day.  Instead the stamps run on from the last one, a nanosecond at a time,
    until the wall clock has caught up.  The mark file names a time that no stamp has reached; it is written anew
    (write, fsync, rename) before a stamp passes it.  After a restart stamps start from the mark.

    A mark file that cannot be read as one is kept beside (`.unreadable`) and replaced.
    """

    def __init__(self, mark_file: Path, unix_ns: Callable[[], int] = unix_ns) -> None:
        self._mark_file, self._unix_ns = mark_file, unix_ns
        self._mark_ns = self._read_mark()
        self._last_ns = self._mark_ns

    def stamp(self) -> bytes:
        """Return a timestamp later than every one before it.  Raises OSError if the mark cannot be written."""
        self._last_ns = max(self._unix_ns(), self._last_ns + 1)
        if self._last_ns >= self._mark_ns:
            self._write_mark(self._last_ns + RESERVED_S * _NS)
        seconds, nanoseconds = divmod(self._last_ns, _NS)
        return _STAMP.pack(TAI64_EPOCH + seconds, nanoseconds)

    def _read_mark(self) -> int:
        try:
            text = self._mark_file.read_text(encoding="ascii")
        except FileNotFoundError:
            return 0
        except UnicodeDecodeError:
            text = ""
        if text.strip().isdigit() and len(text) < 24:
            return int(text)
        self._mark_file.replace(self._mark_file.with_suffix(".unreadable"))
        return 0

    def _write_mark(self, mark_ns: int) -> None:
        write_durably(self._mark_file, f"{mark_ns}\n".encode("ascii"))
        self._mark_ns = mark_ns


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file's content so that a crash at any moment leaves the old or the new one: write, fsync, rename."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
