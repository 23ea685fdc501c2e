"""The rules of recovery.md section 1, as far as one agent's mail and states show them.

Each is a small machine that is fed every message handled, in order, and says what was done against it.
"""

from collections.abc import Iterable
from typing import Protocol

from actors.messages.node import ChangeHome, CloseRelayed
from actors.messages.packet import CloseOnLink, IceAgentEnded, LinkClosed, RelayedCloseDone, RelayedOpened, SetPath
from actors.messages.peer import (
    Distress,
    IceTurn,
    PathLost,
    RelayEvidence,
    RelayTurnDone,
    WatchPath,
)
from actors.messages.process import ProcessRestarted, StartPeer
from tests.kit.world import Handled
from tests.simulator.simulation import Record
from transport.signal.messages import OfferReceived, PostDescription

UNWATCHED_S = 10.0  # longer than a process that hangs is left alone
STABLE_S = 60.0  # that a path is proven until the backoff is forgotten (R10)

Who = tuple[str, str]  # node, peer


class Rule(Protocol):
    """Looks at what was handled; returns what is wrong with it, or nothing."""

    def look(self, node: str, handled: Handled) -> str | None:
        """Take note of a message."""
        ...


def broken_rules(log: Iterable[Record], begun_at: float) -> list[str]:
    """Return each breach, the first of each kind and node."""
    rules: list[Rule] = [
        AnsweredOnce(),
        NothingStale(),
        FreshAfterOpening(),
        EvidenceKept(),
        ReopenedAtOnce(),
        ClosedWhereOpened(),
        Rotated(),
        OnlyOwnDistressRotates(),
        RemoteForgotten(),
        AlwaysWatched(),
        BackoffRemembers(),
    ]
    found: dict[tuple[str, str], str] = {}
    for node, handled in log:
        for rule in rules:
            breach = rule.look(node, handled)
            if breach is not None:
                at_s = handled.at - begun_at
                found.setdefault((type(rule).__name__, node), f"{node} at {at_s:.3f} s: {breach}")
    return list(found.values())


def role_of(handled: Handled) -> str:
    """Return whose mailbox it was, of a peer's six."""
    return handled.actor.partition("@")[0].rpartition("/")[2]


def state_of(state: object) -> str:
    """Return the name of a state."""
    return type(state).__name__


class AnsweredOnce:
    """R1: the same sealed message twice is worked on once; every offer is answered once."""

    def __init__(self) -> None:
        self._nonces: dict[Who, set[bytes]] = {}
        self._answers: dict[Who, int] = {}

    def look(self, node: str, handled: Handled) -> str | None:
        match handled.message:
            case OfferReceived(peer=peer, nonce=nonce) if role_of(handled) == "offer_listener":
                self._nonces.setdefault((node, peer), set()).add(nonce)
            case PostDescription(peer=peer, kind="answer") if role_of(handled) == "signal":
                who = (node, peer)
                self._answers[who] = self._answers.get(who, 0) + 1
                if self._answers[who] > len(self._nonces.get(who, ())):
                    return "an offer was worked on twice (R1)"
            case StartPeer(settings=settings):  # what a listener made anew has not seen may come again
                self._answers.pop((node, settings.peer), None)
            case _:
                pass
        return None


class NothingStale:
    """R3: a relayed connection with evidence against it is not reused."""

    def __init__(self) -> None:
        self._against: dict[Who, float] = {}

    def look(self, node: str, handled: Handled) -> str | None:
        match handled.message:
            case RelayEvidence(peer=peer, generation=generation) if state_of(handled.before) == "Open":
                if generation in (0, getattr(handled.before, "generation", None)):
                    self._against[node, peer] = handled.at
            case RelayedOpened(peer=peer) if state_of(handled.after) == "Open":
                self._against.pop((node, peer), None)
            case StartPeer(settings=settings):
                self._against.pop((node, settings.peer), None)
            case RelayTurnDone(peer=peer, outcome="reused") if (node, peer) in self._against:
                since_s = handled.at - self._against[node, peer]
                return f"a relayed connection was reused {since_s:.3f} s after evidence against it (R3)"
            case _:
                pass
        return None


