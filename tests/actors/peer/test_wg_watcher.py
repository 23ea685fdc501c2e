import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import PACKET, TUNNELS
from actors.messages.node import OutsideEvent
from actors.messages.packet import InitiateHandshake, ProbePath
from actors.messages.peer import (
    Distress,
    PathDead,
    PathDoubtful,
    PathProven,
    PathsHeard,
    ProveNow,
    RelayEvidence,
    RemoteKnown,
    WatchDue,
    WatchPath,
)
from actors.messages.process import ProcessRestarted
from actors.peer.path_watch import (
    FLOOR_FIRST_S,
    FLOOR_S,
    MAX_PROVING_S,
    OURS_PROVING_S,
    PROVING_S,
)
from actors.peer.watch_states import Dead, Proven, Unwatched
from actors.peer.wg_watcher import IDLE_S, IDLE_UNKEPT_S, WgWatcher
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import Bench
from wg.reports import EchoAnswered, GivenUp, HandshakeCompleted, PathHeard, PathSilent, RekeyUnanswered

G = 5  # generation watched
WATCH = WatchPath(peer=BOB, path="relayed", generation=G)
HINT = ProveNow(peer=BOB, reason="an offer came")


def watcher(
    *,
    ours: bool | None = True,
    controller: bool = True,
    keepalive: bool = True,
    probing: bool = True,
    resumed_heard_at: float | None = None,
) -> Bench:
    bench = Bench(
        WgWatcher(
            BOB,
            TO,
            controller=controller,
            keepalive=keepalive,
            entropy=random.Random(1).randbytes,
            probing=probing,
            resumed_heard={} if resumed_heard_at is None else {"relayed": resumed_heard_at},
        )
    )
    if ours is not None:
        bench.tell(RemoteKnown(peer=BOB, ours=ours, ice=False))
    return bench


def heard(bench: Bench, generation: int = G, *, path: str = "relayed") -> PathHeard:
    return PathHeard(
        peer=BOB, path="relayed" if path == "relayed" else "direct", heard_at=bench.now, generation=generation
    )


def proven(*, ours: bool | None = True, keepalive: bool = True) -> Bench:
    """A watcher whose path was heard just now."""
    bench = watcher(ours=ours, keepalive=keepalive)
    bench.tell(WATCH, heard(bench))
    bench.tags()
    return bench


def silent(bench: Bench, generation: int = G) -> PathSilent:
    """What the packet path reports one second after it sent what was not answered."""
    return PathSilent(peer=BOB, path="relayed", sent_at=bench.now - 1.0, generation=generation)


def probes(bench: Bench) -> list[ProbePath]:
    return [mail for mail in bench.mail(TUNNELS) if isinstance(mail, ProbePath)]


def answer(probe: ProbePath) -> EchoAnswered:
    return EchoAnswered(peer=BOB, path="relayed", token=probe.token, rtt_s=0.05, generation=G)


def until(bench: Bench, message: type, limit_s: float = 400.0, step_s: float = 0.05) -> float:
    """Let time pass until such mail goes to the Conn; return how long it took."""
    since = bench.now
    while not any(isinstance(mail, message) for mail in bench.mail(TO.conn)):
        assert bench.now - since < limit_s, f"no {message.__name__} within {limit_s} s"
        bench.advance(step_s)
    return bench.now - since


# --- proof ---


def test_a_new_path_of_one_of_ours_is_probed_at_once_and_proven_by_the_echo() -> None:
    bench = watcher()
    bench.tell(WATCH)
    [probe] = probes(bench)
    assert bench.mail(TO.conn) == []
    bench.tell(answer(probe))
    assert bench.mail(TO.conn) == [PathProven(peer=BOB, path="relayed", generation=G, heard_at=bench.now)]


def test_who_is_not_the_controller_lets_it_begin() -> None:
    bench = watcher(controller=False)
    bench.tell(WATCH)
    bench.advance(0.4)
    assert probes(bench) == []
    bench.advance(0.2)
    assert len(probes(bench)) == 1


