"""Is the link half-open?  A client's own probe of its link to the relay server.

A TCP connection whose packets are dropped looks alive for minutes.  So the client pings (a WebSocket ping, which any
server answers) when it has heard nothing for a while, and calls the link dead after two pings without an answer:

    heard --something sent, 1 s of silence--> ping --1 s--> ping --1 s--> dead        in use: 3 s
    heard ------------15 s of silence-------> ping --5 s--> ping --5 s--> dead        idle: 25 s
    hint that it is gone ---------------> ping --0.3 s--> ping --0.3 s--> dead    at once: 0.6 s, or four round trips

Anything heard begins anew.  Who looks too late, after a sleep, asks once more before it judges.
"""

from typing import Final, Literal

IN_USE_SILENCE_S: Final = 1.0
IDLE_SILENCE_S: Final = 15.0
IN_USE_ANSWER_S: Final = 1.0
IDLE_ANSWER_S: Final = 5.0
HURRIED_ANSWER_S: Final = 0.3  # or two round trips
UNKNOWN_ROUND_TRIP_S: Final = 0.25
MAX_MISSED: Final = 2
LATE_S: Final = 1.0  # a timer later than this slept or was starved, and what was answered meanwhile is not read yet


class LinkProbe:
    """When to ping, and when to give the link up."""

    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._sent_at: float | None = None  # first data sent since something was heard: the link is in use
        self._pinged_at: float | None = None
        self._missed = 0
        self._hurried = False  # something outside says that the link may be gone
        self._usual_s = UNKNOWN_ROUND_TRIP_S  # round trip
        self.rtt_s: float | None = None  # of the last answered ping
        self.due_at = now + IDLE_SILENCE_S
        """When `handle_timeout` should be called next."""

    def sent(self, now: float) -> None:
        """Call when data leaves on the link."""
        if self._sent_at is None:
            self._sent_at = now
            self._schedule()

    def logged_in(self, took_s: float) -> None:
        """Call when the server has answered our login: a round trip takes no longer than that."""
        self._usual_s = took_s

    def hurry(self, now: float) -> None:
        """Call when something outside says that the link may be gone: ping now, and do not wait for long."""
        if self._hurried:
            return  # the pings are out
        self._hurried, self._pinged_at, self._missed, self.due_at = True, None, 0, now

    def heard(self, now: float) -> None:
        """Call when anything arrives on the link."""
        self._heard_at, self._sent_at, self._pinged_at, self._missed, self._hurried = now, None, None, 0, False
        self.due_at = now + IDLE_SILENCE_S

    def pong(self, now: float) -> None:
        """Call when a ping is answered."""
        if self._pinged_at is not None:
            self._usual_s = self.rtt_s = now - self._pinged_at
        self.heard(now)

    def handle_timeout(self, now: float) -> Literal["ping", "dead"] | None:
        """Return what is due: to send a ping, or to close the link."""
        if now < self.due_at:
            return None
        if self._pinged_at is not None and now <= self.due_at + LATE_S:
            self._missed += 1
            if self._missed == MAX_MISSED:
                return "dead"
        self._pinged_at = now
        self._schedule()
        return "ping"

    def silence_s(self, now: float) -> float:
        """Return for how long nothing was heard."""
        return now - self._heard_at

    def _schedule(self) -> None:
        since = self._heard_at if self._pinged_at is None else self._pinged_at
        self.due_at = since + (IDLE_SILENCE_S if self._pinged_at is None else IDLE_ANSWER_S)
        if self._sent_at is not None:
            in_use_s = IN_USE_SILENCE_S if self._pinged_at is None else IN_USE_ANSWER_S
            self.due_at = min(self.due_at, max(since, self._sent_at) + in_use_s)
        if self._hurried:
            self.due_at = min(self.due_at, since + max(HURRIED_ANSWER_S, 2 * self._usual_s))
