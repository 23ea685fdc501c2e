"""The causes that the mail can name, and which facts of a trouble name each.

A rule looks at the facts of one trouble (explain.py says where it begins and ends) and names its cause, or passes.
What comes from outside (sleep, a process that was killed, another address) goes before what it makes break (links,
paths); of those, the one that broke first.  No rule guesses: where two causes leave the same mail, neither is named.

    cause                    the facts
    operator_reset           ResetPeer, before anything broke
    resumed_from_sleep       OutsideEvent resumed
    same_key_twice           the signal server, or three times the relay server, let go of us for another with our key
    *_process_hung, _killed, _failed   ProcessExited at the supervisor, with or without KillProcess before
    interface_changed        OutsideEvent: our own interfaces, addresses or routes are others
    nat_changed              STUN servers, or our reflexive candidates, show us at another endpoint than before
    both_nats_changed        the same, and the peer's reflexive candidates too
    own_network              relay link and signal link went silent together, and nobody refused the new ones
    relay_unreachable        the link broke, and no new one to that server came up
    relay_restarted          the server closed the link, refused new ones, took one later
    relay_link_half_open     pings on the link went unanswered, a new one was taken at once, the signal link lived on
    remote_moved_relay       the peer's offers name another relay server than before
    remote_nat_changed       the peer's reflexive candidates, or its end of the direct path, are at another address
    direct_one_way           packets came on the direct path while echoes on it went unanswered
    wireguard_dropped        echoes on the direct path went unanswered, STUN checks on it were answered
    direct_path_silent       neither was answered, nothing came on it, and the relay carried on
    remote_interrupted       the peer was silent on every path, or began anew, while our links held
    packets_lost             more than once a probe went unanswered, and the next one was answered on the same path
    signal_restarted         only the signal link broke; it was refused, and came back
    signal_away              only the signal link broke, and did not come back
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from actors.trace.facts import REFLEXIVE, TROUBLES, Fact, FactKind, address_of, seen_from_outside

Cause = Literal[
    "none",  # nothing broke
    "unknown",
    "operator_reset",
    "resumed_from_sleep",
    "same_key_twice",
    "packet_process_hung",
    "packet_process_killed",
    "packet_process_failed",
    "control_process_hung",
    "control_process_killed",
    "control_process_failed",
    "interface_changed",
    "nat_changed",
    "both_nats_changed",
    "own_network",
    "relay_unreachable",
    "relay_restarted",
    "relay_link_half_open",
    "remote_moved_relay",
    "remote_nat_changed",
    "direct_one_way",
    "wireguard_dropped",
    "direct_path_silent",
    "remote_interrupted",
    "packets_lost",
    "signal_restarted",
    "signal_away",
    "direct_found",  # nothing broke; a direct path took over
    "remote_never_answered",  # it was never up: no offer was answered
    "remote_without_relay",  # it was never up: the peer reaches no relay server
    "login_refused",  # it was never up: the relay server refuses our secret or token
]

BEFORE_S, AFTER_S = 8.0, 2.0  # how long before what broke, or after, an event may come that broke it
STUN_S = 30.0  # from a new address of a NAT until STUN servers have told of it
TOGETHER_S = 40.0  # from the one link that is found dead to the other that died with it
SIGNAL_NOTICES_S = 43.0  # a link to the signal server that died is found dead sooner (signal spec 6.4: 30 s and 10 s)
IN_FLIGHT_S = 0.2  # what comes so long after the first doubt was sent after the break
DISPLACED = "replaced: another client registered"
RELAY_CLOSES = 3  # "Close" without a reason, before it says that another has our key
SAID_CLOSE = "the relay server said Close"
SILENT_LINK = ("half-open", "the connection went silent", "went silent", "nothing was heard")
REFUSED = "refused"
ANOTHER_SESSION = "the remote has begun another ICE session"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says."""

    cause: Cause
    because: str  # one clause
    fact: Fact  # the first that says so


