"""Scenarios drawn around one rule: two agents, little traffic, and only the faults that put the rule to the test.

Where everything is drawn freely, what takes three faults in one order is rare.  The times, the order, the number of the
faults and the NATs are drawn here too.
"""

from collections.abc import Callable
from random import Random

from tests.kit.nats import MASQUERADE, PORT_RESTRICTED_CONE
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
from tests.simulator.scenario import A, B, Figures, Scenario, pair

FIRST_S = 10.0
QUIET_S = 15.0
OURS = Figures(recovered_s=20.0)
NATS = ((MASQUERADE, None), (MASQUERADE, PORT_RESTRICTED_CONE), (None, MASQUERADE))


def _relay(rng: Random) -> Scenario:
    """Draw what befalls a pair that has nothing but relays, each its own home first."""
    faults: list[AnyFault] = []
    for _ in range(rng.randint(1, 4)):
        at_s, agent = FIRST_S + rng.uniform(0.0, 30.0), rng.choice((A, B))
        if rng.random() < 0.6:
            faults.append(NatChanged(at_s=at_s, agent=agent, change=rng.choice(("flushed", "new address"))))
        else:
            faults.append(ServerApart(at_s=at_s, for_s=rng.uniform(1.0, 5.0), agent=agent, server=rng.randrange(2)))
    return _scenario(rng, faults, ice=False, relays=((0, 1), (1, 0)))


def _resets(rng: Random) -> Scenario:
    """Draw resets of the peer on both sides while their relay comes and goes."""
    faults: list[AnyFault] = [
        RelayRestarted(at_s=FIRST_S + rng.uniform(0.0, 15.0), for_s=rng.uniform(0.5, 5.0), relay=0)
        for _ in range(rng.randint(2, 4))
    ]
    for _ in range(rng.randint(1, 12)):
        at_s = FIRST_S + rng.uniform(0.0, 10.0)
        faults += [PeerReset(at_s=at_s, agent=agent, peer=peer) for agent, peer in ((A, B), (B, A))]
    return _scenario(rng, faults, ice=False)


def _unsignalled(rng: Random) -> Scenario:
    """Draw a NAT that changes while no offer comes through."""
    faults: list[AnyFault] = [SignalRestarted(at_s=FIRST_S - 1.0, for_s=40.0)]
    for _ in range(rng.randint(1, 2)):
        at_s = FIRST_S + rng.uniform(0.0, 20.0)
        faults.append(NatChanged(at_s=at_s, agent=rng.choice((A, B)), change=rng.choice(("flushed", "new address"))))
    return _scenario(rng, faults, ice=False, figures=Figures(outage_s=10.0))


def _direct(rng: Random) -> Scenario:
    """Draw direct paths that are cut, one way or both."""
    faults: list[AnyFault] = []
    for _ in range(rng.randint(1, 3)):
        sender, receiver = rng.choice(((A, B), (B, A)))
        at_s, for_s = FIRST_S + rng.uniform(0.0, 30.0), rng.uniform(5.0, 30.0)
        faults.append(DirectCut(at_s=at_s, for_s=for_s, sender=sender, receiver=receiver))
    return _scenario(rng, faults)


def _offers(rng: Random) -> Scenario:
    """Draw offers that nobody needs, and signalling that repeats, delays and mixes them."""
    shares = {name: rng.choice((0.0, 0.5, 1.0)) for name in ("twice", "late", "again")}
    faults: list[AnyFault] = [
        SignalMangled(at_s=FIRST_S, for_s=15.0, **shares),
        OffersForced(at_s=FIRST_S + 1.0, for_s=10.0, every_s=rng.choice((0.2, 1.0, 3.0))),
    ]
    return _scenario(rng, faults, figures=Figures(recovered_s=10.0, disruptive=0), ice=rng.random() < 0.5)


FAMILIES: dict[str, Callable[[Random], Scenario]] = {
    "relay": _relay,
    "resets": _resets,
    "unsignalled": _unsignalled,
    "direct": _direct,
    "offers": _offers,
}
"""By name."""


def _scenario(
    rng: Random,
    faults: list[AnyFault],
    *,
    figures: Figures = OURS,
    ice: bool = True,
    relays: tuple[tuple[int, ...], tuple[int, ...]] = ((0,), (0,)),
) -> Scenario:
    topology = pair(ice=ice, nats=rng.choice(NATS), relays=relays, per_second=5.0)
    in_order = tuple(sorted(faults, key=lambda fault: fault.at_s))
    return Scenario(name="drawn", topology=topology, faults=in_order, figures=figures, quiet_s=QUIET_S)
