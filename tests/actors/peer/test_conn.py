from actors.addresses import PACKET, PEERS, STATUS, TUNNELS
from actors.messages.node import PeerStarted
from actors.messages.packet import RenewHandshake, SetPath
from actors.messages.peer import (
    Distress,
    MeetElsewhere,
    PathDead,
    PathDoubtful,
    PathHindered,
    PathLost,
    PathProven,
    PathReady,
    PeerQuarantined,
    RelayEvidence,
    RelayLost,
    RelayReady,
    RemoteIdle,
    RemoteKnown,
    ResetPeer,
    WatchPath,
)
from actors.messages.process import ProcessRestarted
from actors.messages.status import PeerStatus
from actors.peer.conn import OTHERS_HANDSHAKE_S, Conn
from actors.peer.conn_states import Held, Pathless, Proven, Unproven
from actors.peer.ways import Relay, Ways
from tests.actors.peer.names import BOB, HOME, TO
from tests.kit.bench import Bench
from wg.paths import RelayedPath


def bench_of(*, controller: bool = True, resumed: Held | None = None) -> Bench:
    return Bench(Conn(BOB, "bob", TO, controller=controller, first_generation=5, resumed=resumed))


def ready(generation: int = 5) -> RelayReady:
    return RelayReady(peer=BOB, generation=generation, link=1, url=HOME)


def proven(bench: Bench, generation: int = 5) -> PathProven:
    return PathProven(peer=BOB, path="relayed", generation=generation, heard_at=bench.now)


def doubtful(generation: int = 5) -> PathDoubtful:
    return PathDoubtful(peer=BOB, path="relayed", generation=generation, reason="a probe went unanswered")


def dead(generation: int = 5) -> PathDead:
    return PathDead(peer=BOB, path="relayed", generation=generation, reason="3 probes went unanswered")


def lost(generation: int = 5) -> RelayLost:
    return RelayLost(peer=BOB, generation=generation, reason="3 probes went unanswered")


def status(bench: Bench) -> PeerStatus:
    last = bench.mail(STATUS)[-1]
    assert isinstance(last, PeerStatus)
    return last


def test_a_relayed_connection_is_used_and_watched_at_once() -> None:  # recovery R8
    bench = bench_of()
    bench.tell(ready())
    path = RelayedPath(link=1, generation=5)
    assert bench.mail(TUNNELS) == [SetPath(peer=BOB, path=path, handshake_after_s=0.0)]
    assert bench.mail(TO.wg_watcher) == [WatchPath(peer=BOB, path="relayed", generation=5)]


def test_who_is_not_the_controller_leaves_it_the_first_handshake() -> None:
    bench = bench_of(controller=False)
    bench.tell(ready())
    [use] = bench.mail(TUNNELS)
    assert isinstance(use, SetPath)
    assert use.handshake_after_s == OTHERS_HANDSHAKE_S


def test_only_a_proven_path_is_connected() -> None:  # recovery R13
    bench = bench_of()
    assert status(bench).state == "connecting"
    bench.tell(ready())
    shown = status(bench)
    assert (shown.state, shown.path, shown.relay_url) == ("connecting", "relayed", HOME)
    bench.tell(proven(bench))
    assert status(bench).state == "connected"
    assert bench.mail(TO.guard) == [PathReady(peer=BOB, path="relayed")]
    bench.tell(doubtful())
    assert status(bench).state == "doubtful"
    bench.tell(proven(bench))
    assert status(bench).state == "connected"
    assert bench.mail(TO.guard) == []  # nothing was lost


def test_a_lost_path_is_used_and_watched_no_more_and_the_guard_hears_of_it() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    bench.tags()
    bench.tell(lost())
    assert bench.mail(TUNNELS) == [SetPath(peer=BOB, path=None)]
    assert bench.mail(TO.wg_watcher) == [WatchPath(peer=BOB, path=None)]
    assert bench.mail(TO.guard) == [PathLost(peer=BOB, reason="3 probes went unanswered")]


def test_the_guard_hears_of_a_dead_path_only_when_it_is_closed() -> None:  # recovery R6
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    bench.tags()
    bench.tell(dead())
    assert status(bench).state == "connecting"
    assert bench.tags() == ["KeepRecovery"]
    bench.tell(lost())
    assert [type(mail) for mail in bench.mail(TO.guard)] == [PathLost]


