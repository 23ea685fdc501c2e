"""How soon, and how often, TCP sends again what was lost on a relay link.

Left alone TCP waits 0.2 s and then twice as long each time.  At 20 % loss each way an attempt comes to nothing with
p = 0.36, so that silences of 3, 6 and 13 s come every few minutes, while a packet that is 3 s old helps nobody.
So both ends ask the kernel for less, each option for what the ones before it leave:

    a stream of few packets repeats at one interval six times before it doubles it      Linux 2.6.34
    the interval begins at 50 ms above the round trip                                   Linux 6.15
    it never exceeds 1 s                                                                Linux 6.15

An older kernel refuses what it does not know, and the link works with the rest.

The kernel counts repetitions before it gives up, and would with such short ones after 12 s.  Here it is told a time:
whether a link is dead is for its probe and the health checks to say, this is only the floor under them.
"""

import socket
from contextlib import suppress
from typing import Any, Final

# linux/tcp.h
TCP_THIN_LINEAR_TIMEOUTS: Final = 16
TCP_RTO_MAX_MS: Final = 44
TCP_RTO_MIN_US: Final = 45

RTO_MIN_S: Final = 0.05  # above the 40 ms that Linux holds back an acknowledgement
RTO_MAX_S: Final = 1.0  # the least that Linux takes
GIVE_UP_S: Final = 45.0  # as the server's health check (relay spec 5.6)

OPTIONS: Final = (
    (TCP_THIN_LINEAR_TIMEOUTS, 1),
    (TCP_RTO_MIN_US, round(RTO_MIN_S * 1e6)),
    (TCP_RTO_MAX_MS, round(RTO_MAX_S * 1e3)),
    (socket.TCP_USER_TIMEOUT, round(GIVE_UP_S * 1e3)),
)


def repeat_soon(connection: Any) -> None:
    """Have this TCP connection repeat sooner and more often what is lost."""
    for option, value in OPTIONS:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
