"""STUN Binding messages <-> bytes (RFC 8489; for ICE: RFC 8445 section 7, as NetBird has it: signal spec 5.7).

    0      2        4                    8                20
    +------+--------+--------------------+----------------+----------------
    | type | length | cookie 21 12 a4 42 | transaction id | attributes ...
    +------+--------+--------------------+----------------+----------------

`length` is that of the attributes.  MESSAGE-INTEGRITY signs what precedes it, FINGERPRINT is a checksum of what
precedes it; both as if the message ended with them.  What comes after MESSAGE-INTEGRITY is signed by nobody and not
read, except FINGERPRINT and NetBird's attribute 0x8100.
"""

import hmac
import struct
from typing import Final, Literal, NamedTuple
from zlib import crc32

import msgspec

from config.keys import Secret
from transport.ice.attributes import (
    CANDIDATE_IDS,
    COOKIE,
    FINGERPRINT,
    HEAD,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    KNOWN,
    MAX_ATTRIBUTES,
    MAX_IDS_LEN,
    MAX_TEXT_LEN,
    MAX_USERNAME_LEN,
    MESSAGE_INTEGRITY,
    PRIORITY,
    SOFTWARE,
    USE_CANDIDATE,
    USERNAME,
    BadStun,
    CandidateIds,
    Role,
    attribute,
    check_len,
    error_code,
    error_in,
    ids_in,
    mapped_in,
    number,
    number_in,
    role_in,
    text,
    text_in,
    types,
    types_in,
    xor_mapped,
)
from wg.datagrams import Endpoint

__all__ = [
    "BadStun",
    "BindingError",
    "BindingIndication",
    "BindingRequest",
    "BindingSuccess",
    "CandidateIds",
    "Message",
    "Peek",
    "Role",
    "decode",
    "encode",
    "is_stun",
    "peek",
]

HEADER_LEN: Final = 20
TRANSACTION_LEN: Final = 12
MAX_MESSAGE_LEN: Final = 1280  # bytes; checks between ours have about 180

# Error codes (RFC 8489 section 14.8, RFC 8445 section 16.2).
UNKNOWN_ATTRIBUTE, ROLE_CONFLICT = 420, 487

Kind = Literal["request", "indication", "success", "error"]
_KINDS: Final[dict[bytes, Kind]] = {
    b"\x00\x01": "request",
    b"\x00\x11": "indication",
    b"\x01\x01": "success",
    b"\x01\x11": "error",
}
_HEADER: Final = struct.Struct("!HH4s12s")
_FINGERPRINT_XOR: Final = 0x5354554E  # RFC 8489 section 14.7
_FINGERPRINT_LEN: Final = 8  # bytes with the attribute's head
_INTEGRITY_LEN: Final = 24


class BindingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Asks what address this comes from; in ICE, whether a candidate pair works."""

    transaction: bytes  # 12 bytes
    username: str | None = None  # ICE: `<receiver's ufrag>:<sender's ufrag>`
    role: Role | None = None  # the sender's
    tie_breaker: int = 0  # 64 bits, with a role
    priority: int | None = None  # of the candidate that the receiver may learn from this request
    use_candidate: bool = False  # nominates the pair
    software: str | None = None
    ids: CandidateIds | None = None
    unknown: tuple[int, ...] = ()  # attributes that had to be understood and are not: refuse it with 420


class BindingSuccess(msgspec.Struct, frozen=True, kw_only=True):
    """Answers a request with the address that it came from."""

    transaction: bytes
    mapped: Endpoint | None = None  # None: not said
    software: str | None = None
    ids: CandidateIds | None = None
    unknown: tuple[int, ...] = ()  # with any, the request counts as failed (RFC 8489 section 6.3.3)


class BindingError(msgspec.Struct, frozen=True, kw_only=True):
    """Answers a request with a refusal."""

    transaction: bytes
    code: int  # 300 to 699
    text: str = ""
    not_understood: tuple[int, ...] = ()  # with code 420: attributes of the request
    software: str | None = None
    ids: CandidateIds | None = None
    unknown: tuple[int, ...] = ()


class BindingIndication(msgspec.Struct, frozen=True, kw_only=True):
    """Says that the sender lives, and wants no answer."""

    transaction: bytes
    software: str | None = None
    ids: CandidateIds | None = None
    unknown: tuple[int, ...] = ()


Message = BindingRequest | BindingSuccess | BindingError | BindingIndication


class Peek(NamedTuple):
    """What tells whose message it is."""

    kind: Kind
    transaction: bytes  # 12 bytes
    ufrag: str  # of a request: the receiver's, by which its agent is found; empty: none


def is_stun(datagram: bytes) -> bool:
    """Tell whether a datagram on the shared port is STUN's rather than WireGuard's (signal spec 5.9)."""
    return (
        datagram[4:8] == COOKIE
        and len(datagram) >= HEADER_LEN
        # A WireGuard index may be the cookie by chance.
        and not (len(datagram) >= 32 and 1 <= datagram[0] <= 4 and datagram[1:4] == b"\0\0\0")
    )


def peek(datagram: bytes) -> Peek | None:
    """Return whose message this is; None: no Binding message.  Raises nothing, and proves nothing.

    This is all that a stranger's datagram costs: `decode` follows once an agent or a request of ours is found by it.
    """
    kind = _KINDS.get(datagram[:2])
    end = len(datagram)
    if kind is None or datagram[4:8] != COOKIE or not HEADER_LEN <= end <= MAX_MESSAGE_LEN:
        return None
    transaction = datagram[8:HEADER_LEN]
    position = HEADER_LEN
    for _ in range(MAX_ATTRIBUTES if kind == "request" else 0):
        if position + HEAD.size > end:
            break
        found, length = HEAD.unpack_from(datagram, position)
        position += HEAD.size
        if found == USERNAME and position + length <= end:
            ufrag, _, _ = datagram[position : position + length].partition(b":")
            return Peek(kind, transaction, str(ufrag, "ascii", "replace"))
        position += length + 3 & ~3
    return Peek(kind, transaction, "")


def decode(datagram: bytes, key: Secret | None = None) -> Message:
    """Return the message, with `key` only if it is signed by it.  Raises BadStun.

    In ICE the key is a pwd: the receiver's for a request, the responder's for an answer.  Each attribute counts once,
    the first of its type.
    """
    if not HEADER_LEN <= len(datagram) <= MAX_MESSAGE_LEN:
        would_do = f"{HEADER_LEN} to {MAX_MESSAGE_LEN} would do"
        raise BadStun("malformed", f"STUN message of {len(datagram)} bytes; {would_do}")
    message_type, length, cookie, transaction = _HEADER.unpack_from(datagram)
    if cookie != COOKIE or length % 4 or length != len(datagram) - HEADER_LEN:
        raise BadStun("malformed", f"STUN header with cookie {cookie.hex()} and length {length}; not of this message")
    kind = _KINDS.get(datagram[:2])
    if kind is None:
        raise BadStun("not_binding", f"STUN message of type {message_type:#06x}; a Binding message would do")
    values, unknown, integrity_at, fingerprint_at = _walk(datagram)
    if fingerprint_at and not _fingerprint_fits(datagram, fingerprint_at):
        raise BadStun("fingerprint", "STUN message with the fingerprint of another")
    if key is not None and not (integrity_at and _signed_by(key, datagram, integrity_at)):
        raise BadStun("integrity", f"STUN message {'signed by another password' if integrity_at else 'not signed'}")
    software, ids = text_in(values, SOFTWARE, MAX_TEXT_LEN, "replace"), ids_in(values)
    match kind:
        case "request":
            role, tie_breaker = role_in(values)
            return BindingRequest(
                transaction=transaction,
                username=text_in(values, USERNAME, MAX_USERNAME_LEN),
                role=role,
                tie_breaker=tie_breaker,
                priority=number_in(values, PRIORITY, 4),
                use_candidate=number_in(values, USE_CANDIDATE, 0) is not None,
                software=software,
                ids=ids,
                unknown=unknown,
            )
        case "success":
            mapped = mapped_in(values, transaction)
            return BindingSuccess(transaction=transaction, mapped=mapped, software=software, ids=ids, unknown=unknown)
        case "error":
            code, reason = error_in(values)
            return BindingError(
                transaction=transaction,
                code=code,
                text=reason,
                not_understood=types_in(values),
                software=software,
                ids=ids,
                unknown=unknown,
            )
        case "indication":
            return BindingIndication(transaction=transaction, software=software, ids=ids, unknown=unknown)


def encode(message: Message, key: Secret | None = None, *, fingerprint: bool = True) -> bytes:
    """Return the bytes of a message, signed if there is a key.  Raises LocalProtocolError if a part does not fit.

    Attributes come in NetBird's order.  `unknown` is not written.
    """
    check_len("transaction id", len(message.transaction), TRANSACTION_LEN, least=TRANSACTION_LEN)
    parts = [COOKIE, message.transaction]
    if message.software is not None:
        parts.append(text(SOFTWARE, message.software, MAX_TEXT_LEN))
    match message:
        case BindingRequest():
            kind = b"\x00\x01"
            parts += _request_attributes(message)
        case BindingSuccess():
            kind = b"\x01\x01"
            if message.mapped is not None:
                parts.append(xor_mapped(message.mapped, message.transaction))
        case BindingError():
            kind = b"\x01\x11"
            parts.append(error_code(message.code, message.text))
            if message.not_understood:
                parts.append(types(message.not_understood))
        case BindingIndication():
            kind = b"\x00\x11"
    rest = b"".join(parts)  # what follows type and length
    if key is not None:
        mac = hmac.digest(key.value, kind + _length(rest, _INTEGRITY_LEN) + rest, "sha1")
        rest += attribute(MESSAGE_INTEGRITY, mac)
    if fingerprint:
        checksum = crc32(kind + _length(rest, _FINGERPRINT_LEN) + rest) ^ _FINGERPRINT_XOR
        rest += number(FINGERPRINT, checksum, 4)
    if message.ids is not None:
        rest += text(CANDIDATE_IDS, ":".join(message.ids), MAX_IDS_LEN)
    check_len("STUN message", 4 + len(rest), MAX_MESSAGE_LEN)
    return kind + _length(rest, 0) + rest


def _walk(datagram: bytes) -> tuple[dict[int, bytes], tuple[int, ...], int, int]:
    """Return the values known to us, unknown types, and where integrity and fingerprint are (0: they are not)."""
    values: dict[int, bytes] = {}
    unknown: list[int] = []
    integrity_at = fingerprint_at = count = 0
    position, end = HEADER_LEN, len(datagram)
    while position < end:  # both are multiples of 4, so a head is whole
        found, length = HEAD.unpack_from(datagram, position)
        at, value_at = position, position + HEAD.size
        position = value_at + (length + 3 & ~3)
        count += 1
        if position > end:
            raise BadStun("malformed", f"STUN attribute {found:#06x} of {length} bytes; {end - value_at} are there")
        if count > MAX_ATTRIBUTES:
            raise BadStun("malformed", f"STUN message of more than {MAX_ATTRIBUTES} attributes")
        if found == CANDIDATE_IDS:
            values.setdefault(found, datagram[value_at : value_at + length])
        elif fingerprint_at:
            pass
        elif found == FINGERPRINT:
            fingerprint_at = at
        elif integrity_at:
            pass
        elif found == MESSAGE_INTEGRITY:
            integrity_at = at
        elif found in KNOWN:
            values.setdefault(found, datagram[value_at : value_at + length])
        elif found < 0x8000:
            unknown.append(found)
    return values, tuple(unknown), integrity_at, fingerprint_at


def _until(datagram: bytes, end: int, at: int) -> bytes:
    """Return what precedes `at`, with a header that says that the message ends at `end`."""
    return datagram[:2] + (end - HEADER_LEN).to_bytes(2) + datagram[4:at]


def _fingerprint_fits(datagram: bytes, at: int) -> bool:
    checksum = crc32(_until(datagram, at + _FINGERPRINT_LEN, at)) ^ _FINGERPRINT_XOR
    return datagram[at : at + _FINGERPRINT_LEN] == number(FINGERPRINT, checksum, 4)


def _signed_by(key: Secret, datagram: bytes, at: int) -> bool:
    mac = hmac.digest(key.value, _until(datagram, at + _INTEGRITY_LEN, at), "sha1")
    return hmac.compare_digest(datagram[at : at + _INTEGRITY_LEN], attribute(MESSAGE_INTEGRITY, mac))


def _request_attributes(message: BindingRequest) -> list[bytes]:
    parts = []
    if message.username is not None:
        parts.append(text(USERNAME, message.username, MAX_USERNAME_LEN))
    if message.use_candidate:
        parts.append(attribute(USE_CANDIDATE, b""))
    if message.role is not None:
        role = ICE_CONTROLLING if message.role == "controlling" else ICE_CONTROLLED
        parts.append(number(role, message.tie_breaker, 8))
    if message.priority is not None:
        parts.append(number(PRIORITY, message.priority, 4))
    return parts


def _length(rest: bytes, more: int) -> bytes:
    """Return a header's length if `rest` follows it and `more` bytes follow that."""
    return (len(rest) - len(COOKIE) - TRANSACTION_LEN + more).to_bytes(2)
