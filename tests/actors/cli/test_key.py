import base64
import hashlib
import io
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from config.keypairs import derive_public_key, new_private_key
from config.keys import Secret, decode_key, encode_key
from tests.actors.cli.console import failure, homing
from tests.config.samples import OWN, own_key, write_private
from tests.transport.drivers import certificates


def test_a_new_key_file_is_private_and_its_public_key_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "home.key"
    result = homing(capsys, "key", "new", str(path))
    assert result.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 45
    assert result.out.strip() == derive_public_key(Secret(decode_key(path.read_text())))
    assert homing(capsys, "key", "public", str(path)).out == result.out


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_private(tmp_path / "home.key", "precious")
    assert "exists and is left as it is" in failure(capsys, "key", "new", str(path))
    assert path.read_text() == "precious"


def test_a_directory_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such directory; make it first" in failure(capsys, "key", "new", str(tmp_path / "x" / "home.key"))


def test_without_a_file_the_key_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = homing(capsys, "key", "new").out, homing(capsys, "key", "new").out
    assert len(decode_key(first)) == 32
    assert first != second


def test_keys_are_clamped_as_wg_does() -> None:
    assert new_private_key(lambda length: b"\xff" * length).value == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert new_private_key(bytes).value == bytes(31) + b"\x40"


@pytest.mark.parametrize("text", [encode_key(OWN.value), encode_key(OWN.value) + "\n"])
def test_a_public_key_from_standard_input(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert homing(capsys, "key", "public").out.strip() == own_key()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "standard input: 0 bytes; a key has 32"),
        ("hunter2\n", "standard input: 7 characters that are not base64; a key is 44 characters"),
        (base64.b64encode(bytes(31)).decode(), "standard input: 31 bytes; a key has 32"),
    ],
)
def test_what_is_no_key_on_standard_input(
    text: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert failure(capsys, "key", "public", "-") == line


def test_a_key_file_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_private(tmp_path / "home.key", encode_key(OWN.value))
    path.chmod(0o644)
    assert failure(capsys, "key", "public", str(path)) == f"{path}: readable by others: chmod 600 {path}"


def test_the_fingerprint_of_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = certificates.make(tmp_path, "one"), certificates.make(tmp_path, "other")
    der = ssl.PEM_cert_to_DER_cert(one.certificate.read_text())
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"a comment\n" + one.certificate.read_bytes() + other.certificate.read_bytes())
    for file in (one.certificate, chain):
        assert homing(capsys, "key", "fingerprint", str(file)).out == f"sha256:{hashlib.sha256(der).hexdigest()}\n"
    assert failure(capsys, "key", "fingerprint", str(one.key)) == f"{one.key}: no certificate (PEM)"
    assert failure(capsys, "key", "fingerprint", str(tmp_path)) == f"{tmp_path}: Is a directory"


@pytest.mark.interop
def test_wg_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "home.key"
    ours = homing(capsys, "key", "new", str(path)).out
    theirs = subprocess.run(["wg", "pubkey"], input=path.read_text(), capture_output=True, text=True, check=True)
    assert ours == theirs.stdout
    write_private(
        tmp_path / "wg.key", subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    )
    theirs = subprocess.run(
        ["wg", "pubkey"], input=(tmp_path / "wg.key").read_text(), capture_output=True, text=True, check=True
    )
    assert homing(capsys, "key", "public", str(tmp_path / "wg.key")).out == theirs.stdout
