"""A relay server with several clients, in virtual time; the clients are what the test says."""

from collections.abc import Callable

import pytest

from config.keys import Secret
from tests.transport.relay.vectors import message
from transport.relay.auth import key_of, make_token
from transport.relay.codec import decode_from_server, encode
from transport.relay.events import ConnectionClosed, PeerJoined, ServerEvent
from transport.relay.frames import (
    HEALTH_CHECK_PEER_ID,
    MAX_PEER_IDS,
    Auth,
    AuthResponse,
    Close,
    FromClient,
    FromServer,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    Transport,
    UnsubscribePeerState,
    peer_id,
)
from transport.relay.server import (
    AUTH_TIMEOUT_S,
    HEALTH_CHECK_INTERVAL_S,
    HEALTH_TICK_S,
    STUCK_AFTER_S,
    Connection,
    Limits,
    RelayServer,
)

ALICE, BOB, CAROL = peer_id("alice"), peer_id("bob"), peer_id("carol")
URL = "rel://relay.example"
KEY = key_of(Secret(b"verysecret"))
UNIX_NOW = 1_800_000_000.0
TOKEN = make_token(KEY, UNIX_NOW).value


class Hub:
    """A server under test, with a clock and the mail of its clients."""

    def __init__(self, limits: Limits | None = None, unix_now: Callable[[], float] = lambda: UNIX_NOW) -> None:
        self.now = 50.0
        self.server = RelayServer(URL, KEY, unix_now, limits)
        self._mail: dict[int, list[FromServer]] = {}

    def connect(self) -> Connection:
        connection = self.server.accept(self.now)
        assert connection is not None
        return connection

    def login(self, peer: PeerId) -> Connection:
        connection = self.connect()
        self.says(connection, Auth(peer, TOKEN))
        assert self.mail(connection) == [AuthResponse(URL)]
        return connection

    def says(self, connection: Connection, *frames: FromClient) -> None:
        for frame in frames:
            self.server.receive_data(connection, encode(frame), self.now)

    def mail(self, connection: Connection) -> list[FromServer]:
        for to, messages in self.server.data_to_send():
            self._mail.setdefault(to.number, []).extend(map(decode_from_server, messages))
        return self._mail.pop(connection.number, [])

    def events(self) -> list[ServerEvent]:
        events = []
        while (event := self.server.next_event()) is not None:
            events.append(event)
        return events

    def closings(self) -> list[str]:
        return [event.reason for event in self.events() if isinstance(event, ConnectionClosed)]

    def passes(self, seconds: float, answering: tuple[Connection, ...] = ()) -> None:
        end = self.now + seconds
        while (at := self.server.next_timeout()) is not None and at <= end:
            self.now = at
            self.server.handle_timeout(at)
            for connection in answering:
                self.says(connection, HealthCheck())
        self.now = end


# --- login ---


def test_a_login_is_answered_with_the_servers_own_url() -> None:
    hub = Hub()
    connection = hub.login(ALICE)
    assert hub.events() == [PeerJoined(connection.number, ALICE, replaced=False)]
    assert hub.server.peers == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x02\x06" + bytes(60),
        b"\x01\x01" + bytes(60),  # the legacy Hello
        b"\x01\x07rel://x",
        b"\x01\x05",
        b"\x01\x03" + bytes(60),
        b"\x01\x06" + bytes(60),  # no magic
        encode(Auth(ALICE, b"")),
        encode(Auth(ALICE, b"\x01" + bytes(32) + b"4102444800")),
    ],
)
def test_anything_but_a_good_login_closes_without_an_answer(data: bytes) -> None:
    hub = Hub()
    connection = hub.connect()
    hub.server.receive_data(connection, data, hub.now)
    assert hub.mail(connection) == []
    (closed,) = hub.events()
    assert isinstance(closed, ConnectionClosed)
    assert not closed.expected
    assert hub.server.connections == 0


def test_the_health_checks_own_login_is_no_news() -> None:
    hub = Hub()
    connection = hub.connect()
    hub.says(connection, Auth(HEALTH_CHECK_PEER_ID, message("health_check_token")))
    (closed,) = hub.events()
    assert isinstance(closed, ConnectionClosed)
    assert closed.expected


def test_a_token_expires_by_the_servers_wall_clock() -> None:
    hub = Hub(unix_now=lambda: UNIX_NOW + 3 * 86_400)
    hub.says(hub.connect(), Auth(ALICE, TOKEN))
    assert hub.closings() == ["login refused: expired 86400 s ago"]


def test_no_login_for_10_s_closes() -> None:
    hub = Hub()
    hub.connect()
    hub.passes(AUTH_TIMEOUT_S - 0.1)
    assert hub.closings() == []
    hub.passes(0.1)
    assert hub.closings() == ["no login within 10 s"]


