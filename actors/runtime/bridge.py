"""The bridge from the post office's thread to an asyncio loop on another thread.

Jobs are queued and the loop is woken once for as many as wait.  What comes of a job is mailed back by the loop thread's
Outlet; nobody waits for anybody.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from loguru import logger

MAX_WAITING = 4_096  # jobs that the loop has not taken


class Bridge:
    """Hands jobs to one loop, in the order given.

    `call` is for one thread; the jobs run on the loop's.  A job starts what it wants (a task) and returns.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int = MAX_WAITING) -> None:
        self.refused = 0  # jobs over the limit
        self._loop, self._limit = loop, limit
        self._jobs: deque[Callable[[], Any]] = deque()
        self._armed = threading.Lock()  # held while a wake-up is on its way
        self._closed = False

    def call(self, job: Callable[[], Any], *, always: bool = False) -> bool:
        """Have the loop run the job; False: too many wait, or the bridge is closed.

        `always` is for what is rare and must not be lost: it is taken over the limit too.
        """
        if self._closed or (len(self._jobs) >= self._limit and not always):
            self.refused += 1
            return False
        self._jobs.append(job)
        if self._armed.acquire(blocking=False):
            try:
                self._loop.call_soon_threadsafe(self._run)
            except RuntimeError:  # the loop has closed
                self.close()
                return False
        return True

    @property
    def idle(self) -> bool:
        """Whether the loop has taken every job."""
        return not self._jobs

    def close(self) -> None:
        """Take no more jobs; those that wait are forgotten."""
        self._closed = True
        self._jobs.clear()

    def _run(self) -> None:
        self._armed.release()  # first, so that a job given from here on wakes the loop again
        for _ in range(len(self._jobs)):
            try:
                job = self._jobs.popleft()
            except IndexError:  # closed meanwhile
                return
            try:
                job()
            except Exception as error:  # a job's failure is its own; the next ones go on
                logger.error("a job on the loop failed: {}: {}", type(error).__name__, error)
