"""Makes one peer's six machines and gives each its addresses.

signal --> OfferListener --RelayTurn--> RelayWorker --RelayReady, RelayLost--> Conn --SetPath--> tunnels
            ^    |  \\--IceTurn--> IceWorker <--Distress--/  ^                   |  ^
            |    |                                          |RelayEvidence      |  | PathProven, -Doubtful, -Dead
        SendOffer|                                          |          WatchPath|  |
            |    \\--RemoteKnown--> Conn, Guard, WgWatcher   |                   v  |
          Guard <--PathReady, PathLost-- Conn               +--------------- WgWatcher <-- what the tunnels heard
"""

from collections.abc import Callable
from random import Random

from actors.addresses import peer_addresses
from actors.effects import Machine
from actors.messages.node import HomeRelayChanged
from actors.messages.process import Resumed, StartPeer
from actors.peer.conn import Conn
from actors.peer.conn_states import Held
from actors.peer.guard import Guard
from actors.peer.ice_worker import IceWorker
from actors.peer.offer_listener import OfferListener
from actors.peer.relay_worker import RelayWorker
from actors.peer.ways import Direct, Relay, Standing, Ways
from actors.peer.wg_watcher import WgWatcher
from config.keys import PublicKey
from wg.paths import Path, PathKind

VERSION = "0.1.0"  # that offers carry; logged by the remote, no more (signal spec 4.1)


def make_peer(
    start: StartPeer,
    own_key: PublicKey,
    controls: tuple[str, ...],
    *,
    rng: Random,
    entropy: Callable[[int], bytes],
    first_generation: int,
    listen_port: int = 0,
    version: str = VERSION,
    ice: bool = False,
) -> dict[str, Machine]:
    """Return the six machines of a peer by the names of their actors.  Add all of them before any is started.

    `first_generation` numbers relayed connections, direct paths and offers; it must be greater than any that this
    peer's machines had before, also before a restart: wall-clock milliseconds will do.  `listen_port` 0: unknown.
    `ice`: look for direct paths.
    """
    settings, resumed = start.settings, start.resumed or Resumed(path=None)
    addresses = peer_addresses(settings.peer, controls)
    controller = own_key > settings.peer
    home = HomeRelayChanged(url=start.home_relay_url, server_ip=start.home_relay_ip)
    first_generation = max(first_generation, (resumed.relay_generation or 0) + 1)
    held = _held(resumed, first_generation)
    relay, ours = held.ways.relay, resumed.ice.ours if resumed.ice is not None else None
    return {
        addresses.conn.actor: Conn(
            settings.peer,
            settings.name,
            addresses,
            controller=controller,
            first_generation=first_generation,
            resumed=held,
            ours=ours,
            ice=ice,
        ),
        addresses.guard.actor: Guard(
            settings.peer, offers=addresses.offer_listener, rng=rng, resumed=held.ways != Ways(), ice=ice
        ),
        addresses.offer_listener.actor: OfferListener(
            settings.peer,
            addresses,
            first_offer_id=first_generation,
            listen_port=listen_port,
            version=version,
            home=home,
            rng=rng,
        ),
        addresses.relay_worker.actor: RelayWorker(
            settings.peer,
            addresses,
            controller=controller,
            first_generation=first_generation,
            home_url=start.home_relay_url,
            rng=rng,
            resumed=(relay.generation, relay.url) if relay is not None else None,
        ),
        addresses.ice_worker.actor: IceWorker(
            settings.peer,
            addresses,
            entropy=entropy,
            enabled=ice,
            controlling=controller,
            first_generation=first_generation,
            resumed=resumed.ice,
            in_use=held.ways.direct is not None,
        ),
        addresses.wg_watcher.actor: WgWatcher(
            settings.peer,
            addresses,
            controller=controller,
            keepalive=settings.persistent_keepalive_s > 0,
            entropy=entropy,
            resumed_heard=held.proven(),
            fruitless=max(held.kept.climbed.get("relayed", 0) - 1, 0) if held.kept is not None else 0,
            ours=ours,
        ),
    }


def _held(resumed: Resumed, direct_generation: int) -> Held:
    """Return the ways that outlived the control process, and how they stood to judge by where packets went."""
    relay, direct = None, None
    if resumed.relay_generation and resumed.relay_link is not None and resumed.relay_url:
        relay = Relay(resumed.relay_link, resumed.relay_generation, resumed.relay_url, "resumed")
    if resumed.direct is not None:
        standing: Standing = "resumed"
        if resumed.standby is not None:
            standing = "doubtful" if resumed.standby == "direct" else "unproven"
        direct = Direct(resumed.direct, direct_generation, standing)
    path: dict[PathKind | None, Path | None] = {
        "relayed": relay.path if relay is not None else None,
        "direct": resumed.direct,
        None: None,
    }
    heard = _heard(resumed)
    return Held(Ways(relay, direct), path[resumed.path], path[resumed.standby], heard, resumed.kept)


def _heard(resumed: Resumed) -> dict[PathKind, float]:
    heard: dict[PathKind, float | None] = {"direct": resumed.heard_direct_at, "relayed": resumed.heard_relayed_at}
    return {kind: at for kind, at in heard.items() if at is not None}
