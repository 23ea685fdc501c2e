"""One relay server as RELAYS sees it: its link, and who waits for it or uses it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal, assert_never

from actors.messages.packet import LinkOpened, LinkSnapshot
from actors.messages.status import RelayLinkStatus, RelaysStatus
from config.keys import PublicKey

DIAL_S = (4.0, 7.0, 10.0)  # for the server to accept us, then another attempt is made; the first, the next, all others
RETRY_S = 0.5  # after a failed dial; doubles
SHORT_RETRY_S = 4.0  # at the most, in the first minutes: a link that was away for one is back within seconds (S0)
SHORT_RETRIES = 40
LONGEST_RETRY_S = 30.0
MAX_FOREIGN = 64  # servers that are not configured: remotes name them
JITTER = (0.5, 1.0)  # of a retry: drawn, so that a restarted server is not met by all at once


@dataclass(frozen=True, slots=True)
class Down:
    """There is no link.  Dialled at `retry_at` if it is wanted then."""

    since_at: float  # there has been none, however often it was dialled
    retry_at: float
    failures: int = 0  # dials in a row
    reason: str = ""  # of the last; "": never dialled, or closed by us


@dataclass(frozen=True, slots=True)
class Dialling:
    """The packet process dials; LinkOpened or LinkClosed ends it, or its limit."""

    link: int
    since_at: float  # there has been none
    limit_at: float
    failures: int
    reason: str  # of the failure before


@dataclass(frozen=True, slots=True)
class Up:
    """The server accepted us."""

    link: int
    since_at: float
    server_ip: str | None
    transport: Literal["ws", "quic"] = "ws"
    quic_fault: str = ""  # why QUIC is wanted and not used


@dataclass(frozen=True, slots=True)
class WaitingOpening:
    """A relayed connection that waits for the link."""

    generation: int
    url: str  # as the relay worker named the server
    limit_at: float


@dataclass(slots=True, eq=False)
class Server:
    """One relay server."""

    url: str  # as dialled
    configured: bool
    link: Down | Dialling | Up
    instance_url: str | None = None  # how it last named itself
    server_ip: str | None = None  # where to dial first
    waiting: dict[PublicKey, WaitingOpening] = field(default_factory=dict)  # oldest first
    connections: dict[PublicKey, int] = field(default_factory=dict)  # -> generation, on the link that is up
    unused_since: float | None = None  # up, and nobody's; None: in use, or not up

    def names(self, url: str) -> bool:
        """Return whether this URL means this server."""
        return url in (self.url, self.instance_url)

    @property
    def dial_s(self) -> float:
        """How long the dial under way, or the next one, may take."""
        return DIAL_S[min(self._failures, len(DIAL_S) - 1)]

    @property
    def dial_ip(self) -> str | None:
        """Where to dial before the URL's host is asked for; not each time: a silent one takes all the time there is."""
        return self.server_ip if self._failures % 2 == 0 else None

    @property
    def _failures(self) -> int:
        return 0 if isinstance(self.link, Up) else self.link.failures

    def dialled(self, link: int, now: float) -> None:
        """A dial is on its way."""
        assert isinstance(self.link, Down), self.link
        since_at = self.link.since_at if self.link.reason else now
        self.link = Dialling(link, since_at, now + self.dial_s, self.link.failures, self.link.reason)

    def opened(self, told: LinkOpened | LinkSnapshot, now: float) -> None:
        """The link is up."""
        assert isinstance(self.link, Dialling), self.link
        self.link = Up(self.link.link, now, told.server_ip, told.transport, told.quic_fault)
        self.instance_url = told.instance_url
        self.settle(now)

    def lost(self, reason: str, retry_at: float, now: float) -> None:
        """An open link ended."""
        self.link, self.unused_since = Down(now, retry_at, 0, reason), None
        self.connections.clear()

    def failed(self, reason: str, rng: Random, now: float) -> None:
        """A dial came to nothing."""
        assert isinstance(self.link, Dialling), self.link
        failures = self.link.failures
        if failures < SHORT_RETRIES:
            wait_s = min(RETRY_S * 2.0 ** min(failures, 16), SHORT_RETRY_S)
        else:
            wait_s = min(SHORT_RETRY_S * 2.0 ** min(failures - SHORT_RETRIES, 16), LONGEST_RETRY_S)
        # The dialler names the server, and so does whoever shows the reason.
        told = reason.removeprefix(f"{self.url}: ")
        self.link = Down(self.link.since_at, now + wait_s * rng.uniform(*JITTER), failures + 1, told)

    def closed(self, now: float) -> None:
        """We closed the link, or stopped the dial: nothing is wrong with the server."""
        self.link, self.unused_since = Down(now, now), None
        self.connections.clear()

    def settle(self, now: float) -> None:
        """Note since when nobody uses the link that is up."""
        if self.waiting or self.connections:
            self.unused_since = None
        elif self.unused_since is None:
            self.unused_since = now

    def trouble(self) -> str:
        """Return why nothing can be opened here; "" if nothing is known to be wrong."""
        match self.link:
            case Up():
                return ""
            case Down(reason=reason) | Dialling(reason=reason):
                return f"the relay server {self.url} is not reachable: {reason}" if reason else ""
            case _:
                assert_never(self.link)

    def status(self, *, home: bool) -> RelayLinkStatus:
        """Return what the operator sees."""
        role: Literal["home", "foreign"] = "home" if home else "foreign"
        since_at, url = self.link.since_at, self.instance_url or self.url
        match self.link:
            case Up(transport=transport, quic_fault=fault):
                return RelayLinkStatus(
                    url=url, role=role, state="connected", since_at=since_at, transport=transport, quic_fault=fault
                )
            case Dialling(reason=reason):
                return RelayLinkStatus(url=url, role=role, state="connecting", reason=reason, since_at=since_at)
            case Down(reason=reason):
                return RelayLinkStatus(url=url, role=role, state="waiting", reason=reason, since_at=since_at)
            case _:
                assert_never(self.link)


