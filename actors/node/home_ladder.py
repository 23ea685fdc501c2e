"""When our home relay is to be changed: the rung of recovery that touches the whole node (recovery R11).

    quiet --somebody is met at our home, nothing comes over it, and nobody is proven--> waiting --its time--> changed
      ^---a peer is proven---(both)                                                        ^---twice the wait----/

A home whose link is dead is left by RELAYS itself.  This is for one that answers its clients and carries nothing: it is
left for another configured one, after each pair has had the time for its own rungs.
"""

from actors.messages.status import PeerStatus
from config.keys import PublicKey

FIRST_S = 120.0  # a pair tries its new connections, other relays and handshake in less
LONGEST_S = 1800.0


class HomeLadder:
    """Knows whether anybody is proven, and since when somebody should be."""

    def __init__(self) -> None:
        self._proven: set[PublicKey] = set()
        self._since: float | None = (
            None  # when nothing came over our home; None: somebody is proven, or nobody is there
        )
        self._wait_s = FIRST_S

    def learn(self, status: PeerStatus, home_url: str | None, now: float) -> None:
        """Take note of how a peer stands."""
        if status.state in ("connected", "doubtful"):
            self._proven.add(status.peer)
            self._since, self._wait_s = None, FIRST_S
            return
        self._proven.discard(status.peer)
        met = status.state == "connecting" and status.relay_url is not None and status.relay_url == home_url
        if met and self._since is None and not self._proven:
            self._since = now

    def forget(self, peer: PublicKey) -> None:
        """Take note that a peer is not configured any more."""
        self._proven.discard(peer)

    def climb(self, now: float) -> bool:
        """Return whether the home relay is to be changed now."""
        if self._since is None or now < self._since + self._wait_s:
            return False
        self._since, self._wait_s = None, min(2 * self._wait_s, LONGEST_S)
        return True
