"""What the mail says that bears on one peer's path: records of all processes -> facts in plain words, in order of time.

Only what was delivered counts, and each fact is taken where one actor alone hears of it, so that it is told once.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.addresses import AGENT, HOST, PEERS, RELAYS, SIGNAL
from actors.trace.record import Record, fields_of
from config.keys import PublicKey

FactKind = Literal[
    "path_doubtful",
    "path_dead",
    "path_proven",
    "path_lost",
    "relay_ready",
    "relay_lost",
    "peer_gone",  # the relay server says that the remote left it
    "ice_doubtful",
    "ice_lost",
    "ice_proven",
    "started",  # the peer's actors began
    "heard",  # an authenticated packet on a path
    "session",  # a WireGuard handshake was completed
    "echoed",  # an echo of the watcher's, or of `homing ping`, came back
    "offer",  # an offer or answer of the remote's
    "their_view",  # what the remote says that it heard of us, where that is a while ago
    "our_candidate",
    "their_candidate",
    "link_closed",
    "link_failed",  # could not be opened
    "link_opened",
    "signal_closed",
    "signal_failed",
    "signal_opened",
    "signal_heard",  # anything from anybody: the link works
    "network_changed",
    "resumed",
    "reset",
    "reloaded",
    "quarantined",
    "process_inspected",
    "process_killed",  # by our supervisor, because it hung
    "process_ended",
    "process_ready",
]

TROUBLES: frozenset[FactKind] = frozenset(
    {"path_doubtful", "path_dead", "path_lost", "relay_lost", "peer_gone", "ice_doubtful", "ice_lost"}
)
"""Something of this peer's broke."""

EVENTS: frozenset[FactKind] = frozenset(
    {"link_closed", "signal_closed", "network_changed", "resumed", "reset", "process_ended", "process_killed"}
)
"""Something of the node's broke, or changed."""

UNTOLD: frozenset[FactKind] = frozenset(
    {"started", "heard", "session", "echoed", "offer", "signal_heard", "our_candidate", "their_candidate"}
)
"""Evidence that is no news to who reads an explanation."""

UNHEARD_S = 2.0  # the remote did not hear us for so long: that is worth telling

CANDIDATE = re.compile(r"(?:candidate:)?\S+ \d+ \w+ \d+ (?P<ip>\S+) (?P<port>\d+) typ (?P<kind>\w+)")
REFLEXIVE = ("srflx", "prflx")
SEEN_FROM_OUTSIDE = re.compile(r"\S+ looks like (?P<after>\S+) from outside, after (?P<before>\S+)")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened."""

    at: float
    kind: FactKind
    text: str
    process: str
    id: int  # of the message that says so
    of: Mapping[str, Any] = field(default_factory=dict)  # the message's fields; "relay": URL of the link it is about

    @property
    def reason(self) -> str:
        """Return why, as the message says it."""
        return str(self.of.get("reason", ""))


def facts_about(peer: PublicKey, records: Iterable[Record]) -> list[Fact]:
    """Return the facts that bear on this peer, in the order of time."""
    own = f"peer/{peer}/"
    urls: dict[int, str] = {}  # of the relay links
    found: list[Fact] = []
    for record in sorted(records, key=lambda record: (record.at, record.id)):
        if record.kind != "delivered":
            continue
        of_peer = record.to.startswith(own)
        told = _TELLERS.get((record.to.removeprefix(own) if of_peer else record.to, record.tag))
        if told is None and record.tag != "open_link":
            continue
        fields = _sound(fields_of(record))
        if record.tag in {"open_link", "link_opened"} and "link" in fields:
            urls[fields["link"]] = str(fields.get("url") or fields.get("instance_url"))
        if told is None or (not of_peer and fields.get("peer", peer) != peer and record.to != SIGNAL.actor):
            continue
        fields["relay"] = urls.get(fields.get("link", 0), "a relay server")
        for kind, text in told(record, fields, peer):
            found.append(Fact(record.at, kind, text, record.process, record.id, fields))
    return found


FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("reason", "kind", "detail", "candidate", "process", "status", "url", "instance_url", "peer"), str),
    "link": int,
    "heard_at": (int, float),
    "description": dict,
    "path": (str, dict),
}


def _sound(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those that another version means otherwise."""
    return {name: value for name, value in fields.items() if isinstance(value, FIELD_TYPES.get(name, object))}


Told = Iterator[tuple[FactKind, str]]
Teller = Callable[[Record, dict[str, Any], PublicKey], Told]


def address_of(candidate: str) -> tuple[str, str] | None:
    """Return kind and IP of a candidate as it is signalled (signal spec 5.5), or None."""
    found = CANDIDATE.match(candidate)
    return (found["kind"], found["ip"]) if found is not None else None


def seen_from_outside(detail: str) -> tuple[str, str] | None:
    """Return the endpoint that STUN servers saw before, and the one they see now; None: another event."""
    found = SEEN_FROM_OUTSIDE.fullmatch(detail)
    return (found["before"], found["after"]) if found is not None else None


# --- one message each ---


def _way(of: dict[str, Any]) -> str:
    return "the relayed path" if of.get("path") == "relayed" else "the direct path"