def test_what_a_client_sends_behind_its_login_is_served_and_comes_after_the_answer() -> None:
    hub = Hub()
    bob = hub.login(BOB)
    alice = hub.connect()
    hub.says(alice, Auth(ALICE, TOKEN), SubscribePeerState((BOB,)), Transport(BOB, b"hi"), Transport(ALICE, b"me"))
    hub.says(bob, Transport(ALICE, b"you"))
    assert hub.mail(alice) == [
        AuthResponse(URL),
        Transport(ALICE, b"me"),
        Transport(BOB, b"you"),
        PeersOnline((BOB,)),
    ]
    assert hub.mail(bob) == [Transport(ALICE, b"hi")]


def test_a_newer_login_takes_the_place_of_the_older_without_anybody_going_offline() -> None:
    hub = Hub()
    alice, older = hub.login(ALICE), hub.login(BOB)
    hub.says(alice, SubscribePeerState((BOB,)))
    assert hub.mail(alice) == [PeersOnline((BOB,))]
    hub.events()
    newer = hub.login(BOB)
    assert hub.events() == [
        ConnectionClosed(older.number, BOB, "the same peer logged in anew", expected=False),
        PeerJoined(newer.number, BOB, replaced=True),
    ]
    assert hub.mail(alice) == [PeersOnline((BOB,))]  # an answer to subscribing leaves the interest in place
    hub.server.connection_lost(older, "closed")
    hub.says(older, Transport(ALICE, b"from the grave"))
    assert hub.mail(alice) == []
    hub.says(alice, Transport(BOB, b"hi"))
    assert hub.mail(newer) == [Transport(ALICE, b"hi")]
    assert hub.server.replaced == 1


# --- routing ---


def test_packets_arrive_with_their_senders_true_id() -> None:
    hub = Hub()
    alice, bob = hub.login(ALICE), hub.login(BOB)
    hub.says(alice, Transport(BOB, b"one"), Transport(BOB, b""), Transport(ALICE, b"echo"))
    assert hub.mail(bob) == [Transport(ALICE, b"one"), Transport(ALICE, b"")]
    assert hub.mail(alice) == [Transport(ALICE, b"echo")]
    assert hub.server.received_len == hub.server.sent_len == 3 * 38 + 7
    assert hub.server.active_peers(hub.now) == 1


def test_who_sends_only_to_himself_counts_as_idle() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.login(BOB)
    hub.says(alice, Transport(ALICE, b"probe"))
    assert hub.mail(alice) == [Transport(ALICE, b"probe")]
    assert hub.server.active_peers(hub.now) == 0
    hub.says(alice, Transport(BOB, b"traffic"))
    assert hub.server.active_peers(hub.now) == 1


def test_packets_for_nobody_are_dropped_silently() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.says(alice, Transport(BOB, b"anyone?"))
    assert hub.mail(alice) == []
    assert hub.server.drops == {"unknown_destination": 1}
    hub.events()
    assert hub.closings() == []


def test_a_receiver_that_does_not_read_costs_packets_but_delays_nobody() -> None:
    hub = Hub(Limits(queue_len=500))
    alice, slow, carol = hub.login(ALICE), hub.login(BOB), hub.login(CAROL)
    hub.server.set_writable(slow, False, hub.now)
    hub.says(alice, *[Transport(BOB, bytes(62))] * 9, Transport(CAROL, b"quick"))
    assert hub.mail(carol) == [Transport(ALICE, b"quick")]
    assert hub.mail(slow) == []
    assert hub.server.drops == {"queue_full": 4}
    hub.server.set_writable(slow, True, hub.now)
    assert hub.mail(slow) == [Transport(ALICE, bytes(62))] * 5


def test_a_receiver_that_takes_nothing_for_10_s_is_closed() -> None:
    hub = Hub()
    alice, bob = hub.login(ALICE), hub.login(BOB)
    hub.says(alice, SubscribePeerState((BOB,)))
    hub.events()
    hub.server.set_writable(bob, False, hub.now)
    hub.passes(STUCK_AFTER_S - 0.1)
    hub.server.set_writable(bob, True, hub.now)
    hub.server.set_writable(bob, False, hub.now)
    hub.passes(STUCK_AFTER_S - 0.1)
    assert hub.closings() == []
    hub.passes(0.2)
    assert hub.closings() == ["took nothing of what it was sent for 10 s"]
    assert hub.mail(alice)[-1] == PeersWentOffline((BOB,))


def test_wrong_frames_after_login_are_ignored_or_close_as_specified() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.events()
    for data in (b"\x01\x03short", b"\x01\x08" + bytes(35), encode(Auth(ALICE, TOKEN))):
        hub.server.receive_data(alice, data, hub.now)
    assert hub.closings() == []
    assert hub.server.drops == {"bad_frame": 2, "unexpected_frame": 1}
    for data in (b"\x02\x05", b"\x01", b"\x01\x63", b"\x01\x0a" + bytes(36), b"\x01\x03" + bytes(9000)):
        connection = hub.login(ALICE)
        hub.events()
        hub.server.receive_data(connection, data, hub.now)
        assert len(hub.closings()) == 1, data


# --- presence ---


