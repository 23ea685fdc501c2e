"""Frames <-> messages (relay spec 3).

`decode_from_client` and `decode_from_server` take what that side may send.  What is wrong with a message is told apart
by the class of the error, because the two ends react differently (relay spec 3.4).
"""

from collections.abc import Callable
from typing import Final

from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.relay.frames import (
    AUTH_HEADER_LEN,
    HEADER_LEN,
    MAGIC,
    MAX_AUTH_LEN,
    MAX_AUTH_RESPONSE_LEN,
    MAX_MESSAGE_LEN,
    MAX_PAYLOAD_LEN,
    MAX_PEER_IDS,
    MAX_TOKEN_LEN,
    PEER_ID_LEN,
    PROTOCOL_VERSION,
    TRANSPORT_HEADER_LEN,
    Auth,
    AuthResponse,
    Close,
    Frame,
    FromClient,
    FromServer,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    Transport,
    UnsubscribePeerState,
)

TRANSPORT: Final = 3
CLOSE: Final = 4
HEALTH_CHECK: Final = 5
AUTH: Final = 6
AUTH_RESPONSE: Final = 7
SUBSCRIBE_PEER_STATE: Final = 8
UNSUBSCRIBE_PEER_STATE: Final = 9
PEERS_ONLINE: Final = 10
PEERS_WENT_OFFLINE: Final = 11


class BadHeader(RemoteProtocolError):
    """The message is no frame of this version: too short, too long, or another version."""


class UnexpectedType(RemoteProtocolError):
    """This side does not send frames of this type."""

    def __init__(self, frame_type: int) -> None:
        super().__init__(f"frame of type {frame_type}, which this side does not send")
        self.frame_type = frame_type


class BadBody(RemoteProtocolError):
    """The body of a known type does not fit its layout."""


def transport_prefix(peer: PeerId) -> bytes:
    """Return the 38 bytes that precede the payload of a Transport for (or from) this peer."""
    return bytes((PROTOCOL_VERSION, TRANSPORT)) + peer


TRANSPORT_HEAD: Final = bytes((PROTOCOL_VERSION, TRANSPORT))
"""What a Transport begins with: both ends look for it before they decode anything else."""


def encode(frame: Frame) -> bytes:
    """Return the message of a frame.  Raises LocalProtocolError if a part is longer than its limit, or empty."""
    match frame:
        case Transport(peer, payload):
            _limit("payload", len(payload), MAX_PAYLOAD_LEN)
            return transport_prefix(_checked(peer)) + payload
        case Close():
            return _message(CLOSE)
        case HealthCheck():
            return _message(HEALTH_CHECK)
        case Auth(peer, token):
            _limit("token", len(token), MAX_TOKEN_LEN)
            return _message(AUTH, MAGIC, _checked(peer), token)
        case AuthResponse(instance_url):
            url = instance_url.encode()
            _limit("instance URL", len(url), MAX_AUTH_RESPONSE_LEN - HEADER_LEN, least=1)
            return _message(AUTH_RESPONSE, url)
        case SubscribePeerState(peers):
            return _peer_list(SUBSCRIBE_PEER_STATE, peers)
        case UnsubscribePeerState(peers):
            return _peer_list(UNSUBSCRIBE_PEER_STATE, peers)
        case PeersOnline(peers):
            return _peer_list(PEERS_ONLINE, peers)
        case PeersWentOffline(peers):
            return _peer_list(PEERS_WENT_OFFLINE, peers)


def decode_from_client(message: bytes) -> FromClient:
    """Return the frame that a client sent.  Raises BadHeader, UnexpectedType or BadBody."""
    frame_type = _frame_type(message)
    decode = _FROM_CLIENT.get(frame_type)
    if decode is None:
        raise UnexpectedType(frame_type)
    return decode(message)


def decode_from_server(message: bytes) -> FromServer:
    """Return the frame that a server sent.  Raises BadHeader, UnexpectedType or BadBody."""
    frame_type = _frame_type(message)
    decode = _FROM_SERVER.get(frame_type)
    if decode is None:
        raise UnexpectedType(frame_type)
    return decode(message)


def _message(frame_type: int, *parts: bytes) -> bytes:
    return b"".join((bytes((PROTOCOL_VERSION, frame_type)), *parts))