@dataclass(frozen=True, slots=True)
class Trouble:
    """The facts of one trouble, those that were known before it, and those that followed."""

    facts: Sequence[Fact]
    before: Sequence[Fact] = ()
    signal_until: float = 0.0  # the link to the signal server is not known to have broken before this

    def all(self, *kinds: FactKind, **fields: Any) -> list[Fact]:
        """Return the facts of these kinds whose fields have these values."""
        return [
            fact
            for fact in self.facts
            if fact.kind in kinds and all(fact.of.get(name) == value for name, value in fields.items())
        ]

    def first(self, *kinds: FactKind, **fields: Any) -> Fact | None:
        """Return the first of them."""
        return next(iter(self.all(*kinds, **fields)), None)

    @property
    def broke(self) -> Fact | None:
        """Return the first thing of the peer's that broke."""
        return next((fact for fact in self.facts if fact.kind in TROUBLES), None)

    @property
    def broke_at(self) -> float:
        """Return when that was, or when the first of all facts was."""
        return (self.broke or self.facts[0]).at

    def near(self, fact: Fact) -> bool:
        """Whether this fact is near enough to what broke to be what broke it."""
        return self.broke is None or -BEFORE_S <= fact.at - self.broke.at <= AFTER_S


Rule = Callable[[Trouble], Verdict | None]


def verdicts(trouble: Trouble) -> tuple[list[Verdict], list[Verdict]]:
    """Return what the rules say: of what broke, the cause first; and of what broke beside it."""
    outside, broken, left, beside = ([v for rule in rules if (v := rule(trouble)) is not None] for rules in RULES)
    # What came from outside made the links and paths break that broke with it.
    return outside or sorted(broken, key=lambda verdict: verdict.fact.at) or left[:1], beside


# --- what comes from outside ---


def _reset(trouble: Trouble) -> Verdict | None:
    fact = trouble.first("reset")
    if fact is None or fact.at > trouble.broke_at:
        return None
    return Verdict("operator_reset", "the operator had the peer recovered", fact)


def _resumed(trouble: Trouble) -> Verdict | None:
    fact = trouble.first("resumed")
    if fact is None or not trouble.near(fact):
        return None
    return Verdict("resumed_from_sleep", f"this machine {fact.of.get('detail')}", fact)


def _same_key(trouble: Trouble) -> Verdict | None:
    displaced = [fact for fact in trouble.all("signal_closed", "signal_failed") if fact.reason.startswith(DISPLACED)]
    closed = [fact for fact in trouble.all("link_closed") if fact.reason == SAID_CLOSE]
    if not displaced and len(closed) < RELAY_CLOSES:
        return None
    return Verdict("same_key_twice", "another agent uses our key", (displaced or closed)[0])


_PROCESSES: dict[str, dict[str, Cause]] = {
    "packet": {
        "hung": "packet_process_hung",
        "killed": "packet_process_killed",
        "failed": "packet_process_failed",
    },
    "control": {
        "hung": "control_process_hung",
        "killed": "control_process_killed",
        "failed": "control_process_failed",
    },
}


def _process(trouble: Trouble) -> Verdict | None:
    for ended in trouble.all("process_ended"):
        process, status = str(ended.of.get("process")), str(ended.of.get("status"))
        kind = _PROCESSES.get(process.partition("-")[0])
        if kind is None or not trouble.near(ended):
            continue
        if trouble.first("process_killed", process=process) is not None:
            return Verdict(kind["hung"], f"our {process} process hung and was restarted", ended)
        how = "killed" if status.startswith("killed") else "failed"
        return Verdict(kind[how], f"our {process} process ended ({status}) and was restarted", ended)
    return None


def _interface(trouble: Trouble) -> Verdict | None:
    for fact in trouble.all("network_changed"):
        if seen_from_outside(str(fact.of.get("detail"))) is None and trouble.near(fact):
            return Verdict("interface_changed", f"this machine's network changed: {fact.of.get('detail')}", fact)
    return None


def _nat(trouble: Trouble) -> Verdict | None:
    ours, theirs = _our_move(trouble), _moved(trouble, "their_candidate")
    if ours is None:
        return None
    if theirs is not None:
        return Verdict("both_nats_changed", f"{ours[0]}, and the peer at {theirs[1]} after {theirs[0]}", ours[1])
    return Verdict("nat_changed", ours[0], ours[1])


def _our_move(trouble: Trouble) -> tuple[str, Fact] | None:
    for fact in trouble.all("network_changed"):
        seen = seen_from_outside(str(fact.of.get("detail")))
        if seen is not None and -BEFORE_S <= fact.at - trouble.broke_at <= STUN_S:
            return f"STUN servers see us at {seen[1]} after {seen[0]}", fact
    moved = _moved(trouble, "our_candidate")
    return None if moved is None else (f"we are seen at {moved[1]} after {moved[0]}", moved[2])


