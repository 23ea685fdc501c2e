import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.cli.running import boot_now
from actors.messages.recoveries import Recovered
from actors.messages.status import ControlStatus, IceStatus, RelayLinkStatus, RelaysStatus
from tests.actors.cli.console import Result, failure, homing, really
from tests.actors.cli.fake_agent import FakeAgent, child, control, packet, peer, snapshot, supervisor, tunnel
from tests.config.samples import BOB, CAROL


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path / "run"))
    with FakeAgent(tmp_path / "run") as fake:
        fake.write_usual()
        yield fake


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    return homing(capsys, "status", *arguments)


def test_the_whole_truth_on_one_screen(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    result = status(capsys)
    assert (result.code, result.error) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("node alice, process ")
    assert lines[1] == "  signal http://203.0.113.1:10000: connected for 1 min 30 s"
    assert lines[2] == "  relay (home) rel://203.0.113.1:8080: connected for 1 min 20 s"
    assert lines[4].split() == ["PEER", "STATE", "PATH", "LAST", "PROOF", "RTT", "RECEIVED", "SENT", "RECOVERIES"]
    assert lines[5].split()[:4] == ["bob", "connected", "relayed", "rel://203.0.113.1:8080"]
    assert "12.3 ms  1.23 MB   89 B  0" in lines[5]
    assert lines[6] == "    not direct: no ICE yet"
    assert lines[-1].startswith("processes: supervisor spoke ")


def test_what_carries_a_relay_link_and_why_it_is_not_quic(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    over: list[dict[str, Any]] = [
        {"transport": "quic"},
        {"transport": "ws", "quic_fault": "the server did not answer"},
        {"transport": "ws"},
    ]
    for carried in over:
        link = RelayLinkStatus(url="rel://r:1", role="home", state="connected", since_at=now - 80, **carried)
        agent.write([snapshot("control-0", now, control=ControlStatus(relays=RelaysStatus(links=(link,))))])
        line = status(capsys).out.splitlines()[1]
        (told,) = json.loads(status(capsys, "--json").out)["links"]
        assert (told["transport"], told["quic_fault"]) == (carried["transport"], carried.get("quic_fault", ""))
        if carried == {"transport": "quic"}:
            assert line == "  relay (home) rel://r:1: connected over QUIC for 1 min 20 s"
        else:
            because = "; not over QUIC: the server did not answer" if told["quic_fault"] else ""
            assert line == f"  relay (home) rel://r:1: connected over WebSocket for 1 min 20 s{because}"


def test_json_says_the_same(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(status(capsys, "--json").out)
    assert (found["node"], found["running"]) == ("alice", True)
    (bob,) = found["peers"]
    assert (bob["name"], bob["public_key"], bob["state"], bob["path"]) == ("bob", BOB, "connected", "relayed")
    assert 2.0 <= bob["proof_age_s"] < 30
    assert [one["process"] for one in found["processes"]] == ["supervisor", "control-0", "packet"]


def test_another_udp_port_is_told(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert "UDP port" not in status(capsys).out
    now = boot_now()
    one = supervisor(now, child("packet"))
    assert one.agent is not None
    changed = msgspec.structs.replace(one.agent, rebinds=2, udp_port=40123)
    agent.write([msgspec.structs.replace(one, agent=changed), control(now), packet(now)])
    said = "the UDP port was changed 2 times, since no peer was proven: it is 40123 now"
    assert said in status(capsys).out.splitlines()
    found = json.loads(status(capsys, "--json").out)
    assert (found["rebinds"], found["udp_port"]) == (2, 40123)


def test_one_peer_in_detail(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    lost = peer(now, recoveries=2, last_recovery_s=0.8, last_recovery_cause="the relay link closed")
    agent.write([control(now, lost, peer(now, CAROL, name="carol")), packet(now, tunnel(now, drops={"replay": 3}))])
    out = status(capsys, "bob").out
    assert f"public key      {BOB}" in out
    assert "last recovery   took 800 ms, after: the relay link closed" in out
    assert "dropped         replay 3" in out
    assert "speaks          homing" in out
    assert "carol" not in out
    assert [one["name"] for one in json.loads(status(capsys, CAROL[:8], "--json").out)["peers"]] == ["carol"]


@pytest.mark.parametrize(
    ("search", "lines"),
    [
        ({}, ["direct          not looked for"]),
        (
            {"state": "checking", "tried": ("10.0.0.1 -> host 10.9.9.9:51820: 7 checks, no answer",)},
            [
                "direct          not yet, after 3 s of looking",
                "  tried         10.0.0.1 -> host 10.9.9.9:51820: 7 checks, no answer",
            ],
        ),
        (
            {"state": "connected", "pair": "10.0.0.1 -> srflx 192.0.2.7:51820"},
            ["direct          10.0.0.1 -> srflx 192.0.2.7:51820, for 3 s, answers to checks, and is not in use"],
        ),
        (
            {"state": "doubtful", "pair": "10.0.0.1 -> srflx 192.0.2.7:51820", "reason": "no answer for 1.2 s"},
            ["direct          10.0.0.1 -> srflx 192.0.2.7:51820, doubtful for 3 s: no answer for 1.2 s"],
        ),
        (
            {"state": "ended", "reason": "none of 2 pairs answered within 12 s", "tried": ("one", "two")},
            [
                "not direct      for 3 s: none of 2 pairs answered within 12 s",
                "  tried         one",
                "  tried         two",
            ],
        ),
    ],
    ids=["none", "checking", "connected", "doubtful", "ended"],
)
def test_the_search_for_a_direct_path(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], search: dict[str, Any], lines: list[str]
) -> None:
    now = boot_now()
    ice = (IceStatus(peer=BOB, since_at=now - 3, **search),) if search else ()
    stun = "STUN server 203.0.113.1:3478, asked from 10.0.0.1: no answer to 7 requests"
    agent.write([control(now), packet(now, ice=ice, stun=(stun,), addresses=("10.0.0.1 on eth0",))])
    # How long it took until it was read is no part of what is told.
    out = [re.sub(r"(for|after) 3[.\d]* s", r"\1 3 s", line) for line in status(capsys, "bob").out.splitlines()]
    at = out.index(lines[0])
    assert out[at : at + len(lines)] == lines
    assert "our address     10.0.0.1 on eth0" in out
    assert f"from outside    {stun}" in out
    agent.write([packet(now, tunnel(now, path="direct 192.0.2.7:51820", heard_direct_at=now), ice=ice, stun=(stun,))])
    assert "from outside" not in status(capsys, "bob").out


def test_an_unknown_peer(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(capsys, "status", "dave") == "no peer dave; known are: bob"


def test_what_a_hung_agent_said_last_is_called_old(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    agent.write(
        [supervisor(now), control(now, age_s=70), packet(now, tunnel(now, heard_relayed_at=now - 70), age_s=70)]
    )
    result = status(capsys)
    assert result.code == 0
    assert "note: packet has been silent for 70 s: what it said is that old" in result.out
    assert "connected  relayed" not in result.out
    assert "control-0 spoke 1 min 1" in result.out


def test_restarts_are_told(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    restarted = child("packet", state="waiting", restarts=3, reason="killed by SIGKILL", unhealthy=True)
    agent.write([supervisor(now, child("control-0"), restarted)])
    assert "packet is waiting, restarted 3 times (last: killed by SIGKILL), unhealthy" in status(capsys).out


def test_what_a_remote_said_stays_on_its_line(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    agent.write([control(now, peer(now, reason="x\nnode forged\x1b[2J"))])
    out = status(capsys).out
    assert "    x\\nnode forged\\x1b[2J\n" in out


def test_a_broken_snapshot_does_not_hide_the_others(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    (agent.directory / "status-control-0.json").write_bytes(b'{"process": ')
    result = status(capsys)
    assert result.code == 0
    assert "note: status-control-0.json cannot be read" in result.out
    assert BOB[:8] in result.out


def test_an_agent_that_has_ended(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.die()
    result = status(capsys)
    assert result.code == 1
    assert "node alice, not running; what follows is its last word" in result.out
    assert result.error == "homing: the agent alice is not running; start it with: homing up -c FILE\n"


@pytest.mark.parametrize(("check", "word"), [("live", "live"), ("ready", "ready"), ("startup", "started")])
def test_checks_answer_by_exit_code(
    check: str, word: str, agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    result = status(capsys, "--check", check)
    assert (result.code, result.out, result.error) == (0, f"alice is {word}\n", "")
    agent.die()
    assert failure(capsys, "status", "--check", check) == f"alice is not {word}: the agent is not running"
    result = status(capsys, "--check", check, "--json")
    assert json.loads(result.out) == {"check": check, "ok": False, "reason": "the agent is not running"}
    assert result.code == 1


def test_no_agent_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path / "none"))
    for command in ("status", "down", "trace"):
        line = failure(capsys, command)
        assert line == f"no agent runs here ({tmp_path / 'none'} holds none); start one with: homing up -c FILE"


def test_several_agents(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeAgent(agent.directory.parent, "bert") as other:
        other.write_usual()
        assert failure(capsys, "status") == "several agents are here: alice, bert; choose one with --node NAME"
        assert status(capsys, "--node", "bert").out.startswith("node bert")
        other.die()
        assert status(capsys).out.startswith("node alice")
    line = failure(capsys, "status", "--node", "carl")
    assert line == f"no agent carl runs here; {agent.directory.parent} knows of: alice, bert"


@pytest.mark.process
def test_the_real_program_reads_the_same_files(agent: FakeAgent) -> None:
    result = really("status", "--run-directory", str(agent.directory.parent), "--json")
    assert (result.code, result.error) == (0, "")
    assert json.loads(result.out)["peers"][0]["name"] == "bob"


def test_recoveries_are_told_by_cause_with_what_was_tried(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    now = boot_now()
    recovered = (
        Recovered(cause="silence", count=19, last_s=0.8, longest_s=3.25),
        Recovered(cause="reset", count=1, last_s=1.5, longest_s=1.5),
    )
    told = peer(
        now,
        recoveries=20,
        recovered=recovered,
        rungs={"probe": 20, "other_relay": 2},
        disruptions=21,
        budget_left=6,
        resets=1,
    )
    agent.write([control(now, told), packet(now, tunnel(now, rtt_s=0.0123, rtt_at=now - 12))])
    lines = status(capsys, "bob").out.splitlines()
    assert "recovered       19 times from: silence on the path; the last took 800 ms, the longest 3.2 s" in lines
    assert "recovered       1 times from: a reset by hand; the last took 1.5 s, the longest 1.5 s" in lines
    assert "tried           probes 20, another relay 2" in lines
    assert "disruptive      21 actions so far, 6 more without a proof" in lines
    assert "reset by hand   1 times" in lines
    assert "round trip      12.3 ms, 12.0 s ago" in lines
    (bob,) = json.loads(status(capsys, "--json").out)["peers"]
    recovery = bob["recovery"]
    assert recovery["by_cause"]["silence"] == {"cause": "silence", "count": 19, "last_s": 0.8, "longest_s": 3.25}
    assert (recovery["rungs"], recovery["resets"]) == ({"probe": 20, "other_relay": 2}, 1)
    assert (recovery["disruptive_actions"], recovery["budget_left"], recovery["quarantined_s"]) == (21, 6, None)
    assert 12 <= bob["rtt_age_s"] < 60


def test_a_quarantined_peer_says_why_until_its_time_is_over(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    now = boot_now()
    for until, quarantined in ((now + 3000, True), (now - 1, False)):
        told = peer(
            now,
            state="connecting",
            reason="nothing came back",
            quarantined_at=now - 90,
            quarantined_until=until,
            quarantined_for="6 attempts proved no path",
            budget_left=0,
        )
        agent.write([control(now, told), packet(now, tunnel(now))])
        out = status(capsys, "bob").out
        assert ("quarantined     for 1 min 30 s: 6 attempts proved no path" in out) == quarantined
        reason = "    quarantined, and tried slowly: 6 attempts proved no path; nothing came back"
        assert (reason in out) == quarantined
        assert (
            json.loads(status(capsys, "--json").out)["peers"][0]["recovery"]["quarantined_s"] is None
        ) != quarantined
