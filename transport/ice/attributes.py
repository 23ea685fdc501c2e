"""STUN attributes and what their values hold (RFC 8489 section 14, RFC 8445 section 16.1, signal spec 5.7).

    0      2        4
    +------+--------+-------------------------+
    | type | length | value, padded to 4 bytes |
    +------+--------+-------------------------+

Types below 0x8000 must be understood by whoever gets them.
"""

import struct
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal, NamedTuple

from transport.errors import LocalProtocolError, RemoteProtocolError
from wg.datagrams import Endpoint

COOKIE: Final = bytes.fromhex("2112a442")
MAX_ATTRIBUTES: Final = 32  # in one message
MAX_USERNAME_LEN: Final = 513  # bytes: two ufrags of 256 and a colon (RFC 8445 section 5.3)
MAX_TEXT_LEN: Final = 763  # bytes of SOFTWARE and of an error's text (RFC 8489 sections 14.8 and 14.14)
MAX_IDS_LEN: Final = 513  # bytes of attribute 0x8100; normally 65

MAPPED_ADDRESS: Final = 0x0001
USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
XOR_MAPPED_ADDRESS: Final = 0x0020
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
SOFTWARE: Final = 0x8022
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029
ICE_CONTROLLING: Final = 0x802A
CANDIDATE_IDS: Final = 0x8100  # NetBird's own

KNOWN: Final = frozenset(
    (MAPPED_ADDRESS, USERNAME, ERROR_CODE, UNKNOWN_ATTRIBUTES, XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE,
     SOFTWARE, ICE_CONTROLLED, ICE_CONTROLLING)
)  # fmt: skip
"""Attributes with a value that is read here; the rest of the above have their place in the message."""

HEAD: Final = struct.Struct("!HH")
_COOKIE_PORT: Final = int.from_bytes(COOKIE[:2])
_MAPPED_4: Final = bytes(10) + b"\xff\xff"  # before an IPv4 address written as IPv6 (RFC 4291 section 2.5.5.2)

Role = Literal["controlling", "controlled"]
BadReason = Literal["malformed", "not_binding", "fingerprint", "integrity"]


class BadStun(RemoteProtocolError):
    """The datagram is no Binding message that we take; `reason` is the name to count it under."""

    def __init__(self, reason: BadReason, text: str) -> None:
        super().__init__(text)
        self.reason: BadReason = reason


class CandidateIds(NamedTuple):
    """Attribute 0x8100: which candidate of the sender speaks to which of the receiver, by the `cid` of each.

    A hint and no more: it is not signed.
    """

    source: str
    destination: str


Values = dict[int, bytes]
"""The known attributes of a message: type -> value, without padding."""


# --- values of what was received; each raises BadStun ---


def text_in(values: Values, attribute: int, limit: int, errors: str = "strict") -> str | None:
    """Return a text of at most `limit` bytes; None: the attribute is not there."""
    value = values.get(attribute)
    if value is None:
        return None
    if len(value) > limit:
        raise BadStun("malformed", f"STUN attribute {attribute:#06x} of {len(value)} bytes; at most {limit} would do")
    try:
        return str(value, "utf-8", errors)
    except UnicodeDecodeError:
        raise BadStun("malformed", f"STUN attribute {attribute:#06x} is not UTF-8") from None


def number_in(values: Values, attribute: int, length: int) -> int | None:
    """Return a number of `length` bytes; None: the attribute is not there."""
    value = values.get(attribute)
    if value is None:
        return None
    if len(value) != length:
        raise BadStun("malformed", f"STUN attribute {attribute:#06x} of {len(value)} bytes; {length} would do")
    return int.from_bytes(value)


def role_in(values: Values) -> tuple[Role | None, int]:
    """Return the sender's role, if it has one, and its tie breaker."""
    controlling, controlled = number_in(values, ICE_CONTROLLING, 8), number_in(values, ICE_CONTROLLED, 8)
    if controlling is not None and controlled is not None:
        raise BadStun("malformed", "STUN request of both roles; one would do")
    if controlling is not None:
        return "controlling", controlling
    return ("controlled", controlled) if controlled is not None else (None, 0)


def ids_in(values: Values) -> CandidateIds | None:
    """Return the ids; whatever is odd about them makes them useless, and the message no worse."""
    value = values.get(CANDIDATE_IDS, b"")
    if len(value) > MAX_IDS_LEN or not value.isascii():
        return None
    # The receiver's own id has no colon, the sender's may have one (signal spec 5.5): the last one parts them.
    source, colon, destination = str(value, "ascii").rpartition(":")
    return CandidateIds(source, destination) if colon else None


