"""The ways to a peer that there are, and which of them packets take.

    relayed   direct              ours                            foreign
    any       none, dead          relay                           relay
    none      any                 direct                          direct
    dead      not dead            direct                          direct
    there     unproven            direct, and over the relay too  direct; where they control, relay until they come
    there     proven              direct                          direct
    there     doubtful            relay, and directly too         relay (told dead at once)

Between ours nothing is lost by going both ways until one is proven (recovery R9): the replay window removes the
duplicates.  A foreign peer roams to whatever it hears, so it is sent to on one path at a time.
"""

from dataclasses import dataclass
from typing import Literal

from wg.paths import DirectPath, Path, PathKind, RelayedPath

Standing = Literal["unproven", "resumed", "proven", "doubtful", "dead"]
"""Of one way; resumed: it was proven to the control process before this one, and is left alone until this one knows."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A relayed connection that may carry packets."""

    link: int
    generation: int
    url: str
    standing: Standing = "unproven"

    kind: PathKind = "relayed"

    @property
    def path(self) -> RelayedPath:
        """Where packets go."""
        return RelayedPath(link=self.link, generation=self.generation)


@dataclass(frozen=True, slots=True)
class Direct:
    """A pair that ICE keeps."""

    path: DirectPath
    generation: int
    standing: Standing = "unproven"
    awaited: bool = False  # a foreign controller comes over it first (signal spec 5.11)

    kind: PathKind = "direct"


Way = Relay | Direct


@dataclass(frozen=True, slots=True)
class Choice:
    """What packets take, and what is watched."""

    in_use: Way | None
    copied: bool = False  # packets go by `standby` too
    standby: Way | None = None  # watched beside what is in use

    def paths(self) -> tuple[Path | None, Path | None]:
        """Return what SetPath says."""
        path = self.in_use.path if self.in_use is not None else None
        return path, self.standby.path if self.standby is not None and self.copied else None

    def ways(self) -> list[Way]:
        """Return what is in use, then what stands by."""
        return [way for way in (self.in_use, self.standby) if way is not None]

    def carrying(self) -> list[Way]:
        """Return the ways that packets take."""
        return self.ways() if self.copied else self.ways()[:1]

    def proven(self) -> Way | None:
        """Return the proven way that packets take; None: there is none."""
        return next((way for way in self.carrying() if way.standing == "proven"), None)


@dataclass(frozen=True, slots=True)
class Ways:
    """One of each kind at the most."""

    relay: Relay | None = None
    direct: Direct | None = None

    def choose(self, *, ours: bool) -> Choice:
        """Return what packets take, as the table above says."""
        relay, direct = self.relay, self.direct
        if direct is None or (direct.standing == "dead" and relay is not None):
            return Choice(relay)
        if relay is None or relay.standing == "dead":
            return Choice(direct)
        if direct.awaited:
            return Choice(relay, standby=direct)
        if not ours:
            return Choice(direct)
        match direct.standing:
            case "doubtful":
                return Choice(relay, copied=True, standby=direct)
            case "unproven":
                return Choice(direct, copied=True, standby=relay)
            case _:
                # A standby that is new carries packets until it is proven, so that the packet process knows it.
                return Choice(direct, copied=relay.standing == "unproven", standby=relay)
