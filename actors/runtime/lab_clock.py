"""The lab's hand on the clocks, so that a machine sleeps for 8 hours within a second.  Nothing for an operator to set.

HOMING_LAB_CLOCK names a file of root's with two doubles in the host's byte order: seconds that are added to the boot
time, which a jump of makes a sleep, and to the wall time.  It is obeyed only in a network namespace that has a name
(ip-netns(8)), as a lab's have: elsewhere the variable changes nothing, and the log says so.
"""

import mmap
import os
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "HOMING_LAB_CLOCK"
NAMED: Final = Path("/run/netns")
OFFSETS: Final = struct.Struct("=dd")


class LabClock:
    """What the lab adds to the clocks now, in seconds."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def boot_s(self) -> float:
        """Return what is added to CLOCK_BOOTTIME."""
        offset_s: float = OFFSETS.unpack_from(self._memory)[0]
        return offset_s

    def wall_s(self) -> float:
        """Return what is added to the wall time."""
        offset_s: float = OFFSETS.unpack_from(self._memory)[1]
        return offset_s


def open_lab_clock(environ: Mapping[str, str]) -> tuple[LabClock | None, str]:
    """Return the lab's clock, if there is one, and what the log should say of it; empty: nothing."""
    path = environ.get(VARIABLE)
    if not path:
        return None, ""
    try:
        if not _in_a_lab():
            return None, f"{VARIABLE} is ignored: it is for network namespaces of a lab; unset it"
        memory = _map(path)
    except (OSError, ValueError) as error:
        return None, f"{VARIABLE} is ignored: {error}"
    return LabClock(memory), f"the clocks follow {path}, as {VARIABLE} says: this is a lab"


def _in_a_lab() -> bool:
    ours = os.stat("/proc/self/ns/net").st_ino
    for named in NAMED.glob("*"):
        with suppress(OSError):  # taken away meanwhile
            if named.stat().st_ino == ours:
                return True
    return False


def _map(path: str) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_size != OFFSETS.size:
            raise ValueError(f"{path} is no file of root's with {OFFSETS.size} bytes")
        return mmap.mmap(descriptor, OFFSETS.size, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
