import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.files import (
    UnusableFile,
    read_certificates,
    read_private_key,
    read_relay_secret,
    read_relay_token,
    token_expiry_unix_s,
)
from config.keys import Secret
from config.load import ConfigError, load
from tests.config.samples import token_text, write_private, write_sample

READERS = (read_private_key, read_relay_secret, read_relay_token)


def refusal(read: Callable[[Path], object], path: Path) -> str:
    """Return what is told of a file that is refused, without its name."""
    with pytest.raises(UnusableFile) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("AAAA\n", "3 bytes; a key has 32; make one with: homing key new FILE"),
        ("not a key\n", "9 characters that are not base64"),
        ("", "empty"),
        (base64.b64encode(bytes(32)).decode(), "32 zero bytes"),
        ("a\nb\n", "more than one line"),
        ("A" * 5000, "more than 4096 bytes"),
    ],
)
def test_a_file_that_holds_no_key(tmp_path: Path, content: str, complaint: str) -> None:
    said = refusal(read_private_key, write_private(tmp_path / "a.key", content))
    assert said.startswith(complaint)
    assert not content.strip() or content.strip() not in said


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("4102444800\n", "1 words; one line"),
        ("soon c2lnbmF0dXJl\n", "the first word is no expiry"),
        ("4102444800 ???\n", "the second word is not base64"),
        ("4102444800 AAAA\n", "a signature of 3 bytes; it has 32"),
        ("9" * 30 + " AAAA\n", "the first word is no expiry"),
    ],
)
def test_a_file_that_holds_no_token(tmp_path: Path, content: str, complaint: str) -> None:
    said = refusal(read_relay_token, write_private(tmp_path / "relay.token", content))
    assert said.startswith(complaint)
    assert not any(signature in said for signature in content.split()[1:])


def test_a_token_says_when_it_ends(tmp_path: Path) -> None:
    assert token_expiry_unix_s(read_relay_token(write_private(tmp_path / "relay.token", token_text()))) == 4102444800


def test_a_secret_is_its_line_as_it_stands(tmp_path: Path) -> None:
    assert read_relay_secret(write_private(tmp_path / "s", " Grüße = \r\n")) == Secret(" Grüße = ".encode())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_secret_file_that_is_not_its_owners_alone(tmp_path: Path, read: Callable[[Path], object], mode: int) -> None:
    path = write_private(tmp_path / "secret", "x")
    path.chmod(mode)
    assert refusal(read, path) == f"readable by others: chmod 600 {path}"


@pytest.mark.parametrize("read", [*READERS, read_certificates])
def test_files_that_are_none(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert refusal(read, tmp_path / "missing") == "no such file"
    assert refusal(read, tmp_path) == "not a regular file"
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert refusal(read, tmp_path / "fifo") == "not a regular file"
    assert refusal(read, tmp_path / ("x" * 300)) == "File name too long"
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(read, tmp_path / "loop") == "Too many levels of symbolic links"


def test_a_mistake_in_a_file_names_the_key_that_names_the_file(tmp_path: Path) -> None:
    path = write_sample(tmp_path)
    (tmp_path / "alice.key").unlink()
    (tmp_path / "relay.secret").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.mistakes == (
        f"{path}: node.private_key_file: {tmp_path}/alice.key: no such file",
        f"{path}: relay.secret_file: {tmp_path}/relay.secret: readable by others: chmod 600 {tmp_path}/relay.secret",
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_private(tmp_path_factory.mktemp("fuzz") / "file", "")


TOKENS = st.tuples(st.integers(0, 10**22), st.binary(max_size=40)).map(
    lambda parts: f"{parts[0]} {base64.b64encode(parts[1]).decode()}".encode()
)


@given(content=st.binary(max_size=200) | TOKENS | st.binary(min_size=32, max_size=32).map(base64.b64encode))
def test_any_content_is_read_or_refused(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    for read in (*READERS, read_certificates):
        try:
            found = read(scratch)
        except UnusableFile:
            continue
        assert found
