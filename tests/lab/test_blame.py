"""What `homing why` may say after a scenario, and how its answers are judged."""

from typing import Any

import pytest

from actors.trace.causes import Cause
from actors.trace.explain import Episode, Explanation, Standing
from config.keys import PublicKey
from tests.lab.blame import EXPECTED, Blamed, judge, said
from tests.lab.catalogue import scenarios

BOB = PublicKey("bob")


def episode(cause: Cause, began_at: float) -> Episode:
    rest: dict[str, Any] = {"proven_at": None, "outage_s": None, "path": None, "happenings": ()}
    return Episode(cause=cause, because="", also=(), began_at=began_at, path_kept=False, **rest)


def explanation(cause: Cause, *episodes: Episode) -> Explanation:
    standing = Standing(peer=BOB, name="bob", state="connected", path="direct", endpoint="", proof_age_s=0.0, reason="")
    return Explanation(
        peer="bob",
        public_key=BOB,
        now=200.0,
        standing=standing,
        cause=cause,
        because="",
        last=episodes[0] if episodes else None,
        earlier=episodes[1:],
        known_since=0.0,
    )


def test_every_scenario_has_a_cause_that_may_be_named() -> None:
    for scenario in scenarios():
        assert any(scenario.name.startswith(key) for key in EXPECTED), scenario.name
    assert all(any(one.name.startswith(key) for one in scenarios()) for key in EXPECTED)


def test_troubles_of_before_the_fault_do_not_count() -> None:
    old = episode("nat_changed", 50.0)
    assert said(explanation("nat_changed", old), since=100.0) == ("none",)
    assert said(explanation("direct_found", old), since=100.0) == ("direct_found",)
    both = explanation("relay_restarted", episode("relay_restarted", 105.0), episode("wireguard_dropped", 100.0), old)
    assert said(both, since=100.0) == ("relay_restarted", "wireguard_dropped")


@pytest.mark.parametrize(
    ("alice", "bob", "judged"),
    [
        (("nat_changed",), ("unknown",), "right"),
        (("unknown",), ("remote_nat_changed",), "unknown"),
        (("relay_restarted",), ("unknown",), "wrong"),
        (("nat_changed",), ("relay_restarted",), "wrong"),
        (("nat_changed", "relay_restarted"), ("unknown",), "wrong"),
    ],
)
def test_one_that_knows_is_enough_and_one_that_errs_too_much(
    alice: tuple[str, ...], bob: tuple[str, ...], judged: str
) -> None:
    assert judge("S1/strict", {"alice": alice, "bob": bob}).judged == judged


def test_where_nothing_may_be_felt_nothing_is_the_right_answer() -> None:
    assert judge("S18/direct", {"alice": ("none",), "bob": ("none",)}) == Blamed("right", ("none", "none"))
