from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import SIGNAL
from actors.messages.node import HomeRelayChanged, OutsideEvent
from actors.messages.peer import (
    IceTurn,
    IceTurnDone,
    LocalIceChanged,
    LocalRelayChanged,
    PathHindered,
    PathsHeard,
    RelayTurn,
    RelayTurnDone,
    RemoteIdle,
    RemoteKnown,
    SendOffer,
)
from actors.peer.offer_listener import HOLD_S, MAX_BEHIND, MAX_NONCES, OfferListener
from config.keys import Secret
from tests.actors.peer.names import BOB, HOME, OTHER, THEIRS, TO, description, offer
from tests.kit.bench import Bench
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    GoIdleReceived,
    IceCredentials,
    OfferReceived,
    PostDescription,
)

AT_HOME = HomeRelayChanged(url=HOME, server_ip="192.0.2.7")
AWAY = HomeRelayChanged(url=None, server_ip=None)
SEND = SendOffer(peer=BOB, reason="started")


def listening(home: HomeRelayChanged = AT_HOME, seed: int = 1) -> Bench:
    rng = Random(seed)
    return Bench(OfferListener(BOB, TO, first_offer_id=1, listen_port=51820, version="0.1.0", home=home, rng=rng))


def machine(bench: Bench) -> OfferListener:
    assert isinstance(bench.machine, OfferListener)
    return bench.machine


def posts(bench: Bench) -> list[PostDescription]:
    return [post for post in bench.mail(SIGNAL) if isinstance(post, PostDescription)]


def relay_turns(bench: Bench) -> list[RelayTurn]:
    return [turn for turn in bench.mail(TO.relay_worker) if isinstance(turn, RelayTurn)]


def done(turn: int) -> RelayTurnDone:
    return RelayTurnDone(peer=BOB, turn=turn, outcome="reused")


# --- what comes in ---


def test_an_offer_becomes_a_turn_of_each_worker_and_is_answered() -> None:
    bench = listening()
    bench.tell(offer(7, generation=3))
    assert relay_turns(bench) == [
        RelayTurn(peer=BOB, turn=1, relay_url=THEIRS, relay_ip=None, remote_generation=3, ours=True)
    ]
    assert bench.mail(TO.ice_worker) == [IceTurn(peer=BOB, turn=1, ice=None, session=None, ours=True)]
    [answer] = posts(bench)
    assert answer.kind == "answer"
    assert answer.description.homing is not None
    assert answer.description.homing.acknowledges == 7


def test_an_answer_is_worked_on_and_not_answered() -> None:
    bench = listening()
    bench.tell(AnswerReceived(peer=BOB, description=description(), nonce=b"n" * 24))
    assert len(relay_turns(bench)) == 1
    assert posts(bench) == []


def test_one_is_in_hand_and_the_latest_waits_and_each_is_answered() -> None:  # recovery R1
    bench = listening()
    bench.tell(*(offer(number, f"rel://server{number}.test:80") for number in range(1, 6)))
    assert [turn.turn for turn in relay_turns(bench)] == [1]
    assert len(posts(bench)) == 5
    assert machine(bench).relay_turns.replaced == 3
    bench.tell(done(1))
    [latest] = relay_turns(bench)
    assert latest.relay_url == "rel://server5.test:80"
    bench.tell(done(latest.turn))
    assert relay_turns(bench) == []


def test_the_end_of_a_turn_that_is_not_in_hand_ends_nothing() -> None:  # of the listener before this one
    bench = listening()
    bench.tell(done(7), offer(1), offer(2), done(7), IceTurnDone(peer=BOB, turn=7, outcome="kept"))
    assert [turn.turn for turn in relay_turns(bench)] == [1]


def test_a_relay_that_takes_long_does_not_hold_up_ice() -> None:  # recovery R1
    bench = listening()
    bench.tell(offer(1), IceTurnDone(peer=BOB, turn=1, outcome="taken"), offer(2))
    assert [turn.turn for turn in bench.mail(TO.ice_worker) if isinstance(turn, IceTurn)] == [1, 2]
    assert len(relay_turns(bench)) == 1


def test_the_same_sealed_message_counts_once() -> None:  # recovery R1
    bench = listening()
    bench.tell(offer(1), offer(1))
    assert len(posts(bench)) == 1
    assert machine(bench).repeated == 1


