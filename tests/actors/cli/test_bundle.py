import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from actors.addresses import peer_addresses
from actors.cli import bundle_parts
from actors.cli.bundle_parts import vocabulary
from actors.cli.running import boot_now
from actors.effects import Address, Effect
from actors.messages.packet import ConfigurePeer
from actors.messages.peer import LocalIceChanged
from actors.messages.process import PeerSettings, StartPeer
from actors.runtime.post_office import PostOffice
from actors.runtime.snapshot import CONFIGURATION, write_configuration
from actors.trace.tape import Tape
from config.keys import KEY_LEN, PublicKey, Secret, encode_key
from config.load import load
from config.logs import tail_path
from tests.actors.cli.console import failure, homing
from tests.actors.cli.fake_agent import FakeAgent, control, packet, peer, tunnel
from tests.actors.cli.leaks import forms, leaks, unpacked
from tests.actors.cli.offices import on_a_thread
from tests.config.samples import BOB, CAROL, OWN, TEXT, write_sample
from transport.signal.messages import IceCredentials

PWD = b"the-ice-pwd-of-a-session"
PSK = bytes(range(150, 182))
LINE = f"2026-05-01T12:00:00.123+02:00 INFO packet moved to 198.51.100.9:51820 peer={BOB[:8]} name=bob-of-eve\n"


class Sink:
    """Takes what holds secrets."""

    inbox: ClassVar[object] = LocalIceChanged | ConfigurePeer | StartPeer
    state = "Sunk"

    def handle(self, message: object, now: float) -> list[Effect]:
        return []


