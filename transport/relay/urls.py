"""The URLs of relay servers: `rel://host[:port]` in clear, `rels://host[:port]` over TLS (relay spec 2.1, 5.7).

They are compared as text everywhere: `rels://h` and `rels://h:443` name two servers.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

PATH = "/relay"
PORTS = {"rel": 80, "rels": 443}


class InvalidRelayUrl(ValueError):
    """The text is no relay server's URL; the message says what would do."""


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """Where a relay server is, and how to speak to it."""

    secure: bool
    host: str  # name or IP literal, IPv6 without brackets
    port: int
    query: str = ""  # passed on as it is

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["rels" if self.secure else "rel"] else f"{host}:{self.port}"

    @property
    def websocket_url(self) -> str:
        """What a WebSocket client dials."""
        query = f"?{self.query}" if self.query else ""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{PATH}{query}"

    @property
    def named(self) -> bool:
        """Whether the host is a name, not an IP literal."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


def parse_relay_url(text: str) -> RelayUrl:
    """Return the parts of a relay URL.  Raises InvalidRelayUrl."""
    would_do = "rel://HOST[:PORT] or rels://HOST[:PORT] would do"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRelayUrl(f"{text[:200]!r} is no URL ({error}); {would_do}") from None
    if parts.scheme not in PORTS:
        raise InvalidRelayUrl(f"{text[:200]!r} has scheme {parts.scheme!r}; {would_do}")
    if not host or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRelayUrl(f"{text[:200]!r} has no usable host; {would_do}")
    if port == 0:
        raise InvalidRelayUrl(f"{text[:200]!r} has port 0; 1 to 65535 would do")
    return RelayUrl(parts.scheme == "rels", host, port or PORTS[parts.scheme], parts.query)


def instance_url(exposed: str, *, tls: bool) -> str:
    """Return what clients are told of an exposed address (relay spec 5.7).  Raises InvalidRelayUrl."""
    url = exposed if "://" in exposed else f"{'rels' if tls else 'rel'}://{exposed}"
    parsed = parse_relay_url(url)
    if tls and not parsed.secure:
        raise InvalidRelayUrl(f"{exposed!r} says no TLS, but a certificate is configured; rels:// would do")
    return url
