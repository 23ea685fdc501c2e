"""The names of all actors, and in which process each lives.

A peer's six actors live in one control process, chosen by rendezvous hash of the peer's public key, so that what is
said
about a peer is ordered by mailboxes alone.  The node's own actors live in control-0, what touches packets in `packet`.
"""

import hashlib
from dataclasses import dataclass

from actors.effects import Address
from actors.messages import node, packet, peer, process
from config.keys import PublicKey

SUPERVISOR = "supervisor"
CONTROL_0 = "control-0"
PACKET = "packet"

PEERS: Address[node.PeersInbox] = Address("peers", CONTROL_0)
SIGNAL: Address[node.SignalInbox] = Address("signal", CONTROL_0)
SIGNAL_LINK: Address[node.SignalLinkInbox] = Address("signal_link", CONTROL_0)
RELAYS: Address[node.RelaysInbox] = Address("relays", CONTROL_0)
STATUS: Address[node.StatusInbox] = Address("status", CONTROL_0)
TUNNELS: Address[packet.TunnelsInbox] = Address("tunnels", PACKET)
RELAY_LINKS: Address[packet.RelayLinksInbox] = Address("relay_links", PACKET)
ICE_AGENTS: Address[packet.IceAgentsInbox] = Address("ice_agents", PACKET)
AGENT: Address[process.AgentInbox] = Address("agent", SUPERVISOR)
HOST: Address[process.HostInbox] = Address("host", SUPERVISOR)


def process_actor(name: str) -> Address[process.ProcessInbox]:
    """Return the address of a process's own actor: it answers pings, starts and stops peers, drains."""
    return Address("process", name)


def control_processes(count: int) -> tuple[str, ...]:
    """Return the names of `count` control processes."""
    return tuple(f"control-{index}" for index in range(count))


def home_of(key: PublicKey, controls: tuple[str, ...]) -> str:
    """Return the control process that holds this peer's actors (rendezvous hash, highest weight wins)."""
    if len(controls) == 1:
        return controls[0]
    return max(controls, key=lambda name: hashlib.blake2b(f"{key}\0{name}".encode(), digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class PeerAddresses:
    """The six mailboxes of one peer."""

    conn: Address[peer.ConnInbox]
    guard: Address[peer.GuardInbox]
    offer_listener: Address[peer.OfferListenerInbox]
    relay_worker: Address[peer.RelayWorkerInbox]
    ice_worker: Address[peer.IceWorkerInbox]
    wg_watcher: Address[peer.WgWatcherInbox]


def peer_addresses(key: PublicKey, controls: tuple[str, ...] = (CONTROL_0,)) -> PeerAddresses:
    """Return the addresses of this peer's six actors."""
    home, prefix = home_of(key, controls), f"peer/{key}"
    return PeerAddresses(
        conn=Address(f"{prefix}/conn", home),
        guard=Address(f"{prefix}/guard", home),
        offer_listener=Address(f"{prefix}/offer_listener", home),
        relay_worker=Address(f"{prefix}/relay_worker", home),
        ice_worker=Address(f"{prefix}/ice_worker", home),
        wg_watcher=Address(f"{prefix}/wg_watcher", home),
    )
