"""Signal bodies and their envelope, as records and as protobuf bytes (signal spec 2.2 and 4).

What a decoder gives is checked and bounded: texts are short and printable, an IP is one, a session id has its length.
What a remote peer may leave out or get wrong without harm is left out here too (signal spec 4.1); the rest raises
RemoteProtocolError, and the message is dropped.
"""

import ipaddress

import msgspec
from google.protobuf.message import DecodeError

from config.keys import PublicKey, Secret
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.signal import signal_pb2 as pb
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    Description,
    GoIdleReceived,
    HomingFields,
    IceCredentials,
    OfferReceived,
    PostCandidate,
    PostDescription,
    SignalPost,
    SignalReceived,
)

MAX_ENVELOPE_LEN = 4 << 20  # bytes, signal spec 2.7
MAX_BODY_LEN = 1 << 20  # bytes; a foreign offer with a Rosenpass key has half of that
MAX_CREDENTIAL_LEN = 256  # characters of a ufrag or a pwd (RFC 8839 section 5.4)
MAX_CANDIDATE_LEN = 1024  # characters
MAX_URL_LEN = 255  # characters
MAX_VERSION_LEN = 64  # characters
MAX_RELAY_URLS = 8
SESSION_LEN = 5  # bytes


class Envelope(msgspec.Struct, frozen=True):
    """The only message on the wire: who wrote to whom, and what only the receiver can open."""

    sender: str
    receiver: str
    sealed: bytes  # nonce, then box (signal spec 3.2)


class Offer(msgspec.Struct, frozen=True):
    """A proposal to connect."""

    description: Description


class Answer(msgspec.Struct, frozen=True):
    """The reply to an offer."""

    description: Description


class Candidate(msgspec.Struct, frozen=True):
    """One way to the sender's ICE agent (signal spec 5.5)."""

    text: str


class GoIdle(msgspec.Struct, frozen=True):
    """The sender closes its side for want of traffic."""


class Heartbeat(msgspec.Struct, frozen=True):
    """A client's message to itself (signal spec 6.4)."""


class Other(msgspec.Struct, frozen=True):
    """MODE, or a type made later: no action."""

    type_number: int


