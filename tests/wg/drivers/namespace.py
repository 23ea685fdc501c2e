"""A network namespace of its own for one function: it is gone when the function, and what it opened, is."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from functools import wraps

_CLONE_NEWNET = 0x40000000
_NOBODY = 65534


def in_namespace(story: Callable[[], None]) -> Callable[[], None]:
    """Run a test in a thread that has left the host's network; programs that it starts are where it is."""

    @wraps(story)
    def run() -> None:
        raised: list[BaseException] = []

        def enter() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.unshare(_CLONE_NEWNET) != 0:
                    raise AssertionError(f"no network namespace: {os.strerror(ctypes.get_errno())}")
                ip("link", "set", "lo", "up")
                story()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if raised:
            raise raised[0]

    return run


def ip(*arguments: str) -> None:
    """Run iproute2's `ip` here."""
    subprocess.run(["ip", *arguments], check=True)


def error_as_nobody(action: Callable[[], object]) -> str:
    """Return what the action raises in a process without any privilege."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            action()
            os.write(writer, b"nothing")
        except Exception as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        raised = said.read()
    os.waitpid(pid, 0)
    return raised
