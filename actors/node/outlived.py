"""What the packet process holds of each peer, for actors that start anew: paths, connection, ICE agent, past."""

from actors.messages.packet import IceAgentsSnapshot, RelayLinksSnapshot, TunnelSnapshot, TunnelsSnapshot
from actors.messages.process import Resumed
from config.keys import PublicKey
from wg.paths import DirectPath, Path, PathKind


def what_outlived(
    tunnels: TunnelsSnapshot | None, relays: RelayLinksSnapshot | None, agents: IceAgentsSnapshot | None
) -> dict[PublicKey, Resumed]:
    """Return what each peer's actors begin from; a peer of which nothing is held is left out.

    A relayed path counts if its connection is open, a direct one always: whether it works is for WireGuard to say.
    """
    if tunnels is None or relays is None:
        return {}
    ice = {agent.peer: agent for agent in agents.agents} if agents is not None else {}
    urls = {link.link: link.instance_url for link in relays.links}
    connections = {c.peer: c for c in relays.connections if c.open and urls.get(c.link) is not None}
    outlived = {}
    for tunnel in tunnels.tunnels:
        connection, agent = connections.get(tunnel.peer), ice.get(tunnel.peer)
        open_path = (connection.link, connection.generation) if connection is not None else None
        path, standby = _kind(tunnel.path, open_path), _kind(tunnel.standby, open_path)
        if path is None and agent is None and tunnel.kept is None:
            continue
        outlived[tunnel.peer] = Resumed(
            path=path,
            standby=standby if path is not None else None,
            relay_generation=connection.generation if connection is not None and path is not None else None,
            relay_link=connection.link if connection is not None and path is not None else None,
            relay_url=urls.get(connection.link) if connection is not None and path is not None else None,
            heard_direct_at=tunnel.heard_direct_at,
            heard_relayed_at=tunnel.heard_relayed_at,
            direct=_direct(tunnel) if path is not None else None,
            ice=agent,
            kept=tunnel.kept,
        )
    return outlived


def _kind(path: Path | None, open_path: tuple[int, int] | None) -> PathKind | None:
    """Return of which kind a path is that leads somewhere still."""
    match path:
        case None:
            return None
        case DirectPath():
            return "direct"
        case _:
            return "relayed" if (path.link, path.generation) == open_path else None


def _direct(tunnel: TunnelSnapshot) -> DirectPath | None:
    return next((path for path in (tunnel.path, tunnel.standby) if isinstance(path, DirectPath)), None)
