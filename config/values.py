"""What a single value of the configuration may be.

Each check takes a value of the right type and returns what is wrong with it ("what was seen; what would do"), or None.
A check never repeats a value that could be a secret.
"""

import ipaddress
import pwd
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from config.keys import InvalidKey, decode_key

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
INTERFACES = re.compile(r"[A-Za-z0-9_.*-]{1,16}")
LEVELS = ("debug", "info", "warning", "error")
MAX_CONTROL_PROCESSES = 16
MAX_STUN_SERVERS = 4
MIN_IPV6_MTU = 1280  # bytes, RFC 8200 section 5
TRANSPORTS = ("auto", "ws", "quic")
FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
MAX_FINGERPRINTS = 16

Check = Callable[[Any], str | None]


class InvalidUrl(ValueError):
    """The text is no URL that a server of ours can be reached at; the message says why, without the text."""


def parse_url(url: str, schemes: tuple[str, ...]) -> tuple[str, int | None]:
    """Return host (IPv6 without brackets) and port (None: not given).  Raises InvalidUrl."""
    would_do = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidUrl(f"not a URL ({error}); {would_do}") from None
    if parts.scheme not in schemes:
        raise InvalidUrl(f"scheme {parts.scheme[:16]!r}; {would_do}")
    if not url.isascii() or re.search(r"[\x00-\x20\x7f]", url):
        raise InvalidUrl(f"spaces or other characters that a URL has not; {would_do}")
    if "@" in parts.netloc:
        raise InvalidUrl(f"a user or password in the URL; {would_do}")
    if host is None or not (_is_address(host) or _is_host_name(host)):
        raise InvalidUrl(f"no valid host; {would_do}")
    if port == 0:
        raise InvalidUrl("port 0; 1 to 65535")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise InvalidUrl(f"something after the port; {would_do}")
    return host, port


def parse_server(text: str) -> tuple[str, int]:
    """Return host (IPv6 without brackets) and port of HOST:PORT.  Raises InvalidUrl."""
    if "/" in text or text.startswith(("stun:", "stuns:")):
        raise InvalidUrl("a URL; HOST:PORT alone")
    host, port = parse_url(f"stun://{text}", ("stun",))
    if port is None:
        raise InvalidUrl("no port; HOST:PORT, most STUN servers have port 3478")
    return host, port


def parse_listen(text: str) -> tuple[str, int]:
    """Return address and port of PORT, IPV4:PORT or [IPV6]:PORT; of PORT alone loopback's.  Raises InvalidUrl."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidUrl("an IPv6 address without brackets; [IPV6]:PORT")
    if not _is_address(host):
        raise InvalidUrl("no IP address before the port; PORT for this machine alone, or 0.0.0.0:PORT for all")
    if not (port.isascii() and port.isdigit() and 1024 <= int(port) <= 0xFFFF):
        raise InvalidUrl("no port that the agent's user may open; 1024 to 65535, such as 9586")
    return host, int(port)


def parse_network(text: str) -> Network | None:
    """Return an allowed IP as a network, or None if it is none."""
    try:
        return None if "%" in text else ipaddress.ip_network(text)
    except ValueError:
        return None


def parse_interface(text: str) -> Interface | None:
    """Return an address with its prefix length, or None if it is none."""
    try:
        return None if "%" in text or "/" not in text else ipaddress.ip_interface(text)
    except ValueError:
        return None


def parse_fingerprint(text: str) -> bytes | None:
    """Return the 32 bytes of a certificate's fingerprint, colons between them or not; None if it is none."""
    kind, colon, digits = text.lower().partition(":")
    plain = f"{kind}{colon}{digits.replace(':', '')}"
    return bytes.fromhex(plain.removeprefix("sha256:")) if FINGERPRINT.fullmatch(plain) else None


def looks_like_key(text: str) -> bool:
    """Tell whether a text that should be something else is a key, and thus must not be shown."""
    try:
        decode_key(text)
    except InvalidKey:
        return False
    return True


def check_name(name: str) -> str | None:
    """Names of nodes and peers."""
    if NAME.fullmatch(name):
        return None
    return f"{_shown(name)}; 1 to 32 letters, digits, dashes and underscores, a letter or digit first"


def _check_addresses(addresses: tuple[str, ...]) -> str | None:
    if not addresses:
        return 'no address; for example ["10.77.0.1/24"]'
    seen = set()
    for text in addresses:
        interface = parse_interface(text)
        if interface is None:
            return f'{_shown(text)}; an address with its prefix length, such as "10.77.0.1/24"'
        address, network = interface.ip, interface.network
        if address.is_multicast or address.is_unspecified or address.is_loopback:
            return f"{text} can be no machine's address; one of your own network, such as 10.77.0.1/24"
        if address.version == 4 and network.prefixlen < 31 and address in {network[0], network[-1]}:
            return f"{text} is the network's own or its broadcast address; for example {network[1]}/{network.prefixlen}"
        if address in seen:
            return f"{address} twice; once is enough"
        seen.add(address)
    return None


def _check_allowed_ips(allowed_ips: tuple[str, ...]) -> str | None:
    if not allowed_ips:
        return 'no prefix; the addresses that are reached through this peer, such as ["10.77.0.2/32"]'
    for text in allowed_ips:
        if parse_network(text) is not None:
            continue
        interface = parse_interface(text)
        if interface is None:
            return f'{_shown(text)}; a prefix such as "10.77.0.2/32" or "fd77::2/128"'
        bits = interface.max_prefixlen
        return f"{text} has bits beyond its prefix length; {interface.network} or {interface.ip}/{bits}"
    return None


