import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.addresses import ICE_AGENTS, PACKET, SIGNAL
from actors.messages.packet import (
    AddRemoteCandidate,
    CloseIceAgent,
    IceAgentClosed,
    IceAgentEnded,
    IceAgentSnapshot,
    IcePairDoubtful,
    IcePairProven,
    LocalCandidateFound,
    OpenIceAgent,
)
from actors.messages.peer import (
    Distress,
    IceDoubtful,
    IceDue,
    IceLost,
    IceReady,
    IceTurn,
    IceTurnDone,
    LocalIceChanged,
    RemoteIdle,
)
from actors.messages.process import ProcessRestarted
from actors.peer.ice_worker import (
    CHECKING_S,
    CLOSE_S,
    DOUBT_S,
    REPEAT_S,
    Checking,
    Closing,
    Connected,
    IceWorker,
    Resting,
)
from config.keys import Secret
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import BENCHES, Bench
from transport.signal.messages import CandidateReceived, IceCredentials, PostCandidate
from wg.datagrams import Endpoint
from wg.paths import DirectPath

ICE = IceCredentials(ufrag="u" * 16, pwd=Secret(b"p" * 32))
PATH = DirectPath(ip="192.0.2.7", port=51820, local="10.0.0.1")
OTHER_PATH = DirectPath(ip="198.51.100.7", port=51820, local="10.0.0.1")
FIRST = 100  # generation of the first direct path


def bench_of(*, enabled: bool = True, resumed: IceAgentSnapshot | None = None, in_use: bool = False) -> Bench:
    return Bench(
        IceWorker(
            BOB,
            TO,
            entropy=random.Random(1).randbytes,
            enabled=enabled,
            controlling=True,
            first_generation=FIRST,
            resumed=resumed,
            in_use=in_use,
        )
    )


def turn(session: bytes | None, *, number: int = 1, ice: IceCredentials | None = ICE, ours: bool = True) -> IceTurn:
    return IceTurn(peer=BOB, turn=number, ice=ice, session=session, ours=ours)


def take(bench: Bench, session: bytes | None, *, ice: IceCredentials | None = ICE, ours: bool = True) -> str:
    bench.tell(turn(session, ice=ice, ours=ours))
    [done] = [mail for mail in bench.mail(TO.offer_listener) if isinstance(mail, IceTurnDone)]
    return done.outcome


def told(bench: Bench) -> LocalIceChanged:
    [changed] = [mail for mail in bench.mail(TO.offer_listener) if isinstance(mail, LocalIceChanged)]
    return changed


def proven(bench: Bench, path: DirectPath = PATH, session: bytes | None = None) -> IcePairProven:
    state = bench.state
    return IcePairProven(
        peer=BOB,
        session=session or state.session,
        remote_session=state.remote_session,
        path=path,
        local="10.0.0.1",
        remote_kind="srflx",
        rtt_s=0.02,
    )


def doubtful(bench: Bench) -> IcePairDoubtful:
    return IcePairDoubtful(peer=BOB, session=bench.state.session, reason="no answer for 0.5 s")


def ended(session: bytes) -> IceAgentEnded:
    return IceAgentEnded(peer=BOB, session=session, reason="none of 2 pairs answered", tried=("a", "b"))


def distress(path: str = "direct", generation: int = 0) -> Distress:
    kind: Any = path
    return Distress(peer=BOB, path=kind, generation=generation, reason="3 probes went unanswered")


def checking(*, ours: bool = True) -> Bench:
    bench = bench_of()
    assert take(bench, b"aaaaa", ours=ours) == "taken"
    bench.tags()
    return bench


def connected(*, ours: bool = True) -> Bench:
    bench = checking(ours=ours)
    bench.tell(proven(bench))
    bench.tags()
    return bench


# --- what the remote says ---


