"""The TUN device: IP packets to and from the host, one a read or write (Linux, IFF_NO_PI).

The supervisor opens it, sets it up and hands the descriptor down; the packet process reads and writes.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from contextlib import suppress

DEVICE = "/dev/net/tun"
MAX_NAME_LEN = 15  # IFNAMSIZ less the final zero
BATCH_LEN = 64  # packets read a wake-up, so that the other descriptors get their turn
MAX_PACKET_LEN = 65535  # a read into a shorter buffer would cut the packet

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFREQ = struct.Struct("16sH22x")


class TunUnavailable(Exception):
    """The device cannot be opened; the message says what was seen and what would do."""


class TunGone(Exception):
    """The device was deleted under us."""


def open_tun(name: str) -> int:
    """Make or take over the TUN device `name` and return its descriptor, nonblocking.  Raises TunUnavailable."""
    if not 1 <= len(name.encode()) <= MAX_NAME_LEN or "/" in name:
        raise TunUnavailable(f"{name!r} is no interface name: 1 to {MAX_NAME_LEN} bytes without a slash")
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = "load the module (modprobe tun), or give the container this device"
        raise TunUnavailable(f"there is no {DEVICE}: {hint}") from None
    except OSError as error:
        reason = _reason(name, error)
        raise TunUnavailable(reason) from None
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(fd)
        raise TunUnavailable(_reason(name, error)) from None
    return fd


class TunDriver:
    """Batches of packets on an open TUN descriptor."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.drops: dict[str, int] = {}  # why the kernel did not take a packet -> how many

    def read(self) -> list[bytes]:
        """Return up to BATCH_LEN packets that the host sent; empty if there is none now.  Raises TunGone."""
        packets: list[bytes] = []
        append, read, fd = packets.append, os.read, self.fd
        try:
            for _ in range(BATCH_LEN):
                append(read(fd, MAX_PACKET_LEN))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the interface is down
                raise TunGone(f"the TUN device is gone ({os.strerror(error.errno or 0)})") from None
        return packets

    def write(self, packets: Sequence[bytes]) -> None:
        """Hand packets to the host.  What it refuses is counted and dropped.  Raises TunGone."""
        write, fd = os.write, self.fd
        for packet in packets:
            try:
                write(fd, packet)
            except OSError as error:
                if error.errno == errno.EBADFD:
                    raise TunGone("the TUN device is gone") from None
                reason = errno.errorcode.get(error.errno or 0, "unknown")
                self.drops[reason] = self.drops.get(reason, 0) + 1

    def close(self) -> None:
        """Close the descriptor; the device goes with its last one unless it was made persistent."""
        with suppress(OSError):
            os.close(self.fd)


def _reason(name: str, error: OSError) -> str:
    match error.errno:
        case errno.EPERM | errno.EACCES:
            return f"no privilege to make the TUN device {name}: run as root, or with CAP_NET_ADMIN"
        case errno.EBUSY:
            return f"the TUN device {name} is in use: stop the other program, or set another interface in [node]"
        case errno.EINVAL:
            return f"an interface {name} exists and is no TUN device: remove it, or set another interface in [node]"
        case errno.ENODEV | errno.ENXIO:
            return f"the kernel has no TUN driver behind {DEVICE}: load the module (modprobe tun)"
        case _:
            return f"cannot open the TUN device {name}: {os.strerror(error.errno or 0)}"