def mapped_in(values: Values, transaction: bytes) -> Endpoint | None:
    """Return the address that a server saw; None: it does not say."""
    xored = values.get(XOR_MAPPED_ADDRESS)
    value = values.get(MAPPED_ADDRESS) if xored is None else xored
    if value is None:
        return None
    address, port = value[4:], int.from_bytes(value[2:4])
    if (value[1:2], len(address)) not in ((b"\x01", 4), (b"\x02", 16)):
        raise BadStun("malformed", f"STUN mapped address of {len(value)} bytes; 8 for IPv4 or 20 for IPv6 would do")
    if xored is not None:
        address, port = _xor(address, transaction), port ^ _COOKIE_PORT
    if address[:12] == _MAPPED_4:  # said by servers whose one socket serves both families
        address = address[12:]
    return Endpoint(str(IPv4Address(address) if len(address) == 4 else IPv6Address(address)), port)


def error_in(values: Values) -> tuple[int, str]:
    """Return the code, 300 to 699, and the text of an error."""
    value = values.get(ERROR_CODE, b"")
    if not 4 <= len(value) <= 4 + MAX_TEXT_LEN or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise BadStun("malformed", f"STUN error code of {len(value)} bytes; one of 300 to 699 with its text would do")
    return (value[2] & 7) * 100 + value[3], str(value[4:], "utf-8", "replace")


def types_in(values: Values) -> tuple[int, ...]:
    """Return the attribute types that the sender of an error names, MAX_ATTRIBUTES at most."""
    value = values.get(UNKNOWN_ATTRIBUTES, b"")[: 2 * MAX_ATTRIBUTES]
    return struct.unpack(f"!{len(value) // 2}H", value[: len(value) & ~1])


# --- attributes to send; each raises LocalProtocolError if something does not fit its place ---


def attribute(kind: int, value: bytes, limit: int = 0xFFFF) -> bytes:
    """Return an attribute whose value has at most `limit` bytes."""
    check_len(f"attribute {kind:#06x}", len(value), limit)
    return HEAD.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def text(kind: int, value: str, limit: int) -> bytes:
    """Return an attribute whose value is a text of at most `limit` bytes."""
    try:
        return attribute(kind, value.encode(), limit)
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{value!a}; text that UTF-8 can write would do") from None


def number(kind: int, value: int, length: int) -> bytes:
    """Return an attribute whose value is a number of `length` bytes."""
    return attribute(kind, _fitted(value, length))


def xor_mapped(endpoint: Endpoint, transaction: bytes) -> bytes:
    """Return the attribute that tells a client where it was seen."""
    address = packed_ip(endpoint.ip)
    family = b"\0\1" if len(address) == 4 else b"\0\2"
    port = _fitted(endpoint.port ^ _COOKIE_PORT, 2)
    return attribute(XOR_MAPPED_ADDRESS, family + port + _xor(address, transaction))


def error_code(code: int, reason: str) -> bytes:
    """Return the attribute of an error."""
    if not 300 <= code <= 699:
        raise LocalProtocolError(f"error code {code}; 300 to 699 would do")
    return text(ERROR_CODE, "\0\0" + chr(code // 100) + chr(code % 100) + reason, 4 + MAX_TEXT_LEN)


def types(kinds: tuple[int, ...]) -> bytes:
    """Return the attribute that names attributes which were not understood."""
    check_len("list of attributes", len(kinds), MAX_ATTRIBUTES)
    return attribute(UNKNOWN_ATTRIBUTES, b"".join(_fitted(kind, 2) for kind in kinds))


@lru_cache(maxsize=1024)
def packed_ip(ip: str) -> bytes:
    """Return the 4 or 16 bytes of an address."""
    try:
        return (IPv6Address(ip) if ":" in ip else IPv4Address(ip)).packed
    except AddressValueError:
        raise LocalProtocolError(f"{ip!a}; an IP address would do") from None


def check_len(what: str, seen: int, most: int, *, least: int = 0) -> None:
    """Raise LocalProtocolError if a length is not what its place takes."""
    if not least <= seen <= most:
        raise LocalProtocolError(f"{what} of length {seen}; {least} to {most} would do")


def _fitted(value: int, length: int) -> bytes:
    try:
        return value.to_bytes(length)
    except OverflowError:
        raise LocalProtocolError(f"{value}; a number of {length} bytes would do") from None


def _xor(address: bytes, transaction: bytes) -> bytes:
    mask = (COOKIE + transaction)[: len(address)]
    return (int.from_bytes(address) ^ int.from_bytes(mask)).to_bytes(len(address))
