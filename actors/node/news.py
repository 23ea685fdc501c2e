"""What of a changed status is news to the operator: one line of the log for each event, from what STATUS is told.

    peer connected, peer moved, peer recovered, peer lost, peer idle, peer parked, peer quarantined, peer at large again
    relay link up, relay link down, relay link fails, relay link closed

A doubt that ends well is none of them.  The signal link is told by its driver.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

from actors.messages.node import PeerForgotten
from actors.messages.status import PeerStatus, RelayLinkStatus, RelaysStatus
from config.keys import PublicKey

Level = Literal["INFO", "WARNING", "ERROR"]
Field = str | float


@dataclass(frozen=True, slots=True)
class Line:
    """One event."""

    level: Level
    words: str  # the same for every event of its kind
    fields: dict[str, Field]


@dataclass(slots=True)
class _Known:
    """A peer as the operator was told of it."""

    last: PeerStatus
    up: bool = False  # told connected, and not lost since


class News:
    """Compares each status with the one before."""

    def __init__(self) -> None:
        self._peers: dict[PublicKey, _Known] = {}
        self._links: dict[str, RelayLinkStatus] = {}

    def of(self, message: PeerStatus | RelaysStatus | PeerForgotten) -> list[Line]:
        """Return what is new."""
        match message:
            case PeerStatus():
                return self._of_peer(message)
            case RelaysStatus():
                return self._of_relays(message)
            case PeerForgotten():
                self._peers.pop(message.peer, None)
                return []
            case _:
                assert_never(message)

    def _of_peer(self, now: PeerStatus) -> list[Line]:
        known = self._peers.get(now.peer)
        if known is None:
            known = self._peers[now.peer] = _Known(
                PeerStatus(peer=now.peer, name=now.name, state="connecting", path=None)
            )
        before, known.last = known.last, now
        lines = _of_quarantine(before, now)
        if now.state == "connected":
            if now.recoveries > before.recoveries:
                lines.append(_line("INFO", "peer recovered", now, **_path(now), **_recovery(now)))
            elif not known.up:
                lines.append(_line("INFO", "peer connected", now, **_path(now)))
            elif _path(now) != _path(before):
                lines.append(_line("INFO", "peer moved", now, **_path(now)))
            known.up = True
        elif now.state == "doubtful":
            pass  # what comes of it is told
        elif now.state == "connecting":
            if known.up:
                lost = f"{before.path}" if before.path is not None else ""
                lines.append(_line("WARNING", "peer lost", now, was=lost, why=now.reason))
            known.up = False
        elif now.state != before.state:
            level: Level = "INFO" if now.state == "idle" else "ERROR"
            lines.append(_line(level, f"peer {now.state}", now, why=now.reason))
            known.up = False
        return lines

    def _of_relays(self, now: RelaysStatus) -> list[Line]:
        before, self._links = self._links, {link.url: link for link in now.links}
        lines = []
        for url, link in self._links.items():
            was = before[url].state if url in before else "connecting"
            if link.state == "connected" and was != "connected":
                fields: dict[str, Field] = {"relay": url, "role": link.role, "by": link.transport or ""}
                lines.append(Line("INFO", "relay link up", fields | _not_quic(link)))
            elif link.state != "connected" and was == "connected":
                lines.append(
                    Line("WARNING", "relay link down", {"relay": url, "role": before[url].role, "why": link.reason})
                )
            elif link.state == "waiting" and not (url in before and before[url].reason):
                lines.append(Line("WARNING", "relay link fails", {"relay": url, "role": link.role, "why": link.reason}))
        closed = [url for url, link in before.items() if url not in self._links and link.state == "connected"]
        return lines + [Line("INFO", "relay link closed", {"relay": url}) for url in closed]


def _not_quic(link: RelayLinkStatus) -> dict[str, Field]:
    """Return why QUIC was wanted and is not used, if that is so."""
    return {"not_quic": link.quic_fault} if link.quic_fault else {}


def _of_quarantine(before: PeerStatus, now: PeerStatus) -> list[Line]:
    if (before.quarantined_at is None) == (now.quarantined_at is None):
        return []
    if now.quarantined_at is None:
        return [_line("INFO", "peer at large again", now)]
    return [_line("ERROR", "peer quarantined", now, why=now.quarantined_for)]


def _path(status: PeerStatus) -> dict[str, Field]:
    path: dict[str, Field] = {"path": status.path or ""}
    return path | {"relay": status.relay_url} if status.path == "relayed" and status.relay_url is not None else path


def _recovery(status: PeerStatus) -> dict[str, Field]:
    return {"after_s": round(status.last_recovery_s or 0.0, 2), "why": status.last_recovery_cause}


def _line(level: Level, words: str, peer: PeerStatus, **fields: Field) -> Line:
    return Line(level, words, {"peer": peer.name, **fields})