@pytest.mark.parametrize("bench_type", BENCHES)
def test_a_first_session_of_the_remote_opens_an_agent(bench_type: type[Bench]) -> None:
    made = IceWorker(BOB, TO, entropy=random.Random(1).randbytes, enabled=True, controlling=False)
    with bench_type(made) as bench:
        said = told(bench)
        assert take(bench, b"aaaaa") == "taken"
        assert said.ice is not None
        assert said.session is not None
        assert bench.mail(ICE_AGENTS) == [
            OpenIceAgent(
                peer=BOB,
                session=said.session,
                remote_session=b"aaaaa",
                local=said.ice,
                remote=ICE,
                controlling=False,
                ours=True,
            )
        ]


def test_the_same_session_again_keeps_the_agent_and_so_does_none() -> None:  # recovery R7, signal spec 5.8
    for bench in (checking(), connected()):
        assert take(bench, b"aaaaa") == "kept"
        assert take(bench, None) == "kept"
        assert bench.mail(ICE_AGENTS) == []


def test_another_session_of_the_remote_replaces_the_agent_and_does_not_change_ours() -> None:  # recovery R6, R7
    bench = checking()
    session = bench.state.session
    assert take(bench, b"bbbbb") == "taken"
    assert bench.mail(ICE_AGENTS) == [CloseIceAgent(peer=BOB, session=session)]
    bench.tell(ended(session), proven_in(session, b"aaaaa"))  # what the old one still had to say
    assert isinstance(bench.state, Closing)
    bench.tell(IceAgentClosed(peer=BOB, session=session))
    [opened] = bench.mail(ICE_AGENTS)
    assert isinstance(opened, OpenIceAgent)
    assert (opened.session, opened.remote_session) == (session, b"bbbbb")
    assert bench.mail(TO.offer_listener) == []


def proven_in(session: bytes, remote_session: bytes | None) -> IcePairProven:
    return IcePairProven(
        peer=BOB,
        session=session,
        remote_session=remote_session,
        path=PATH,
        local="10.0.0.1",
        remote_kind="host",
        rtt_s=None,
    )


def test_the_latest_of_several_sessions_is_the_one_opened() -> None:
    bench = checking()
    session = bench.state.session
    assert [take(bench, b"bbbbb"), take(bench, b"ccccc"), take(bench, b"ccccc")] == ["taken", "taken", "kept"]
    bench.mail(ICE_AGENTS)
    bench.tell(IceAgentClosed(peer=BOB, session=session))
    [opened] = bench.mail(ICE_AGENTS)
    assert isinstance(opened, OpenIceAgent)
    assert opened.remote_session == b"ccccc"


def test_a_close_that_is_never_acknowledged_holds_nothing_up() -> None:
    bench = checking()
    take(bench, b"bbbbb")
    bench.mail(ICE_AGENTS)
    bench.advance(CLOSE_S)
    assert [type(mail) for mail in bench.mail(ICE_AGENTS)] == [OpenIceAgent]


def test_the_path_of_the_session_that_the_remote_left_goes_on_between_ours_until_there_is_another() -> None:
    bench = connected()
    take(bench, b"bbbbb")
    assert bench.mail(TO.conn) == [
        IceDoubtful(peer=BOB, generation=FIRST, reason="the remote has begun another ICE session")
    ]
    bench.tell(IceAgentClosed(peer=BOB, session=bench.state.session), proven_in(bench.state.session, b"bbbbb"))
    [ready] = bench.mail(TO.conn)
    assert isinstance(ready, IceReady)
    assert ready.generation == FIRST + 1


def test_but_a_foreign_peer_is_not_sent_to_on_it_any_more() -> None:  # recovery R9
    bench = connected(ours=False)
    take(bench, b"bbbbb", ours=False)
    [lost] = bench.mail(TO.conn)
    assert isinstance(lost, IceLost)
    assert lost.generation == FIRST


