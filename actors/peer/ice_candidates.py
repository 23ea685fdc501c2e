"""The remote's candidates as they come: for the agent that is there, or kept for the next one.

    early --begin(ufrag)--> those of that session are told to its agent
    with an agent: told once each; those of another session wait for theirs

Candidates travel by themselves, so one may overtake the offer of its session; its ufrag says which that is.
"""

from collections import deque

from transport.ice.candidates import BadCandidate, decode_candidate

MAX_EARLY = 32  # kept, the newest
MAX_TOLD = 64  # to one agent


class RemoteCandidates:
    """What the remote's ICE agents told, for one peer."""

    def __init__(self) -> None:
        self.dropped = 0  # repeated, or too many
        self._ufrag: str | None = None  # of the session that our agent talks to; None: not known, so all are taken
        self._early: deque[str] = deque(maxlen=MAX_EARLY)
        self._told: set[str] = set()

    def begin(self, ufrag: str) -> list[str]:
        """A new agent, for the remote's session of this ufrag: return what has come for it."""
        self._ufrag, self._told = ufrag, set()
        early, self._early = list(self._early), deque(maxlen=MAX_EARLY)
        return [candidate for candidate in early if self.take(candidate)]

    def take(self, candidate: str) -> bool:
        """Return whether our agent is to be told of this."""
        if self._ufrag is not None and _ufrag_of(candidate) not in (None, self._ufrag):
            self.keep(candidate)
            return False
        if candidate in self._told or len(self._told) >= MAX_TOLD:
            self.dropped += 1
            return False
        self._told.add(candidate)
        return True

    def keep(self, candidate: str) -> None:
        """Keep this for an agent to come."""
        if candidate in self._early or len(self._early) == MAX_EARLY:
            self.dropped += 1
        if candidate not in self._early:
            self._early.append(candidate)

    def end(self) -> None:
        """The agent is gone; what waits goes on waiting, for the remote's next session may have told it early."""
        self._ufrag, self._told = None, set()


def _ufrag_of(candidate: str) -> str | None:
    """Return the ufrag that a candidate names; None: it names none, or is none."""
    try:
        return decode_candidate(candidate).ufrag
    except BadCandidate:
        return None
