"""RELAY_LINKS: the links to relay servers, and the relayed connections on them.

    OpenLink --> Dialling --connected--> LoggingIn --AuthResponse: LinkOpened--> Open
                     \\---------lost, refused, silent, CloseLink: LinkClosed-------/

    OpenOnLink --> waiting --the peer is there: RelayedOpened--> open
                      \\--RelayedFailed, or CloseOnLink--\\        \\--RelayedClosed, or CloseOnLink

Each link runs a sans-IO client (transport/relay/client.py).  What the driver of the sockets should do is in `requests`,
what came in for the tunnels in `packets`; both are to be taken after every call.  Packets pass on any open link, to and
from any configured peer, whether or not a relayed connection is open: opening one only asks after the remote.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Literal, assert_never

from actors.addresses import RELAYS, peer_addresses
from actors.effects import Address, Effect
from actors.messages.packet import (
    CloseLink,
    CloseOnLink,
    LinkClosed,
    LinkOpened,
    LinkSnapshot,
    OpenLink,
    OpenOnLink,
    RelayedClosed,
    RelayedCloseDone,
    RelayedFailed,
    RelayedOpened,
    RelayedSnapshot,
    RelayLinksInbox,
    RelayLinksSnapshot,
    RelayLinksSnapshotWanted,
)
from actors.messages.peer import RelayWorkerInbox
from actors.packet.relay_link import (
    DIAL_LIMIT_S,
    Abort,
    Connection,
    Dial,
    Link,
    Packets,
    Ping,
    RelayLinksStatus,
    Request,
    SendMessages,
)
from config.keys import PublicKey
from config.schema import RelayCredentials
from transport.relay import events
from transport.relay.auth import expiry_of, login_token
from transport.relay.client import RelayClient
from transport.relay.frames import TRANSPORT_HEADER_LEN, PeerId, peer_id

MAX_LINKS = 64
MAX_CONNECTIONS = 10_000  # of one link


@dataclass(frozen=True, slots=True)
class Serving:
    """How many links there are, and how many of them are open."""

    links: int
    open: int


class RelayLinks:
    """Keeps the links that the control side asked for."""

    inbox: ClassVar[object] = RelayLinksInbox

    def __init__(
        self,
        own: PublicKey,
        credentials: RelayCredentials | None,
        controls: tuple[str, ...],
        unix_now: Callable[[], float],
    ) -> None:
        self._own, self._credentials, self._controls, self._unix_now = peer_id(own), credentials, controls, unix_now
        self._links: dict[int, Link] = {}
        self._ids: dict[PublicKey, PeerId] = {}
        self._keys: dict[PeerId, PublicKey] = {}
        self._drops: Counter[str] = Counter()  # the clients of live links count their own
        self._requests: list[Request] = []
        self._packets: list[Packets] = []

    @property
    def state(self) -> Serving:
        """What there is now."""
        return Serving(len(self._links), sum(link.instance_url is not None for link in self._links.values()))

    # --- mail ---

    def handle(self, message: RelayLinksInbox, now: float) -> list[Effect]:
        """Do what the control side asks."""
        match message:
            case OpenLink():
                return self._open_link(message, now)
            case CloseLink():
                return self._close_link(message.link)
            case OpenOnLink():
                return self._open(message, now)
            case CloseOnLink():
                return self._close(message)
            case RelayLinksSnapshotWanted():
                return [RELAYS.send(self._snapshot())]
            case _:
                assert_never(message)

    def known_peers(self, keys: Iterable[PublicKey]) -> None:
        """Set whose packets count: those of the configured peers."""
        self._ids = {key: peer_id(key) for key in keys}
        self._keys = {identity: key for key, identity in self._ids.items()}

    def shutdown(self) -> None:
        """Say Close on every link: the process ends."""
        for number in tuple(self._links):
            self._close_link(number)

    # --- the driver's side ---

    def connected(self, link: int, server_ip: str | None, now: float) -> list[Effect]:
        """Take note that a dialled link is up: log in."""
        entry = self._links.get(link)
        if entry is None or entry.client is not None or self._credentials is None:
            return []  # closed meanwhile; Abort is among the requests
        entry.client = RelayClient(self._own, login_token(self._credentials, self._unix_now()), now)
        entry.server_ip, entry.since_at = server_ip, now
        for identity, connection in entry.connections.items():
            entry.client.open(identity, connection.wait_s, now)
        return self._work_off(entry)

    def received(self, link: int, messages: Iterable[bytes], now: float) -> list[Effect]:
        """Take what came on a link, in order."""
        entry = self._links.get(link)
        if entry is None or entry.client is None:
            return []
        for message in messages:
            entry.client.receive_data(message, now)
        return self._work_off(entry)

    def pong(self, link: int, now: float) -> list[Effect]:
        """Take note that a ping was answered."""
        entry = self._links.get(link)
        if entry is not None and entry.client is not None:
            entry.client.receive_pong(now)
        return []

    def writable(self, link: int, yes: bool) -> None:
        """Take note that a link takes no more packets for now, or takes them again."""
        if (entry := self._links.get(link)) is not None:
            entry.writable = yes

    def lost(self, link: int, reason: str) -> list[Effect]:
        """Take note that a link ended, or could not be dialled."""
        entry = self._links.get(link)
        if entry is None:
            return []
        if entry.client is None:
            return self._end(entry, reason, was_open=False)
        entry.client.connection_lost(reason)
        return self._work_off(entry)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before the next input."""
        return min((at for entry in self._links.values() if (at := entry.due_at()) is not None), default=None)

    def handle_timeout(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for entry in tuple(self._links.values()):
            due_at = entry.due_at()
            if due_at is None or now < due_at:
                continue
            if entry.client is None:
                effects += self._end(entry, f"not connected within {DIAL_LIMIT_S:g} s", was_open=False)
            else:
                entry.client.handle_timeout(now)
                effects += self._work_off(entry)
        return effects

    def requests(self) -> list[Request]:
        """Return what the driver should do now, in order, once."""
        requests, self._requests = self._requests, []
        return requests

    # --- packets ---

    def send_packets(self, peer: PublicKey, link: int, payloads: Sequence[bytes], now: float) -> None:
        """Send packets to a peer on this link, as requests.  What cannot be sent now is dropped and counted."""
        entry = self._links.get(link)
        if entry is None or entry.client is None:
            self._drops["no_link"] += len(payloads)
        elif not entry.writable:
            self._drops["link_full"] += len(payloads)
        elif entry.client.send(self._id(peer), payloads, now):
            messages = entry.client.data_to_send()
            entry.tx_bytes += sum(map(len, messages))
            self._requests.append(SendMessages(link, messages))

    def packets(self) -> list[Packets]:
        """Return what came in for the tunnels, in order, once."""
        packets, self._packets = self._packets, []
        return packets

    # --- status ---

    def urls(self) -> dict[int, str]:
        """Return the server of each link."""
        return {number: entry.instance_url or entry.url for number, entry in self._links.items()}

    def status(self) -> RelayLinksStatus:
        """Return what there is, and what was dropped."""
        drops = Counter(self._drops)
        for entry in self._links.values():
            if entry.client is not None:
                drops.update(entry.client.drops)
        return RelayLinksStatus(links=tuple(entry.status() for entry in self._links.values()), drops=dict(drops))

    def _snapshot(self) -> RelayLinksSnapshot:
        links = tuple(
            LinkSnapshot(link=number, url=entry.url, instance_url=entry.instance_url, server_ip=entry.server_ip)
            for number, entry in self._links.items()
        )
        connections = tuple(
            RelayedSnapshot(peer=connection.peer, generation=connection.generation, link=number, open=connection.open)
            for number, entry in self._links.items()
            for connection in entry.connections.values()
        )
        return RelayLinksSnapshot(links=links, connections=connections)

    # --- links ---

    def _open_link(self, wanted: OpenLink, now: float) -> list[Effect]:
        entry = self._links.get(wanted.link)
        if entry is not None:
            return [] if entry.instance_url is None else [self._opened(entry)]  # asked again
        if self._credentials is None:
            return [_closed(wanted.link, "no relay secret or token is configured", was_open=False)]
        if len(self._links) >= MAX_LINKS:
            return [_closed(wanted.link, f"more than {MAX_LINKS} links to relay servers", was_open=False)]
        self._links[wanted.link] = Link(wanted.link, wanted.url, since_at=now)
        self._requests.append(Dial(wanted.link, wanted.url, wanted.server_ip))
        return []

    def _close_link(self, link: int) -> list[Effect]:
        entry = self._links.get(link)
        if entry is None:
            return [_closed(link, "it is not there", was_open=False)]
        if entry.client is None:
            return self._end(entry, "closed by us", was_open=False)
        entry.client.close("closed by us")
        return self._work_off(entry)

    def _opened(self, entry: Link) -> Effect:
        assert entry.instance_url is not None
        return RELAYS.send(LinkOpened(link=entry.number, instance_url=entry.instance_url, server_ip=entry.server_ip))

    def _end(self, entry: Link, reason: str, *, was_open: bool) -> list[Effect]:
        """Forget a link; RELAYS hears of it before the workers of its connections do."""
        del self._links[entry.number]
        self._requests.append(Abort(entry.number))
        if entry.client is not None:
            self._drops.update(entry.client.drops)
        why = f"the link closed: {reason}"
        told = (
            self._tell_closed(connection, "link_closed", why) if connection.open else self._tell_failed(connection, why)
            for connection in entry.connections.values()
        )
        return [_closed(entry.number, reason, was_open=was_open), *told]

    # --- relayed connections ---

    def _open(self, wanted: OpenOnLink, now: float) -> list[Effect]:
        entry, identity = self._links.get(wanted.link), self._id(wanted.peer)
        connection = Connection(wanted.peer, wanted.generation, wanted.wait_s)
        if entry is None:
            return [self._tell_failed(connection, "the link to that relay server is gone")]
        present = entry.connections.get(identity)
        if present is not None and present.generation > wanted.generation:
            return [self._tell_failed(connection, f"generation {present.generation} is newer")]
        if present is not None and present.generation == wanted.generation:
            return [self._tell_opened(present, entry)] if present.open else []  # asked again
        if present is None and len(entry.connections) >= MAX_CONNECTIONS:
            return [self._tell_failed(connection, f"more than {MAX_CONNECTIONS} relayed connections on the link")]
        # One that is present is replaced: its worker has made a newer one, and waits for nothing of the older.
        entry.connections[identity] = connection
        if entry.client is None:
            return []
        entry.client.open(identity, wanted.wait_s, now)
        return self._work_off(entry)

    def _close(self, wanted: CloseOnLink) -> list[Effect]:
        done = self._worker(wanted.peer).send(RelayedCloseDone(peer=wanted.peer, generation=wanted.generation))
        entry, identity = self._links.get(wanted.link), self._id(wanted.peer)
        connection = entry.connections.get(identity) if entry is not None else None
        if entry is None or connection is None or connection.generation != wanted.generation:
            return [done]  # nothing to close
        del entry.connections[identity]
        if entry.client is None:
            return [done]
        entry.client.close_peer(identity)
        return [*self._work_off(entry), done]

    # --- what a client reports ---

    def _work_off(self, entry: Link) -> list[Effect]:
        client = entry.client
        assert client is not None
        if messages := client.data_to_send():
            self._requests.append(SendMessages(entry.number, messages))
        effects: list[Effect] = []
        while (event := client.next_event()) is not None:
            match event:
                case events.PacketsReceived():
                    self._deliver(entry, event)
                case events.LoggedIn():
                    effects.append(self._opened(entry))
                case events.PeerOnline(identity):
                    connection = entry.connections[identity]
                    connection.open = True
                    effects.append(self._tell_opened(connection, entry))
                case events.PeerAbsent(identity, reason):
                    effects.append(self._tell_failed(entry.connections.pop(identity), reason))
                case events.PeerGone(identity, reason):
                    effects.append(self._tell_closed(entry.connections.pop(identity), "peer_gone", reason))
                case events.PingWanted():
                    self._requests.append(Ping(entry.number))
                case events.LinkClosed(reason, was_open, refused):
                    why = f"{reason}; {self._token_hint()}" if refused else reason
                    effects += self._end(entry, why, was_open=was_open)
                case _:
                    assert_never(event)
        return effects

    def _deliver(self, entry: Link, received: events.PacketsReceived) -> None:
        connection, payloads = entry.connections.get(received.peer), received.payloads
        peer = self._keys.get(received.peer) if connection is None else connection.peer
        if peer is None:
            self._drops["from_stranger"] += len(payloads)
            return
        entry.rx_bytes += sum(map(len, payloads)) + TRANSPORT_HEADER_LEN * len(payloads)
        generation = connection.generation if connection is not None and connection.open else 0
        self._packets.append(Packets(peer, entry.number, generation, payloads))

    # --- helpers ---

    def _id(self, peer: PublicKey) -> PeerId:
        return self._ids.get(peer) or peer_id(peer)

    def _token_hint(self) -> str:
        """Say what is known of our side: a token is a time, so it may be old, or our clock wrong."""
        now_unix_s = self._unix_now()
        clock = f"our clock says {datetime.fromtimestamp(now_unix_s, UTC):%Y-%m-%d %H:%M} UTC"
        issued = self._credentials.token if self._credentials is not None else None
        expiry = expiry_of(issued) if issued is not None else None
        if expiry is None or expiry >= now_unix_s:
            return clock
        return f"our token expired {int(now_unix_s - expiry)} s ago, renew [relay] token_file; {clock}"

    def _worker(self, peer: PublicKey) -> Address[RelayWorkerInbox]:
        return peer_addresses(peer, self._controls).relay_worker

    def _tell_opened(self, connection: Connection, entry: Link) -> Effect:
        opened = RelayedOpened(peer=connection.peer, generation=connection.generation, link=entry.number)
        return self._worker(connection.peer).send(opened)

    def _tell_failed(self, connection: Connection, reason: str) -> Effect:
        failed = RelayedFailed(peer=connection.peer, generation=connection.generation, reason=reason)
        return self._worker(connection.peer).send(failed)

    def _tell_closed(self, connection: Connection, cause: Literal["link_closed", "peer_gone"], reason: str) -> Effect:
        closed = RelayedClosed(peer=connection.peer, generation=connection.generation, cause=cause, reason=reason)
        return self._worker(connection.peer).send(closed)


def _closed(link: int, reason: str, *, was_open: bool) -> Effect:
    return RELAYS.send(LinkClosed(link=link, reason=reason, was_open=was_open))
