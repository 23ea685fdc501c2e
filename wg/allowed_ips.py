"""Which peer an inner address belongs to: prefix -> peer, longest match (whitepaper section 2, cryptokey routing).

Prefixes of one length share a dict, so that a lookup takes one step per length in use, at most 33 or 129.  Addresses
are raw bytes in network order, 4 or 16 of them, as they stand in packets; answers are kept per address, bounded.
"""

import ipaddress
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

CACHED_ADDRESSES = 4096  # answers kept; when full they are all forgotten and asked for anew

P = TypeVar("P", bound=Hashable)


class InvalidPrefix(ValueError):
    """The text is no prefix; the message says what was seen and what would do."""


def parse_prefix(text: str) -> Prefix:
    """Return the prefix that `text` names; bits beyond its length are cut off, as `wg` does.  Raises InvalidPrefix."""
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise InvalidPrefix(f"{text!r} is no prefix; one looks like 10.77.0.2/32 or fd77::/64") from None


class AllowedIps(Generic[P]):
    """The allowed IPs of all peers.  A prefix belongs to one peer at a time, the last that claimed it."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, dict[int, P]]] = {4: {}, 16: {}}  # address length -> prefix length -> network
        self._cache: dict[bytes, P | None] = {}

    def insert(self, prefix: Prefix, peer: P) -> None:
        """Give this prefix to `peer`, and take it from whoever had it."""
        self._cache.clear()
        self._tables[prefix.max_prefixlen // 8].setdefault(prefix.prefixlen, {})[_network_bits(prefix)] = peer

    def replace(self, peer: P, prefixes: Iterable[Prefix]) -> None:
        """Make these, and no others, the prefixes of `peer`."""
        self.remove(peer)
        for prefix in prefixes:
            self.insert(prefix, peer)

    def remove(self, peer: P) -> None:
        """Forget all prefixes of `peer`."""
        self._cache.clear()
        for tables in self._tables.values():
            for prefix_len, table in list(tables.items()):
                kept = {network: owner for network, owner in table.items() if owner != peer}
                if kept:
                    tables[prefix_len] = kept
                else:
                    del tables[prefix_len]

    def peer_of(self, address: bytes) -> P | None:
        """Return the peer with the longest prefix round this address, or None."""
        try:
            return self._cache[address]
        except KeyError:
            return self._look_up(address)

    def _look_up(self, address: bytes) -> P | None:
        tables = self._tables[len(address)]
        bits = int.from_bytes(address, "big")
        peer = None
        for prefix_len in sorted(tables, reverse=True):
            peer = tables[prefix_len].get(bits >> (8 * len(address) - prefix_len))
            if peer is not None:
                break
        if len(self._cache) >= CACHED_ADDRESSES:
            self._cache.clear()
        self._cache[address] = peer
        return peer


def _network_bits(prefix: Prefix) -> int:
    return int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
