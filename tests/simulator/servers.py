"""The servers that agents meet at: the real relay server and STUN responder, and a signal server that keeps nothing."""

from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from config.keys import PublicKey, Secret
from tests.kit.agenda import Agenda
from tests.kit.net import Host, Network
from tests.simulator.wires import Stream
from transport.ice.responder import StunResponder
from transport.relay.auth import key_of
from transport.relay.events import ConnectionClosed
from transport.relay.server import Connection, RelayServer
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    OfferReceived,
    PostCandidate,
    SignalPost,
    SignalReceived,
)
from wg.datagrams import Endpoint

SECRET = Secret(b"the secret of all relay servers here")
WALL_S = 1_700_000_000.0  # at virtual time 0
WINDOW = 128  # messages of half a KiB that an HTTP/2 stream holds for a receiver that reads nothing (64 KiB)
KEEPALIVE_S = 20.0  # between the signal server's pings, as transport/signal/server.py sets it
KEEPALIVE_TIMEOUT_S = 10.0  # for one to be answered


class RelayHost:
    """One relay server."""

    def __init__(self, agenda: Agenda, url: str) -> None:
        self.url, self._agenda = url, agenda
        self.up = True
        self.logins = 0
        self._begin()

    def _begin(self) -> None:
        self._server = RelayServer(self.url, key_of(SECRET), lambda: WALL_S + self._agenda.now)
        self._streams: dict[int, Stream] = {}
        self._connections: dict[Stream, Connection] = {}
        self._due_at = float("inf")

    @property
    def replaced(self) -> int:
        """How many connections were ended by newer ones of the same peer."""
        return self._server.replaced

    def stop(self) -> None:
        """End the process; the kernel tells the clients."""
        streams, self.up = list(self._streams.values()), False
        self._begin()
        for stream in streams:
            stream.close("connection reset by peer", by_server=True)

    def start(self) -> None:
        """Run again, knowing nothing."""
        self.up = True

    def accept(self, stream: Stream) -> bool:
        """Take a connection in."""
        connection = self._server.accept(self._agenda.now) if self.up else None
        if connection is None:
            return False
        self._streams[connection.number], self._connections[stream] = stream, connection
        self._settle()
        return True

    def received(self, stream: Stream, item: Any) -> None:
        """Take messages, or a ping."""
        connection = self._connections.get(stream)
        if connection is None:
            return
        if item == "ping":
            stream.send("pong", to_server=False)
            return
        for message in item:
            self._server.receive_data(connection, message, self._agenda.now)
        self._settle()

    def lost(self, stream: Stream, reason: str) -> None:
        """Take note that a client is gone."""
        connection = self._connections.get(stream)
        if connection is not None:
            self._server.connection_lost(connection, reason)
            self._settle()

    def _settle(self) -> None:
        for connection, messages in self._server.data_to_send():
            stream = self._streams.get(connection.number)
            if stream is not None:
                stream.send(messages, to_server=False)
        while (event := self._server.next_event()) is not None:
            if isinstance(event, ConnectionClosed):
                stream = self._streams.pop(event.connection)
                del self._connections[stream]
                stream.close(event.reason, by_server=True)
            else:
                self.logins += 1
        due_at = self._server.next_timeout()
        if due_at is not None and due_at < self._due_at:
            self._due_at, server = due_at, self._server
            self._agenda.at(due_at, lambda: self._on_due(server))

    def _on_due(self, server: RelayServer) -> None:
        if server is self._server:
            self._due_at = float("inf")
            server.handle_timeout(self._agenda.now)
            self._settle()


