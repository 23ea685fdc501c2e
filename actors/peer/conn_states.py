"""The states of a peer's paths (conn.py draws their arrows), and what they begin from."""

from dataclasses import dataclass

from actors.peer.account import Outage
from actors.peer.ways import Ways
from wg.paths import Path


@dataclass(frozen=True, slots=True)
class Pathless:
    """There is no way; the guard, the relay worker and the ICE worker are at it."""

    outage: Outage | None  # None: no way was ever proven


@dataclass(frozen=True, slots=True)
class Unproven:
    """Packets go here, and nothing authenticated has come back yet; the watcher bounds it."""

    ways: Ways
    outage: Outage | None


@dataclass(frozen=True, slots=True)
class Proven:
    """A way that packets take works."""

    ways: Ways


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Probes went unanswered; the watcher proves a way, or declares it dead."""

    ways: Ways
    outage: Outage


@dataclass(frozen=True, slots=True)
class Failed:
    """The watcher declared every way dead; the workers close them."""

    ways: Ways
    outage: Outage | None


State = Pathless | Unproven | Proven | Doubtful | Failed


@dataclass(frozen=True, slots=True)
class Held:
    """What the packet process held when the control process started: the ways, and where packets went."""

    ways: Ways
    path: Path | None
    standby: Path | None = None
