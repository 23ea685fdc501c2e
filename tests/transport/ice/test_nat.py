"""Two agents behind every kind of NAT: a direct path exactly where the properties of the NATs say so."""

from itertools import combinations_with_replacement

import pytest

from tests.kit.nats import (
    ADDRESS_SYMMETRIC,
    FULL_CONE,
    HAIRPINNING,
    KINDS,
    MASQUERADE,
    NO_UDP,
    PORT_RESTRICTED_CONE,
    RESTRICTED_CONE,
    SYMMETRIC,
    Nat,
    Router,
    Site,
    expected_path,
)
from tests.kit.net import Conditions
from tests.transport.ice.ends import Ends
from transport.ice.events import PairSelected

PUBLIC = Site()
PAIRS = list(combinations_with_replacement(KINDS, 2))


def behind(name: str, *nats: Nat, v4: bool = True, v6: bool = False) -> Site:
    return Site(tuple(Router(f"{name}{place}", nat) for place, nat in enumerate(nats)), v4=v4, v6=v6)


def settle(ends: Ends) -> Ends:
    ends.run_for(0.5)  # how they look from outside is known before the first offer
    ends.open()
    ends.run_until_settled()
    return ends


def selected_after(ends: Ends) -> float:
    return max(end.all(PairSelected)[0][0] for end in ends.ends.values()) - ends.opened_at


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda nat: nat.name)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_two_nats(one: Nat, other: Nat, ours: bool) -> None:
    sites = behind("a", one), behind("b", other)
    ends = settle(Ends(*sites, ours=ours))
    assert ends.path == expected_path(*sites)
    assert ends.path == "relayed" or selected_after(ends) <= 3.0


@pytest.mark.parametrize(("one", "other"), [(a, b) for b, a in PAIRS if a != b], ids=lambda nat: nat.name)
def test_who_controls_changes_nothing(one: Nat, other: Nat) -> None:
    sites = behind("a", one), behind("b", other)
    assert settle(Ends(*sites)).path == expected_path(*sites)


CARRIER = Router("carrier", HAIRPINNING)
FLAT_CARRIER = Router("carrier", PORT_RESTRICTED_CONE)
HOME, FLAT = Router("home", PORT_RESTRICTED_CONE), Router("flat", MASQUERADE)
SITES = {
    "both public": (PUBLIC, PUBLIC, "direct"),
    "public and symmetric": (PUBLIC, behind("b", SYMMETRIC), "direct"),
    "symmetric and public": (behind("a", SYMMETRIC), PUBLIC, "direct"),
    "public and no udp": (PUBLIC, behind("b", NO_UDP), "relayed"),
    "one lan": (Site((HOME,)), Site((HOME,)), "direct"),
    "one lan without udp to the world": (behind("x", NO_UDP), behind("x", NO_UDP), "direct"),
    "one lan, no common family": (Site((HOME,)), Site((HOME,), v4=False, v6=True), "relayed"),
    "double nat": (behind("a", MASQUERADE, PORT_RESTRICTED_CONE), behind("b", FULL_CONE, RESTRICTED_CONE), "direct"),
    "double nat, one symmetric": (behind("a", FULL_CONE, SYMMETRIC), behind("b", PORT_RESTRICTED_CONE), "relayed"),
    "one carrier that hairpins": (Site((HOME, CARRIER)), Site((FLAT, CARRIER)), "direct"),
    "one carrier that does not": (Site((HOME, FLAT_CARRIER)), Site((FLAT, FLAT_CARRIER)), "relayed"),
    "in the carrier's network": (Site((FLAT_CARRIER,)), Site((FLAT, FLAT_CARRIER)), "direct"),
    "ipv6 only on one side": (behind("a", MASQUERADE, v4=False, v6=True), behind("b", SYMMETRIC), "relayed"),
    "ipv6 only and both": (behind("a", MASQUERADE, v4=False, v6=True), behind("b", SYMMETRIC, v6=True), "direct"),
    "ipv6 behind symmetric": (behind("a", SYMMETRIC, v6=True), behind("b", SYMMETRIC, v6=True), "direct"),
    "ipv6 without udp": (behind("a", NO_UDP, v6=True), behind("b", SYMMETRIC, v6=True), "relayed"),
}


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_sites(name: str, ours: bool) -> None:
    one, other, path = SITES[name]
    assert expected_path(one, other) == expected_path(other, one) == path
    assert settle(Ends(one, other, ours=ours)).path == path
    assert settle(Ends(other, one, ours=ours)).path == path


def test_a_lan_is_used_before_the_world() -> None:
    router = Router("home", HAIRPINNING)
    ends = settle(Ends(Site((router,)), Site((router,))))
    ends.run_for(2.0)
    assert ends.alice.endpoint is not None
    assert ends.bob.endpoint is not None
    assert (ends.alice.endpoint.ip, ends.bob.endpoint.ip) == (ends.bob.host.v4, ends.alice.host.v4)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_bad_wires_are_no_reason_not_to_connect(seed: int, ours: bool) -> None:
    wires = Conditions(latency_s=0.08, jitter_s=0.06, loss=0.2, duplication=0.05)
    ends = settle(Ends(behind("a", MASQUERADE), behind("b", RESTRICTED_CONE), seed=seed, conditions=wires, ours=ours))
    assert ends.path == "direct"
    assert selected_after(ends) <= 6.0


@pytest.mark.parametrize("late_s", [0.3, 1.0, 3.0, 7.0])
@pytest.mark.parametrize("first", ["alice", "bob"])
def test_an_agent_that_is_late_is_waited_for(first: str, late_s: float) -> None:
    ends = Ends(behind("a", PORT_RESTRICTED_CONE), behind("b", PORT_RESTRICTED_CONE))
    ends.run_for(0.5)
    ends.open(first)
    ends.run_for(late_s)
    ends.open("bob" if first == "alice" else "alice")
    for end in ends.ends.values():  # what was signalled before the other had an agent is told once more
        for candidate in end.report.local_candidates:
            ends.say_again(end, candidate)
    ends.run_until_settled()
    assert ends.path == "direct"


def test_checks_start_before_gathering_has_ended() -> None:
    ends = Ends(PUBLIC, behind("b", FULL_CONE))
    for server in ends.servers:
        server.silent = True
    ends.open()
    ends.run_until_settled()
    assert ends.path == "direct"
    assert selected_after(ends) <= 1.0


def test_why_there_is_no_direct_path() -> None:
    ends = settle(Ends(behind("a", SYMMETRIC), behind("b", PORT_RESTRICTED_CONE)))
    ends.run_for(13.0)
    report = ends.alice.report
    assert report.state == "ended"
    assert report.reason == f"none of {len(report.pairs)} pairs answered within 12 s"
    assert {pair.remote_kind for pair in report.pairs} >= {"host", "srflx"}
    assert all(pair.sent > 5 and pair.answered == 0 for pair in report.pairs)


def test_one_who_lets_in_an_address_meets_a_symmetric_one_by_its_check() -> None:
    ends = settle(Ends(behind("a", RESTRICTED_CONE), behind("b", ADDRESS_SYMMETRIC)))
    assert ends.alice.report.selected is not None
    assert ends.alice.report.selected.remote_kind == "prflx"