class StunHost:
    """A host that says how others look."""

    def __init__(self, net: Network, host: Host) -> None:
        self._net, self._host, self._responder = net, host, StunResponder(0.0)

    def receive(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> None:
        """Answer."""
        answer = self._responder.respond(datagram, source, now)
        if answer is not None:
            self._net.send(self._host, local, source, answer)


@dataclass(slots=True)
class Mangling:
    """What the signal server does to descriptions; each a share of them."""

    twice: float = 0.0  # the same message again
    late: float = 0.0  # by up to `late_s`
    late_s: float = 3.0
    again: float = 0.0  # replayed half a minute later


class SignalHost:
    """The signal server: whoever is registered gets mail.

    A receiver that reads nothing gets WINDOW messages at the most: the real server keeps what is over that for ten
    seconds, one of each sender, and then ends the stream; here it is lost at once.
    """

    def __init__(self, agenda: Agenda, rng: Random) -> None:
        self._agenda, self._rng = agenda, rng
        self.up = True
        self.mangling = Mangling()
        self.posts = 0
        self.overflow = 0  # messages for a receiver who reads nothing
        self.displaced = 0  # registrations, by newer ones of the same key
        self.foreign: set[PublicKey] = set()  # who know no fields of ours
        self._registered: dict[PublicKey, Stream] = {}

    def stop(self) -> None:
        """End the process."""
        registered, self._registered, self.up = self._registered, {}, False
        for stream in registered.values():
            stream.close("connection reset by peer", by_server=True)

    def start(self) -> None:
        """Run again."""
        self.up = True

    def received(self, stream: Stream, item: Any) -> None:
        """Register a client, pass its mail on, send its heartbeat back."""
        if not self.up:
            return
        match item:
            case ("register", key):
                older = self._registered.get(key)
                self._registered[key] = stream
                if older is not None:
                    self.displaced += 1
                    older.close("displaced by a newer registration", by_server=True)
                stream.send(("registered",), to_server=False)
                self._ping_later(stream)
            case ("post", number, sender, post):
                self.posts += 1
                stream.send(("taken", number), to_server=False)
                self._pass_on(sender, post)
            case _:
                stream.send(item, to_server=False)

    def lost(self, stream: Stream, reason: str) -> None:
        """Forget a client."""
        self._registered = {key: other for key, other in self._registered.items() if other is not stream}

    def _pass_on(self, sender: PublicKey, post: SignalPost) -> None:
        nonce = self._rng.randbytes(24)
        mail: SignalReceived
        if isinstance(post, PostCandidate):
            mail = CandidateReceived(peer=sender, candidate=post.candidate, nonce=nonce)
        else:
            said = post.description
            if self.foreign & {sender, post.peer}:
                said = msgspec.structs.replace(said, homing=None)
            received = OfferReceived if post.kind == "offer" else AnswerReceived
            mail = received(peer=sender, description=said, nonce=nonce)
        mangling, draw = self.mangling, self._rng.random
        late_s = draw() * mangling.late_s if draw() < mangling.late else 0.0
        self._deliver(post.peer, mail, late_s)
        if draw() < mangling.twice:
            self._deliver(post.peer, mail, late_s + draw())
        if draw() < mangling.again:
            self._deliver(post.peer, mail, 20.0 + 20.0 * draw())

    def _deliver(self, to: PublicKey, mail: SignalReceived, late_s: float) -> None:
        def deliver() -> None:
            stream = self._registered.get(to)
            if stream is None:
                return
            if stream.under_way(to_server=False) >= WINDOW:
                self.overflow += 1
            else:
                stream.send(("mail", mail), to_server=False)

        if late_s:
            self._agenda.at(self._agenda.now + late_s, deliver)
        else:
            deliver()

    # --- who does not answer any more ---

    def _ping_later(self, stream: Stream) -> None:
        self._agenda.at(self._agenda.now + KEEPALIVE_S, lambda: self._ping(stream))

    def _ping(self, stream: Stream) -> None:
        if stream not in self._registered.values():
            return
        if stream.passes:
            self._ping_later(stream)
        else:
            self._agenda.at(self._agenda.now + KEEPALIVE_TIMEOUT_S, lambda: self._give_up(stream))

    def _give_up(self, stream: Stream) -> None:
        if stream not in self._registered.values():
            return
        if stream.passes:
            self._ping_later(stream)
        else:
            self.lost(stream, "a ping went unanswered")
            stream.close("connection reset by peer", by_server=True)
