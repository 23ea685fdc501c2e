"""What crosses the signal server, as records (signal spec 4).  The same records are the mail of the control side."""

from typing import Annotated, Literal

import msgspec

from config.keys import PublicKey, Secret

SessionId = Annotated[bytes, msgspec.Meta(min_length=5, max_length=5)]
"""The ICE session id: 5 random bytes; mail of another session is stale (recovery R7)."""


class IceCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """How a remote proves itself to our ICE agent, or we to its (signal spec 4.1)."""

    ufrag: str
    pwd: Secret  # ASCII text


class HomingFields(msgspec.Struct, frozen=True, kw_only=True):
    """What two of ours tell each other beyond NetBird's fields (recovery R14).

    A peer whose last offer or answer carried these is *ours*; any other is *foreign*.
    """

    offer_id: int = 0  # numbers the sender's offers and answers; 0: none
    acknowledges: int = 0  # offer_id that this answers; 0: an offer
    cause: int = 0  # id of the sender's mail that this left with, so that two machines' traces join
    relay_generation: int = 0  # the sender's relayed connection to us, or the one that it opens next; 0: not known
    relay_urls: tuple[str, ...] = ()  # relay servers where the sender is: its home, and where we meet if elsewhere
    relay_unreached: str | None = None  # where the two would meet, and the sender cannot be; None: it can, or tries
    heard_direct_ms: int | None = None  # ms since an authenticated packet came on the direct path, at most; None: never
    heard_relayed_ms: int | None = None  # exact where the path is in doubt; while it is proven, later ones are not told


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What an offer and an answer say about their sender; the two differ only in their type."""

    ice: IceCredentials | None  # None: the sender cannot do ICE (`:` on the wire)
    session: SessionId | None  # None with no ICE, and from peers before v0.55
    listen_port: int  # the sender's WireGuard UDP port; 0: unknown
    version: str
    relay_url: str | None  # instance URL of the relay server it is connected to now; None: none
    relay_ip: str | None  # literal, of that live connection
    homing: HomingFields | None  # None: foreign


class OfferReceived(msgspec.Struct, frozen=True, kw_only=True, tag="offer_received"):
    """The remote peer proposed a connection."""

    peer: PublicKey
    description: Description
    nonce: bytes  # 24 bytes, of the sealed body; the same nonce twice is the same message twice


class AnswerReceived(msgspec.Struct, frozen=True, kw_only=True, tag="answer_received"):
    """The remote peer answered an offer (which one is not said by foreign peers)."""

    peer: PublicKey
    description: Description
    nonce: bytes


class CandidateReceived(msgspec.Struct, frozen=True, kw_only=True, tag="candidate_received"):
    """The remote peer's ICE agent may be reached here."""

    peer: PublicKey
    candidate: str  # signal spec 5.5, not parsed
    nonce: bytes


class GoIdleReceived(msgspec.Struct, frozen=True, kw_only=True, tag="go_idle_received"):
    """The remote peer closes its side for want of traffic (signal spec 4.4)."""

    peer: PublicKey
    nonce: bytes


SignalReceived = OfferReceived | AnswerReceived | CandidateReceived | GoIdleReceived


class PostDescription(msgspec.Struct, frozen=True, kw_only=True, tag="post_description"):
    """Seal this offer or answer and hand it to the signal server."""

    peer: PublicKey
    kind: Literal["offer", "answer"]
    description: Description


class PostCandidate(msgspec.Struct, frozen=True, kw_only=True, tag="post_candidate"):
    """Seal this candidate and hand it to the signal server."""

    peer: PublicKey
    candidate: str


SignalPost = PostDescription | PostCandidate


class SignalConnected(msgspec.Struct, frozen=True, kw_only=True, tag="signal_connected"):
    """The stream is registered: we can be reached."""

    url: str


class SignalDisconnected(msgspec.Struct, frozen=True, kw_only=True, tag="signal_disconnected"):
    """The stream ended or could not be made; the driver tries again by itself."""

    url: str
    reason: str
    retry_s: float  # until the next attempt
    displaced: bool = False  # by another client that registered with our key


class SignalPostFailed(msgspec.Struct, frozen=True, kw_only=True, tag="signal_post_failed"):
    """A message was not handed to the server, after all retries."""

    peer: PublicKey
    reason: str


SignalFact = SignalReceived | SignalConnected | SignalDisconnected | SignalPostFailed
"""What the signal client reports."""
