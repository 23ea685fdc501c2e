"""Two paths watched side by side: the one in use, and the one that stands by."""

import random

import pytest

from actors.addresses import ICE_AGENTS, TUNNELS
from actors.messages.packet import InitiateHandshake, ProbePath, SetIceInUse
from actors.messages.peer import (
    Distress,
    PathDead,
    PathDoubtful,
    PathProven,
    RelayEvidence,
    RemoteKnown,
    WatchPath,
)
from actors.peer.path_watch import OTHERS_PROBE_S, PATIENT_ECHOES, STANDBY_S
from actors.peer.watch_states import Probing, Proven, Proving
from actors.peer.wg_watcher import WgWatcher
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import Bench
from wg.paths import PathKind
from wg.reports import EchoAnswered, HandshakeCompleted, PathHeard, PathSilent

R, D = 5, 7  # generations of the relayed connection and of the direct path
DIRECT_IN_USE = WatchPath(peer=BOB, path="direct", generation=D, standby="relayed", standby_generation=R)
RELAY_IN_USE = WatchPath(peer=BOB, path="relayed", generation=R, standby="direct", standby_generation=D)


def watcher(*, ours: bool = True, controller: bool = True, session: bool = True) -> Bench:
    bench = Bench(
        WgWatcher(BOB, TO, controller=controller, keepalive=True, entropy=random.Random(1).randbytes, probing=True)
    )
    bench.tell(RemoteKnown(peer=BOB, ours=ours, ice=True))
    if session:
        bench.tell(WatchPath(peer=BOB, path="relayed", generation=R), handshake())
    bench.tags()
    return bench


def handshake() -> HandshakeCompleted:
    return HandshakeCompleted(peer=BOB, path="relayed", role="initiator", rtt_s=0.05, generation=R)


def heard(bench: Bench, kind: PathKind) -> PathHeard:
    return PathHeard(peer=BOB, path=kind, heard_at=bench.now, generation=R if kind == "relayed" else 0)


def silent(bench: Bench, kind: PathKind) -> PathSilent:
    generation = R if kind == "relayed" else 0
    return PathSilent(peer=BOB, path=kind, sent_at=bench.now - 1.0, generation=generation)


def probes(bench: Bench, kind: PathKind) -> list[ProbePath]:
    """Return the echoes asked for on this path since the last look; those on the other are forgotten."""
    return [mail for mail in bench.mail(TUNNELS) if isinstance(mail, ProbePath) and mail.path == kind]


def answer(probe: ProbePath) -> EchoAnswered:
    generation = R if probe.path == "relayed" else 0
    return EchoAnswered(peer=BOB, path=probe.path, token=probe.token, rtt_s=0.05, generation=generation)


def verdicts(bench: Bench, kind: PathKind) -> list[type]:
    told = (PathProven, PathDoubtful, PathDead)
    return [type(mail) for mail in bench.mail(TO.conn) if isinstance(mail, told) and mail.path == kind]


def both_proven() -> Bench:
    """The direct path in use and the relay beside it, both heard just now."""
    bench = watcher()
    bench.tell(DIRECT_IN_USE)
    bench.tell(answer(probes(bench, "direct")[0]))
    bench.tags()
    return bench


# --- a new direct path ---


@pytest.mark.parametrize("controller", [True, False])
def test_with_a_session_a_new_direct_path_is_probed_at_once_by_both(controller: bool) -> None:
    bench = watcher(controller=controller)
    bench.tell(DIRECT_IN_USE)
    bench.advance(0.0)
    [probe] = probes(bench, "direct")
    bench.advance(0.03)
    bench.tell(answer(probe))
    assert verdicts(bench, "direct") == [PathProven]


def test_without_one_who_does_not_control_leaves_it_the_handshake() -> None:
    bench = watcher(controller=False, session=False)
    bench.tell(DIRECT_IN_USE)
    bench.advance(OTHERS_PROBE_S - 0.1)
    assert probes(bench, "direct") == []
    bench.advance(0.1)
    assert len(probes(bench, "direct")) == 1


def test_what_is_heard_on_it_says_nothing_of_the_way_there() -> None:
    bench = watcher()
    bench.tell(DIRECT_IN_USE, heard(bench, "direct"))
    assert isinstance(bench.state, Proving)
    bench.advance(5.0)
    assert verdicts(bench, "direct") == [PathDead]
    assert [type(mail) for mail in bench.mail(TO.ice_worker)] == [Distress]


# --- a relayed connection that stands by ---


def test_a_standby_is_probed_every_20_s_and_answered() -> None:
    bench = both_proven()
    for _ in range(5):
        bench.tell(heard(bench, "direct"))
        bench.advance(STANDBY_S + 0.01)
        [probe] = probes(bench, "relayed")
        bench.tell(answer(probe))
        bench.tell(heard(bench, "direct"))
    assert verdicts(bench, "relayed") == []


