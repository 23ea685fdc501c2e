"""Which frames are sent again when a link lost them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.relay.codec import decode_from_client, decode_from_server, encode
from transport.relay.frames import (
    Auth,
    Close,
    Frame,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    UnsubscribePeerState,
    peer_id,
)
from transport.relay.resend import MAX_TRACKED, Resend

A, B, C = peer_id("a"), peer_id("b"), peer_id("c")


def lost(resend: Resend, number: int) -> Frame | None:
    message = resend.lost(number)
    return None if message is None else decode_from_client(message)


@pytest.mark.parametrize(
    "frame", [SubscribePeerState((A, B)), UnsubscribePeerState((A,)), HealthCheck(), Auth(A, b"t")]
)
def test_what_somebody_waits_for_is_sent_again(frame: Frame) -> None:
    resend = Resend(client=True)
    assert lost(resend, resend.sent(encode(frame))) == frame
    assert len(resend) == 0


def test_nothing_is_sent_again_that_arrived_or_was_not_sent() -> None:
    resend = Resend(client=True)
    number = resend.sent(encode(SubscribePeerState((A,))))
    resend.arrived(number)
    assert resend.lost(number) is None
    assert resend.lost(99) is None


def test_close_is_not_sent_again_the_connection_ends_by_itself() -> None:
    resend = Resend(client=True)
    assert resend.lost(resend.sent(encode(Close()))) is None


def test_what_something_newer_replaced_is_not_sent_again() -> None:
    resend = Resend(client=False)
    online = resend.sent(encode(PeersOnline((A, B, C))))
    offline = resend.sent(encode(PeersWentOffline((B,))))
    resend.arrived(offline)  # and is forgotten, but B stays offline
    message = resend.lost(online)
    assert message is not None
    assert decode_from_server(message) == PeersOnline((A, C))


def test_a_list_that_is_replaced_as_a_whole_is_dropped() -> None:
    resend = Resend(client=True)
    subscribe = resend.sent(encode(SubscribePeerState((A,))))
    again = resend.sent(encode(UnsubscribePeerState((A,))))
    assert resend.lost(subscribe) is None
    assert lost(resend, again) == UnsubscribePeerState((A,))


def test_frames_that_nobody_knows_are_sent_again_as_they_are() -> None:
    resend = Resend(client=True)
    assert resend.lost(resend.sent(b"\x01\x63future")) == b"\x01\x63future"


def test_what_is_followed_is_bounded() -> None:
    resend = Resend(client=True)
    assert all(resend.sent(b"\x01\x05") for _ in range(MAX_TRACKED))
    assert resend.sent(b"\x01\x05") == 0
    assert resend.lost(0) is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([A, B, C]), st.sampled_from(["arrives", "lost", "late"]))))
def test_the_other_end_learns_the_last_state_of_every_peer(changes: list[tuple[bool, PeerId, str]]) -> None:
    """Whatever is lost, and however late that is noticed: repeats never bring an older state back."""
    resend, seen, wanted = Resend(client=False), dict[PeerId, bool](), dict[PeerId, bool]()
    under_way: list[int] = []

    def arrives(message: bytes) -> None:
        frame = decode_from_server(message)
        assert isinstance(frame, PeersOnline | PeersWentOffline)
        seen.update(dict.fromkeys(frame.peers, isinstance(frame, PeersOnline)))

    def notice(number: int) -> None:
        again = resend.lost(number)
        if again is not None:
            repeat = resend.sent(again)
            arrives(again)
            resend.arrived(repeat)

    for online, peer, fate in changes:
        wanted[peer] = online
        message = encode(PeersOnline((peer,)) if online else PeersWentOffline((peer,)))
        number = resend.sent(message)
        if fate == "arrives":
            arrives(message)
            resend.arrived(number)
        elif fate == "lost":
            notice(number)
        else:
            under_way.append(number)
    for number in under_way:
        notice(number)
    assert seen == wanted
    assert len(resend) == 0
