import pytest

from actors.cli.report import (
    HUNG_S,
    PROVEN_S,
    STALE_S,
    Check,
    PeerReport,
    Report,
    failure_of,
    find_peer,
    make_report,
    names_of,
)
from actors.messages.status import Snapshot
from config.keys import PublicKey
from tests.actors.cli.fake_agent import RELAY, child, control, packet, peer, supervisor, tunnel, usual
from tests.config.samples import BOB, CAROL

NOW = 10_000.0


def report(*snapshots: Snapshot, pid: int | None = 42) -> Report:
    return make_report("alice", pid, snapshots, [], NOW)


def only_peer(*snapshots: Snapshot) -> PeerReport:
    (found,) = report(*snapshots).peers
    return found


def test_the_parts_of_two_processes_become_one_peer() -> None:
    bob = only_peer(*usual(NOW))
    assert (bob.name, bob.public_key, bob.state, bob.path, bob.endpoint) == ("bob", BOB, "connected", "relayed", RELAY)
    assert (bob.proof_age_s, bob.rtt_s, bob.handshake_age_s) == (2.0, 0.0123, 30.0)
    assert (bob.rx_bytes, bob.tx_bytes, bob.state_age_s) == (1_234_567, 89, 60.0)
    assert bob.reason == "not direct: no ICE yet"


def test_connected_is_said_only_of_what_was_heard_recently() -> None:
    at_limit = packet(NOW, tunnel(NOW, heard_relayed_at=NOW - PROVEN_S))
    assert only_peer(control(NOW), at_limit).state == "connected"
    silent = only_peer(control(NOW), packet(NOW, tunnel(NOW, heard_relayed_at=NOW - PROVEN_S - 1)))
    assert silent.state == "doubtful"
    assert silent.reason == "nothing heard for 56 s; not direct: no ICE yet"
    assert silent.state_age_s is None  # control's times are about a state that is not shown


def test_what_was_heard_on_another_path_proves_nothing_of_this_one() -> None:
    found = only_peer(control(NOW), packet(NOW, tunnel(NOW, path="direct 192.0.2.7:51820")))
    assert (found.path, found.endpoint, found.proof_age_s) == ("direct", "192.0.2.7:51820", None)
    assert found.state == "doubtful"
    assert found.reason.startswith("nothing heard yet")


def test_a_new_packet_process_that_heard_nothing_leaves_nothing_connected() -> None:
    assert only_peer(control(NOW), packet(NOW, tunnel(NOW, path="", heard_relayed_at=None))).state == "doubtful"
    assert only_peer(control(NOW)).state == "doubtful"


def test_a_state_short_of_connected_is_not_raised_by_packets() -> None:
    for state in ("connecting", "doubtful", "idle", "parked"):
        assert only_peer(control(NOW, peer(NOW, state=state, reason="why")), packet(NOW)).state == state


def test_while_control_is_silent_packets_speak_for_themselves() -> None:
    old = control(NOW, peer(NOW, state="connecting"), age_s=STALE_S + 1)
    assert only_peer(old, packet(NOW)).state == "connected"
    assert only_peer(old, packet(NOW, tunnel(NOW, heard_relayed_at=None))).state == "connecting"
    assert only_peer(packet(NOW)).name == BOB[:8]
    assert only_peer(packet(NOW)).state == "connected"


def test_without_the_signal_server_the_remote_is_not_blamed_alone() -> None:
    waiting = peer(NOW, state="connecting", path=None, reason="the remote has not answered any offer (2 sent)")
    away = only_peer(control(NOW, waiting, connected=False), packet(NOW, tunnel(NOW, path="")))
    assert away.reason == "the signal server is not connected; the remote has not answered any offer (2 sent)"
    there = only_peer(control(NOW, waiting), packet(NOW, tunnel(NOW, path="")))
    assert there.reason == "the remote has not answered any offer (2 sent)"
    assert "signal" not in only_peer(control(NOW, connected=False), packet(NOW)).reason


