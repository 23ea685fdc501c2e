"""ICE candidates: their text, their priorities, and which of them are used (signal spec 5.5, 5.6, 5.10; RFC 8445).

<foundation> <component> udp <priority> <address> <port> typ <kind>[ raddr <ip> rport <port>][ <key> <value>]...
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, get_args
from zlib import crc32

import msgspec

from transport.errors import LocalProtocolError, RemoteProtocolError
from wg.datagrams import Endpoint

CandidateKind = Literal["host", "srflx", "prflx", "relay"]

TYPE_PREFERENCE: Final[dict[CandidateKind, int]] = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
LOCAL_PREFERENCE: Final = 65535  # NetBird's for every candidate (signal spec 5.6)
COMPONENT: Final = 1  # the only one

MAX_TEXT_LEN: Final = 1024  # characters of a candidate; ours have 170 at most
MAX_TOKENS: Final = 64
MAX_NAME_LEN: Final = 256  # characters of a ufrag and of a cid
MAX_PRIORITY: Final = 2**32 - 1

FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{0,32}")
TCP_TYPES: Final = ("active", "passive", "so")
_NOT_TEXT: Final = re.compile(r"[^\x01-\x09\x0b\x0c\x0e-\xff]")

Network = IPv4Network | IPv6Network
_IpAddress = IPv4Address | IPv6Address


class BadCandidate(RemoteProtocolError):
    """The text is no candidate, or one of a kind that is never used; the message says why, for one line of a log."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Where an ICE agent may be reached."""

    kind: CandidateKind
    ip: str  # the usual short form, without zone
    port: int
    priority: int
    foundation: str
    related: Endpoint | None = None  # the base of ours; a remote's may hold any text as ip
    ufrag: str | None = None  # of the agent it belongs to
    cid: str | None = None  # the candidate's name, normally 32 characters; one of NetBird's has a colon
    component: int = COMPONENT

    @property
    def endpoint(self) -> Endpoint:
        """Where datagrams for it go."""
        return Endpoint(self.ip, self.port)

    @property
    def family(self) -> Literal[4, 6]:
        """The IP version."""
        return 6 if ":" in self.ip else 4


def make_candidate(
    kind: CandidateKind,
    endpoint: Endpoint,
    *,
    ufrag: str | None = None,
    cid: str | None = None,
    related: Endpoint | None = None,
    local_preference: int = LOCAL_PREFERENCE,
) -> Candidate:
    """Return a candidate with its foundation and priority as NetBird computes them (signal spec 5.5 and 5.6)."""
    return Candidate(
        kind=kind,
        ip=endpoint.ip,
        port=endpoint.port,
        priority=priority(kind, local_preference),
        foundation=foundation(kind, endpoint.ip),
        related=related,
        ufrag=ufrag,
        cid=cid,
    )


def foundation(kind: CandidateKind, ip: str) -> str:
    """Return the decimal CRC-32 of what candidates that fare alike have in common (signal spec 5.5)."""
    return str(crc32(f"{kind}{ip}udp{6 if ':' in ip else 4}".encode()))


def priority(kind: CandidateKind, local_preference: int = LOCAL_PREFERENCE, component: int = COMPONENT) -> int:
    """Return a candidate's priority (RFC 8445 section 5.1.2.1)."""
    return (TYPE_PREFERENCE[kind] << 24) + (local_preference << 8) + 256 - component


def pair_priority(controlling: int, controlled: int) -> int:
    """Return the priority of a pair from those of its two candidates (RFC 8445 section 6.1.2.3).

    NetBird multiplies by 2^32 - 1; each end only ever compares its own numbers.
    """
    return (min(controlling, controlled) << 32) + 2 * max(controlling, controlled) + (controlling > controlled)


def encode_candidate(candidate: Candidate) -> str:
    """Return the text of a candidate.  Raises LocalProtocolError if a part of it would not be read back."""
    related = candidate.related
    parts = [candidate.foundation, str(candidate.component), "udp", str(candidate.priority)]
    parts += [candidate.ip, str(candidate.port), "typ", candidate.kind]
    if related is not None and related.ip and related.port:
        parts += ["raddr", related.ip, "rport", str(related.port)]
    for key, value in (("ufrag", candidate.ufrag), ("cid", candidate.cid)):
        if value is not None:
            parts += [key, value]
    text = " ".join(parts)
    try:
        read = decode_candidate(text)
    except BadCandidate as error:
        raise LocalProtocolError(f"candidate of ours: {error}") from None
    if (read.ufrag, read.cid) != (candidate.ufrag, candidate.cid):
        raise LocalProtocolError("candidate of ours: ufrag or cid empty or with spaces; one word would do")
    return text


