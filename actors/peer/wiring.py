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
from actors.messages.process import StartPeer
from actors.peer.conn import Conn, Relay
from actors.peer.guard import Guard
from actors.peer.ice_worker import IceWorker
from actors.peer.offer_listener import OfferListener
from actors.peer.relay_worker import RelayWorker
from actors.peer.wg_watcher import WgWatcher
from config.keys import PublicKey

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
) -> dict[str, Machine]:
    """Return the six machines of a peer by the names of their actors.  Add all of them before any is started.

    `first_generation` numbers relayed connections and offers; it must be greater than any that this peer's machines
    had before, also before a restart: wall-clock milliseconds will do.  `listen_port` 0: unknown.
    """
    settings, resumed = start.settings, start.resumed
    addresses = peer_addresses(settings.peer, controls)
    controller = own_key > settings.peer
    home = HomeRelayChanged(url=start.home_relay_url, server_ip=start.home_relay_ip)
    relay = None
    if resumed is not None and resumed.relay_generation and resumed.relay_link is not None and resumed.relay_url:
        relay = Relay(resumed.relay_link, resumed.relay_generation, resumed.relay_url)
        first_generation = max(first_generation, relay.generation + 1)
    return {
        addresses.conn.actor: Conn(
            settings.peer,
            settings.name,
            addresses,
            controller=controller,
            first_generation=first_generation,
            resumed=relay,
        ),
        addresses.guard.actor: Guard(
            settings.peer, offers=addresses.offer_listener, rng=rng, resumed=relay is not None
        ),
        addresses.offer_listener.actor: OfferListener(
            settings.peer,
            addresses,
            first_offer_id=first_generation,
            listen_port=listen_port,
            version=version,
            home=home,
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
            settings.peer, offers=addresses.offer_listener, entropy=entropy, enabled=False
        ),
        addresses.wg_watcher.actor: WgWatcher(
            settings.peer,
            addresses,
            controller=controller,
            keepalive=settings.persistent_keepalive_s > 0,
            entropy=entropy,
            resumed_heard_at=resumed.heard_relayed_at if resumed is not None else None,
        ),
    }
