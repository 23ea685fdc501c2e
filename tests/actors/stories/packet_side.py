"""Stand-ins for TUNNELS and RELAY_LINKS: WireGuard and the relay client reduced to what control is told of them."""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from actors.addresses import PEERS, RELAYS, peer_addresses
from actors.effects import Effect
from actors.messages import packet
from actors.messages.recoveries import Kept
from config.keys import PublicKey
from tests.actors.stories.network import PORT, Network
from wg import reports
from wg.datagrams import Endpoint
from wg.paths import DirectPath, Path, RelayedPath

SILENCE_S = 1.0
REKEY_TIMEOUT = 5.0
OTHER_PATH_WAIT = 1.0
KEEPALIVE_S = 25.0
Role = Literal["initiator", "responder"]
Packet = tuple[str, int]  # initiation, response, keepalive, echo, answer, data; session or token


@dataclass
class Tunnel:
    """One peer: a session, and the paths that control chose."""

    path: Path | None = None
    standby: Path | None = None
    kept: Kept | None = None
    led: dict[str, Path] = field(default_factory=dict)  # kind -> where it led last, for probes
    session: int = 0  # 0: none
    former: deque[int] = field(default_factory=lambda: deque(maxlen=3))  # still good for what is on its way
    asked: int = 0  # as initiator: waits for its response
    offered: int = 0  # as responder: unproven until used
    taken_initiation: int = 0  # the last
    initiated_at: float = -REKEY_TIMEOUT
    heard_at: dict[str, float] = field(default_factory=dict)  # by kind of path
    reported_at: dict[str, float] = field(default_factory=dict)
    unheard_since: dict[str, float] = field(default_factory=dict)
    sent: int = 0  # data packets
    taken: set[tuple[int, int]] = field(default_factory=set)  # of the remote's: session and number

    def use(self, session: int, role: Role) -> Role:
        self.former.append(self.session)
        self.session = session
        self.offered = 0 if self.offered == session else self.offered  # a late packet does not bring it back
        self.asked = 0
        return role

    def paths(self) -> list[Path]:
        return [path for path in (self.path, self.standby) if path is not None]


