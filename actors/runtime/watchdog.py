"""What the kernel says of a silent process, and how a hung one is made to say where it hangs."""

import faulthandler
import signal
import sys
from pathlib import Path

from actors.node.child import Activity

DUMP_SIGNAL = signal.SIGUSR1
RUNNABLE = frozenset("RD")  # D waits for the disk, which is no hang of ours
STOPPED = frozenset("Tt")
GONE = frozenset("ZXx")


def activity(pid: int, proc: Path = Path("/proc")) -> Activity:
    """Return whether any thread of the process wants the processor now."""
    try:
        states = [_state(task) for task in (proc / str(pid) / "task").iterdir()]
    except OSError:
        return "gone"
    if any(state in RUNNABLE for state in states):
        return "runnable"
    if any(state in STOPPED for state in states):
        return "stopped"
    return "gone" if all(state in GONE for state in states) else "waiting"


def enable_dumps() -> None:
    """Have DUMP_SIGNAL write the stacks of all threads to standard error, also while the interpreter is stuck."""
    faulthandler.enable(sys.stderr, all_threads=True)
    faulthandler.register(DUMP_SIGNAL, sys.stderr, all_threads=True)


def _state(task: Path) -> str:
    """Return the state letter of a thread; the name before it may hold anything, a parenthesis too."""
    try:
        text = (task / "stat").read_bytes()
    except OSError:
        return "X"
    return text[text.rfind(b")") + 2 :][:1].decode("ascii", "replace")