def _path_doubtful(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "path_doubtful", f"{_way(of)} became doubtful: {of.get('reason')}"


def _path_dead(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "path_dead", f"{_way(of)} was given up: {of.get('reason')}"


def _path_proven(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "path_proven", f"{_way(of)} was proven"


def _path_lost(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "path_lost", f"no path was left: {of.get('reason')}"


def _relay_ready(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "relay_ready", f"a relayed connection over {of.get('url')} was open"


def _relay_lost(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "relay_lost", f"the relayed connection was lost: {of.get('reason')}"


def _relayed_closed(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    if of.get("cause") == "peer_gone":
        yield "peer_gone", f"the relay server said that the peer had left: {of.get('reason')}"


def _ice_doubtful(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "ice_doubtful", f"STUN checks of the direct path went unanswered: {of.get('reason')}"


def _ice_lost(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    if of.get("generation"):
        yield "ice_lost", f"the direct path was lost: {of.get('reason')}"


def _ice_pair_proven(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    path = of.get("path")
    if isinstance(path, dict):
        yield "ice_proven", f"STUN found a direct path to {path.get('ip')}:{path.get('port')} ({of.get('remote_kind')})"


def _heard(_record: Record, _of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "heard", ""


def _session(_record: Record, _of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "session", ""


def _echoed(_record: Record, _of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "echoed", ""


def _started(_record: Record, _of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "started", ""


def _our_candidate(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "our_candidate", f"we may be reached at {_place(of)}"


def _signalled(record: Record, of: dict[str, Any], peer: PublicKey) -> Told:
    yield "signal_heard", ""
    if of.get("peer") == peer:
        if record.tag == "candidate_received":
            yield "their_candidate", f"the peer may be reached at {_place(of)}"
        else:
            description = of.get("description") or {}
            yield "offer", f"the peer's relay server is {description.get('relay_url') or 'none'}"
            if view := _view(description.get("homing") or {}):
                yield "their_view", view


def _view(homing: dict[str, Any]) -> str:
    """Return when the remote, one of ours, heard us last; empty: lately, or it does not say."""
    ages = {"directly": homing.get("heard_direct_ms"), "over the relay": homing.get("heard_relayed_ms")}
    known = {way: age_ms / 1000 for way, age_ms in ages.items() if isinstance(age_ms, int)}
    if not known or min(known.values()) < UNHEARD_S:
        return ""
    return f"the peer had last heard us {', '.join(f'{age_s:.1f} s before {way}' for way, age_s in known.items())}"


def _place(of: dict[str, Any]) -> str:
    found = address_of(str(of.get("candidate")))
    return f"{found[1]} ({found[0]})" if found is not None else "an address that cannot be read"


def _link_opened(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "link_opened", f"the link to {of['relay']} was up"


def _link_closed(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    if of.get("reason") == "closed by us":
        return
    if of.get("was_open"):
        yield "link_closed", f"the link to {of['relay']} broke: {of.get('reason')}"
    else:
        yield "link_failed", f"no link to {of['relay']}: {of.get('reason')}"


def _signal_opened(_record: Record, _of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "signal_opened", "the signal server was connected"


def _signal_closed(record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    if record.before == "Connected":
        yield "signal_closed", f"the link to the signal server broke: {of.get('reason')}"
    else:
        yield "signal_failed", f"no link to the signal server: {of.get('reason')}"


def _outside(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    match of.get("kind"):
        case "network_changed":
            yield "network_changed", f"the network of this machine changed: {of.get('detail')}"
        case "resumed":
            yield "resumed", f"this machine resumed from sleep: {of.get('detail')}"
        case "configuration_changed":
            yield "reloaded", "the configuration was read again"
        case _:
            pass  # the links tell of themselves


def _reset(_record: Record, _of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "reset", "the operator had this peer recovered (homing reset)"


def _quarantined(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "quarantined", f"quarantined: {of.get('reason')}"


def _inspected(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "process_inspected", f"the {of.get('process')} process did not answer: {of.get('activity')}"


def _killed(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "process_killed", f"the {of.get('process')} process hung, and was killed"


def _ended(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "process_ended", f"the {of.get('process')} process ended: {of.get('status')}"


def _ready(_record: Record, of: dict[str, Any], _peer: PublicKey) -> Told:
    yield "process_ready", f"the {of.get('process')} process was up again"


_TELLERS: dict[tuple[str, str], Teller] = {
    ("conn", "path_doubtful"): _path_doubtful,
    ("conn", "path_dead"): _path_dead,
    ("conn", "path_proven"): _path_proven,
    ("guard", "path_lost"): _path_lost,
    ("conn", "relay_ready"): _relay_ready,
    ("conn", "relay_lost"): _relay_lost,
    ("relay_worker", "relayed_closed"): _relayed_closed,
    ("conn", "ice_doubtful"): _ice_doubtful,
    ("conn", "ice_lost"): _ice_lost,
    ("ice_worker", "ice_pair_proven"): _ice_pair_proven,
    ("wg_watcher", "path_heard"): _heard,
    ("wg_watcher", "handshake_completed"): _session,
    ("wg_watcher", "echo_answered"): _echoed,
    (PEERS.actor, "peer_started"): _started,
    ("ice_worker", "local_candidate_found"): _our_candidate,
    ("conn", "reset_peer"): _reset,
    ("guard", "peer_quarantined"): _quarantined,
    (SIGNAL.actor, "offer_received"): _signalled,
    (SIGNAL.actor, "answer_received"): _signalled,
    (SIGNAL.actor, "candidate_received"): _signalled,
    (SIGNAL.actor, "signal_connected"): _signal_opened,
    (SIGNAL.actor, "signal_disconnected"): _signal_closed,
    (RELAYS.actor, "link_opened"): _link_opened,
    (RELAYS.actor, "link_closed"): _link_closed,
    (PEERS.actor, "outside_event"): _outside,
    (AGENT.actor, "process_inspected"): _inspected,
    (HOST.actor, "kill_process"): _killed,
    (AGENT.actor, "process_exited"): _ended,
    (AGENT.actor, "process_ready"): _ready,
}
"""Whose mail of which type tells what; a peer's actors are named by their role."""
