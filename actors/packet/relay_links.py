"""RELAY_LINKS: the links to relay servers, and the relayed connections on them.

    OpenLink --> Dialling --connected--> LoggingIn --AuthResponse: LinkOpened--> Open
                 ^   \\---------lost, refused, silent, CloseLink: LinkClosed-------/
                 |                       |
                 \\--by WebSocket alone--/ if that was over QUIC, and WebSocket is there to fall back on

    OpenOnLink --> waiting --the peer is there: RelayedOpened--> open
                      \\--RelayedFailed, or CloseOnLink--\\        \\--RelayedClosed, or CloseOnLink

Each link runs a sans-IO client (transport/relay/client.py).  What the driver of the sockets should do is in `requests`,
what came in for the tunnels in `packets`; both are to be taken after every call.  Packets pass on any open link, to and
from any configured peer, whether or not a relayed connection is open: opening one only asks after the remote.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, assert_never

from actors.addresses import RELAYS, peer_addresses
from actors.effects import Address, Effect
from actors.messages.packet import (
    CloseLink,
    CloseOnLink,
    LinkClosed,
    OpenLink,
    OpenOnLink,
    ProveLinksNow,
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
    QUIC_LOGIN_S,
    Abort,
    Connection,
    Dial,
    Link,
    Packets,
    Ping,
    RelayLinksStatus,
    Request,
    SendMessages,
    Serving,
    token_hint,
)
from config.keys import PublicKey
from config.schema import RelayCredentials
from transport.relay import events
from transport.relay.auth import login_token
from transport.relay.choice import Transports
from transport.relay.client import Closed, RelayClient
from transport.relay.frames import TRANSPORT_HEADER_LEN, PeerId, peer_id
from transport.relay.race import WEBSOCKET, Won
from transport.relay.signs import ReadSigns, no_signs

MAX_LINKS = 64
MAX_CONNECTIONS = 10_000  # of one link


class RelayLinks:
    """Keeps the links that the control side asked for."""

    inbox: ClassVar[object] = RelayLinksInbox

    def __init__(
        self,
        own: PublicKey,
        credentials: RelayCredentials | None,
        controls: tuple[str, ...],
        unix_now: Callable[[], float],
        transports: Transports | None = None,
    ) -> None:
        self._transports = transports or Transports("ws", trusted=False)
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
                return self._close_link(message.link, now)
            case OpenOnLink():
                return self._open(message, now)
            case CloseOnLink():
                return self._close(message, now)
            case RelayLinksSnapshotWanted():
                return [RELAYS.send(self._snapshot())]
            case ProveLinksNow():
                return self._prove(now)
            case _:
                assert_never(message)

    def known_peers(self, keys: Iterable[PublicKey]) -> None:
        """Set whose packets count: those of the configured peers."""
        self._ids = {key: peer_id(key) for key in keys}
        self._keys = {identity: key for key, identity in self._ids.items()}

    def shutdown(self, now: float) -> None:
        """Say Close on every link: the process ends."""
        for number in tuple(self._links):
            self._close_link(number, now)

    # --- the driver's side ---

    def connected(
        self, link: int, server_ip: str | None, now: float, won: Won = WEBSOCKET, signs: ReadSigns = no_signs
    ) -> list[Effect]:
        """Take note that a dialled link is up: log in.  `signs` shows what its transport sees of the server."""
        entry = self._links.get(link)
        if entry is None or entry.client is not None or self._credentials is None:
            return []  # closed meanwhile; Abort is among the requests
        client = RelayClient(self._own, login_token(self._credentials, self._unix_now()), now, signs)
        spare = won.transport == "quic" and self._transports.mode == "auto"
        entry.connected(client, server_ip, won, spare=spare, now=now)
        for identity, connection in entry.connections.items():
            client.open(identity, connection.wait_s, now)
        return self._work_off(entry, now)

    def received(self, link: int, messages: Iterable[bytes], now: float) -> list[Effect]:
        """Take what came on a link, in order."""
        if (entry := self._links.get(link)) is None or entry.client is None:
            return []
        for message in messages:
            entry.client.receive_data(message, now)
        return self._work_off(entry, now)

    def pong(self, link: int, now: float) -> list[Effect]:
        """Take note that a ping was answered."""
        if (entry := self._links.get(link)) is not None and entry.client is not None:
            entry.client.receive_pong(now)
        return []

    def doubted(self, link: int, now: float) -> list[Effect]:
        """Take note of a hint that the server of a link is gone: ping it, and wait less for the answer."""
        if (entry := self._links.get(link)) is None:
            return []
        entry.server_doubted = True
        return self._prove_link(entry, now)

    def writable(self, link: int, yes: bool) -> None:
        """Take note that a link takes no more packets for now, or takes them again."""
        if (entry := self._links.get(link)) is not None:
            entry.writable = yes

    def lost(self, link: int, reason: str, now: float, *, too_narrow: bool = False) -> list[Effect]:
        """Take note that a link ended, or could not be dialled.  `too_narrow`: QUIC carries full packets no more."""
        if (entry := self._links.get(link)) is None:
            return []
        if too_narrow:
            self._transports.quic_failed(entry.url, reason, now)
        if entry.client is None:
            return self._end(entry, entry.told(reason), was_open=False)
        entry.client.connection_lost(reason)
        return self._work_off(entry, now)

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
                effects += self._handle_timeout(entry, entry.client, now)
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
        links = tuple(entry.snapshot() for entry in self._links.values())
        connections = tuple(
            RelayedSnapshot(peer=connection.peer, generation=connection.generation, link=number, open=connection.open)
            for number, entry in self._links.items()
            for connection in entry.connections.values()
        )
        return RelayLinksSnapshot(links=links, connections=connections)

    # --- links ---

    def _open_link(self, wanted: OpenLink, now: float) -> list[Effect]:
        if (entry := self._links.get(wanted.link)) is not None:
            return [] if entry.instance_url is None else [RELAYS.send(entry.opened())]  # asked again
        if self._credentials is None:
            return [_closed(wanted.link, "no relay secret or token is configured", was_open=False)]
        if len(self._links) >= MAX_LINKS:
            return [_closed(wanted.link, f"more than {MAX_LINKS} links to relay servers", was_open=False)]
        choice = self._transports.choose(wanted.url, now)
        if not choice.transports:
            return [_closed(wanted.link, choice.quic_fault, was_open=False)]
        self._links[wanted.link] = Link(wanted.link, wanted.url, since_at=now, quic_fault=choice.quic_fault)
        self._requests.append(Dial(wanted.link, wanted.url, wanted.server_ip, choice.transports))
        return []

    def _close_link(self, link: int, now: float) -> list[Effect]:
        entry = self._links.get(link)
        if entry is None:
            return [_closed(link, "it is not there", was_open=False)]
        if entry.client is None:
            return self._end(entry, "closed by us", was_open=False)
        entry.spare = False
        entry.client.close("closed by us")
        return self._work_off(entry, now)

    def _handle_timeout(self, entry: Link, client: RelayClient, now: float) -> list[Effect]:
        login_at = entry.login_due_at()
        if login_at is not None and now >= login_at:
            self._fall_back(entry, f"no answer to our login within {QUIC_LOGIN_S:g} s", now)
            return []
        client.handle_timeout(now)
        if isinstance(client.state, Closed) and entry.quic_is_to_blame(now):
            self._transports.quic_failed(entry.url, client.state.reason, now)
        return self._work_off(entry, now)

    def _fall_back(self, entry: Link, reason: str, now: float) -> None:
        """Dial again by WebSocket: QUIC's handshake passed, but not our login."""
        assert entry.client is not None
        self._drops.update(entry.client.drops)
        entry.fall_back(reason, now)
        self._requests += [Abort(entry.number), Dial(entry.number, entry.url, entry.server_ip)]

    def _end(self, entry: Link, reason: str, *, was_open: bool, half_open: bool = False) -> list[Effect]:
        """Forget a link; RELAYS hears of it before the workers of its connections do."""
        del self._links[entry.number]
        self._requests.append(Abort(entry.number))
        if entry.client is not None:
            self._drops.update(entry.client.drops)
        why = f"the link closed: {reason}"
        told = (
            self._tell(connection.closed("link_closed", why) if connection.open else connection.failed(why))
            for connection in entry.connections.values()
        )
        return [_closed(entry.number, reason, was_open=was_open, half_open=half_open), *told]

    def _prove(self, now: float) -> list[Effect]:
        """Ping every server now: whoever has forgotten us, or is not reached any more, is given up soon."""
        return [effect for entry in tuple(self._links.values()) for effect in self._prove_link(entry, now)]

    def _prove_link(self, entry: Link, now: float) -> list[Effect]:
        if entry.client is None:
            return []
        entry.client.prove_now(now)
        return self._work_off(entry, now)

    # --- relayed connections ---

    def _open(self, wanted: OpenOnLink, now: float) -> list[Effect]:
        entry, identity = self._links.get(wanted.link), self._id(wanted.peer)
        connection = Connection(wanted.peer, wanted.generation, wanted.wait_s)
        if entry is None:
            return [self._tell(connection.failed("the link to that relay server is gone"))]
        present = entry.connections.get(identity)
        if present is not None and present.generation > wanted.generation:
            return [self._tell(connection.failed(f"generation {present.generation} is newer"))]
        if present is not None and present.generation == wanted.generation:
            return [self._tell(present.opened(entry.number))] if present.open else []  # asked again
        if present is None and len(entry.connections) >= MAX_CONNECTIONS:
            return [self._tell(connection.failed(f"more than {MAX_CONNECTIONS} relayed connections on the link"))]
        # One that is present is replaced: its worker has made a newer one, and waits for nothing of the older.
        entry.connections[identity] = connection
        if entry.client is None:
            return []
        entry.client.open(identity, wanted.wait_s, now)
        return self._work_off(entry, now)

    def _close(self, wanted: CloseOnLink, now: float) -> list[Effect]:
        done = self._worker(wanted.peer).send(RelayedCloseDone(peer=wanted.peer, generation=wanted.generation))
        entry, identity = self._links.get(wanted.link), self._id(wanted.peer)
        connection = entry.connections.get(identity) if entry is not None else None
        if entry is None or connection is None or connection.generation != wanted.generation:
            return [done]  # nothing to close
        del entry.connections[identity]
        if entry.client is None:
            return [done]
        entry.client.close_peer(identity)
        return [*self._work_off(entry, now), done]

    # --- what a client reports ---

    def _work_off(self, entry: Link, now: float) -> list[Effect]:
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
                    if entry.quic_failed:
                        self._transports.quic_failed(entry.url, entry.quic_fault, now)
                    effects.append(RELAYS.send(entry.opened()))
                case events.PeerOnline(identity):
                    effects.append(self._tell(entry.connections[identity].opened(entry.number)))
                case events.PeerAbsent(identity, reason):
                    effects.append(self._tell(entry.connections.pop(identity).failed(reason, reached=True)))
                case events.PeerGone(identity, reason):
                    effects.append(self._tell(entry.connections.pop(identity).closed("peer_gone", reason)))
                case events.PingWanted():
                    self._requests.append(Ping(entry.number))
                case events.LinkClosed(reason, was_open, refused, half_open):
                    why = f"{reason}; {token_hint(self._credentials, self._unix_now())}" if refused else reason
                    if entry.spare and not was_open:
                        self._fall_back(entry, reason, now)
                    else:
                        why = why if was_open else entry.told(why)
                        effects += self._end(entry, why, was_open=was_open, half_open=half_open)
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

    def _worker(self, peer: PublicKey) -> Address[RelayWorkerInbox]:
        return peer_addresses(peer, self._controls).relay_worker

    def _tell(self, told: RelayedOpened | RelayedFailed | RelayedClosed) -> Effect:
        return self._worker(told.peer).send(told)


def _closed(link: int, reason: str, *, was_open: bool, half_open: bool = False) -> Effect:
    return RELAYS.send(LinkClosed(link=link, reason=reason, was_open=was_open, half_open=half_open))
