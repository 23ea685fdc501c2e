"""The Conn with a direct path: what packets take, what is watched, who hears of it."""

import pytest

from actors.addresses import STATUS, TUNNELS
from actors.messages.packet import SetPath
from actors.messages.peer import (
    DirectDue,
    Distress,
    IceDoubtful,
    IceLost,
    IceReady,
    PathDead,
    PathDoubtful,
    PathLost,
    PathProven,
    PathReady,
    ProveNow,
    RelayLost,
    RelayReady,
    RemoteKnown,
    WatchPath,
)
from actors.messages.status import PeerStatus
from actors.peer.conn import OTHERS_DIRECT_S, Conn
from tests.actors.peer.names import BOB, HOME, TO
from tests.kit.bench import Bench
from wg.paths import DirectPath, PathKind, RelayedPath

RELAYED = RelayedPath(link=1, generation=5)
DIRECT = DirectPath(ip="192.0.2.7", port=51820, local="10.0.0.1")
ELSEWHERE = DirectPath(ip="198.51.100.7", port=51820, local="10.0.0.1")
G = 7  # generation of the direct path


def bench_of(*, controller: bool = True, ours: bool = True) -> Bench:
    bench = Bench(Conn(BOB, "bob", TO, controller=controller, first_generation=5, ice=True))
    bench.tell(RemoteKnown(peer=BOB, ours=ours, ice=True))
    return bench


def relay_ready(generation: int = 5) -> RelayReady:
    return RelayReady(peer=BOB, generation=generation, link=1, url=HOME)


def ice_ready(generation: int = G, path: DirectPath = DIRECT) -> IceReady:
    return IceReady(peer=BOB, generation=generation, path=path, words="10.0.0.1 -> srflx 192.0.2.7:51820")


def proven(bench: Bench, kind: PathKind = "direct") -> PathProven:
    return PathProven(peer=BOB, path=kind, generation=5 if kind == "relayed" else G, heard_at=bench.now)


def doubtful(kind: PathKind = "direct") -> PathDoubtful:
    return PathDoubtful(peer=BOB, path=kind, generation=5 if kind == "relayed" else G, reason="a probe went unanswered")


def dead(kind: PathKind = "direct") -> PathDead:
    return PathDead(peer=BOB, path=kind, generation=5 if kind == "relayed" else G, reason="15 probes went unanswered")


def ice_lost(generation: int = G) -> IceLost:
    return IceLost(peer=BOB, generation=generation, reason="15 probes went unanswered", tried=("a line",))


def relay_lost() -> RelayLost:
    return RelayLost(peer=BOB, generation=5, reason="the link broke")


def relayed(*, controller: bool = True, ours: bool = True) -> Bench:
    """Packets go over the relay, and that is proven."""
    bench = bench_of(controller=controller, ours=ours)
    bench.tell(relay_ready(), proven(bench, "relayed"))
    bench.tags()
    return bench


def direct(*, ours: bool = True) -> Bench:
    """Packets go directly, the relay stands by."""
    bench = relayed(ours=ours)
    bench.tell(ice_ready(), proven(bench))
    bench.tags()
    bench.mail(STATUS)
    return bench


def paths(bench: Bench) -> list[tuple[object, object]]:
    return [(mail.path, mail.standby) for mail in bench.mail(TUNNELS) if isinstance(mail, SetPath)]


def watched(bench: Bench) -> WatchPath:
    return [mail for mail in bench.mail(TO.wg_watcher) if isinstance(mail, WatchPath)][-1]


def status(bench: Bench) -> PeerStatus:
    last = bench.mail(STATUS)[-1]
    assert isinstance(last, PeerStatus)
    return last


# --- up ---


def test_a_pair_of_ours_is_used_beside_the_relay_until_it_is_proven() -> None:  # recovery R9
    bench = relayed()
    bench.tell(ice_ready())
    assert paths(bench) == [(DIRECT, RELAYED)]
    assert watched(bench) == WatchPath(
        peer=BOB, path="direct", generation=G, standby="relayed", standby_generation=5
    )  # recovery R8
    assert bench.mail(TO.guard) == []  # the relay carries on: nothing was lost
    bench.tell(proven(bench))
    assert paths(bench) == [(DIRECT, None)]
    assert bench.mail(TO.guard) == [PathReady(peer=BOB, path="direct", standby=True)]
    assert (status(bench).state, status_path(bench)) == ("connected", "direct")


def status_path(bench: Bench) -> str | None:
    state = bench.state
    return "direct" if state.ways.direct is not None and state.ways.direct.standing == "proven" else "relayed"


def test_without_a_relay_it_is_used_alone() -> None:
    bench = bench_of()
    bench.tags()
    bench.tell(ice_ready())
    assert paths(bench) == [(DIRECT, None)]
    assert watched(bench) == WatchPath(peer=BOB, path="direct", generation=G)
    bench.tell(proven(bench))
    assert bench.mail(TO.guard) == [PathReady(peer=BOB, path="direct")]


def test_a_relay_that_comes_later_stands_by_and_carries_until_it_is_proven() -> None:
    bench = bench_of()
    bench.tell(ice_ready(), proven(bench))
    bench.tags()
    bench.tell(relay_ready())
    assert paths(bench) == [(DIRECT, RELAYED)]
    bench.tell(proven(bench, "relayed"))
    assert paths(bench) == [(DIRECT, None)]
    assert bench.mail(TO.guard)[-1] == PathReady(peer=BOB, path="direct", standby=True)


