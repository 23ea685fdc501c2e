"""What commands cost that read snapshots, of an agent with 1,000 peers, and what any command costs."""

import contextlib
import io
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from actors.cli.application import COMPLETE, execute
from actors.cli.report import make_report
from actors.cli.running import boot_now
from actors.runtime.metrics_text import metrics_text
from config.keys import KEY_LEN, PublicKey, encode_key
from tests.actors.cli.fake_agent import FakeAgent, control, packet, peer, supervisor, tunnel

PEERS = 1000
RUNS = 11


def measure() -> dict[str, Any]:
    """Return processor seconds: of `homing status` once it is loaded, of whole programs, of a scrape's text."""
    now = boot_now()
    keys = [PublicKey(encode_key(number.to_bytes(KEY_LEN, "big"))) for number in range(1, PEERS + 1)]
    peers = [peer(now, key, name=f"peer-{number}") for number, key in enumerate(keys)]
    snapshots = [supervisor(now), control(now, *peers), packet(now, *(tunnel(now, key) for key in keys))]
    with TemporaryDirectory() as directory, FakeAgent(Path(directory)) as agent:
        agent.write(snapshots)
        arguments = ("status", "--run-directory", directory)
        report = make_report(agent.node, os.getpid(), snapshots, (), now)
        return {
            "peers": PEERS,
            "status_work_s": _middle(lambda: _quietly(arguments), time.process_time),
            "status_program_s": _middle(lambda: _program(*arguments), _of_children),
            "one_peer_program_s": _middle(lambda: _program("status", "peer-7", *arguments[1:]), _of_children),
            "completion_program_s": _middle(lambda: _tab("homing", *arguments, "peer-99"), _of_children),
            "help_program_s": _middle(lambda: _program("--help"), _of_children),
            "interpreter_s": _middle(lambda: _python("-c", "pass"), _of_children),
            "metrics_text_s": _middle(lambda: metrics_text(report, "0", Counter()), time.process_time),
            "metrics_len": len(metrics_text(report, "0", Counter())),
        }


def _quietly(arguments: tuple[str, ...]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert execute(arguments) == 0


def _program(*arguments: str) -> None:
    _python("-m", "actors.cli", *arguments)


def _tab(*words: str) -> None:
    """Have the last word completed."""
    asked = {COMPLETE: "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    _python("-m", "actors.cli", **asked)


def _python(*arguments: str, **variables: str) -> None:
    env = {**os.environ, **variables}
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, env=env)


def _of_children() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def _middle(work: Callable[[], object], clock: Callable[[], float]) -> float:
    taken = []
    for _ in range(RUNS):
        began = clock()
        work()
        taken.append(clock() - began)
    return round(median(taken), 4)
