"""What a control process has besides its machines: the host of its own actor, and the signal client."""

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import msgspec

from actors.addresses import CONTROL_0, PEERS
from actors.effects import Address
from actors.messages.process import ProcessRestarted, StartPeer, StopPeer
from actors.messages.status import ControlStatus
from config.keys import PublicKey
from tests.simulator.servers import SignalHost
from tests.simulator.wires import Stream, Wires
from transport.signal.messages import SignalConnected, SignalDisconnected, SignalFact, SignalPost, SignalPostFailed
from transport.signal.outbox import Outbox
from transport.signal.timing import Backoff, Step, Timing, Watchdog

SIGNAL_URL = "http://signal.test"


class ControlHost:
    """The process as its own actor's host (actors/runtime/process_actor.py)."""

    process = CONTROL_0

    def __init__(
        self, incarnation: int, start_peer: Callable[[StartPeer], None], stop_peer: Callable[[PublicKey], None]
    ) -> None:
        self.incarnation = incarnation
        self.status = ControlStatus()
        self._start_peer, self._stop_peer = start_peer, stop_peer

    def start_peer(self, request: StartPeer) -> None:
        """Run this peer's actors."""
        self._start_peer(request)

    def stop_peer(self, request: StopPeer) -> None:
        """Forget them."""
        self._stop_peer(request.peer)

    def connect(self, process: str, incarnation: int) -> None:
        """Mail to a dead incarnation is lost with it here; there is nothing to connect."""

    def concerned(self) -> list[Address[ProcessRestarted]]:
        """As the real one: PEERS tells the others."""
        return [PEERS]

    def save_snapshot(self, document: bytes) -> None:
        """Keep what the snapshot file would say."""
        self.status = msgspec.json.decode(document, type=ControlStatus)

    def shut_ingress(self, reason: str) -> None:
        """Nothing here drains."""

    def quiet(self) -> bool:
        """Nothing here drains."""
        return True


