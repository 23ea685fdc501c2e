import socket
from pathlib import Path

import pytest

from tests.actors.cli.console import failure, homing
from tests.config.samples import TEXT, own_key, write_private, write_sample

BY_NAME = TEXT.replace("http://203.0.113.1", "http://signal.test").replace("rel://203.0.113.1", "rel://relay.test")


def test_a_fine_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sample(tmp_path)
    result = homing(capsys, "check", "-c", str(path))
    assert result.code == 0
    assert result.out == f"{path}: fine: node alice, 2 peers\npublic key {own_key()}\n"


def test_what_quic_would_take_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TEXT.replace("[relay]", '[relay]\ntransport = "auto"')
    path = write_sample(tmp_path, text)
    out = homing(capsys, "check", "-c", str(path)).out
    assert "note: relay.urls: rel://203.0.113.1:8080 is reached by WebSocket only; QUIC takes relay.fingerprints" in out
    write_sample(tmp_path, text.replace("[relay]", f'[relay]\nfingerprints = ["sha256:{"ab" * 32}"]'))
    result = homing(capsys, "check", "-c", str(path))
    assert (result.code, "note" in result.out) == (0, False)


def test_every_mistake_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sample(tmp_path, TEXT.replace("[node]", "[node]\nmtu = 1\nlisten_prot = 2"))
    result = homing(capsys, "check", "-c", str(path))
    assert result.code == 2
    assert result.error.splitlines() == [
        f"homing: {path}: node.listen_prot: unknown key; did you mean listen_port?",
        f"homing: {path}: node.mtu: 1; 576 to 9000 bytes",
    ]


def test_the_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOMING_NODE_NAME", "else")
    assert "node else" in homing(capsys, "check", "-c", str(write_sample(tmp_path))).out


def test_an_expired_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_private(tmp_path / "relay.token", f"1000000000 {'A' * 43}=\n")
    path = write_sample(tmp_path, TEXT.replace('secret_file = "relay.secret"', 'token_file = "relay.token"'))
    assert "relay.token_file: the token expired at 2001-09-09T01:46:40+00:00" in failure(
        capsys, "check", "-c", str(path)
    )


def answers(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    if host == "relay.test":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.77.0.3", 0))] * 2


def test_names_are_looked_up_only_when_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers)
    path = write_sample(tmp_path, BY_NAME)
    assert homing(capsys, "check", "-c", str(path)).code == 0
    result = homing(capsys, "check", "-c", str(path), "--resolve")
    assert result.code == 1
    assert result.error.splitlines() == [
        f"homing: {path}: relay.urls[0]: relay.test has no address (Name or service not known); "
        "a name that can be resolved here",
        f"homing: {path}: node.addresses: 10.77.0.0/24 holds 10.77.0.3, the server of signal.url; a prefix without it",
        f"homing: {path}: peer[carol].allowed_ips: 10.77.0.3/32 holds 10.77.0.3, the server of signal.url; "
        "a prefix without it",
    ]
