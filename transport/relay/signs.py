"""What the transport below a relay link has seen of the other end: is it there, and does the link lose packets?"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LOOKS: Final = 6
LOSSY: Final = 0.02  # of the segments
MIN_TROUBLED: Final = 3  # segments; of fewer a share says nothing


@dataclass(frozen=True, slots=True)
class Signs:
    """What there is to see; of TCP, in the kernel's record of the connection."""

    heard_s: float  # since anything came, be it an acknowledgement
    waiting: bool  # something that was sent is not acknowledged
    segments: int  # both ways, since the link began
    troubled: int  # of them: sent again, or not in order
    acknowledged_len: int  # bytes of ours that have arrived, since the link began
    in_flight: bool  # some are on their way; not those that wait for an other end that takes no more


ReadSigns = Callable[[], Signs | None]
"""Returns what there is to see now; None: this transport does not show it."""


def no_signs() -> None:
    """Show nothing."""


class LossWatch:
    """Looks at a link from time to time while it is well, and tells whether it loses packets."""

    def __init__(self, first: Signs) -> None:
        self._looks = deque([first], LOOKS)

    def look(self, signs: Signs) -> None:
        """Keep what is seen now, of a link that is well."""
        self._looks.append(signs)

    @property
    def lossy(self) -> bool:
        """Whether it lost packets lately, while it was well."""
        return _share(self._looks[0], self._looks[-1]) >= LOSSY

    def loses(self, signs: Signs) -> bool:
        """Tell whether it loses packets, by what is seen now too: what repeats into silence counts."""
        return self.lossy or _share(self._looks[-1], signs) >= LOSSY


def _share(since: Signs, until: Signs) -> float:
    troubled, segments = until.troubled - since.troubled, until.segments - since.segments
    return troubled / max(segments, 1) if troubled >= MIN_TROUBLED else 0.0
