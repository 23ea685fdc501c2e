"""All WireGuard peers: batches of UDP, relayed and TUN packets in; batches and reports out.

Pure: what touches the world hands in what came and the time, then drains `output` and `reports` and reads
`next_timeout`.  A run of transport data for one session goes through the tunnel as a whole, and so do the packets that
one read of the TUN device gave for one peer: kernel offloads, which make runs longer, change nothing here.

Nothing that arrives raises; what is dropped is counted, by its peer where that is known.
"""

import random
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import NamedTuple

from config.keys import PublicKey, decode_key, encode_key
from wg.allowed_ips import AllowedIps, Prefix
from wg.constants import NO_PRESHARED_KEY, TRANSPORT_OVERHEAD
from wg.cookie import HandshakeGate
from wg.datagrams import DirectVia, Endpoint, UdpBatch, Via
from wg.ecn import NOT_ECT, ecn_of
from wg.errors import InvalidMessage
from wg.inner import destination_of
from wg.messages import CookieReply, Initiation, MessageType, Response, decode, message_type
from wg.noise import LocalStatic, read_initiation
from wg.outbox import Outbox, Output
from wg.paths import Path, PathKind
from wg.peer import Peer, PeerSnapshot
from wg.reports import Report
from wg.sessions import SessionIndices
from wg.tunnel import Tunnel
from wg.wakes import Wakes

_STUN_COOKIE = b"\x21\x12\xa4\x42"
_STUN_HEADER_LEN = 20
_NO_RUN = b"not a start that transport data could have"


class PeerConfig(NamedTuple):
    """What the operator set for a peer."""

    allowed_ips: tuple[Prefix, ...]
    persistent_keepalive_s: int  # 0: off
    preshared_key: bytes = NO_PRESHARED_KEY  # 32 bytes

    def __repr__(self) -> str:
        return f"PeerConfig({', '.join(map(str, self.allowed_ips))})"