def check_path(path: str) -> str | None:
    """Names of files."""
    if looks_like_key(path):
        return "holds a key itself; write the key to a file (mode 0600) and name that file here"
    return None if path and "\0" not in path else "empty or not a path; the name of a file"


def _check_directory(path: str) -> str | None:
    if not path.startswith("/") or "\0" in path:
        return f"{_shown(path)}; an absolute path"
    return None


def _check_interface(name: str) -> str | None:
    if INTERFACE.fullmatch(name) and name not in {"lo", "all", "default"}:
        return None
    return f"{_shown(name)}; 1 to 15 letters, digits, dots, dashes and underscores, such as homing0"


def _check_user(name: str | None) -> str | None:
    if name is None:
        return None
    if not USER.fullmatch(name):
        return f"{_shown(name)}; the name of a system user"
    try:
        pwd.getpwnam(name)
    except KeyError:
        return f"no user {name} on this machine; create it (useradd --system {name}) or leave the key out"
    return None


def _check_url(*schemes: str) -> Check:
    def check(url: str) -> str | None:
        try:
            parse_url(url, schemes)
        except InvalidUrl as error:
            return str(error)
        return None

    return check


def _check_relay_urls(urls: tuple[str, ...]) -> str | None:
    check = _check_url("rel", "rels")
    for index, url in enumerate(urls):
        if (complaint := check(url)) is not None:
            return f"number {index + 1}: {complaint}"
        if url in urls[:index]:
            return f"{url} twice; once is enough"
    return None


def _check_stun_servers(servers: tuple[str, ...]) -> str | None:
    for index, server in enumerate(servers):
        try:
            parse_server(server)
        except InvalidUrl as error:
            return f"number {index + 1}: {str(error).replace('stun://', '')}"
        if server in servers[:index]:
            return f"{server} twice; once is enough"
    if len(servers) > MAX_STUN_SERVERS:
        return f"{len(servers)} servers; two tell all there is to know, at most {MAX_STUN_SERVERS} would do"
    return None


def _check_interfaces(patterns: tuple[str, ...]) -> str | None:
    for index, pattern in enumerate(patterns):
        if not INTERFACES.fullmatch(pattern):
            return f'number {index + 1}: {_shown(pattern)}; the name of an interface, such as "eth0" or "wl*"'
    return None


def _check_public_key(text: str) -> str | None:
    try:
        raw = decode_key(text)
    except InvalidKey as error:
        return str(error)
    return None if any(raw) else "32 zero bytes; the public key that `homing key public` prints at the peer"


def _check_backend(backend: str) -> str | None:
    return None if backend == "embedded" else f'{_shown(backend)} is not supported; "embedded" is the only one so far'


def _check_transport(transport: str) -> str | None:
    return None if transport in TRANSPORTS else f"{_shown(transport)}; one of {', '.join(TRANSPORTS)}"


def _check_fingerprints(fingerprints: tuple[str, ...]) -> str | None:
    seen = set()
    for index, text in enumerate(fingerprints):
        digest = parse_fingerprint(text)
        if digest is None:
            return f'number {index + 1}: {_shown(text)}; "sha256:" and 64 hex digits, as `homing relay` tells its own'
        if digest in seen:
            return f"number {index + 1}: {text[:20]}... twice; once is enough"
        seen.add(digest)
    if len(fingerprints) > MAX_FINGERPRINTS:
        return f"{len(fingerprints)} fingerprints; at most {MAX_FINGERPRINTS} would do, or a CA (relay.ca_file)"
    return None


def _check_listen(text: str | None) -> str | None:
    try:
        if text is not None:
            parse_listen(text)
    except InvalidUrl as error:
        return f"{_shown(text or '')}: {error}"
    return None


def _check_level(level: str) -> str | None:
    return None if level in LEVELS else f"{_shown(level)}; one of {', '.join(LEVELS)}"


def _between(low: int, high: int, unit: str) -> Check:
    def check(value: int) -> str | None:
        return None if low <= value <= high else f"{value}; {low} to {high}{unit}"

    return check


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _is_host_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    # A last label of digits only is a mistyped address, not a name.
    return len(host) <= 253 and all(HOST_LABEL.fullmatch(one) for one in labels) and not labels[-1].isdigit()


def _shown(text: str) -> str:
    return "a key" if looks_like_key(text) else ascii(text[:40])


CHECKS: dict[str, Check] = {
    "node.name": check_name,
    "node.private_key_file": check_path,
    "node.addresses": _check_addresses,
    "node.interface": _check_interface,
    "node.listen_port": _between(0, 65535, ""),
    "node.mtu": _between(576, 9000, " bytes"),
    "node.user": _check_user,
    "node.run_directory": _check_directory,
    "node.state_directory": _check_directory,
    "wireguard.backend": _check_backend,
    "signal.url": _check_url("http", "https"),
    "relay.urls": _check_relay_urls,
    "relay.transport": _check_transport,
    "relay.fingerprints": _check_fingerprints,
    "stun.servers": _check_stun_servers,
    "ice.interfaces": _check_interfaces,
    "log.level": _check_level,
    "metrics.listen": _check_listen,
    "runtime.control_processes": _between(1, MAX_CONTROL_PROCESSES, ""),
    "peer.name": check_name,
    "peer.public_key": _check_public_key,
    "peer.allowed_ips": _check_allowed_ips,
    "peer.persistent_keepalive": _between(0, 65535, " s"),
    "signal.ca_file": lambda path: None if path is None else check_path(path),
    "relay.secret_file": lambda path: None if path is None else check_path(path),
    "relay.token_file": lambda path: None if path is None else check_path(path),
    "relay.ca_file": lambda path: None if path is None else check_path(path),
    "peer.preshared_key_file": lambda path: None if path is None else check_path(path),
}
"""By section and key; a key that is not here may have any value of its type."""
