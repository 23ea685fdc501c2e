"""One ICE session with one peer, without I/O (RFC 8445 full agent, one component; RFC 8838, RFC 7675; signal spec 5).

    Waiting --remote known--> Checking --nominated--> Connected <--another pair answers-- Searching
                                 |                     |     \\--our address is gone--------^  |
                                 \\--12 s without-----> Ended <--the pair died, nobody else-----/

Whoever runs it hands in mail, datagrams and timeouts, then sends `datagrams_to_send` and works off `next_event`.
Checks start with the first candidate, whether or not gathering is over, and no end of candidates is waited for.  The
remote's checks are answered in every state, until the agent is let go.  A new session is a new agent.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from transport.ice.candidates import AddressRules, BadCandidate, decode_candidate, forwarded
from transport.ice.checks import Check, Checks, Purpose
from transport.ice.consent import Consent
from transport.ice.events import AgentEnded, IceEvent, IceReport, Outgoing, PairDoubtful, PairProven
from transport.ice.local import LocalCandidates, Mapped
from transport.ice.nomination import FRESH_S, Nomination
from transport.ice.pacer import Pacer, Turns
from transport.ice.pairs import MAX_SIGNALLED, Base, CheckList, Pair
from transport.ice.report import report_of, why_no_pair
from transport.ice.states import Checking, Connected, Ended, IceState, Searching, Waiting
from transport.ice.stun import ROLE_CONFLICT, UNKNOWN_ATTRIBUTE, BindingRequest, BindingSuccess, Peek, peek
from transport.ice.timing import Timing
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint

MAX_EVENTS: Final = 256  # that nobody has taken yet


class IceAgent:
    """Finds and keeps a pair of addresses over which a peer is reached directly."""

    def __init__(
        self,
        local: IceCredentials,
        *,
        controlling: bool,
        timing: Timing,
        rules: AddressRules,
        pacer: Pacer,
        entropy: Callable[[int], bytes],
        rng: random.Random,
    ) -> None:
        self.drops: Counter[str] = Counter()  # what was not taken, by reason
        self.timing = timing
        self.role_switches = 0
        self.state: IceState = Waiting()
        self._rng = rng
        self._checks = Checks(local, controlling=controlling, entropy=entropy)
        self._local = LocalCandidates(local.ufrag, entropy=entropy, drops=self.drops)
        self._list = CheckList(rules, controlling=controlling, drops=self.drops)
        self._nomination = Nomination(timing)
        self._turns = Turns(pacer, timing.pace_s)
        self._early: list[str] = []  # candidates that came before the remote's credentials
        self._in_use = False
        self._outbox: list[Outgoing] = []
        self._events: deque[IceEvent] = deque()

    # --- mail ---

    def add_remote(self, remote: IceCredentials, now: float) -> None:
        """Take the remote's credentials: checks begin."""
        if not isinstance(self.state, Waiting):
            return  # other credentials are another session, and another agent's
        if (refusal := self._checks.refusal_of(remote)) is not None:
            self._end(refusal)
            return
        self._checks.remote = remote
        self.state = Checking(now)
        early, self._early = self._early, []
        for text in early:
            self.add_remote_candidate(text, now)

    def add_remote_candidate(self, text: str, now: float) -> None:
        """Take a candidate of the remote's, as it was signalled; one that comes before its credentials waits."""
        remote = self._checks.remote
        if remote is None:
            self._early.append(text)
            self.drops["too_many_candidates"] += len(self._early[MAX_SIGNALLED:])
            del self._early[MAX_SIGNALLED:]
            return
        try:
            candidate = decode_candidate(text)
        except BadCandidate:
            self.drops["bad_candidate"] += 1
            return
        if candidate.ufrag not in (None, remote.ufrag):
            self.drops["candidate_of_another_session"] += 1
        elif not isinstance(self.state, Ended):
            for each in (candidate, forwarded(candidate)):
                if each is not None:
                    self._list.add_remote(each, each.endpoint, now, keep=self.selected)

    def local_addresses_changed(self, bases: Iterable[Base], mapped: Iterable[Mapped], now: float) -> None:
        """Be reachable at these addresses of ours, and as STUN servers see them, from now on."""
        if isinstance(self.state, Ended):
            return
        kept, found = self._local.update(bases, mapped)
        for event in found:
            self._tell(event)
        self._checks.cids = self._local.cids()
        gone = self._list.set_bases(kept, now)
        if self._nomination.pair in gone:
            self._nomination.withdraw()
        if isinstance(self.state, Connected) and self.state.pair in gone:
            self._lose_address(self.state.pair, now)

    def set_in_use(self, in_use: bool, now: float) -> None:
        """Take note whether the direct path carries traffic: its pair is checked more often then."""
        self._in_use = in_use
        if isinstance(self.state, Connected):
            self.state.consent.set_in_use(in_use, now)

    def path_heard(self, remote: Endpoint, now: float) -> None:
        """Take note of an authenticated WireGuard packet from this endpoint (recovery R13)."""
        if isinstance(self.state, Connected) and self.state.pair.remote.endpoint == remote:
            self.state.consent.heard(now)

    def prove_at(self, at: float) -> None:
        """Check the selected pair at `at`, or sooner, or all anew: something changed outside (recovery R12)."""
        if isinstance(self.state, Connected):
            self.state.consent.ask_at(at)
        elif isinstance(self.state, Checking | Searching):
            self._list.begin(at)  # the next check may be 2 s away, or none be left

    # --- datagrams and time ---

    def receive(
        self, datagram: bytes, source: Endpoint, local: bytes | None, now: float, *, seen: Peek | None = None
    ) -> str | None:
        """Take a STUN message that came to our address `local`.  Returns why it was not taken; None: it was."""
        seen = seen or peek(datagram)
        if seen is None or seen.kind == "indication":  # an indication is signed by nobody, so it says nothing
            reason: str | None = "not_binding" if seen is None else "indication"
        elif seen.kind == "request":
            reason = self._on_request(datagram, source, local, now)
        else:
            reason = self._on_answer(datagram, seen.transaction, source, now)
        if reason is not None:
            self.drops[reason] += 1
        return reason

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        match self.state:
            case Waiting() | Ended():
                return
            case Checking(since) if now >= since + self.timing.checking_limit_s:
                self._end(why_no_pair(self._list, self.timing.checking_limit_s))
                return
            case Searching(until) if now >= until:
                self._end("our address in use is gone, and no other pair answers")
                return
            case Connected(pair, consent):
                self._watch(pair, consent, now)
        if now >= self._nomination.due_at:
            self._nominate(now)
        self._check_next(now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called next; None: never."""
        match self.state:
            case Waiting() | Ended():
                return None
            case Checking(since):
                at = since + self.timing.checking_limit_s
            case Searching(until):
                at = until
            case Connected(_, consent):
                at = consent.next_timeout()
        return min(at, self._nomination.due_at, self._turns.next_at(self._list.next_at()))

    def datagrams_to_send(self) -> list[Outgoing]:
        """Return what to send now, and forget it."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> IceEvent | None:
        """Return the oldest event, or None."""
        return self._events.popleft() if self._events else None

    # --- what it is ---

    @property
    def selected(self) -> Pair | None:
        """The pair in use."""
        return self.state.pair if isinstance(self.state, Connected) else None

    def knows(self, source: Endpoint) -> bool:
        """Tell whether the remote may well be there."""
        return source in self._list.remotes

    def describe(self) -> IceReport:
        """Return what it is and what it tried."""
        return report_of(
            self.state,
            self._list,
            controlling=self._checks.controlling,
            local_candidates=self._local.candidates,
            drops=self.drops,
            role_switches=self.role_switches,
        )

    # --- what arrives ---

    def _on_request(self, datagram: bytes, source: Endpoint, local: bytes | None, now: float) -> str | None:
        request = self._checks.read_request(datagram)
        if isinstance(request, str):
            return request
        if request.unknown:
            self._send(local, source, self._checks.error(request, UNKNOWN_ATTRIBUTE, "Unknown Attribute"))
            return "unknown_attribute"
        if request.role == self._checks.role:
            if self._checks.keeps_role(request):
                self._send(local, source, self._checks.error(request, ROLE_CONFLICT, "Role Conflict"))
                return "role_conflict"
            self._switch_role(now)
        over = isinstance(self.state, Ended)
        pair = None if over else self._list.learn(local, source, request.ids, now, keep=self.selected)
        self._send(local, source, self._checks.success(request, source, pair))
        if pair is not None:
            self._on_checked(pair, request, now)
        return None

    def _on_checked(self, pair: Pair, request: BindingRequest, now: float) -> None:
        """The remote checked this pair."""
        pair.heard += 1
        if request.use_candidate and not self._checks.controlling:
            pair.nominated = True
        if isinstance(self.state, Connected):
            if pair is self.state.pair:
                self.state.consent.heard(now)
                return
            self.state.consent.ask_at(now)  # perhaps the remote has moved
        if pair.state != "succeeded" or now - pair.answered_at > FRESH_S:
            if not pair.triggered:
                pair.begin(now, triggered=True)
        elif pair.nominated:
            self._on_nominated(pair, now)

    def _on_answer(self, datagram: bytes, transaction: bytes, source: Endpoint, now: float) -> str | None:
        found = self._checks.read_answer(datagram, transaction, source, now)
        if isinstance(found, str):
            return found
        check, answer = found
        if isinstance(answer, BindingSuccess):
            self._on_success(check, answer, now)
        else:
            check.pair.error = answer.code
            if answer.code == ROLE_CONFLICT and check.role == self._checks.role:
                self._switch_role(now)
        return None

    def _on_success(self, check: Check, answer: BindingSuccess, now: float) -> None:
        pair = check.pair
        pair.answered += 1
        pair.answered_at, pair.rtt_s, pair.mapped = now, now - check.sent_at, answer.mapped
        if isinstance(self.state, Ended) or self._list.find(pair.base, pair.remote.endpoint) is not pair:
            return  # its address is gone
        pair.state = "succeeded"
        pair.stop()
        match self.state:
            case Connected(selected, consent) if pair is selected:
                was_doubtful = consent.doubtful
                consent.answered(pair.rtt_s, now)
                if was_doubtful:
                    self._stop_checks(pair)
                    self._tell(PairProven(pair.remote.endpoint, pair.rtt_s))
            case Searching():
                self._select(pair, "our address changed", now)
        if check.purpose == "nominate" and pair is self._nomination.pair:
            self._nomination.withdraw()
            self._select(pair, "nominated by us", now)
        if self._checks.controlling:
            self._consider(now)
        elif pair.nominated:
            self._on_nominated(pair, now)

    # --- roles and nomination ---

    def _switch_role(self, now: float) -> None:
        self.role_switches += 1
        self._checks.controlling = not self._checks.controlling
        self._list.reorder(controlling=self._checks.controlling)
        self._nomination.withdraw()
        if self._checks.controlling:
            self._consider(now)

    def _nominate(self, now: float) -> None:
        """Go on with the nomination that is due."""
        if (given_up := self._nomination.give_up()) is not None:
            given_up.fail()
        self._consider(now)

    def _consider(self, now: float) -> None:
        best = next((pair for pair in self._list if pair.state == "succeeded"), None)
        since = self.state.since if isinstance(self.state, Checking) else None
        self._nomination.consider(best, since=since, selected=self.selected, now=now)
        pair = self._nomination.take(now)
        if pair is not None:
            self._check(pair, "nominate", now)

    def _on_nominated(self, pair: Pair, now: float) -> None:
        """As the controlled end, follow a nomination of a pair that works."""
        selected = self.selected
        if selected is None or self.timing.renominate or pair.priority >= selected.priority:
            self._select(pair, "nominated by the remote", now)

    def _select(self, pair: Pair, reason: str, now: float) -> None:
        if pair is self.selected:
            return
        changed = not isinstance(self.state, Checking)
        consent = Consent(self.timing, self._rng, now, rtt_s=pair.rtt_s, in_use=self._in_use)
        self.state = Connected(pair, consent)
        self._stop_checks(pair)
        if self.timing.renominate and self._checks.controlling:
            consent.ask_at(now)  # and so tell the remote once more, as every check of ours does
        self._tell(pair.selection(reason, changed=changed))

    # --- the selected pair ---

    def _watch(self, pair: Pair, consent: Consent, now: float) -> None:
        doubted_since = consent.doubted_since
        for action in consent.handle_timeout(now):
            match action:
                case "check":
                    self._check(pair, "consent", now)
                case "doubtful":
                    self._tell(PairDoubtful(pair.remote.endpoint, consent.doubted_since or now))
                    self._check_others(pair, now)
                case "dead":
                    self._replace(pair, doubted_since or now, now)

    def _replace(self, dead: Pair, doubted_since: float, now: float) -> None:
        """The selected pair died: another takes its place if one has answered since it was doubtful."""
        dead.fail()
        answered = (pair for pair in self._list if pair.state == "succeeded" and pair.answered_at >= doubted_since)
        other = next(answered, None) if self.timing.renominate else None
        if other is not None:
            self._select(other, f"{dead.remote.endpoint} answers no more", now)
        else:
            self._end(f"{dead.remote.endpoint} has not answered for {now - doubted_since:.1f} s")

    def _lose_address(self, pair: Pair, now: float) -> None:
        if not self.timing.renominate:
            self._end(f"our address {pair.base.ip} is gone")
            return
        self.state = Searching(now + self.timing.deaf_after_s)
        self._tell(PairDoubtful(pair.remote.endpoint, now))
        self._check_others(pair, now)

    def _check_others(self, selected: Pair, now: float) -> None:
        if self.timing.renominate:
            self._list.begin(now, besides=selected)

    def _stop_checks(self, selected: Pair) -> None:
        """Check only what could still be better."""
        for pair in self._list:
            pair.nominated = False
            if not self.timing.renominate or pair.priority <= selected.priority:
                pair.stop()

    # --- checks ---

    def _check_next(self, now: float) -> None:
        """Check one pair, if one is due and it is our turn."""
        self._list.expire(now)
        if self._turns.take(self._list.next_at(), now):
            pair = self._list.due(now)
            if pair is not None:
                pair.checked(now)
                self._check(pair, "check", now)

    def _check(self, pair: Pair, purpose: Purpose, now: float) -> None:
        pair.sent += 1
        # Between ours the controlling end's checks of the selected pair name it, so that both use the same.
        names_it = self.timing.renominate and self._checks.controlling and purpose == "consent"
        datagram = self._checks.request(pair, purpose, now, nominate=names_it or purpose == "nominate")
        self._send(pair.base.packed, pair.remote.endpoint, datagram)

    def _end(self, reason: str) -> None:
        was_connected = isinstance(self.state, Connected | Searching)
        self.state = Ended(reason)
        self._nomination.withdraw()
        self._tell(AgentEnded(reason, was_connected, tuple(pair.report() for pair in self._list)))

    def _send(self, local: bytes | None, destination: Endpoint, datagram: bytes) -> None:
        self._outbox.append(Outgoing(local, destination, datagram))

    def _tell(self, event: IceEvent) -> None:
        if len(self._events) < MAX_EVENTS:
            self._events.append(event)
        else:
            self.drops["events"] += 1
