"""How fast virtual time runs: an agent with a hundred peers, its real machines, for ten virtual minutes.

python -m tests.bench.world [--peers N] [--seconds N]

The control side is real: PEERS, SIGNAL, RELAYS, STATUS, the process actor, and the six actors of each peer.  Stand-ins
answer for the packet process and for the remotes: each remote answers offers, every path is heard once a second, and
each tenth peer loses its relayed connection every minute and gets it back.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import msgspec

from actors.addresses import (
    CONTROL_0,
    ICE_AGENTS,
    PEERS,
    RELAY_LINKS,
    RELAYS,
    SIGNAL,
    SIGNAL_LINK,
    STATUS,
    TUNNELS,
    peer_addresses,
    process_actor,
)
from actors.effects import Address, Effect, Later
from actors.messages import packet
from actors.messages.node import SignalLinkInbox, SignalLinkWanted
from actors.messages.process import PeersConfigured, PeerSettings, ProcessRestarted, StartPeer, StopPeer
from actors.messages.status import ControlStatus
from actors.node.peers import Peers
from actors.node.relays import Relays
from actors.node.signal import Signal
from actors.node.status import Status
from actors.peer.wiring import make_peer
from actors.runtime.process_actor import ProcessActor
from config.keys import PublicKey, encode_key
from tests.kit.world import World
from transport.signal import messages as signal
from wg.reports import HandshakeCompleted, PathHeard

CONTROLS = (CONTROL_0,)
RELAY_URL = "rel://relay.test:33080"
SIGNAL_URL = "http://signal.test"
MINUTE_S = 60.0


def key_of(number: int) -> PublicKey:
    """Return the public key of a peer."""
    return PublicKey(encode_key(number.to_bytes(32, "big")))


OWN_KEY = key_of(2**200)


@dataclass(frozen=True, slots=True)
class Standing:
    """The only state of a stand-in."""


class TickDue(msgspec.Struct, frozen=True, kw_only=True, tag="bench_tick_due"):
    """A second has passed."""


class Tunnels:
    """Completes every handshake, and hears every path once a second."""

    inbox: ClassVar[Any] = (
        packet.ConfigurePeer
        | packet.RemovePeer
        | packet.SetPath
        | packet.ProbePath
        | packet.InitiateHandshake
        | packet.RenewHandshake
        | packet.TunnelsSnapshotWanted
        | TickDue
    )

    def __init__(self) -> None:
        self.state = Standing()
        self._paths: dict[PublicKey, Any] = {}

    def start(self, now: float) -> list[Effect]:
        """Set the first tick."""
        return [Later(now + 1.0, TickDue())]

    def handle(self, message: Any, now: float) -> list[Effect]:
        """Report as the packet process would."""
        match message:
            case packet.SetPath(peer=peer, path=None):
                self._paths.pop(peer, None)
            case packet.SetPath(peer=peer, path=path):
                self._paths[peer] = path
                return [self._handshake(peer, path)]
            case (
                packet.InitiateHandshake(peer=peer) | packet.RenewHandshake(peer=peer) | packet.ProbePath(peer=peer)
            ) if peer in self._paths:
                return [self._handshake(peer, self._paths[peer])]
            case packet.TunnelsSnapshotWanted():
                return [PEERS.send(packet.TunnelsSnapshot(tunnels=()))]
            case TickDue():
                return [Later(now + 1.0, TickDue()), *self._heard(now)]
        return []

    def _handshake(self, peer: PublicKey, path: Any) -> Effect:
        report = HandshakeCompleted(peer=peer, path=path.kind, role="initiator", rtt_s=0.02, generation=path.generation)
        return peer_addresses(peer).wg_watcher.send(report)

    def _heard(self, now: float) -> Iterator[Effect]:
        for peer, path in self._paths.items():
            report = PathHeard(peer=peer, path=path.kind, heard_at=now, generation=path.generation)
            yield peer_addresses(peer).wg_watcher.send(report)


class RelayLinks:
    """Opens whatever it is asked to; each tenth connection is lost after a minute."""

    inbox: ClassVar[Any] = packet.RelayLinksInbox | TickDue

    def __init__(self) -> None:
        self.state = Standing()
        self._open: dict[PublicKey, tuple[int, float]] = {}  # generation, since when

    def start(self, now: float) -> list[Effect]:
        """Set the first tick."""
        return [Later(now + 1.0, TickDue())]

    def handle(self, message: Any, now: float) -> list[Effect]:
        """Report as the packet process would."""
        match message:
            case packet.OpenLink(link=link, url=url):
                return [RELAYS.send(packet.LinkOpened(link=link, instance_url=url, server_ip="192.0.2.7"))]
            case packet.CloseLink(link=link):
                return [RELAYS.send(packet.LinkClosed(link=link, reason="asked to", was_open=True))]
            case packet.OpenOnLink(peer=peer, generation=generation, link=link):
                self._open[peer] = (generation, now)
                opened = packet.RelayedOpened(peer=peer, generation=generation, link=link)
                return [peer_addresses(peer).relay_worker.send(opened)]
            case packet.CloseOnLink(peer=peer, generation=generation):
                self._open.pop(peer, None)
                done = packet.RelayedCloseDone(peer=peer, generation=generation)
                return [peer_addresses(peer).relay_worker.send(done)]
            case packet.RelayLinksSnapshotWanted():
                snapshot = packet.RelayLinksSnapshot(links=(), connections=())
                return [PEERS.send(snapshot), RELAYS.send(snapshot)]
            case TickDue():
                return [Later(now + 1.0, TickDue()), *self._lose(now)]
        return []

    def _lose(self, now: float) -> Iterator[Effect]:
        for number, (peer, (generation, since)) in enumerate(list(self._open.items())):
            if number % 10 == 0 and now - since > MINUTE_S:
                del self._open[peer]
                closed = packet.RelayedClosed(peer=peer, generation=generation, cause="peer_gone", reason="a test")
                yield peer_addresses(peer).relay_worker.send(closed)


class IceAgents:
    """Holds none: direct paths are off."""

    inbox: ClassVar[Any] = packet.IceAgentsInbox

    def __init__(self) -> None:
        self.state = Standing()

    def handle(self, message: Any, now: float) -> list[Effect]:
        """Tell what there is."""
        wanted = isinstance(message, packet.IceAgentsSnapshotWanted)
        return [PEERS.send(packet.IceAgentsSnapshot(agents=()))] if wanted else []


class Remotes:
    """Answers every offer, as the remote behind the signal server would."""

    inbox: ClassVar[Any] = SignalLinkInbox

    def __init__(self) -> None:
        self.state = Standing()
        self._nonces = 0

    def handle(self, message: Any, now: float) -> list[Effect]:
        """Answer an offer."""
        match message:
            case SignalLinkWanted():
                return [SIGNAL.send(signal.SignalConnected(url=SIGNAL_URL))]
            case signal.PostDescription(peer=peer, kind="offer", description=offer):
                assert offer.homing is not None
                self._nonces += 1
                homing = signal.HomingFields(
                    offer_id=self._nonces, acknowledges=offer.homing.offer_id, relay_urls=(RELAY_URL,)
                )
                answer = msgspec.structs.replace(offer, homing=homing)
                nonce = self._nonces.to_bytes(24, "big")
                return [SIGNAL.send(signal.AnswerReceived(peer=peer, description=answer, nonce=nonce))]
        return []


class Host:
    """The control process in the world."""

    process, incarnation = CONTROL_0, 1

    def __init__(self, world: World) -> None:
        self._world = world
        self.document = b""

    def start_peer(self, request: StartPeer) -> None:
        """Add the peer's six."""
        rng = self._world.rng
        machines = make_peer(request, OWN_KEY, CONTROLS, rng=rng, entropy=rng.randbytes, first_generation=1)
        self._world.add({Address(actor, CONTROL_0): machine for actor, machine in machines.items()})

    def stop_peer(self, request: StopPeer) -> None:
        """Nothing is stopped here."""

    def connect(self, process: str, incarnation: int) -> None:
        """The world is connected."""

    def concerned(self) -> list[Address[ProcessRestarted]]:
        """Nobody restarts here."""
        return []

    def save_snapshot(self, document: bytes) -> None:
        """Keep it."""
        self.document = document

    def shut_ingress(self, reason: str) -> None:
        """Nothing comes from outside."""

    def quiet(self) -> bool:
        """It is never drained."""
        return False


