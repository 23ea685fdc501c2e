"""Dialling a relay server over QUIC: which address, whom to trust, and one plain line about what failed."""

import asyncio
import os
import socket
import ssl
from functools import cache
from typing import Final

from aioquic.quic.configuration import QuicConfiguration

from transport.drivers.certificates import Trust
from transport.drivers.quic_client import QuicLink, TooNarrow
from transport.drivers.quic_settings import configuration
from transport.drivers.websocket import DIAL_TIMEOUT_S, DIRECT_TIMEOUT_S, HAPPY_EYEBALLS_S, DialFailed, LinkOwner
from transport.relay.urls import RelayUrl, parse_relay_url
from wg.datagrams import Endpoint

__all__ = ["QuicLink", "TooNarrow", "dial_quic"]

HANDSHAKE_S: Final = 5.0  # for the server to complete the handshake; UDP is often just dropped


async def dial_quic(url: str, server_ip: str | None, owner: LinkOwner, *, trust: Trust, message_len: int) -> QuicLink:
    """Connect to a relay server over QUIC, at `server_ip` first if one is given.

    Returns when the handshake is done and a packet that carries a message of `message_len` bytes was acknowledged.
    Raises DialFailed, TooNarrow among them, or InvalidRelayUrl.
    """
    parsed = parse_relay_url(url)
    failures: list[DialFailed] = []
    for ip in [server_ip, None] if server_ip not in {None, parsed.host} else [None]:
        try:
            return await _reach(parsed, ip, owner, trust, message_len)
        except DialFailed as failure:
            failures.append(type(failure)(f"{url}{f' at {ip}' if ip else ''} by QUIC: {failure}"))
    raise type(failures[-1])("; ".join(map(str, failures)))


async def _reach(url: RelayUrl, ip: str | None, owner: LinkOwner, trust: Trust, message_len: int) -> QuicLink:
    endpoints = await _endpoints(ip or url.host, url.port)
    limit_s = DIAL_TIMEOUT_S if ip is None else DIRECT_TIMEOUT_S
    config = _client_configuration(url.host, trust)
    tasks: list[asyncio.Task[QuicLink]] = []
    failures: list[DialFailed] = []
    loop = asyncio.get_running_loop()
    try:
        while endpoints or tasks:
            if endpoints:
                try:
                    link = QuicLink(owner, endpoints.pop(0), config, trust, message_len)
                except DialFailed as failure:  # a host without that family
                    failures.append(failure)
                else:
                    tasks.append(loop.create_task(_attempt(link, url.port, limit_s)))
            if not tasks:
                continue
            # The next family begins when this one has had its time, or failed (RFC 8305).
            done, _ = await asyncio.wait(
                tasks, timeout=HAPPY_EYEBALLS_S if endpoints else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                tasks.remove(task)
                try:
                    return task.result()
                except DialFailed as failure:
                    failures.append(failure)
        raise next((failure for failure in failures if isinstance(failure, TooNarrow)), failures[-1])
    finally:
        for task in tasks:
            task.add_done_callback(_abort_late)
            task.cancel()


async def _attempt(link: QuicLink, port: int, limit_s: float) -> QuicLink:
    patience_s = min(limit_s, HANDSHAKE_S)
    try:
        done, _ = await asyncio.wait([link.up], timeout=patience_s)
        if not done and link.answered:
            await asyncio.wait([link.up], timeout=limit_s - patience_s)
        if not link.up.done():
            what = "answered the handshake, and then no more" if link.answered else "did not answer"
            raise DialFailed(f"the server {what} within {patience_s:g} s on UDP port {port}; does UDP pass?")
        link.up.result()
    except BaseException:
        link.abort()
        raise
    return link


def _abort_late(task: asyncio.Task[QuicLink]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


async def _endpoints(host: str, port: int) -> list[Endpoint]:
    """Return an address of each family, in the system's order.  Raises DialFailed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise DialFailed(f"the name {host!r} was not resolved ({error.strerror})") from None
    except OSError as error:
        raise DialFailed(os.strerror(error.errno or 0).lower()) from None
    by_family: dict[int, Endpoint] = {}
    for family, _type, _protocol, _name, address in found:
        zone = int(address[3]) if len(address) == 4 else 0
        by_family.setdefault(family, Endpoint(str(address[0]).partition("%")[0], int(address[1]), zone))
    return list(by_family.values())


def _client_configuration(host: str, trust: Trust) -> QuicConfiguration:
    config = configuration(client=True)
    config.server_name = host
    if trust.fingerprints:
        config.verify_mode = ssl.CERT_NONE  # the fingerprint is compared before anything is sent
    elif trust.ca is not None:
        config.cadata = trust.ca
    else:
        config.cafile, config.capath = _system_roots()
    return config


@cache
def _system_roots() -> tuple[str | None, str | None]:
    paths = ssl.get_default_verify_paths()
    return paths.cafile, paths.capath
