"""The states of a peer's paths (conn.py draws their arrows), and what they begin from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.messages.recoveries import Kept
from actors.peer.account import Outage
from actors.peer.ways import Ways
from wg.paths import Path, PathKind


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

    ways: Ways = field(default_factory=Ways)
    path: Path | None = None
    standby: Path | None = None
    heard: Mapping[PathKind, float] = field(default_factory=dict)  # when a packet came on each kind of path
    kept: Kept | None = None  # of the recovery until then

    def carried(self) -> dict[PathKind, tuple[int, float]]:
        """Return the generation of what is there of each kind, 0 for none, and when that kind carried a packet."""
        ways = (self.ways.relay, self.ways.direct)
        generations = {way.kind: way.generation for way in ways if way is not None}
        return {kind: (generations.get(kind, 0), at) for kind, at in self.heard.items()}

    def proven(self) -> dict[PathKind, float]:
        """Return when what there is was heard: what came before something was given up came by that."""
        given_up_at = max(self.kept.spent_at, default=0.0) if self.kept is not None else 0.0
        return {kind: at for kind, at in self.heard.items() if at > given_up_at}
