"""The snapshot files in the run directory: `status-PROCESS.json`, replaced as a whole every second.

Beside them lies what the agent runs with: `configuration.json`, its ConfigFile, which names key files and holds no key.
"""

import os
from pathlib import Path

import msgspec

from actors.messages.status import Snapshot
from config.schema import ConfigFile

CONFIGURATION = "configuration.json"
MAX_SNAPSHOT_LEN = 64 << 20  # bytes
MAX_PID_READ_LEN = 1 << 20  # bytes


_decode = msgspec.json.Decoder(Snapshot).decode


class _Pid(msgspec.Struct, frozen=True):
    pid: int


def snapshot_path(run_dir: Path, process: str) -> Path:
    """Return the file that this process writes."""
    return run_dir / f"status-{process}.json"


def write_snapshot(run_dir: Path, process: str, document: bytes) -> None:
    """Replace the process's snapshot.  Raises OSError."""
    _replace(snapshot_path(run_dir, process), document)


def read_snapshots(run_dir: Path) -> tuple[list[Snapshot], list[str]]:
    """Return what the processes wrote last, and a line for each file that cannot be used.  Raises PermissionError."""
    found, unreadable = [], []
    for path in sorted(run_dir.glob("status-*.json")):
        try:
            with path.open("rb") as file:
                found.append(_decode(file.read(MAX_SNAPSHOT_LEN)))
        except FileNotFoundError:
            continue
        except PermissionError:
            raise
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            unreadable.append(f"{path.name} cannot be read: {error}")
    return found, unreadable


def write_configuration(run_dir: Path, file: ConfigFile) -> None:
    """Leave what the agent runs with, for `homing bundle`.  Raises OSError."""
    _replace(run_dir / CONFIGURATION, msgspec.json.encode(file))


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


def _replace(path: Path, document: bytes) -> None:
    """Replace a file as a whole.  It lies in memory (/run), so there is nothing to sync."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    # The directory belongs to the children's user: what lies there under our name is not followed.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o644)  # the directory is closed to others; processes of another user read it
        file.write(document)
    temporary.replace(path)
