"""When a relay server is dialled again whose open link ended, and when other servers beside it.

A link that fell silent is dialled anew at once: what changed is a network or a NAT, and nobody else dials with us.  One
that the server ended is dialled after a moment that is drawn, since a server that was restarted loses all its clients.
Where another agent has our key, the two would displace each other for ever: from the second time on that is waited out.
"""

from random import Random

FIRST_RETRY_S = (0.1, 0.3)
OTHERS_RETRY_S = 1.5  # that a home server which ended the link is tried alone
OTHERS_SILENT_S = 0.7  # and one that fell silent: it may be as dead as the link
DISPLACED_S = (900.0, 1125.0)  # at most 6 an hour from two agents (recovery S21)
DOUBLE_S = 3600.0  # from the last word of another agent with our key


class Redial:
    """What was learned about the ends of links."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._double_until = self._ended_until = float("-inf")  # until then each is remembered

    def key_used_elsewhere(self, now: float) -> None:
        """Another agent logs in with our key."""
        self._double_until = now + DOUBLE_S

    def ended(self, now: float, *, half_open: bool) -> float:
        """An open link ended; return when to dial its server again."""
        if half_open:
            return now
        displaced = now < min(self._double_until, self._ended_until)
        self._ended_until = now + DOUBLE_S
        return now + self._rng.uniform(*(DISPLACED_S if displaced else FIRST_RETRY_S))


def others_at(now: float, *, half_open: bool) -> float:
    """Return when to dial other servers beside the home server whose link ended."""
    return now + (OTHERS_SILENT_S if half_open else OTHERS_RETRY_S)