def measure(peers: int = 100, seconds: float = 600.0) -> dict[str, Any]:
    """Return how long this many virtual seconds of this many peers take, and what happened in them."""
    world = World(seed=1)
    host = Host(world)
    world.add(
        {
            TUNNELS: Tunnels(),
            RELAY_LINKS: RelayLinks(),
            ICE_AGENTS: IceAgents(),
            SIGNAL_LINK: Remotes(),
            process_actor(CONTROL_0): ProcessActor(host),
            PEERS: Peers(CONTROLS, rng=Random(1)),
            SIGNAL: Signal(SIGNAL_URL, CONTROLS),
            RELAYS: Relays((RELAY_URL,), CONTROLS, rng=Random(2), first_link=1),
            STATUS: Status(CONTROL_0),
        }
    )
    settings = tuple(PeerSettings(peer=key_of(n), name=f"peer{n}", allowed_ips=()) for n in range(1, peers + 1))
    world.post(PEERS, PeersConfigured(peers=settings))
    started = time.perf_counter()
    world.run_for(seconds)
    wall_s = time.perf_counter() - started
    status = msgspec.json.decode(host.document, type=ControlStatus)
    return {
        "peers": peers,
        "virtual_s": seconds,
        "wall_s": round(wall_s, 2),
        "deliveries": sum(world.delivered.values()),
        "timer_fires": world.timer_fires,
        "deliveries_per_s": round(sum(world.delivered.values()) / wall_s),
        "connected_at_the_end": sum(peer.state == "connected" for peer in status.peers),
        "trace_hash": world.trace_hash(),
    }


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.peers, arguments.seconds)))


if __name__ == "__main__":
    main()