def _moved(trouble: Trouble, kind: FactKind) -> tuple[str, str, Fact] | None:
    """Return where an end was seen from outside before and after, if that differs."""
    before = _reflexive([fact for fact in trouble.before if fact.kind == kind])
    after = _reflexive(trouble.all(kind))
    known = {ip for ip, _ in before}
    new = [(ip, fact) for ip, fact in after if ip not in known]
    if not before or not new or any(ip in known and fact.at > new[0][1].at for ip, fact in after):
        return None  # or it is seen at both in turn
    return before[-1][0], new[0][0], new[0][1]


def _reflexive(facts: Sequence[Fact]) -> list[tuple[str, Fact]]:
    found = [(address_of(str(fact.of.get("candidate"))), fact) for fact in facts]
    return [(address[1], fact) for address, fact in found if address is not None and address[0] in REFLEXIVE]


# --- links ---


def _own_network(trouble: Trouble) -> Verdict | None:
    relay, signal = trouble.first("link_closed"), trouble.first("signal_closed")
    if relay is None or signal is None or not (fell_silent(relay) and fell_silent(signal)):
        return None
    if abs(relay.at - signal.at) > TOGETHER_S:
        return None
    if any(REFUSED in fact.reason for fact in trouble.all("link_failed", "signal_failed")):
        return None
    first = min(relay, signal, key=lambda fact: fact.at)
    return Verdict("own_network", "the links to the relay and signal servers went silent together", first)


def _relay(trouble: Trouble) -> Verdict | None:
    if (own := _own_network(trouble)) is not None:
        return own
    for closed in trouble.all("link_closed"):
        if closed.reason == SAID_CLOSE and len(trouble.all("link_closed", reason=SAID_CLOSE)) >= RELAY_CLOSES:
            continue
        verdict = _relay_link(trouble, closed)
        if verdict is not None:
            return verdict
    return None


def _relay_link(trouble: Trouble, closed: Fact) -> Verdict | None:
    relay = closed.of.get("relay")
    later = [fact for fact in trouble.facts if fact.at > closed.at and fact.of.get("relay") == relay]
    failed = [fact for fact in later if fact.kind == "link_failed"]
    opened = next((fact for fact in later if fact.kind == "link_opened"), None)
    if opened is None:
        if not failed and not trouble.all("link_opened"):
            return None  # it may come up yet
        return Verdict("relay_unreachable", f"{relay} is not reached any more", closed)
    if fell_silent(closed):
        if any(fact.at < opened.at for fact in failed):
            return Verdict("relay_unreachable", f"{relay} was not reached for {opened.at - closed.at:.1f} s", closed)
        return _half_open(trouble, closed)
    if any(REFUSED in fact.reason for fact in failed if fact.at < opened.at):
        return Verdict("relay_restarted", f"{relay} closed the link, and took none for a while", closed)
    return None  # a router between may have reset it


def _half_open(trouble: Trouble, closed: Fact) -> Verdict | None:
    """The signal link is the witness: had our network changed, it would have gone silent too.

    It was heard since, or it was not found dead in all the time that this takes, and nothing else broke.
    """
    heard = any(fact.at > trouble.broke_at for fact in trouble.all("signal_heard"))
    alone = not trouble.all("network_changed", "ice_lost") and trouble.first("path_dead", path="direct") is None
    lived = alone and trouble.signal_until >= closed.at + SIGNAL_NOTICES_S
    if not (heard or lived) or trouble.first("signal_closed") is not None:
        return None
    return Verdict("relay_link_half_open", f"only the link to {closed.of.get('relay')} went silent", closed)


def fell_silent(closed: Fact) -> bool:
    """Whether this link broke because nothing came any more: then it may have been dead for a while."""
    return any(sign in closed.reason for sign in SILENT_LINK)


# --- the peer, and the paths to it ---


def _remote_moved(trouble: Trouble) -> Verdict | None:
    before = [url for fact in trouble.before if (url := _relay_of(fact))]
    after = [(url, fact) for fact in trouble.facts if (url := _relay_of(fact))]
    new = next(((url, fact) for url, fact in after if before and url != before[-1]), None)
    if new is None:
        return None
    return Verdict("remote_moved_relay", f"the peer moved from relay {before[-1]} to {new[0]}", new[1])


def _relay_of(fact: Fact) -> str:
    if fact.kind != "offer":
        return ""
    return str((fact.of.get("description") or {}).get("relay_url") or "")


def _remote_nat(trouble: Trouble) -> Verdict | None:
    """Where it was before does not answer any more: else there may be two of it."""
    moved = _moved(trouble, "their_candidate")
    doubts = [fact for fact in trouble.all("path_doubtful", "ice_doubtful") if ANOTHER_SESSION not in fact.reason]
    if moved is None or not any(fact.at <= moved[2].at for fact in doubts):
        return None
    return Verdict("remote_nat_changed", f"the peer is seen at {moved[1]} after {moved[0]}", moved[2])


