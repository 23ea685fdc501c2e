"""A relay server under clients that do anything, in any order: it never raises, and its promises hold throughout."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.transport.relay.test_codec import client_frames, server_frames
from tests.transport.relay.test_server import KEY, TOKEN, UNIX_NOW, URL
from transport.relay.codec import decode_from_server, encode
from transport.relay.events import ConnectionClosed
from transport.relay.frames import (
    Auth,
    AuthResponse,
    Close,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    Transport,
    UnsubscribePeerState,
    peer_id,
)
from transport.relay.server import Connection, Limits, RelayServer

PEERS = tuple(peer_id(name) for name in ("alice", "bob", "carol"))
LIMITS = Limits(connections=6, subscriptions=2, queue_len=400)

peers = st.sampled_from(PEERS)
subscribed = st.lists(peers, max_size=3).map(tuple)
logins = peers.map(lambda peer: encode(Auth(peer, TOKEN)))
# What clients of ours may send after their login; an empty list is accepted, though nobody encodes it.
sensible = st.one_of(
    st.builds(Transport, peers, st.binary(max_size=60)).map(encode),
    subscribed.filter(bool).map(lambda ids: encode(SubscribePeerState(ids))),
    subscribed.filter(bool).map(lambda ids: encode(UnsubscribePeerState(ids))),
    st.just(encode(HealthCheck())),
)
anything = st.one_of(
    logins,
    st.just(encode(Close())),
    st.binary(max_size=120),
    client_frames.map(encode),
    server_frames.map(encode),
    st.binary(max_size=80).map(lambda tail: b"\x01\x03" + tail),
)
choices = st.integers(0, 50)


class AnyClients(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.server = RelayServer(URL, KEY, lambda: UNIX_NOW, LIMITS)
        self.live: list[Connection] = []
        self.blocked: set[int] = set()
        self.answered: set[int] = set()
        self.told: dict[tuple[int, PeerId], bool] = {}

    def pick(self, choice: int) -> Connection:
        return self.live[choice % len(self.live)]

    @rule()
    def connect(self) -> None:
        connection = self.server.accept(self.now)
        assert (connection is None) == (len(self.live) == LIMITS.connections)
        if connection is not None:
            self.live.append(connection)

    @precondition(lambda self: self.live)
    @rule(choice=choices, data=logins)
    def log_in(self, choice: int, data: bytes) -> None:
        self.server.receive_data(self.pick(choice), data, self.now)

    @precondition(lambda self: self.live)
    @rule(choice=choices, data=sensible)
    def say(self, choice: int, data: bytes) -> None:
        self.server.receive_data(self.pick(choice), data, self.now)

    @precondition(lambda self: self.live)
    @rule(choice=choices, data=anything)
    def say_anything(self, choice: int, data: bytes) -> None:
        self.server.receive_data(self.pick(choice), data, self.now)

    @precondition(lambda self: self.live)
    @rule(choice=choices)
    def break_off(self, choice: int) -> None:
        self.server.connection_lost(self.pick(choice), "reset")

    @precondition(lambda self: self.live)
    @rule(choice=choices, writable=st.booleans())
    def fill_or_empty(self, choice: int, writable: bool) -> None:
        connection = self.pick(choice)
        self.server.set_writable(connection, writable, self.now)
        (self.blocked.discard if writable else self.blocked.add)(connection.number)

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.server.handle_timeout(self.now)

    @invariant()
    def work_off(self) -> None:
        while (event := self.server.next_event()) is not None:
            if isinstance(event, ConnectionClosed):
                (gone,) = (connection for connection in self.live if connection.number == event.connection)
                self.live.remove(gone)  # closed once, and only what was open
        for connection, messages in self.server.data_to_send():
            assert connection.number not in self.blocked
            for message in messages:
                self.take(connection, message)
        assert self.server.connections == len(self.live)
        assert self.server.peers == len({connection.peer for connection in self.live} - {None})
        due = self.server.next_timeout()
        assert due is None or due >= self.now

    def take(self, connection: Connection, message: bytes) -> None:
        frame = decode_from_server(message)
        if connection.number not in self.answered:
            assert frame == AuthResponse(URL), "nothing comes before it"
            self.answered.add(connection.number)
        match frame:
            case PeersOnline(ids) | PeersWentOffline(ids):
                for peer in ids:
                    self.told[connection.number, peer] = isinstance(frame, PeersOnline)

    @invariant()
    def nobody_is_told_that_an_absent_peer_is_online(self) -> None:
        here = {connection.peer for connection in self.live}
        for connection in self.live:
            if connection.number not in self.blocked:
                for peer in connection.wants_offline:
                    assert not self.told.get((connection.number, peer)) or peer in here

    @invariant()
    def everything_is_bounded(self) -> None:
        server = self.server
        for connection in self.live:
            assert connection.queue_len <= LIMITS.queue_len
            assert len(connection.queue) <= LIMITS.queue_len // 38 + 3
            assert connection.wants_online <= connection.wants_offline
            assert len(connection.wants_offline) <= LIMITS.subscriptions
            assert len(connection.presence) <= LIMITS.subscriptions
        watched = sum(map(len, server._offline_watchers.values()))
        assert watched == sum(len(connection.wants_offline) for connection in self.live)
        assert sum(map(len, server._online_watchers.values())) == sum(len(c.wants_online) for c in self.live)
        assert len(server._marked) <= 2 * LIMITS.connections


AnyClients.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyClients = AnyClients.TestCase