def decode_candidate(text: str) -> Candidate:
    """Return the candidate of a text that a remote sent.  Raises BadCandidate.

    TCP candidates and mDNS names are well-formed, and refused here since they are never used.
    """
    if len(text) > MAX_TEXT_LEN:
        raise BadCandidate(f"candidate of {len(text)} characters; at most {MAX_TEXT_LEN} would do")
    if _NOT_TEXT.search(text):
        raise BadCandidate("candidate with NUL, line ends or characters above U+00FF")
    tokens = text.removeprefix("candidate:").split(" ")
    if not 8 <= len(tokens) <= MAX_TOKENS:
        raise BadCandidate(f"candidate of {len(tokens)} words; 8 to {MAX_TOKENS} would do")
    first, component, transport, sent_priority, address, port, typ, kind = tokens[:8]
    if not FOUNDATION.fullmatch(first):
        raise _bad("foundation", first, "up to 32 letters, digits, + and /")
    component_number = _digits("component", component, 5, 99999)
    if transport[:3].lower() != "udp":
        raise _bad("transport", transport, "udp")
    if typ != "typ":
        raise _bad("seventh word", typ, "typ")
    known = _kind(kind)
    related, extensions = _related(tokens[8:])
    return Candidate(
        kind=known,
        ip=_ip(address),
        port=_digits("port", port, 5, 0xFFFF),
        priority=_digits("priority", sent_priority, 10, MAX_PRIORITY) or priority(known),
        foundation=first,
        related=related,
        component=component_number,
        **_extensions(extensions),
    )


def forwarded(candidate: Candidate) -> Candidate | None:
    """Return the second place where the remote of a srflx may be reached; None: there is none (signal spec 5.10).

    Its port is the one that the remote's socket has: good when somebody forwards it by hand.
    """
    related = candidate.related
    if candidate.kind != "srflx" or candidate.cid is None or related is None or related.port in (0, candidate.port):
        return None
    return make_candidate("srflx", Endpoint(candidate.ip, related.port), ufrag=candidate.ufrag, related=related)


class AddressRules:
    """Which addresses ICE never uses, ours or a remote's.

    `overlay` are the prefixes of our own network: a path through them would be a tunnel inside itself (signal spec
    5.9).  `loopback`: take loopback addresses, for agents on one machine.
    """

    def __init__(self, overlay: Iterable[str | Network] = (), *, loopback: bool = False) -> None:
        self.set_overlay(overlay)
        self._loopback = loopback

    def set_overlay(self, overlay: Iterable[str | Network]) -> None:
        """Take these prefixes from now on."""
        self._overlay = tuple(network if isinstance(network, Network) else ip_network(network) for network in overlay)

    def refusal(self, ip: str) -> str | None:
        """Return why this address is not used; None: it may be."""
        address = _parsed(ip)
        if address is None:
            return "no IP address"
        for network in self._overlay:
            if address in network:
                return f"inside our own network ({network})"
        if address.is_loopback:
            return None if self._loopback else "loopback"
        return _general_refusal(address)

    def refusal_of(self, candidate: Candidate) -> str | None:
        """Return why this candidate is not used; None: it may be."""
        if candidate.port == 0:
            return "port 0"
        if candidate.component != COMPONENT:
            return f"component {candidate.component}"
        return self.refusal(candidate.ip)


def _general_refusal(address: _IpAddress) -> str | None:
    if address.is_unspecified:
        return "unspecified"
    if address.is_multicast:
        return "multicast"
    if address.is_link_local:
        return "link-local"
    if isinstance(address, IPv4Address):
        # The block 240/4 with the broadcast address, and "this network".
        return "reserved" if address.is_reserved or address.packed[0] == 0 else None
    if address.ipv4_mapped is not None or address.packed[:12] == bytes(12):
        return "IPv4 inside IPv6"
    return "site-local" if address.is_site_local else None


@lru_cache(maxsize=1024)
def _parsed(ip: str) -> _IpAddress | None:
    try:
        return ip_address(ip)
    except ValueError:
        return None


def _bad(what: str, seen: str, would_do: str) -> BadCandidate:
    return BadCandidate(f"{what} {seen[:40]!a} of a candidate; {would_do} would do")


def _kind(text: str) -> CandidateKind:
    for kind in get_args(CandidateKind):
        if text == kind:
            known: CandidateKind = kind
            return known
    raise _bad("type", text, "host, srflx, prflx or relay")


def _ip(text: str) -> str:
    if text.lower().endswith(".local"):
        raise _bad("mDNS name", text, "an IP address")
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        raise _bad("address", text, "an IP address") from None


def _digits(what: str, text: str, most_digits: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= most_digits and int(text) <= most):
        raise _bad(what, text, f"a number up to {most}")
    return int(text)


def _related(tokens: list[str]) -> tuple[Endpoint | None, list[str]]:
    """Return the related address that these words begin with, and the words after it."""
    has = ("raddr" in tokens[:1], "rport" in tokens[2:3])
    if has == (True, True) and len(tokens) >= 4:
        return Endpoint(tokens[1], _digits("rport", tokens[3], 5, 0xFFFF)), tokens[4:]
    if has[0] or "rport" in tokens[:1]:
        raise BadCandidate("raddr or rport of a candidate without the other; both would do")
    return None, tokens


def _extensions(tokens: list[str]) -> dict[str, str]:
    """Return ufrag and cid from pairs of key and value, the first of each; the last key may lack its value."""
    found: dict[str, str] = {}
    for key, value in zip(tokens[::2], [*tokens[1::2], ""][: (len(tokens) + 1) // 2], strict=True):
        if not key:
            raise BadCandidate("candidate with a space too many; single spaces would do")
        if key == "tcptype" and value not in TCP_TYPES:
            raise _bad("tcptype", value, "active, passive or so")
        if key in ("ufrag", "cid") and value:
            if len(value) > MAX_NAME_LEN:
                raise BadCandidate(f"{key} of {len(value)} characters; at most {MAX_NAME_LEN} would do")
            found.setdefault(key, value)
    return found
