"""When our UDP sockets are to be bound anew: the last rung of recovery, which touches the whole node (recovery R11).

    quiet --a peer that answers is not proven, nobody is, and there is network--> waiting --its time--> rebound
      ^---a peer is proven; nobody answers; the signal server is away--------------/  ^------------------/

It cures what lies between us and everybody else and belongs to our port: an entry of a NAT or a firewall that leads
nowhere, a port that somebody has closed.  Links to servers have ports of their own and stay.  Peers that are switched
off answer no offers, and are not missed.

Each time it is another port, or the configured one again.  Whatever else is broken, peers look for us at the configured
one first: so it is left after ever longer waits, and any other after the first one.
"""

from math import inf

from actors.messages.status import PeerStatus
from config.keys import PublicKey

FIRST_S = 300.0  # the pairs' own rungs, and another home, have had their time
LONGEST_S = 3600.0
ANSWER_S = 30.0  # for an answer to an offer; each is unanswered for a moment


class RebindLadder:
    """Knows since when somebody should be proven, while nobody is."""

    def __init__(self) -> None:
        self._proven: set[PublicKey] = set()
        self._missed: dict[PublicKey, float] = {}  # until when each counts as there
        self._since: float | None = None  # when waiting began; None: there is nothing to wait for
        self._wait_s = FIRST_S  # at the configured port
        self.elsewhere = False
        """Whether the port should be another than the configured one."""

    def learn(self, status: PeerStatus, now: float) -> None:
        """Take note of how a peer stands."""
        missed_until = self._missed.get(status.peer)
        self.forget(status.peer)
        if status.state in ("connected", "doubtful"):
            self._proven.add(status.peer)
            self._wait_s = FIRST_S
        elif status.answers:
            self._missed[status.peer] = inf
        elif status.state == "connecting" and missed_until is not None:
            self._missed[status.peer] = min(missed_until, now + ANSWER_S)

    def forget(self, peer: PublicKey) -> None:
        """Take note that a peer is not configured any more."""
        self._proven.discard(peer)
        self._missed.pop(peer, None)

    def climb(self, now: float, *, network: bool) -> bool:
        """Return whether the sockets are to be bound anew now; `network`: the signal server is reached."""
        # What was learned before a sleep was noticed is stamped as if there had been none.
        ends_at = now + ANSWER_S
        held = ((peer, until) for peer, until in self._missed.items() if now < until)
        self._missed = {peer: until if until == inf else min(until, ends_at) for peer, until in held}
        if self._proven or not self._missed or not network:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now < self._since + (FIRST_S if self.elsewhere else self._wait_s):
            return False
        self._since, self.elsewhere = now, not self.elsewhere
        if self.elsewhere:
            self._wait_s = min(2 * self._wait_s, LONGEST_S)
        return True
