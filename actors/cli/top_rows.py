"""What `homing top` shows, worked out from the agent's report: cells of peers, lines about the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from actors.cli.report import PeerReport, ProcessReport, Report
from actors.cli.words import duration, size
from config.keys import PublicKey
from config.text import one_line

HEADINGS = ("PEER", "STATE", "PATH", "PROOF", "RTT", "IN/s", "OUT/s", "REC")
MAX_NAME, MAX_PATH = 12, 22  # characters, so that a row fits a terminal of 80

Cells = tuple[str, ...]
Order = Literal["name", "trouble", "proof", "rtt", "traffic"]
ORDERS: tuple[Order, ...] = ("name", "trouble", "proof", "rtt", "traffic")
STATES = ("quarantined", "connecting", "doubtful", "parked", "idle", "connected")


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    rx: int
    tx: int
    rates: tuple[float, float]


class Rows:
    """Sorts and describes the peers of a report; from the one before come the rates."""

    def __init__(self) -> None:
        self._peers: Sequence[PeerReport] = ()
        self._seen: dict[PublicKey, _Seen] = {}

    def see(self, report: Report, now: float) -> None:
        """Take in how the agent is now."""
        self._peers = report.peers
        self._seen = {peer.public_key: self._see(peer, now) for peer in report.peers}

    def of(self, order: Order, wanted: str = "") -> list[PeerReport]:
        """Return the peers whose name, state, path or key has `wanted` in it."""
        text = wanted.strip().lower()
        chosen = [peer for peer in self._peers if not text or text in _searched(peer)]
        chosen.sort(key=lambda peer: _ORDER[order](peer, self._seen[peer.public_key].rates))
        return chosen

    def cells(self, peer: PeerReport) -> Cells:
        """Return what is shown of a peer, a text under each heading."""
        rates = self._seen[peer.public_key].rates
        cells = (
            _cut(peer.name, MAX_NAME),
            _state(peer),
            _cut(_path(peer), MAX_PATH),
            "never" if peer.proof_age_s is None else brief(peer.proof_age_s),
            "-" if peer.rtt_s is None else brief(peer.rtt_s),
            size(int(rates[0])),
            size(int(rates[1])),
            str(peer.recoveries),
        )
        return tuple(map(one_line, cells))

    def _see(self, peer: PeerReport, now: float) -> _Seen:
        before = self._seen.get(peer.public_key)
        if before is None or peer.rx_bytes < before.rx or peer.tx_bytes < before.tx:  # new, or its counters are
            return _Seen(now, peer.rx_bytes, peer.tx_bytes, (0.0, 0.0))
        took_s = now - before.at
        still = (peer.rx_bytes, peer.tx_bytes) == (before.rx, before.tx)
        if took_s <= 0 or (still and took_s < 1.5):  # the same snapshot, seen twice
            return before
        rates = ((peer.rx_bytes - before.rx) / took_s, (peer.tx_bytes - before.tx) / took_s)
        return _Seen(now, peer.rx_bytes, peer.tx_bytes, rates)


def summary(report: Report) -> str:
    """Return the line about the node."""
    if not report.running:
        return f"node {report.node} is not running; what follows is its last word"
    up = sum(peer.state == "connected" for peer in report.peers)
    links = ", ".join(f"{link.role} {link.state}" for link in report.links)
    stopping = ", stopping" if report.draining else ""
    return one_line(f"node {report.node}{stopping}: {up} of {len(report.peers)} peers connected; {links}")


def processes(report: Report) -> str:
    """Return the lines about the processes, one each."""
    return "\n".join(one_line(_process(one)) for one in report.processes)


def brief(seconds: float) -> str:
    """Return a length of time in six characters at the most."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, each in ((59.5, "s", 1), (3570, "min", 60), (86_400, "h", 3600)):
        if seconds < limit:
            return f"{seconds / each:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _process(one: ProcessReport) -> str:
    age = "nothing yet" if one.snapshot_age_s is None else f"{duration(one.snapshot_age_s)} ago"
    state = f" {one.state.upper()}" if one.state not in {"", "up"} else ""
    why = f" ({one.reason})" if one.restarts and one.reason else ""
    return (
        f"{one.process:<11}{state} mailbox {one.mailbox_depth}, dead letters {one.dead_letters}, "
        f"restarts {one.restarts}{why}, actors' {one.actor_restarts}, said {age}"
    )


def _state(peer: PeerReport) -> str:
    return "quarantined" if peer.recovery is not None and peer.recovery.quarantined_s is not None else peer.state


def _path(peer: PeerReport) -> str:
    if peer.path is None:
        return "-"
    return f"{'direct' if peer.path == 'direct' else 'relay'} {peer.endpoint.rpartition('//')[2]}"


def _searched(peer: PeerReport) -> str:
    return f"{peer.name} {_state(peer)} {_path(peer)} {peer.public_key}".lower()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}~"


def _age(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds


_Rank = Callable[[PeerReport, Sequence[float]], Any]
_ORDER: dict[Order, _Rank] = {
    "name": lambda peer, _: peer.name,
    "trouble": lambda peer, _: (STATES.index(_state(peer)), -peer.recoveries, peer.name),
    "proof": lambda peer, _: (-_age(peer.proof_age_s), peer.name),
    "rtt": lambda peer, _: (-(peer.rtt_s or 0.0), peer.name),
    "traffic": lambda peer, rates: (-sum(rates), peer.name),
}
