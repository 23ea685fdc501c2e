import msgspec
import pytest

from actors.addresses import CONTROL_0, PEERS, RELAYS, SIGNAL_LINK, STATUS, control_processes, home_of, peer_addresses
from actors.effects import Effect, Later, Send
from actors.messages.node import (
    KeyUsedElsewhere,
    KnownPeers,
    OutsideEvent,
    SearchesDue,
    SearchGranted,
    SearchWanted,
    SignalConnected,
    SignalDisconnected,
    SignalInbox,
    SignalLinkWanted,
    SignalPostFailed,
)
from actors.messages.status import SignalStatus
from actors.node.searches import BURST, EVERY_S
from actors.node.signal import Connected, Connecting, Disconnected, Signal
from config.keys import PublicKey, encode_key
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    Description,
    GoIdleReceived,
    OfferReceived,
    PostCandidate,
    PostDescription,
    SignalPost,
    SignalReceived,
)

URL = "https://signal.example.com:443"
BOB, EVE = PublicKey(encode_key(bytes([2]) * 32)), PublicKey(encode_key(bytes([3]) * 32))
SAID = Description(ice=None, session=None, listen_port=1, version="0.1", relay_url=None, relay_ip=None, homing=None)
NONCE = bytes(24)

UP, DOWN = SignalConnected(url=URL), SignalDisconnected(url=URL, reason="unreachable", retry_s=0.5)
POSTS = (PostDescription(peer=BOB, kind="offer", description=SAID), PostCandidate(peer=BOB, candidate="c"))


def received_from(peer: PublicKey) -> tuple[SignalReceived, ...]:
    return (
        OfferReceived(peer=peer, description=SAID, nonce=NONCE),
        AnswerReceived(peer=peer, description=SAID, nonce=NONCE),
        CandidateReceived(peer=peer, candidate="c", nonce=NONCE),
        GoIdleReceived(peer=peer, nonce=NONCE),
    )


def signal(*before: SignalInbox) -> Signal:
    """Return a machine that has worked on these messages at time 1, 2, ..."""
    machine = Signal(URL, (CONTROL_0,))
    for at, message in enumerate(before, start=1):
        machine.handle(message, float(at))
    return machine


def test_it_asks_first_whether_the_link_is_up() -> None:
    assert signal().start(0.0) == [SIGNAL_LINK.send(SignalLinkWanted())]


@pytest.mark.parametrize("message", received_from(BOB))
def test_what_a_known_peer_says_goes_to_its_offer_listener(message: SignalReceived) -> None:
    machine = signal(KnownPeers(peers=frozenset({BOB})))
    assert machine.handle(message, 5.0) == [peer_addresses(BOB).offer_listener.send(message)]


def test_a_peer_s_listener_is_found_in_whichever_process_holds_it() -> None:
    controls = control_processes(3)
    machine = Signal(URL, controls)
    homes = set()
    for number in range(40):
        peer = PublicKey(encode_key(bytes([number]) * 32))
        (effect,) = machine.handle(GoIdleReceived(peer=peer, nonce=NONCE), 1.0)
        assert isinstance(effect, Send)
        assert effect.to.process == home_of(peer, controls)
        homes.add(effect.to.process)
    assert homes == set(controls)


@pytest.mark.parametrize("message", received_from(EVE))
def test_what_a_stranger_says_is_dropped_and_counted(message: SignalReceived) -> None:
    machine = signal(KnownPeers(peers=frozenset({BOB})))
    assert machine.handle(message, 5.0) == []
    assert machine.counters == {"unknown_peer": 1}


def test_the_link_learns_whose_mail_counts() -> None:
    known = KnownPeers(peers=frozenset({BOB}))
    assert signal().handle(known, 5.0) == [SIGNAL_LINK.send(known)]


def test_a_peer_that_is_not_configured_any_more_is_a_stranger() -> None:
    machine = signal(KnownPeers(peers=frozenset({BOB})), KnownPeers(peers=frozenset()))
    assert machine.handle(GoIdleReceived(peer=BOB, nonce=NONCE), 5.0) == []


def test_until_it_is_told_who_counts_nobody_s_mail_is_lost() -> None:
    message = GoIdleReceived(peer=BOB, nonce=NONCE)
    assert signal().handle(message, 5.0) == [peer_addresses(BOB).offer_listener.send(message)]


@pytest.mark.parametrize("post", POSTS)
def test_posts_go_out_while_the_link_is_up(post: SignalPost) -> None:
    assert signal(UP).handle(post, 5.0) == [SIGNAL_LINK.send(post)]


