"""What the values of a configuration may be together.

Each rule returns its mistakes, each with the keys it is about.  Values that are wrong by themselves (config/values.py)
have been named already; the rules pass over them.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from config.keys import InvalidKey, PublicKey, public_key
from config.schema import ConfigFile, PeerSection
from config.values import MIN_IPV6_MTU, InvalidUrl, Network, parse_interface, parse_network, parse_server, parse_url

QUIC_TRUST = "relay.fingerprints (which `homing relay` logs), relay.ca_file, or a rels:// URL"
MAX_RUN_DIRECTORY_LEN = 70  # bytes: leaves 37 of the 107 of a Unix socket's path for its name

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def peer_label(index: int, name: object) -> str:
    """Return how mistakes name a peer's table: by its name, or by its place in the file."""
    return f"peer[{name}]" if isinstance(name, str) and 0 < len(name) <= 40 and name.isprintable() else f"peer[{index}]"


def label(peer: PeerSection) -> str:
    """Return how mistakes name this peer's table."""
    return peer_label(0, peer.name)


def mistakes_of(file: ConfigFile, own: PublicKey | None) -> list[str]:
    """Return what is wrong with values that are fine by themselves.  `own`: this node's public key, if it is known."""
    literals = {key: [ip] for key, host in link_hosts(file).items() if (ip := _literal(host)) is not None}
    return [
        *_peers_twice(file.peer),
        *_own_key(file.peer, own),
        *_own_address(file),
        *_overlaps(file.peer),
        *_ipv6_mtu(file),
        *_socket_paths(file),
        *_relay_credentials(file),
        *_relay_quic(file),
        *swallowed(file, literals),
    ]


def link_hosts(file: ConfigFile) -> dict[str, str]:
    """Return the hosts of the servers that must be reached outside the tunnel, by the key that names each."""
    urls = {"signal.url": file.signal.url}
    urls |= {f"relay.urls[{index}]": url for index, url in enumerate(file.relay.urls)}
    hosts = {}
    for label, url in urls.items():
        with suppress(InvalidUrl):
            hosts[label], _ = parse_url(url, ("http", "https", "rel", "rels"))
    for index, server in enumerate(file.stun.servers):
        with suppress(InvalidUrl):
            hosts[f"stun.servers[{index}]"], _ = parse_server(server)
    return hosts


def swallowed(file: ConfigFile, addresses: Mapping[str, Sequence[IpAddress]]) -> list[str]:
    """Return which prefixes would draw the way to a server into the tunnel, which then could never come up.

    `addresses` are those of each server, by the key that `link_hosts` gives it.
    """
    interfaces = [interface for text in file.node.addresses if (interface := parse_interface(text)) is not None]
    prefixes = [("node.addresses", interface.network) for interface in interfaces]
    prefixes += [(f"{label(peer)}.allowed_ips", network) for peer, network in _allowed(file.peer)]
    return [
        f"{key}: {network} holds {address}, the server of {server}; a prefix without it"
        for server, found in addresses.items()
        for address in found
        for key, network in prefixes
        if address in network
    ]


def _peers_twice(peers: tuple[PeerSection, ...]) -> Iterator[str]:
    names: set[str] = set()
    holders: dict[PublicKey, str] = {}
    for index, peer in enumerate(peers, start=1):
        if peer.name in names:
            yield f"peer[{index}].name: {peer.name!a} twice; each peer has a name of its own"
        names.add(peer.name)
        key = _key(peer)
        if key is not None and key in holders:
            yield f"{label(peer)}.public_key: the same key as peer {holders[key]}; one table per peer"
        elif key is not None:
            holders[key] = peer.name


def _own_key(peers: tuple[PeerSection, ...], own: PublicKey | None) -> Iterator[str]:
    for peer in peers:
        if own is not None and _key(peer) == own:
            yield f"{label(peer)}.public_key: this node's own key; the key of the other machine"


def _own_address(file: ConfigFile) -> Iterator[str]:
    own = {interface.ip for text in file.node.addresses if (interface := parse_interface(text)) is not None}
    for peer, network in _allowed(file.peer):
        if network.prefixlen == network.max_prefixlen and network.network_address in own:
            yield f"{label(peer)}.allowed_ips: {network} is this node's own address (node.addresses); the peer's"


def _overlaps(peers: tuple[PeerSection, ...]) -> Iterator[str]:
    # In this order a prefix comes right after those that hold it, so the open ones form a stack.
    prefixes = sorted(_allowed(peers), key=lambda one: (one[1].version, int(one[1].network_address), one[1].prefixlen))
    holding: list[tuple[PeerSection, Network]] = []
    told: set[tuple[str, str]] = set()
    for peer, network in prefixes:
        while holding and network.network_address not in holding[-1][1]:
            holding.pop()
        for other, wider in holding:
            pair = (other.name, peer.name)
            if other is not peer and pair not in told:
                told.add(pair)
                yield (
                    f"{label(peer)}.allowed_ips: {network} overlaps {wider} of peer {other.name}; "
                    "an address belongs to one peer"
                )
        holding.append((peer, network))


def _ipv6_mtu(file: ConfigFile) -> Iterator[str]:
    texts = [*file.node.addresses, *(text for peer in file.peer for text in peer.allowed_ips)]
    if file.node.mtu < MIN_IPV6_MTU and any(":" in text for text in texts):
        yield f"node.mtu: {file.node.mtu}; with IPv6 inside the tunnel at least {MIN_IPV6_MTU} bytes"


def _socket_paths(file: ConfigFile) -> Iterator[str]:
    directory = f"{file.node.run_directory}/{file.node.name}"
    if len(directory.encode()) > MAX_RUN_DIRECTORY_LEN:
        yield (
            f"node.run_directory: {len(directory.encode())} bytes together with the node's name; "
            f"at most {MAX_RUN_DIRECTORY_LEN}, since the paths of sockets are short"
        )


def _relay_credentials(file: ConfigFile) -> Iterator[str]:
    relay = file.relay
    if relay.secret_file is not None and relay.token_file is not None:
        yield "relay.token_file: given together with relay.secret_file; one of the two"
    elif relay.urls and relay.secret_file is None and relay.token_file is None:
        yield "relay.urls: given without a way to log in; relay.secret_file or relay.token_file"


def _relay_quic(file: ConfigFile) -> Iterator[str]:
    relay = file.relay
    if relay.transport == "quic" and (clear := clear_urls(file)):
        yield f'relay.transport: "quic" with {clear[0]}, whose certificate nothing vouches for; {QUIC_TRUST}'


def clear_urls(file: ConfigFile) -> list[str]:
    """Return the relay URLs that QUIC cannot be used with, for want of trust in any certificate there."""
    relay = file.relay
    trusted = relay.fingerprints or relay.ca_file is not None
    return [] if trusted else [url for url in relay.urls if url.startswith("rel://")]


def _allowed(peers: tuple[PeerSection, ...]) -> list[tuple[PeerSection, Network]]:
    return [
        (peer, network) for peer in peers for text in peer.allowed_ips if (network := parse_network(text)) is not None
    ]


def _key(peer: PeerSection) -> PublicKey | None:
    try:
        return public_key(peer.public_key)
    except InvalidKey:
        return None


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
