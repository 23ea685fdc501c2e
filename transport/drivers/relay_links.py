"""The sockets of all links to relay servers, by number: what RELAY_LINKS asks for, done, and told back."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from transport.drivers.websocket import DialFailed, Link, dial
from transport.relay.urls import InvalidRelayUrl


class LinksOwner(Protocol):
    """Who is told what happens on the links.  Called from the loop's thread, never from within a call of the owner."""

    def connected(self, link: int, server_ip: str | None) -> None:
        """Take note that a dialled link is up."""

    def received(self, link: int, messages: list[bytes]) -> None:
        """Take what came in one read, in order."""

    def pong(self, link: int) -> None:
        """Take note that a ping was answered."""

    def writable(self, link: int, yes: bool) -> None:
        """Hold packets back, or go on."""

    def lost(self, link: int, reason: str) -> None:
        """Take note that a link ended, or could not be dialled; nothing follows."""


class RelaySockets:
    """Dials, and holds what was dialled.  To be used on one asyncio loop."""

    def __init__(self, owner: LinksOwner, ca: bytes | None = None) -> None:
        self._owner, self._ca = owner, ca
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._links: dict[int, Link] = {}

    def dial(self, link: int, url: str, server_ip: str | None) -> None:
        """Connect; the owner hears `connected` or `lost`."""
        self._dials[link] = asyncio.get_running_loop().create_task(self._dial(link, url, server_ip))

    def send(self, link: int, messages: list[bytes]) -> None:
        """Send messages on a link, if it is still there."""
        if (socket := self._links.get(link)) is not None:
            socket.send(messages)

    def ping(self, link: int) -> None:
        """Ping the server; the owner hears `pong`."""
        if (socket := self._links.get(link)) is not None:
            socket.ping()

    def abort(self, link: int) -> None:
        """End a link, or its dial; the owner hears nothing more of it."""
        if (task := self._dials.pop(link, None)) is not None:
            task.cancel()
        if (socket := self._links.pop(link, None)) is not None:
            socket.abort()

    def close(self) -> None:
        """End all links; what was sent before may still leave."""
        for link in {*self._dials, *self._links}:
            self.abort(link)

    async def _dial(self, link: int, url: str, server_ip: str | None) -> None:
        owner = _OneLink(self, self._owner, link)
        try:
            socket = await dial(url, server_ip, owner, ca=self._ca)
        except (DialFailed, InvalidRelayUrl) as failure:
            self._dials.pop(link, None)
            self._owner.lost(link, str(failure))
            return
        self._dials.pop(link, None)
        ip = socket.server_ip
        if ip is not None:  # else it ended at once, and was told as lost
            self._links[link] = socket
            self._owner.connected(link, ip)

    def forget(self, link: int) -> None:
        """Let go of a link that ended by itself."""
        self._links.pop(link, None)


@dataclass(frozen=True, slots=True)
class _OneLink:
    """Puts the link's number to what its socket tells."""

    sockets: RelaySockets
    owner: LinksOwner
    link: int

    def received(self, messages: list[bytes]) -> None:
        self.owner.received(self.link, messages)

    def pong(self) -> None:
        self.owner.pong(self.link)

    def writable(self, yes: bool) -> None:
        self.owner.writable(self.link, yes)

    def lost(self, reason: str) -> None:
        self.sockets.forget(self.link)
        self.owner.lost(self.link, reason)
