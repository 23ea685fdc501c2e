"""A signal server that is none to rely on: it delays, reorders, duplicates and replays (recovery S13).

python -m tests.lab.meddler HOST:PORT
"""

import asyncio
import random
import sys
from collections import deque
from typing import Any

from transport.signal import rpc
from transport.signal.server import SignalServer

LATEST_S = 2.0  # a message is handed on so late at the most, each by itself: so they overtake each other
TWICE, REPLAYED = 0.3, 0.3  # shares of the messages that come once more, and that bring an old one with them
KEPT = 50  # old messages


class Meddler(SignalServer):
    """Passes on what it is sent, and more."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._old: deque[bytes] = deque(maxlen=KEPT)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def _send(self, request: bytes, context: rpc.ServerContext) -> bytes:
        copies = [request] * (2 if self._rng.random() < TWICE else 1)
        if self._old and self._rng.random() < REPLAYED:
            copies.append(self._rng.choice(self._old))
        self._old.append(request)
        for copy in copies:
            task = asyncio.create_task(self._pass_on(copy, context))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return b""

    async def _pass_on(self, request: bytes, context: rpc.ServerContext) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, LATEST_S))
        await super()._send(request, context)


async def serve(address: str) -> None:
    """Serve for ever."""
    await Meddler(random.Random(0)).start(address)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