def test_mail_about_an_older_connection_changes_nothing() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench), lost(), ready(6))
    bench.tags()
    before = bench.state
    bench.tell(lost(5), dead(5), doubtful(5), proven(bench, 5))
    assert bench.state == before
    assert bench.tags() == []


def test_a_connection_of_the_machines_before_these_is_not_used() -> None:
    bench = bench_of()
    bench.tags()
    bench.tell(ready(4))
    assert bench.tags() == []
    assert isinstance(bench.state, Pathless)


def test_a_recovery_is_counted_from_noticing_to_proof_with_its_cause() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    bench.tell(doubtful())
    bench.advance(1.2)
    bench.tell(dead(), lost())
    bench.advance(0.3)
    bench.tell(ready(6), proven(bench, 6))
    shown = status(bench)
    assert shown.recoveries == 1
    assert shown.last_recovery_s is not None
    assert abs(shown.last_recovery_s - 1.5) < 0.001
    assert shown.last_recovery_cause == "3 probes went unanswered"


def test_the_first_proof_and_a_passing_doubt_are_no_recoveries() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench), doubtful(), proven(bench))
    assert status(bench).recoveries == 0


def test_with_the_packet_process_the_path_is_gone_and_there_is_nothing_to_unset() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    bench.tags()
    bench.tell(ProcessRestarted(process=PACKET, incarnation=2))
    assert bench.mail(TUNNELS) == []
    assert [type(mail) for mail in bench.mail(TO.guard)] == [PathLost]
    bench.tell(lost(), ready(6))
    assert [type(mail) for mail in bench.mail(TUNNELS)] == [SetPath]
    bench.tell(proven(bench, 6), ProcessRestarted(process="control-1", incarnation=3))
    assert isinstance(bench.state, Proven)


def test_a_path_that_outlived_the_control_process_is_watched_and_left_alone() -> None:
    relay = Relay(link=1, generation=5, url=HOME, standing="resumed")
    bench = bench_of(resumed=Held(Ways(relay), relay.path))
    assert bench.mail(TUNNELS) == []
    assert bench.mail(TO.wg_watcher) == [WatchPath(peer=BOB, path="relayed", generation=5)]
    assert bench.mail(PEERS) == [PeerStarted(peer=BOB)]
    assert isinstance(bench.state, Unproven)
    assert status(bench).state == "connecting"


def test_the_operator_reads_why_there_is_no_path() -> None:
    bench = bench_of()
    assert status(bench).reason == "nothing heard from the remote yet"
    bench.tell(PathHindered(peer=BOB, by="offers", reason="the remote has not answered any offer (3 sent)"))
    bench.tell(PathHindered(peer=BOB, by="relay", reason="the remote has not come to the relay yet"))
    bench.tell(PathHindered(peer=BOB, by="server", reason="the relay server is not reachable: connection refused"))
    assert status(bench).reason == (
        "the remote has not answered any offer (3 sent); the relay server is not reachable: connection refused"
    )
    bench.tell(PathHindered(peer=BOB, by="server", reason=""), PathHindered(peer=BOB, by="offers", reason=""))
    assert status(bench).reason == "the remote has not come to the relay yet"


def test_a_remote_that_answers_offers_while_no_path_is_proven_is_told_as_there() -> None:  # for the node's rungs (R11)
    bench = bench_of()
    unanswered = PathHindered(peer=BOB, by="offers", reason="the remote has not answered any offer (1 sent)")
    assert not status(bench).answers
    bench.tell(unanswered)
    assert not status(bench).answers
    bench.tell(RemoteKnown(peer=BOB, ours=True, ice=True), PathHindered(peer=BOB, by="offers", reason=""))
    assert status(bench).answers
    bench.tell(ready(), proven(bench))
    assert not status(bench).answers
    bench.tell(lost(), unanswered)
    assert not status(bench).answers


def test_status_is_told_on_changes_only() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    bench.mail(STATUS)
    bench.advance(100)
    known = RemoteKnown(peer=BOB, ours=True, ice=False)
    bench.tell(known, known, proven(bench), PathHindered(peer=BOB, by="offers", reason="unseen while connected"))
    assert len(bench.mail(STATUS)) == 1  # that it is ours