class FakeTunnels:
    """WireGuard of one agent.  Data needs a session that both ends hold; a handshake makes one."""

    state = None

    def __init__(self, key: PublicKey, network: Network, rng: Random) -> None:
        self.key, self.network, self._rng = key, network, rng
        self.tunnels: dict[PublicKey, Tunnel] = {}
        self.paths_set: list[packet.SetPath] = []

    def handle(self, message: Any, now: float) -> list[Effect]:
        match message:
            case packet.SetPath(peer=peer) | packet.ProbePath(peer=peer) if peer not in self.tunnels:
                return []  # a process that has just begun, and is not configured yet
            case packet.InitiateHandshake(peer=peer) | packet.RenewHandshake(peer=peer) if peer not in self.tunnels:
                return []
            case packet.ConfigurePeer(peer=peer):
                if peer not in self.tunnels:
                    self.tunnels[peer] = Tunnel()
                    self._keep_alive(peer)
            case packet.RemovePeer(peer=peer):
                self.tunnels.pop(peer, None)
                self.network.ice[self.key].agents.forget(peer)
            case packet.SetPath(peer=peer):
                self._set_path(message, now)
            case packet.ProbePath(peer=peer, path=kind, token=token):
                tunnel = self.tunnels[peer]
                if not tunnel.session:
                    self._initiate(peer)
                elif kind in tunnel.led:
                    self._carry(peer, tunnel.led[kind], ("echo", tunnel.session), token)
            case packet.InitiateHandshake(peer=peer):
                self._initiate(peer)
            case packet.RenewHandshake(peer=peer):
                self._renew(peer)
            case packet.KeepRecovery(peer=peer, kept=kept):
                if peer in self.tunnels:
                    self.tunnels[peer].kept = kept
            case packet.TunnelsSnapshotWanted():
                return [PEERS.send(packet.TunnelsSnapshot(tunnels=tuple(self._snapshots())))]
            case _:
                raise AssertionError(message)
        return []

    def _set_path(self, wanted: packet.SetPath, now: float) -> None:
        self.paths_set.append(wanted)
        tunnel = self.tunnels[wanted.peer]
        if wanted.path != tunnel.path and tunnel.asked:
            tunnel.initiated_at = min(tunnel.initiated_at, now - REKEY_TIMEOUT + OTHER_PATH_WAIT)
        tunnel.path, tunnel.standby, tunnel.unheard_since = wanted.path, wanted.standby, {}
        tunnel.led |= {path.kind: path for path in tunnel.paths()}
        after_s = wanted.handshake_after_s
        if wanted.path is not None and after_s is not None:
            self.network.call_at(now + after_s, lambda: self._handshake_if_needed(wanted.peer))

    def _snapshots(self) -> list[packet.TunnelSnapshot]:
        return [
            packet.TunnelSnapshot(
                peer=peer,
                path=tunnel.path,
                standby=tunnel.standby,
                heard_relayed_at=tunnel.heard_at.get("relayed"),
                heard_direct_at=tunnel.heard_at.get("direct"),
                kept=tunnel.kept,
            )
            for peer, tunnel in self.tunnels.items()
        ]

    def send_data(self, peer: PublicKey) -> None:
        """The host sends one packet."""
        tunnel = self.tunnels[peer]
        if tunnel.path is None:
            self._tell(peer, "guard", reports.LocalTraffic(peer=peer))
        elif not tunnel.session:
            self._initiate(peer)
        else:
            tunnel.sent += 1
            self._send(peer, ("data", tunnel.session), tunnel.sent)

    # --- out ---

    def _keep_alive(self, peer: PublicKey) -> None:
        tunnel = self.tunnels.get(peer)
        if tunnel is None or self.network.tunnels.get(self.key) not in (None, self):
            return
        if tunnel.session and tunnel.path is not None:
            self._send(peer, ("keepalive", tunnel.session), watched=False)
        self.network.call_at(self.network.clock() + KEEPALIVE_S, lambda: self._keep_alive(peer))

    def _renew(self, peer: PublicKey) -> None:
        tunnel = self.tunnels[peer]
        tunnel.session = tunnel.asked = tunnel.offered = tunnel.taken_initiation = 0
        tunnel.former.clear()
        tunnel.initiated_at = -REKEY_TIMEOUT
        self._initiate(peer)

    def _handshake_if_needed(self, peer: PublicKey) -> None:
        if not self.tunnels[peer].session:
            self._initiate(peer)

    def _initiate(self, peer: PublicKey) -> None:
        tunnel, now = self.tunnels[peer], self.network.clock()
        if tunnel.path is None or now - tunnel.initiated_at < REKEY_TIMEOUT:
            return
        tunnel.initiated_at, tunnel.asked = now, (asked := self._rng.randrange(1, 2**32))
        self._send(peer, ("initiation", asked), watched=False)
        self.network.call_at(now + REKEY_TIMEOUT, lambda: self._retransmit(peer, asked))

    def _retransmit(self, peer: PublicKey, asked: int) -> None:
        tunnel = self.tunnels.get(peer)
        if tunnel is not None and tunnel.asked == asked and self.network.tunnels.get(self.key) is self:
            self._initiate(peer)

    def _send(self, peer: PublicKey, what: Packet, token: int = 0, *, watched: bool = True) -> None:
        tunnel = self.tunnels[peer]
        for path in tunnel.paths():
            if watched and path.kind not in tunnel.unheard_since:
                self._watch(peer, tunnel, path)
            self._carry(peer, path, what, token)

    def _watch(self, peer: PublicKey, tunnel: Tunnel, path: Path) -> None:
        tunnel.unheard_since[path.kind] = sent_at = self.network.clock()

        def look() -> None:
            if tunnel.unheard_since.get(path.kind) == sent_at and path in tunnel.paths():
                generation = path.generation if isinstance(path, RelayedPath) else 0
                silent = reports.PathSilent(peer=peer, path=path.kind, sent_at=sent_at, generation=generation)
                self._tell(peer, "wg_watcher", silent)

        self.network.call_at(sent_at + SILENCE_S, look)

    def _carry(self, peer: PublicKey, path: Path, what: Packet, token: int = 0) -> None:
        labelled = (f"{what[0]}:{token}", what[1])
        if isinstance(path, DirectPath):
            self.network.carry_directly(self.key, path.ip, labelled)
            return
        links = self.network.links.get(self.key)
        url = links.url_of(path.link) if links is not None else None
        if url is not None:
            self.network.carry(url, self.key, peer, labelled)

    # --- in ---

    def receive(self, sender: PublicKey, via: int | str, arrived: Packet) -> None:
        """Take what came over this link, or from this address."""
        tunnel = self.tunnels.get(sender)
        if tunnel is None:
            return
        back: Path = RelayedPath(link=via, generation=0) if isinstance(via, int) else DirectPath(ip=via, port=PORT)
        (what, token), session = arrived[0].split(":"), arrived[1]
        completed: Role | None = None
        if what == "initiation":
            if session != tunnel.taken_initiation:  # its copy on the other path is refused
                tunnel.offered = tunnel.taken_initiation = session
                self._carry(sender, back, ("response", session))
            return
        if what == "response":
            if session != tunnel.asked:
                return  # its copy, or too late
            completed = tunnel.use(session, "initiator")
            self._send(sender, ("keepalive", session), watched=False)
        elif session == tunnel.offered != tunnel.session:
            completed = tunnel.use(session, "responder")
        elif session != tunnel.session and session not in tunnel.former:
            return  # a session that is gone
        if isinstance(back, DirectPath) and (ice := self.network.ice.get(self.key)) is not None:
            ice.agents.path_heard(sender, Endpoint(back.ip, back.port), self.network.clock())
        if isinstance(back, DirectPath) and isinstance(tunnel.path, DirectPath):
            tunnel.led["direct"] = tunnel.path = back  # it roams
        self._credit(sender, tunnel, back, completed)
        if what == "echo" and self.key not in self.network.foreign:
            self._carry(sender, back, ("answer", session), int(token))
        elif what == "answer":
            answered = reports.EchoAnswered(
                peer=sender, path=back.kind, token=int(token), rtt_s=0.06, generation=self._generation(sender, back)
            )
            self._tell(sender, "wg_watcher", answered)
        elif what == "data" and (session, int(token)) not in tunnel.taken:
            tunnel.taken.add((session, int(token)))
            self.network.received.setdefault((self.key, sender), []).append(self.network.clock())

    def _credit(self, sender: PublicKey, tunnel: Tunnel, back: Path, completed: Role | None) -> None:
        now, generation = self.network.clock(), self._generation(sender, back)
        tunnel.heard_at[back.kind] = now
        tunnel.unheard_since.pop(back.kind, None)
        if completed is not None:
            rtt_s = 0.06 if completed == "initiator" else None
            done = reports.HandshakeCompleted(
                peer=sender, path=back.kind, role=completed, rtt_s=rtt_s, generation=generation
            )
            self._tell(sender, "wg_watcher", done)
        if now - tunnel.reported_at.get(back.kind, -1.0) >= 1.0:
            tunnel.reported_at[back.kind] = now
            heard = reports.PathHeard(peer=sender, path=back.kind, heard_at=now, generation=generation)
            self._tell(sender, "wg_watcher", heard)

    def _generation(self, sender: PublicKey, back: Path) -> int:
        return self.network.links[self.key].generation_on(sender, back.link) if isinstance(back, RelayedPath) else 0

    def _tell(self, peer: PublicKey, actor: str, report: reports.Report) -> None:
        address = getattr(peer_addresses(peer), actor)
        self.network.perform(self.key, [address.send(report)])


