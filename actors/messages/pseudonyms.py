"""Stable pseudonyms for what a bug report must not tell: keys, addresses, names of machines.

The same key, address or name has the same pseudonym wherever it stands, so a story can be followed; and what matters
to whoever reads it is left: whether an address is private, shared (RFC 6598) or public, and which addresses share a
prefix.  Ports, interfaces and times stay as they are.

    vBforJTgaVREtOdT9aM6qZh9...=    key00002AAAAAAAA...=     (as `key00002` where only its first 8 characters stood)
    the peer laptop                  peer-2
    signal.example.com               host-1
    10.77.0.2                        10.201.64.9
"""

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from actors.messages.redact import MARK
from config.keys import KEY_LEN, SHORT_LEN

KEPT_BYTES = 8  # bytes fields up to this length are session ids and tokens; longer ones are replaced
MAX_DEPTH = 64
HOST_FIELDS = frozenset(("servers",))
NAME_FIELDS = frozenset(("name", "node"))  # a machine's name stands there, whatever else the word means
KEY_FIELDS = ("peer", "public_key")  # beside the name of a peer

_KEY = r"[A-Za-z0-9+/]{43}="
_V6 = r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\.\d{1,3}){3})?(?:/\d{1,3})?"
_V4 = r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?!\.?\d)"
_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_TOKEN = re.compile(
    rf"(?P<key>{_KEY})"
    r"|(?P<hex>(?<![0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z]))"
    rf"|(?P<address>{_V6}|{_V4})"
    rf"|(?P<short>(?<![A-Za-z0-9+])[A-Za-z0-9+/]{{{SHORT_LEN}}}(?![A-Za-z0-9+/=]))"
    rf"|(?P<named>(?<![\w.-])name={_WORD})"
    rf"|(?P<word>{_WORD})"
)
_WHOLE_KEY = re.compile(_KEY)
_JUST_WORD = re.compile(_WORD)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_URL_HOST = re.compile(r"(?:https?|rels?|wss?|stuns?)://([A-Za-z0-9_.-]+)")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# A pseudonym stays within the first of these that holds the address: what kind of address it is matters.
KINDS = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "198.18.0.0/15",
    "fe80::/64", "fd00::/8", "fc00::/7", "64:ff9b::/96", "2000::/3",
)  # fmt: skip
# These say nothing of anybody.
PLAIN = _networks("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8")


