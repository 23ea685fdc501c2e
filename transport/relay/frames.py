"""Every relay frame as a record, with its type byte and its layout (relay spec 3).

A link carries messages; one message is one frame, and nothing is split or joined.  All frames begin alike:

    0       1      2
    +-------+------+---------
    | 0x01  | type | body ...
    +-------+------+---------
"""

import base64
import hashlib
from typing import NewType

import msgspec

PROTOCOL_VERSION = 1
MAGIC = bytes.fromhex("2112a442")  # in Auth only; the four bytes of the STUN cookie

HEADER_LEN = 2
PEER_ID_LEN = 36  # "sha-" and a SHA-256
TRANSPORT_HEADER_LEN = HEADER_LEN + PEER_ID_LEN
AUTH_HEADER_LEN = TRANSPORT_HEADER_LEN + len(MAGIC)

MAX_MESSAGE_LEN = 8820  # relay spec 3.1: a reader's buffer; a longer message breaks the link
MAX_PAYLOAD_LEN = MAX_MESSAGE_LEN - TRANSPORT_HEADER_LEN
MAX_AUTH_LEN = 212
MAX_TOKEN_LEN = MAX_AUTH_LEN - AUTH_HEADER_LEN
MAX_AUTH_RESPONSE_LEN = 8192
MAX_PEER_IDS = (MAX_MESSAGE_LEN - HEADER_LEN) // PEER_ID_LEN  # in one presence message

PeerId = NewType("PeerId", bytes)
"""Names an end on a relay server: 36 bytes, which servers take as opaque (relay spec 3.5)."""


def peer_id(text: str) -> PeerId:
    """Return the id of a peer's public key, as its base64 text (relay spec 3.5)."""
    return PeerId(b"sha-" + hashlib.sha256(text.encode()).digest())


def printed(identity: PeerId) -> str:
    """Return the form that logs show: `sha-` and the base64 of the hash."""
    return "sha-" + base64.b64encode(identity[4:]).decode("ascii")


HEALTH_CHECK_PEER_ID = peer_id("healthcheck-agent")
"""Who asks by a server's own health check, with a token that is always refused (relay spec 5.9)."""


class Transport(msgspec.Struct, frozen=True):
    """A packet for a peer, or from it.  Type 3, both ways.

    2   36  peer id: where it goes (client to server), whence it came (server to client)
    38  n   payload, 0 to MAX_PAYLOAD_LEN bytes
    """

    peer: PeerId
    payload: bytes


class Close(msgspec.Struct, frozen=True):
    """The sender closes the link now.  Type 4, both ways, no body."""


class HealthCheck(msgspec.Struct, frozen=True):
    """Asks (server) and answers (client) whether the other end is alive.  Type 5, no body."""


class Auth(msgspec.Struct, frozen=True):
    """The first frame of a client.  Type 6.

    2   4   magic 21 12 a4 42
    6   36  the client's peer id
    42  n   token (relay spec 4.2), up to MAX_TOKEN_LEN bytes
    """

    peer: PeerId
    token: bytes


class AuthResponse(msgspec.Struct, frozen=True):
    """The server accepts the client.  Type 7.

    2   n   the server's instance URL as UTF-8 text, at least 1 byte
    """

    instance_url: str


class SubscribePeerState(msgspec.Struct, frozen=True):
    """Asks for the presence of these peers.  Type 8, client to server.

    2   36k peer ids, back to back
    """

    peers: tuple[PeerId, ...]


class UnsubscribePeerState(msgspec.Struct, frozen=True):
    """Ends subscriptions.  Type 9, client to server, laid out as type 8."""

    peers: tuple[PeerId, ...]


class PeersOnline(msgspec.Struct, frozen=True):
    """These peers are connected to the server.  Type 10, server to client, laid out as type 8."""

    peers: tuple[PeerId, ...]


class PeersWentOffline(msgspec.Struct, frozen=True):
    """These peers have left the server.  Type 11, server to client, laid out as type 8."""

    peers: tuple[PeerId, ...]


FromClient = Auth | Transport | Close | HealthCheck | SubscribePeerState | UnsubscribePeerState
FromServer = AuthResponse | Transport | Close | HealthCheck | PeersOnline | PeersWentOffline
Frame = FromClient | FromServer
