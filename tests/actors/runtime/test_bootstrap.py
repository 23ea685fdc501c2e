"""What a child is told, and who its directories belong to."""

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.addresses import CONTROL_0, PACKET
from actors.runtime import bootstrap
from actors.runtime.bootstrap import BadBootstrap, Bootstrap, DirectoryUnavailable, memory_file, read_bootstrap
from actors.runtime.privileges import Identity
from config.keys import PublicKey, Secret
from config.schema import ConfigFile, NodeConfig, NodeSection, PeerSection, RelayCredentials, SignalSection

ME = Identity(name="me", uid=os.geteuid(), gid=os.getegid())
NOBODY = Identity(name="nobody", uid=pwd.getpwnam("nobody").pw_uid, gid=pwd.getpwnam("nobody").pw_gid)
BOB = PublicKey("Ym9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm9iYm8=")
PSK = Secret(b"preshared " * 3 + b"..")
RELAY_SECRET = Secret(b"the relay's own secret text")
CONFIG = NodeConfig(
    file=ConfigFile(
        node=NodeSection(name="alice", private_key_file="alice.key", addresses=("10.77.0.1/24",)),
        signal=SignalSection(url="https://signal.example"),
        peer=(PeerSection(name="bob", public_key=BOB, allowed_ips=("10.77.0.2/32",), persistent_keepalive=7),),
    ),
    private_key=Secret(b"private key " * 2 + b"........"),
    public_key=PublicKey("YWxpY2VhbGljZWFsaWNlYWxpY2VhbGljZWFsaWNlYWw="),
    relay_credentials=RelayCredentials(secret=RELAY_SECRET),
    preshared_keys={BOB: PSK},
    signal_ca=b"signal's roots",
    relay_ca=b"relay's roots",
)


def told(process: str) -> Bootstrap:
    return Bootstrap(
        process=process,
        incarnation=7,
        others={"supervisor": 5},
        run_dir="/run/homing/alice",
        state_dir="/var/lib/homing/alice",
        supervisor_pid=1,
        user=ME,
        config=bootstrap.pruned(CONFIG, process),
        listen_port=51820,
    )


def test_a_child_reads_what_it_was_told() -> None:
    descriptor = memory_file(told(PACKET))
    try:
        assert read_bootstrap(os.read(descriptor, 1 << 20)) == told(PACKET)
    finally:
        os.close(descriptor)


def test_each_child_gets_the_secrets_that_it_needs_and_no_others() -> None:
    packet, control = (msgspec.msgpack.encode(told(name)) for name in (PACKET, CONTROL_0))
    assert CONFIG.private_key.value in packet
    assert RELAY_SECRET.value in packet
    assert b"signal's roots" not in packet
    assert CONFIG.private_key.value in control
    assert RELAY_SECRET.value not in control
    assert b"relay's roots" not in control
    for data in (packet, control):
        assert PSK.value not in data
        assert BOB.encode() not in data


def test_the_peers_travel_as_mail_with_their_preshared_keys() -> None:
    (bob,) = bootstrap.settings_of(CONFIG).peers
    assert (bob.peer, bob.name, bob.allowed_ips, bob.persistent_keepalive_s) == (BOB, "bob", ("10.77.0.2/32",), 7)
    assert bob.preshared_key == PSK


@given(st.binary(max_size=200))
def test_no_bytes_make_a_child_raise_anything_else(data: bytes) -> None:
    with pytest.raises(BadBootstrap):
        read_bootstrap(data)


@pytest.mark.process
@pytest.mark.parametrize("module", ["packet_process", "control_process"])
@pytest.mark.parametrize("data", [b"", b"junk"])
def test_a_child_started_by_hand_says_who_should(module: str, data: bytes, tmp_path: Path) -> None:
    given_to_it = tmp_path / "stdin"
    given_to_it.write_bytes(data)
    with given_to_it.open("rb") as standard_input:
        done = subprocess.run(
            [sys.executable, "-m", f"actors.runtime.{module}"],
            stdin=standard_input, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "`homing up` starts this" in done.stderr


# --- directories ---


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_is_its_user_s_alone_and_those_above_can_be_passed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "homing" / "alice"
    before = os.umask(0o077)
    try:
        bootstrap.make_directory(path, ME)
    finally:
        os.umask(before)
    assert (mode(path), mode(path.parent)) == (0o700, 0o755)


@pytest.mark.netns  # as root
def test_another_user_takes_over_what_the_last_one_left() -> None:
    path = Path(f"/tmp/homing-bootstrap-{os.getpid()}")
    try:
        bootstrap.make_directory(path, ME)
        (path / "tai64n").write_text("1")
        (path / "planted").write_text("x")
        os.chown(path / "planted", 12345, 12345)
        bootstrap.make_directory(path, NOBODY)
        assert path.stat().st_uid == (path / "tai64n").stat().st_uid == NOBODY.uid
        assert (path / "planted").stat().st_uid == 12345
    finally:
        for each in path.iterdir():
            each.unlink()
        path.rmdir()


@pytest.mark.netns  # as root
def test_a_directory_that_its_user_cannot_reach_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o700)
    with pytest.raises(DirectoryUnavailable, match=r"user nobody cannot reach .* through .*: open it \(chmod o\+x"):
        bootstrap.make_directory(tmp_path / "closed" / "alice", NOBODY)


def test_a_file_in_the_place_of_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("")
    with pytest.raises(DirectoryUnavailable, match=r"cannot make .*alice me's: File exists"):
        bootstrap.make_directory(tmp_path / "alice", ME)


@pytest.mark.netns  # as root
def test_a_link_in_the_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o755)
    (tmp_path / "alice").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DirectoryUnavailable):
        bootstrap.make_directory(tmp_path / "alice", NOBODY)
    assert mode(tmp_path / "elsewhere") == 0o755
