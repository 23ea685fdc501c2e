import pytest

from actors.messages.packet import (
    IceAgentsSnapshot,
    LinkSnapshot,
    RelayedSnapshot,
    RelayLinksSnapshot,
    TunnelSnapshot,
    TunnelsSnapshot,
)
from actors.messages.process import Resumed
from actors.messages.recoveries import Kept
from actors.node.outlived import what_outlived
from tests.actors.node.test_peers import ALICE, NO_AGENTS, NO_LINKS, agent_of
from wg.paths import DirectPath, Path, RelayedPath

DIRECT = DirectPath(ip="192.0.2.7", port=51820)
RELAYED = RelayedPath(link=4, generation=70)
LINKS = RelayLinksSnapshot(
    links=(LinkSnapshot(link=4, url="rel://lb.test:80", instance_url="rel://home.test:80"),),
    connections=(RelayedSnapshot(peer=ALICE, generation=70, link=4, open=True),),
)
AGENTS = IceAgentsSnapshot(agents=(agent_of(ALICE),))


def outlived(
    path: Path | None,
    standby: Path | None = None,
    links: RelayLinksSnapshot = LINKS,
    agents: IceAgentsSnapshot = AGENTS,
) -> Resumed | None:
    tunnel = TunnelSnapshot(peer=ALICE, path=path, standby=standby, heard_direct_at=990.0, heard_relayed_at=980.0)
    return what_outlived(TunnelsSnapshot(tunnels=(tunnel,)), links, agents).get(ALICE)


@pytest.mark.parametrize(("path", "standby"), [(DIRECT, None), (DIRECT, RELAYED), (RELAYED, DIRECT)])
def test_a_direct_path_comes_with_its_agent_and_its_relayed_connection(path: Path, standby: Path | None) -> None:
    found = outlived(path, standby)
    assert found is not None
    assert (found.path, found.standby) == (path.kind, standby.kind if standby is not None else None)
    assert (found.direct, found.ice) == (DIRECT, agent_of(ALICE))
    assert (found.relay_generation, found.relay_link, found.relay_url) == (70, 4, "rel://home.test:80")
    assert (found.heard_direct_at, found.heard_relayed_at) == (990.0, 980.0)


def test_a_direct_path_goes_on_without_either() -> None:
    found = outlived(DIRECT, links=NO_LINKS, agents=NO_AGENTS)
    assert found is not None
    assert (found.path, found.direct, found.ice, found.relay_generation) == ("direct", DIRECT, None, None)


def test_a_relayed_path_without_its_connection_is_none() -> None:
    assert outlived(RELAYED, links=NO_LINKS, agents=NO_AGENTS) is None
    assert outlived(RelayedPath(link=4, generation=69), agents=NO_AGENTS) is None
    found = outlived(RELAYED, links=NO_LINKS)
    assert found is not None
    assert (found.path, found.relay_generation, found.ice) == (None, None, agent_of(ALICE))


def test_what_its_recovery_has_cost_is_told_of_a_peer_without_any_path() -> None:
    kept = Kept(spent_at=(970.0,), disruptions=1)
    tunnel = TunnelSnapshot(peer=ALICE, path=None, kept=kept)
    assert what_outlived(TunnelsSnapshot(tunnels=(tunnel,)), NO_LINKS, NO_AGENTS) == {
        ALICE: Resumed(path=None, kept=kept)
    }


def test_an_agent_that_still_looks_for_a_pair_goes_on_beside_a_relayed_path() -> None:
    found = outlived(RELAYED)
    assert found is not None
    assert (found.path, found.standby, found.direct, found.ice) == ("relayed", None, None, agent_of(ALICE))


def test_without_snapshots_there_is_nothing() -> None:
    assert what_outlived(None, LINKS, AGENTS) == {}
    assert what_outlived(TunnelsSnapshot(tunnels=()), None, AGENTS) == {}
