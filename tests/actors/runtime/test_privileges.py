"""Who the children run as, and that they cannot undo it."""

import os
import pwd
import select
import subprocess
import sys

import pytest

from actors.runtime import privileges
from actors.runtime.privileges import Identity, UserUnavailable, resolve_user

NOBODY = pwd.getpwnam("nobody")

needs_root = pytest.mark.netns  # the marker of what runs as root only


def status_after(code: str) -> dict[str, str]:
    """Run code that drops, in a fresh interpreter, and return its /proc/self/status as read afterwards."""
    script = f"import os; from actors.runtime.privileges import *\n{code}\nprint(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)


def dropped_to(entry: pwd.struct_passwd) -> dict[str, str]:
    identity = f"Identity(name={entry.pw_name!r}, uid={entry.pw_uid}, gid={entry.pw_gid})"
    return status_after(f"drop({identity}, os.getppid())")


@pytest.mark.process
@needs_root
@pytest.mark.parametrize("name", ["nobody", "root"])
def test_what_is_left_after_the_drop_is_a_user_and_nothing_else(name: str) -> None:
    entry = pwd.getpwnam(name)
    status = dropped_to(entry)
    assert set(status["Uid"].split()) == {str(entry.pw_uid)}
    assert set(status["Gid"].split()) == {str(entry.pw_gid)}
    assert status["Groups"].strip() == ""
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[which], 16) == 0, which
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.process
@needs_root
def test_there_is_no_way_back() -> None:
    entry = NOBODY
    attempts = "\n".join(
        [
            f"drop(Identity(name='nobody', uid={entry.pw_uid}, gid={entry.pw_gid}), os.getppid())",
            "for attempt in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):",
            "    try: attempt()",
            "    except PermissionError: continue",
            "    raise SystemExit('it worked')",
        ]
    )
    assert status_after(attempts)["Uid"].split()[0] == str(entry.pw_uid)


@pytest.mark.process
@needs_root
def test_root_without_capabilities_cannot_make_an_interface() -> None:
    script = (
        "import os\nfrom actors.runtime.privileges import *\nfrom wg.drivers.tun import *\n"
        "drop(Identity(name='root', uid=0, gid=0), os.getppid())\n"
        "try: open_tun('hmtest9')\nexcept TunUnavailable as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert "no privilege" in done.stdout


@pytest.mark.process
@needs_root
def test_who_cannot_become_the_user_says_what_is_missing() -> None:
    script = (
        "import os\nfrom actors.runtime.privileges import *\n"
        f"try: drop(Identity(name='nobody', uid={NOBODY.pw_uid}, gid={NOBODY.pw_gid}), os.getppid())\n"
        "except UserUnavailable as error: print(error)"
    )
    command = ["setpriv", "--bounding-set=-setuid", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("cannot become nobody for good: Operation not permitted; the supervisor needs CAP_")


@pytest.mark.process
def test_a_child_whose_parent_is_gone_leaves() -> None:
    script = "from actors.runtime.privileges import die_with; die_with(1 << 22); print('still here')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == ""
    assert "the supervisor is gone" in done.stderr


@pytest.mark.process
def test_a_child_dies_with_its_parent() -> None:
    child = (
        "import os, time\nfrom actors.runtime.privileges import *\n"
        "die_with(os.getppid())\nprint(1, flush=True)\ntime.sleep(60)"
    )
    parent = (
        "import subprocess,sys,time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.read(1)\nprint(child.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        pid_fd = os.pidfd_open(pid)
        process.kill()
    exited = select.poll()
    exited.register(pid_fd, select.POLLIN)
    assert exited.poll(10_000) == [(pid_fd, select.POLLIN)]
    os.close(pid_fd)


def test_without_a_name_the_caller_keeps_running_where_there_is_no_homing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "DEFAULT_USER", "no-such-user-here")
    assert resolve_user(None) == Identity(name=pwd.getpwuid(os.geteuid()).pw_name, uid=os.geteuid(), gid=os.getegid())


def test_without_a_name_the_default_user_is_taken_by_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "DEFAULT_USER", "nobody")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert resolve_user(None) == Identity(name="nobody", uid=NOBODY.pw_uid, gid=NOBODY.pw_gid)


def test_an_unknown_user_is_told_with_what_would_do() -> None:
    with pytest.raises(UserUnavailable, match=r"there is no user no-such-user.*useradd --system"):
        resolve_user("no-such-user")


def test_only_root_can_become_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UserUnavailable, match="12345 cannot become nobody: run as root"):
        resolve_user("nobody")