class FreshAfterOpening:
    """R3: an opening that succeeded has cleared the evidence: no entry is closed for it after that."""

    def __init__(self) -> None:
        self._owed: set[Who] = set()

    def look(self, node: str, handled: Handled) -> str | None:
        if role_of(handled) != "relay_worker":
            return None
        who, message = (node, _peer_of(handled)), handled.message
        before, after = state_of(handled.before), state_of(handled.after)
        if isinstance(message, RelayEvidence) and message.generation == 0 and before in ("Closed", "Opening"):
            self._owed.add(who)
        if after == "Open":
            self._owed.discard(who)
        any_entry = after == "Closing" and getattr(handled.after, "generation", None) == 0
        if any_entry and before != "Closing" and who not in self._owed:
            return "an entry was closed for evidence that an opening had cleared (R3)"
        return None


class EvidenceKept:
    """R3: evidence is cleared by an opening that succeeded, not by one that was tried."""

    def __init__(self) -> None:
        self._owed: set[Who] = set()
        self._closed: set[Who] = set()

    def look(self, node: str, handled: Handled) -> str | None:
        message = handled.message
        if isinstance(message, ProcessRestarted):
            self._owed = {who for who in self._owed if who[0] != node}
        if isinstance(message, StartPeer):
            self._owed.discard((node, message.settings.peer))
        if role_of(handled) != "relay_worker":
            return None
        who = (node, _peer_of(handled))
        before, after = state_of(handled.before), state_of(handled.after)
        if isinstance(message, RelayEvidence) and message.generation == 0 and before in ("Closed", "Opening"):
            self._owed.add(who)
        if after == "Open":
            self._owed.discard(who)
        if before == "Closed" and after == "Opening" and who in self._owed:
            return "evidence was cleared before an opening had succeeded (R3)"
        return None


class ReopenedAtOnce:
    """R4: what was closed on evidence is reopened on the acknowledgement, with the latest offer."""

    def look(self, node: str, handled: Handled) -> str | None:
        if not isinstance(handled.message, RelayedCloseDone) or state_of(handled.before) != "Closing":
            return None
        was_open = getattr(handled.before, "lost", None) is not None
        reason = getattr(handled.after, "reason", "")
        nowhere = reason.startswith(("no ", "not connected", "the remote went idle"))
        if was_open and state_of(handled.after) == "Closed" and not nowhere:
            return f"what was closed on evidence was not reopened at once: {reason} (R4)"
        return None


class ClosedWhereOpened:
    """R5: a close reaches the link that the connection was opened on."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str, int], int] = {}  # node, peer, generation -> link
        self._asked: dict[tuple[str, str, int], float] = {}

    def look(self, node: str, handled: Handled) -> str | None:
        match handled.message:
            case RelayedOpened(peer=peer, generation=generation, link=link):
                self._links[node, peer, generation] = link
            case CloseRelayed(peer=peer, generation=generation) if (node, peer, generation) in self._links:
                self._asked[node, peer, generation] = handled.at
            case CloseOnLink(peer=peer, generation=generation):
                self._forget(node, peer, generation)
            case LinkClosed(link=link):
                for name, of in list(self._links.items()):
                    if of == link and name[0] == node:
                        self._forget(*name)
            case ProcessRestarted() | ChangeHome():  # the links end, or one of them, and the connections with them
                for name in [name for name in self._links if name[0] == node]:
                    self._forget(*name)
            case RelayedCloseDone(peer=peer, generation=generation) if (node, peer, generation) in self._asked:
                self._forget(node, peer, generation)
                return "a close was acknowledged, and never reached the link of the connection (R5)"
            case _:
                pass
        return None

    def _forget(self, node: str, peer: str, generation: int) -> None:
        self._links.pop((node, peer, generation), None)
        self._asked.pop((node, peer, generation), None)


class Rotated:
    """R6: a distress of our own changes our ICE session in the same step."""

    def look(self, node: str, handled: Handled) -> str | None:
        if role_of(handled) != "ice_worker":
            return None
        before, after = handled.before, handled.after
        session = getattr(before, "session", None)
        match handled.message:
            case IceAgentEnded(session=ended) if ended == session and state_of(before) in ("Checking", "Connected"):
                pass
            case Distress(path="relayed") if not (
                state_of(before) == "Connected" and not getattr(before, "doubtful", False)
            ):
                pass
            case Distress(path="direct", generation=0) if state_of(before) == "Connected":
                pass
            case _:
                return None
        if getattr(after, "session", None) == session:
            return f"our ICE session stayed the same after {state_of(handled.message)} (R6)"
        return None


class OnlyOwnDistressRotates:
    """R6: the remote's new session does not change ours."""

    def look(self, node: str, handled: Handled) -> str | None:
        before, after = getattr(handled.before, "session", None), getattr(handled.after, "session", None)
        if isinstance(handled.message, IceTurn) and role_of(handled) == "ice_worker" and before != after:
            return "our ICE session changed because the remote's did (R6)"
        return None


