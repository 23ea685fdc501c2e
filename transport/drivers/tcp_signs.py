"""What the kernel knows of the other end of a TCP connection (struct tcp_info in linux/tcp.h)."""

import socket
import struct
from typing import Any, Final

from transport.relay.signs import Signs

# probes_out; unacked, last_ack_recv and total_retrans; bytes_acked; segs_out and segs_in; rcv_ooopack
_PROBES: Final = struct.Struct("=3xB")
_SEGMENTS: Final = struct.Struct("=24xI28xI40xI16xQ8xII")
_DISORDER: Final = struct.Struct("=224xI")


def tcp_signs(connection: Any) -> Signs | None:
    """Return the signs of life on a connection; None: it is over, or the kernel tells too little."""
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _DISORDER.size)
    except OSError:
        return None
    if len(told) < _DISORDER.size:
        return None
    (probes,) = _PROBES.unpack_from(told)
    unacked, heard_ms, repeated, acknowledged_len, sent, received = _SEGMENTS.unpack_from(told)
    (disordered,) = _DISORDER.unpack_from(told)
    return Signs(
        heard_s=heard_ms / 1000,
        waiting=unacked > 0 or probes > 0,
        segments=sent + received,
        troubled=repeated + disordered,
        acknowledged_len=acknowledged_len,
        in_flight=unacked > 0,
    )
