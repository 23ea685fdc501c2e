"""Which way packets take, row by row of the table in ways.py."""

from itertools import product
from typing import get_args

import pytest

from actors.peer.ways import Direct, Relay, Standing, Ways
from wg.paths import DirectPath

RELAYED = "rel://home.test:80"
PAIR = DirectPath(ip="192.0.2.7", port=51820)
STANDINGS: tuple[Standing, ...] = get_args(Standing)


def relay(standing: Standing = "proven") -> Relay:
    return Relay(link=1, generation=5, url=RELAYED, standing=standing)


def direct(standing: Standing = "proven", *, awaited: bool = False) -> Direct:
    return Direct(PAIR, generation=7, standing=standing, awaited=awaited)


def taken(ways: Ways, *, ours: bool) -> str:
    """Return the kinds of the ways that packets take, the one in use first."""
    return " and ".join(way.kind for way in ways.choose(ours=ours).carrying())


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("standing", STANDINGS)
def test_one_way_alone_is_taken_however_it_stands(standing: Standing, ours: bool) -> None:
    assert taken(Ways(relay(standing)), ours=ours) == "relayed"
    assert taken(Ways(None, direct(standing)), ours=ours) == "direct"
    assert taken(Ways(), ours=ours) == ""


@pytest.mark.parametrize(
    ("relay_stands", "direct_stands", "between_ours", "towards_foreign"),
    [
        ("proven", "dead", "relayed", "relayed"),
        ("dead", "dead", "relayed", "relayed"),
        ("dead", "unproven", "direct", "direct"),
        ("dead", "doubtful", "direct", "direct"),
        ("proven", "unproven", "direct and relayed", "direct"),
        ("proven", "proven", "direct", "direct"),
        ("proven", "resumed", "direct", "direct"),
        ("proven", "doubtful", "relayed and direct", "direct"),
        ("doubtful", "proven", "direct", "direct"),
        ("unproven", "proven", "direct and relayed", "direct"),
    ],
)
def test_of_two_ways(relay_stands: Standing, direct_stands: Standing, between_ours: str, towards_foreign: str) -> None:
    ways = Ways(relay(relay_stands), direct(direct_stands))
    assert taken(ways, ours=True) == between_ours
    assert taken(ways, ours=False) == towards_foreign


def test_a_foreign_controller_is_waited_for_on_the_relay() -> None:
    choice = Ways(relay(), direct("unproven", awaited=True)).choose(ours=False)
    assert choice.carrying() == [relay()]
    assert choice.standby is not None
    assert choice.standby.kind == "direct"


@pytest.mark.parametrize("relay_stands", [None, *STANDINGS])
@pytest.mark.parametrize("direct_stands", [None, *STANDINGS])
@pytest.mark.parametrize(("ours", "awaited"), list(product([True, False], repeat=2)))
def test_what_is_told_follows_from_the_choice(
    relay_stands: Standing | None, direct_stands: Standing | None, ours: bool, awaited: bool
) -> None:
    ways = Ways(
        relay(relay_stands) if relay_stands is not None else None,
        direct(direct_stands, awaited=awaited) if direct_stands is not None else None,
    )
    choice = ways.choose(ours=ours)
    assert (choice.in_use is None) == (ways == Ways())  # whatever there is, packets go somewhere
    assert [path for path in choice.paths() if path is not None] == [way.path for way in choice.carrying()]
    if not ours:
        assert len(choice.carrying()) <= 1  # one path at a time (recovery R9)
    proven = choice.proven()
    assert proven is None or (proven.standing == "proven" and proven in choice.carrying())
