"""What a tunnel makes of a batch, and its accounts."""

from dataclasses import dataclass, field

from wg.keypair import Role


@dataclass(slots=True)
class Decapsulated:
    """What came of a batch of transport data that arrived on one path."""

    plaintexts: list[bytes | None]  # parallel to the datagrams, padding still on; b"": keepalive; None: dropped
    heard: bool = False  # something authenticated passed the replay window
    credited: bool = False  # `heard`, or a first duplicate of what another path delivered just now (recovery R13)
    send: list[bytes] = field(default_factory=list)  # datagrams for the peer, on the path in use


@dataclass(slots=True)
class TunnelCounters:
    """What happened to a peer's packets."""

    tx_bytes: int = 0  # whole datagrams, handshake messages among them
    rx_bytes: int = 0  # of datagrams that authenticated
    queued_dropped: int = 0  # packets, the oldest first, while more than MAX_QUEUED_PACKETS waited; or when given up
    forged: int = 0  # transport data that did not authenticate
    replayed: int = 0  # transport data that the window had seen, or that is too old for it
    expired: int = 0  # transport data for a keypair past its limits, or gone
    initiations_refused: int = 0  # replayed timestamps, floods, wrong keys
    responses_refused: int = 0  # to no initiation of ours, or wrong keys (preshared key among them)
    cookies_refused: int = 0


@dataclass(frozen=True, slots=True)
class SessionProven:
    """A new keypair is proven: as initiator by the response, as responder by the first transport data."""

    role: Role
    rtt_s: float | None  # initiation to response; None for the responder


@dataclass(frozen=True, slots=True)
class InitiationUnanswered:
    """An initiation went unanswered for REKEY_TIMEOUT, and another was sent."""

    attempts: int  # initiations sent since the last answer, giving up, or change or loss of the path


@dataclass(frozen=True, slots=True)
class HandshakeGivenUp:
    """REKEY_ATTEMPT_TIME went by without an answer; initiations stop until there is something to send."""


TunnelEvent = SessionProven | InitiationUnanswered | HandshakeGivenUp