@dataclass
class Connection:
    """One relayed connection."""

    generation: int
    link: int
    open: bool = False


class FakeRelayLinks:
    """The relay client of one agent."""

    state = None

    def __init__(self, key: PublicKey, network: Network, tunnels: FakeTunnels) -> None:
        self.key, self.network, self._tunnels = key, network, tunnels
        self.links: dict[int, str] = {}  # open ones -> url
        self.connections: dict[PublicKey, Connection] = {}

    def url_of(self, link: int) -> str | None:
        return self.links.get(link)

    def generation_on(self, peer: PublicKey, link: int) -> int:
        connection = self.connections.get(peer)
        return connection.generation if connection is not None and connection.link == link and connection.open else 0

    def handle(self, message: Any, now: float) -> list[Effect]:
        match message:
            case packet.OpenLink(link=link, url=url):
                self.network.soon(lambda: self._dial(link, url), trips=2)
            case packet.CloseLink(link=link):
                if link in self.links:
                    self.network.logout(self.links[link], self.key, link)
                    self.on_link_lost(link, "closed by us")
            case packet.OpenOnLink(peer=peer, generation=generation, link=link, wait_s=wait_s):
                return self._open(peer, Connection(generation, link), now + wait_s)
            case packet.CloseOnLink(peer=peer, generation=generation):
                connection = self.connections.get(peer)
                if connection is not None and connection.generation == generation:
                    del self.connections[peer]
                return [self._worker(peer, packet.RelayedCloseDone(peer=peer, generation=generation))]
            case packet.RelayLinksSnapshotWanted():
                return [RELAYS.send(self._snapshot())]
            case packet.ProveLinksNow():
                pass  # the network tells at once of every link that it cuts
            case _:
                raise AssertionError(message)
        return []

    def _snapshot(self) -> packet.RelayLinksSnapshot:
        return packet.RelayLinksSnapshot(
            links=tuple(packet.LinkSnapshot(link=link, url=url, instance_url=url) for link, url in self.links.items()),
            connections=tuple(
                packet.RelayedSnapshot(peer=peer, generation=c.generation, link=c.link, open=c.open)
                for peer, c in self.connections.items()
            ),
        )

    def _dial(self, link: int, url: str) -> None:
        if self.network.links.get(self.key) is not self:
            return
        if not self.network.login(url, self.key, link):
            self._tell(RELAYS.send(packet.LinkClosed(link=link, reason="connection refused", was_open=False)))
            return
        self.links[link] = url
        self._tell(RELAYS.send(packet.LinkOpened(link=link, instance_url=url, server_ip="192.0.2.1")))

    def _open(self, peer: PublicKey, connection: Connection, limit_at: float) -> list[Effect]:
        url = self.links.get(connection.link)
        if url is None:
            failed = packet.RelayedFailed(peer=peer, generation=connection.generation, reason="the link is closed")
            return [self._worker(peer, failed)]
        assert peer not in self.connections, "opened twice"
        self.connections[peer] = connection
        self.network.soon(lambda: self._subscribed(peer, connection, url), trips=2)
        self.network.call_at(limit_at, lambda: self._give_up(peer, connection))
        return []

    def _subscribed(self, peer: PublicKey, connection: Connection, url: str) -> None:
        heard = self.key not in self.network.deaf and self.network.online(url, peer)
        if self.connections.get(peer) is connection and not connection.open and heard:
            connection.open = True
            opened = packet.RelayedOpened(peer=peer, generation=connection.generation, link=connection.link)
            self._tell(self._worker(peer, opened))

    def _give_up(self, peer: PublicKey, connection: Connection) -> None:
        if self.connections.get(peer) is connection and not connection.open:
            self._end(peer, "the remote did not come", "peer_gone")

    def hear_again(self) -> None:
        for peer, connection in list(self.connections.items()):
            url = self.links[connection.link]
            if self.network.online(url, peer):
                self._subscribed(peer, connection, url)
            elif connection.open:
                self._end(peer, "the remote left the relay", "peer_gone")

    def on_presence(self, url: str, key: PublicKey, *, online: bool) -> None:
        connection = self.connections.get(key)
        if connection is None or self.links.get(connection.link) != url:
            return
        if self.key in self.network.deaf:
            return
        if online:
            self._subscribed(key, connection, url)
        elif connection.open:
            self._end(key, "the remote left the relay", "peer_gone")

    def on_link_lost(self, link: int, reason: str) -> None:
        if self.links.pop(link, None) is None:
            return
        self._tell(RELAYS.send(packet.LinkClosed(link=link, reason=reason, was_open=True)))
        for peer in [peer for peer, connection in self.connections.items() if connection.link == link]:
            self._end(peer, reason, "link_closed")

    def _end(self, peer: PublicKey, reason: str, cause: str) -> None:
        connection = self.connections.pop(peer)
        if not connection.open:
            failed = packet.RelayedFailed(peer=peer, generation=connection.generation, reason=reason)
            self._tell(self._worker(peer, failed))
            return
        closed = packet.RelayedClosed(
            peer=peer,
            generation=connection.generation,
            cause="peer_gone" if cause == "peer_gone" else "link_closed",
            reason=reason,
        )
        self._tell(self._worker(peer, closed))

    def _worker(self, peer: PublicKey, message: Any) -> Effect:
        return peer_addresses(peer).relay_worker.send(message)

    def _tell(self, effect: Effect) -> None:
        self.network.perform(self.key, [effect])
