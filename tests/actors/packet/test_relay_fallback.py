"""RELAY_LINKS between QUIC and WebSocket: what is dialled, when WebSocket takes over, what the control side is told."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.addresses import CONTROL_0
from actors.messages.packet import (
    CloseLink,
    LinkClosed,
    LinkOpened,
    LinkSnapshot,
    OpenLink,
    OpenOnLink,
    RelayedOpened,
    RelayLinksSnapshot,
    RelayLinksSnapshotWanted,
)
from actors.packet.relay_link import FIRST_MESSAGES_S, QUIC_LOGIN_S, Abort, Dial, Ping
from actors.packet.relay_links import RelayLinks
from tests.actors.packet.test_relay_links import ALICE, BOB, CREDENTIALS, INSTANCE, UNIX_NOW, Hub, mail
from transport.relay.choice import NOT_TRUSTED, Mode, Transports
from transport.relay.client import AUTH_RESPONSE_TIMEOUT_S
from transport.relay.fallback import FIRST_S
from transport.relay.frames import (
    Auth,
    AuthResponse,
    Close,
    FromServer,
    HealthCheck,
    PeersOnline,
    SubscribePeerState,
    peer_id,
)
from transport.relay.probe import HURRIED_ANSWER_S
from transport.relay.race import Transport, Won

URL, IP = "rels://relay.example:443", "192.0.2.1"
BOTH: tuple[Transport, ...] = ("quic", "ws")
QUIC = Won("quic")


class QuicHub(Hub):
    """RELAY_LINKS of an agent that wants QUIC."""

    def __init__(self, mode: Mode = "auto", *, trusted: bool = True) -> None:
        super().__init__()
        transports = Transports(mode, trusted=trusted)
        self.links = RelayLinks(ALICE, CREDENTIALS, (CONTROL_0,), lambda: UNIX_NOW, transports)
        self.links.known_peers([BOB])

    def dials(self, link: int, url: str = URL) -> tuple[Transport, ...]:
        """Have a link opened; return by which transports it is dialled."""
        assert self.tell(OpenLink(link=link, url=url)) == []
        (dial,) = self.asked()
        assert isinstance(dial, Dial)
        return dial.transports

    def connected(self, link: int, won: Won) -> None:
        assert mail(self.links.connected(link, IP, self.now, won)) == []

    def opened(self, link: int, won: Won) -> LinkOpened:
        """Have a dialled link connected and logged in; return what is told of it."""
        self.connected(link, won)
        (opened,) = self.hears(link, AuthResponse(INSTANCE))
        self.asked()
        assert isinstance(opened, LinkOpened)
        return opened

    def lost(self, link: int, reason: str, *, too_narrow: bool = False) -> list[msgspec.Struct]:
        return mail(self.links.lost(link, reason, self.now, too_narrow=too_narrow))


def told(transport: Transport, quic_fault: str = "", link: int = 1) -> LinkOpened:
    return LinkOpened(link=link, instance_url=INSTANCE, server_ip=IP, transport=transport, quic_fault=quic_fault)


def test_auto_dials_both_and_tells_which_it_is() -> None:
    hub = QuicHub()
    assert hub.dials(1) == BOTH
    assert hub.opened(1, QUIC) == told("quic")
    (status,) = hub.links.status().links
    assert (status.transport, status.quic_fault) == ("quic", "")
    snapshot = LinkSnapshot(link=1, url=URL, instance_url=INSTANCE, server_ip=IP, transport="quic")
    assert hub.tell(RelayLinksSnapshotWanted()) == [RelayLinksSnapshot(links=(snapshot,), connections=())]


def test_quic_that_failed_where_websocket_logs_in_is_left_out_for_a_while() -> None:
    hub = QuicHub()
    hub.dials(1)
    assert hub.opened(1, Won("ws", "refused")) == told("ws", "refused")
    (status,) = hub.links.status().links
    assert (status.transport, status.quic_fault) == ("ws", "refused")
    hub.lost(1, "reset")
    hub.asked()
    assert hub.dials(2) == ("ws",)
    assert hub.opened(2, Won("ws")) == told("ws", "refused", link=2)  # the reason stays to be seen
    hub.lost(2, "reset")
    hub.asked()
    hub.now += FIRST_S
    assert hub.dials(3) == BOTH


def test_quic_that_was_only_late_is_tried_again_the_next_time() -> None:
    hub = QuicHub()
    hub.dials(1)
    assert hub.opened(1, Won("ws", "not there in time", quic_late=True)) == told("ws", "not there in time")
    hub.lost(1, "reset")
    hub.asked()
    assert hub.dials(2) == BOTH


def test_a_server_that_refuses_both_logins_is_no_fault_of_quic() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.connected(1, Won("ws", "no answer"))
    (closed,) = hub.lost(1, "reset")
    assert isinstance(closed, LinkClosed)
    assert closed.reason.startswith("closed during login, so the relay refused our secret or token (reset); our clock")
    assert closed.reason.endswith("; over QUIC: no answer")
    hub.asked()
    assert hub.dials(2) == BOTH


@pytest.mark.parametrize("how", ["closed", "nonsense", "silence"])
def test_a_login_that_fails_over_quic_is_made_over_websocket_on_the_same_link(how: str) -> None:
    hub = QuicHub()
    hub.dials(1)
    assert hub.tell(OpenOnLink(peer=BOB, generation=3, link=1)) == []
    hub.connected(1, QUIC)
    assert isinstance(hub.asked()[0], Auth)
    begun_at = hub.now
    if how == "closed":
        assert hub.lost(1, "the server closed") == []
    elif how == "nonsense":
        assert hub.hears(1, Close()) == []
    else:
        assert hub.passes(AUTH_RESPONSE_TIMEOUT_S) == []
        assert hub.links.status().links[0].since_at == begun_at + QUIC_LOGIN_S
    assert hub.asked() == [Abort(1), Dial(1, URL, IP, ("ws",))]
    assert hub.links.status().links[0].state == "dialling"
    # What waited for the link still does.
    opened = hub.opened(1, Won("ws"))
    assert opened.transport == "ws"
    assert opened.quic_fault
    assert hub.hears(1, PeersOnline((peer_id(BOB),))) == [RelayedOpened(peer=BOB, generation=3, link=1)]
    hub.lost(1, "reset")
    hub.asked()
    assert hub.dials(2) == ("ws",)


def test_what_comes_late_from_the_quic_login_that_was_given_up_is_ignored() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.connected(1, QUIC)
    hub.lost(1, "closed")
    hub.asked()
    assert hub.hears(1, AuthResponse(INSTANCE)) == []
    assert mail(hub.links.pong(1, hub.now)) == []
    assert hub.asked() == []


def test_when_websocket_fails_too_both_reasons_are_told() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.connected(1, QUIC)
    hub.passes(QUIC_LOGIN_S)
    assert hub.lost(1, "connection refused") == [
        LinkClosed(link=1, reason="connection refused; over QUIC: no answer to our login within 2 s", was_open=False)
    ]
    hub.asked()
    assert hub.dials(2) == BOTH  # it was the server


def test_a_quic_login_that_we_end_ourselves_is_not_made_again() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.connected(1, QUIC)
    hub.asked()
    assert hub.tell(CloseLink(link=1)) == [LinkClosed(link=1, reason="closed by us", was_open=False)]
    assert hub.asked() == [Abort(1)]
    hub.dials(2)
    hub.connected(2, QUIC)
    hub.asked()
    hub.links.shutdown(hub.now)
    assert hub.asked() == [Abort(2)]


def test_pinned_quic_has_nothing_to_fall_back_on_and_all_the_time_to_log_in() -> None:
    hub = QuicHub("quic")
    assert hub.dials(1) == ("quic",)
    hub.connected(1, QUIC)
    assert hub.passes(AUTH_RESPONSE_TIMEOUT_S - 0.1) == []
    (closed,) = hub.passes(0.1)
    assert isinstance(closed, LinkClosed)
    hub.asked()
    assert hub.dials(2) == ("quic",)


def test_a_path_that_shrinks_ends_the_link_and_the_next_one_is_websocket() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.opened(1, QUIC)
    hub.open_peer(BOB, 4, 1)
    reason = "the path carries 1,200 bytes only"
    closed, relayed_closed = hub.lost(1, reason, too_narrow=True)
    assert closed == LinkClosed(link=1, reason=reason, was_open=True)
    assert relayed_closed.reason == f"the link closed: {reason}"  # type: ignore[attr-defined]
    hub.asked()
    assert hub.dials(2) == ("ws",)
    assert hub.opened(2, Won("ws")) == told("ws", reason, link=2)


def test_a_path_that_shrinks_amid_the_login_leaves_the_link_to_websocket() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.connected(1, QUIC)
    hub.asked()
    assert hub.lost(1, "too narrow", too_narrow=True) == []
    assert hub.asked() == [Abort(1), Dial(1, URL, IP, ("ws",))]


def test_a_path_that_shrinks_under_pinned_quic_is_dialled_again_by_quic() -> None:
    hub = QuicHub("quic")
    hub.dials(1)
    hub.opened(1, QUIC)
    hub.lost(1, "too narrow", too_narrow=True)
    hub.asked()
    assert hub.dials(2) == ("quic",)


def test_quic_whose_first_messages_get_no_answer_is_left_out() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.opened(1, QUIC)
    closed = hub.passes(FIRST_MESSAGES_S)
    assert [one.reason.startswith("half-open") for one in closed if isinstance(one, LinkClosed)] == [True]
    hub.asked()
    assert hub.dials(2) == ("ws",)


def test_a_server_that_is_said_to_be_gone_is_pinged_at_once_and_its_silence_is_no_fault_of_quic() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.opened(1, QUIC)
    assert mail(hub.links.doubted(1, hub.now)) == []
    assert hub.asked() == [Ping(1)]
    assert mail(hub.links.doubted(1, hub.now)) == []  # the ping is out
    assert hub.asked() == []
    (closed,) = hub.passes(2.1 * HURRIED_ANSWER_S)
    assert isinstance(closed, LinkClosed)
    hub.asked()
    assert hub.dials(2) == BOTH


def test_a_server_that_answers_a_doubt_keeps_its_link_and_is_doubted_anew() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.opened(1, QUIC)
    for _ in range(3):
        hub.links.doubted(1, hub.now)
        assert hub.asked() == [Ping(1)]
        hub.links.pong(1, hub.now)
    assert hub.passes(10.0) == []
    assert hub.asked() == []


def test_a_doubt_about_a_link_that_is_not_up_changes_nothing() -> None:
    hub = QuicHub()
    assert hub.links.doubted(1, hub.now) == []
    hub.dials(1)
    assert hub.links.doubted(1, hub.now) == []
    assert hub.asked() == []


@pytest.mark.parametrize("end", ["told", "late"])
def test_quic_that_has_carried_and_then_ends_is_tried_again(end: str) -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.opened(1, QUIC)
    if end == "told":
        assert len(hub.hears(1, Close())) == 1
    else:  # alive for longer than the first messages take, then silent
        began_at = hub.now
        while hub.now < began_at + FIRST_MESSAGES_S:
            assert hub.passes(10.0) == []
            hub.hears(1, HealthCheck())
        assert len(hub.passes(60.0)) == 1
    hub.asked()
    assert hub.dials(2) == BOTH


def test_a_url_in_clear_that_nothing_vouches_for_is_dialled_by_websocket_with_the_reason() -> None:
    hub = QuicHub(trusted=False)
    assert hub.dials(1, "rel://relay.example:80") == ("ws",)
    assert hub.opened(1, Won("ws")) == told("ws", NOT_TRUSTED)
    pinned = QuicHub("quic", trusted=False)
    assert pinned.tell(OpenLink(link=1, url="rel://relay.example:80")) == [
        LinkClosed(link=1, reason=NOT_TRUSTED, was_open=False)
    ]
    assert pinned.asked() == []


def test_an_agent_that_wants_websocket_dials_nothing_else() -> None:
    hub = QuicHub("ws")
    assert hub.dials(1) == ("ws",)
    assert hub.opened(1, Won("ws")) == told("ws")


def test_subscriptions_are_made_anew_after_the_fallback() -> None:
    hub = QuicHub()
    hub.dials(1)
    hub.connected(1, QUIC)
    hub.asked()
    assert hub.tell(OpenOnLink(peer=BOB, generation=3, link=1)) == []
    hub.lost(1, "closed")
    hub.connected(1, Won("ws"))
    hub.hears(1, AuthResponse(INSTANCE))
    assert SubscribePeerState((peer_id(BOB),)) in hub.asked()


# --- anything a driver and a server may do ---


SAID: dict[str, FromServer] = {
    "answer": AuthResponse(INSTANCE),
    "nonsense": PeersOnline((peer_id(BOB),)),
    "close": Close(),
}


class Sockets:
    """A driver's side of every link, held to what it was asked."""

    def __init__(self, hub: QuicHub) -> None:
        self.hub = hub
        self.dialling: dict[int, tuple[Transport, ...]] = {}
        self.up: dict[int, Transport] = {}
        self.told: list[msgspec.Struct] = []

    def hear(self, told: list[msgspec.Struct]) -> None:
        """Check what the control side is told, and do what is asked."""
        for message in told:
            if isinstance(message, LinkOpened):
                assert self.up[message.link] == message.transport
                assert message.transport == "ws" or not message.quic_fault
        self.told += told
        for request in self.hub.links.requests():
            match request:
                case Dial(link=link, transports=transports):
                    assert link not in self.dialling  # one at a time: the one before was aborted
                    assert link not in self.up
                    assert transports
                    self.dialling[link] = transports
                case Abort(link=link):
                    self.dialling.pop(link, None)
                    self.up.pop(link, None)

    def connect(self, link: int, prefer_quic: bool, fault: str) -> None:
        transports = self.dialling.pop(link)
        carrier: Transport = "quic" if transports == ("quic",) or (prefer_quic and "quic" in transports) else "ws"
        self.up[link] = carrier
        both = len(transports) == 2
        won = Won(carrier, quic_fault=fault if both and carrier == "ws" else "", quic_late=fault == "late")
        self.hear(mail(self.hub.links.connected(link, IP, self.hub.now, won)))

    def end(self, link: int, *, too_narrow: bool) -> None:
        carrier = self.up.pop(link, None)
        self.dialling.pop(link, None)
        self.hear(self.hub.lost(link, "it ended", too_narrow=too_narrow and carrier == "quic"))