def test_a_remote_that_turns_ice_off_or_goes_idle_ends_the_agent_and_rotates_nothing() -> None:
    for message in (turn(None, ice=None), RemoteIdle(peer=BOB)):
        bench = connected()
        session = bench.state.session
        bench.tell(message)
        assert bench.mail(ICE_AGENTS) == [CloseIceAgent(peer=BOB, session=session)]
        assert [type(mail) for mail in bench.mail(TO.conn)] == [IceLost]
        bench.tell(IceAgentClosed(peer=BOB, session=session))
        assert bench.state == Resting(session)
        bench.mail(TO.offer_listener)
        assert take(bench, b"aaaaa") == "taken"


def test_without_ice_offers_say_so_and_the_session_still_turns_over() -> None:
    bench = bench_of(enabled=False)
    assert told(bench) == LocalIceChanged(peer=BOB, ice=None, session=None)
    assert take(bench, b"aaaaa") == "no_ice"
    before = bench.state.session
    bench.tell(distress("relayed"))
    assert bench.tags() == []
    assert bench.state.session != before


# --- candidates ---


def test_candidates_of_ours_are_posted_and_repeated_once_to_a_foreign_remote() -> None:  # signal spec 5.7
    for ours, repeated in ((True, 0), (False, 2)):
        bench = checking(ours=ours)
        session = bench.state.session
        posts = [PostCandidate(peer=BOB, candidate=text) for text in ("one", "two")]
        for text in ("one", "two"):
            bench.tell(LocalCandidateFound(peer=BOB, session=session, candidate=text))
        assert bench.mail(SIGNAL) == posts
        bench.advance(REPEAT_S)
        assert bench.mail(SIGNAL) == posts[:repeated]
        bench.advance(60)
        assert bench.mail(SIGNAL) == []


def test_candidates_of_the_remote_that_come_early_wait_for_the_agent() -> None:
    bench = bench_of()
    bench.tell(CandidateReceived(peer=BOB, candidate="early", nonce=b"1" * 24))
    assert bench.mail(ICE_AGENTS) == []
    take(bench, b"aaaaa")
    bench.tell(*(CandidateReceived(peer=BOB, candidate=text, nonce=b"2" * 24) for text in ("late", "early", "late")))
    opened, *candidates = bench.mail(ICE_AGENTS)
    assert isinstance(opened, OpenIceAgent)
    assert candidates == [
        AddRemoteCandidate(peer=BOB, session=opened.session, candidate=text) for text in ("early", "late")
    ]


# --- what the agent says ---


def test_a_proven_pair_is_proposed_and_each_other_one_anew() -> None:
    bench = checking()
    bench.tell(proven(bench), proven(bench), proven(bench, OTHER_PATH))
    told = [(mail.generation, mail.path) for mail in bench.mail(TO.conn) if isinstance(mail, IceReady)]
    assert told == [(FIRST, PATH), (FIRST, PATH), (FIRST + 1, OTHER_PATH)]


def test_doubt_between_ours_is_told_and_ends_with_an_answer() -> None:
    bench = connected()
    bench.tell(doubtful(bench))
    assert bench.mail(TO.conn) == [IceDoubtful(peer=BOB, generation=FIRST, reason="no answer for 0.5 s")]
    bench.tell(proven(bench))
    [again] = bench.mail(TO.conn)
    assert isinstance(again, IceReady)
    assert again.generation == FIRST
    bench.advance(2 * DOUBT_S)
    assert bench.tags() == []


def test_doubt_towards_a_foreign_peer_is_a_distress() -> None:  # recovery R9
    bench = connected(ours=False)
    session = bench.state.session
    bench.tell(doubtful(bench))
    assert bench.state.session != session
    assert bench.mail(ICE_AGENTS) == [CloseIceAgent(peer=BOB, session=session)]


@pytest.mark.parametrize("state", ["checking", "doubtful"])
def test_an_agent_that_says_nothing_for_too_long_is_given_up(state: str) -> None:
    bench = checking() if state == "checking" else connected()
    if state == "doubtful":
        bench.tell(doubtful(bench))
    bench.advance(CHECKING_S if state == "checking" else DOUBT_S)
    assert isinstance(bench.state, Resting)
    assert IceDue not in bench.timers