def test_the_same_content_sent_anew_is_answered_and_worked_on() -> None:
    bench = listening()
    first = offer(1, ours=False)
    bench.tell(first, done(1), OfferReceived(peer=BOB, description=first.description, nonce=b"another nonce, 24 bytes"))
    assert len(posts(bench)) == 2
    assert len(relay_turns(bench)) == 2


def test_nonces_are_remembered_up_to_a_bound() -> None:
    bench = listening()
    bench.tell(offer(1), offer(2))
    for number in range(MAX_NONCES - 1):
        bench.tell(CandidateReceived(peer=BOB, candidate="c", nonce=(number + 3).to_bytes(24, "big")))
    posts(bench)
    bench.tell(offer(2))
    assert posts(bench) == []
    bench.tell(offer(1))
    assert len(posts(bench)) == 1  # forgotten: answered again, and as old as it is, not worked on
    assert machine(bench).overtaken == 1


def test_an_overtaken_offer_is_answered_but_not_worked_on() -> None:  # S13
    bench = listening()
    bench.tell(offer(9, OTHER), done(1), offer(8, THEIRS))
    assert [turn.relay_url for turn in relay_turns(bench)] == [OTHER]
    assert len(posts(bench)) == 2


def test_a_remote_whose_clock_was_set_back_is_not_ignored() -> None:
    bench = listening()
    bench.tell(offer(10**12), done(1), offer(10**12 - 10**8))
    assert len(relay_turns(bench)) == 2


def test_who_the_remote_is_is_told_when_it_changes() -> None:
    bench = listening()
    bench.tell(offer(1), offer(2))
    known = RemoteKnown(peer=BOB, ours=True, ice=False)
    for address in (TO.guard, TO.wg_watcher):
        assert bench.mail(address) == [known]
    bench.tell(offer(3, ours=False))
    assert bench.mail(TO.guard) == [RemoteKnown(peer=BOB, ours=False, ice=False)]


def test_go_idle_of_a_foreign_peer_is_told_and_its_next_offer_is_news() -> None:
    bench = listening()
    bench.tell(offer(1, ours=False))
    bench.mail(TO.guard)
    bench.tell(GoIdleReceived(peer=BOB, nonce=b"i" * 24), GoIdleReceived(peer=BOB, nonce=b"i" * 24))
    for address in (TO.guard, TO.conn, TO.relay_worker):
        assert [mail for mail in bench.mail(address) if isinstance(mail, RemoteIdle)] == [RemoteIdle(peer=BOB)]
    bench.tell(offer(2, ours=False))
    assert bench.mail(TO.guard) == [RemoteKnown(peer=BOB, ours=False, ice=False)]


def test_an_offer_that_waits_while_the_remote_goes_idle_is_not_worked_on() -> None:
    bench = listening()
    bench.tell(offer(1, ours=False), offer(2, ours=False), GoIdleReceived(peer=BOB, nonce=b"i" * 24))
    bench.tags()
    bench.tell(done(1), IceTurnDone(peer=BOB, turn=1, outcome="taken"))
    assert bench.tags() == []
    bench.tell(offer(3, ours=False))
    assert [turn.turn for turn in relay_turns(bench)] == [3]


def test_go_idle_in_the_name_of_one_of_ours_is_nothing() -> None:
    bench = listening()
    bench.tell(offer(1))
    bench.mail(TO.guard)
    bench.tell(GoIdleReceived(peer=BOB, nonce=b"i" * 24))
    assert bench.mail(TO.guard) == []


def candidate(number: int) -> CandidateReceived:
    return CandidateReceived(peer=BOB, candidate=f"candidate {number}", nonce=number.to_bytes(24, "big"))


def test_candidates_are_handed_on_once_and_in_order_with_the_turns() -> None:
    bench = listening()
    bench.tell(candidate(101), offer(1), candidate(102), candidate(102))
    handed = bench.mail(TO.ice_worker)
    assert [type(mail) for mail in handed] == [CandidateReceived, IceTurn, CandidateReceived]
    bench.tell(offer(2), candidate(103), offer(3), candidate(104))
    assert bench.mail(TO.ice_worker) == []  # a turn waits before them
    bench.tell(IceTurnDone(peer=BOB, turn=1, outcome="taken"))
    turn, *behind = bench.mail(TO.ice_worker)
    assert isinstance(turn, IceTurn)
    assert turn.turn == 3
    assert behind == [candidate(103), candidate(104)]