def _peer_list(frame_type: int, peers: tuple[PeerId, ...]) -> bytes:
    _limit("list of peer ids", len(peers), MAX_PEER_IDS, least=1)
    return _message(frame_type, *map(_checked, peers))


def _checked(peer: PeerId) -> PeerId:
    _limit("peer id", len(peer), PEER_ID_LEN, least=PEER_ID_LEN)
    return peer


def _limit(what: str, seen: int, most: int, *, least: int = 0) -> None:
    if not least <= seen <= most:
        raise LocalProtocolError(f"{what} of length {seen}; {least} to {most} would do")


def _frame_type(message: bytes) -> int:
    if not HEADER_LEN <= len(message) <= MAX_MESSAGE_LEN:
        raise BadHeader(f"message of {len(message)} bytes; a frame has {HEADER_LEN} to {MAX_MESSAGE_LEN}")
    if message[0] != PROTOCOL_VERSION:
        raise BadHeader(f"frame of protocol version {message[0]}; this is version {PROTOCOL_VERSION}")
    return message[1]


def _decode_transport(message: bytes) -> Transport:
    if len(message) < TRANSPORT_HEADER_LEN:
        raise BadBody(f"Transport of {len(message)} bytes; its header alone has {TRANSPORT_HEADER_LEN}")
    return Transport(PeerId(message[HEADER_LEN:TRANSPORT_HEADER_LEN]), message[TRANSPORT_HEADER_LEN:])


def _decode_close(_message: bytes) -> Close:
    return Close()


def _decode_health_check(_message: bytes) -> HealthCheck:
    return HealthCheck()


def _decode_auth(message: bytes) -> Auth:
    if not AUTH_HEADER_LEN <= len(message) <= MAX_AUTH_LEN:
        raise BadBody(f"Auth of {len(message)} bytes; it has {AUTH_HEADER_LEN} to {MAX_AUTH_LEN}")
    if not message.startswith(MAGIC, HEADER_LEN):
        raise BadBody("Auth without its magic bytes")
    identity_at = HEADER_LEN + len(MAGIC)
    return Auth(PeerId(message[identity_at:AUTH_HEADER_LEN]), message[AUTH_HEADER_LEN:])


def _decode_auth_response(message: bytes) -> AuthResponse:
    if not HEADER_LEN < len(message) <= MAX_AUTH_RESPONSE_LEN:
        raise BadBody(f"AuthResponse of {len(message)} bytes; it has {HEADER_LEN + 1} to {MAX_AUTH_RESPONSE_LEN}")
    try:
        return AuthResponse(message[HEADER_LEN:].decode())
    except UnicodeDecodeError:
        raise BadBody("AuthResponse whose instance URL is no UTF-8 text") from None


def _peer_ids(message: bytes) -> tuple[PeerId, ...]:
    if (len(message) - HEADER_LEN) % PEER_ID_LEN:
        raise BadBody(f"list of peer ids in {len(message)} bytes; it has {HEADER_LEN} and {PEER_ID_LEN} for each id")
    return tuple(PeerId(message[at : at + PEER_ID_LEN]) for at in range(HEADER_LEN, len(message), PEER_ID_LEN))


_FROM_CLIENT: Final[dict[int, Callable[[bytes], FromClient]]] = {
    TRANSPORT: _decode_transport,
    CLOSE: _decode_close,
    HEALTH_CHECK: _decode_health_check,
    AUTH: _decode_auth,
    SUBSCRIBE_PEER_STATE: lambda message: SubscribePeerState(_peer_ids(message)),
    UNSUBSCRIBE_PEER_STATE: lambda message: UnsubscribePeerState(_peer_ids(message)),
}

_FROM_SERVER: Final[dict[int, Callable[[bytes], FromServer]]] = {
    TRANSPORT: _decode_transport,
    CLOSE: _decode_close,
    HEALTH_CHECK: _decode_health_check,
    AUTH_RESPONSE: _decode_auth_response,
    PEERS_ONLINE: lambda message: PeersOnline(_peer_ids(message)),
    PEERS_WENT_OFFLINE: lambda message: PeersWentOffline(_peer_ids(message)),
}