@pytest.mark.parametrize("ours", [True, False, None])
def test_a_handshake_or_a_packet_on_the_path_proves_it(ours: bool | None) -> None:
    bench = watcher(ours=ours)
    bench.tell(WATCH, HandshakeCompleted(peer=BOB, path="relayed", role="responder", rtt_s=None, generation=G))
    assert [type(mail) for mail in bench.mail(TO.conn)] == [PathProven]
    bench = watcher(ours=ours)
    bench.tell(WATCH, heard(bench))
    assert [type(mail) for mail in bench.mail(TO.conn)] == [PathProven]


def test_what_was_heard_on_an_older_connection_or_another_path_proves_nothing() -> None:
    bench = watcher()
    before = heard(bench)
    bench.advance(1)
    bench.tell(WATCH, heard(bench, G - 1), heard(bench, 0, path="direct"), before)
    bench.tell(heard(bench, 0))  # by the link to another relay server, where the remote has moved to
    assert bench.mail(TO.conn) == []


def test_an_answer_of_a_foreign_peer_counts_on_any_path() -> None:  # they send relayed traffic from the direct endpoint
    bench = watcher(ours=False)
    bench.tell(WATCH, heard(bench, 0, path="direct"))
    assert [type(mail) for mail in bench.mail(TO.conn)] == [PathProven]


def test_an_echo_that_was_not_sent_proves_nothing() -> None:
    bench = watcher()
    bench.tell(WATCH, EchoAnswered(peer=BOB, path="relayed", token=1, rtt_s=0.05, generation=G))
    assert bench.mail(TO.conn) == []


def test_an_echo_that_came_back_over_an_older_connection_does_not_prove_the_new_one() -> None:
    bench = watcher()
    bench.tell(WATCH)
    [probe] = probes(bench)
    bench.tell(EchoAnswered(peer=BOB, path="relayed", token=probe.token, rtt_s=0.05, generation=G - 1))
    assert bench.mail(TO.conn) == []
    bench.tell(EchoAnswered(peer=BOB, path="relayed", token=probe.token, rtt_s=0.05, generation=G))
    assert [type(mail) for mail in bench.mail(TO.conn)] == [PathProven]


def test_a_path_that_is_never_proven_is_evidence_and_each_next_one_is_given_longer() -> None:
    bench = watcher()
    limits = []
    for generation in range(G, G + 8):
        bench.tell(WatchPath(peer=BOB, path="relayed", generation=generation))
        limits.append(until(bench, PathDead, step_s=0.5))
        bench.tags()
    assert limits[0] == pytest.approx(OURS_PROVING_S, abs=0.5)
    assert limits == sorted(limits)
    assert limits[-1] == pytest.approx(MAX_PROVING_S, abs=0.5)


def test_a_foreign_peer_is_given_longer_and_probed_by_handshakes_only() -> None:
    bench = watcher(ours=False)
    bench.tell(WATCH)
    assert until(bench, PathDead) == pytest.approx(PROVING_S, abs=0.1)
    sent = bench.mail(TUNNELS)
    assert sent == [InitiateHandshake(peer=BOB)] * 6


# --- doubt, ours ---


def test_silence_is_probed_doubted_and_then_evidence() -> None:
    bench = proven()
    bench.advance(30)
    bench.tell(silent(bench))
    assert len(probes(bench)) == 1
    assert until(bench, PathDoubtful) == pytest.approx(0.3, abs=0.06)
    assert until(bench, PathDead) == pytest.approx(1.0, abs=0.25)
    assert len(probes(bench)) == 2  # three in all
    assert bench.mail(TO.relay_worker) == [
        RelayEvidence(peer=BOB, generation=G, reason="sent and nothing heard, and 3 probes went unanswered")
    ]


def test_an_answer_to_any_probe_of_the_series_ends_it() -> None:
    for number in range(3):
        bench = proven()
        bench.advance(30)
        bench.tell(silent(bench))
        bench.advance(0.3 * number + 0.3 * (number == 2) + 0.01)
        bench.tell(answer(probes(bench)[number]))
        assert isinstance(bench.state, Proven)
        doubted = [type(mail) for mail in bench.mail(TO.conn)]
        assert doubted == ([] if number == 0 else [PathDoubtful, PathProven])


