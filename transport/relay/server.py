"""The server's end of all links, without I/O: who is here, and who may send to whom (relay spec 5).

    accept() --> waiting for Auth --Auth with a good token--> logged in --Close, fault, silence, replaced--> closed
                        \\--10 s, or anything else----------------------------------------------------------/

A driver calls `accept` for a new connection, hands in its messages, then sends `data_to_send` (one frame a message)
and works off `next_event`.  Messages for one destination wait in a bounded queue of its own, so that a receiver that
does not read costs its senders some packets and nobody any time.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, groupby
from math import inf
from typing import Final

from config.keys import Secret
from transport.errors import RemoteProtocolError
from transport.relay.auth import TokenRefused, check_token
from transport.relay.codec import (
    TRANSPORT_HEAD,
    BadBody,
    decode_from_client,
    encode,
    transport_prefix,
)
from transport.relay.events import ConnectionClosed, PeerJoined, ServerEvent
from transport.relay.frames import (
    HEADER_LEN,
    HEALTH_CHECK_PEER_ID,
    MAX_MESSAGE_LEN,
    MAX_PEER_IDS,
    TRANSPORT_HEADER_LEN,
    Auth,
    AuthResponse,
    Close,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    UnsubscribePeerState,
)
from transport.relay.send_room import MOST_LEN

AUTH_TIMEOUT_S: Final = 10.0  # relay spec 5.2
HEALTH_CHECK_INTERVAL_S: Final = 25.0  # relay spec 5.6
HEALTH_TICK_S: Final = 45.0
STUCK_AFTER_S: Final = 10.0  # a receiver that takes nothing for so long is closed
QUEUE_LEAST_LEN: Final = 80 * 1024  # what a driver reads at once (transport/drivers/websocket.py), and some
ACTIVE_WITHIN_S: Final = 30.0  # relay spec 5.11: a peer that sent a packet so recently counts as active

_HEALTH_CHECK: Final = encode(HealthCheck())
_CLOSE: Final = encode(Close())


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on."""

    connections: int = 20_000
    subscriptions: int = 10_000  # of one connection
    queue_len: int = 256 * 1024  # bytes that wait for one receiver


@dataclass(slots=True, eq=False)
class Connection:
    """One link, as the server knows it; for a driver an opaque handle with a number."""

    number: int
    auth_until: float
    peer: PeerId | None = None  # None: not logged in
    prefix: bytes = b""  # of the packets that come from it
    queue: list[bytes] = field(default_factory=list)
    queue_len: int = 0  # bytes of packets in it
    max_queue_len: int = 0
    presence: dict[PeerId, bool] = field(default_factory=dict)  # still to be told: online or offline, oldest first
    marked: bool = False  # it has something to send
    stuck_at: float = inf  # if nothing is taken until then; inf: it takes what it is sent
    health_check_at: float = inf
    tick_at: float = inf
    answered: bool = False  # a HealthCheck came since the last tick
    scheduled_at: float = inf  # its newest entry among the timers
    active_at: float = -inf  # last packet
    wants_online: set[PeerId] = field(default_factory=set)
    wants_offline: set[PeerId] = field(default_factory=set)
    closed: bool = False
    max_peer_ids: int = MAX_PEER_IDS  # in one presence message; a driver whose messages are shorter lowers it


