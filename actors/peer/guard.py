"""Decides when this peer is owed another offer.

    Retrying --PathReady--> Proven --PathLost--> Retrying
       |  ^ \\--OfferDue--> (SendOffer, a longer wait)
       |  |                   \\--UpgradeDue--> (SendOffer, a longer wait)
       |  +--LocalTraffic, RemoteKnown, PathReady-- Idle
       +--------------RemoteIdle--------------------^
    Retrying --PeerQuarantined--> Quarantined --PathReady--> Proven
       ^---ResetPeer, OfferDue when it is over---/  \\--OfferDue--> (SendOffer)

While no path is proven, offers go out after waits that double up to this peer's own longest (30 to 45 s) and never
cease.  A peer with a path is owed offers too while it could have a better one: relayed packets could go directly, a
direct path has no relayed connection to stand by.  Those waits double up to 40 s with traffic and 8 minutes without,
from the end of one search to the next (recovery S10).  Both are remembered until the path that was wanted has been
proven for STABLE_S (R10), so that a path that comes and goes is not answered by a storm; an outside event ends them.

An offer is what may make the remote close what carries packets there.  So where attempts have proved nothing for too
often, the Conn says so, and offers go out slowly.  Those for a direct path beside a relayed one disturb nothing, and
have budgets of their own: one here, and the node's, where each search asks for its turn (actors/node/searches.py).
"""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, assert_never

from actors.addresses import SIGNAL
from actors.allowance import Allowance
from actors.effects import Address, Cancel, Effect, Later
from actors.messages.node import OutsideEvent, SearchGranted, SearchWanted
from actors.messages.peer import (
    GuardInbox,
    IceLost,
    OfferDue,
    OfferListenerInbox,
    PathLost,
    PathReady,
    PeerQuarantined,
    RemoteIdle,
    RemoteKnown,
    ResetPeer,
    SendOffer,
    StableDue,
    TrafficHeard,
    UpgradeDue,
)
from config.keys import PublicKey
from wg.paths import PathKind
from wg.reports import LocalTraffic

AFTER_LOSS_S = 0.3  # from a lost path to the first offer: the relay worker may have reopened it by then
FIRST_RETRY_S = 0.8  # to the second; each further wait doubles (signal spec 8.3)
AFTER_EVENT_S = 0.01  # at the least: what a loss just before it rotates is told first (recovery R6)
LONGEST_WAIT_S = (30.0, 45.0)  # drawn once per peer
JITTER = 0.1
RESUME_S = 3.0  # for a path that outlived the control process to be proven
STABLE_S = 60.0
FIRST_SEARCH_S = 15.0  # that the search begun by the first offers may take: an ICE agent gives up after 12 s
FIRST_UPGRADE_S = 4.0  # from the end of a search to the next offer; each further wait doubles
LONGEST_UPGRADE_S = 40.0  # with traffic
LONGEST_IDLE_UPGRADE_S = 480.0
TRAFFIC_S = 60.0  # after TrafficHeard
SETTLE_S = 0.5  # from an outside event to the offer for a better path: several come together
EVENTS_PAUSE_S = 10.0  # from one such offer to the next
SEARCHES = 10  # for a direct path at once
SEARCH_EVERY_S = 45.0  # and in the long run
TURN_S = 300.0  # without a turn of the node's: ask again
QUARANTINE_WAIT_S = 600.0  # longer than any session lasts, so that no offer disturbs what an earlier one made
QUARANTINE_PAUSE_S = 60.0  # from one offer to the next, where outside events call for one


@dataclass(frozen=True, slots=True)
class Retrying:
    """No path is proven; OfferDue is set."""

    tries: int  # offers since the backoff was last forgotten
    reason: str


@dataclass(frozen=True, slots=True)
class Proven:
    """A path carries authenticated packets; StableDue is set while a backoff is remembered."""

    tries: int  # where the backoff would go on, unless the peer has been proven for long by then
    since_at: float
    path: PathKind = "relayed"
    standby: bool = False  # of a direct path; UpgradeDue is set where something better may be had


