"""A client of a relay server, in virtual time; the server is what the test says."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.keys import Secret
from tests.transport.relay.test_codec import client_frames, server_frames
from transport.relay.client import (
    AUTH_RESPONSE_TIMEOUT_S,
    GONE_AFTER_S,
    HEALTH_TICK_S,
    MAX_EARLY_PACKETS,
    MAX_QUEUED_PACKETS,
    SUBSCRIBE_AGAIN_S,
    SUBSCRIBE_REPEAT_S,
    Closed,
    RelayClient,
)
from transport.relay.codec import decode_from_client, encode
from transport.relay.events import (
    ClientEvent,
    LinkClosed,
    LoggedIn,
    PacketsReceived,
    PeerAbsent,
    PeerGone,
    PeerOnline,
    PingWanted,
)
from transport.relay.frames import (
    MAX_PAYLOAD_LEN,
    Auth,
    AuthResponse,
    Close,
    FromClient,
    FromServer,
    HealthCheck,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    Transport,
    UnsubscribePeerState,
    peer_id,
)
from transport.relay.signs import Signs

ALICE, BOB, CAROL = peer_id("alice"), peer_id("bob"), peer_id("carol")
URL = "rel://relay.example:80"


class End:
    """A client under test, with a clock."""

    def __init__(self, *, logged_in: bool = True) -> None:
        self.now = 100.0
        self.client = RelayClient(ALICE, Secret(b"token"), self.now)
        if logged_in:
            self.hears(AuthResponse(URL))
            assert self.events() == [LoggedIn(URL)]
            assert self.sent() == [Auth(ALICE, b"token")]

    def hears(self, *frames: FromServer) -> None:
        for frame in frames:
            self.client.receive_data(encode(frame), self.now)

    def sent(self) -> list[FromClient]:
        return [decode_from_client(message) for message in self.client.data_to_send()]

    def events(self) -> list[ClientEvent]:
        events = []
        while (event := self.client.next_event()) is not None:
            events.append(event)
        return events

    def passes(self, seconds: float, *, answering: bool = True) -> None:
        """Let time pass; pings are answered unless told otherwise, and the server checks health."""
        end, checked_at = self.now + seconds, self.now
        while (at := self.client.next_timeout()) is not None and at <= end:
            self.now = at
            if answering and self.now - checked_at > 20.0:
                checked_at = self.now
                self.hears(HealthCheck())
                assert self.client.data_to_send()[-1:] == [encode(HealthCheck())]
            self.client.handle_timeout(self.now)
            if answering and self.client._events and self.client._events[-1] == PingWanted():
                self.client._events.pop()
                self.client.receive_pong(self.now)
        self.now = end


def test_auth_is_the_first_thing_sent() -> None:
    assert End(logged_in=False).sent() == [Auth(ALICE, b"token")]


def test_no_answer_to_auth_for_8_s_ends_the_link() -> None:
    end = End(logged_in=False)
    end.passes(AUTH_RESPONSE_TIMEOUT_S - 0.1)
    assert end.events() == []
    end.passes(0.1)
    assert end.events() == [LinkClosed("no answer to our login within 8 s", was_open=False)]
    assert end.client.next_timeout() is None


def test_a_server_that_closes_during_login_has_refused_us() -> None:
    end = End(logged_in=False)
    end.client.connection_lost("connection closed")
    (closed,) = end.events()
    assert isinstance(closed, LinkClosed)
    assert "refused our secret or token" in closed.reason
    assert not closed.was_open


def test_packets_before_the_answer_to_auth_are_kept_for_after_it() -> None:
    end = End(logged_in=False)
    end.hears(Transport(BOB, b"early"), Transport(BOB, b"bird"), AuthResponse(URL))
    assert end.events() == [LoggedIn(URL), PacketsReceived(BOB, [b"early", b"bird"])]


def test_early_packets_are_bounded() -> None:
    end = End(logged_in=False)
    end.hears(*[Transport(BOB, b"early")] * (MAX_EARLY_PACKETS + 3), AuthResponse(URL))
    assert end.client.drops == {"early": 3}


@pytest.mark.parametrize("frame", [HealthCheck(), PeersOnline((BOB,)), Close()])
def test_anything_else_before_the_answer_to_auth_ends_the_link(frame: FromServer) -> None:
    end = End(logged_in=False)
    end.hears(frame)
    (closed,) = end.events()
    assert isinstance(closed, LinkClosed)
    assert type(frame).__name__ in closed.reason


@pytest.mark.parametrize("data", [b"", b"\x02\x07rel://x", b"\x01\x06" + bytes(50), b"\x01\x07"])
def test_bytes_that_are_no_answer_to_auth_end_the_link(data: bytes) -> None:
    end = End(logged_in=False)
    end.client.receive_data(data, end.now)
    assert isinstance(end.client.state, Closed)


def test_a_health_check_is_answered_at_once() -> None:
    end = End()
    end.hears(HealthCheck())
    assert end.sent() == [HealthCheck()]


def test_a_tick_without_a_health_check_ends_the_link() -> None:
    end = End()
    for _ in range(2):
        end.now += HEALTH_TICK_S - 1
        end.hears(HealthCheck())
        end.now += 1
        end.client.handle_timeout(end.now)
    assert end.events() == []
    end.now += HEALTH_TICK_S - 1
    end.hears(PeersOnline((BOB,)))  # other messages do not count
    end.now += 1
    end.client.handle_timeout(end.now)
    assert end.events()[-1] == LinkClosed(
        "half-open: no health check of the relay server within 35 s", was_open=True, half_open=True
    )


def test_a_late_tick_asks_before_it_judges() -> None:  # a sleep outlasted it; what the server sent waits to be read
    end = End()
    end.now += 300.0
    end.client.handle_timeout(end.now)
    assert end.events() == [PingWanted()]
    end.client.receive_pong(end.now)
    end.hears(HealthCheck())
    end.now += HEALTH_TICK_S
    end.client.handle_timeout(end.now)
    assert not isinstance(end.client.state, Closed)


def test_opening_a_peer_waits_for_the_server_to_see_it() -> None:
    end = End()
    end.client.open(BOB, 30.0, end.now)
    assert end.sent() == [SubscribePeerState((BOB,))]
    end.passes(3.0)
    assert end.events() == []
    end.hears(PeersOnline((CAROL, BOB)))
    assert end.events() == [PeerOnline(BOB)]
    end.hears(PeersOnline((BOB,)))
    assert end.events() == []


def test_while_waiting_the_subscription_is_repeated_and_then_given_up() -> None:
    end = End()
    end.client.open(BOB, 12.0, end.now)
    end.sent()
    for wait_s in (SUBSCRIBE_AGAIN_S, SUBSCRIBE_REPEAT_S, SUBSCRIBE_REPEAT_S):
        end.passes(wait_s - 0.1)
        assert end.sent() == []
        end.passes(0.1)
        assert end.sent() == [SubscribePeerState((BOB,))]
    end.passes(1.0)
    assert end.sent() == [UnsubscribePeerState((BOB,))]
    absent = PeerAbsent(BOB, "the remote did not come to this relay server within 12 s")
    assert end.events() == [PingWanted(), absent]  # the last question is 1 s old


def test_opening_during_login_subscribes_after_it() -> None:
    end = End(logged_in=False)
    end.client.open(BOB, 30.0, end.now)
    assert end.sent() == [Auth(ALICE, b"token")]
    end.passes(2 * SUBSCRIBE_AGAIN_S)
    end.hears(AuthResponse(URL))
    assert end.sent() == [SubscribePeerState((BOB,))]
    end.passes(SUBSCRIBE_AGAIN_S - 0.1)
    assert end.sent() == []
    end.passes(0.1)
    assert end.sent() == [SubscribePeerState((BOB,))]


def online(end: End) -> End:
    end.client.open(BOB, 30.0, end.now)
    end.hears(PeersOnline((BOB,)))
    assert end.events() == [PeerOnline(BOB)]
    end.sent()
    return end


def test_offline_is_checked_by_a_fresh_subscription_before_it_is_believed() -> None:
    end = online(End())
    end.hears(PeersWentOffline((BOB,)))
    assert end.sent() == [SubscribePeerState((BOB,))]
    end.passes(GONE_AFTER_S / 2)
    end.hears(PeersOnline((BOB,)))
    end.passes(10.0)
    assert end.events() == []


def test_a_peer_that_does_not_come_back_is_gone() -> None:
    end = online(End())
    end.hears(PeersWentOffline((BOB,)))
    end.passes(GONE_AFTER_S)
    assert end.events() == [PingWanted(), PeerGone(BOB, "the remote left this relay server")]
    assert end.sent() == [SubscribePeerState((BOB,)), UnsubscribePeerState((BOB,))]


def test_offline_while_waiting_is_no_end_of_the_wait() -> None:
    end = End()
    end.client.open(BOB, 30.0, end.now)
    end.hears(PeersWentOffline((BOB,)))
    assert end.sent() == [SubscribePeerState((BOB,))] * 2
    end.hears(PeersOnline((BOB,)))
    assert end.events() == [PeerOnline(BOB)]


def test_presence_of_peers_that_nobody_asked_for_is_ignored() -> None:
    end = End()
    end.hears(PeersOnline((BOB,)), PeersWentOffline((BOB,)))
    assert end.events() == []
    assert end.sent() == []


def test_closing_a_peer_unsubscribes_once() -> None:
    end = online(End())
    end.client.close_peer(BOB)
    end.client.close_peer(BOB)
    assert end.sent() == [UnsubscribePeerState((BOB,))]
    end.hears(PeersWentOffline((BOB,)))
    assert end.sent() == []


def test_packets_go_to_any_peer_and_come_from_any() -> None:
    end = End()
    assert end.client.send(CAROL, [b"one", b"two"], end.now) == 2
    assert end.sent() == [Transport(CAROL, b"one"), Transport(CAROL, b"two")]
    end.hears(Transport(CAROL, b"three"), Transport(CAROL, b""), Transport(BOB, b"four"))
    assert end.events() == [PacketsReceived(CAROL, [b"three", b""]), PacketsReceived(BOB, [b"four"])]


def test_a_payload_that_would_break_the_link_is_refused() -> None:
    end = End()
    assert end.client.send(BOB, [bytes(MAX_PAYLOAD_LEN + 1), bytes(MAX_PAYLOAD_LEN)], end.now) == 1
    assert end.client.drops == {"too_long": 1}
    assert len(end.sent()) == 1


def test_packets_before_login_are_dropped_and_counted() -> None:
    end = End(logged_in=False)
    assert end.client.send(BOB, [b"one", b"two"], end.now) == 0
    assert end.client.drops == {"not_open": 2}


def test_a_driver_that_does_not_take_what_is_sent_does_not_grow_us() -> None:
    end = End()
    assert end.client.send(BOB, [b"x"] * (MAX_QUEUED_PACKETS + 5), end.now) == MAX_QUEUED_PACKETS
    assert end.client.drops == {"outbox_full": 5}


def test_silence_in_use_is_probed_and_ends_the_link() -> None:
    end = End()
    end.client.send(BOB, [b"hello"], end.now)
    end.passes(3.0, answering=False)
    pinged, again, closed = end.events()
    assert pinged == again == PingWanted()
    assert closed == LinkClosed("half-open: nothing heard for 3.0 s, pings unanswered", was_open=True, half_open=True)
    assert end.client.next_timeout() is None


def test_a_doubted_link_is_pinged_at_once_and_soon_given_up() -> None:
    end = End()  # whose login took no time
    end.passes(10.0)
    end.client.prove_now(end.now)
    assert end.events() == [PingWanted()]
    end.passes(0.6, answering=False)
    again, closed = end.events()
    assert again == PingWanted()
    assert isinstance(closed, LinkClosed)


def test_a_doubted_link_that_answers_stays_and_one_that_logs_in_is_left_to_its_limit() -> None:
    end = End()
    end.client.prove_now(end.now)
    assert end.events() == [PingWanted()]
    end.client.receive_pong(end.now)
    end.passes(600.0)
    assert end.events() == []
    early = End(logged_in=False)
    early.client.prove_now(early.now)
    assert early.events() == []


def test_a_link_whose_pings_are_answered_stays() -> None:
    end = End()
    end.client.send(BOB, [b"hello"], end.now)
    end.passes(600.0)
    assert end.events() == []
    assert end.client.rtt_s is not None


def test_close_of_the_server_ends_the_link() -> None:
    end = End()
    end.hears(Close())
    assert end.events() == [LinkClosed("the relay server said Close", was_open=True)]


def test_our_own_close_is_said_and_nothing_after_it() -> None:
    end = online(End())
    end.client.close("not needed")
    assert end.sent() == [Close()]
    assert end.events() == [LinkClosed("not needed", was_open=True)]
    end.hears(Transport(BOB, b"late"), HealthCheck())
    end.client.connection_lost("closed")
    end.client.open(BOB, 1.0, end.now)
    end.client.send(BOB, [b"late"], end.now)
    end.client.close_peer(BOB)
    assert end.sent() == []
    assert end.events() == []


def test_frames_that_are_wrong_after_login_are_counted_and_ignored() -> None:
    end = End()
    for data in (b"", b"\x01", b"\x02\x05", b"\x01\x63", b"\x01\x03short", b"\x01\x0a" + bytes(35)):
        end.client.receive_data(data, end.now)
    end.hears(AuthResponse("rel://other"))
    assert end.events() == []
    assert end.client.drops == {"bad_frame": 6, "unexpected_frame": 1}


messages = st.one_of(server_frames.map(encode), client_frames.map(encode), st.binary(max_size=90))
presence = st.sampled_from([encode(PeersOnline((BOB,))), encode(PeersWentOffline((BOB,)))])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("message"), messages),
        st.tuples(st.just("presence"), presence),
        st.tuples(st.just("wait"), st.floats(0.0, 40.0)),
        st.tuples(st.just("do"), st.sampled_from(["open", "close_peer", "send", "pong", "close", "lost"])),
    ),
    max_size=40,
)


@given(logged_in=st.booleans(), steps=steps)
def test_whatever_a_server_says_the_client_goes_on_or_closes_once(
    logged_in: bool, steps: list[tuple[str, object]]
) -> None:
    end = End(logged_in=logged_in)
    closed = 0
    for step, what in steps:
        match step, what:
            case ("message" | "presence", bytes(data)):
                end.client.receive_data(data, end.now)
            case ("wait", float(seconds)):
                end.passes(seconds, answering=False)
            case (_, "open"):
                end.client.open(BOB, 9.0, end.now)
            case (_, "close_peer"):
                end.client.close_peer(BOB)
            case (_, "send"):
                end.client.send(BOB, [b"data"], end.now)
            case (_, "pong"):
                end.client.receive_pong(end.now)
            case (_, "close"):
                end.client.close("done")
            case (_, "lost"):
                end.client.connection_lost("gone")
        for frame in end.sent():
            assert encode(frame)
        closed += sum(isinstance(event, LinkClosed) for event in end.events())
        assert closed == isinstance(end.client.state, Closed)
        due = end.client.next_timeout()
        assert due is None or due > end.now - 1e-9


@pytest.mark.parametrize(("lost", "ends"), [(0, True), (20, False)])
def test_a_health_check_may_be_late_on_a_link_that_loses_packets(lost: int, ends: bool) -> None:
    looks = count()

    def signs() -> Signs:
        number = next(looks)
        return Signs(0.0, False, 100 * number, lost * number, 0, False)

    client = RelayClient(ALICE, Secret(b"token"), 100.0, signs)
    client.receive_data(encode(AuthResponse(URL)), 100.0)
    for second in range(101, 136):
        client.send(BOB, [b"hello"], float(second))
        client.handle_timeout(second + 0.1)
        client.receive_data(encode(PeersOnline((BOB,))), second + 0.2)
    assert isinstance(client.state, Closed) == ends
