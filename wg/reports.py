"""What the packet path tells the control side.  Each is a message that the peer's WG watcher receives as it is.

Paths are named by kind, because a report must be rare and small.  `generation` is the relayed connection's
incarnation, by which the control side drops a report about one that has been replaced (0: direct, or unknown).
"""

from typing import Literal

import msgspec

from config.keys import PublicKey
from wg.paths import PathKind


class HandshakeCompleted(msgspec.Struct, frozen=True, kw_only=True, tag="handshake_completed"):
    """A new keypair is proven: the initiator got the response, the responder the first transport packet."""

    peer: PublicKey
    path: PathKind  # on which the proving packet arrived
    role: Literal["initiator", "responder"]
    rtt_s: float | None  # initiation to response; None for the responder
    generation: int = 0


class PathHeard(msgspec.Struct, frozen=True, kw_only=True, tag="path_heard"):
    """An authenticated packet was credited to this path (recovery R13).  At most one a second per peer and path."""

    peer: PublicKey
    path: PathKind
    heard_at: float
    generation: int = 0


class PathSilent(msgspec.Struct, frozen=True, kw_only=True, tag="path_silent"):
    """Something was sent on the path `SILENCE_S` ago and nothing was heard on it since; told once per silence."""

    peer: PublicKey
    path: PathKind
    sent_at: float  # of the oldest packet nothing was heard after
    generation: int = 0


class EchoAnswered(msgspec.Struct, frozen=True, kw_only=True, tag="echo_answered"):
    """The echo with this token came back, on this path (recovery, proof and doubt)."""

    peer: PublicKey
    path: PathKind
    token: int
    rtt_s: float
    generation: int = 0


class RekeyUnanswered(msgspec.Struct, frozen=True, kw_only=True, tag="rekey_unanswered"):
    """A handshake initiation went unanswered for REKEY_TIMEOUT; another one was sent."""

    peer: PublicKey
    attempts: int  # initiations sent since the last answer


class GivenUp(msgspec.Struct, frozen=True, kw_only=True, tag="given_up"):
    """No handshake within REKEY_ATTEMPT_TIME; initiations stop until there is something to send."""

    peer: PublicKey


class LocalTraffic(msgspec.Struct, frozen=True, kw_only=True, tag="local_traffic"):
    """The host sent a packet for a peer that has no path; at most one report a second per peer."""

    peer: PublicKey


Report = HandshakeCompleted | PathHeard | PathSilent | EchoAnswered | RekeyUnanswered | GivenUp | LocalTraffic