def test_an_idle_remote_is_shown_as_idle() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench), RemoteIdle(peer=BOB))
    assert status(bench).state == "connected"
    bench.tell(lost())
    assert status(bench).state == "idle"
    unanswered = PathHindered(peer=BOB, by="offers", reason="the remote has not answered any offer (1 sent)")
    bench.tell(unanswered)  # there was traffic for it, and it does not wake
    shown = status(bench)
    assert (shown.state, shown.reason) == ("connecting", unanswered.reason)
    bench.tell(PathHindered(peer=BOB, by="offers", reason=""))
    assert status(bench).state == "idle"
    bench.tell(RemoteKnown(peer=BOB, ours=False, ice=False))
    assert status(bench).state == "connecting"
    assert isinstance(bench.state, Pathless)


# --- the ladder, the budget, a reset ---


def test_a_dead_relay_is_opened_anew_then_another_one_then_the_handshake_begins_anew() -> None:  # recovery R11
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    climbed = []
    for generation, wait_s in enumerate((2.0, 10.0, 20.0, 40.0, 80.0, 160.0, 180.0, 180.0), start=5):
        bench.advance(wait_s)
        if generation > 5:
            bench.tell(ready(generation))
        bench.tell(dead(generation), lost(generation))
        elsewhere = MeetElsewhere(peer=BOB) in bench.mail(TO.relay_worker)
        renewed = RenewHandshake(peer=BOB) in bench.mail(TUNNELS)
        climbed.append("relay" if elsewhere else "handshake" if renewed else "connection")
    # Until 180 s a session may be left, and is no reason to begin anew.
    assert climbed == ["connection", "relay", "connection", "relay", "connection", "relay", "handshake", "connection"]
    assert status(bench).rungs == {"probe": 1, "new_connection": 7, "handshake": 1}  # each time at the same relay


def test_many_attempts_without_a_proof_quarantine_the_peer_and_a_proof_ends_it() -> None:  # recovery R10
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    for generation in range(5, 11):
        assert not any(isinstance(mail, PeerQuarantined) for mail in bench.mail(TO.guard))
        if generation > 5:
            bench.tell(ready(generation))
        bench.tell(dead(generation), lost(generation))
        bench.advance(10.0)
    told = bench.mail(TO.guard)
    # Told again with the loss: to a guard that still knew of a path the first was no matter.
    assert [type(mail) for mail in told] == [PeerQuarantined, PathLost, PeerQuarantined]
    shown = status(bench)
    assert (shown.disruptions, shown.budget_left, shown.quarantined_for) == (6, 0, told[0].reason)
    bench.tell(ready(11), proven(bench, 11))
    shown = status(bench)
    assert (shown.disruptions, shown.budget_left, shown.quarantined_at) == (6, 6, None)


def test_a_path_that_others_took_away_costs_nothing() -> None:
    bench = bench_of()
    for generation in range(5, 25):
        bench.tell(ready(generation), proven(bench, generation), lost(generation))
    shown = status(bench)
    assert (shown.disruptions, shown.budget_left) == (0, 6)
    assert [(past.cause, past.count) for past in shown.recovered] == [("relay", 19)]


def test_a_reset_begins_anew_with_everything_and_is_counted() -> None:
    bench = bench_of()
    bench.tell(ready(), proven(bench))
    bench.tags()
    bench.tell(ResetPeer(peer=BOB))
    why = "reset by hand"
    assert bench.mail(TO.ice_worker) == [Distress(peer=BOB, path="direct", reason=why)]
    assert bench.mail(TO.relay_worker) == [RelayEvidence(peer=BOB, generation=0, reason=why)]
    assert bench.mail(TUNNELS) == [RenewHandshake(peer=BOB)]
    assert bench.mail(TO.guard) == [ResetPeer(peer=BOB)]
    bench.tell(RelayLost(peer=BOB, generation=5, reason=why))
    assert bench.mail(TO.guard) == [PathLost(peer=BOB, reason=why)]
    bench.advance(1.5)
    bench.tell(ready(6), proven(bench, 6))
    shown = status(bench)
    assert (shown.resets, shown.last_recovery_cause) == (1, why)
    assert [(past.cause, past.count, past.last_s) for past in shown.recovered] == [("reset", 1, 1.5)]
