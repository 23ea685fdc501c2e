"""The signal client on a thread of its own: posts go in from the post office's thread, facts come out by an outlet.

Importing this imports grpc, which costs 13 MB with a channel: only the process that has SIGNAL_LINK does.
"""

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from loguru import logger

from actors.addresses import SIGNAL
from actors.effects import Address
from actors.runtime import clock
from config.keys import PublicKey, Secret
from transport.signal.client import SignalClient
from transport.signal.messages import SignalConnected, SignalDisconnected, SignalFact, SignalPost
from transport.signal.sealing import Sealer

MAX_HANDED_OVER = 4096  # posts that the thread has not taken yet
AFTER_FAILURE_S = 1.0
AFTER_REFUSAL_S = 0.5


class Outlet(Protocol):
    """Puts mail into mailboxes from one thread that is not the post office's (actors/runtime/outlet.py)."""

    def send(self, to: Address[Any], message: msgspec.Struct) -> bool:
        """Put the message into this mailbox.  False: it was not taken."""
        ...


class SignalThread:
    """The driver behind SIGNAL_LINK (actors/node/signal_link.py).

    `outlet` is used by its thread alone from start() on.  Raises InvalidUrl.
    """

    def __init__(self, url: str, me: PublicKey, private_key: Secret, ca: bytes | None, outlet: Outlet) -> None:
        self._url, self._outlet = url, outlet
        self._client = SignalClient(
            url,
            me,
            Sealer(private_key, os.urandom),
            self._deliver,
            clock=clock.now,
            unix_clock=clock.unix_now,
            rng=random.SystemRandom(),
            ca=ca,
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="signal", daemon=True)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None
        self._given, self._taken = 0, 0  # posts, each counted by one thread only
        self.dropped = 0  # posts over MAX_HANDED_OVER

    @property
    def counters(self) -> Counter[str]:
        """What the client counts."""
        return self._client.counters

    def start(self) -> None:
        """Start the thread; the client connects by itself."""
        self._thread.start()
        self._started.wait()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Close the link and end the thread; give up waiting for it after `timeout_s`."""
        self._call(self._cancel)
        self._thread.join(timeout_s)

    def post(self, post: SignalPost) -> None:
        """Seal this and hand it to the server."""
        if self._given - self._taken >= MAX_HANDED_OVER:
            self.dropped += 1
            return
        self._given += 1
        self._call(self._take, post)

    def know(self, peers: frozenset[PublicKey]) -> None:
        """Drop what comes from anybody else."""
        self._call(self._client.know, peers)

    def repeat(self) -> None:
        """Tell SIGNAL again whether the link is up."""
        self._call(self._client.repeat)

    def _call(self, work: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, *arguments)

    # From here on: on the thread.

    async def _main(self) -> None:
        self._loop, self._running = asyncio.get_running_loop(), asyncio.create_task(self._keep_running())
        self._started.set()
        await asyncio.wait((self._running,))

    async def _keep_running(self) -> None:
        while True:
            try:
                await self._client.run()
            except Exception as error:  # a bug of ours: the agent must not lose its signalling for it
                logger.opt(exception=error).error("signal client failed")
                reason = f"the signal client failed: {type(error).__name__}"
                self._deliver(SignalDisconnected(url=self._url, reason=reason, retry_s=AFTER_FAILURE_S))
                await asyncio.sleep(AFTER_FAILURE_S)

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _take(self, post: SignalPost) -> None:
        self._taken += 1
        self._client.post(post)

    def _deliver(self, fact: SignalFact) -> None:
        if not self._outlet.send(SIGNAL, fact) and isinstance(fact, SignalConnected | SignalDisconnected):
            # SIGNAL must not go on believing what it heard before; whatever holds by then is told.
            asyncio.get_running_loop().call_later(AFTER_REFUSAL_S, self._client.repeat)
