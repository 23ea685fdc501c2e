"""When an ICE agent does what: towards NetBird's peers as they do, between two of ours quicker.

The numbers between ours, and why:

- In use, a selected pair is checked every second: a dead one is noticed at most a second after it died.
- An answer that is 0.4 s late, beyond the usual round trip, makes it doubtful: long enough for a busy Python process
  at the other end, short enough for doubt within 1.5 s.  Doubt costs little between ours (packets go over both paths).
- Doubtful, it is checked every 0.2 s, and dead after 2 s: ten checks.  With one datagram in five lost, all ten fail
  once in 27,000 doubts, and the remote's own checks, which count as signs of life, must have been lost as well.
- Idle, it is checked every 20 s: 200 idle peers cost 10 checks and 10 answers a second, and WireGuard's keepalives keep
  the NATs' mappings.  Nothing waits for the end of a dead one, and no packet is a sign of life: it is dead after 4 s,
  twenty checks, and so at 28 s at the latest, before consent expires (30 s, RFC 7675 section 5.1).

Towards foreign peers: they give a pair up 6 s after they last heard STUN on it, so nothing is gained by waiting longer,
and nothing is lost by their rule of a check every 2 s (signal spec 5.7).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from transport.ice.candidates import CandidateKind

CHECK_AT_S: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.1, 1.6, 2.4, 3.6, 5.2, 7.2, 9.2, 11.2)
"""When a pair is checked, from its first check on, until it is answered; after the last it has failed.

NetBird's peers stop after 1.6 s.  Going on for longer costs little and finds a remote whose agent was late, or one
behind a filter that its own first checks had still to open.
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits of one agent; all in seconds."""

    pace_s: float  # at least, between two ordinary checks of one agent (Ta, RFC 8445 section 14.2)
    nomination_wait_s: Mapping[CandidateKind, float]  # from the start of checks, for a pair with such a candidate
    renominate: bool  # another pair may be nominated later: a better one, or one that outlives the first
    check_every_s: float  # the selected pair, in use
    check_idle_s: float  # the selected pair, not in use
    answer_wait_s: float  # beyond the round trip: an answer that takes longer is missing
    recheck_s: float  # the selected pair, while an answer is missing
    doubtful_after: int  # missing answers in a row
    dead_after_s: float  # since the first missing answer, with no sign of life either; in use
    dead_idle_s: float  # the same, not in use
    deaf_after_s: float  # the same, though the remote's own checks arrive: it does not hear us
    checking_limit_s: float = 12.0  # without a selected pair: failed (signal spec 5.7)
    beat_s: float = 0.5  # idle pairs are checked on a common beat: one wake-up of the process serves several
    beat_phase_s: float = 0.0  # of this process, drawn: others' beats fall elsewhere


FOREIGN: Final = Timing(
    pace_s=0.05,
    nomination_wait_s={"host": 0.0, "srflx": 0.5, "prflx": 1.0, "relay": 2.0},
    renominate=False,
    check_every_s=2.0,
    check_idle_s=2.0,
    answer_wait_s=0.5,
    recheck_s=0.5,
    doubtful_after=4,
    dead_after_s=6.0,
    dead_idle_s=6.0,
    deaf_after_s=12.0,
)

OURS: Final = Timing(
    pace_s=0.02,
    nomination_wait_s={"host": 0.0, "srflx": 0.0, "prflx": 0.0, "relay": 0.0},
    renominate=True,
    check_every_s=1.0,
    check_idle_s=20.0,
    answer_wait_s=0.4,
    recheck_s=0.2,
    doubtful_after=1,
    dead_after_s=2.0,
    dead_idle_s=4.0,
    deaf_after_s=5.0,
)
