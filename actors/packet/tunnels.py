"""TUNNELS: the control side's hand on the packet path.

    mail  (ConfigurePeer, SetPath, ProbePath, ...) --> PacketPath --> reports --> the peer's WgWatcher, or Guard
    batches (UDP, relayed, TUN; time) ---------------> PacketPath --> output --> the process's drivers

It has one state, Carrying: whatever a peer's tunnel goes through is the packet path's own business.  Packets are no
mail, so they come and go by methods of their own, from the same thread; what the mail made is in `output` too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

from actors.addresses import PEERS, peer_addresses
from actors.effects import Effect
from actors.messages.packet import (
    ConfigurePeer,
    InitiateHandshake,
    KeepRecovery,
    ProbePath,
    RemovePeer,
    RenewHandshake,
    SetPath,
    TunnelsInbox,
    TunnelSnapshot,
    TunnelsSnapshot,
    TunnelsSnapshotWanted,
)
from actors.messages.recoveries import Kept
from actors.messages.status import PacketStatus, TunnelStatus
from config.keys import InvalidKey, PublicKey
from wg.allowed_ips import InvalidPrefix, parse_prefix
from wg.constants import NO_PRESHARED_KEY
from wg.datagrams import Endpoint, UdpBatch
from wg.outbox import Output
from wg.packet_path import PacketPath, PeerConfig
from wg.paths import DirectPath, Path
from wg.reports import LocalTraffic, Report


@dataclass(frozen=True, slots=True)
class Carrying:
    """Packets pass."""

    peers: int


class Tunnels:
    """Runs the packet path for the control processes `controls`.

    It keeps nothing that the packet path does not, but what the peers' actors would have forgotten of their recovery.
    """

    inbox: ClassVar[object] = TunnelsInbox

    def __init__(self, packet_path: PacketPath, controls: tuple[str, ...]) -> None:
        self._path = packet_path
        self._controls = controls
        self._refused = 0
        self._kept: dict[PublicKey, Kept] = {}  # of configured peers

    @property
    def state(self) -> Carrying:
        """How many peers there are."""
        return Carrying(self._path.peer_count)

    @property
    def counters(self) -> dict[str, int]:
        """What the packet path counts beside drops."""
        return self._path.counters

    def handle(self, message: TunnelsInbox, now: float) -> list[Effect]:
        """Do what the control side asks."""
        match message:
            case ConfigurePeer():
                self._configure(message, now)
            case RemovePeer():
                self._path.remove_peer(message.peer)
                self._kept.pop(message.peer, None)
            case SetPath():
                self._path.set_path(
                    message.peer,
                    message.path,
                    now,
                    standby=message.standby,
                    handshake_after_s=message.handshake_after_s,
                )
            case ProbePath():
                self._path.probe(message.peer, message.path, message.token, now)
            case InitiateHandshake():
                self._path.initiate_handshake(message.peer, now)
            case RenewHandshake():
                self._path.renew_handshake(message.peer, now)
            case KeepRecovery():
                if self._path.knows(message.peer):  # else it crossed with the peer's removal
                    self._kept[message.peer] = message.kept
            case TunnelsSnapshotWanted():
                return [PEERS.send(self._snapshot()), *self._told()]
            case _:
                assert_never(message)
        return self._told()

    # --- packets ---

    def receive_udp(self, batches: Iterable[UdpBatch], now: float) -> list[Effect]:
        """Take datagrams from the UDP sockets."""
        self._path.handle_udp(batches, now)
        return self._told()

    def receive_relayed(
        self, peer: PublicKey, link: int, generation: int, payloads: list[bytes], now: float
    ) -> list[Effect]:
        """Take what a relay link delivered from this peer; generation 0: no relayed connection is open there."""
        self._path.handle_relayed(peer, link, generation, payloads, now)
        return self._told()

    def receive_tun(self, packets: Iterable[bytes], now: float) -> list[Effect]:
        """Take packets that the host sends."""
        self._path.handle_tun(packets, now)
        return self._told()

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before the next input, mail included."""
        return self._path.next_timeout()

    def handle_timeout(self, now: float) -> list[Effect]:
        """Do what is due."""
        self._path.handle_timeout(now)
        return self._told()

    def output(self) -> Output:
        """Return what the drivers shall send and write, once; ask after each input, mail included."""
        return self._path.output()

    def direct_endpoint(self, peer: PublicKey) -> Endpoint | None:
        """Return where the direct path to this peer leads now; None: nowhere."""
        return self._path.direct_endpoint(peer)

    def status(self, links: Mapping[int, str]) -> PacketStatus:
        """Return what the snapshot file says; `links` are the URLs of the relay links."""
        tunnels = tuple(
            TunnelStatus(
                peer=peer.peer,
                path=_path_text(peer.path, links),
                heard_direct_at=peer.heard_direct_at,
                heard_relayed_at=peer.heard_relayed_at,
                handshake_at=peer.handshake_at,
                rtt_s=peer.rtt_s,
                rtt_at=peer.rtt_at,
                rx_bytes=peer.rx_bytes,
                tx_bytes=peer.tx_bytes,
                drops=peer.drops,
            )
            for peer in self._path.snapshot()
        )
        drops = dict(self._path.drops)
        if self._refused:
            drops["peer_refused"] = self._refused
        return PacketStatus(tunnels=tunnels, drops=drops)

    # --- within ---

    def _configure(self, message: ConfigurePeer, now: float) -> None:
        try:
            config = PeerConfig(
                allowed_ips=tuple(map(parse_prefix, message.allowed_ips)),
                persistent_keepalive_s=message.persistent_keepalive_s,
                preshared_key=NO_PRESHARED_KEY if message.preshared_key is None else message.preshared_key.value,
            )
            self._path.configure_peer(message.peer, config, now)
        except (InvalidKey, InvalidPrefix):  # the check of the configuration let it pass; the other peers go on
            self._refused += 1

    def _snapshot(self) -> TunnelsSnapshot:
        tunnels = tuple(
            TunnelSnapshot(
                peer=peer.peer,
                path=peer.path,
                standby=peer.standby,
                heard_direct_at=peer.heard_direct_at,
                heard_relayed_at=peer.heard_relayed_at,
                handshake_at=peer.handshake_at,
                kept=self._kept.get(peer.peer),
            )
            for peer in self._path.snapshot()
        )
        return TunnelsSnapshot(tunnels=tunnels)

    def _told(self) -> list[Effect]:
        return [self._tell(report) for report in self._path.reports()]

    def _tell(self, report: Report) -> Effect:
        of_peer = peer_addresses(report.peer, self._controls)
        if isinstance(report, LocalTraffic):
            return of_peer.guard.send(report)
        return of_peer.wg_watcher.send(report)


def _path_text(path: Path | None, links: Mapping[int, str]) -> str:
    match path:
        case None:
            return ""
        case DirectPath():
            return f"direct {Endpoint(path.ip, path.port)}"
        case _:
            return f"relayed {links.get(path.link, f'link {path.link}')}"