@given(
    st.sampled_from(("auto", "quic", "ws")),
    st.lists(
        st.tuples(
            st.sampled_from(("open", "connect", "answer", "nonsense", "close", "end", "narrow", "wait", "abort")),
            st.integers(0, 2),
            st.booleans(),
            st.sampled_from(("", "refused", "late")),
        ),
        max_size=40,
    ),
)
def test_whatever_drivers_and_servers_do_every_link_ends_once_and_one_dial_runs_at_a_time(
    mode: Mode, steps: list[tuple[str, int, bool, str]]
) -> None:
    hub = QuicHub(mode)
    sockets, opened = Sockets(hub), 0
    for step, which, yes, fault in steps:
        ready = sorted(sockets.dialling if step == "connect" else {**sockets.dialling, **sockets.up})
        link = ready[which % len(ready)] if ready else 0
        if step == "open":
            opened += 1
            sockets.hear(hub.tell(OpenLink(link=opened, url=(URL, f"{URL}1")[which % 2])))
        elif step == "wait":
            for _ in range(which + 1):
                sockets.hear(hub.passes(1.5))
        elif not link:
            continue
        elif step == "connect":
            sockets.connect(link, yes, fault)
        elif step == "abort":
            sockets.hear(hub.tell(CloseLink(link=link)))
        elif step in {"end", "narrow"}:
            sockets.end(link, too_narrow=step == "narrow")
        elif link in sockets.up:
            sockets.hear(hub.hears(link, SAID[step]))
    while hub.links.next_timeout() is not None:
        sockets.hear(hub.passes(5.0))
    ended = [message.link for message in sockets.told if isinstance(message, LinkClosed)]
    assert sorted(ended) == list(range(1, opened + 1))
    logged_in = [message.link for message in sockets.told if isinstance(message, LinkOpened)]
    assert len(logged_in) == len(set(logged_in))
    assert (sockets.dialling, sockets.up) == ({}, {})