def test_candidates_behind_a_turn_that_waits_are_kept_up_to_a_bound() -> None:
    bench = listening()
    bench.tell(offer(1), offer(2))
    bench.tags()
    for number in range(3 * MAX_BEHIND):
        bench.tell(candidate(100 + number))
    bench.tell(IceTurnDone(peer=BOB, turn=1, outcome="taken"))
    assert bench.mail(TO.ice_worker)[1:] == [
        candidate(100 + number) for number in range(2 * MAX_BEHIND, 3 * MAX_BEHIND)
    ]


def test_the_ice_worker_is_told_whether_the_remote_is_ours() -> None:
    for ours in (True, False):
        bench = listening()
        bench.tell(offer(1, ours=ours))
        [turn] = bench.mail(TO.ice_worker)
        assert isinstance(turn, IceTurn)
        assert turn.ours is ours


# --- what goes out ---


def test_an_offer_says_what_we_are() -> None:
    bench = listening()
    ice, session = IceCredentials(ufrag="u" * 16, pwd=Secret(b"p" * 32)), b"01234"
    bench.tell(
        LocalIceChanged(peer=BOB, ice=ice, session=session), LocalRelayChanged(peer=BOB, generation=42), SEND, SEND
    )
    first, second = posts(bench)
    said = first.description
    assert (first.peer, first.kind) == (BOB, "offer")
    assert (said.ice, said.session, said.relay_url, said.relay_ip) == (ice, session, HOME, "192.0.2.7")
    assert said.homing is not None
    assert (said.homing.relay_generation, said.homing.acknowledges) == (42, 0)
    assert second.description.homing is not None
    assert second.description.homing.offer_id > said.homing.offer_id


def test_an_offer_waits_for_our_home_relay_and_is_then_the_guards_to_ask_for_anew() -> None:
    bench = listening(AWAY)
    bench.tell(SEND, SEND, AT_HOME)
    bench.advance(10)
    assert posts(bench) == []  # the path may be back by then without any offer
    bench.tell(SEND)
    [post] = posts(bench)
    assert post.description.relay_url == HOME


def test_but_not_for_long() -> None:
    bench = listening(AWAY)
    bench.tell(SEND)
    bench.advance(HOLD_S)
    [post] = posts(bench)
    assert post.description.relay_url is None


@pytest.mark.parametrize("asked", [False, True])
def test_who_was_told_of_another_relay_or_of_none_is_told_of_the_new_one(asked: bool) -> None:
    for told in (HomeRelayChanged(url=THEIRS, server_ip=None), AWAY):
        bench = listening(told)
        bench.tell(offer(1), AWAY)
        if asked:
            bench.tell(SEND)  # it waits for a home, and is then the same offer
        bench.tell(AT_HOME, SEND)
        bench.advance(10)
        assert [(post.kind, post.description.relay_url) for post in posts(bench)] == [
            ("answer", told.url),
            ("offer", HOME),
        ]


def test_who_knows_of_our_relay_hears_nothing_when_it_is_back() -> None:
    bench = listening()
    bench.tell(SEND, AWAY, AT_HOME)
    bench.advance(10)
    assert len(posts(bench)) == 1


def test_an_offer_says_where_we_cannot_be_unless_our_home_is_there_again() -> None:
    bench = listening(AWAY)
    bench.tell(LocalRelayChanged(peer=BOB, generation=42, unreached=HOME), offer(1), AT_HOME, offer(2))
    said = [post.description.homing for post in posts(bench)]
    assert [homing.relay_unreached for homing in said if homing is not None] == [HOME, None]


def test_who_meets_us_elsewhere_hears_nothing_of_another_home() -> None:
    bench = listening()
    bench.tell(LocalRelayChanged(peer=BOB, generation=42, url=THEIRS), SEND, AWAY, AT_HOME)
    bench.advance(10)
    assert [post.description.relay_url for post in posts(bench)] == [THEIRS]


def test_many_peers_that_hear_of_another_home_relay_share_the_time() -> None:
    times = []
    for seed in range(100):
        bench = listening(seed=seed)
        bench.tell(SEND)
        assert len(posts(bench)) == 1
        bench.tell(HomeRelayChanged(url=THEIRS, server_ip=None, spread_s=2.0))
        while not posts(bench):
            bench.advance(0.1)
        times.append(bench.now - 1000.0)
    assert min(times) < 0.4
    assert 1.6 < max(times) <= 2.2


