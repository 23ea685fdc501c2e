"""What a child process is told before anything else: the Bootstrap record on its standard input; and the first steps.

The record holds keys, so it travels in memory only (memfd_create(2)): never in a file, the environment or arguments.
"""

import os
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from actors.addresses import PACKET
from actors.messages.process import PeersConfigured, PeerSettings
from actors.runtime import privileges
from actors.runtime.privileges import Identity, UserUnavailable
from actors.runtime.watchdog import enable_dumps
from config import logs
from config.keys import public_key
from config.schema import NodeConfig

MAX_BOOTSTRAP_LEN = 16 * 1024 * 1024  # bytes; certificates are the largest part
DIRECTORY_MODE = 0o700
PARENT_MODE = 0o755  # several nodes of several users lie side by side


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """All that a child starts from."""

    process: str
    incarnation: int
    others: dict[str, int]  # incarnations of the other processes, the supervisor's too
    run_dir: str  # of this node
    state_dir: str
    supervisor_pid: int
    user: Identity
    config: NodeConfig  # with the keys that this process needs, and no peers: those come as mail
    listen_port: int  # as bound
    tun_fd: int = -1  # descriptors are for the packet process
    udp_fds: tuple[int, ...] = ()
    handover_fd: int = -1  # a UNIX socket by which later UDP sockets come, as SCM_RIGHTS; each message says the port


class BadBootstrap(Exception):
    """The record cannot be read; this is for starting by the supervisor only."""


class DirectoryUnavailable(Exception):
    """A directory cannot be made or handed over; the message says which, and what would do."""


def run_directory(config: NodeConfig) -> Path:
    """Return the directory of this node's sockets and snapshots."""
    return Path(config.file.node.run_directory) / config.file.node.name


def state_directory(config: NodeConfig) -> Path:
    """Return the directory of what this node must not forget."""
    return Path(config.file.node.state_directory) / config.file.node.name


def settings_of(config: NodeConfig) -> PeersConfigured:
    """Return the peers as PEERS is told of them."""
    return PeersConfigured(
        peers=tuple(
            PeerSettings(
                peer=public_key(peer.public_key),
                name=peer.name,
                allowed_ips=peer.allowed_ips,
                persistent_keepalive_s=peer.persistent_keepalive,
                preshared_key=config.preshared_keys.get(public_key(peer.public_key)),
            )
            for peer in config.file.peer
        )
    )


def pruned(config: NodeConfig, process: str) -> NodeConfig:
    """Return the configuration with no more secrets than this process needs.

    Control seals with the private key and checks the signal server; packet does handshakes and logs in to relays.
    """
    packet = process == PACKET
    return NodeConfig(
        file=msgspec.structs.replace(config.file, peer=()),
        private_key=config.private_key,
        public_key=config.public_key,
        relay_credentials=config.relay_credentials if packet else None,
        preshared_keys={},
        signal_ca=None if packet else config.signal_ca,
        relay_ca=config.relay_ca if packet else None,
    )


def memory_file(bootstrap: Bootstrap) -> int:
    """Return a descriptor to be the child's standard input; writing to it cannot block."""
    descriptor = os.memfd_create(f"homing-{bootstrap.process}", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(msgspec.msgpack.encode(bootstrap))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def read_bootstrap(data: bytes) -> Bootstrap:
    """Return the record.  Raises BadBootstrap."""
    try:
        return msgspec.msgpack.decode(data, type=Bootstrap)
    except msgspec.MsgspecError as error:
        raise BadBootstrap(f"no bootstrap record on standard input ({error}); `homing up` starts this") from None


def enter(prepare: Callable[[Bootstrap], None] | None = None) -> Bootstrap:
    """Take the first steps of a child, and return what it is to do: read, become the user, mind the parent.

    To be called once everything is imported: what only root can read is out of reach afterwards.  `prepare` is the last
    chance, for what only some configurations need.  Raises BadBootstrap, UserUnavailable.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which drains
    enable_dumps()
    # A keyboard or a pipe that never ends would hold us here.
    data = b"" if not stat.S_ISREG(os.fstat(0).st_mode) else sys.stdin.buffer.read(MAX_BOOTSTRAP_LEN)
    bootstrap = read_bootstrap(data)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # and the record is gone
    os.close(nothing)
    os.umask(0o077)
    with suppress(OSError):  # what ps and top show; nothing hangs on it
        Path("/proc/self/comm").write_text(f"homing-{bootstrap.process}", encoding="ascii")
    if prepare is not None:
        prepare(bootstrap)
    privileges.drop(bootstrap.user, bootstrap.supervisor_pid)
    return bootstrap


def run_child(start: Callable[[Bootstrap], int], prepare: Callable[[Bootstrap], None] | None = None) -> int:
    """Enter, then run the process; what keeps it from starting is told in one line.  Returns the exit code."""
    try:
        told = enter(prepare)
    except (BadBootstrap, UserUnavailable) as error:
        print(f"homing: {error}", file=sys.stderr)
        return 1
    logs.setup(told.config.file.log, told.process)
    logs.keep_tail(told.config.file.log, told.process, Path(told.run_dir))
    return start(told)


def make_directory(path: Path, user: Identity) -> None:
    """Make a directory for this user alone, or hand an existing one over with its files.

    Raises DirectoryUnavailable.
    """
    try:
        _make_directory(path, user)
        _check_reachable(path.resolve(), user)
    except OSError as error:
        hint = f"{'run as root, or ' if os.geteuid() else ''}set another directory in [node]"
        raise DirectoryUnavailable(f"cannot make {path} {user.name}'s: {error.strerror}; {hint}") from None


def _check_reachable(path: Path, user: Identity) -> None:
    """Raise DirectoryUnavailable if the user may not pass through one of the folders above."""
    for folder in path.parents:
        found = folder.stat()
        owner, group = user.uid in (0, found.st_uid), user.gid == found.st_gid
        may_pass = stat.S_IXUSR if owner else stat.S_IXGRP if group else stat.S_IXOTH
        if not found.st_mode & may_pass:
            hint = f"open it (chmod o+x {folder}), or set another directory in [node]"
            raise DirectoryUnavailable(f"user {user.name} cannot reach {path} through {folder}: {hint}")


def _make_directory(path: Path, user: Identity) -> None:
    for parent in reversed(path.parents):
        with suppress(FileExistsError):  # another node's agent may be as quick
            parent.mkdir()
            parent.chmod(PARENT_MODE)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        owner = os.fstat(directory).st_uid
        os.fchmod(directory, DIRECTORY_MODE)
        if owner == user.uid:
            return
        for name in os.listdir(directory):
            # What belongs to somebody else than the last owner was put there to be given away.
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid == owner:
                os.chown(name, user.uid, user.gid, dir_fd=directory, follow_symlinks=False)
        os.fchown(directory, user.uid, user.gid)
    finally:
        os.close(directory)