def test_a_subscriber_is_told_now_once_more_and_of_every_leaving() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.says(alice, SubscribePeerState((BOB, CAROL)))
    assert hub.mail(alice) == []
    bob = hub.login(BOB)
    assert hub.mail(alice) == [PeersOnline((BOB,))]
    hub.says(bob, Close())
    assert hub.mail(alice) == [PeersWentOffline((BOB,))]
    bob = hub.login(BOB)
    assert hub.mail(alice) == []  # the interest in online was used up
    hub.server.connection_lost(bob, "reset")
    assert hub.mail(alice) == [PeersWentOffline((BOB,))]
    hub.says(alice, UnsubscribePeerState((BOB,)))
    hub.server.connection_lost(hub.login(BOB), "reset")
    assert hub.mail(alice) == []


def test_a_repeated_subscription_is_answered_again() -> None:
    hub = Hub()
    alice, _bob = hub.login(ALICE), hub.login(BOB)
    for _ in range(2):
        hub.says(alice, SubscribePeerState((BOB,)))
        assert hub.mail(alice) == [PeersOnline((BOB,))]


def test_of_several_changes_only_the_last_is_told_and_in_true_order() -> None:
    hub = Hub()
    alice, bob = hub.login(ALICE), hub.login(BOB)
    hub.says(alice, SubscribePeerState((BOB, CAROL)))
    hub.mail(alice)
    hub.server.connection_lost(bob, "reset")
    hub.says(hub.connect(), Auth(CAROL, TOKEN))
    hub.says(hub.connect(), Auth(BOB, TOKEN))
    assert hub.mail(alice) == [PeersOnline((CAROL, BOB))]
    hub.server.connection_lost(hub.login(BOB), "reset")
    hub.says(alice, SubscribePeerState((CAROL,)))
    assert hub.mail(alice) == [PeersWentOffline((BOB,)), PeersOnline((CAROL,))]


def test_long_lists_are_split() -> None:
    hub = Hub()
    peers = tuple(peer_id(str(number)) for number in range(MAX_PEER_IDS + 1))
    for peer in peers:
        hub.login(peer)
    alice = hub.login(ALICE)
    hub.says(alice, SubscribePeerState(peers[:200]), SubscribePeerState(peers[200:]))
    assert hub.mail(alice) == [PeersOnline(peers[:MAX_PEER_IDS]), PeersOnline(peers[MAX_PEER_IDS:])]


def test_presence_for_a_receiver_that_does_not_read_is_one_state_a_peer() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.says(alice, SubscribePeerState((BOB,)))
    hub.server.set_writable(alice, False, hub.now)
    for _ in range(100):
        connection = hub.connect()
        hub.says(connection, Auth(BOB, TOKEN), Close())
    assert hub.mail(alice) == []
    hub.server.set_writable(alice, True, hub.now)
    assert hub.mail(alice) == [PeersWentOffline((BOB,))]


# --- health and limits ---


def test_health_is_asked_every_25_s_and_must_be_answered_within_the_45_s_tick() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.events()
    hub.passes(HEALTH_CHECK_INTERVAL_S)
    assert hub.mail(alice) == [HealthCheck()]
    hub.says(alice, HealthCheck())
    hub.passes(HEALTH_CHECK_INTERVAL_S)
    assert hub.mail(alice) == [HealthCheck()]
    assert hub.closings() == []
    hub.passes(2 * HEALTH_TICK_S - 2 * HEALTH_CHECK_INTERVAL_S)
    assert hub.closings() == ["no health check answered within 45 s"]


def test_a_client_that_answers_stays() -> None:
    hub = Hub()
    alice = hub.login(ALICE)
    hub.events()
    hub.passes(3600.0, answering=(alice,))
    assert hub.closings() == []
    assert len(hub.server._timers) < 10


def test_connections_are_limited() -> None:
    hub = Hub(Limits(connections=2))
    alice = hub.login(ALICE)
    hub.login(BOB)
    assert hub.server.accept(hub.now) is None
    assert hub.server.drops == {"connections_full": 1}
    hub.server.connection_lost(alice, "closed")
    assert hub.server.accept(hub.now) is not None


def test_subscriptions_are_limited() -> None:
    hub = Hub(Limits(subscriptions=2))
    alice, _carol = hub.login(ALICE), hub.login(CAROL)
    hub.says(alice, SubscribePeerState((ALICE, BOB, CAROL)), SubscribePeerState((BOB,)))
    assert hub.mail(alice) == [PeersOnline((ALICE,))]
    assert hub.server.drops == {"subscriptions_full": 1}
    hub.says(alice, UnsubscribePeerState((BOB,)), SubscribePeerState((CAROL,)))
    assert hub.mail(alice) == [PeersOnline((CAROL,))]


def test_shutdown_says_close_to_all_and_takes_nobody_in() -> None:
    hub = Hub()
    alice, bob, newcomer = hub.login(ALICE), hub.login(BOB), hub.connect()
    hub.says(alice, SubscribePeerState((BOB,)))
    hub.mail(alice)
    hub.events()
    hub.server.shutdown()
    assert hub.mail(alice) == [Close()]
    assert hub.mail(bob) == [Close()]
    assert hub.mail(newcomer) == []
    assert all(isinstance(event, ConnectionClosed) and event.flush for event in hub.events())
    assert hub.server.accept(hub.now) is None
    assert hub.server.connections == hub.server.peers == 0