def test_another_pair_is_proven_anew_beside_the_relay() -> None:
    bench = direct()
    bench.tell(ice_ready(G + 1, ELSEWHERE))
    assert paths(bench) == [(ELSEWHERE, RELAYED)]
    assert watched(bench).generation == G + 1
    bench.tell(proven(bench))  # about the pair before
    assert paths(bench) == []


def test_the_same_pair_again_changes_nothing() -> None:
    bench = direct()
    bench.tell(ice_ready())
    assert bench.tags() == []


# --- doubt and death, between ours ---


@pytest.mark.parametrize("doubt", [doubtful(), IceDoubtful(peer=BOB, generation=G, reason="no answer for 0.4 s")])
def test_in_doubt_packets_go_both_ways_until_one_is_proven(doubt: PathDoubtful | IceDoubtful) -> None:  # recovery R9
    bench = direct()
    bench.tell(doubt)
    assert paths(bench) == [(RELAYED, DIRECT)]
    mail = bench.mail(TO.wg_watcher)
    assert WatchPath(peer=BOB, path="relayed", generation=5, standby="direct", standby_generation=G) in mail
    assert any(isinstance(each, ProveNow) for each in mail) is isinstance(doubt, IceDoubtful)
    bench.tell(proven(bench))
    assert paths(bench) == [(DIRECT, None)]
    assert bench.mail(TO.guard) == []
    assert bench.mail(TO.ice_worker) == []


def test_a_dead_one_leaves_the_relay_and_a_recovery_is_counted() -> None:
    bench = direct()
    bench.tell(doubtful())
    bench.advance(0.1)
    bench.tell(proven(bench, "relayed"))
    assert status(bench).recoveries == 1
    bench.tell(dead())
    assert paths(bench) == [(RELAYED, DIRECT), (RELAYED, None)]
    assert bench.mail(TO.guard)[-1] == PathReady(peer=BOB, path="relayed")
    bench.tell(ice_lost())
    assert (status(bench).state, paths(bench)) == ("connected", [])


def test_a_pair_that_is_lost_before_it_was_proven_costs_nothing() -> None:
    bench = relayed()
    bench.tell(ice_ready(), ice_lost())
    assert paths(bench) == [(DIRECT, RELAYED), (RELAYED, None)]
    assert bench.mail(TO.guard) == []
    shown = status(bench)
    assert (shown.state, shown.reason, shown.tried) == (
        "connected",
        "no direct path: 15 probes went unanswered",
        ("a line",),
    )


def test_when_the_relay_goes_the_direct_path_carries_on_and_the_guard_hears_that_nothing_stands_by() -> None:
    bench = direct()
    bench.tell(relay_lost())
    assert paths(bench) == []
    assert watched(bench) == WatchPath(peer=BOB, path="direct", generation=G)
    assert bench.mail(TO.guard) == [PathReady(peer=BOB, path="direct", standby=False)]


def test_the_guard_hears_of_a_loss_when_the_last_way_is_gone() -> None:
    bench = direct()
    bench.tell(doubtful(), relay_lost())
    assert not any(isinstance(mail, PathLost) for mail in bench.mail(TO.guard))
    assert paths(bench)[-1] == (DIRECT, None)
    bench.tell(dead(), ice_lost())
    assert [mail for mail in bench.mail(TO.guard) if isinstance(mail, PathLost)] != []
    assert paths(bench) == [(None, None)]


def test_mail_about_another_pair_changes_nothing() -> None:
    bench = direct()
    before = bench.state
    late = [
        PathDead(peer=BOB, path="direct", generation=G - 1, reason="late"),
        PathDoubtful(peer=BOB, path="direct", generation=G - 1, reason="late"),
        ice_lost(G - 1),
    ]
    bench.tell(*late)
    assert bench.state.ways == before.ways
    assert paths(bench) == []


# --- a foreign peer: one path at a time (recovery R9) ---


def test_a_foreign_peer_is_moved_to_the_pair_at_once_where_we_control() -> None:
    bench = relayed(ours=False)
    bench.tell(ice_ready())
    assert paths(bench) == [(DIRECT, None)]


def test_a_foreign_controller_moves_first_or_has_had_its_time() -> None:  # signal spec 5.11
    bench = relayed(controller=False, ours=False)
    bench.tell(ice_ready())
    assert paths(bench) == []
    assert watched(bench) == WatchPath(peer=BOB, path="relayed", generation=5, standby="direct", standby_generation=G)
    bench.tell(proven(bench))
    assert paths(bench) == [(DIRECT, None)]
    bench = relayed(controller=False, ours=False)
    bench.tell(ice_ready())
    bench.advance(OTHERS_DIRECT_S + 0.1)
    assert paths(bench) == [(DIRECT, None)]
    assert DirectDue not in bench.timers


def test_in_doubt_a_foreign_peer_is_sent_to_over_the_relay_and_the_session_rotates() -> None:
    bench = direct(ours=False)
    bench.tell(doubtful())
    assert paths(bench) == [(RELAYED, None)]
    assert bench.mail(TO.ice_worker) == [
        Distress(peer=BOB, path="direct", generation=G, reason="a probe went unanswered")
    ]