@pytest.mark.parametrize("before", [(), (DOWN,), (UP, DOWN)])
@pytest.mark.parametrize("post", POSTS)
def test_posts_are_dropped_and_counted_while_it_is_not(post: SignalPost, before: tuple[SignalInbox, ...]) -> None:
    machine = signal(*before)
    assert machine.handle(post, 5.0) == []
    assert machine.counters == {"posts_while_disconnected": 1}


def test_a_link_that_comes_up_is_told_to_peers_and_status() -> None:
    machine = signal(DOWN)
    assert machine.handle(UP, 5.0) == [
        PEERS.send(OutsideEvent(kind="signal_connected", detail=URL)),
        STATUS.send(SignalStatus(url=URL, connected=True, since_at=5.0)),
    ]
    assert machine.state == Connected(5.0)


def test_a_repeated_state_is_no_event() -> None:
    machine = signal(UP)
    assert machine.handle(UP, 5.0) == []
    assert machine.state == Connected(1.0)


def test_a_link_that_goes_down_is_told_with_its_reason() -> None:
    machine = signal(UP)
    assert machine.handle(DOWN, 5.0) == _status("unreachable", since_at=5.0)
    assert machine.state == Disconnected(5.0, 1, "unreachable")


def test_relays_hear_that_another_agent_has_our_key() -> None:
    machine, displaced = signal(UP), msgspec.structs.replace(DOWN, displaced=True)
    assert RELAYS.send(KeyUsedElsewhere()) in machine.handle(displaced, 5.0)
    assert RELAYS.send(KeyUsedElsewhere()) not in machine.handle(DOWN, 6.0)


def test_each_further_try_is_counted_and_its_reason_told() -> None:
    machine = signal(UP, DOWN)
    refused = SignalDisconnected(url=URL, reason="TLS failure", retry_s=7.6)
    assert machine.handle(refused, 9.0) == _status("TLS failure; tried 2 times; next try in 8 s", since_at=2.0)


def test_the_count_starts_anew_after_a_connection() -> None:
    machine = signal(DOWN, DOWN, UP)
    assert machine.handle(DOWN, 5.0) == _status("unreachable", since_at=5.0)


def test_a_failed_post_is_counted_for_the_guard_offers_again() -> None:
    machine = signal(UP)
    assert machine.handle(SignalPostFailed(peer=BOB, reason="slow"), 5.0) == []
    assert machine.counters == {"posts_failed": 1}


def test_it_begins_connecting() -> None:
    assert signal().state == Connecting()


def _status(reason: str, since_at: float) -> list[Effect]:
    return [STATUS.send(SignalStatus(url=URL, connected=False, reason=reason, since_at=since_at))]


# --- whose turn it is to look for a direct path ---


def test_a_guard_that_would_look_for_a_direct_path_is_told_at_once() -> None:
    machine = signal(UP)
    granted = peer_addresses(BOB).guard.send(SearchGranted(peer=BOB))
    assert machine.handle(SearchWanted(peer=BOB, eager=False), 5.0) == [granted]
    assert machine.counters == {"searches": 1}


def test_many_guards_have_their_turns_one_after_another() -> None:
    machine = signal(UP)
    peers = [PublicKey(encode_key(bytes([number]) * 32)) for number in range(BURST + 2)]
    effects = [effect for peer in peers for effect in machine.handle(SearchWanted(peer=peer, eager=True), 5.0)]
    assert len([effect for effect in effects if isinstance(effect, Send)]) == BURST
    assert effects[-1] == Later(5.0 + EVERY_S, SearchesDue())
    for number in (BURST, BURST + 1):
        now = 5.0 + EVERY_S * (number - BURST + 1)
        told = machine.handle(SearchesDue(), now)
        assert told[0] == peer_addresses(peers[number]).guard.send(SearchGranted(peer=peers[number]))


def test_nobody_has_a_turn_while_there_is_no_signal_server_and_all_have_when_it_is_back() -> None:
    machine = signal(UP, DOWN)
    assert machine.handle(SearchWanted(peer=BOB, eager=True), 5.0) == []
    assert machine.handle(SearchWanted(peer=EVE, eager=True), 5.0) == []
    machine.handle(KnownPeers(peers=frozenset({BOB})), 6.0)
    told = [effect.message for effect in machine.handle(UP, 7.0) if isinstance(effect, Send)]
    assert [message for message in told if isinstance(message, SearchGranted)] == [SearchGranted(peer=BOB)]
