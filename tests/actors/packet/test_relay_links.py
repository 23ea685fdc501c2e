"""RELAY_LINKS: mail of the control side and news of the sockets in, mail and requests out, in virtual time."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.addresses import CONTROL_0, RELAYS, peer_addresses
from actors.effects import Effect, Send
from actors.messages.packet import (
    CloseLink,
    CloseOnLink,
    LinkClosed,
    LinkOpened,
    LinkSnapshot,
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
from actors.packet.relay_link import DIAL_LIMIT_S, Abort, Dial, Packets, Ping, Request, SendMessages, Serving
from actors.packet.relay_links import MAX_LINKS, RelayLinks
from config.keys import PublicKey, Secret, encode_key
from config.schema import RelayCredentials
from tests.transport.relay.test_codec import client_frames, server_frames
from transport.relay.codec import decode_from_client, encode
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

ALICE, BOB, CAROL, STRANGER = (PublicKey(encode_key(bytes([number]) * 32)) for number in range(1, 5))
URL, INSTANCE = "rel://relay.example:80", "rel://relay-7.example:80"
CREDENTIALS = RelayCredentials(secret=Secret(b"verysecret"))
UNIX_NOW = 1_800_000_000.0


class Hub:
    """RELAY_LINKS of alice under test; the test is both the control side and the sockets."""

    def __init__(self, credentials: RelayCredentials | None = CREDENTIALS) -> None:
        self.now = 10.0
        self.links = RelayLinks(ALICE, credentials, (CONTROL_0,), lambda: UNIX_NOW)
        self.links.known_peers([BOB, CAROL])

    def tell(self, message: RelayLinksInbox) -> list[msgspec.Struct]:
        return mail(self.links.handle(message, self.now))

    def hears(self, link: int, *frames: FromServer) -> list[msgspec.Struct]:
        return mail(self.links.received(link, [encode(frame) for frame in frames], self.now))

    def asked(self) -> list[Request | FromClient]:
        """Return what the driver was asked, the messages to send as frames."""
        asked: list[Request | FromClient] = []
        for request in self.links.requests():
            if isinstance(request, SendMessages):
                asked.extend(decode_from_client(message) for message in request.messages)
            else:
                asked.append(request)
        return asked

    def open_link(self, link: int = 1) -> None:
        assert self.tell(OpenLink(link=link, url=URL)) == []
        assert mail(self.links.connected(link, "192.0.2.1", self.now)) == []
        assert self.hears(link, AuthResponse(INSTANCE)) == [
            LinkOpened(link=link, instance_url=INSTANCE, server_ip="192.0.2.1")
        ]
        self.asked()

    def open_peer(self, peer: PublicKey = BOB, generation: int = 5, link: int = 1) -> None:
        assert self.tell(OpenOnLink(peer=peer, generation=generation, link=link)) == []
        assert self.hears(link, PeersOnline((peer_id(peer),))) == [
            RelayedOpened(peer=peer, generation=generation, link=link)
        ]
        self.asked()

    def passes(self, seconds: float) -> list[msgspec.Struct]:
        told, end = [], self.now + seconds
        while (at := self.links.next_timeout()) is not None and at <= end:
            self.now = at
            told += mail(self.links.handle_timeout(at))
        self.now = end
        return told


def mail(effects: Iterable[Effect]) -> list[msgspec.Struct]:
    """Return the messages, each checked to go where it belongs."""
    messages = []
    for effect in effects:
        assert isinstance(effect, Send)
        if isinstance(effect.message, LinkOpened | LinkClosed | RelayLinksSnapshot):
            assert effect.to == RELAYS
        else:
            assert effect.to == peer_addresses(effect.message.peer).relay_worker  # type: ignore[attr-defined]
        messages.append(effect.message)
    return messages


# --- links ---


def test_a_link_is_dialled_and_logs_in() -> None:
    hub = Hub()
    assert hub.tell(OpenLink(link=1, url=URL, server_ip="192.0.2.1")) == []
    assert hub.asked() == [Dial(1, URL, "192.0.2.1")]
    assert mail(hub.links.connected(1, "192.0.2.1", hub.now)) == []
    (auth,) = hub.asked()
    assert isinstance(auth, Auth)
    assert auth.peer == peer_id(ALICE)
    assert hub.hears(1, AuthResponse(INSTANCE)) == [LinkOpened(link=1, instance_url=INSTANCE, server_ip="192.0.2.1")]
    assert hub.links.state == Serving(links=1, open=1)
    assert hub.links.urls() == {1: INSTANCE}


def test_a_link_that_cannot_be_dialled_is_closed_with_the_reason() -> None:
    hub = Hub()
    hub.tell(OpenLink(link=1, url=URL))
    assert mail(hub.links.lost(1, "connection refused", hub.now)) == [
        LinkClosed(link=1, reason="connection refused", was_open=False)
    ]
    assert hub.asked()[-1] == Abort(1)
    assert hub.links.state == Serving(links=0, open=0)


def test_a_dial_that_nobody_answers_ends() -> None:
    hub = Hub()
    hub.tell(OpenLink(link=1, url=URL))
    assert hub.passes(DIAL_LIMIT_S) == [LinkClosed(link=1, reason="not connected within 30 s", was_open=False)]
    assert mail(hub.links.connected(1, "192.0.2.1", hub.now)) == []


def test_a_refused_login_says_what_our_clock_says() -> None:
    hub = Hub()
    hub.tell(OpenLink(link=1, url=URL))
    hub.links.connected(1, "192.0.2.1", hub.now)
    (closed,) = mail(hub.links.lost(1, "the other end closed the connection", hub.now))
    assert isinstance(closed, LinkClosed)
    assert "refused our secret or token" in closed.reason
    assert "our clock says 2027-01-15 08:00 UTC" in closed.reason
    assert not closed.was_open


def test_a_refused_token_that_is_old_is_told() -> None:
    hub = Hub(RelayCredentials(token=Secret(b"\x01" + bytes(32) + b"1799999400")))
    hub.tell(OpenLink(link=1, url=URL))
    hub.links.connected(1, "192.0.2.1", hub.now)
    (closed,) = mail(hub.links.lost(1, "closed", hub.now))
    assert isinstance(closed, LinkClosed)
    assert "our token expired 600 s ago, renew [relay] token_file" in closed.reason


def test_without_credentials_no_link_is_dialled() -> None:
    hub = Hub(credentials=None)
    (closed,) = hub.tell(OpenLink(link=1, url=URL))
    assert closed == LinkClosed(link=1, reason="no relay secret or token is configured", was_open=False)
    assert hub.asked() == []


def test_links_are_limited() -> None:
    hub = Hub()
    for link in range(MAX_LINKS):
        assert hub.tell(OpenLink(link=link, url=URL)) == []
    (closed,) = hub.tell(OpenLink(link=MAX_LINKS, url=URL))
    assert isinstance(closed, LinkClosed)


def test_closing_a_link_says_close_and_is_told() -> None:
    hub = Hub()
    hub.open_link()
    assert hub.tell(CloseLink(link=1)) == [LinkClosed(link=1, reason="closed by us", was_open=True)]
    assert hub.asked() == [Close(), Abort(1)]
    assert hub.tell(CloseLink(link=1)) == [LinkClosed(link=1, reason="it is not there", was_open=False)]


def test_closing_a_link_that_is_being_dialled_stops_the_dial() -> None:
    hub = Hub()
    hub.tell(OpenLink(link=1, url=URL))
    hub.asked()
    assert hub.tell(CloseLink(link=1)) == [LinkClosed(link=1, reason="closed by us", was_open=False)]
    assert hub.asked() == [Abort(1)]


def test_asked_twice_for_a_link_there_is_one() -> None:
    hub = Hub()
    hub.open_link()
    assert hub.tell(OpenLink(link=1, url=URL)) == [LinkOpened(link=1, instance_url=INSTANCE, server_ip="192.0.2.1")]
    assert hub.asked() == []


def test_relays_hears_of_a_broken_link_before_the_workers_do() -> None:
    hub = Hub()
    hub.open_link()
    hub.open_peer(BOB)
    hub.tell(OpenOnLink(peer=CAROL, generation=2, link=1))
    assert mail(hub.links.lost(1, "reset", hub.now)) == [
        LinkClosed(link=1, reason="reset", was_open=True),
        RelayedClosed(peer=BOB, generation=5, cause="link_closed", reason="the link closed: reset"),
        RelayedFailed(peer=CAROL, generation=2, reason="the link closed: reset"),
    ]
    assert mail(hub.links.lost(1, "again", hub.now)) == []


def test_one_links_end_leaves_the_others_alone() -> None:
    hub = Hub()
    hub.open_link(1)
    hub.open_link(2)
    hub.open_peer(BOB, generation=5, link=2)
    hub.links.lost(1, "reset", hub.now)
    assert hub.links.state == Serving(links=1, open=1)
    hub.links.send_packets(BOB, 2, [b"data"], hub.now)
    assert hub.asked()[-1] == Transport(peer_id(BOB), b"data")


def test_a_half_open_link_is_noticed_in_use_within_three_seconds() -> None:
    hub = Hub()
    hub.open_link()
    hub.open_peer(BOB)
    hub.links.send_packets(BOB, 1, [b"anyone?"], hub.now)
    closed, relayed = hub.passes(3.0)
    assert isinstance(closed, LinkClosed)
    assert closed.reason.startswith("half-open: nothing heard for 3.0 s")
    assert isinstance(relayed, RelayedClosed)
    assert [request for request in hub.asked() if isinstance(request, Ping | Abort)] == [Ping(1), Ping(1), Abort(1)]


def test_when_the_network_changed_every_open_link_is_pinged_at_once() -> None:
    hub = Hub()
    hub.open_link()
    hub.tell(OpenLink(link=2, url="rel://elsewhere.test:80"))  # still being dialled
    hub.asked()
    hub.tell(ProveLinksNow(reason="resumed"))
    assert hub.asked() == [Ping(1)]
    (closed,) = hub.passes(1.0)
    assert isinstance(closed, LinkClosed)
    assert closed.link == 1


def test_an_answered_ping_keeps_a_link() -> None:
    hub = Hub()
    hub.open_link()
    hub.links.send_packets(BOB, 1, [b"anyone?"], hub.now)
    assert hub.passes(1.5) == []
    hub.links.pong(1, hub.now)
    assert hub.passes(3.0) == []
    (link,) = hub.links.status().links
    assert link.rtt_s == pytest.approx(0.5)


# --- relayed connections ---


def test_a_relayed_connection_opens_when_the_peer_is_there() -> None:
    hub = Hub()
    hub.open_link()
    assert hub.tell(OpenOnLink(peer=BOB, generation=5, link=1)) == []
    assert hub.asked() == [SubscribePeerState((peer_id(BOB),))]
    assert hub.hears(1, PeersOnline((peer_id(BOB),))) == [RelayedOpened(peer=BOB, generation=5, link=1)]


def test_opening_on_a_link_that_is_dialled_waits_for_it() -> None:
    hub = Hub()
    hub.tell(OpenLink(link=1, url=URL))
    assert hub.tell(OpenOnLink(peer=BOB, generation=5, link=1)) == []
    hub.links.connected(1, "192.0.2.1", hub.now)
    assert len(hub.hears(1, AuthResponse(INSTANCE))) == 1
    assert hub.asked()[-1] == SubscribePeerState((peer_id(BOB),))


def test_opening_on_a_link_that_is_gone_fails() -> None:
    hub = Hub()
    (failed,) = hub.tell(OpenOnLink(peer=BOB, generation=5, link=9))
    assert failed == RelayedFailed(peer=BOB, generation=5, reason="the link to that relay server is gone")


def test_a_peer_that_does_not_come_fails_the_opening() -> None:
    hub = Hub()
    hub.open_link()
    hub.tell(OpenOnLink(peer=BOB, generation=5, link=1, wait_s=2.0))
    assert hub.passes(2.0) == [
        RelayedFailed(
            peer=BOB, generation=5, reason="the remote did not come to this relay server within 2 s", reached=True
        )
    ]
    assert hub.tell(CloseOnLink(peer=BOB, generation=5, link=1)) == [RelayedCloseDone(peer=BOB, generation=5)]


def test_a_peer_that_left_is_checked_and_then_told() -> None:
    hub = Hub()
    hub.open_link()
    hub.open_peer()
    assert hub.hears(1, PeersWentOffline((peer_id(BOB),))) == []
    assert hub.asked() == [SubscribePeerState((peer_id(BOB),))]
    assert hub.passes(1.0) == [
        RelayedClosed(peer=BOB, generation=5, cause="peer_gone", reason="the remote left this relay server")
    ]


def test_every_close_is_acknowledged_also_where_there_is_nothing_to_close() -> None:
    hub = Hub()
    done = RelayedCloseDone(peer=BOB, generation=5)
    assert hub.tell(CloseOnLink(peer=BOB, generation=5, link=1)) == [done]  # no such link
    hub.open_link()
    assert hub.tell(CloseOnLink(peer=BOB, generation=5, link=1)) == [done]  # no such connection
    hub.open_peer(generation=6)
    assert hub.tell(CloseOnLink(peer=BOB, generation=5, link=1)) == [done]  # an older incarnation
    assert hub.asked() == []
    assert hub.tell(CloseOnLink(peer=BOB, generation=6, link=1)) == [RelayedCloseDone(peer=BOB, generation=6)]
    assert hub.asked() == [UnsubscribePeerState((peer_id(BOB),))]


def test_a_close_cancels_an_opening_in_progress() -> None:
    hub = Hub()
    hub.open_link()
    hub.tell(OpenOnLink(peer=BOB, generation=5, link=1))
    assert hub.tell(CloseOnLink(peer=BOB, generation=5, link=1)) == [RelayedCloseDone(peer=BOB, generation=5)]
    assert hub.hears(1, PeersOnline((peer_id(BOB),))) == []


def test_a_newer_generation_takes_the_place_of_the_older_by_a_fresh_subscription() -> None:
    hub = Hub()
    hub.open_link()
    hub.open_peer(generation=5)
    assert hub.tell(OpenOnLink(peer=BOB, generation=6, link=1)) == []
    assert hub.asked() == [SubscribePeerState((peer_id(BOB),))]
    (failed,) = hub.tell(OpenOnLink(peer=BOB, generation=5, link=1))
    assert isinstance(failed, RelayedFailed)
    assert hub.hears(1, PeersOnline((peer_id(BOB),))) == [RelayedOpened(peer=BOB, generation=6, link=1)]
    assert hub.tell(OpenOnLink(peer=BOB, generation=6, link=1)) == [RelayedOpened(peer=BOB, generation=6, link=1)]


# --- packets ---


def test_packets_from_a_configured_peer_are_delivered_whether_or_not_it_was_opened() -> None:
    hub = Hub()
    hub.open_link()
    hub.hears(1, Transport(peer_id(BOB), b"first"))
    hub.open_peer(generation=5)
    hub.hears(1, Transport(peer_id(BOB), b"one"), Transport(peer_id(BOB), b"two"), Transport(peer_id(CAROL), b"three"))
    assert hub.links.packets() == [
        Packets(BOB, 1, 0, [b"first"]),
        Packets(BOB, 1, 5, [b"one", b"two"]),
        Packets(CAROL, 1, 0, [b"three"]),
    ]
    assert hub.links.packets() == []


def test_packets_from_strangers_are_dropped_and_counted() -> None:
    hub = Hub()
    hub.open_link()
    hub.hears(1, Transport(peer_id(STRANGER), b"x"), Transport(peer_id(STRANGER), b"y"))
    assert hub.links.packets() == []
    assert hub.links.status().drops == {"from_stranger": 2}


def test_packets_leave_on_the_link_that_is_named() -> None:
    hub = Hub()
    hub.open_link(1)
    hub.open_link(2)
    hub.links.send_packets(BOB, 2, [b"one", b"two"], hub.now)
    (request,) = hub.links.requests()
    assert isinstance(request, SendMessages)
    assert request.link == 2
    assert [decode_from_client(message) for message in request.messages] == [
        Transport(peer_id(BOB), b"one"),
        Transport(peer_id(BOB), b"two"),
    ]


def test_packets_that_cannot_leave_are_dropped_and_counted_by_reason() -> None:
    hub = Hub()
    hub.links.send_packets(BOB, 1, [b"one", b"two"], hub.now)
    hub.open_link()
    hub.links.writable(1, False)
    hub.links.send_packets(BOB, 1, [b"three"], hub.now)
    assert hub.hears(1, HealthCheck()) == []
    assert hub.asked() == [HealthCheck()]  # is answered all the same
    hub.links.writable(1, True)
    hub.links.send_packets(BOB, 1, [bytes(MAX_PAYLOAD_LEN + 1)], hub.now)
    assert hub.asked() == []
    assert hub.links.status().drops == {"no_link": 2, "link_full": 1, "too_long": 1}
    hub.links.lost(1, "reset", hub.now)
    assert hub.links.status().drops == {"no_link": 2, "link_full": 1, "too_long": 1}


# --- snapshots and the end ---


def test_the_snapshot_tells_relays_what_there_is() -> None:
    hub = Hub()
    hub.open_link(1)
    hub.open_peer(BOB, generation=5)
    hub.tell(OpenOnLink(peer=CAROL, generation=2, link=1))
    hub.tell(OpenLink(link=2, url="rel://other"))
    assert hub.tell(RelayLinksSnapshotWanted()) == [
        RelayLinksSnapshot(
            links=(
                LinkSnapshot(link=1, url=URL, instance_url=INSTANCE, server_ip="192.0.2.1"),
                LinkSnapshot(link=2, url="rel://other", instance_url=None),
            ),
            connections=(
                RelayedSnapshot(peer=BOB, generation=5, link=1, open=True),
                RelayedSnapshot(peer=CAROL, generation=2, link=1, open=False),
            ),
        )
    ]
    assert [link.state for link in hub.links.status().links] == ["open", "dialling"]


def test_at_the_end_close_is_said_on_every_link() -> None:
    hub = Hub()
    hub.open_link(1)
    hub.open_link(2)
    hub.links.shutdown(hub.now)
    assert hub.asked() == [Close(), Abort(1), Close(), Abort(2)]


# --- anything ---

link_numbers = st.integers(1, 2)
peers = st.sampled_from([BOB, CAROL])
generations = st.integers(1, 3)
inbox = st.one_of(
    st.builds(OpenLink, link=link_numbers, url=st.just(URL)),
    st.builds(CloseLink, link=link_numbers),
    st.builds(OpenOnLink, peer=peers, generation=generations, link=link_numbers, wait_s=st.floats(0.0, 9.0)),
    st.builds(CloseOnLink, peer=peers, generation=generations, link=link_numbers),
    st.just(RelayLinksSnapshotWanted()),
)
presence = st.one_of(
    peers.map(lambda peer: encode(PeersOnline((peer_id(peer),)))),
    peers.map(lambda peer: encode(PeersWentOffline((peer_id(peer),)))),
)
from_server = st.one_of(
    st.just(encode(AuthResponse(INSTANCE))),
    presence,
    server_frames.map(encode),
    client_frames.map(encode),
    st.binary(max_size=80),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("mail"), st.just(0), inbox),
        st.tuples(st.sampled_from(["connected", "lost", "pong", "packets"]), link_numbers, st.none()),
        st.tuples(st.just("received"), link_numbers, from_server),
        st.tuples(st.just("wait"), st.just(0), st.floats(0.0, 20.0)),
    ),
    max_size=40,
)


@given(steps)
def test_in_any_order_every_opening_ends_and_every_close_is_acknowledged(
    steps: list[tuple[str, int, object]],
) -> None:
    hub, told = Hub(), list[msgspec.Struct]()
    opened: set[int] = set()
    for step, link, what in steps:
        match step, what:
            case "mail", OpenLink() | CloseLink() | OpenOnLink() | CloseOnLink() | RelayLinksSnapshotWanted():
                answers = hub.tell(what)
                if isinstance(what, CloseOnLink):
                    assert answers[-1] == RelayedCloseDone(peer=what.peer, generation=what.generation)
                told += answers
            case "connected", _:
                told += mail(hub.links.connected(link, "192.0.2.1", hub.now))
            case "lost", _:
                told += mail(hub.links.lost(link, "reset", hub.now))
            case "pong", _:
                told += mail(hub.links.pong(link, hub.now))
            case "packets", _:
                hub.links.send_packets(BOB, link, [b"data"], hub.now)
            case "received", bytes(data):
                told += mail(hub.links.received(link, [data], hub.now))
            case "wait", float(seconds):
                told += hub.passes(seconds)
        hub.asked()
        hub.links.packets()
    told += hub.passes(10_000.0)  # nobody answers any more: all of it must come to an end by itself
    assert hub.links.state == Serving(links=0, open=0)
    assert hub.links.next_timeout() is None
    for message in told:
        match message:
            case LinkOpened(link=number):
                opened.add(number)
            case LinkClosed(link=number, was_open=was_open):
                assert was_open == (number in opened)
                opened.discard(number)
    assert not opened
