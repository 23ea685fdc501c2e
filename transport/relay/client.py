"""The client's end of one relay link, without I/O (relay spec 6).

    Authenticating --AuthResponse--> Open --Close, no sign of life, or close()--> Closed
          \\--8 s, a wrong frame, or the end of the connection-----------------------/

A driver makes it when its connection is up, hands in each message, pong and timeout, then sends `data_to_send` (one
frame a message) and works off `next_event`.  A peer of interest goes through states of its own:

    open() --> Waiting --PeersOnline--> Online <--PeersOnline within 1 s-- Doubtful
                  \\--wait over: PeerAbsent  \\------PeersWentOffline---------/ \\--else: PeerGone

Packets pass whether or not their peer is open: opening only asks the server about presence.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from config.keys import Secret
from transport.errors import RemoteProtocolError
from transport.relay.codec import TRANSPORT_HEAD, decode_from_server, encode, transport_prefix
from transport.relay.events import (
    ClientEvent,
    LinkClosed,
    LoggedIn,
    PacketsReceived,
    PeerAbsent,
    PeerGone,
    PeerOnline,
    PingWanted,
)
from transport.relay.frames import (
    HEADER_LEN,
    MAX_MESSAGE_LEN,
    MAX_PAYLOAD_LEN,
    TRANSPORT_HEADER_LEN,
    Auth,
    AuthResponse,
    Close,
    FromServer,
    HealthCheck,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    UnsubscribePeerState,
)
from transport.relay.probe import LATE_S, LinkProbe
from transport.relay.signs import ReadSigns, no_signs

AUTH_RESPONSE_TIMEOUT_S: Final = 8.0  # relay spec 6.1
HEALTH_TICK_S: Final = 35.0  # relay spec 5.6
SUBSCRIBE_AGAIN_S: Final = 1.0  # the first time, so that a link that has just died is not waited at for long
SUBSCRIBE_REPEAT_S: Final = 5.0  # while waiting; harmless, and heals a lost answer (relay spec 8.28)
GONE_AFTER_S: Final = 1.0  # from PeersWentOffline to believing it: some servers tell offline after online (5.5)
MAX_EARLY_PACKETS: Final = 100  # that arrive before the AuthResponse
MAX_QUEUED_PACKETS: Final = 8192  # that the driver has not taken yet


@dataclass(frozen=True, slots=True)
class Authenticating:
    """Auth is sent."""

    until: float


@dataclass(frozen=True, slots=True)
class Open:
    """Logged in."""

    instance_url: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Over, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Subscribed; the peer has not been seen on the server."""

    until: float
    repeat_at: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class Online:
    """The peer is on the server."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """The server said that the peer left; subscribed again, to see."""

    until: float


class RelayClient:
    """One authenticated link to one relay server."""

    def __init__(self, own: PeerId, token: Secret, now: float, signs: ReadSigns = no_signs) -> None:
        """`signs` shows what the transport below sees of the server."""
        self.state: Authenticating | Open | Closed = Authenticating(now + AUTH_RESPONSE_TIMEOUT_S)
        self.drops: Counter[str] = Counter()
        """Messages that were not passed on, either way, by reason."""
        self._probe = LinkProbe(now, signs)
        self._peers: dict[PeerId, Waiting | Online | Doubtful] = {}
        self._peers_due_at = inf  # not later than the first timer in _peers
        self._tick_at = inf
        self._health_checked = False  # since the last tick
        self._early: list[tuple[PeerId, bytes]] = []
        self._outbox = [encode(Auth(own, token.value))]
        self._events: deque[ClientEvent] = deque()

    @property
    def rtt_s(self) -> float | None:
        """Round trip of the last answered ping; None: none yet."""
        return self._probe.rtt_s

    # --- the driver's side ---

    def receive_data(self, message: bytes, now: float) -> None:
        """Take one message of the server."""
        if isinstance(self.state, Closed):
            return
        self._probe.heard(now)
        if message[:HEADER_LEN] == TRANSPORT_HEAD and TRANSPORT_HEADER_LEN <= len(message) <= MAX_MESSAGE_LEN:
            self._on_packet(PeerId(message[HEADER_LEN:TRANSPORT_HEADER_LEN]), message[TRANSPORT_HEADER_LEN:])
            return
        try:
            frame = decode_from_server(message)
        except RemoteProtocolError as error:
            if isinstance(self.state, Authenticating):
                self._end(f"no relay server: {error}")
            else:
                self.drops["bad_frame"] += 1  # relay spec 3.4: log, ignore
            return
        if isinstance(self.state, Authenticating):
            self._on_first_frame(frame, now)
        else:
            self._on_frame(frame, now)

    def receive_pong(self, now: float) -> None:
        """Take the answer to a ping."""
        self._probe.pong(now)

    def connection_lost(self, reason: str) -> None:
        """Take note that the connection ended."""
        if isinstance(self.state, Authenticating):
            # There is no other answer to a wrong token (relay spec 3.3).
            self._end(f"closed during login, so the relay refused our secret or token ({reason})", refused=True)
        else:
            self._end(reason)

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        match self.state:
            case Authenticating(until) if now >= until:
                self._end(f"no answer to our login within {AUTH_RESPONSE_TIMEOUT_S:g} s")
            case Open():
                self._check_health(now)
                self._check_link(now)
                self._check_peers(now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called next; None: never."""
        match self.state:
            case Authenticating(until):
                return until
            case Open():
                return min(self._tick_at, self._probe.due_at, self._peers_due_at)
            case Closed():
                return None

    def data_to_send(self) -> list[bytes]:
        """Return the messages to send now, in order; each is one frame."""
        messages, self._outbox = self._outbox, []
        return messages

    def next_event(self) -> ClientEvent | None:
        """Return the oldest event, or None."""
        return self._events.popleft() if self._events else None

    # --- the owner's side ---

    def open(self, peer: PeerId, wait_s: float, now: float) -> None:
        """Ask for a peer, or ask anew.  Ends with PeerOnline or PeerAbsent, unless the link ends before."""
        if not isinstance(self.state, Closed):
            self._subscribe(peer, Waiting(now + wait_s, now + SUBSCRIBE_AGAIN_S, wait_s), now)

    def close_peer(self, peer: PeerId) -> None:
        """Lose interest in a peer."""
        if self._peers.pop(peer, None) is not None and isinstance(self.state, Open):
            self._outbox.append(encode(UnsubscribePeerState((peer,))))

    def send(self, peer: PeerId, payloads: Iterable[bytes], now: float) -> int:
        """Send packets to a peer, opened or not; return how many were taken.  The others are counted in `drops`."""
        prefix, taken = transport_prefix(peer), 0
        for payload in payloads:
            if not isinstance(self.state, Open):
                self.drops["not_open"] += 1
            elif len(payload) > MAX_PAYLOAD_LEN:
                self.drops["too_long"] += 1
            elif len(self._outbox) >= MAX_QUEUED_PACKETS:
                self.drops["outbox_full"] += 1
            else:
                self._outbox.append(prefix + payload)
                taken += 1
        if taken:
            self._probe.sent(now)
        return taken

    def prove_now(self, now: float) -> None:
        """See at once whether the link is still there: something changed outside (recovery R12)."""
        if isinstance(self.state, Open):
            self._probe.hurry(now)
            self._check_link(now)

    def close(self, reason: str) -> None:
        """Say Close and close."""
        if isinstance(self.state, Open):
            self._outbox.append(encode(Close()))
        self._end(reason)

    # --- what arrives ---

    def _on_packet(self, peer: PeerId, payload: bytes) -> None:
        if isinstance(self.state, Authenticating):
            # A server may pass packets on before it answers (relay spec 5.2).
            if len(self._early) < MAX_EARLY_PACKETS:
                self._early.append((peer, payload))
            else:
                self.drops["early"] += 1
            return
        last = self._events[-1] if self._events else None
        if isinstance(last, PacketsReceived) and last.peer == peer:
            last.payloads.append(payload)
        else:
            self._events.append(PacketsReceived(peer, [payload]))

    def _on_first_frame(self, frame: FromServer, now: float) -> None:
        if not isinstance(frame, AuthResponse):
            self._end(f"{type(frame).__name__} instead of an AuthResponse")
            return
        assert isinstance(self.state, Authenticating), self.state
        self._probe.logged_in(now - (self.state.until - AUTH_RESPONSE_TIMEOUT_S))
        self.state = Open(frame.instance_url)
        self._tick_at = now + HEALTH_TICK_S
        self._events.append(LoggedIn(frame.instance_url))
        early, self._early = self._early, []
        for peer, payload in early:
            self._on_packet(peer, payload)
        for peer, state in tuple(self._peers.items()):
            asked = replace(state, repeat_at=now + SUBSCRIBE_AGAIN_S) if isinstance(state, Waiting) else state
            self._subscribe(peer, asked, now)

    def _on_frame(self, frame: FromServer, now: float) -> None:
        match frame:
            case HealthCheck():
                self._health_checked = True
                self._outbox.append(encode(HealthCheck()))
            case PeersOnline(peers):
                for peer in peers:
                    self._on_online(peer)
            case PeersWentOffline(peers):
                for peer in peers:
                    self._on_offline(peer, now)
            case Close():
                self._end("the relay server said Close")
            case _:
                self.drops["unexpected_frame"] += 1  # a second AuthResponse: relay spec 3.4

    def _on_online(self, peer: PeerId) -> None:
        state = self._peers.get(peer)
        if isinstance(state, Waiting):
            self._events.append(PeerOnline(peer))
        if state is not None:
            self._peers[peer] = Online()

    def _on_offline(self, peer: PeerId, now: float) -> None:
        match self._peers.get(peer):
            case Waiting(until, _, wait_s):
                self._subscribe(peer, Waiting(until, now + SUBSCRIBE_REPEAT_S, wait_s), now)
            case Online():
                self._subscribe(peer, Doubtful(now + GONE_AFTER_S), now)
            case Doubtful() as doubtful:
                self._subscribe(peer, doubtful, now)

    # --- what is due ---

    def _check_health(self, now: float) -> None:
        if now < self._tick_at:
            return
        if now > self._tick_at + LATE_S:
            self._probe.hurry(now)  # the health checks of a sleep are not read yet, or were never sent
        elif not self._health_checked and not self._probe.lossy:  # else it waits behind what is repeated
            self._end(f"half-open: no health check of the relay server within {HEALTH_TICK_S:g} s", half_open=True)
        self._health_checked = False
        self._tick_at = now + HEALTH_TICK_S

    def _check_link(self, now: float) -> None:
        match self._probe.handle_timeout(now):
            case "ping" if isinstance(self.state, Open):
                self._events.append(PingWanted())
            case "dead":
                silence_s = self._probe.silence_s(now)
                self._end(f"half-open: nothing heard for {silence_s:.1f} s, pings unanswered", half_open=True)

    def _check_peers(self, now: float) -> None:
        if now < self._peers_due_at:
            return
        self._peers_due_at = inf
        for peer, state in tuple(self._peers.items()):
            match state:
                case Waiting(until, _, wait_s) if now >= until:
                    self.close_peer(peer)
                    self._events.append(
                        PeerAbsent(peer, f"the remote did not come to this relay server within {wait_s:g} s")
                    )
                case Waiting(until, repeat_at, wait_s) if now >= repeat_at:
                    self._subscribe(peer, Waiting(until, now + SUBSCRIBE_REPEAT_S, wait_s), now)
                case Doubtful(until) if now >= until:
                    self.close_peer(peer)
                    self._events.append(PeerGone(peer, "the remote left this relay server"))
                case _:
                    self._remind(state)

    # --- helpers ---

    def _subscribe(self, peer: PeerId, state: Waiting | Online | Doubtful, now: float) -> None:
        self._peers[peer] = state
        self._remind(state)
        if isinstance(self.state, Open):
            self._outbox.append(encode(SubscribePeerState((peer,))))
            self._probe.sent(now)  # whoever waits for the peer must not wait for a link that is dead

    def _remind(self, state: Waiting | Online | Doubtful) -> None:
        match state:
            case Waiting(until, repeat_at):
                self._peers_due_at = min(self._peers_due_at, until, repeat_at)
            case Doubtful(until):
                self._peers_due_at = min(self._peers_due_at, until)

    def _end(self, reason: str, *, refused: bool = False, half_open: bool = False) -> None:
        if not isinstance(self.state, Closed):
            was_open = isinstance(self.state, Open)
            self.state = Closed(reason)
            self._peers.clear()
            self._early.clear()
            self._events.append(LinkClosed(reason, was_open, refused, half_open))
