"""How outages are counted: their causes, and the rungs that are climbed to end one."""

from typing import Literal

import msgspec

from wg.paths import PathKind

Cause = Literal[
    "silence",  # packets went out on the path, and nothing came back
    "never_proven",  # nothing came back since the path was new
    "ice",  # the direct path's checks went unanswered, or its session ended
    "relay",  # the relayed connection ended: its link, its server, or the remote's going away
    "packet_restarted",
    "reset",  # by hand
]
"""What began an outage, or kept it up last."""

Rung = Literal[
    "probe",  # the path is asked
    "warm_relay",  # packets take the relay, alone or as well
    "offer",  # the session has rotated, and an offer says so
    "new_connection",  # the relayed connection is opened anew
    "other_relay",  # over another relay server that both reach
    "handshake",  # WireGuard begins with this peer as if it had never met it
]
"""What is done about an outage, one after the other (recovery R11)."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer's actors that start anew must not forget of its recovery: the packet process keeps it for them."""

    spent_at: tuple[float, ...]  # disruptive actions that no proof followed, oldest first; six at most
    disruptions: int  # all of them
    quarantined_at: float | None = None
    quarantined_until: float = 0.0
    quarantined_for: str = ""
    climbed: dict[PathKind, int] = {}  # rungs since the last proof, by the kind of path that was given up


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """The outages of one cause that are over; lengths are from noticing to proof."""

    cause: Cause
    count: int
    last_s: float
    longest_s: float
