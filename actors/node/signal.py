"""Knows whether we can be reached, and sorts the mail of the signal server to its peers.

    Connecting --SignalConnected--> Connected
        |                            |    ^
        |                SignalDisconnected |
        |                            v    | SignalConnected
        +---SignalDisconnected----> Disconnected --SignalDisconnected--> itself, one more try

While there is no connection, what the peers post is dropped and counted: their guards offer again, and the first of
it goes out when PEERS has told them that the signal server is back.  Guards that look for a better path ask for their
turn here (searches.py); nobody has one while there is no connection.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, assert_never

from actors.addresses import PEERS, RELAYS, SIGNAL_LINK, STATUS, peer_addresses
from actors.effects import Effect, Later
from actors.messages.node import (
    KeyUsedElsewhere,
    KnownPeers,
    OutsideEvent,
    SearchesDue,
    SearchGranted,
    SearchWanted,
    SignalConnected,
    SignalDisconnected,
    SignalInbox,
    SignalLinkWanted,
    SignalPostFailed,
)
from actors.messages.status import SignalStatus
from actors.node.searches import Searches
from config.keys import PublicKey
from transport.signal.messages import (
    AnswerReceived,
    CandidateReceived,
    GoIdleReceived,
    OfferReceived,
    PostCandidate,
    PostDescription,
    SignalReceived,
)


@dataclass(frozen=True, slots=True)
class Connecting:
    """Nothing was heard of the link yet."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has us registered."""

    since_at: float


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is down; its driver tries again by itself."""

    since_at: float
    tries: int  # that failed since the link was lost, the loss included
    reason: str  # of the last


State = Connecting | Connected | Disconnected


class Signal:
    """The machine of SIGNAL."""

    inbox: ClassVar[object] = SignalInbox

    def __init__(self, url: str, controls: tuple[str, ...]) -> None:
        self._url, self._controls = url, controls
        # None: not told yet, as after a restart of this actor; mail then goes to whoever its sender would be, and is a
        # dead letter if there is no such peer.
        self._known: frozenset[PublicKey] | None = None
        self.state: State = Connecting()
        self._searches = Searches()
        self.counters: Counter[str] = Counter()

    def start(self, _now: float) -> list[Effect]:
        """Ask for the state of the link: it may be up already."""
        return [SIGNAL_LINK.send(SignalLinkWanted())]

    def handle(self, message: SignalInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case OfferReceived() | AnswerReceived() | CandidateReceived() | GoIdleReceived():
                return self._on_received(message)
            case PostDescription() | PostCandidate():
                return self._on_post(message)
            case SignalConnected():
                return self._on_connected(now)
            case SignalDisconnected():
                return self._on_disconnected(message, now)
            case SignalPostFailed():
                self.counters["posts_failed"] += 1  # the guard offers again
                return []
            case KnownPeers(peers=peers):
                self._known = peers
                self._searches.keep(peers)
                return [SIGNAL_LINK.send(message)]  # which can then drop others' mail unopened
            case SearchWanted(peer=peer, eager=eager):
                self._searches.want(peer, eager=eager)
                return self._grant_searches(now)
            case SearchesDue():
                return self._grant_searches(now)
            case _:
                assert_never(message)

    def _on_received(self, message: SignalReceived) -> list[Effect]:
        if self._known is not None and message.peer not in self._known:
            self.counters["unknown_peer"] += 1
            return []
        return [peer_addresses(message.peer, self._controls).offer_listener.send(message)]

    def _on_post(self, message: PostDescription | PostCandidate) -> list[Effect]:
        if not isinstance(self.state, Connected):
            self.counters["posts_while_disconnected"] += 1
            return []
        return [SIGNAL_LINK.send(message)]

    def _on_connected(self, now: float) -> list[Effect]:
        if isinstance(self.state, Connected):
            return []  # repeated because somebody asked
        self.state = Connected(now)
        return [
            PEERS.send(OutsideEvent(kind="signal_connected", detail=self._url)),
            STATUS.send(SignalStatus(url=self._url, connected=True, since_at=now)),
            *self._grant_searches(now),
        ]

    def _on_disconnected(self, message: SignalDisconnected, now: float) -> list[Effect]:
        match self.state:
            case Disconnected(since_at, tries, _):
                self.state = Disconnected(since_at, tries + 1, message.reason)
            case Connecting() | Connected():
                self.state = Disconnected(now, 1, message.reason)
        tried = f"; tried {self.state.tries} times" if self.state.tries > 1 else ""
        retry = f"; next try in {message.retry_s:.0f} s" if message.retry_s >= 1 else ""
        reason = f"{message.reason}{tried}{retry}"
        status = SignalStatus(url=self._url, connected=False, reason=reason, since_at=self.state.since_at)
        double = [RELAYS.send(KeyUsedElsewhere())] if message.displaced else []
        return [STATUS.send(status), *double]

    def _grant_searches(self, now: float) -> list[Effect]:
        """Tell the guards whose turn it is, and look again when it is the next one's."""
        if not isinstance(self.state, Connected):
            return []
        granted = self._searches.grant(now)
        if granted:
            self.counters["searches"] += len(granted)
        at = self._searches.next_at(now)
        told: list[Effect] = [
            peer_addresses(peer, self._controls).guard.send(SearchGranted(peer=peer)) for peer in granted
        ]
        return [*told, Later(at, SearchesDue())] if at is not None else told
