"""When to retransmit, give up, keep alive, renew and forget (whitepaper sections 6.2 to 6.5).

Pure: the tunnel tells what happened through the hooks `on_...`, each once a batch; `due` says what there is to do.

    reminder              armed when                  after                            disarmed when
    RETRANSMIT, GIVE_UP   an initiation is sent       REKEY_TIMEOUT + jitter, or       a session is proven
                                                      sooner on another path
    NEW_HANDSHAKE         data is sent                KEEPALIVE_TIMEOUT +              anything is received
                                                      REKEY_TIMEOUT + jitter
    KEEPALIVE             data is received            KEEPALIVE_TIMEOUT                anything is sent
    PERSISTENT_KEEPALIVE  anything is sent, received  the interval configured          -
    FORGET_KEYS           a keypair is made, given up ZERO_KEYS_AFTER                  -

A timer that is armed already keeps its time, but for the two whose clock starts anew with every event: RETRANSMIT and
PERSISTENT_KEEPALIVE (and FORGET_KEYS with every keypair).  "Anything" is whatever authenticates, handshakes included.
"""

import random
from enum import Enum, auto

from wg.constants import (
    KEEPALIVE_TIMEOUT,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER_MAX,
    ZERO_KEYS_AFTER,
)


class Reminder(Enum):
    """What the tunnel has to do."""

    FORGET_KEYS = auto()
    RETRANSMIT = auto()
    GIVE_UP = auto()  # what RETRANSMIT becomes once REKEY_ATTEMPT_TIME is over
    NEW_HANDSHAKE = auto()
    KEEPALIVE = auto()
    PERSISTENT_KEEPALIVE = auto()


class Timers:
    """The timers of one peer."""

    def __init__(self, rng: random.Random, persistent_keepalive_s: float) -> None:
        self.persistent_keepalive_s = persistent_keepalive_s  # 0: off
        self._rng = rng
        self._due_at: dict[Reminder, float] = {}
        self._trying_since: float | None = None  # the first initiation of a row; None: no row is under way

    # --- hooks ---

    def on_data_sent(self, now: float) -> None:
        """Transport data with a packet in it was sent."""
        self._due_at.setdefault(Reminder.NEW_HANDSHAKE, now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + self._jitter())

    def on_data_received(self, now: float) -> None:
        """Transport data with a packet in it was received."""
        self._due_at.setdefault(Reminder.KEEPALIVE, now + KEEPALIVE_TIMEOUT)

    def on_authenticated_sent(self, now: float) -> None:
        """Data, a keepalive, an initiation or a response was sent."""
        self._due_at.pop(Reminder.KEEPALIVE, None)
        self._on_traversal(now)

    def on_authenticated_received(self, now: float) -> None:
        """Data, a keepalive, an initiation or a response was received, and authenticated."""
        self._due_at.pop(Reminder.NEW_HANDSHAKE, None)
        self._on_traversal(now)

    def on_initiation_sent(self, now: float) -> None:
        """A handshake initiation was sent: the first of a row, or another."""
        if self._trying_since is None:
            self._trying_since = now
        self._due_at[Reminder.RETRANSMIT] = now + REKEY_TIMEOUT + self._jitter()

    def on_initiation_deferred(self, until: float, now: float) -> None:
        """A handshake initiation was due earlier than REKEY_TIMEOUT allows."""
        if self._trying_since is None:
            self._trying_since = now
        self._due_at.setdefault(Reminder.RETRANSMIT, until)

    def on_initiation_hastened(self, by: float) -> None:
        """The next initiation, if there is one to come, may go out earlier than it was to."""
        if Reminder.RETRANSMIT in self._due_at:
            self._due_at[Reminder.RETRANSMIT] = min(self._due_at[Reminder.RETRANSMIT], by)

    def on_session_wanted(self, now: float) -> None:
        """A packet waits for a session: whatever row of initiations is under way gets REKEY_ATTEMPT_TIME anew."""
        if self._trying_since is not None:
            self._trying_since = now

    def on_keypair_made(self, now: float) -> None:
        """New transport keys were derived."""
        self._due_at[Reminder.FORGET_KEYS] = now + ZERO_KEYS_AFTER

    def on_session_proven(self) -> None:
        """The peer is known to have the new keys: the row of initiations ends."""
        self._due_at.pop(Reminder.RETRANSMIT, None)
        self._trying_since = None

    def on_path_lost(self) -> None:
        """There is nowhere to send: only forgetting goes on."""
        self._trying_since = None
        for reminder in Reminder:
            if reminder is not Reminder.FORGET_KEYS:
                self._due_at.pop(reminder, None)

    def set_persistent_keepalive(self, interval_s: float, now: float) -> None:
        """Change the interval; 0 turns it off."""
        self.persistent_keepalive_s = interval_s
        self._due_at.pop(Reminder.PERSISTENT_KEEPALIVE, None)
        self._on_traversal(now)

    # --- time ---

    def next_timeout(self) -> float | None:
        """Return when `due` has something to say, or None."""
        return min(self._due_at.values(), default=None)

    def due(self, now: float) -> list[Reminder]:
        """Return what is due, each once, and disarm it."""
        expired = [reminder for reminder in Reminder if reminder in self._due_at and self._due_at[reminder] <= now]
        for reminder in expired:
            del self._due_at[reminder]
        return [self._retransmit_or_give_up(now) if r is Reminder.RETRANSMIT else r for r in expired]

    def _retransmit_or_give_up(self, now: float) -> Reminder:
        assert self._trying_since is not None
        if now - self._trying_since < REKEY_ATTEMPT_TIME:
            return Reminder.RETRANSMIT
        self._trying_since = None
        self._due_at.setdefault(Reminder.FORGET_KEYS, now + ZERO_KEYS_AFTER)
        return Reminder.GIVE_UP

    def _on_traversal(self, now: float) -> None:
        if self.persistent_keepalive_s:
            self._due_at[Reminder.PERSISTENT_KEEPALIVE] = now + self.persistent_keepalive_s

    def _jitter(self) -> float:
        return self._rng.uniform(0.0, REKEY_TIMEOUT_JITTER_MAX)