def test_a_silent_process_is_named() -> None:
    found = report(supervisor(NOW), control(NOW, age_s=12.0), packet(NOW))
    assert found.problems == ("control-0 has been silent for 12 s: what it said is that old",)
    assert [one.process for one in found.processes if one.silent] == ["control-0"]


def test_a_snapshot_of_an_earlier_incarnation_says_nothing_of_the_process() -> None:
    now_starting = supervisor(NOW, child("control-0"), child("packet", incarnation=8, state="starting", restarts=1))
    found = report(now_starting, control(NOW), packet(NOW))
    (restarted,) = [one for one in found.processes if one.process == "packet"]
    assert (restarted.pid, restarted.snapshot_age_s, restarted.state, restarted.restarts) == (None, None, "starting", 1)


def test_peers_of_all_control_processes_are_there_in_the_order_of_their_names() -> None:
    second = control(NOW, peer(NOW, CAROL, name="anna"))
    found = report(control(NOW), second, packet(NOW, tunnel(NOW), tunnel(NOW, CAROL)))
    assert [one.name for one in found.peers] == ["anna", "bob"]
    assert [one.role for one in found.links] == ["signal", "home", "signal", "home"]


@pytest.mark.parametrize(
    ("check", "snapshots", "failure"),
    [
        ("startup", usual(NOW), ""),
        ("live", usual(NOW), ""),
        ("ready", usual(NOW), ""),
        ("startup", [], "its processes have not started yet"),
        ("startup", [supervisor(NOW), packet(NOW)], "control-0 is not up (up)"),
        (
            "startup",
            [supervisor(NOW, child("control-0", state="starting"), child("packet")), control(NOW), packet(NOW)],
            "control-0 is not up (starting)",
        ),
        ("startup", [supervisor(NOW), control(NOW, age_s=99), packet(NOW)], ""),
        ("live", [supervisor(NOW), control(NOW, age_s=HUNG_S - 1), packet(NOW)], ""),
        ("live", [supervisor(NOW), control(NOW, age_s=HUNG_S + 2), packet(NOW)], "control-0 has been silent for 12 s"),
        ("live", [supervisor(NOW, age_s=60), control(NOW), packet(NOW)], "supervisor has been silent for 60 s"),
        (
            "live",
            [supervisor(NOW, child("control-0", state="hung"), child("packet")), control(NOW, age_s=60), packet(NOW)],
            "",
        ),
        ("ready", [supervisor(NOW), control(NOW, age_s=STALE_S + 1), packet(NOW)], "control-0 has been silent for 6 s"),
        (
            "ready",
            [supervisor(NOW, child("control-0"), child("packet", state="waiting")), control(NOW), packet(NOW)],
            "packet is not up (waiting)",
        ),
        ("ready", [supervisor(NOW, draining=True), control(NOW), packet(NOW)], "the agent is stopping"),
        ("ready", [supervisor(NOW), control(NOW, connected=False), packet(NOW)], ""),
        (
            "ready",
            [supervisor(NOW), control(NOW, connected=False), packet(NOW, tunnel(NOW, heard_relayed_at=None))],
            "no connection to the signal server, and none to any peer",
        ),
    ],
)
def test_checks(check: Check, snapshots: list[Snapshot], failure: str) -> None:
    assert failure_of(check, report(*snapshots)) == failure
    assert failure_of(check, report(*snapshots, pid=None)) == "the agent is not running"


def test_peers_are_found_by_name_or_the_beginning_of_their_key() -> None:
    names = names_of([control(NOW, peer(NOW), peer(NOW, CAROL, name="carol"))])
    assert names == {BOB: "bob", CAROL: "carol"}
    assert find_peer(names, "bob") == [BOB]
    assert find_peer(names, CAROL[:6]) == [CAROL]
    assert find_peer(names, CAROL) == [CAROL]
    assert find_peer(names, CAROL[:3]) == []
    assert find_peer({PublicKey("bobX" + "A" * 39 + "="): "x", BOB: "bobX"}, "bobX") == [BOB]