class SignalClient:
    """Keeps a stream to the signal server: the real one's outbox and timing, without gRPC and seals."""

    def __init__(
        self,
        key: PublicKey,
        host: str,
        wires: Wires,
        server: SignalHost,
        *,
        rng: Random,
        enter: Callable[[Callable[[], list[SignalFact]]], None],
    ) -> None:
        """`enter` runs what comes from outside, unless the process is dead or stopped, and mails what it returns."""
        self._key, self._host, self._wires, self._server, self._into = key, host, wires, server, enter
        self._timing = Timing()
        self._backoff = Backoff(rng, self._timing)
        self._stream: Stream | None = None
        self._registered_at: float | None = None
        self._watchdog = Watchdog(0.0, self._timing)
        self._outbox = Outbox()
        self._under_way: dict[int, PublicKey] = {}  # number of a post -> to whom
        self._number = 0
        self._last: SignalFact | None = None
        self._known: frozenset[PublicKey] | None = None
        self._due_at = float("inf")
        self.closed = False

    @property
    def counters(self) -> Mapping[str, int]:
        """Nothing is counted here."""
        return {}

    # --- as the machine of SIGNAL_LINK has it ---

    def post(self, post: SignalPost) -> None:
        """Hand this to the server."""
        stream = self._stream
        if stream is None or self._registered_at is None:
            failed = SignalPostFailed(peer=post.peer, reason="the signal server is not connected")
            self._soon(lambda: [failed])
            return
        self._outbox.put(post)
        self._pump(stream)

    def know(self, peers: frozenset[PublicKey]) -> None:
        """Drop others' mail."""
        self._known = peers

    def repeat(self) -> None:
        """Tell again."""
        if (last := self._last) is not None:
            self._soon(lambda: [last])

    def doubt(self) -> None:
        """See whether the link is still there."""
        stream = self._stream
        if stream is not None and self._registered_at is not None:
            self._soon(lambda: self._suspect(stream))

    # --- the link ---

    def start(self) -> None:
        """Connect."""
        if not self.closed:
            self._wires.dial(self._host, "signal", self._timing.registration_s, self._dialled, self._refused)

    def close(self) -> None:
        """The process is gone, and its connections with it."""
        self.closed = True
        if self._stream is not None:
            self._stream.close("the process ended", by_server=False)

    def _dialled(self) -> None:
        if self.closed:
            return
        if not self._server.up:
            self._refused("connection refused")
            return
        self._stream = self._wires.stream(self._host, "signal", self, self._server)
        self._stream.send(("register", self._key), to_server=True)
        stream = self._stream
        self._soon(lambda: self._give_up(stream), self._timing.registration_s)

    def _refused(self, reason: str) -> None:
        self._enter(lambda: self._down(reason))

    def _give_up(self, stream: Stream) -> list[SignalFact]:
        if stream is not self._stream or self._registered_at is not None:
            return []
        stream.close("gave up", by_server=False)
        return self._down("registration header missing")

    def received(self, stream: Stream, item: Any) -> None:
        """Take what the server sent."""
        self._enter(lambda: self._take(stream, item))

    def lost(self, stream: Stream, reason: str) -> None:
        """The stream ended."""
        self._enter(lambda: self._down(reason) if stream is self._stream else [])

    def _take(self, stream: Stream, item: Any) -> list[SignalFact]:
        if stream is not self._stream:
            return []
        now = self._wires.agenda.now
        self._watchdog.heard(now)
        self._arm()
        match item:
            case ("registered",):
                self._registered_at, self._watchdog = now, Watchdog(now, self._timing)
                self._due_at = float("inf")
                self._arm()
                self._last = SignalConnected(url=SIGNAL_URL)
                return [self._last]
            case ("taken", number):
                self._outbox.done(self._under_way.pop(number))
                self._pump(stream)
            case ("mail", mail) if self._known is None or mail.peer in self._known:
                return [mail]
        return []

    def _pump(self, stream: Stream) -> None:
        while (post := self._outbox.take()) is not None:
            self._number += 1
            number = self._number
            self._under_way[number] = post.peer
            stream.send(("post", number, self._key, post), to_server=True)
            self._soon(partial(self._doubt, stream, number), self._timing.doubt_s)

    def _down(self, reason: str) -> list[SignalFact]:
        now = self._wires.agenda.now
        unsent = [*self._under_way.values(), *(post.peer for post in self._outbox.clear())]
        failed = [SignalPostFailed(peer=peer, reason="the signal link ended before this was sent") for peer in unsent]
        self._under_way.clear()
        lived_s = 0.0 if self._registered_at is None else now - self._registered_at
        self._stream, self._registered_at = None, None
        displaced = reason.startswith("displaced")
        retry_s = self._backoff.after_displacement(now) if displaced else self._backoff.after_failure(lived_s)
        self._last = SignalDisconnected(url=SIGNAL_URL, reason=reason, retry_s=retry_s, displaced=displaced)
        self._wires.agenda.at(now + retry_s, lambda: self._enter(self._start_again))
        return [*failed, self._last]

    def _start_again(self) -> list[SignalFact]:
        self.start()
        return []

    # --- is it half-open? ---

    def _doubt(self, stream: Stream, number: int) -> list[SignalFact]:
        if stream is not self._stream or number not in self._under_way:
            return []
        return self._suspect(stream)

    def _suspect(self, stream: Stream) -> list[SignalFact]:
        if stream is not self._stream:
            return []
        if self._watchdog.suspect(self._wires.agenda.now) is Step.PROBE:
            stream.send(("beat",), to_server=True)
        self._due_at = float("inf")
        self._arm()
        return []

    def _arm(self) -> None:
        at, stream = self._watchdog.next_timeout(), self._stream
        if at < self._due_at and stream is not None:
            self._due_at = at
            self._soon(lambda: self._on_due(stream), at - self._wires.agenda.now)

    def _on_due(self, stream: Stream) -> list[SignalFact]:
        if stream is not self._stream or self._registered_at is None:
            return []
        self._due_at = float("inf")
        match self._watchdog.handle_timeout(self._wires.agenda.now):
            case Step.PROBE:
                stream.send(("beat",), to_server=True)
            case Step.GIVE_UP:
                stream.close("silent", by_server=False)
                return self._down("the link went silent")
            case Step.NOTHING:
                pass
        self._arm()
        return []

    def _enter(self, call: Callable[[], list[SignalFact]]) -> None:
        """Have this happen in our process; what is still on its way when that has ended is not its successor's."""
        self._into(lambda: [] if self.closed else call())

    def _soon(self, call: Callable[[], list[SignalFact]], wait_s: float = 0.0) -> None:
        self._wires.agenda.at(self._wires.agenda.now + wait_s, lambda: self._enter(call))