def test_any_packet_on_the_path_ends_it_too() -> None:
    bench = proven()
    bench.advance(30)
    bench.tell(silent(bench))
    bench.advance(0.5)
    bench.tell(heard(bench))
    assert isinstance(bench.state, Proven)
    bench.advance(5)
    assert bench.mail(TO.relay_worker) == []


def test_the_second_probe_brings_a_handshake_for_a_peer_whose_keys_are_gone() -> None:
    bench = proven()
    bench.advance(30)
    bench.tell(silent(bench))
    assert InitiateHandshake(peer=BOB) not in bench.mail(TUNNELS)
    bench.advance(0.3)
    assert InitiateHandshake(peer=BOB) in bench.mail(TUNNELS)


def test_silence_that_has_ended_or_is_about_another_path_is_nothing() -> None:
    bench = proven()
    bench.advance(30)
    stale = silent(bench)
    bench.tell(heard(bench), stale, silent(bench, G - 1))
    assert probes(bench) == []


def test_a_hint_probes_unless_something_was_heard_just_now() -> None:  # recovery R4
    bench = proven()
    bench.advance(1.9)
    bench.tell(HINT)
    assert probes(bench) == []
    bench.advance(0.2)
    bench.tell(HINT, HINT)
    assert len(probes(bench)) == 1


@pytest.mark.parametrize("trouble", [RekeyUnanswered(peer=BOB, attempts=1), GivenUp(peer=BOB)])
def test_unanswered_handshakes_are_hints(trouble: RekeyUnanswered | GivenUp) -> None:
    bench = proven()
    bench.advance(3)
    bench.tell(trouble)
    assert len(probes(bench)) == 1


def test_an_outside_event_has_the_path_proven_anew_at_once() -> None:  # recovery R12
    bench = proven()
    bench.tell(OutsideEvent(kind="resumed"))
    assert len(probes(bench)) == 1
    bench = proven()
    bench.tell(OutsideEvent(kind="signal_connected"))
    assert probes(bench) == []


def test_an_idle_path_is_probed_when_keepalives_are_missing() -> None:
    bench = proven()
    bench.advance(IDLE_S - 0.1)
    assert probes(bench) == []
    assert until(bench, PathDead) <= 55 - IDLE_S + 0.1


def test_an_idle_path_without_keepalives_is_given_longer() -> None:
    bench = proven(keepalive=False)
    bench.advance(IDLE_UNKEPT_S - 0.1)
    assert probes(bench) == []
    until(bench, PathDead, 5)


def test_what_is_heard_keeps_an_idle_path_from_being_probed() -> None:
    bench = proven()
    for _ in range(20):
        bench.advance(25)
        bench.tell(heard(bench))
    assert probes(bench) == []


def series(bench: Bench, unanswered: int, round_trip_s: float = 0.05) -> None:
    """Have the path probed, and answer after so many echoes were lost."""
    bench.advance(30)
    bench.tell(silent(bench))
    bench.advance((0.0, 0.3, 0.9)[unanswered] + round_trip_s)
    bench.tell(answer(probes(bench)[unanswered]))
    assert isinstance(bench.state, Proven)


def probes_until_dead(bench: Bench) -> int:
    bench.advance(30)
    bench.tell(silent(bench))
    assert until(bench, PathDead) < 8.0
    return len(probes(bench))


def test_a_path_that_loses_packets_is_given_more_probes() -> None:  # S20
    assert probes_until_dead(proven()) == 3
    bench = proven()
    series(bench, 1)
    series(bench, 1)
    assert probes_until_dead(bench) == 9
    bench = proven()
    for _ in range(30):
        series(bench, 2)
    assert probes_until_dead(bench) == 12  # and no more


def test_that_is_forgotten_when_it_loses_none_any_more() -> None:
    bench = proven()
    series(bench, 1)
    for _ in range(12):
        series(bench, 0)
    assert probes_until_dead(bench) == 3


