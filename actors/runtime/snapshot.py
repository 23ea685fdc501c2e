"""The snapshot files in the run directory: `status-PROCESS.json`, replaced as a whole every second."""

import os
from pathlib import Path

import msgspec

from actors.messages.status import Snapshot

MAX_PID_READ_LEN = 1 << 20  # bytes


class _Pid(msgspec.Struct, frozen=True):
    pid: int


def snapshot_path(run_dir: Path, process: str) -> Path:
    """Return the file that this process writes."""
    return run_dir / f"status-{process}.json"


def write_snapshot(run_dir: Path, process: str, document: bytes) -> None:
    """Replace the process's snapshot.  It lies in memory (/run), so there is nothing to sync.  Raises OSError."""
    path = snapshot_path(run_dir, process)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    # The directory belongs to the children's user: what lies there under our name is not followed.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(document)
    temporary.replace(path)


def read_pid(run_dir: Path, process: str) -> int | None:
    """Return the process id that the snapshot names, None if there is none that can be read."""
    try:
        with snapshot_path(run_dir, process).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_PID_READ_LEN), type=_Pid).pid
    except (OSError, msgspec.MsgspecError):
        return None


def encode_snapshot(snapshot: Snapshot, control: bytes = b"") -> bytes:
    """Return the document; `control` is the control side's part where STATUS has encoded it already (JSON)."""
    if not control:
        return msgspec.json.encode(snapshot)
    return msgspec.json.encode({**msgspec.structs.asdict(snapshot), "control": msgspec.Raw(control)})
