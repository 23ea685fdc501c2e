"""Which cause `homing why` may name after each scenario: right, unknown, or wrong.

It is asked at both ends, some time after the fault: STUN servers tell of a new address after 15 s; that the signal link
died with the relay link, so that it was the network and not the server, is found out after 40 s at the latest.
Silence is never wrong: what leaves no certain mail is `unknown`, what nobody felt is `none`.
"""

from dataclasses import dataclass
from typing import Literal

from actors.trace.causes import Cause
from actors.trace.explain import Explanation

Judged = Literal["right", "unknown", "wrong"]
Causes = frozenset[str]

SOON_S, LATE_S = 22.0, 62.0  # from the fault, or its end, to the question
BEFORE_S = 7.0  # what began so long before the fault belongs to it: some have another fault 5 s before theirs


@dataclass(frozen=True, slots=True)
class Expected:
    """What may be said."""

    there: Causes  # at the end where it broke
    beyond: Causes  # at the other
    ends: tuple[str, ...] = ("alice",)  # where it broke
    asked_after_s: float = SOON_S


@dataclass(frozen=True, slots=True)
class Blamed:
    """What was said, and what that is worth: one end that knows is enough, one that errs too much."""

    judged: Judged
    causes: tuple[str, ...]  # of each end


def causes(*names: Cause) -> Causes:
    """Return some causes."""
    return frozenset(names)


ANY_END = causes("remote_interrupted", "remote_nat_changed", "direct_path_silent")
MOVED = causes("nat_changed", "own_network")
UNFELT = causes("none")
BOTH = ("alice", "bob")
# The laboratory makes an event of the network by another address on an interface.
EVENT = causes("none", "interface_changed")

# The longest beginning of a scenario's name that is here counts.
EXPECTED: dict[str, Expected] = {
    "S0/": Expected(MOVED, ANY_END),
    "S0/flushed": Expected(MOVED, ANY_END, asked_after_s=LATE_S),
    "S1/": Expected(MOVED, ANY_END),
    "S1/quic": Expected(MOVED | UNFELT, ANY_END | UNFELT),
    "S2/": Expected(MOVED, ANY_END),
    "S3/": Expected(MOVED | causes("both_nats_changed"), UNFELT, BOTH),
    "S4/": Expected(causes("relay_link_half_open"), ANY_END),
    "S4/standby": Expected(causes("relay_link_half_open"), ANY_END, asked_after_s=LATE_S),
    "S5/": Expected(causes("relay_restarted"), UNFELT, BOTH),
    "S5/away": Expected(causes("relay_restarted", "relay_unreachable"), UNFELT, BOTH),
    "S6/used-down": Expected(causes("relay_unreachable", "remote_moved_relay"), UNFELT, BOTH),
    "S6/other-down": Expected(UNFELT | causes("relay_unreachable"), UNFELT, BOTH),
    "S7/": Expected(UNFELT, UNFELT, BOTH),
    "S7/none": Expected(causes("relay_unreachable"), causes("remote_without_relay"), ("bob",)),
    "S8/to-alice": Expected(causes("direct_path_silent"), causes("direct_one_way")),
    "S8/to-bob": Expected(causes("direct_path_silent"), causes("direct_one_way"), ("bob",)),
    "S8/cut": Expected(causes("direct_path_silent"), UNFELT, BOTH),
    "S9/": Expected(causes("wireguard_dropped"), UNFELT, BOTH),
    "S9/to-alice-idle": Expected(causes("wireguard_dropped"), causes("remote_interrupted")),
    "S9/to-bob-idle": Expected(causes("wireguard_dropped"), causes("remote_interrupted"), ("bob",)),
    "S10/": Expected(causes("direct_found", "interface_changed"), causes("direct_found", "none")),
    "S11/": Expected(causes("signal_restarted"), UNFELT, BOTH),
    "S12/relay-restarted": Expected(causes("relay_restarted"), UNFELT, BOTH),
    "S12/direct-cut": Expected(causes("direct_path_silent"), UNFELT, BOTH),
    "S12/new-address": Expected(MOVED, ANY_END),
    "S13/": Expected(EVENT, EVENT, BOTH),
    "S14/": Expected(EVENT, EVENT, BOTH),
    "S15/": Expected(causes("wireguard_dropped", "relay_restarted"), UNFELT, BOTH),
    "S16/": Expected(causes("resumed_from_sleep"), ANY_END),
    "S16/1s-": Expected(causes("resumed_from_sleep", "none", "remote_interrupted"), ANY_END),
    "S17/": Expected(causes("interface_changed", "nat_changed"), ANY_END),
    "S18/": Expected(UNFELT, UNFELT, BOTH),
    "S19/packet-killed": Expected(causes("packet_process_killed"), ANY_END),
    "S19/packet-hung": Expected(causes("packet_process_hung"), ANY_END),
    "S19/control-killed": Expected(causes("control_process_killed"), ANY_END),
    "S19/control-hung": Expected(causes("control_process_hung"), ANY_END),
    "S20/": Expected(causes("packets_lost", "none"), causes("packets_lost")),
    "S21/": Expected(causes("same_key_twice"), ANY_END),
    "S22/": Expected(EVENT, EVENT, BOTH),
    "S23/home-moved": Expected(causes("relay_unreachable"), causes("remote_moved_relay"), ("bob",)),
    "S23/wall-clock": Expected(UNFELT, UNFELT, BOTH),
}


def said(found: Explanation, since: float) -> tuple[str, ...]:
    """Return the cause of each trouble since then that an end names, the newest first."""
    recent = [one.cause for one in found.earlier if one.began_at >= since - BEFORE_S]
    if found.last is not None and found.last.began_at < since - BEFORE_S and found.cause == found.last.cause:
        return ("none",)
    return (found.cause, *recent)


def expected_of(name: str) -> Expected:
    """Return what may be said after a scenario."""
    return EXPECTED[max((key for key in EXPECTED if name.startswith(key)), key=len)]


def judge(name: str, by_end: dict[str, tuple[str, ...]]) -> Blamed:
    """Judge what the ends of a scenario said."""
    expected = expected_of(name)
    verdicts: dict[str, Judged] = {}
    for end, told in by_end.items():
        verdicts[end] = _judge(told, expected.there if end in expected.ends else expected.beyond | expected.there)
    judged: Judged = "right" if any(verdicts.get(end) == "right" for end in expected.ends) else "unknown"
    if "wrong" in verdicts.values():
        judged = "wrong"
    return Blamed(judged, tuple("+".join(dict.fromkeys(told)) for told in by_end.values()))


def _judge(told: tuple[str, ...], wanted: frozenset[str]) -> Judged:
    named = set(told) - {"unknown", "none"}
    if named - wanted:
        return "wrong"
    return "right" if set(told) & wanted else "unknown"