def test_an_answer_that_takes_long_is_no_loss() -> None:
    bench = proven()
    bench.tell(HandshakeCompleted(peer=BOB, path="relayed", role="initiator", rtt_s=0.4, generation=G))
    for _ in range(4):
        bench.advance(30)
        bench.tell(silent(bench))
        bench.advance(0.4)
        assert len(probes(bench)) == 2
        bench.tell(heard(bench))
    assert probes_until_dead(bench) == 3


def test_a_starved_timer_convicts_nobody() -> None:
    bench = proven()
    bench.advance(30)
    bench.tell(silent(bench))
    bench.advance(1.0)  # three are out
    bench.now += 3  # this process did not run
    bench.advance(0.0)
    assert bench.mail(TO.relay_worker) == []
    bench.tell(answer(probes(bench)[-1]))
    assert isinstance(bench.state, Proven)


# --- doubt, foreign and unknown ---


def test_one_way_silence_of_a_foreign_peer_is_healthy() -> None:
    bench = proven(ours=False)
    bench.advance(30)
    bench.tell(silent(bench))
    bench.advance(8.9)  # 9.9 s of silence
    assert bench.mail(TUNNELS) == []
    bench.tell(heard(bench))
    bench.advance(20)
    assert bench.mail(TUNNELS) == []


def test_a_hint_ends_that_patience() -> None:  # recovery R4, R12
    for hint in (HINT, OutsideEvent(kind="resumed"), GivenUp(peer=BOB)):
        bench = proven(ours=False)
        bench.advance(30)
        bench.tell(silent(bench))
        assert bench.mail(TUNNELS) == []
        bench.tell(hint, hint)
        assert bench.mail(TUNNELS) == [InitiateHandshake(peer=BOB)]


def test_then_it_is_probed_by_handshakes() -> None:
    bench = proven(ours=False)
    bench.advance(30)
    bench.tell(silent(bench))
    assert until(bench, PathDoubtful) == pytest.approx(9 + 5, abs=0.1)
    assert until(bench, PathDead) == pytest.approx(2, abs=0.1)
    assert bench.mail(TUNNELS) == [InitiateHandshake(peer=BOB)] * 2


def test_a_peer_not_yet_known_is_probed_both_ways_and_known_by_its_echo() -> None:
    bench = proven(ours=None)
    bench.advance(30)
    bench.tell(HINT)
    [probe, shake] = bench.mail(TUNNELS)
    assert isinstance(probe, ProbePath)
    assert shake == InitiateHandshake(peer=BOB)
    bench.tell(answer(probe))
    bench.advance(3)
    bench.tell(HINT)
    assert until(bench, PathDead) < 1.6  # as one of ours


# --- what is watched ---


def test_a_dead_path_is_repeated_until_another_is_watched() -> None:  # recovery R8
    bench = proven()
    bench.advance(30)
    bench.tell(silent(bench))
    bench.advance(12)
    assert len(bench.mail(TO.relay_worker)) == 3
    bench.tell(heard(bench))  # too late
    assert isinstance(bench.state, Dead)
    bench.tell(WatchPath(peer=BOB, path=None))
    bench.advance(1000)
    assert bench.mail(TO.relay_worker) == []


def test_the_evidence_goes_to_who_can_act_on_it_before_anybody_else_hears() -> None:  # recovery R6
    bench = proven()
    bench.advance(30)
    bench.tell(silent(bench))
    until(bench, PathDoubtful)
    bench.tags()
    bench.advance(2)
    assert [name for name in bench.tags() if name not in ("ProbePath", "InitiateHandshake")] == [
        "RelayEvidence",
        "PathDead",
        "PathsHeard",
    ]


def test_offers_hear_what_came_last_when_the_verdict_on_a_path_is_another() -> None:  # recovery R14
    bench = watcher()
    bench.tell(WATCH, heard(bench))
    assert bench.mail(TO.offer_listener) == [PathsHeard(peer=BOB, relayed_at=bench.now)]
    bench.advance(10)
    bench.tell(heard(bench))
    last_at = bench.now
    assert bench.mail(TO.offer_listener) == [], "it is proven still"
    bench.advance(3)
    bench.tell(silent(bench))
    until(bench, PathDoubtful)
    assert bench.mail(TO.offer_listener) == [PathsHeard(peer=BOB, relayed_at=last_at)]


