"""One child process as the supervisor knows it: its state, how patient we are with it, and its record of failures.

A child makes progress when a Ping comes back through its mailbox.  How long it may stay silent depends on what the
kernel says of it: a stopped process will not answer, one whose threads all wait has lost an answer, and one that is
runnable may only be starved.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from actors.messages.status import ChildStatus

Activity = Literal["runnable", "waiting", "stopped", "gone"]

FIRST_BACKOFF_S = 0.5  # of the second restart in a row; the first waits for nothing
MAX_BACKOFF_S = 30.0
STEADY_S = 10.0  # up for this long: started again at once, since waiting would only lengthen the outage
HEALTHY_S = 60.0  # up for this long: the backoff starts anew
RESTART_WINDOW_S = 300.0
RESTARTS_IN_WINDOW = 5  # more of them: unhealthy, and unless steady tried at MAX_BACKOFF_S only


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a process is asked, and how long it may stay silent."""

    ping_s: float
    stopped_s: float  # while it is stopped
    waiting_s: float  # while none of its threads is runnable
    busy_s: float  # while one is


# The packet process must be back within 2 s of a hang or a crash, its own start included (recovery S19).
PACKET_PATIENCE = Patience(ping_s=0.25, stopped_s=0.3, waiting_s=0.7, busy_s=3.0)
CONTROL_PATIENCE = Patience(ping_s=1.0, stopped_s=5.0, waiting_s=5.0, busy_s=15.0)
IDLE_S = 0.2  # that a silent child must be found idle: one look may find a thread between two pieces of work


@dataclass(frozen=True, slots=True)
class Starting:
    """Started, and not ready yet."""

    limit_at: float


@dataclass(frozen=True, slots=True)
class Up:
    """Answers pings; one at a time is out."""

    ping_at: float  # of the next ping
    token: int | None = None  # of the ping that is out
    silent_s: float = 0.0  # since it went out
    idle_from_s: float | None = None  # of this silence; None: it was busy, or gone, when last looked at


@dataclass(frozen=True, slots=True)
class Dumping:
    """Hung; it may still write its stacks."""

    until: float


@dataclass(frozen=True, slots=True)
class Killed:
    """SIGKILL was sent; the kernel has not let it go yet."""

    again_at: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Gone, to be started again."""

    until: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Gone, and not to come back."""


ChildState = Starting | Up | Dumping | Killed | Waiting | Ended
STATE_WORDS: dict[type[ChildState], Literal["starting", "up", "hung", "waiting", "ended"]] = {
    Starting: "starting",
    Up: "up",
    Dumping: "hung",
    Killed: "hung",
    Waiting: "waiting",
    Ended: "ended",
}


@dataclass(slots=True)
class Child:
    """One process: its present incarnation, and its record."""

    name: str
    patience: Patience
    incarnation: int
    state: ChildState
    since_at: float
    up_at: float | None = None  # since when this incarnation has answered; None: it never has
    failures: int = 0  # in a row
    restarts: int = 0
    reason: str = ""  # of the last restart
    restarted_at: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS_IN_WINDOW + 1))

    def enter(self, state: ChildState, now: float) -> None:
        """Change to another kind of state."""
        self.state, self.since_at = state, now
        if isinstance(state, Up):
            self.up_at = now
        elif isinstance(state, Starting):
            self.up_at = None

    def judge(self, activity: Activity) -> str | None:
        """Weigh what the kernel says of a silent child.  Returns why it is hung, or None."""
        assert isinstance(self.state, Up), self.state
        silent_s, idle_from_s = self.state.silent_s, self.state.idle_from_s
        if activity in ("runnable", "gone"):
            idle_from_s = None
        elif idle_from_s is None:
            idle_from_s = silent_s
        self.state = replace(self.state, idle_from_s=idle_from_s)
        limits = {
            "stopped": self.patience.stopped_s,
            "waiting": self.patience.waiting_s,
            "runnable": self.patience.busy_s,
            "gone": float("inf"),  # its exit is on the way to us
        }
        if silent_s < limits[activity] or (idle_from_s is not None and silent_s < idle_from_s + IDLE_S):
            return None
        return f"hung: {activity}, no answer to a ping for {silent_s:.1f} s"

    def failed(self, reason: str, rng: Random, now: float) -> float:
        """Note that this incarnation is gone.  Returns how long to wait before the next, in seconds."""
        if not isinstance(self.state, Dumping | Killed):  # those know better why
            self.reason = reason
        self.note_health(now)
        self.failures += 1
        self.restarts += 1
        self.restarted_at.append(now)
        if self.failures == 1 or self._up_for(STEADY_S, now):
            return 0.0
        full_s = min(FIRST_BACKOFF_S * 2.0 ** min(self.failures - 2, 16), MAX_BACKOFF_S)
        if self.unhealthy(now):
            full_s = MAX_BACKOFF_S
        return full_s * rng.uniform(0.5, 1.0)

    def note_health(self, now: float) -> None:
        """Forget the failures of one that has been up for long enough."""
        if self._up_for(HEALTHY_S, now):
            self.failures = 0

    def _up_for(self, seconds: float, now: float) -> bool:
        return self.up_at is not None and now - self.up_at >= seconds

    def unhealthy(self, now: float) -> bool:
        """Whether it was restarted more often of late than can pass for an accident."""
        return len(self.restarted_at) > RESTARTS_IN_WINDOW and now - self.restarted_at[0] < RESTART_WINDOW_S

    def status(self, now: float) -> ChildStatus:
        """Return what the snapshot file says of it."""
        return ChildStatus(
            process=self.name,
            incarnation=self.incarnation,
            state=STATE_WORDS[type(self.state)],
            since_at=self.since_at,
            restarts=self.restarts,
            reason=self.reason,
            unhealthy=self.unhealthy(now),
        )

    def words(self, now: float) -> str:
        """Return what the service manager's status line says of it."""
        words = f"{self.name} {STATE_WORDS[type(self.state)]}"
        if self.restarts and not isinstance(self.state, Up):
            words += f" after: {self.reason}"
        if self.unhealthy(now):
            words += f" (unhealthy: restarted more than {RESTARTS_IN_WINDOW} times in {RESTART_WINDOW_S / 60:g} min)"
        return words
