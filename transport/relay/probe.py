"""Is the link half-open?  A client's own probe of its link to the relay server.

A TCP connection whose packets are dropped looks alive for minutes.  So the client pings (a WebSocket ping, which any
server answers) when it has heard nothing for a while, and calls the link dead after two pings without an answer:

    heard --something sent, 1 s of silence--> ping --1 s--> ping --1 s--> dead        in use: 3 s
    heard ------------15 s of silence-------> ping --5 s--> ping --5 s--> dead        idle: 25 s
    hint that it is gone ---------------> ping --0.3 s--> ping --0.3 s--> dead    at once: 0.6 s, or four round trips

Anything heard begins anew.  Who looks too late, after a sleep, asks once more before it judges.

A link that loses packets falls silent too, while TCP repeats what was lost.  Where the transport shows its signs, they
tell the two apart:

    nothing came, not even an acknowledgement of what is out, for 1.5 s (idle 5 s, hinted at 0.6 s)    --> dead
    segments come, and none acknowledges what is out: it does not arrive, for 1.5 s (idle 5 s)         --> dead
    either, of a link that lost packets just before                                    for 7 s         --> dead
    acknowledgements come, and no answer                        as above: a server that stands still   --> dead
    the same, of a link that loses packets                                             for 30 s        --> dead

TCP repeats 0.2, 0.6, 1.4, 3.0, 6.2 s after it last heard, or sooner where it was asked to (transport/drivers/
tcp_repeats.py).  At 20 % loss each way an attempt comes to nothing with p = 0.36, and what the other end repeats
meanwhile is lost with p = 0.2: six attempts of both are one silence in 10^7.
"""

from math import inf
from typing import Final, Literal

from transport.relay.signs import LossWatch, ReadSigns, Signs, no_signs

IN_USE_SILENCE_S: Final = 1.0
IDLE_SILENCE_S: Final = 15.0
IN_USE_ANSWER_S: Final = 1.0
IDLE_ANSWER_S: Final = 5.0
HURRIED_ANSWER_S: Final = 0.3  # or two round trips
UNKNOWN_ROUND_TRIP_S: Final = 0.25
MAX_MISSED: Final = 2
LATE_S: Final = 1.0  # a timer later than this slept or was starved, and what was answered meanwhile is not read yet

UNHEARD_S: Final = 1.5  # or four round trips
LOSSY_UNHEARD_S: Final = 7.0
LOSSY_SILENCE_S: Final = 30.0
LOOK_EVERY_S: Final = 2.0  # while the link is in use
WELL_S: Final = 0.25  # what was sent so short a time ago need not be answered yet
TICK_S: Final = 0.02  # how exact the kernel's times are

Verdict = Literal["ping", "dead"]