def test_an_offer_that_was_not_answered_is_sent_anew_when_the_signal_link_is_back() -> None:  # recovery R14
    back = OutsideEvent(kind="signal_connected", detail="")
    bench = listening()
    bench.tell(back, SEND, back, SEND)  # what the guard asks for at the same time is the same offer
    bench.advance(1)
    assert len(posts(bench)) == 2
    bench.tell(AnswerReceived(peer=BOB, description=description(), nonce=b"n" * 24), back)
    bench.advance(1)
    assert posts(bench) == []


def test_many_peers_that_lose_the_relay_at_once_share_the_time() -> None:
    times = []
    for seed in range(200):
        bench = listening(seed=seed)
        bench.tell(HomeRelayChanged(url=None, server_ip=None, spread_s=2.0), SEND)
        while not posts(bench):
            bench.advance(0.1)
        times.append(bench.now - 1000.0)
    assert HOLD_S <= min(times) < HOLD_S + 0.4
    assert HOLD_S + 1.6 < max(times) <= HOLD_S + 2.1
    assert max(times.count(at) for at in times) < 30


def test_also_where_it_is_back_before_they_offer_but_not_later() -> None:
    bench = listening()
    bench.tell(HomeRelayChanged(url=None, server_ip=None, spread_s=2.0))
    bench.advance(0.2)
    bench.tell(HomeRelayChanged(url=HOME, server_ip=None, spread_s=2.0), SEND)
    assert posts(bench) == []
    bench.advance(2.0)
    assert len(posts(bench)) == 1
    bench.tell(SEND)
    assert len(posts(bench)) == 1


def test_an_answer_never_waits() -> None:
    bench = listening(AWAY)
    bench.tell(SEND, offer(1))
    assert [post.kind for post in posts(bench)] == ["answer"]


def test_offers_without_an_answer_are_counted_for_the_operator() -> None:
    bench = listening()
    bench.tell(SEND, SEND, SEND)
    assert bench.mail(TO.conn)[-1] == PathHindered(
        peer=BOB, by="offers", reason="the remote has not answered any offer (3 sent)"
    )
    bench.tell(AnswerReceived(peer=BOB, description=description(), nonce=b"n" * 24))
    assert bench.mail(TO.conn)[-1] == PathHindered(peer=BOB, by="offers", reason="")
    bench = listening()
    bench.tell(SEND, GoIdleReceived(peer=BOB, nonce=b"i" * 24))  # that is a word of it too
    assert PathHindered(peer=BOB, by="offers", reason="") in bench.mail(TO.conn)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["offer", "repeat", "answer", "relay done", "ice done", "send", "home", "away", "1 s"]))
)
def test_every_offer_is_answered_once_and_workers_have_one_in_hand(steps: list[str]) -> None:
    bench, number, offers = listening(), 0, 0
    relay_hand: list[int] = []
    ice_hand: list[int] = []
    for step in steps:
        match step:
            case "offer" | "answer":
                number += 1
                received = offer(number)
                offers += step == "offer"
                kind = (
                    received
                    if step == "offer"
                    else AnswerReceived(**{f: getattr(received, f) for f in received.__struct_fields__})
                )
                bench.tell(kind)
            case "repeat" if number:
                bench.tell(offer(number))
            case "relay done" if relay_hand:
                bench.tell(done(relay_hand.pop()))
            case "ice done" if ice_hand:
                bench.tell(IceTurnDone(peer=BOB, turn=ice_hand.pop(), outcome="taken"))
            case "send":
                bench.tell(SEND)
            case "home":
                bench.tell(AT_HOME)
            case "away":
                bench.tell(AWAY)
            case "1 s":
                bench.advance(HOLD_S)
        relay_hand += [turn.turn for turn in relay_turns(bench)]
        ice_hand += [turn.turn for turn in bench.mail(TO.ice_worker) if isinstance(turn, IceTurn)]
        assert len(relay_hand) <= 1
        assert len(ice_hand) <= 1
    answers = [post for post in posts(bench) if post.kind == "answer"]
    assert len(answers) == offers


def test_what_was_heard_last_is_said_with_its_age_when_the_offer_leaves() -> None:  # recovery R14
    bench = listening()
    bench.tell(SendOffer(peer=BOB, reason="started"))
    bench.tell(PathsHeard(peer=BOB, direct_at=bench.now - 3.25))
    bench.advance(1.5)
    bench.tell(SendOffer(peer=BOB, reason="the path was lost"))
    said = [post.description.homing for post in posts(bench)]
    ages = [(homing.heard_direct_ms, homing.heard_relayed_ms) for homing in said if homing is not None]
    assert ages == [(None, None), (4750, None)]
