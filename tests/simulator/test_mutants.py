"""What a mutant breaks is noticed; `make mutants` hunts them all through drawn seeds."""

import msgspec
import pytest

from tests.simulator.faults import (
    AnyFault,
    DirectCut,
    NatChanged,
    OffersForced,
    PeerReset,
    RelayRestarted,
    ServerApart,
    SignalMangled,
    SignalRestarted,
)
from tests.simulator.mutants import MUTANTS, Mutant, hunt, problems_of
from tests.simulator.scenario import A, B, Figures, Scenario, pair


def small(name: str, *faults: AnyFault, ice: bool = True) -> Scenario:
    topology = pair(ice=ice, per_second=5.0)
    figures = Figures(recovered_s=20.0)
    return Scenario(name=name, topology=topology, faults=faults, figures=figures, quiet_s=15.0)


OFFERS = msgspec.structs.replace(
    small(
        "offers",
        SignalMangled(at_s=10.0, for_s=10.0, twice=1.0),
        OffersForced(at_s=11.0, for_s=5.0, every_s=1.0),
    ),
    figures=Figures(disruptive=0),
)
NEW_ADDRESS = small("new address", NatChanged(at_s=10.0, agent=A, change="new address"), ice=False)
UNSIGNALLED = msgspec.structs.replace(
    small("unsignalled", SignalRestarted(at_s=9.0, for_s=30.0), *NEW_ADDRESS.faults, ice=False),
    figures=Figures(outage_s=10.0),
)
ONE_WAY = small("one way", DirectCut(at_s=10.0, for_s=20.0, sender=A, receiver=B))
RESETS = (PeerReset(at_s=10.5, agent=A, peer=B), PeerReset(at_s=10.5, agent=B, peer=A))
RESET = small(
    "reset without a relay",
    RelayRestarted(at_s=10.0, for_s=3.0, relay=0),
    *RESETS,
    RelayRestarted(at_s=40.0, for_s=2.0, relay=0),
    ice=False,
)
FLAPPING = small(
    "resets while the relay comes and goes",
    RelayRestarted(at_s=10.0, for_s=5.0, relay=0),
    *(msgspec.structs.replace(reset, at_s=10.5 + 0.5 * turn) for turn in range(7) for reset in RESETS),
    RelayRestarted(at_s=16.2, for_s=1.0, relay=0),
    RelayRestarted(at_s=19.0, for_s=2.0, relay=0),
    ice=False,
)
TWO_HOMES = msgspec.structs.replace(
    small(
        "two homes",
        NatChanged(at_s=10.0, agent=B, change="new address"),
        NatChanged(at_s=20.0, agent=A, change="new address"),
        ServerApart(at_s=30.0, for_s=3.0, agent=A, server=0),
    ),
    topology=pair(ice=False, per_second=5.0, relays=((0, 1), (1, 0))),
)
NOTICED = {
    "always reuse": UNSIGNALLED,
    "always close": OFFERS,
    "no rotation on ICE timeout": ONE_WAY,
    "close before rotate": NEW_ADDRESS,
    "no rotation on relay timeout": NEW_ADDRESS,
    "remote id kept": ONE_WAY,
    "rotation also on the remote's change": ONE_WAY,
    "evidence cleared before the reopening succeeded": FLAPPING,
    "evidence not cleared by a plain opening": RESET,
    "evidence ignored without a handle": FLAPPING,
    "closed at the home server only": TWO_HOMES,
    "an offer worked on twice": OFFERS,
    "no watcher after a fallback": ONE_WAY,
    "reuse not provisional": UNSIGNALLED,
    "backoff reset on every disconnect": FLAPPING,
}
"""Which small scenario notices which mutant."""


def mutant(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


@pytest.mark.parametrize("name", NOTICED)
def test_a_rule_that_is_missing_is_missed(name: str) -> None:
    scenario = NOTICED[name]
    with mutant(name).applied():
        assert problems_of(scenario, 1) != ()
    assert problems_of(scenario, 1) == ()


def test_every_mutant_can_be_made_and_unmade() -> None:
    assert NOTICED.keys() == {each.name for each in MUTANTS}
    for each in MUTANTS:
        whole = getattr(each.where, each.method)
        with each.applied():
            assert getattr(each.where, each.method) is not whole
        assert getattr(each.where, each.method) is whole


def test_only_what_the_product_itself_passes_finds_a_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulator.mutants.draw", lambda _seed: UNSIGNALLED)
    found = hunt(mutant("always reuse"), seeds=1)
    assert found is not None
    assert found[0] == 0
    same = msgspec.structs.replace(MUTANTS[0], patch=lambda whole: whole)
    assert hunt(same, seeds=1) is None
