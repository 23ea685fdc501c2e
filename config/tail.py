"""The end of a log, kept in two files of fixed size: FILE, and FILE.1 with what came before it.

The directory is memory (/run) and may belong to a user with fewer rights than ours: nothing that lies there under our
name is followed or written to unless it is a plain file of our own.
"""

import errno
import os
import stat
from pathlib import Path

TAIL_LEN = 256 * 1024  # bytes, of both files together


class Tail:
    """A log's end.  Raises OSError where it cannot be kept, from `write` too."""

    def __init__(self, path: Path, limit: int = TAIL_LEN) -> None:
        self._path, self._half = path, limit // 2
        self._file = self._open()
        self._len = os.fstat(self._file).st_size

    def write(self, text: str) -> None:
        """Append lines; when the file is full it becomes FILE.1, and a new one begins."""
        data = text.encode("utf-8", "backslashreplace")[: self._half]
        if self._len + len(data) > self._half:
            self._path.replace(older(self._path))
            full, self._file, self._len = self._file, self._open(), 0
            os.close(full)
        self._len += os.write(self._file, data)

    def flush(self) -> None:
        """Do nothing: a line is written at once."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _open(self) -> int:
        """Go on in the file that an earlier process left, if it is ours."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            found = os.open(self._path, flags)
        except OSError:
            return self._make(flags)
        about = os.fstat(found)
        if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and about.st_nlink == 1:
            return found
        os.close(found)
        return self._make(flags)

    def _make(self, flags: int) -> int:
        self._path.unlink(missing_ok=True)
        return os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600)


def read_tail(path: Path) -> str:
    """Return what a log's end holds, its older part first.  Raises OSError, also for what only looks like one.

    Whoever reads may have more rights than the user whose directory it is: no link is followed out of there.
    """
    return "".join(_read(part) for part in (older(path), path) if part.exists() or part.is_symlink())


def _read(path: Path) -> str:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            raise OSError(errno.EINVAL, "it is no plain file of the agent", str(path))
        return os.read(file, TAIL_LEN).decode("utf-8", "replace")
    finally:
        os.close(file)


def older(path: Path) -> Path:
    """Return where the part before FILE lies."""
    return path.with_name(f"{path.name}.1")