class PacketPath:
    """The tunnels of one node.

    `timestamp()` gives 12 bytes of TAI64N that never repeat or go back; `entropy(n)` n secret random bytes; `rng`
    serves jitter.  `mtu` is the TUN device's.
    """

    def __init__(
        self,
        private_key: bytes,
        *,
        mtu: int,
        timestamp: Callable[[], bytes],
        entropy: Callable[[int], bytes],
        rng: random.Random,
    ) -> None:
        self._drops: dict[str, int] = {}
        self._local = LocalStatic(private_key)
        self._gate = HandshakeGate(self._local.public, entropy)
        self._mtu, self._timestamp, self._entropy, self._rng = mtu, timestamp, entropy, rng
        self._outbox = Outbox()
        self._peers: dict[PublicKey, Peer] = {}
        self._configs: dict[PublicKey, PeerConfig] = {}
        self._indices = SessionIndices(entropy)
        self._allowed: AllowedIps[PublicKey] = AllowedIps()
        self._wakes: Wakes[Peer] = Wakes()  # no timer is due before; perhaps none is due then

    @property
    def drops(self) -> dict[str, int]:
        """What was dropped and belongs to no peer: reason -> how many."""
        at_gate = {
            "wrong_mac1": self._gate.counters.wrong_mac1,
            "cookie_demanded": self._gate.counters.cookies_sent,
            "rate_limited": self._gate.counters.rate_limited,
        }
        return {**self._drops, **{reason: count for reason, count in at_gate.items() if count}}

    @property
    def counters(self) -> dict[str, int]:
        """What else was counted that belongs to no peer."""
        gate = self._gate.counters
        return {"handshakes_admitted": gate.admitted, "handshake_sources_forgotten": gate.sources_forgotten}

    @property
    def peer_count(self) -> int:
        """How many peers are configured."""
        return len(self._peers)

    def knows(self, key: PublicKey) -> bool:
        """Return whether this peer is configured."""
        return key in self._peers

    # --- what the control side asks for ---

    def configure_peer(self, key: PublicKey, config: PeerConfig, now: float) -> None:
        """Make a peer or change its settings; its sessions and paths stay.  Unchanged settings change nothing."""
        if self._configs.get(key) == config:
            return
        peer = self._peers.get(key) or self._make_peer(key, now)
        self._configs[key] = config
        self._allowed.replace(key, config.allowed_ips)
        first_keepalive = peer.tunnel.configure(
            preshared_key=config.preshared_key, persistent_keepalive_s=config.persistent_keepalive_s, now=now
        )
        peer.send(first_keepalive, now)
        self._settle(peer, None, now)

    def remove_peer(self, key: PublicKey) -> None:
        """Forget a peer, its keys and its paths."""
        peer = self._peers.pop(key, None)
        if peer is not None:
            del self._configs[key]
            self._allowed.remove(key)
            peer.tunnel.forget_sessions()
            self._wakes.forget(peer)

    def set_path(
        self,
        key: PublicKey,
        path: Path | None,
        now: float,
        *,
        standby: Path | None = None,
        handshake_after_s: float | None = None,
    ) -> None:
        """Send this peer's packets by `path` from now on, and by `standby` too; None: they wait.

        If no session is valid `handshake_after_s` later, a handshake starts; None: only when there is traffic.
        """
        peer = self._known(key)
        if peer is not None:
            peer.set_path(path, standby, handshake_after_s, now)
            self._settle(peer, None, now)

    def probe(self, key: PublicKey, kind: PathKind, token: int, now: float) -> None:
        """Send an in-session echo on this path, or without a session a handshake initiation."""
        peer = self._known(key)
        if peer is not None:
            peer.probe(kind, token, now)
            self._settle(peer, None, now)

    def initiate_handshake(self, key: PublicKey, now: float) -> None:
        """Send a handshake initiation by the path in use, unless one was sent there within REKEY_TIMEOUT."""
        peer = self._known(key)
        if peer is not None:
            peer.initiate_handshake(now)
            self._settle(peer, None, now)

    def renew_handshake(self, key: PublicKey, now: float) -> None:
        """Begin with this peer as if it had never been met: no session, no cookie, a handshake at once."""
        peer = self._known(key)
        if peer is not None:
            peer.renew_handshake(now)
            self._settle(peer, None, now)

    # --- packets ---

    def handle_udp(self, batches: Iterable[UdpBatch], now: float) -> None:
        """Take what came to our UDP port."""
        for batch in batches:
            via = DirectVia(batch.endpoint, batch.local)
            strangers = self._handle_messages(batch.datagrams, via, None, batch.ecn, now)
            stun = [each for each in strangers if each[4:8] == _STUN_COOKIE and len(each) >= _STUN_HEADER_LEN]
            if stun:
                self._outbox.stun.append(batch._replace(datagrams=stun))
            self._count("no_wireguard", len(strangers) - len(stun))

    def handle_relayed(self, key: PublicKey, link: int, generation: int, payloads: list[bytes], now: float) -> None:
        """Take what the relay server behind `link` says is from this peer; generation 0: no connection was opened."""
        peer = self._peers.get(key)
        if peer is None:
            self._count("relayed_by_unknown_peer", len(payloads))
            return
        via = peer.came_by(link, generation)
        self._count("no_wireguard", len(self._handle_messages(payloads, via, peer, NOT_ECT, now)))

    def handle_tun(self, packets: Iterable[bytes], now: float) -> None:
        """Take what the host sends into the network."""
        runs: dict[PublicKey, list[tuple[int, list[bytes]]]] = {}  # per peer, packets with one mark
        destination_before, ecn_before, run = b"", -1, list[bytes]()
        for packet in packets:
            destination = destination_of(packet)
            if destination is None:
                self._count("no_ip_packet")
                continue
            ecn = ecn_of(packet)
            if destination != destination_before or ecn != ecn_before:
                key = self._allowed.peer_of(destination)
                if key is None:
                    self._count("no_peer_for_destination")
                    continue
                of_peer = runs.setdefault(key, [])
                if not of_peer or of_peer[-1][0] != ecn:
                    of_peer.append((ecn, []))
                destination_before, ecn_before, run = destination, ecn, of_peer[-1][1]
            run.append(packet)
        for key, of_peer in runs.items():
            peer = self._peers[key]
            for ecn, of_mark in of_peer:
                peer.send_packets(of_mark, ecn, now)
            self._settle(peer, None, now)

    # --- time and output ---

    def next_timeout(self) -> float | None:
        """Return when to call `handle_timeout`; None: not before the next input."""
        return self._wakes.next_at()

    def handle_timeout(self, now: float) -> None:
        """Do what is due; early calls are cheap and harmless."""
        for peer in self._wakes.due(now):
            due_at = peer.next_timeout()
            if due_at is not None and due_at <= now:
                peer.handle_timeout(now)
            self._settle(peer, None, now)

    def output(self) -> Output:
        """Return all that is to be sent and written, and forget it; drain after each input."""
        return self._outbox.drain()

    def reports(self) -> list[Report]:
        """Return what the control side should hear, and forget it; drain after each input."""
        return self._outbox.drain_reports()

    def direct_endpoint(self, key: PublicKey) -> Endpoint | None:
        """Return where the direct path to this peer leads, roaming included; None: nowhere that we know."""
        peer = self._peers.get(key)
        return None if peer is None else peer.direct_endpoint()

    def snapshot(self) -> list[PeerSnapshot]:
        """Return what is known of each peer."""
        return [peer.snapshot() for peer in self._peers.values()]

    # --- within ---

    def _handle_messages(
        self, datagrams: list[bytes], via: Via, sender: Peer | None, ecn: int, now: float
    ) -> list[bytes]:
        """Work on WireGuard messages that came together; return what are none.

        Neighbours that are transport data for one session start with the same eight bytes and go through as one run.
        """
        strangers: list[bytes] = []
        start, run = _NO_RUN, list[bytes]()
        for datagram in datagrams:
            if datagram[:8] == start and len(datagram) >= TRANSPORT_OVERHEAD:
                run.append(datagram)
                continue
            match message_type(datagram):
                case MessageType.TRANSPORT:
                    self._handle_transport(run, via, sender, ecn, now)
                    start, run = datagram[:8], [datagram]
                case None:
                    strangers.append(datagram)
                case _:  # in its place: a response comes before the data that its keys open
                    self._handle_transport(run, via, sender, ecn, now)
                    start, run = _NO_RUN, []
                    self._handle_handshake(datagram, via, sender, now)
        self._handle_transport(run, via, sender, ecn, now)
        return strangers

    def _handle_transport(self, run: list[bytes], via: Via, sender: Peer | None, ecn: int, now: float) -> None:
        if not run:
            return
        receiver = int.from_bytes(run[0][4:8], "little")
        peer = self._of_session(receiver, sender, len(run))
        if peer is not None:
            peer.receive_transport(receiver, run, via, ecn, now)
            self._settle(peer, via, now)

    def _handle_handshake(self, datagram: bytes, via: Via, sender: Peer | None, now: float) -> None:
        try:
            message = decode(datagram)
            if isinstance(message, CookieReply):
                self._handle_cookie_reply(message, sender, now)
                return
            verdict = self._gate.admit(datagram, _source(via), now)
            match verdict, message:
                case "dropped", _:
                    pass  # the gate has counted it
                case "admitted", Initiation():
                    self._handle_initiation(message, via, sender, now)
                case "admitted", Response():
                    self._handle_response(message, via, sender, now)
                case bytes(), _:
                    self._outbox.send(via, [verdict])
        except InvalidMessage:
            self._count("handshake_refused")

    def _handle_initiation(self, message: Initiation, via: Via, sender: Peer | None, now: float) -> None:
        read = read_initiation(self._local, message)
        peer = self._peers.get(PublicKey(encode_key(read.remote)))
        if peer is None:
            self._count("unknown_static_key")
        elif self._unless_another(peer, sender, 1):
            response = peer.answer_to(read, via, now)
            if response is not None:  # it may be a replay of before our start: the first packet will roam, not this
                self._outbox.send(via, [response])
            self._settle(peer, via, now)

    def _handle_response(self, message: Response, via: Via, sender: Peer | None, now: float) -> None:
        peer = self._of_session(message.receiver, sender)
        if peer is not None:
            datagrams = peer.tunnel.consume_response(message, now)
            if datagrams is not None:
                peer.answered(via, datagrams, now)
            self._settle(peer, via, now)

    def _handle_cookie_reply(self, message: CookieReply, sender: Peer | None, now: float) -> None:
        peer = self._of_session(message.receiver, sender)
        if peer is not None:
            peer.tunnel.consume_cookie_reply(message, now)
            self._settle(peer, None, now)

    def _of_session(self, receiver: int, sender: Peer | None, count: int = 1) -> Peer | None:
        """Return whose session this index names; None, and `count` messages counted: nobody's, or not the sender's."""
        key = self._indices.owner(receiver)
        if key is None:
            self._count("unknown_receiver", count)
            return None
        return self._unless_another(self._peers[key], sender, count)

    def _unless_another(self, peer: Peer, sender: Peer | None, count: int) -> Peer | None:
        """Return the peer; None, and counted, where a relay server says that another one sent this."""
        if sender is None or sender is peer:
            return peer
        sender.count("sent_for_another", count)
        return None

    def _make_peer(self, key: PublicKey, now: float) -> Peer:
        tunnel = Tunnel(
            self._local,
            decode_key(key),
            indices=self._indices,
            timestamp=self._timestamp,
            entropy=self._entropy,
            rng=self._rng,
            mtu=self._mtu,
        )
        peer = Peer(key, tunnel, self._outbox, lambda source: self._allowed.peer_of(source) == key)
        self._peers[key] = peer
        peer.set_path(None, None, None, now)
        return peer

    def _known(self, key: PublicKey) -> Peer | None:
        peer = self._peers.get(key)
        if peer is None:  # mail that crossed with the peer's removal, or with our restart
            self._count("mail_for_unknown_peer")
        return peer

    def _settle(self, peer: Peer, via: Via | None, now: float) -> None:
        """After each work on a peer: tell what its tunnel tells, and wake in time for it."""
        peer.report_events(via, now)
        due_at = peer.next_timeout()
        if due_at is not None:
            self._wakes.arm(peer, due_at)

    def _count(self, reason: str, datagrams: int = 1) -> None:
        if datagrams:
            self._drops[reason] = self._drops.get(reason, 0) + datagrams


def _source(via: Via) -> bytes:
    """Return what a cookie binds to: address and port, or who the relay server says it is."""
    if isinstance(via, DirectVia):
        return ip_address(via.endpoint.ip).packed + via.endpoint.port.to_bytes(2, "big")
    return decode_key(via.peer)
