"""What the operator is told of one peer: how it stands, why it is no better, what was recovered from and how."""

from dataclasses import dataclass
from typing import Literal

from actors.messages.peer import IceLost, RemoteKnown
from actors.messages.status import PeerStatus
from actors.peer.recovery import Recovery
from actors.peer.ways import Choice, Direct, Way
from config.keys import PublicKey
from wg.paths import PathKind

DIRECT_OFF = "direct paths are off: relayed"
NO_REMOTE_ICE = "the remote looks for no direct path"
SEARCHING = "looking for a direct path"
MOVING = "moving to the direct path"
NO_PROOF_YET = "waiting for a WireGuard packet"
NOTHING_YET = "nothing heard from the remote yet"

Label = Literal["connecting", "connected", "doubtful", "idle"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A proven way is missing."""

    noticed_at: float
    cause: str
    missing: tuple[PathKind, int] | None  # kind and generation of what was proven; None: not known


class Account:
    """Keeps what goes into the peer's status."""

    def __init__(self, peer: PublicKey, name: str, recovery: Recovery, *, ice: bool, ours: bool | None) -> None:
        self._peer, self._name, self._recovery, self._ice = peer, name, recovery, ice
        self._ours, self._remote_ice = ours, True
        self._not_found = ""  # why the last search for a direct path came to nothing
        self._tried: tuple[str, ...] = ()
        self._told: PeerStatus | None = None
        self.hindrances = {"offers": "", "server": "", "relay": ""}
        self.remote_idle = False

    def know(self, remote: RemoteKnown) -> None:
        """Take note of who the remote is, and that it speaks."""
        self._ours, self._remote_ice, self.remote_idle = remote.ours, remote.ice, False

    def lost(self, lost: IceLost) -> None:
        """Take note of how a search for a direct path, or the direct path itself, ended."""
        self._not_found, self._tried = lost.reason, lost.tried

    def news(self, label: Label, reason: str, choice: Choice, proven: Way | None, now: float) -> PeerStatus | None:
        """Return the peer's status, if what was told before is not true any more."""
        shown = proven or choice.in_use
        direct = isinstance(shown, Direct)
        recovery, quarantine = self._recovery, self._recovery.budget.quarantine(now)
        relayed_at = next((way.url for way in choice.ways() if not isinstance(way, Direct)), None)
        status = PeerStatus(
            peer=self._peer,
            name=self._name,
            state=label,
            path=shown.kind if shown is not None else None,
            relay_url=relayed_at,
            reason=reason or (self._why_not_direct(choice) if not direct else ""),
            tried=() if direct else self._tried,
            ours=self._ours,
            answers=label == "connecting" and self._ours is not None and not self.hindrances["offers"],
            since_at=self._told.since_at if self._told is not None and self._told.state == label else now,
            recoveries=recovery.count,
            last_recovery_s=recovery.last_s,
            last_recovery_cause=recovery.last_words,
            recovered=recovery.by_cause(),
            rungs={rung: count for rung, count in recovery.ladder.counts.items() if count},
            disruptions=recovery.budget.disruptions,
            budget_left=recovery.budget.left(now),
            quarantined_at=quarantine.since_at if quarantine is not None else None,
            quarantined_until=quarantine.until if quarantine is not None else None,
            quarantined_for=quarantine.reason if quarantine is not None else "",
            resets=recovery.resets,
        )
        if status == self._told:
            return None
        self._told = status
        return status

    def why_no_way(self, outage: Outage | None) -> tuple[Label, str]:
        """Return how a peer without any way is shown."""
        offers, relay = self.hindrances["offers"], self.hindrances["server"] or self.hindrances["relay"]
        if self.remote_idle and not offers:  # with them it does not wake either
            return "idle", "the remote closed its side for want of traffic"
        reason = "; ".join(text for text in (offers, relay) if text)
        return "connecting", reason or (outage.cause if outage is not None else NOTHING_YET)

    def _why_not_direct(self, choice: Choice) -> str:
        direct = next((way for way in choice.ways() if isinstance(way, Direct)), None)
        if not self._ice:
            return DIRECT_OFF
        if direct is not None:
            return MOVING if direct.standing == "unproven" else "the direct path is doubtful"
        if not self._remote_ice:
            return NO_REMOTE_ICE
        return f"no direct path: {self._not_found}" if self._not_found else SEARCHING