def test_a_dead_standby_is_evidence_within_30_s_and_brings_no_handshake() -> None:  # S4
    bench = both_proven()
    told: list[type] = []
    initiations = 0
    while PathDead not in told:
        bench.advance(0.5)
        bench.tell(heard(bench, "direct"))
        told += verdicts(bench, "relayed")
        initiations += sum(isinstance(mail, InitiateHandshake) for mail in bench.mail(TUNNELS))
        assert bench.now < 1100.0
    assert bench.now - 1000.0 <= 30.0
    assert told == [PathDoubtful, PathDead]
    assert initiations == 0
    assert [type(mail) for mail in bench.mail(TO.relay_worker)] == [RelayEvidence]


def test_the_standby_of_a_foreign_peer_is_left_alone() -> None:  # it would roam to it
    bench = watcher(ours=False)
    bench.tell(DIRECT_IN_USE)
    bench.tags()
    for _ in range(100):
        bench.advance(1.0)
        bench.tell(heard(bench, "direct"))
    assert probes(bench, "relayed") == []
    assert verdicts(bench, "relayed") == []


# --- a direct path in doubt ---


def test_with_another_path_beside_the_verdict_takes_its_time() -> None:  # S20
    bench = both_proven()
    bench.advance(3.0)
    bench.tell(silent(bench, "direct"))
    bench.advance(0.4)
    assert verdicts(bench, "direct") == [PathDoubtful]
    bench.tell(RELAY_IN_USE)
    sent = 0
    while verdicts(bench, "direct") == []:
        bench.advance(0.1)
        bench.tell(heard(bench, "relayed"))
        sent += len(probes(bench, "direct"))
        assert bench.now < 1020.0
    assert sent == PATIENT_ECHOES


def test_doubt_of_ice_has_the_direct_path_asked_and_packets_heard_are_no_answer() -> None:
    bench = both_proven()
    bench.advance(1.0)
    bench.tell(RELAY_IN_USE)
    [probe] = probes(bench, "direct")
    bench.tell(heard(bench, "direct"))
    assert verdicts(bench, "direct") == []
    bench.tell(answer(probe))
    assert verdicts(bench, "direct") == [PathProven]


# --- the remote doubts ---


def test_a_remote_that_uses_the_relay_too_has_us_ask_whether_it_hears_us() -> None:  # S9: the way there is cut
    bench = both_proven()
    bench.advance(1.0)
    bench.tell(heard(bench, "direct"), heard(bench, "relayed"))
    assert len(probes(bench, "direct")) == 1
    bench.advance(0.1)
    bench.tell(heard(bench, "direct"))
    assert isinstance(bench.state, Probing)  # what it sends directly arrives, and says nothing
    bench.advance(0.25)
    assert verdicts(bench, "direct") == [PathDoubtful]


def test_if_it_does_that_is_all() -> None:
    bench = both_proven()
    bench.advance(1.0)
    bench.tell(heard(bench, "direct"), heard(bench, "relayed"))
    bench.tell(answer(probes(bench, "direct")[0]))
    assert isinstance(bench.state, Proven)
    bench.advance(1.0)
    assert verdicts(bench, "direct") == []


def test_an_answer_to_our_own_probe_of_the_standby_is_no_such_sign() -> None:
    bench = both_proven()
    bench.advance(STANDBY_S - 0.5)
    bench.tell(heard(bench, "direct"))
    bench.advance(0.6)
    bench.tell(heard(bench, "relayed"))
    assert probes(bench, "direct") == []


def test_a_foreign_remote_sends_as_it_likes() -> None:
    bench = watcher(ours=False)
    bench.tell(DIRECT_IN_USE, heard(bench, "direct"), heard(bench, "relayed"))
    bench.tags()
    bench.advance(1.0)
    bench.tell(heard(bench, "relayed"))
    assert bench.mail(TUNNELS) == []


# --- traffic ---


def test_the_ice_agent_hears_whether_its_pair_carries_packets_and_probes_are_none() -> None:
    bench = both_proven()
    for _ in range(6):
        bench.advance(1.1)
        bench.tell(silent(bench, "direct"))
        [probe] = probes(bench, "direct")
        bench.tell(heard(bench, "direct"), answer(probe))  # one packet, two reports
    assert SetIceInUse(peer=BOB, in_use=True) not in bench.mail(ICE_AGENTS)
    for _ in range(4):
        bench.advance(1.0)
        bench.tell(heard(bench, "direct"))
    assert bench.mail(ICE_AGENTS)[-1] == SetIceInUse(peer=BOB, in_use=True)
