"""Decides when this peer is owed another offer.

    Retrying --PathReady--> Proven --PathLost--> Retrying
       |  ^ \\--OfferDue--> (SendOffer, a longer wait)
       |  |
       |  +--LocalTraffic, RemoteKnown, PathReady-- Idle
       +--------------RemoteIdle--------------------^

While no path is proven, offers go out after waits that double up to this peer's own longest (30 to 45 s) and never
cease.  The waits are remembered until a path has been proven for STABLE_S (recovery R10), so that a path that comes and
goes is not answered by a storm.
"""

from dataclasses import dataclass
from random import Random
from typing import ClassVar, assert_never

from actors.effects import Address, Cancel, Effect, Later
from actors.messages.node import OutsideEvent
from actors.messages.peer import (
    GuardInbox,
    OfferDue,
    OfferListenerInbox,
    PathLost,
    PathReady,
    RemoteIdle,
    RemoteKnown,
    SendOffer,
    StableDue,
)
from config.keys import PublicKey
from wg.reports import LocalTraffic

AFTER_LOSS_S = 0.3  # from a lost path to the first offer: the relay worker may have reopened it by then
FIRST_RETRY_S = 0.8  # to the second; each further wait doubles (signal spec 8.3)
AFTER_EVENT_S = 0.01  # at the least: what a loss just before it rotates is told first (recovery R6)
LONGEST_WAIT_S = (30.0, 45.0)  # drawn once per peer
JITTER = 0.1
RESUME_S = 3.0  # for a path that outlived the control process to be proven
STABLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Retrying:
    """No path is proven; OfferDue is set."""

    tries: int  # offers since the backoff was last forgotten
    reason: str


@dataclass(frozen=True, slots=True)
class Proven:
    """A path carries authenticated packets; StableDue is set while the backoff is remembered."""

    tries: int  # where the backoff would go on


@dataclass(frozen=True, slots=True)
class Idle:
    """The remote closed its side for want of traffic: an offer would wake it for nothing (signal spec 4.4)."""


class Guard:
    """Decides when this peer is owed another offer."""

    inbox: ClassVar[object] = GuardInbox

    def __init__(
        self, peer: PublicKey, *, offers: Address[OfferListenerInbox], rng: Random, resumed: bool = False
    ) -> None:
        self._peer, self._offers, self._rng, self._resumed = peer, offers, rng, resumed
        self._longest_s = rng.uniform(*LONGEST_WAIT_S)
        self.state: Retrying | Proven | Idle = Retrying(tries=0, reason="started")

    def start(self, now: float) -> list[Effect]:
        """Offer at once; or wait for the path that the packet process still holds."""
        return [Later(now + (RESUME_S if self._resumed else 0.0), OfferDue())]

    def handle(self, message: GuardInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case PathReady():
                return self._on_path_ready(now)
            case PathLost():
                return self._on_path_lost(message.reason, now)
            case RemoteKnown():
                return self._wake("the remote spoke again", now)
            case LocalTraffic():
                return self._wake("local traffic", now)
            case RemoteIdle():
                return self._on_remote_idle()
            case OutsideEvent():
                return self._on_outside_event(message, now)
            case OfferDue():
                return self._on_offer_due(now)
            case StableDue():
                return self._on_stable_due()
            case _:
                assert_never(message)

    def _on_path_ready(self, now: float) -> list[Effect]:
        match self.state:
            case Proven():
                return []  # another path of a peer that has one
            case Retrying(tries=tries):
                self.state = Proven(tries)
            case Idle():
                self.state = Proven(tries=0)
            case _:
                assert_never(self.state)
        return [Cancel(OfferDue), Later(now + STABLE_S, StableDue())]

    def _on_path_lost(self, reason: str, now: float) -> list[Effect]:
        match self.state:
            case Proven(tries=tries):
                return [Cancel(StableDue), *self._retry(tries, reason, now)]
            case Retrying():
                return []  # it was never proven, and the next offer is on its way
            case Idle():
                return []  # the remote closed it, and said so before
            case _:
                assert_never(self.state)

    def _on_remote_idle(self) -> list[Effect]:
        self.state = Idle()
        return [Cancel(OfferDue), Cancel(StableDue)]

    def _wake(self, reason: str, now: float) -> list[Effect]:
        if not isinstance(self.state, Idle):
            return []  # awake: offers are owed by the clock, or by nobody
        self.state = Retrying(tries=0, reason=reason)
        return [Later(now, OfferDue())]

    def _on_outside_event(self, event: OutsideEvent, now: float) -> list[Effect]:
        if not isinstance(self.state, Retrying):
            return []  # a proven path is the watcher's to prove anew; an idle peer stays idle
        self.state = Retrying(tries=0, reason=event.kind)
        return [Later(now + AFTER_EVENT_S + self._rng.uniform(0.0, event.spread_s), OfferDue())]

    def _on_offer_due(self, now: float) -> list[Effect]:
        assert isinstance(self.state, Retrying), self.state
        reason = self.state.reason
        offer = self._offers.send(SendOffer(peer=self._peer, reason=reason))
        return [offer, *self._retry(self.state.tries + 1, reason, now)]

    def _on_stable_due(self) -> list[Effect]:
        assert isinstance(self.state, Proven), self.state
        self.state = Proven(tries=0)
        return []

    def _retry(self, tries: int, reason: str, now: float) -> list[Effect]:
        self.state = Retrying(tries, reason)
        wait_s = AFTER_LOSS_S if tries == 0 else min(FIRST_RETRY_S * 2.0 ** min(tries - 1, 16), self._longest_s)
        return [Later(now + wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER), OfferDue())]
