"""Many runs of many scenarios: in which order, how many at a time, and for how long.

Each row of the README's table has its first runs before any has more, so that what is cut off is still a whole table.
A run at a time is written down, as one JSON line; the table is made of these.
"""

import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from random import Random
from threading import Lock, Thread

from tests.lab.catalogue import Scenario
from tests.lab.measure import Outcome
from tests.lab.results import Run

ROUND = 5  # runs of a row, before the next row has as many
LATER_ROUND = 20
EVEN = 20  # runs of a row from which on its rounds are the longer ones
ANY = ""  # the name for every scenario's rows


@dataclass(frozen=True, slots=True)
class Batch:
    """Some runs of one scenario, one after the other on one stage."""

    scenario: Scenario
    runs: int


def planned(scenarios: Sequence[Scenario], per_row: Mapping[str, int]) -> list[Batch]:
    """Return the batches that give each row so many runs, spread evenly over its variants.

    `per_row` has a number for rows of a scenario (S0) or with a variant that begins so (S0/nights), and for the rest.
    """
    rows: dict[object, list[Scenario]] = {}
    for scenario in scenarios:
        rows.setdefault(scenario.row, []).append(scenario)
    wanted = {row: -(-_number(of, per_row) // len(of)) * len(of) for row, of in rows.items()}
    for of in rows.values():
        Random(0).shuffle(of)  # the first few are of every kind
    batches = []
    for first, last in _rounds(max(wanted.values())):
        for row, of in rows.items():
            shares = Counter(run % len(of) for run in range(first, min(last, wanted[row])))
            batches += [Batch(of[index], runs) for index, share in shares.items() for runs in _parts(share)]
    return batches


def is_meant(name: str, scenario: Scenario) -> bool:
    """Tell whether S0, S0/nights, or ANY means this scenario."""
    return name in (ANY, scenario.id) or ("/" in name and scenario.name.startswith(name))


def _number(of: Sequence[Scenario], per_row: Mapping[str, int]) -> int:
    return per_row[max((name for name in per_row if any(is_meant(name, one) for one in of)), key=len)]


def _rounds(most: int) -> Iterator[tuple[int, int]]:
    first = 0
    while first < most:
        last = first + (ROUND if first < EVEN else LATER_ROUND)
        yield first, last
        first = last


def _parts(runs: int) -> Iterator[int]:
    return (min(ROUND, runs - done) for done in range(0, runs, ROUND))


class Campaign:
    """Batches with a process each, so many at a time."""

    def __init__(self, batches: Sequence[Batch], jobs: int, how: Sequence[str] = ()) -> None:
        self._waiting, self._jobs, self._how = deque(batches), jobs, how
        self._found: SimpleQueue[Run | None] = SimpleQueue()  # None: one of those that work has ended
        self._lock, self._ending = Lock(), False
        self._workers: list[subprocess.Popen[str]] = []

    def runs(self, limit_s: float) -> Generator[Run, None, None]:
        """Yield each run as it is done, until all are or the time is over; leave nothing running when closed."""
        until = time.monotonic() + limit_s
        threads = [Thread(target=self._work) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        try:
            left = self._jobs
            while left:
                try:
                    # The longest wait that threads know is shorter than "for ever".
                    run = self._found.get(timeout=min(max(until - time.monotonic(), 0.0), 3600.0))
                except Empty:
                    if time.monotonic() >= until:
                        until = float("inf")
                        self._end()
                    continue
                if run is None:
                    left -= 1
                else:
                    yield run
        finally:
            self._end()
            for thread in threads:
                thread.join()

    def _end(self) -> None:
        with self._lock:
            self._ending = True
            for worker in self._workers:
                worker.terminate()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            scenario, worker = batch
            done = 0
            assert worker.stdout is not None
            for line in worker.stdout:
                self._found.put(Run.read(line))
                done += 1
            worker.wait()
            if not done and not self._ending:
                self._found.put(Run(scenario.name, Outcome(None, None, 0, "the run broke off"), 0.0))
        self._found.put(None)

    def _next(self) -> tuple[Scenario, "subprocess.Popen[str]"] | None:
        """Start the next batch."""
        with self._lock:
            if self._ending or not self._waiting:
                return None
            batch = self._waiting.popleft()
            scenario = batch.scenario
            how = ("--runs", str(batch.runs), "--settled", str(scenario.settled_s), "--out", "-", *self._how)
            command = [sys.executable, "-m", "tests.lab.scenarios", scenario.name, *how]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._workers.append(worker)
            return scenario, worker