class RemoteForgotten:
    """R6, R7: after our own rotation the remote's session is as good as new, also if it is the same."""

    def look(self, node: str, handled: Handled) -> str | None:
        resting = state_of(handled.before) == state_of(handled.after) == "Resting"
        if resting and isinstance(handled.message, IceTurn) and handled.message.ice is not None:
            return "the remote's ICE session was remembered beyond our own (R6)"
        return None


class AlwaysWatched:
    """R8: what packets are sent on is watched, also after a fallback."""

    def __init__(self) -> None:
        self._sent_on: dict[Who, set[str]] = {}
        self._watched: dict[Who, set[str]] = {}
        self._wrong_since: dict[Who, float] = {}

    def look(self, node: str, handled: Handled) -> str | None:
        match handled.message:
            case SetPath(peer=peer, path=path, standby=standby):
                self._sent_on[node, peer] = {each.kind for each in (path, standby) if each is not None}
                self._compare((node, peer), handled.at)
            case WatchPath(peer=peer, path=path, standby=standby):
                self._watched[node, peer] = {kind for kind in (path, standby) if kind is not None}
                self._compare((node, peer), handled.at)
            case ProcessRestarted():
                for who in [who for who in self._sent_on if who[0] == node]:
                    self._forget(who)
            case StartPeer(settings=settings):
                self._forget((node, settings.peer))
            case _:
                pass
        for who, since in self._wrong_since.items():
            if who[0] == node and handled.at - since > UNWATCHED_S:
                return f"packets went on {sorted(self._sent_on[who])} for {UNWATCHED_S:g} s unwatched (R8)"
        return None

    def _compare(self, who: Who, now: float) -> None:
        if self._sent_on.get(who, set()) <= self._watched.get(who, set()):
            self._wrong_since.pop(who, None)
        else:
            self._wrong_since.setdefault(who, now)

    def _forget(self, who: Who) -> None:
        self._sent_on.pop(who, None)
        self._watched.pop(who, None)
        self._wrong_since.pop(who, None)


class BackoffRemembers:
    """R10: the guard's backoff goes on where it was when a path is lost that was not proven for long."""

    def __init__(self) -> None:
        self._proven_at: dict[Who, float] = {}

    def look(self, node: str, handled: Handled) -> str | None:
        if role_of(handled) != "guard":
            return None
        who = (node, _peer_of(handled))
        before, after = state_of(handled.before), state_of(handled.after)
        if after == "Proven" and before != "Proven":
            self._proven_at[who] = handled.at
        if isinstance(handled.message, PathLost) and handled.at - self._proven_at.get(who, handled.at) < STABLE_S:
            tries, left = getattr(handled.before, "tries", 0), getattr(handled.after, "tries", 0)
            if left < tries:
                return f"the backoff began anew after {tries} tries (R10)"
        return None


def _peer_of(handled: Handled) -> str:
    return handled.actor.partition("@")[0].removeprefix("peer/").rpartition("/")[0]