@dataclass(frozen=True, slots=True)
class Quarantined:
    """No path is proven, and too many attempts proved none; OfferDue is set, and comes slowly."""

    tries: int
    until: float
    offered_at: float  # the last one
    reason: str


@dataclass(frozen=True, slots=True)
class Idle:
    """The remote closed its side for want of traffic: an offer would wake it for nothing (signal spec 4.4)."""


class Guard:
    """Decides when this peer is owed another offer.  `ice`: we look for direct paths."""

    inbox: ClassVar[object] = GuardInbox

    def __init__(
        self,
        peer: PublicKey,
        *,
        offers: Address[OfferListenerInbox],
        rng: Random,
        resumed: bool = False,
        ice: bool = False,
    ) -> None:
        self._peer, self._offers, self._rng, self._resumed, self._ice = peer, offers, rng, resumed, ice
        self._longest_s = rng.uniform(*LONGEST_WAIT_S)
        self._remote_ice = True  # until it says otherwise
        self._searches = 0  # offers for a better path since that backoff was last forgotten
        self._searched_at = float("-inf")  # when the last search began or ended
        self._upgrade_at: float | None = None  # when UpgradeDue comes; None: it does not
        self._event_at = float("-inf")  # of the last search that an outside event called for
        self._event_due_at: float | None = None  # the same, while it is owed
        self._traffic_at = float("-inf")
        self._may_search = Allowance(SEARCHES, SEARCH_EVERY_S)
        self._asked = False  # for a turn
        self._offered = True  # since the last path was lost, or before we began
        self._begun = False  # there was a path, or an offer
        self.state: Retrying | Proven | Quarantined | Idle = Retrying(tries=0, reason="started")

    def start(self, now: float) -> list[Effect]:
        """Offer at once; or wait for the path that the packet process still holds.  A quarantine goes on."""
        return [Later(now + (RESUME_S if self._resumed else 0.0), OfferDue())]

    def handle(self, message: GuardInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case PathReady():
                return self._on_path_ready(message, now)
            case PathLost():
                return self._on_path_lost(message.reason, now)
            case PeerQuarantined():
                return self._on_quarantined(message, now)
            case ResetPeer():
                return self._on_reset(now)
            case IceLost():
                return self._on_ice_lost(message, now)
            case RemoteKnown():
                self._remote_ice = message.ice
                return self._wake("the remote spoke again", now) or self._settle_upgrade(now)
            case LocalTraffic():
                return self._wake("local traffic", now)
            case TrafficHeard():
                return self._on_traffic(now)
            case RemoteIdle():
                return self._on_remote_idle()
            case OutsideEvent():
                return self._on_outside_event(message, now)
            case OfferDue():
                return self._on_offer_due(now)
            case UpgradeDue():
                return self._on_upgrade_due(now)
            case SearchGranted():
                return self._on_turn(now)
            case StableDue():
                return self._on_stable_due()
            case _:
                assert_never(message)

    # --- a path ---

    def _on_path_ready(self, ready: PathReady, now: float) -> list[Effect]:
        self._begun = True
        match self.state:
            case Proven(tries=tries, since_at=since_at):
                self.state = Proven(tries, since_at, ready.path, ready.standby)
            case Retrying(tries=tries) | Quarantined(tries=tries):
                self.state = Proven(tries, now, ready.path, ready.standby)
            case Idle():
                self.state = Proven(0, now, ready.path, ready.standby)
            case _:
                assert_never(self.state)
        return [Cancel(OfferDue), Later(now + STABLE_S, StableDue()), *self._settle_upgrade(now)]

    def _on_path_lost(self, reason: str, now: float) -> list[Effect]:
        match self.state:
            case Proven(tries=tries, since_at=since_at):
                remembered, self._offered = tries if now - since_at < STABLE_S else 0, False
                return [Cancel(StableDue), *self._forget_upgrade(), *self._retry(remembered, reason, now)]
            case Retrying() | Quarantined():
                return []  # it was never proven, and the next offer is on its way
            case Idle():
                return []  # the remote closed it, and said so before
            case _:
                assert_never(self.state)

    def _on_quarantined(self, told: PeerQuarantined, now: float) -> list[Effect]:
        match self.state:
            case Retrying(tries=tries):
                self.state = Quarantined(tries, told.until, now, told.reason)
                if not self._begun:  # it lasts from before we began: when the last offer went out is not known
                    return [Later(now + QUARANTINE_PAUSE_S, OfferDue())]
                return [self._offer_slowly(now)]
            case Quarantined():
                self.state = replace(self.state, until=told.until, reason=told.reason)
                return []
            case Proven() | Idle():
                return []  # there is nothing to hold back; it is told again when the path is lost
            case _:
                assert_never(self.state)

    def _on_reset(self, now: float) -> list[Effect]:
        """Forget every backoff: paths are on their way down, and where there is none, an offer goes out.

        It leaves time for the session to rotate, so that the offer says so (R6).
        """
        self._searches, self._may_search = 0, Allowance(SEARCHES, SEARCH_EVERY_S)
        if isinstance(self.state, Proven):
            self.state = replace(self.state, tries=0)
            return []
        return self._retry(0, "reset by hand", now)

    def _on_remote_idle(self) -> list[Effect]:
        self.state = Idle()
        return [Cancel(OfferDue), Cancel(StableDue), *self._forget_upgrade()]

    def _wake(self, reason: str, now: float) -> list[Effect]:
        if not isinstance(self.state, Idle):
            return []  # awake: offers are owed by the clock, or by nobody
        self.state = Retrying(tries=0, reason=reason)
        return [Later(now, OfferDue())]

    def _on_outside_event(self, event: OutsideEvent, now: float) -> list[Effect]:
        match self.state:
            case Idle():
                return []  # it stays idle
            case Proven():
                return self._hasten_upgrade(event, now)  # what is proven is the watcher's to prove anew
            case Retrying():
                self.state = Retrying(tries=0, reason=event.kind)
                return [Later(now + AFTER_EVENT_S + self._rng.uniform(0.0, event.spread_s), OfferDue())]
            case Quarantined(offered_at=offered_at):
                at = max(now + AFTER_EVENT_S, offered_at + QUARANTINE_PAUSE_S)
                return [Later(at + self._rng.uniform(0.0, event.spread_s), OfferDue())]
            case _:
                assert_never(self.state)

    def _on_offer_due(self, now: float) -> list[Effect]:
        assert isinstance(self.state, Retrying | Quarantined), self.state
        tries, reason = self.state.tries + 1, self.state.reason
        self._offered = self._begun = True
        offer = self._offers.send(SendOffer(peer=self._peer, reason=reason))
        if isinstance(self.state, Retrying) or now >= self.state.until:
            return [offer, *self._retry(tries, reason, now)]
        self.state = replace(self.state, tries=tries, offered_at=now)
        return [offer, self._offer_slowly(now)]

    def _offer_slowly(self, now: float) -> Effect:
        return Later(now + QUARANTINE_WAIT_S * self._rng.uniform(1 - JITTER, 1 + JITTER), OfferDue())

    def _on_stable_due(self) -> list[Effect]:
        assert isinstance(self.state, Proven), self.state
        self.state = replace(self.state, tries=0)
        if not self._lacks(self.state):
            self._searches = 0
        return []

    def _retry(self, tries: int, reason: str, now: float) -> list[Effect]:
        self.state = Retrying(tries, reason)
        wait_s = AFTER_LOSS_S if tries == 0 else min(FIRST_RETRY_S * 2.0 ** min(tries - 1, 16), self._longest_s)
        return [Later(now + wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER), OfferDue())]

    # --- a better path ---

    def _lacks(self, state: Proven) -> str:
        """Return what a peer with a path could have besides, in words for the offer's reason; empty: nothing."""
        if state.path == "relayed":
            return "a direct path" if self._ice and self._remote_ice else ""
        return "" if state.standby else "a relayed connection to stand by"

    def _settle_upgrade(self, now: float) -> list[Effect]:
        """See to it that UpgradeDue is set while something is lacking, and only then."""
        if not isinstance(self.state, Proven) or not self._lacks(self.state):
            return self._forget_upgrade()
        if self._upgrade_at is not None:
            return []
        self._searched_at = now
        if self._offered:
            return self._upgrade(now + FIRST_SEARCH_S)  # what the last offers began may still come to something
        # The path is back before an offer could tell of the new session: nothing is under way.
        return self._upgrade(now + (AFTER_LOSS_S if self._searches == 0 else self._wait_s(now)))

    def _on_ice_lost(self, lost: IceLost, now: float) -> list[Effect]:
        self._searched_at = now
        if not isinstance(self.state, Proven):
            return []  # offers are owed by the clock, and say which session is the new one
        quick = self._searches == 0 and lost.generation != 0
        return self._upgrade(now + (AFTER_LOSS_S if quick else self._wait_s(now)))

    def _on_traffic(self, now: float) -> list[Effect]:
        self._traffic_at = now
        if self._upgrade_at is None:
            return []  # nothing is lacking
        at = max(now, self._searched_at + LONGEST_UPGRADE_S)
        return self._upgrade(at) if at < self._upgrade_at else []

    def _hasten_upgrade(self, event: OutsideEvent, now: float) -> list[Effect]:
        if self._upgrade_at is None:
            return []  # nothing is lacking
        self._searches = 0
        if self._event_due_at is not None:
            return []  # one is on its way already
        at = max(now + SETTLE_S, self._event_at + EVENTS_PAUSE_S) + self._rng.uniform(0.0, event.spread_s)
        self._event_at = self._event_due_at = at
        return self._upgrade(self._upgrade_at)

    def _on_upgrade_due(self, now: float) -> list[Effect]:
        assert isinstance(self.state, Proven), self.state
        if self.state.path == "direct":
            return self._search(self.state, now)  # it costs two messages
        owed = self._event_due_at is not None and now >= self._event_due_at
        if not owed and (at := self._may_search.next_at(now)) > now:
            return self._upgrade(at)
        self._asked, self._event_due_at = True, None
        eager = self._searches == 0 or now - self._traffic_at < TRAFFIC_S
        return [SIGNAL.send(SearchWanted(peer=self._peer, eager=eager)), *self._upgrade(now + TURN_S)]

    def _on_turn(self, now: float) -> list[Effect]:
        if not self._asked or self._upgrade_at is None or not isinstance(self.state, Proven):
            return []  # it came too late: the path is lost, or there is a better one by now
        self._may_search.take(now)
        return self._search(self.state, now)

    def _search(self, state: Proven, now: float) -> list[Effect]:
        self._asked, self._event_due_at = False, None
        self._searches, self._searched_at = self._searches + 1, now
        reason = self._lacks(state) or "another ICE session"
        offer = self._offers.send(SendOffer(peer=self._peer, reason=f"there may be {reason}"))
        return [offer, *self._upgrade(now + FIRST_SEARCH_S + self._wait_s(now))]

    def _wait_s(self, now: float) -> float:
        longest_s = LONGEST_UPGRADE_S if now - self._traffic_at < TRAFFIC_S else LONGEST_IDLE_UPGRADE_S
        wait_s = min(FIRST_UPGRADE_S * 2.0 ** min(max(self._searches - 1, 0), 16), longest_s)
        return wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _upgrade(self, at: float) -> list[Effect]:
        """Have UpgradeDue come then, or sooner for an outside event."""
        self._upgrade_at = at if self._event_due_at is None else min(at, self._event_due_at)
        return [Later(self._upgrade_at, UpgradeDue())]

    def _forget_upgrade(self) -> list[Effect]:
        self._upgrade_at = self._event_due_at = None
        self._asked = False
        return [Cancel(UpgradeDue)]
