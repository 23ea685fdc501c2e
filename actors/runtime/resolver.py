"""Resolves the names of servers, again and again: a name may have no address now and another one later."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any

from wg.datagrams import Endpoint

FIRST_RETRY_S = 1.0  # after a name that had no address; doubles
LONGEST_RETRY_S = 60.0
REFRESH_S = 600.0  # of names that have one

Server = tuple[str, int]
"""Host, a name or an address, and port."""

Lookup = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]
"""As `getaddrinfo`, for datagrams."""


class Resolver:
    """Tells the endpoints of all servers whenever they change; addresses are told at once."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: Sequence[Server],
        tell: Callable[[list[Endpoint]], None],
        lookup: Lookup | None = None,
    ) -> None:
        self._loop, self._servers, self._tell = loop, tuple(servers), tell
        self._lookup = lookup or self._getaddrinfo
        self._known: dict[Server, list[Endpoint]] = {}
        self._failed: dict[Server, str] = {}  # why, of names that had no address the last time
        self._told: list[Endpoint] = []
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        for server in self._servers:
            if (literal := _literal(server)) is not None:
                self._known[server] = [literal]
        self._say()
        if len(self._known) < len(self._servers):
            self._task = self._loop.create_task(self._keep_resolving())

    def again(self) -> None:
        """Ask for the names now: the network changed."""
        self._again.set()

    def close(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()

    def problems(self) -> tuple[str, ...]:
        """Return a line for each name that had no address the last time."""
        return tuple(f"STUN server {host}: {reason}" for (host, _), reason in self._failed.items())

    async def _keep_resolving(self) -> None:
        names = [server for server in self._servers if server not in self._known]
        retry_s = FIRST_RETRY_S
        while True:
            found = await asyncio.gather(*(self._resolve(server) for server in names))
            self._say()
            wait_s = REFRESH_S if all(found) else retry_s
            retry_s = FIRST_RETRY_S if all(found) else min(2 * retry_s, LONGEST_RETRY_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._again.wait()
            except TimeoutError:
                continue
            self._again.clear()
            retry_s = FIRST_RETRY_S

    async def _resolve(self, server: Server) -> bool:
        """Look a name up; one that has no address now keeps those that it had."""
        try:
            answers = await self._lookup(*server)
        except (OSError, UnicodeError) as error:
            text = error.strerror if isinstance(error, OSError) else "no valid name"
            self._failed[server] = f"no address ({text})"
            return False
        self._failed.pop(server, None)
        found = {family: (address[0], address[1]) for family, _, _, _, address in reversed(answers)}
        families = [found[family] for family in (socket.AF_INET, socket.AF_INET6) if family in found]
        self._known[server] = [Endpoint(ip.partition("%")[0], port) for ip, port in families]
        return bool(families)

    def _say(self) -> None:
        endpoints = [endpoint for server in self._servers for endpoint in self._known.get(server, ())]
        if endpoints != self._told:
            self._told = endpoints
            self._tell(endpoints)

    async def _getaddrinfo(self, host: str, port: int) -> Sequence[tuple[Any, ...]]:
        return await self._loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)


def _literal(server: Server) -> Endpoint | None:
    try:
        return Endpoint(str(ip_address(server[0])), server[1])
    except ValueError:
        return None
