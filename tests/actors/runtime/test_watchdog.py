"""What the kernel says of a process, asked of real ones."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.node.child import Activity
from actors.runtime import watchdog


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code that says when it has begun."""
    script = f"import sys, threading, time\nfrom actors.runtime.watchdog import *\n{code}"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def comes_to(wanted: Activity, pid: int, attempts: int = 20_000) -> bool:
    """Ask until the kernel says so; a bound on the questions, not on time."""
    return any(watchdog.activity(pid) == wanted for _ in range(attempts))


SLEEPING = "print('begun', flush=True)\ntime.sleep(60)"
BUSY = "print('begun', flush=True)\nwhile True: pass"
BUSY_BESIDE = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n" + BUSY


@pytest.mark.process
@pytest.mark.parametrize(("code", "activity"), [(SLEEPING, "waiting"), (BUSY, "runnable"), (BUSY_BESIDE, "runnable")])
def test_a_thread_that_wants_the_processor_makes_the_process_runnable(code: str, activity: Activity) -> None:
    with running(code) as process:
        assert comes_to(activity, process.pid)


@pytest.mark.process
def test_a_stopped_process_is_told_apart() -> None:
    with running(BUSY) as process:
        process.send_signal(signal.SIGSTOP)
        assert comes_to("stopped", process.pid)
        process.send_signal(signal.SIGCONT)
        assert comes_to("runnable", process.pid)


@pytest.mark.process
def test_one_that_has_ended_is_gone_before_and_after_it_is_reaped() -> None:
    with running(SLEEPING) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert watchdog.activity(process.pid) == "gone"
        process.wait()
        assert watchdog.activity(process.pid) == "gone"


@pytest.mark.process
def test_the_stacks_of_all_threads_are_told_without_the_interpreter_s_help() -> None:
    code = (
        "enable_dumps()\ndef hang_here():\n    print('begun', flush=True)\n    while True: pass\n"
        "threading.Thread(target=hang_here, daemon=True).start()\ntime.sleep(60)"
    )
    with running(code) as process:
        process.send_signal(watchdog.DUMP_SIGNAL)
        assert process.stderr is not None
        told = [process.stderr.readline() for _ in range(6)]
        assert "hang_here" in "".join(told)
        assert process.poll() is None


@pytest.mark.parametrize(
    ("stats", "activity"),
    [
        (["1 (a) S 0"], "waiting"),
        (["1 (a) S 0", "2 (b) R 0"], "runnable"),
        (["1 (a) S 0", "2 (b) D 0"], "runnable"),
        (["1 (x) R ) S 0"], "waiting"),
        (["1 (x) T 0", "2 (y) T 0"], "stopped"),
        (["1 (x) Z 0"], "gone"),
        ([""], "waiting"),
        ([], "gone"),
    ],
)
def test_the_state_letter_is_found_whatever_the_name(
    tmp_path: Path, stats: list[str], activity: Activity, make_proc: Callable[[Path, list[str]], None]
) -> None:
    make_proc(tmp_path, stats)
    assert watchdog.activity(7, proc=tmp_path) == activity


@pytest.fixture
def make_proc() -> Callable[[Path, list[str]], None]:
    def make(proc: Path, stats: list[str]) -> None:
        for number, stat in enumerate(stats):
            task = proc / "7" / "task" / str(number)
            task.mkdir(parents=True)
            (task / "stat").write_text(stat)

    return make