OwnBody = Offer | Answer | Candidate | GoIdle | Heartbeat
Body = OwnBody | Other


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the bytes of an EncryptedMessage."""
    data: bytes = pb.EncryptedMessage(
        key=envelope.sender, remoteKey=envelope.receiver, body=envelope.sealed
    ).SerializeToString()
    return data


def decode_envelope(data: bytes) -> Envelope:
    """Return the envelope in these bytes.  Raises RemoteProtocolError."""
    try:
        message = pb.EncryptedMessage.FromString(data)
    except DecodeError:
        raise RemoteProtocolError(f"{len(data)} bytes that are no EncryptedMessage") from None
    return Envelope(message.key, message.remoteKey, message.body)


def encode_body(body: OwnBody) -> bytes:
    """Return the bytes to seal.  Raises LocalProtocolError for what a receiver would not understand."""
    try:
        data: bytes = _to_message(body).SerializeToString()
    except ValueError as error:  # a number that its field does not hold
        raise LocalProtocolError(f"{type(body).__name__}: {error}") from None
    return data


def decode_body(data: bytes) -> Body:
    """Return what an opened body says.  Raises RemoteProtocolError."""
    try:
        message = pb.Body.FromString(data)
    except DecodeError:
        raise RemoteProtocolError(f"{len(data)} bytes that are no Body") from None
    match message.type:
        case pb.Body.OFFER:
            return Offer(_to_description(message))
        case pb.Body.ANSWER:
            return Answer(_to_description(message))
        case pb.Body.CANDIDATE:
            if not 0 < len(message.payload) <= MAX_CANDIDATE_LEN:
                raise RemoteProtocolError(
                    f"candidate of {len(message.payload)} characters; 1 to {MAX_CANDIDATE_LEN} would do"
                )
            return Candidate(message.payload)
        case pb.Body.GO_IDLE:
            return GoIdle()
        case pb.Body.HEARTBEAT:
            return Heartbeat()
        case number:
            return Other(number)


def body_of(post: SignalPost) -> OwnBody:
    """Return the body that this post asks for."""
    match post:
        case PostDescription(kind="offer"):
            return Offer(post.description)
        case PostDescription():
            return Answer(post.description)
        case PostCandidate():
            return Candidate(post.candidate)


def received(body: Body, peer: PublicKey, nonce: bytes) -> SignalReceived | None:
    """Return the mail that a body from this peer makes; None: it asks for nothing."""
    match body:
        case Offer(description):
            return OfferReceived(peer=peer, description=description, nonce=nonce)
        case Answer(description):
            return AnswerReceived(peer=peer, description=description, nonce=nonce)
        case Candidate(text):
            return CandidateReceived(peer=peer, candidate=text, nonce=nonce)
        case GoIdle():
            return GoIdleReceived(peer=peer, nonce=nonce)
        case Heartbeat() | Other():
            return None


def _to_message(body: OwnBody) -> pb.Body:
    match body:
        case Offer(description):
            return _from_description(description, pb.Body.OFFER)
        case Answer(description):
            return _from_description(description, pb.Body.ANSWER)
        case Candidate(text):
            if not 0 < len(text) <= MAX_CANDIDATE_LEN:
                raise LocalProtocolError(f"candidate of {len(text)} characters; 1 to {MAX_CANDIDATE_LEN} would do")
            return pb.Body(type=pb.Body.CANDIDATE, payload=text)
        case GoIdle():
            return pb.Body(type=pb.Body.GO_IDLE)
        case Heartbeat():
            return pb.Body(type=pb.Body.HEARTBEAT)


def _from_description(description: Description, kind: pb.Body.Type) -> pb.Body:
    message = pb.Body(
        type=kind,
        payload=_payload(description.ice),
        wgListenPort=description.listen_port,
        netBirdVersion=description.version,
    )
    message.rosenpassConfig.SetInParent()  # present and empty: no Rosenpass (signal spec 4.1)
    if description.relay_url is not None:
        message.relayServerAddress = description.relay_url
    if description.session is not None:
        message.sessionId = description.session
    if description.relay_ip is not None:
        message.relayServerIP = _ip_bytes(description.relay_ip)
    if description.homing is not None:
        _set_homing(message.homing, description.homing)
    return message


def _to_description(message: pb.Body) -> Description:
    ice = _credentials(message.payload)
    return Description(
        ice=ice,
        session=message.sessionId if ice is not None and len(message.sessionId) == SESSION_LEN else None,
        listen_port=message.wgListenPort if message.wgListenPort <= 0xFFFF else 0,
        version=message.netBirdVersion if _is_short(message.netBirdVersion, MAX_VERSION_LEN) else "",
        relay_url=_url(message.relayServerAddress),
        relay_ip=_ip_text(message.relayServerIP),
        homing=_homing(message.homing) if message.HasField("homing") else None,
    )


def _payload(ice: IceCredentials | None) -> str:
    if ice is None:
        return ":"
    pwd = ice.pwd.value.decode("ascii", "replace")
    if not (_is_credential(ice.ufrag) and _is_credential(pwd)):
        raise LocalProtocolError(
            f"ICE credentials of {len(ice.ufrag)} and {len(pwd)} characters; "
            f"1 to {MAX_CREDENTIAL_LEN} of printable ASCII without a colon would do"
        )
    return f"{ice.ufrag}:{pwd}"


def _credentials(payload: str) -> IceCredentials | None:
    parts = payload.split(":")
    if len(parts) != 2:
        raise RemoteProtocolError(f"payload with {len(parts) - 1} colons; ufrag:pwd has one")
    ufrag, pwd = parts
    if not ufrag or not pwd:
        return None
    if not (_is_credential(ufrag) and _is_credential(pwd)):
        raise RemoteProtocolError(
            f"ICE credentials of {len(ufrag)} and {len(pwd)} characters; "
            f"1 to {MAX_CREDENTIAL_LEN} of printable ASCII would do"
        )
    return IceCredentials(ufrag=ufrag, pwd=Secret(pwd.encode("ascii")))


def _is_credential(text: str) -> bool:
    return bool(text) and ":" not in text and _is_short(text, MAX_CREDENTIAL_LEN)


def _is_short(text: str, limit: int) -> bool:
    return len(text) <= limit and text.isascii() and text.isprintable()


def _url(text: str) -> str | None:
    return text if text and _is_short(text, MAX_URL_LEN) else None


def _ip_bytes(literal: str) -> bytes:
    try:
        ip = ipaddress.ip_address(literal)
    except ValueError:
        raise LocalProtocolError(f"relay IP {literal!r}; an IPv4 or IPv6 literal would do") from None
    return _unmapped(ip).packed


def _ip_text(raw: bytes) -> str | None:
    return str(_unmapped(ipaddress.ip_address(raw))) if len(raw) in {4, 16} else None


def _unmapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _set_homing(message: pb.HomingFields, fields: HomingFields) -> None:
    message.SetInParent()  # all its fields may be at their defaults
    message.offerId = fields.offer_id
    message.acknowledges = fields.acknowledges
    message.cause = fields.cause
    message.relayGeneration = fields.relay_generation
    message.relayUrls.extend(fields.relay_urls[:MAX_RELAY_URLS])
    message.relayUnreached = fields.relay_unreached or ""
    if fields.heard_direct_ms is not None:
        message.heardDirectMs = fields.heard_direct_ms
    if fields.heard_relayed_ms is not None:
        message.heardRelayedMs = fields.heard_relayed_ms


def _homing(message: pb.HomingFields) -> HomingFields:
    return HomingFields(
        offer_id=message.offerId,
        acknowledges=message.acknowledges,
        cause=message.cause,
        relay_generation=message.relayGeneration,
        relay_urls=tuple(url for url in message.relayUrls[:MAX_RELAY_URLS] if _url(url)),
        relay_unreached=message.relayUnreached if _url(message.relayUnreached) else None,
        heard_direct_ms=message.heardDirectMs if message.HasField("heardDirectMs") else None,
        heard_relayed_ms=message.heardRelayedMs if message.HasField("heardRelayedMs") else None,
    )