def _direct(trouble: Trouble) -> Verdict | None:
    """The direct path broke, and the relayed one carried on: what breaks both is no matter of the direct path."""
    doubted = _direct_doubt(trouble)
    dead = [*trouble.all("path_dead", path="direct"), *trouble.all("ice_lost")]
    if doubted is None or not dead or not _relay_carried_on(trouble, doubted) or _remote_nat(trouble) is not None:
        return None
    died = min(dead, key=lambda fact: fact.at)
    if any(doubted.at < fact.at <= died.at for fact in trouble.all("session", "echoed", path="direct")):
        return None  # the way there and back works again
    heard = [
        fact
        for fact in trouble.all("heard", path="direct")
        if doubted.at + IN_FLIGHT_S < float(fact.of.get("heard_at", fact.at)) <= died.at
    ]
    stun = [fact for fact in trouble.all("ice_doubtful") if fact.at <= died.at]
    if heard and stun:
        return Verdict("direct_one_way", "the peer's packets came on the direct path, ours did not get there", doubted)
    if not stun and died.kind == "path_dead":
        return Verdict("wireguard_dropped", "WireGuard's packets are lost on the direct path, STUN's are not", doubted)
    if stun:
        return Verdict("direct_path_silent", "nothing came on the direct path any more, the relay carried on", doubted)
    return None


def _direct_doubt(trouble: Trouble) -> Fact | None:
    doubts = [*trouble.all("path_doubtful", "path_dead", path="direct"), *trouble.all("ice_doubtful", "ice_lost")]
    return min(doubts, key=lambda fact: fact.at, default=None)


def _relay_carried_on(trouble: Trouble, doubted: Fact) -> bool:
    broken = [*trouble.all("link_closed", "relay_lost", "peer_gone"), *trouble.all("path_dead", path="relayed")]
    until = min((fact.at for fact in broken if fact.at > doubted.at), default=float("inf"))
    heard = trouble.all("heard", path="relayed")
    return any(doubted.at < float(fact.of.get("heard_at", fact.at)) and fact.at < until for fact in heard)


def _remote_interrupted(trouble: Trouble) -> Verdict | None:
    signal = trouble.first("signal_closed")
    if trouble.all("link_closed", "network_changed") or (signal is not None and fell_silent(signal)):
        return None
    if (lost := trouble.first("peer_gone") or trouble.first("path_dead", path="relayed")) is not None:
        return Verdict("remote_interrupted", "nothing came from the peer on any path, while our own links held", lost)
    anew = next((fact for fact in trouble.all("ice_lost", "ice_doubtful") if ANOTHER_SESSION in fact.reason), None)
    if anew is None or trouble.first("path_dead") is not None:
        return None
    return Verdict("remote_interrupted", "the peer began another session, and our own links held", anew)


def _lossy(trouble: Trouble) -> Verdict | None:
    doubts = trouble.all("path_doubtful", "ice_doubtful")
    ends = trouble.all("path_dead", "path_lost", "relay_lost", "ice_lost", "link_closed", "peer_gone")
    proofs = [fact.at for fact in trouble.all("path_proven")]
    again = [fact for fact in doubts if any(doubts[0].at < at < fact.at for at in proofs)]  # one may be anything
    if ends or not again or max(proofs) < doubts[-1].at:
        return None
    return Verdict("packets_lost", "again and again a probe went unanswered, and the next one was answered", doubts[0])


def _signal(trouble: Trouble) -> Verdict | None:
    closed = trouble.first("signal_closed")
    if closed is None or fell_silent(closed):
        return None
    later = [fact for fact in trouble.facts if fact.at > closed.at]
    if not any(fact.kind == "signal_opened" for fact in later):
        if any(fact.kind == "signal_failed" for fact in later):
            return Verdict("signal_away", "the signal server is not reached any more", closed)
        return None
    if any(
        REFUSED in fact.reason or "nothing listens" in fact.reason for fact in later if fact.kind == "signal_failed"
    ):
        return Verdict("signal_restarted", "the signal server closed the link, and took none for a while", closed)
    return None


RULES: tuple[tuple[Rule, ...], ...] = (
    (_reset, _resumed, _same_key, _process, _interface, _nat),
    (_relay, _remote_moved, _remote_nat, _direct),  # which of them began it, time tells
    (_remote_interrupted, _lossy),  # where nothing else is to blame
    (_signal,),  # paths live without it
)