# --- distress ---


def test_each_distress_changes_everything_that_the_remote_can_see() -> None:  # recovery R6
    bench = bench_of()
    seen = [told(bench)]
    for _ in range(5):
        bench.tell(distress("relayed"))
        seen.append(told(bench))
    for before, after in pairwise(seen):
        assert before.ice is not None
        assert after.ice is not None
        assert before.session != after.session
        assert before.ice.ufrag != after.ice.ufrag
        assert before.ice.pwd != after.ice.pwd


def test_a_distress_is_one_step_agent_closed_rotated_told() -> None:  # recovery R6
    bench = connected()
    session = bench.state.session
    bench.tell(distress(generation=FIRST))
    assert [type(send.message) for send in bench.outbox] == [CloseIceAgent, LocalIceChanged, IceLost, IceLost]
    assert bench.mail(ICE_AGENTS) == [CloseIceAgent(peer=BOB, session=session)]
    assert bench.mail(TO.guard) == bench.mail(TO.conn)
    assert bench.state == Resting(bench.state.session)
    bench.mail(TO.offer_listener)
    assert take(bench, b"aaaaa") == "taken"  # the remote's id is forgotten


def test_all_that_one_trouble_says_is_one_distress() -> None:
    bench = connected()
    session = bench.state.session
    bench.tell(ended(session))
    after = bench.state
    bench.tags()
    bench.tell(distress(generation=FIRST), ended(session), IceAgentClosed(peer=BOB, session=session))
    bench.tell(IcePairDoubtful(peer=BOB, session=session, reason="late"), proven_in(session, b"aaaaa"))
    assert bench.state == after
    assert bench.tags() == []


def test_an_ended_agent_says_what_it_tried() -> None:
    bench = checking()
    bench.tell(ended(bench.state.session))
    assert bench.mail(TO.conn) == [IceLost(peer=BOB, generation=0, reason="none of 2 pairs answered", tried=("a", "b"))]


def test_a_dead_standby_relay_leaves_a_good_direct_path_alone() -> None:
    bench = connected()
    bench.tell(distress("relayed"))
    assert bench.tags() == []
    bench.tell(doubtful(bench), distress("relayed"))
    assert isinstance(bench.state, Resting)


def test_the_end_of_a_path_whose_session_the_remote_left_does_not_rotate() -> None:
    bench = connected()
    session = bench.state.session
    take(bench, b"bbbbb")
    bench.tell(IceAgentClosed(peer=BOB, session=session))
    bench.tags()
    bench.tell(distress(generation=FIRST))
    assert isinstance(bench.state, Checking)
    assert bench.state.session == session
    assert [type(mail) for mail in bench.mail(TO.conn)] == [IceLost]


def test_with_the_packet_process_the_agent_is_gone_and_the_session_with_it() -> None:
    bench = connected()
    session = bench.state.session
    bench.tell(ProcessRestarted(process="control-1", incarnation=3))
    assert bench.state.session == session
    bench.tell(ProcessRestarted(process=PACKET, incarnation=2))
    assert told(bench).session == bench.state.session != session
    assert bench.tags() == []  # nothing is left to close, and the Conn knows


# --- an agent that outlived the control process ---


def snapshot(state: str, **more: Any) -> IceAgentSnapshot:
    kind: Any = state
    selected = Endpoint("192.0.2.7", 51820) if state == "connected" else None
    return IceAgentSnapshot(
        peer=BOB,
        session=b"ourss",
        remote_session=b"aaaaa",
        local=ICE,
        controlling=True,
        ours=True,
        state=kind,
        selected=selected,
        local_ip="10.0.0.1",
        **more,
    )


def test_an_agent_whose_path_is_in_use_is_taken_over_without_a_word() -> None:
    bench = bench_of(resumed=snapshot("connected"), in_use=True)
    assert told(bench) == LocalIceChanged(peer=BOB, ice=ICE, session=b"ourss")
    assert bench.tags() == []
    assert take(bench, b"aaaaa") == "kept"
    bench.tell(distress(generation=FIRST))
    assert isinstance(bench.state, Resting)