class Pseudonyms:
    """Those of one report.

    `key` (random, forgotten afterwards) keeps addresses from being guessed back.  `keep_names`: names of machines stay.
    `reserved`: words of our own; a name that is one is replaced where a field says that it is a name, and nowhere else.
    """

    def __init__(self, key: bytes, *, keep_names: bool = False, reserved: frozenset[str] = frozenset()) -> None:
        self._secret, self._keep_names, self._reserved = key, keep_names, reserved
        self._keys: dict[str, int] = {}
        self._shorts: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._names: dict[str, str] = {}  # those that are reserved
        self._counts: dict[str, int] = {}
        self._others: dict[str | bytes, int] = {}
        self._addresses: dict[Address, Address] = {}

    @property
    def peers(self) -> dict[str, str]:
        """Return the pseudonyms of peers, with the names that they stand for."""
        names = {**self._words, **self._names}
        return {given: name for name, given in names.items() if given.startswith("peer-")}

    def learn(self, value: Any, depth: int = 0) -> None:
        """Take note of the keys and names in plain data (dicts, lists, texts).

        To be called with everything before anything is replaced: a name can stand anywhere.
        """
        if isinstance(value, str):
            for found in _WHOLE_KEY.findall(value):
                self._number(found)
            for host in _URL_HOST.findall(value):
                self.learn_host(host)
        elif isinstance(value, Mapping) and depth < MAX_DEPTH:
            self._learn_names(value)
            for name, part in value.items():
                self.learn(name, depth + 1)
                self.learn(part, depth + 1)
                if name in HOST_FIELDS and isinstance(part, list):
                    for server in part:
                        self.learn_host(str(server).rpartition(":")[0])
        elif isinstance(value, Sequence) and not isinstance(value, bytes) and depth < MAX_DEPTH:
            for part in value:
                self.learn(part, depth + 1)

    def learn_host(self, name: str) -> None:
        """Take note of the name of a host; an address is none."""
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            if name.strip(".") not in {"", "localhost"}:
                self._name(name.strip("."), "host")

    def learn_node(self, name: str) -> None:
        """Take note of this node's own name."""
        self._name(name, "node")

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return plain data with everything replaced; in names of fields no words, which are ours."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.blob(value)
        if depth >= MAX_DEPTH:
            return None
        if isinstance(value, Mapping):
            return {
                self._field(name): self.name(part)
                if name in NAME_FIELDS and isinstance(part, str)
                else self.of(part, depth + 1)
                for name, part in value.items()
            }
        if isinstance(value, Sequence):
            return [self.of(part, depth + 1) for part in value]
        return value

    def text(self, text: str) -> str:
        """Return the text with everything in it replaced that was learnt or looks like a key or an address."""
        return _TOKEN.sub(self._token, text)

    def name(self, name: str) -> str:
        """Return what stands for the name of a machine."""
        return self._names.get(name) or self.text(name)

    def blob(self, value: bytes) -> bytes:
        """Return bytes of a message: placeholders of secrets and short ids stay, all else is replaced."""
        if len(value) <= KEPT_BYTES or value.startswith(MARK):
            return value
        number = self._others.setdefault(value, len(self._others) + 1)
        return f"bytes:{number}:".encode().ljust(min(len(value), KEY_LEN), b"*")

    def _field(self, name: Any) -> Any:
        if not isinstance(name, str):
            return self.blob(name) if isinstance(name, bytes) else name
        return _TOKEN.sub(lambda found: self._token(found) if found.lastgroup in {"key", "hex"} else found[0], name)

    def _token(self, found: re.Match[str]) -> str:
        text = found[0]
        match found.lastgroup:
            case "key":
                return _pseudonym_key(self._number(text))
            case "hex":
                return f"{self._others.setdefault(text.lower(), len(self._others) + 1):064x}"
            case "address":
                return self._address(text)
            case "short" if text in self._shorts:
                return self._shorts[text]
            case "named":
                return f"name={self.name(text.removeprefix('name='))}"
            case _:
                return _JUST_WORD.sub(self._word, text)

    def _word(self, found: re.Match[str]) -> str:
        text = found[0]
        for whole in (text, text.rstrip(".-")):  # it may end a sentence
            if whole in self._words:
                return self._words[whole] + text[len(whole) :]
        return ".".join(self._words.get(part, part) for part in text.split("."))

    def _address(self, text: str) -> str:
        host, slash, length = text.partition("/")
        bare = host.rstrip(":") if not host.endswith("::") else host
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            if _MAC.fullmatch(bare):
                number = self._others.setdefault(bare.lower(), len(self._others) + 1)
                return ":".join(f"{byte:02x}" for byte in (2, *number.to_bytes(5, "big"))) + text[len(bare) :]
            return _JUST_WORD.sub(self._word, text)
        given = self.address(address)
        if slash and int(length) <= address.max_prefixlen and _is_network(address, int(length)):
            given = ipaddress.ip_network((given, int(length)), strict=False).network_address
        return f"{given}{text[len(bare) :]}"

    def address(self, address: Address) -> Address:
        """Return the address that stands for this one: of the same kind, and two share as long a prefix as before."""
        if address.version == 6 and address.ipv4_mapped is not None:
            return ipaddress.IPv6Address(f"::ffff:{self.address(address.ipv4_mapped)}")
        given = self._addresses.get(address)
        if given is None:
            if any(address in network for network in PLAIN):
                given = address
            else:
                kind = next((network for network in KINDS if address in network), None)
                given = self._permuted(address, kind)
                while kind != next((network for network in KINDS if given in network), None) or any(
                    given in network for network in PLAIN
                ):
                    given = self._permuted(given, kind)  # again, until it is of that kind
            self._addresses[address] = given
        return given

    def _permuted(self, address: Address, kind: Network | None) -> Address:
        """Flip each bit beyond the kind's prefix, or leave it, as a keyed hash of the bits before it says."""
        bits, kept = address.max_prefixlen, 0 if kind is None else kind.prefixlen
        value = given = int(address)
        for place in range(kept, bits):
            before = (value >> (bits - place)).to_bytes(16, "big") + bytes((place, address.version))
            flip = hashlib.blake2s(before, key=self._secret, digest_size=1).digest()[0] & 1
            given ^= flip << (bits - 1 - place)
        return type(address)(given)

    def _number(self, key: str) -> int:
        number = self._keys.setdefault(key, len(self._keys) + 1)
        self._shorts.setdefault(key[:SHORT_LEN], _pseudonym_key(number)[:SHORT_LEN])
        return number

    def _learn_names(self, value: Mapping[Any, Any]) -> None:
        name, node = value.get("name"), value.get("node")
        if isinstance(node, str):
            self.learn_node(node)
        if not isinstance(name, str) or not name:
            return
        if "private_key_file" in value:
            self.learn_node(name)
        for field in KEY_FIELDS:
            key = value.get(field)
            if isinstance(key, str) and _WHOLE_KEY.fullmatch(key):
                self._name(name, "peer", self._number(key))

    def _name(self, name: str, kind: str, number: int | None = None) -> None:
        if name in self._words or name in self._names or self._keep_names:
            return
        if kind == "host":
            if name in self._reserved:
                return  # it tells nothing
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
        names = self._names if name in self._reserved else self._words
        names[name] = kind if number is None else f"{kind}-{number}"


def _pseudonym_key(number: int) -> str:
    """Return a key that is none, and is read as one everywhere: 44 characters, the number in the first 8."""
    return f"key{number:05}".ljust(43, "A") + "="


def _is_network(address: Address, length: int) -> bool:
    return int(address) & ((1 << (address.max_prefixlen - length)) - 1) == 0 and length < address.max_prefixlen