def secretive() -> list[LocalIceChanged | ConfigurePeer]:
    ice = IceCredentials(ufrag="ufrag", pwd=Secret(PWD))
    return [
        LocalIceChanged(peer=BOB, ice=ice, session=b"12345"),
        ConfigurePeer(peer=BOB, allowed_ips=("10.77.0.2/32",), persistent_keepalive_s=25, preshared_key=Secret(PSK)),
    ]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    now = boot_now()
    with FakeAgent(tmp_path / "run") as fake:
        fake.write_usual()
        named = peer(now, name="bob-of-eve", reason="not direct: 10.1.2.3 does not answer")
        fake.write([control(now, named, peer(now, CAROL, name="carol")), packet(now, tunnel(now))])
        write_configuration(
            fake.directory, load(write_sample(tmp_path, TEXT.replace('"bob"', '"bob-of-eve"')), {}).file
        )
        tail_path(fake.directory, "packet").write_text(LINE)
        yield fake


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Make a bundle, and return its parts as text and what `--json` says."""
    result = homing(capsys, "bundle", "--json", *arguments)
    assert (result.code, result.error) == (0, ""), result
    told = json.loads(result.out)
    parts = {name: data.decode("utf-8", "replace") for name, data in unpacked(Path(told["file"])).items()}
    assert {name: len(data) for name, data in unpacked(Path(told["file"])).items()} == told["parts"]
    return parts, told


def test_it_holds_everything_and_nothing_that_tells_who(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    parts, told = made(capsys, "-o", "report.tar.gz")
    assert Path("report.tar.gz").stat().st_mode & 0o777 == 0o600
    whole = "\n".join(parts.values())
    for known in ("bob-of-eve", "carol", BOB, BOB[:8], "alice", "203.0.113.1", "198.51.100.9", "10.1.2.3", "10.77.0."):
        assert known not in whole, known
    assert told["pseudonyms"] == {"peer-1": "bob-of-eve", "peer-2": "carol"}
    configured = json.loads(parts["configuration.json"])
    assert configured["node"]["private_key_file"] == "<a file>"
    shown = next(one for one in configured["peer"] if one["name"] == "peer-1")
    status = json.loads(parts["status.json"])
    assert [one["name"] for one in status["peers"]] == ["peer-1", "peer-2"]
    assert status["peers"][0]["public_key"] == shown["public_key"]
    assert f"peer={shown['public_key'][:8]} name=peer-1" in parts["log-packet.txt"]
    assert "peer-1  connected" in parts["status.txt"]
    for name in ("versions.txt", "machine.txt", "network.txt", "processes.txt", "snapshots.json"):
        assert parts[name]
    assert "missing: the messages of" not in parts["README.txt"]


def test_names_stay_where_that_is_wanted(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    parts, told = made(capsys, "--names")
    assert "bob-of-eve  connected" in parts["status.txt"]
    assert BOB[:8] not in "\n".join(parts.values())
    assert "203.0.113.1" not in "\n".join(parts.values())
    assert str(told["file"]).startswith("homing-bundle-20")


def test_the_lines_for_people_say_where_it_is_and_what_is_in_it(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = homing(capsys, "bundle", "-o", "b.tar.gz").out.splitlines()
    assert lines[0].startswith("b.tar.gz, ")
    assert any(line.startswith("  status.txt") for line in lines)
    assert lines[-1] == "not in the file: peer-1 is bob-of-eve, peer-2 is carol"


def test_nothing_is_overwritten_and_nothing_half_done_is_left(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("b.tar.gz").write_text("mine")
    line = failure(capsys, "bundle", "-o", "b.tar.gz")
    assert line == "b.tar.gz exists and is left as it is; choose another name with -o FILE"
    assert Path("b.tar.gz").read_text() == "mine"
    line = failure(capsys, "bundle", "-o", "nowhere/b.tar.gz")
    assert line == "nowhere: no such directory; choose another place with -o FILE"

    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("actors.cli.host.versions", interrupted)
    assert homing(capsys, "bundle", "-o", "half.tar.gz").code == 1
    assert not Path("half.tar.gz").exists()


def test_an_agent_that_has_ended(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.die()
    parts, told = made(capsys)
    assert "the agent alice is not running; what is here of it is its last word" in told["missing"]
    assert "missing: the agent node is not running; what is here of it is its last word" in parts["README.txt"]
    assert "peer-1" in parts["status.txt"]
    assert "moved to" in parts["log-packet.txt"]


def test_no_agent_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOMING_NODE_RUN_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    parts, _ = made(capsys)
    assert set(parts) == {"README.txt", "versions.txt", "machine.txt", "network.txt"}
    assert "missing: the configuration; -c FILE names it" in parts["README.txt"]
    parts, _ = made(capsys, "-o", "c.tar.gz", "-c", str(write_sample(tmp_path)))
    assert "configuration.json" in parts
    assert "bob" not in parts["configuration.json"]


def test_several_agents_are_not_guessed_between(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeAgent(agent.directory.parent, "bert"):
        assert "choose one with --node NAME" in failure(capsys, "bundle")


def test_what_cannot_be_read_is_told_and_the_rest_is_there(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    (agent.directory / "status-control-0.json").write_bytes(b'{"process": ')
    (agent.directory / CONFIGURATION).write_bytes(b"{")
    tail_path(agent.directory, "packet").unlink()
    parts, told = made(capsys)
    missing = "\n".join(told["missing"])
    assert "status-control-0.json cannot be read" in missing
    assert f"{CONFIGURATION} cannot be read" in missing
    assert "the log; it is where standard error goes" in missing
    assert "status.txt" in parts


@pytest.mark.parametrize("how", ["symlink", "hardlink"])
def test_nothing_is_read_that_somebody_linked_into_the_directory(
    how: str, agent: FakeAgent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim, planted = tmp_path / "shadow", agent.directory / "log-planted.txt"
    victim.write_text("root:of-nobodys-business")
    if how == "symlink":
        planted.symlink_to(victim)
    else:
        planted.hardlink_to(victim)
    parts, told = made(capsys)
    assert "of-nobodys-business" not in "".join(parts.values())
    assert [line for line in told["missing"] if line.startswith("log-planted.txt: ")]


def test_a_long_log_is_cut_at_its_beginning(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_parts, "MAX_PART_LEN", 100)
    tail_path(agent.directory, "packet").write_text("".join(f"line {number}\n" for number in range(1000)))
    parts, told = made(capsys)
    assert parts["log-packet.txt"].endswith("line 999\n")
    assert len(parts["log-packet.txt"]) == 100
    assert "log-packet.txt: only the last 100 of 8890 bytes" in told["missing"]


OURS = ("relay", "guard", "node", "connected", "unknown", "guard-2", "initiator")


def test_peers_named_like_words_of_ours_are_replaced_and_the_words_stay(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"connected", "relayed", "packet", "guard", "public_key", "tunnels", "initiator"} <= vocabulary()
    now, keys = boot_now(), [PublicKey(encode_key(bytes([number] * KEY_LEN))) for number in range(1, 1 + len(OURS))]
    peers = [peer(now, key, name=name) for key, name in zip(keys, OURS, strict=True)]
    agent.write([control(now, *peers), packet(now, *(tunnel(now, key) for key in keys))])
    tail_path(agent.directory, "packet").write_text(f"INFO guard of the relay peer={keys[0][:8]} name=relay\n")

    def furnish(offices: dict[str, PostOffice]) -> None:
        office = offices["control-0"]
        for key, name in zip(keys, OURS, strict=True):
            start = StartPeer(settings=PeerSettings(peer=key, name=name, allowed_ips=()))
            office.add(f"peer/{key}/guard", Sink())
            office.post(Address(f"peer/{key}/guard", "control-0"), start)

    with on_a_thread(agent.directory, ["control-0"], furnish):
        parts, told = made(capsys)
    status, mail = json.loads(parts["status.json"]), parts["mail.txt"]
    assert {told["pseudonyms"][one["name"]] for one in status["peers"]} == set(OURS)
    assert {(one["state"], one["path"]) for one in status["peers"]} == {("connected", "relayed")}
    assert re.search(r"INFO guard of the relay peer=\w{8} name=peer-\d+$", parts["log-packet.txt"], re.MULTILINE)
    assert mail.count("/guard  start_peer") == len(OURS)
    for name in OURS:
        assert f'"name": "{name}"' not in parts["status.json"] + parts["snapshots.json"]
        assert not re.search(rf"name={name}\b|-> {name}/", mail), name
        assert not re.search(rf"^{name} +connected", parts["status.txt"], re.MULTILINE), name
    assert len(re.findall(r"^peer-\d+: connected over the relay", parts["why.txt"], re.MULTILINE)) == len(OURS)


def test_the_messages_of_the_rings_hold_no_secret_and_are_a_tape(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    at = peer_addresses(BOB, ("control-0",)).offer_listener

    def furnish(offices: dict[str, PostOffice]) -> None:
        office = offices["control-0"]
        office.add(at.actor, Sink())
        for message in secretive():
            office.post(Address(at.actor, at.process), message)

    with on_a_thread(agent.directory, ["control-0"], furnish):
        parts, _ = made(capsys, "-o", "b.tar.gz")
        dump = homing(capsys, "trace", "--since", "60s", "--all", "--json")
        tape = homing(capsys, "trace", "record", "t.tape", "--since", "60s", "--for", "10ms")
    assert (dump.code, tape.code) == (0, 0), (dump, tape)
    whole = unpacked(Path("b.tar.gz"))
    lines = parts["mail.txt"].splitlines()
    assert [line for line in lines if "peer-1/offer_listener" in line and "<secret " in line]
    places = {**whole, "dump": dump.out.encode(), "tape": Path("t.tape").read_bytes()}
    assert leaks(places, {"pwd": PWD, "preshared key": PSK, "private key": OWN.value}) == []
    assert not [name for name, data in whole.items() if BOB.encode() in data]
    Path("mail.tape").write_bytes(whole["mail.tape"])
    with Path("mail.tape").open("rb") as file:
        assert len(list(Tape(file))) == len(lines)
    assert "peer-1/offer_listener" in homing(capsys, "trace", "show", "mail.tape", "--all").out


def test_the_search_for_secrets_finds_them() -> None:
    secret = bytes(range(200, 232))
    for prefix in (b"", b"a", b"ab"):
        assert leaks({"file": base64.b64encode(prefix + secret + b"xyz")}, {"key": secret}) == ["key in file"]
    for data in (b"-" + secret, secret.hex().encode(), base64.urlsafe_b64encode(secret), str(secret).encode()):
        assert leaks({"file": data}, {"key": secret}) == ["key in file"]
    assert leaks({"file": bytes(range(32)), "other": msgspec.json.encode(BOB)}, {"key": secret}) == []
    assert all(len(form) > 5 for form in forms(b"short-secret"))