@dataclass(frozen=True, slots=True)
class Servers:
    """All relay servers that we use or try to, by the URL that is dialled."""

    by_url: dict[str, Server] = field(default_factory=dict)

    @classmethod
    def configured(cls, urls: tuple[str, ...]) -> "Servers":
        """Return the configured ones, none of them dialled."""
        return cls({url: Server(url, True, Down(0.0, 0.0)) for url in urls})

    def by_link(self, link: int) -> Server | None:
        """Return the server of this link."""
        for server in self.by_url.values():
            if not isinstance(server.link, Down) and server.link.link == link:
                return server
        return None

    def up(self, instance_url: str | None) -> Server | None:
        """Return the server that is connected under this name."""
        for server in self.by_url.values():
            if isinstance(server.link, Up) and server.instance_url == instance_url:
                return server
        return None

    def oldest_up(self, may_be: Callable[[Server], bool]) -> Server | None:
        """Return the one of these that has been connected for longest: if one was home before a restart, it is that."""
        up = {s.link.link: s for s in self.by_url.values() if isinstance(s.link, Up) and may_be(s)}
        return up[min(up)] if up else None

    def find(self, url: str) -> Server | None:
        """Return the server that this URL means: one that is up, if there is a choice.

        Two URLs may lead to one server; a second login there would displace the first (relay spec 8, items 18 and 20).
        """
        named = self.up(url) or next((server for server in self.by_url.values() if server.names(url)), None)
        if named is None or isinstance(named.link, Up) or named.instance_url is None:
            return named
        return self.up(named.instance_url) or named

    def status(self, home: str | None) -> RelaysStatus:
        """Return what the operator sees: links, and what is dialled.  `home` as dialled; None while there is none."""
        servers = self.by_url.values()
        homes = [server for server in servers if (server.configured if home is None else server.url == home)]
        shown = [s for s in servers if s in homes or s.waiting or not isinstance(s.link, Down)]
        return RelaysStatus(links=tuple(server.status(home=server in homes) for server in shown))

    def add(self, url: str, now: float) -> Server | None:
        """Make room for a server that remotes named.  None: as many as may be are in use."""
        foreign = [server for server in self.by_url.values() if not server.configured]
        if len(foreign) >= MAX_FOREIGN:
            idle = next((other for other in foreign if isinstance(other.link, Down) and not other.waiting), None)
            if idle is None:
                return None
            del self.by_url[idle.url]
        server = self.by_url[url] = Server(url, False, Down(now, now))
        return server