def test_a_dead_direct_path_is_distress() -> None:
    bench = watcher()
    bench.tell(WatchPath(peer=BOB, path="direct"))
    bench.tell(HandshakeCompleted(peer=BOB, path="direct", role="initiator", rtt_s=0.1))
    bench.advance(30)
    bench.tell(HINT)
    until(bench, PathDead)
    [distress] = bench.mail(TO.ice_worker)
    assert isinstance(distress, Distress)
    assert distress.path == "direct"
    assert bench.mail(TO.relay_worker) == []


def test_with_the_packet_process_the_path_is_gone() -> None:
    bench = proven()
    bench.tell(ProcessRestarted(process=PACKET, incarnation=2))
    assert isinstance(bench.state, Unwatched)
    bench.advance(100)
    assert bench.tags() == []


def test_a_path_that_outlived_the_control_process_is_proven_and_probed() -> None:
    bench = watcher(ours=None, resumed_heard_at=990.0)
    bench.tell(WATCH)
    assert bench.mail(TO.conn) == [PathProven(peer=BOB, path="relayed", generation=G, heard_at=990.0)]
    assert len(probes(bench)) == 1
    assert until(bench, PathDead) < 10


def test_but_not_if_it_was_last_heard_long_ago() -> None:
    bench = watcher(ours=None, resumed_heard_at=900.0)
    bench.tell(WATCH)
    assert bench.mail(TO.conn) == []


# --- the floor ---


def test_with_probing_off_the_age_of_the_handshake_decides() -> None:
    bench = watcher(probing=False)
    bench.tell(WATCH)
    assert until(bench, PathDead) == pytest.approx(FLOOR_FIRST_S, abs=0.1)
    bench = watcher(probing=False)
    bench.tell(WATCH, HandshakeCompleted(peer=BOB, path="relayed", role="initiator", rtt_s=0.1, generation=G))
    assert until(bench, PathProven) == 0
    bench.advance(100)
    bench.tell(silent(bench), HINT, heard(bench))
    assert until(bench, PathDead) == pytest.approx(FLOOR_S - 100, abs=0.1)
    assert bench.mail(TUNNELS) == []


def test_with_probing_off_new_handshakes_keep_it() -> None:
    bench = watcher(probing=False)
    bench.tell(WATCH)
    for _ in range(10):
        bench.tell(HandshakeCompleted(peer=BOB, path="relayed", role="initiator", rtt_s=0.1, generation=G))
        bench.advance(120)
    assert bench.mail(TO.relay_worker) == []


# --- R8, whatever comes ---


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["watch", "unwatch", "heard", "old", "silent", "hint", "event", "rekey", "ours", "foreign", "shake"]
            ),
            st.sampled_from([0.0, 0.1, 0.7, 3.0, 40.0]),
        )
    )
)
def test_a_watched_path_always_has_a_timer_and_a_silent_one_dies(steps: list[tuple[str, float]]) -> None:
    bench = watcher(ours=None)
    for step, wait in steps:
        match step:
            case "watch":
                bench.tell(WATCH)
            case "unwatch":
                bench.tell(WatchPath(peer=BOB, path=None))
            case "heard":
                bench.tell(heard(bench))
            case "old":
                bench.tell(heard(bench, G - 1))
            case "silent":
                bench.tell(silent(bench))
            case "hint":
                bench.tell(HINT)
            case "event":
                bench.tell(OutsideEvent(kind="network_changed"))
            case "rekey":
                bench.tell(RekeyUnanswered(peer=BOB, attempts=2))
            case "ours" | "foreign":
                bench.tell(RemoteKnown(peer=BOB, ours=step == "ours", ice=False))
            case "shake":
                bench.tell(HandshakeCompleted(peer=BOB, path="relayed", role="responder", rtt_s=None))
        bench.advance(wait)
        assert (WatchDue in bench.timers) != isinstance(bench.state, Unwatched)
    bench.tell(WATCH)
    bench.advance(MAX_PROVING_S + 1)
    assert isinstance(bench.state, Dead)
