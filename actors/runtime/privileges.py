"""Which user the children run as, and how they become it with no way back (Linux)."""

import ctypes
import os
import pwd
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

DEFAULT_USER = "homing"
LAST_CAP_FILE = Path("/proc/sys/kernel/cap_last_cap")

# prctl(2) and capset(2); values of Linux.
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 1, 4, 24, 28
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_SECBIT_NOROOT, _SECBIT_NOROOT_LOCKED, _SECBIT_KEEP_CAPS_LOCKED = 1, 2, 32
_CAPABILITY_VERSION_3 = 0x20080522


class UserUnavailable(Exception):
    """The children cannot run as this user; the message says what would do."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A user and the group that its files belong to."""

    name: str
    uid: int
    gid: int


def resolve_user(name: str | None) -> Identity:
    """Return the user that children run as: this one, else `homing` if it exists, else the caller.

    Raises UserUnavailable.
    """
    caller = Identity(name=_name_of(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    wanted = name
    if wanted is None:
        wanted = DEFAULT_USER if caller.uid == 0 and _exists(DEFAULT_USER) else caller.name
    if wanted == caller.name:
        return caller
    try:
        entry = pwd.getpwnam(wanted)
    except KeyError:
        hint = f"make it (useradd --system --no-create-home {wanted}), or leave out user in [node]"
        raise UserUnavailable(f"there is no user {wanted}: {hint}") from None
    if caller.uid not in (0, entry.pw_uid):
        raise UserUnavailable(f"{caller.name} cannot become {wanted}: run as root, or leave out user in [node]")
    return Identity(name=wanted, uid=entry.pw_uid, gid=entry.pw_gid)


def drop(identity: Identity, supervisor_pid: int) -> None:
    """Become this user for good: no groups, no capabilities, nothing to be gained by exec; end with the supervisor.

    Raises UserUnavailable, and SystemExit if the supervisor is gone already.
    """
    try:
        _drop(identity, ctypes.CDLL(None, use_errno=True))
    except OSError as error:
        hint = "the supervisor needs CAP_SETUID and CAP_SETGID for that; or leave out user in [node]"
        raise UserUnavailable(f"cannot become {identity.name} for good: {error.strerror}; {hint}") from None
    die_with(supervisor_pid)


def _drop(identity: Identity, libc: ctypes.CDLL) -> None:
    if os.geteuid() == 0:
        # Bounding set and securebits keep a later exec of a root-owned program from giving anything back; they ask
        # for CAP_SETPCAP, without which no_new_privs alone has to do.
        with suppress(PermissionError):
            for capability in range(_last_capability() + 1):
                _prctl(libc, _PR_CAPBSET_DROP, capability)
            _prctl(libc, _PR_SET_SECUREBITS, _SECBIT_NOROOT | _SECBIT_NOROOT_LOCKED | _SECBIT_KEEP_CAPS_LOCKED)
        if os.getgroups():
            os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    _drop_capabilities(libc)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_SET_DUMPABLE, 0)  # keys are in memory: no core file, no tracer of the same user


def die_with(supervisor_pid: int) -> None:
    """Have the kernel kill this process when its parent ends.  Raises SystemExit if that has happened already.

    A change of user forgets this setting, so it comes last.
    """
    _prctl(ctypes.CDLL(None, use_errno=True), _PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != supervisor_pid:
        raise SystemExit("the supervisor is gone")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _last_capability() -> int:
    return int(LAST_CAP_FILE.read_text(encoding="ascii"))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Empty the effective, permitted, inheritable and ambient sets."""
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    longs = [ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)]
    if libc.prctl(ctypes.c_int(option), *longs) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")
