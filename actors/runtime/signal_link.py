"""The signal client on a thread of its own: posts go in from the post office's thread, facts come out by an outlet.

Importing this imports grpc, which costs 13 MB with a channel: only the process that has SIGNAL_LINK does.
"""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
from loguru import logger
from msgspec import structs

from actors.addresses import SIGNAL
from actors.effects import Address
from actors.runtime import clock
from actors.runtime.bridge import Bridge
from config.keys import PublicKey, Secret
from transport.signal.client import SignalClient
from transport.signal.messages import PostDescription, SignalConnected, SignalDisconnected, SignalFact, SignalPost
from transport.signal.sealing import Sealer

AFTER_FAILURE_S = 1.0
AFTER_REFUSAL_S = 0.5


class Outlet(Protocol):
    """Puts mail into mailboxes from one thread that is not the post office's (actors/runtime/outlet.py)."""

    def send(self, to: Address[Any], message: msgspec.Struct) -> bool:
        """Put the message into this mailbox.  False: it was not taken."""
        ...


class SignalThread:
    """The driver behind SIGNAL_LINK (actors/node/signal_link.py).

    `outlet` is used by its thread alone from start() on.  `cause` tells the id of the mail that is being handled, which
    an offer takes along so that the traces of two machines join (recovery R14).  Raises InvalidUrl.
    """

    def __init__(
        self,
        url: str,
        me: PublicKey,
        private_key: Secret,
        ca: bytes | None,
        outlet: Outlet,
        *,
        cause: Callable[[], int] = lambda: 0,
    ) -> None:
        self._url, self._outlet, self._cause = url, outlet, cause
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
        self._thread = threading.Thread(target=self._run, name="signal", daemon=True)
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._bridge = Bridge(self._loop)
        self._running: asyncio.Task[None] | None = None

    @property
    def counters(self) -> Mapping[str, int]:
        """What the client counts, and the posts that its thread was too far behind to be given."""
        return {**self._client.counters, "not_handed_over": self._bridge.refused}

    def start(self) -> None:
        """Start the thread; the client connects by itself."""
        self._thread.start()
        self._started.wait()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Close the link and end the thread; give up waiting for it after `timeout_s`."""
        self._bridge.call(self._cancel, always=True)
        self._thread.join(timeout_s)

    def post(self, post: SignalPost) -> None:
        """Seal this and hand it to the server."""
        self._bridge.call(partial(self._client.post, caused_by(post, self._cause())))

    def know(self, peers: frozenset[PublicKey]) -> None:
        """Drop what comes from anybody else."""
        self._bridge.call(partial(self._client.know, peers), always=True)

    def repeat(self) -> None:
        """Tell SIGNAL again whether the link is up."""
        self._bridge.call(self._client.repeat, always=True)

    def doubt(self) -> None:
        """See whether the link is still there."""
        self._bridge.call(self._client.doubt)

    # From here on: on the thread.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._running = asyncio.create_task(self._keep_running())
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

    def _deliver(self, fact: SignalFact) -> None:
        if not self._outlet.send(SIGNAL, fact) and isinstance(fact, SignalConnected | SignalDisconnected):
            # SIGNAL must not go on believing what it heard before; whatever holds by then is told.
            asyncio.get_running_loop().call_later(AFTER_REFUSAL_S, self._client.repeat)


def caused_by(post: SignalPost, cause: int) -> SignalPost:
    """Return an offer or answer with the id of the mail that it left with; what has no room for it as it is."""
    if not isinstance(post, PostDescription) or post.description.homing is None:
        return post
    homing = structs.replace(post.description.homing, cause=cause)
    return structs.replace(post, description=structs.replace(post.description, homing=homing))