class RelayServer:
    """All connections of one relay server."""

    def __init__(
        self, instance_url: str, key: Secret, unix_now: Callable[[], float], limits: Limits | None = None
    ) -> None:
        self._auth_response = encode(AuthResponse(instance_url))
        self._key, self._unix_now = key, unix_now
        self._limits = limits or Limits()
        self._numbers = count(1)
        self._connections: dict[int, Connection] = {}
        self._by_peer: dict[bytes, Connection] = {}
        self._online_watchers: dict[PeerId, dict[Connection, None]] = {}
        self._offline_watchers: dict[PeerId, dict[Connection, None]] = {}
        self._timers: list[tuple[float, int]] = []
        self._marked: list[Connection] = []
        self._events: deque[ServerEvent] = deque()
        self._shut = False
        self.received_len = 0  # bytes of packets, header included (relay spec 5.11)
        self.sent_len = 0  # of packets that were handed to the driver
        self.replaced = 0  # logins that took the place of an older connection
        self.drops: Counter[str] = Counter()
        """Messages and connections that were not served, by reason."""

    # --- the driver's side ---

    def accept(self, now: float) -> Connection | None:
        """Take a new connection; None: refuse it, the server is full or shut."""
        if self._shut or len(self._connections) >= self._limits.connections:
            self.drops["shutting_down" if self._shut else "connections_full"] += 1
            return None
        number, most_len = next(self._numbers), self._limits.queue_len
        connection = Connection(number, auth_until=now + AUTH_TIMEOUT_S, max_queue_len=most_len)
        self._connections[connection.number] = connection
        self._schedule(connection)
        return connection

    def receive_data(self, connection: Connection, message: bytes, now: float) -> None:
        """Take one message of a client."""
        message_len = len(message)
        if (
            message[:HEADER_LEN] == TRANSPORT_HEAD
            and connection.prefix
            and TRANSPORT_HEADER_LEN <= message_len <= MAX_MESSAGE_LEN
        ):
            # The fast lane: one look-up, one copy with the source's id in the destination's place.
            self.received_len += message_len
            destination = self._by_peer.get(message[HEADER_LEN:TRANSPORT_HEADER_LEN])
            if destination is not connection:  # what goes to its sender proves a link, and is no traffic
                connection.active_at = now
            if destination is None:
                self.drops["unknown_destination"] += 1
            elif destination.queue_len + message_len > destination.max_queue_len:
                self.drops["queue_full"] += 1
            else:
                destination.queue_len += message_len
                destination.queue.append(connection.prefix + message[TRANSPORT_HEADER_LEN:])
                if not destination.marked:
                    self._mark(destination)
        elif not connection.closed:
            self._receive_frame(connection, message, now)

    def connection_lost(self, connection: Connection, reason: str, *, expected: bool = True) -> None:
        """Take note that a connection ended, or must end."""
        self._close(connection, reason, expected=expected)

    def set_writable(self, connection: Connection, writable: bool, now: float) -> None:
        """Say whether the driver can pass on more to this connection; its messages wait until it can."""
        if connection.closed:
            return
        connection.stuck_at = inf if writable else now + STUCK_AFTER_S
        if writable:
            self._mark(connection)
        else:
            self._schedule(connection)

    def set_room(self, connection: Connection, room_len: int) -> None:
        """Say how many bytes may wait for this connection in its driver: in its queue here the same share may.

        What one read brings in for it passes through that queue also while the driver takes all.
        """
        most_len = self._limits.queue_len
        connection.max_queue_len = min(max(most_len * room_len // MOST_LEN, QUEUE_LEAST_LEN), most_len)

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        while self._timers and self._timers[0][0] <= now:
            at, number = heapq.heappop(self._timers)
            connection = self._connections.get(number)
            if connection is not None and connection.scheduled_at == at:
                connection.scheduled_at = inf
                self._check(connection, now)
                if not connection.closed:
                    self._schedule(connection)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called next; None: never."""
        return self._timers[0][0] if self._timers else None

    def data_to_send(self) -> list[tuple[Connection, list[bytes]]]:
        """Return the messages to send now, in order for each connection that can take them."""
        marked, self._marked = self._marked, []
        batches = []
        for connection in marked:
            connection.marked = False
            if connection.stuck_at != inf:
                continue  # marked again when it is writable
            self.sent_len += connection.queue_len
            messages, connection.queue, connection.queue_len = connection.queue, [], 0
            if connection.presence:
                # Last, so that nothing comes before an AuthResponse.
                messages.extend(_presence_frames(connection.presence, connection.max_peer_ids))
                connection.presence = {}
            if messages:
                batches.append((connection, messages))
        return batches

    def next_event(self) -> ServerEvent | None:
        """Return the oldest event, or None."""
        return self._events.popleft() if self._events else None

    # --- the owner's side ---

    def shutdown(self) -> None:
        """Take nobody in any more, say Close to all."""
        self._shut = True
        for connection in tuple(self._connections.values()):
            connection.presence.clear()
            if connection.peer is not None:
                connection.queue.append(_CLOSE)
                self._mark(connection)
            self._close(connection, "the server shuts down", expected=True, flush=True)

    @property
    def peers(self) -> int:
        """How many peers are logged in."""
        return len(self._by_peer)

    @property
    def connections(self) -> int:
        """How many connections there are, those that have not logged in included."""
        return len(self._connections)

    def is_peer(self, number: int) -> bool:
        """Tell whether this connection has logged in and is still there."""
        connection = self._connections.get(number)
        return connection is not None and connection.peer is not None

    def active_peers(self, now: float) -> int:
        """Return how many peers sent a packet recently."""
        return sum(now - connection.active_at <= ACTIVE_WITHIN_S for connection in self._by_peer.values())

    # --- frames but Transport ---

    def _receive_frame(self, connection: Connection, message: bytes, now: float) -> None:
        try:
            frame = decode_from_client(message)
        except BadBody as error:
            if connection.peer is None:
                self._close(connection, f"instead of a login: {error}")
            else:
                self.drops["bad_frame"] += 1  # relay spec 3.4: log, ignore
            return
        except RemoteProtocolError as error:
            self._close(connection, str(error))
            return
        if connection.peer is None:
            if isinstance(frame, Auth):
                self._log_in(connection, frame, now)
            else:
                self._close(connection, f"{type(frame).__name__} instead of a login")
            return
        match frame:
            case HealthCheck():
                connection.answered = True
            case SubscribePeerState(peers):
                self._subscribe(connection, peers)
            case UnsubscribePeerState(peers):
                self._unsubscribe(connection, peers)
            case Close():
                self._close(connection, "the client said Close", expected=True)
            case _:
                self.drops["unexpected_frame"] += 1  # a second Auth: relay spec 3.4

    def _log_in(self, connection: Connection, frame: Auth, now: float) -> None:
        try:
            check_token(frame.token, self._key, self._unix_now())
        except TokenRefused as error:
            self.drops["login_refused"] += 1
            self._close(connection, f"login refused: {error}", expected=frame.peer == HEALTH_CHECK_PEER_ID)
            return
        # The answer is queued before anybody can send to this peer, so it arrives first (relay spec 5.2).
        connection.queue.append(self._auth_response)
        self._mark(connection)
        older = self._by_peer.get(frame.peer)
        connection.peer, connection.prefix = frame.peer, transport_prefix(frame.peer)
        connection.auth_until = inf
        connection.health_check_at, connection.tick_at = now + HEALTH_CHECK_INTERVAL_S, now + HEALTH_TICK_S
        self._schedule(connection)
        self._by_peer[frame.peer] = connection
        if older is not None:
            self.replaced += 1
            self._close(older, "the same peer logged in anew")
        self._events.append(PeerJoined(connection.number, frame.peer, replaced=older is not None))
        for watcher in self._online_watchers.pop(frame.peer, {}):
            watcher.wants_online.discard(frame.peer)
            self._tell(watcher, frame.peer, online=True)

    # --- presence ---

    def _subscribe(self, connection: Connection, peers: tuple[PeerId, ...]) -> None:
        for peer in peers:
            if peer not in connection.wants_offline:
                if len(connection.wants_offline) >= self._limits.subscriptions:
                    self.drops["subscriptions_full"] += 1
                    continue
                connection.wants_offline.add(peer)
                self._offline_watchers.setdefault(peer, {})[connection] = None
            connection.wants_online.add(peer)
            self._online_watchers.setdefault(peer, {})[connection] = None
            if peer in self._by_peer:
                self._tell(connection, peer, online=True)

    def _unsubscribe(self, connection: Connection, peers: tuple[PeerId, ...]) -> None:
        for peer in peers:
            connection.presence.pop(peer, None)
            if peer in connection.wants_offline:
                connection.wants_offline.remove(peer)
                _remove(self._offline_watchers, peer, connection)
            if peer in connection.wants_online:
                connection.wants_online.remove(peer)
                _remove(self._online_watchers, peer, connection)

    def _tell(self, watcher: Connection, peer: PeerId, *, online: bool) -> None:
        watcher.presence.pop(peer, None)  # only the last state of a peer counts, in its true place
        watcher.presence[peer] = online
        self._mark(watcher)

    # --- ends and timers ---

    def _check(self, connection: Connection, now: float) -> None:
        if now >= connection.auth_until:
            self._close(connection, f"no login within {AUTH_TIMEOUT_S:g} s")
        elif now >= connection.stuck_at:
            self.drops["stuck"] += 1
            self._close(connection, f"took nothing of what it was sent for {STUCK_AFTER_S:g} s")
        elif now >= connection.tick_at and not connection.answered:
            self._close(connection, f"no health check answered within {HEALTH_TICK_S:g} s")
        else:
            if now >= connection.tick_at:
                connection.answered, connection.tick_at = False, now + HEALTH_TICK_S
            if now >= connection.health_check_at:
                connection.health_check_at = now + HEALTH_CHECK_INTERVAL_S
                connection.queue.append(_HEALTH_CHECK)
                self._mark(connection)

    def _schedule(self, connection: Connection) -> None:
        at = min(connection.auth_until, connection.stuck_at, connection.health_check_at, connection.tick_at)
        if at < connection.scheduled_at:
            connection.scheduled_at = at
            heapq.heappush(self._timers, (at, connection.number))

    def _mark(self, connection: Connection) -> None:
        if not connection.marked:
            connection.marked = True
            self._marked.append(connection)

    def _close(self, connection: Connection, reason: str, *, expected: bool = False, flush: bool = False) -> None:
        if connection.closed:
            return
        connection.closed = True
        connection.prefix = b""  # shuts the fast lane
        del self._connections[connection.number]
        self._unsubscribe(connection, tuple(connection.wants_offline))
        if not flush:
            connection.queue, connection.presence = [], {}
        peer = connection.peer
        if peer is not None and self._by_peer.get(peer) is connection:
            del self._by_peer[peer]
            for watcher in self._offline_watchers.get(peer, {}):
                self._tell(watcher, peer, online=False)
        self._events.append(ConnectionClosed(connection.number, peer, reason, expected, flush))


def _remove(watchers: dict[PeerId, dict[Connection, None]], peer: PeerId, connection: Connection) -> None:
    of_peer = watchers[peer]
    del of_peer[connection]
    if not of_peer:
        del watchers[peer]


def _presence_frames(presence: dict[PeerId, bool], max_ids: int) -> list[bytes]:
    frames = []
    for online, run in groupby(presence.items(), key=lambda item: item[1]):
        peers = [peer for peer, _ in run]
        for at in range(0, len(peers), max_ids):
            part = tuple(peers[at : at + max_ids])
            frames.append(encode(PeersOnline(part) if online else PeersWentOffline(part)))
    return frames
