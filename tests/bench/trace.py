"""What it costs to see what happens: the ring, the tap and one who reads it; what a reader shows; how long a tape gets.

python -m tests.bench.trace --read DIRECTORY       (the reader, a process of its own; ends with its standard input)

The tape of an hour is not waited for: two real agents are recorded for WATCH_S, from when both have been connected for
SETTLE_S, and what came in that time is taken as often as it fits into an hour.
"""

import argparse
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import structs

from actors.cli.reading import MAX_LINES_PER_S
from actors.cli.running import boot_now
from actors.demo.pair import Pair
from actors.trace.explain import Standing, explain
from actors.trace.live import Taps
from actors.trace.record import Record, encode_record
from actors.trace.render import render
from actors.trace.replay import replay
from actors.trace.tape import Tape
from actors.trace.tree import tree_of
from tests.actors.trace.records import record
from tests.actors.trace.take_tape import TAPE
from tests.bench.mail import PLAIN, Round, percent
from tests.config.samples import BOB

RUN_S, ROUNDS = 0.4, 9
LINES = 20_000
SETTLE_S, WATCH_S = 20.0, 60.0
FLAP_S = 10.0  # the direct path is cut for so long, then whole for so long
HOUR_S = 3600.0
RING_RECORDS = 4096


def measure() -> dict[str, Any]:
    """Return all figures."""
    return {**tap(), **reading(), "tape_hour": {"idle": tape_hour(None), "flapping": tape_hour(FLAP_S)}}


def tap() -> dict[str, Any]:
    """Return what a message costs more than without ring and tap, in percent of the CPU time of a local hop."""
    with tempfile.TemporaryDirectory(prefix="homing-trace-") as directory:
        places = [Path(directory) / name for name in ("bare", "tap", "ring", "watched")]
        for place in places:
            place.mkdir()
        every = [
            Round(places[0], "bare", PLAIN, ring=False, tap=False),
            Round(places[1], "tap", PLAIN, ring=False, tap=True),
            Round(places[2], "ring", PLAIN, ring=True, tap=True),
            Round(places[3], "watched", PLAIN, ring=True, tap=True),
        ]
        with _reader(places[3]):
            while every[3]._office.show is None:
                every[3].run(0.05)
            for number in range(ROUNDS + 1):
                if number == 1:  # the first is to warm them
                    for each in every:
                        each.rates.clear()
                        each.costs.clear()
                for each in every if number % 2 else every[::-1]:
                    each.run(RUN_S)
            dropped, handled = every[3]._office.tap.dropped, every[3]._office.delivered
        for each in every:
            each.close()
    hop = statistics.median(every[0].costs)
    return {
        "hop_us": round(1e6 * hop, 2),
        "tap_off_percent": percent(every[1], every[0]),
        "ring_percent": percent(every[2], every[0]),
        "one_reader_percent": percent(every[3], every[0]),
        "with_reader_per_s": round(statistics.median(every[3].rates)),
        "reader_missed_percent": round(100 * dropped / handled, 1),
    }


def reading() -> dict[str, Any]:
    """Return what a reader shows in a second, and how long explanations take with full rings."""
    one = record()
    rendered_s = _seconds(lambda: [render(one, {BOB: "bob"}, 0.0) for _ in range(LINES)])
    with TAPE.open("rb") as file:
        tape = Tape(file)
        records, notes = list(tape), tape.notes
    full = [_again(each, turn) for turn in range(RING_RECORDS // len(records) + 1) for each in records][:RING_RECORDS]
    peer = next(iter(tape.names))
    chosen = max(full, key=lambda each: each.sent_count)
    stands = Standing(peer=peer, name="bob", state="connected", path="relayed", endpoint="", proof_age_s=1.0, reason="")
    return {
        "shown_per_s": MAX_LINES_PER_S,
        "rendered_per_s": round(LINES / rendered_s),
        "trace_why_ms": round(1000 * _seconds(lambda: tree_of(full, chosen)), 1),
        "why_ms": round(1000 * _seconds(lambda: explain(stands, full, full[-1].at)), 1),
        "replayed_per_s": round(
            sum(each.handled for each in replay(records, notes)) / _seconds(lambda: replay(records, notes))
        ),
    }


def tape_hour(flap_s: float | None) -> dict[str, Any]:
    """Return how long the tape of an hour of one end of a pair would be."""
    with tempfile.TemporaryDirectory(prefix="homing-trace-") as directory, Pair("trace") as pair:
        pair.start_servers()
        pair.start_agents()
        time.sleep(SETTLE_S)
        file = Path(directory) / "pair.tape"
        command = [sys.executable, "-m", "actors.cli", "trace", "record", str(file), *pair._of(pair.alice)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as recorder:
            while not file.exists():
                time.sleep(0.1)
            since = boot_now() + 1.0
            until = since + WATCH_S
            whole = True
            while boot_now() < until:
                if flap_s is not None:
                    pair.hub.exec("sysctl", "-qw", f"net.ipv4.ip_forward={int(not whole)}")
                    whole = not whole
                time.sleep(min(flap_s or WATCH_S, max(until - boot_now(), 0.0)))
            recorder.send_signal(signal.SIGINT)
            recorder.wait(30)
        with file.open("rb") as opened:
            kept: list[Record] = [each for each in Tape(opened) if since <= each.at < until]
    length = sum(len(encode_record(each)) for each in kept)
    return {
        "records": round(len(kept) * HOUR_S / WATCH_S),
        "mb": round(length * HOUR_S / WATCH_S / 1e6, 1),
        "watched_s": WATCH_S,
    }


def _again(one: Record, turn: int) -> Record:
    """Return the record as if it had happened once more, later."""
    ids = {name: getattr(one, name) for name in ("id", "cause", "trace", "sent_first")}
    return structs.replace(
        one, at=one.at + 100.0 * turn, **{name: each and each + (turn << 62) for name, each in ids.items()}
    )


def _seconds(work: Callable[[], object]) -> float:
    """Return the median CPU time of five runs."""
    taken = []
    for _ in range(5):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


@contextmanager
def _reader(directory: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.trace", "--read", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            yield
        finally:
            child.kill()


def read(directory: Path) -> None:
    """Be the reader, until killed or left alone."""
    with Taps(directory) as taps:
        while not select.select([sys.stdin], [], [], 0)[0]:
            for _ in taps.read(0.1, boot_now()):
                pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", type=Path, required=True)
    read(parser.parse_args().read)
