"""Post offices that run on a thread of the test."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from actors.cli.running import boot_now
from actors.runtime.post_office import PostOffice

END_S = 20.0


@contextmanager
def on_a_thread(
    directory: Path,
    processes: Sequence[str],
    furnish: Callable[[dict[str, PostOffice]], None],
    incarnation: int = 1,
) -> Iterator[dict[str, PostOffice]]:
    """Run an office for each of these processes, with the actors that `furnish` adds."""
    offices: dict[str, PostOffice] = {}
    ready = done = False

    def run() -> None:
        nonlocal ready
        for process in processes:
            offices[process] = PostOffice(process, incarnation, directory, clock=boot_now)
        try:
            for office in offices.values():
                for other in processes:
                    if other != office.process:
                        office.connect(other, incarnation)
            furnish(offices)
            ready = True
            while not done:
                busy = [office.turn() for office in offices.values()]
                for office in offices.values():
                    office.serve_tap()
                if not any(busy):
                    offices[processes[0]].receiver.socket.poll(1)
        finally:
            for office in offices.values():
                office.close()

    with ThreadPoolExecutor(1) as other_thread:
        running = other_thread.submit(run)
        try:
            while not ready:
                assert not running.done(), running.exception()
            yield offices
        finally:
            done = True
            running.result(END_S)
