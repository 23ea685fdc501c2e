"""When our home relay is to be changed: a rung of recovery that touches the whole node (recovery R11).

    quiet --somebody is met at our home, nothing comes over it, and nobody is proven--> waiting --its time--> changed
      ^---a peer is proven; nobody is met there any more; the home is another---/                ^---twice the wait--/

A home whose link is dead is left by RELAYS itself.  This is for one that answers its clients and carries nothing: it is
left for another configured one, after each pair has had the time for its own rungs.
"""

from actors.messages.status import PeerStatus
from config.keys import PublicKey

FIRST_S = 120.0  # a pair tries its new connections, other relays and handshake in less
LONGEST_S = 1800.0
ABSENT_S = 60.0  # without anybody there: more than one relayed connection takes to follow another


class HomeLadder:
    """Knows whether anybody is proven, and since when somebody should be."""

    def __init__(self) -> None:
        self._proven: set[PublicKey] = set()
        self._there: set[PublicKey] = set()  # who is met at the home, unproven
        self._marked: str | None = None  # the home over which nothing came; None: somebody is proven, or not there
        self._since = self._seen_at = 0.0  # when it was marked, and somebody was there last
        self._wait_s = FIRST_S

    def learn(self, status: PeerStatus, home_url: str | None, now: float) -> None:
        """Take note of how a peer stands."""
        self._see(now)
        self._there.discard(status.peer)
        if status.state in ("connected", "doubtful"):
            self._proven.add(status.peer)
            self._marked, self._wait_s = None, FIRST_S
            return
        self._proven.discard(status.peer)
        if status.state != "connecting" or status.relay_url is None or status.relay_url != home_url:
            return
        self._there.add(status.peer)
        if not self._proven and self._marked != home_url:
            self._marked, self._since = home_url, now
        self._see(now)

    def forget(self, peer: PublicKey) -> None:
        """Take note that a peer is not configured any more."""
        self._proven.discard(peer)
        self._there.discard(peer)

    def climb(self, now: float) -> bool:
        """Return whether the home relay is to be changed now."""
        self._see(now)
        if self._marked is not None and now >= self._seen_at + ABSENT_S:
            self._marked = None
        if self._marked is None or now < self._since + self._wait_s:
            return False
        self._since, self._wait_s = now, min(2 * self._wait_s, LONGEST_S)
        return True

    def _see(self, now: float) -> None:
        if self._there:
            self._seen_at = now
