"""How a command fails: one line on standard error that says what to do, and exit code 1, or 2 for wrong use."""

import errno
import os

from config.text import one_line

FAILED = 1
WRONG_USE = 2

HINTS = {
    errno.EPERM: "run as root (it needs CAP_NET_ADMIN)",
    errno.EACCES: "run as root, or as the user that owns it",
    errno.EADDRINUSE: "another program uses that port or path; stop it, or choose another",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; choose another",
    errno.ENOSPC: "make room on that file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class CommandFailed(Exception):
    """The command could not be done; each line says what was seen and what to do."""

    def __init__(self, *lines: str, code: int = FAILED) -> None:
        super().__init__("\n".join(lines))
        self.lines, self.code = lines, code


def explain(error: BaseException) -> CommandFailed:
    """Return what the user gets to see of an error that no command expected."""
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        hint = HINTS.get(error.errno)
        return CommandFailed(f"{where}{error.strerror}" + (f"; {hint}" if hint else ""))
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return CommandFailed(f"internal error: {told}; please report it with what HOMING_DEBUG=1 shows")


def as_line(text: str) -> str:
    """Return a line for standard error."""
    return f"homing: {one_line(' '.join(text.split()))}"
