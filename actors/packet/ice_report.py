"""What the ICE agents do and tried, in words: for `status`, `why` and the control side."""

from collections.abc import Iterable

from transport.ice.events import PairReport, PairSelected
from transport.ice.gathering import ServerReport
from transport.ice.interfaces import HostAddresses, InterfaceAddress

MAX_TRIED = 12  # lines of an agent
MAX_LINES = 16  # of the node: addresses, STUN servers


def tried_lines(pairs: Iterable[PairReport]) -> tuple[str, ...]:
    """Return a line for each pair, those with any sign of life first."""
    alive_first = sorted(pairs, key=lambda pair: (pair.answered == 0, pair.heard == 0, pair.sent == 0))
    lines = tuple(f"{way_of(pair)}: {_fate(pair)}" for pair in alive_first[:MAX_TRIED])
    more = len(alive_first) - MAX_TRIED
    return lines if more <= 0 else (*lines[:-1], f"and {more + 1} more pairs")


def way_of(pair: PairReport) -> str:
    """Return from where to where a pair leads: `10.0.0.1 -> srflx 192.0.2.7:51820`."""
    return f"{pair.local} -> {pair.remote_kind} {pair.remote}"


def pair_words(pair: PairSelected) -> str:
    """Return the same of the pair that was found."""
    return f"{pair.local} -> {pair.kind} {pair.remote}"


def server_lines(servers: Iterable[ServerReport]) -> tuple[str, ...]:
    """Return a line for each STUN server and address of ours."""
    return tuple(_server(server) for server in servers)[:MAX_LINES]


def address_lines(addresses: HostAddresses) -> tuple[str, ...]:
    """Return a line for each address of the host: those in use, then the others with the reason."""
    used = [_address(address) for address in addresses.used]
    refused = [f"{_address(address)}: not used, {reason}" for address, reason in addresses.refused]
    return (*used, *refused)[:MAX_LINES]


def _fate(pair: PairReport) -> str:
    heard = f", {pair.heard} of its own heard" if pair.heard else ""
    if pair.sent == 0:
        return f"not checked{heard}"
    checks = "1 check" if pair.sent == 1 else f"{pair.sent} checks"
    if pair.answered:
        return f"{checks}, {pair.answered} answered{heard}"
    return f"{checks}, {f'refused ({pair.error})' if pair.error else 'no answer'}{heard}"


def _server(server: ServerReport) -> str:
    asked = f"STUN server {server.server}, asked from {server.local}"
    if server.mapped is None:
        return f"{asked}: no answer to {server.unanswered} requests"
    late = f"; no answer to {server.unanswered} requests since" if server.unanswered > 1 else ""
    return f"{asked}: we look like {server.mapped}{late}"


def _address(address: InterfaceAddress) -> str:
    return f"{address.ip} on {address.interface}"