class LinkProbe:
    """When to ping, and when to give the link up."""

    def __init__(self, now: float, signs: ReadSigns = no_signs) -> None:
        """`signs` is read when something is due, and every 2 s of use."""
        first = signs()
        self._signs = signs
        self._loss = LossWatch(first) if first is not None else None
        self._acknowledged_len = first.acknowledged_len if first is not None else 0
        self._arrived_at = now  # something of ours did, or nothing was out, or the other end spoke
        self._look_at: float | None = None
        self._heard_at = now
        self._sent_at: float | None = None  # first data sent since something was heard: the link is in use
        self._pinged_at: float | None = None
        self._missed = 0
        self._hurried_at: float | None = None  # something outside said then that the link may be gone
        self._check_at: float | None = None  # when the signs may say that it is dead
        self._usual_s = UNKNOWN_ROUND_TRIP_S  # round trip
        self.rtt_s: float | None = None  # of the last answered ping
        self.due_at = now + IDLE_SILENCE_S
        """When `handle_timeout` should be called next."""

    def sent(self, now: float) -> None:
        """Call when data leaves on the link."""
        if self._sent_at is None:
            self._sent_at = now
            if self._loss is not None and self._look_at is None:
                self._look_at = now + LOOK_EVERY_S
            self._schedule()

    def logged_in(self, took_s: float) -> None:
        """Call when the server has answered our login: a round trip takes no longer than that."""
        self._usual_s = took_s

    def hurry(self, now: float) -> None:
        """Call when something outside says that the link may be gone: ping now, and do not wait for long."""
        if self._hurried_at is not None:
            return  # the pings are out
        self._hurried_at, self._pinged_at, self._missed, self.due_at = now, None, 0, now

    def heard(self, now: float) -> None:
        """Call when anything arrives on the link."""
        self._heard_at = self._arrived_at = now
        self._sent_at, self._pinged_at, self._missed = None, None, 0
        self._hurried_at = self._check_at = None
        self.due_at = now + IDLE_SILENCE_S
        if self._look_at is not None:
            self.due_at = min(self.due_at, self._look_at)

    def pong(self, now: float) -> None:
        """Call when a ping is answered."""
        if self._pinged_at is not None:
            self._usual_s = self.rtt_s = now - self._pinged_at
        self.heard(now)

    def handle_timeout(self, now: float) -> Verdict | None:
        """Return what is due: to send a ping, or to close the link."""
        if now < self.due_at:
            return None
        signs = self._signs()
        if signs is None or self._loss is None:
            return self._ask_alone(now)
        return self._judge(signs, self._loss, now)

    @property
    def lossy(self) -> bool:
        """Whether the link lost packets lately."""
        return self._loss is not None and self._loss.lossy

    def silence_s(self, now: float) -> float:
        """Return for how long nothing was heard."""
        return now - self._heard_at

    # --- by pings alone ---

    def _ask_alone(self, now: float) -> Verdict | None:
        self._loss = self._look_at = self._check_at = None  # nothing is shown, or not any more
        if now >= self._ask_at():
            return self._ask(now)
        self._schedule()
        return None

    def _ask(self, now: float) -> Verdict:
        if self._pinged_at is not None and now <= self.due_at + LATE_S:
            self._missed += 1
            if self._missed == MAX_MISSED:
                return "dead"
        self._pinged_at = now
        self._schedule()
        return "ping"

    # --- by the transport's signs, and pings ---

    def _judge(self, signs: Signs, loss: LossWatch, now: float) -> Verdict | None:
        if self._hurried_at is not None and signs.heard_s < now - self._hurried_at - TICK_S:
            self._hurried_at = None  # the other end is there
        left_s = self._left_s(signs, loss, now)
        if left_s <= TICK_S:
            return "dead"
        self._check_at = now + left_s if left_s < inf else None
        if self._look_at is not None and now >= self._look_at:
            self._look_at = None
            if self._sent_at is None or now - self._sent_at < WELL_S:
                loss.look(signs)
        verdict = None
        if self._missed < MAX_MISSED and now >= self._ask_at():
            verdict = self._ask(now)
        if self._missed == MAX_MISSED:
            # No ping is answered: the other end stands still, or we wait for what is repeated.
            if now >= self._heard_at + LOSSY_SILENCE_S or not (self._unheard_s(signs, now) or loss.loses(signs)):
                return "dead"
            verdict, again_at = None, now + IN_USE_ANSWER_S
            self._check_at = again_at if self._check_at is None else min(self._check_at, again_at)
        self._schedule()
        return verdict

    def _left_s(self, signs: Signs, loss: LossWatch, now: float) -> float:
        """Return after how long its silence, or what has become of what is out, will say that the link is dead."""
        if not signs.in_flight or signs.acknowledged_len > self._acknowledged_len:
            self._acknowledged_len, self._arrived_at = signs.acknowledged_len, now
        unheard_s, left_s = self._unheard_s(signs, now), inf
        if unheard_s:
            hurried = self._hurried_at is not None and not loss.lossy
            left_s = (2 * self._hurried_answer_s() if hurried else self._patience_s(loss)) - unheard_s
        if signs.in_flight:
            left_s = min(left_s, max(self._arrived_at, self._out_at(now)) + self._patience_s(loss) - now)
        return left_s

    def _unheard_s(self, signs: Signs, now: float) -> float:
        """Return for how long something is out of which nothing was heard, not even that it arrived."""
        if not signs.waiting:
            return 0.0
        out_at = self._hurried_at if self._hurried_at is not None else self._out_at(now)
        return max(min(signs.heard_s, now - out_at), 0.0)

    def _out_at(self, now: float) -> float:
        """Return since when an answer may be expected."""
        return min((at for at in (self._sent_at, self._pinged_at) if at is not None), default=now)

    def _patience_s(self, loss: LossWatch) -> float:
        if loss.lossy:
            return LOSSY_UNHEARD_S
        return max(IDLE_ANSWER_S if self._sent_at is None else UNHEARD_S, 4 * self._usual_s)

    # --- when ---

    def _schedule(self) -> None:
        ask_at = self._ask_at() if self._missed < MAX_MISSED else None
        self.due_at = min(at for at in (ask_at, self._look_at, self._check_at) if at is not None)

    def _ask_at(self) -> float:
        """Return when a ping is due, or another."""
        since = self._heard_at if self._pinged_at is None else self._pinged_at
        at = since + (IDLE_SILENCE_S if self._pinged_at is None else IDLE_ANSWER_S)
        if self._sent_at is not None:
            in_use_s = IN_USE_SILENCE_S if self._pinged_at is None else IN_USE_ANSWER_S
            at = min(at, max(since, self._sent_at) + in_use_s)
        if self._hurried_at is not None:
            since = self._hurried_at if self._pinged_at is None else since
            at = min(at, since + (0.0 if self._pinged_at is None else self._hurried_answer_s()))
        return at

    def _hurried_answer_s(self) -> float:
        return max(HURRIED_ANSWER_S, 2 * self._usual_s)
