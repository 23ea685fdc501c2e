"""The mailbox in front of the signal client, which lives on a thread of its own (actors/runtime/signal_link.py).

It has no state and decides nothing.  What the client reports goes to SIGNAL straight from its thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, assert_never

from actors.effects import Effect
from actors.messages.node import KnownPeers, SignalLinkDoubted, SignalLinkInbox, SignalLinkWanted
from config.keys import PublicKey
from transport.signal.messages import PostCandidate, PostDescription, SignalPost


class SignalDriver(Protocol):
    """The signal client, as seen from the post office's thread: each call returns at once."""

    def post(self, post: SignalPost) -> None:
        """Seal this and hand it to the server."""
        ...

    def know(self, peers: frozenset[PublicKey]) -> None:
        """Drop what comes from anybody else."""
        ...

    def repeat(self) -> None:
        """Tell SIGNAL again whether the link is up."""
        ...

    def doubt(self) -> None:
        """See whether the link is still there."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """What the client counts."""
        ...


@dataclass(frozen=True, slots=True)
class Passing:
    """The only state."""


class SignalLink:
    """The machine of SIGNAL_LINK."""

    inbox: ClassVar[object] = SignalLinkInbox

    def __init__(self, driver: SignalDriver) -> None:
        self._driver = driver
        self.state = Passing()

    @property
    def counters(self) -> Mapping[str, int]:
        """What the client counts."""
        return self._driver.counters

    def handle(self, message: SignalLinkInbox, _now: float) -> list[Effect]:
        """Hand one message to the client."""
        match message:
            case PostDescription() | PostCandidate():
                self._driver.post(message)
            case KnownPeers(peers=peers):
                self._driver.know(peers)
            case SignalLinkWanted():
                self._driver.repeat()
            case SignalLinkDoubted():
                self._driver.doubt()
            case _:
                assert_never(message)
        return []