def test_one_whose_path_is_not_in_use_is_proposed() -> None:
    bench = bench_of(resumed=snapshot("connected", doubtful=True))
    assert [type(mail) for mail in bench.mail(TO.conn)] == [IceReady, IceDoubtful]
    bench.advance(DOUBT_S)
    assert isinstance(bench.state, Resting)


@pytest.mark.parametrize("state", ["checking", "ended"])
def test_one_without_a_pair_is_given_its_time(state: str) -> None:
    bench = bench_of(resumed=snapshot(state))
    assert isinstance(bench.state, Checking)
    bench.advance(CHECKING_S)
    assert isinstance(bench.state, Resting)
    assert bench.mail(ICE_AGENTS) == [CloseIceAgent(peer=BOB, session=b"ourss")]


def test_a_path_that_goes_on_without_an_agent_is_lost_without_a_rotation() -> None:
    bench = bench_of(in_use=True)
    session = bench.state.session
    bench.tell(distress(generation=FIRST))
    assert [type(mail) for mail in bench.mail(TO.conn)] == [IceLost]
    assert bench.state.session == session  # fresh since the restart


# --- whatever comes, in any order ---

STEPS = ("turn a", "turn b", "turn none", "no ice", "proven", "other pair", "doubtful", "ended", "closed")
MORE = ("relayed distress", "direct distress", "old distress", "packet process", "idle", "time", "candidate")


@settings(deadline=None)
@given(st.lists(st.sampled_from(STEPS + MORE)), st.booleans())
def test_every_turn_ends_every_state_has_an_exit_and_only_our_own_distress_rotates(
    steps: list[str], ours: bool
) -> None:
    bench = bench_of()
    sessions, agent = [told(bench).session], 0
    for step in steps:
        before = bench.state
        session = before.session
        match step:
            case "turn a" | "turn b" | "turn none" | "no ice":
                said = {"turn a": b"aaaaa", "turn b": b"bbbbb"}.get(step)
                take(bench, said, ice=None if step == "no ice" else ICE, ours=ours)
                assert bench.state.session == session
            case "proven" | "other pair":
                if isinstance(before, Checking | Connected):
                    bench.tell(proven(bench, PATH if step == "proven" else OTHER_PATH))
                    assert isinstance(bench.state, Connected)
            case "doubtful":
                bench.tell(doubtful(bench))
            case "ended":
                bench.tell(ended(session))
            case "closed":
                bench.tell(IceAgentClosed(peer=BOB, session=session))
                assert not isinstance(bench.state, Closing)
            case "relayed distress":
                bench.tell(distress("relayed"))
            case "direct distress":
                bench.tell(distress(generation=0))
            case "old distress":
                bench.tell(distress(generation=FIRST - 1))
                assert bench.state == before
            case "packet process":
                bench.tell(ProcessRestarted(process=PACKET, incarnation=2))
            case "idle":
                bench.tell(RemoteIdle(peer=BOB))
            case "candidate":
                bench.tell(CandidateReceived(peer=BOB, candidate="c", nonce=b"n" * 24))
            case "time":
                bench.advance(1.0)
        restless = isinstance(bench.state, Checking | Closing) or (
            isinstance(bench.state, Connected) and bench.state.doubtful
        )
        assert (IceDue in bench.timers) == restless
        for mail in bench.mail(ICE_AGENTS):  # agents are opened and closed in turns
            agent += isinstance(mail, OpenIceAgent)
            assert agent <= 1
            if isinstance(mail, CloseIceAgent) and not isinstance(before, Closing):
                agent -= 1
        if step == "packet process":
            agent = 0
        if bench.state.session != session:
            assert isinstance(bench.state, Resting)
            sessions.append(bench.state.session)
    assert len(set(sessions)) == len(sessions)
    bench.advance(2 * CHECKING_S)
    assert isinstance(bench.state, Resting | Connected)
