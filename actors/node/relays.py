"""Keeps the links to relay servers: one home, and foreign ones while they are wanted.

    Starting --RelayLinksSnapshot, LinkRetryDue--> Homeless --LinkOpened of a configured server--> Homed
                                                      ^--------------LinkClosed-------------------/

    each server:  Down --wanted--> Dialling --LinkOpened--> Up --unused for 60 s--> Down
                   ^------LinkClosed, limit----/              |
                   ^-------------LinkClosed-------------------/

Home is the first of the configured servers that accepts us; while there is none, all of them are dialled, each with its
own backoff, so that one server's trouble stops no work on another (recovery R5); a home that was lost is tried alone
for a moment, since a pair that meets there needs no offers to meet there again.  One that carries nothing is left when
STATUS says so (home_ladder.py).  A relayed connection is opened on the server that its relay worker names, and closed
there; while that has no link yet, the opening waits, bounded.
"""

from collections.abc import Iterable
from random import Random
from typing import ClassVar, assert_never

from actors.addresses import PACKET, PEERS, RELAY_LINKS, STATUS, peer_addresses
from actors.effects import Cancel, Effect, Later
from actors.messages import packet
from actors.messages.node import (
    ChangeHome,
    CloseRelayed,
    HomeRelayChanged,
    KeyUsedElsewhere,
    KnownPeers,
    LinkRetryDue,
    OpenRelayed,
    OutsideEvent,
    RelaysInbox,
)
from actors.messages.peer import PathHindered
from actors.messages.process import ProcessRestarted
from actors.messages.status import RelaysStatus
from actors.node.home_states import Homed, Homeless, Starting
from actors.node.redial import Redial, others_at
from actors.node.relay_server import MAX_FOREIGN, Dialling, Down, Server, Servers, Up, WaitingOpening
from config.keys import PublicKey

SNAPSHOT_S = 1.0  # that a packet process may take to tell which links it has
OPENING_S = 30.0  # that a relayed connection waits for its server's link
UNUSED_S = 60.0  # after which a foreign link is closed (relay spec 6.7)
AVOIDED_S = 30.0  # that the others have to take the place of a home which carried nothing
MAX_HOME_DIALS = 7  # at once (relay spec 6.5)


class Relays:
    """Keeps the links to relay servers."""

    inbox: ClassVar[object] = RelaysInbox

    def __init__(
        self,
        urls: tuple[str, ...],
        controls: tuple[str, ...],
        *,
        rng: Random,
        first_link: int,
        packet_incarnation: int = 0,
    ) -> None:
        self._urls, self._controls, self._rng, self._next_link = urls, controls, rng, first_link
        self._packet, self._redial = packet_incarnation, Redial(rng)
        self._servers = Servers.configured(urls)
        self._known: frozenset[PublicKey] | None = None  # None: PEERS has not told yet
        self._where: dict[PublicKey, Server] = {}  # each peer's one opening or connection
        self._told: RelaysStatus | None = None
        self._home_changes = 0  # because nothing came over the home
        self.state: Starting | Homeless | Homed = Starting()

    def start(self, now: float) -> list[Effect]:
        """Ask for the links that outlived the control process."""
        return [RELAY_LINKS.send(packet.RelayLinksSnapshotWanted()), Later(now + SNAPSHOT_S, LinkRetryDue())]

    def handle(self, message: RelaysInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case OpenRelayed():
                effects = self._on_open(message, now)
            case CloseRelayed():
                effects = self._on_close(message, now)
            case packet.LinkOpened():
                effects = self._on_link_opened(message, now)
            case packet.LinkClosed():
                effects = self._on_link_closed(message, now)
            case packet.RelayLinksSnapshot():
                effects = self._on_snapshot(message, now)
            case KnownPeers():
                effects = self._on_known_peers(message, now)
            case ProcessRestarted():
                effects = self._on_packet_restarted(message.incarnation, now) if message.process == PACKET else []
            case ChangeHome():
                effects = self._on_change_home(now)
            case KeyUsedElsewhere():
                self._redial.key_used_elsewhere(now)
                effects = []
            case LinkRetryDue():
                effects = []
                if isinstance(self.state, Starting):
                    self.state = Homeless(None, now)
            case _:
                assert_never(message)
        if isinstance(self.state, Starting):
            return effects
        return [*effects, *self._review(now), *self._tell_status()]

    @property
    def counters(self) -> dict[str, int]:
        """How often a home was left because nothing came over it."""
        return {"home_changes": self._home_changes}

    # --- relayed connections ---

    def _on_open(self, wanted: OpenRelayed, now: float) -> list[Effect]:
        peer, generation = wanted.peer, wanted.generation
        if not self._knows(peer):
            return [self._refuse(peer, generation, "the peer is not configured")]
        effects = self._release(peer, now)
        opening = WaitingOpening(generation, wanted.url, now + OPENING_S)
        return [*effects, *self._place(peer, opening, wanted.server_ip, now)]

    def _place(self, peer: PublicKey, opening: WaitingOpening, server_ip: str | None, now: float) -> list[Effect]:
        """Open on the server that the opening names, or have it wait for that server's link."""
        server = self._servers.find(opening.url) or self._servers.add(opening.url, now)
        if server is None:
            return [self._refuse(peer, opening.generation, f"more than {MAX_FOREIGN} relay servers are in use")]
        self._where[peer] = server
        if not isinstance(server.link, Up):
            server.waiting[peer] = opening
            server.server_ip = server.server_ip or server_ip
            return self._tell_trouble(server, (peer,))
        server.connections[peer], server.unused_since = opening.generation, None
        open_it = packet.OpenOnLink(peer=peer, generation=opening.generation, link=server.link.link)
        return [*self._tell_trouble(server, (peer,)), RELAY_LINKS.send(open_it)]

    def _on_close(self, close: CloseRelayed, now: float) -> list[Effect]:
        server = self._where.get(close.peer)
        done = peer_addresses(close.peer, self._controls).relay_worker.send(
            packet.RelayedCloseDone(peer=close.peer, generation=close.generation)
        )
        if server is None:
            return [done]  # nothing to do
        opening = server.waiting.get(close.peer)
        generation = opening.generation if opening is not None else server.connections[close.peer]
        if close.generation not in (0, generation):
            return [done]  # that one is gone
        effects = self._release(close.peer, now)
        if close.generation == 0 or opening is not None:
            return [*effects, done]
        return effects  # the packet process acknowledges

    def _release(self, peer: PublicKey, now: float) -> list[Effect]:
        """Forget the peer's opening; close its connection."""
        server = self._where.pop(peer, None)
        if server is None:
            return []
        server.waiting.pop(peer, None)
        generation = server.connections.pop(peer, None)
        if not isinstance(server.link, Up):
            return []
        server.settle(now)
        if generation is None:
            return []
        return [RELAY_LINKS.send(packet.CloseOnLink(peer=peer, generation=generation, link=server.link.link))]

    def _on_known_peers(self, known: KnownPeers, now: float) -> list[Effect]:
        self._known = known.peers
        gone = [peer for peer in self._where if peer not in known.peers]
        return [effect for peer in gone for effect in self._release(peer, now)]

    # --- links ---

    def _on_link_opened(self, opened: packet.LinkOpened, now: float) -> list[Effect]:
        server = self._servers.by_link(opened.link)
        if server is None or not isinstance(server.link, Dialling):
            return []  # we have closed it meanwhile
        displaced = self._servers.up(opened.instance_url)
        server.opened(opened, now)
        effects: list[Effect] = []
        if displaced is not None:
            effects += self._give_way(displaced, server, now)
        elif isinstance(self.state, Homeless) and server.configured:
            effects += self._settle_home(server, now)
        return [*effects, *self._serve_waiting(server, now)]

    def _serve_waiting(self, server: Server, now: float) -> list[Effect]:
        """Open what waited for this link; elsewhere, where the server names itself otherwise now."""
        waiting, server.waiting = server.waiting, {}
        effects = [effect for peer, opening in waiting.items() for effect in self._place(peer, opening, None, now)]
        server.settle(now)
        return effects

    def _settle_home(self, server: Server, now: float) -> list[Effect]:
        """Make this the home server, and stop dialling the others."""
        assert server.instance_url is not None
        self.state = Homed(server.url, server.instance_url)
        effects: list[Effect] = []
        for other in self._servers.by_url.values():
            if other is not server and isinstance(other.link, Dialling) and not other.waiting:
                effects.append(RELAY_LINKS.send(packet.CloseLink(link=other.link.link)))
                other.closed(now)
        return [
            *effects,
            *self._tell_home(server),
            PEERS.send(OutsideEvent(kind="relay_connected", detail=server.instance_url)),
        ]

    def _give_way(self, displaced: Server, server: Server, now: float) -> list[Effect]:
        """Both URLs lead to one server, which keeps our newest login only."""
        assert isinstance(displaced.link, Up)
        close = RELAY_LINKS.send(packet.CloseLink(link=displaced.link.link))
        self._forget_connections(displaced)
        displaced.closed(now)
        if not isinstance(self.state, Homed) or self.state.server != displaced.url:
            return [close]
        self.state = Homed(server.url, self.state.url)
        return [close, *self._tell_home(server)]

    def _on_link_closed(self, closed: packet.LinkClosed, now: float) -> list[Effect]:
        server = self._servers.by_link(closed.link)
        if server is None:
            return []  # we have closed it, and counted it as closed then
        if isinstance(server.link, Dialling):
            return self._fail(server, closed.reason, now)
        self._forget_connections(server)  # their workers hear of it from the packet process
        server.lost(closed.reason, self._redial.ended(now, half_open=closed.half_open), now)
        return self._lose_home(server, others_at(now, half_open=closed.half_open))

    def _fail(self, server: Server, reason: str, now: float) -> list[Effect]:
        before = server.trouble()
        server.failed(reason, self._rng, now)
        return self._tell_trouble(server, server.waiting) if server.trouble() != before else []

    def _lose_home(self, server: Server, others_at: float) -> list[Effect]:
        if not self._is_home(server):
            return []
        self.state = Homeless(server.url, others_at)
        return [PEERS.send(HomeRelayChanged(url=None, server_ip=None))]

    def _on_change_home(self, now: float) -> list[Effect]:
        """Have another configured server be home, if one accepts us."""
        if not isinstance(self.state, Homed) or len(self._urls) == 1:
            return []
        home = self._servers.by_url[self.state.server]
        assert isinstance(home.link, Up)
        close = RELAY_LINKS.send(packet.CloseLink(link=home.link.link))
        self._forget_connections(home)  # their workers hear of it from the packet process
        home.lost("nothing came over it from any peer", now + AVOIDED_S, now)
        self._home_changes += 1
        return [close, *self._lose_home(home, now)]

    def _on_packet_restarted(self, incarnation: int, now: float) -> list[Effect]:
        if incarnation == self._packet:  # it is the same one, and mail to or from it went missing
            self._servers, self._where, self.state = Servers.configured(self._urls), {}, Starting()
            return self.start(now)
        self._packet = incarnation
        effects: list[Effect] = []
        for server in self._servers.by_url.values():
            self._forget_connections(server)
            server.lost("the packet process was restarted", now, now)
            effects += self._lose_home(server, now)
        if isinstance(self.state, Starting):
            self.state = Homeless(None, now)  # there is nothing that a snapshot could tell
        return effects

    def _forget_connections(self, server: Server) -> None:
        for peer in server.connections:
            del self._where[peer]
        server.connections.clear()

    # --- what outlived the control process ---

    def _on_snapshot(self, snapshot: packet.RelayLinksSnapshot, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if isinstance(self.state, Starting):
            self.state = Homeless(None, now)
            effects = [*self._adopt(snapshot, now), *self._find_home(now)[0]]
        return [*effects, PEERS.send(snapshot)]

    def _adopt(self, snapshot: packet.RelayLinksSnapshot, now: float) -> list[Effect]:
        for link in snapshot.links:
            server = self._servers.by_url.get(link.url) or self._servers.add(link.url, now)
            if server is None or not isinstance(server.link, Down):
                continue
            server.dialled(link.link, now)
            if link.instance_url is not None:
                server.opened(link, now)
        effects: list[Effect] = []
        for connection in snapshot.connections:
            server = self._servers.by_link(connection.link)
            if server is not None and connection.peer not in self._where and self._knows(connection.peer):
                server.connections[connection.peer] = connection.generation
                self._where[connection.peer] = server
            else:  # its relay worker has begun anew, or there is none
                close = packet.CloseOnLink(peer=connection.peer, generation=connection.generation, link=connection.link)
                effects.append(RELAY_LINKS.send(close))
        for server in self._servers.by_url.values():
            if isinstance(server.link, Up):
                effects += self._serve_waiting(server, now)
        return effects

    # --- what time brings ---

    def _review(self, now: float) -> list[Effect]:
        """Dial what is wanted, end what has waited or idled too long, and look again when the next of it is due."""
        effects, due = self._find_home(now)
        dials = sum(isinstance(server.link, Dialling) for server in self._servers.by_url.values() if server.configured)
        for server in list(self._servers.by_url.values()):
            effects += self._expire(server, now)
            due += [opening.limit_at for opening in list(server.waiting.values())[:1]]
            match server.link:
                case Down(retry_at=retry_at):
                    if not server.waiting and not (self._may_be_home(server, now) and dials < MAX_HOME_DIALS):
                        continue
                    if retry_at <= now:
                        effects.append(self._dial(server, now))
                        dials += server.configured
                        due.append(now + server.dial_s)
                    else:
                        due.append(retry_at)
                case Up(link=link):
                    if server.unused_since is None or self._is_home(server):
                        continue
                    if server.unused_since + UNUSED_S <= now:
                        effects.append(RELAY_LINKS.send(packet.CloseLink(link=link)))
                        server.closed(now)
                    else:
                        due.append(server.unused_since + UNUSED_S)
                case Dialling(limit_at=limit_at):
                    due.append(limit_at)
                case _:
                    assert_never(server.link)
        return [*effects, Later(max(min(due), now), LinkRetryDue()) if due else Cancel(LinkRetryDue)]

    def _find_home(self, now: float) -> tuple[list[Effect], list[float]]:
        """Make a configured server the home that is up already; say when to look again."""
        if not isinstance(self.state, Homeless):
            return [], []
        if (home := self._servers.oldest_up(lambda server: self._may_be_home(server, now))) is not None:
            return self._settle_home(home, now), []
        return [], [self.state.others_at] if now < self.state.others_at else []

    def _may_be_home(self, server: Server, now: float) -> bool:
        state = self.state
        if not isinstance(state, Homeless) or not server.configured:
            return False
        return server.url == state.lost or now >= state.others_at

    def _dial(self, server: Server, now: float) -> Effect:
        server.dialled(self._next_link, now)
        self._next_link += 1
        return RELAY_LINKS.send(packet.OpenLink(link=self._next_link - 1, url=server.url, server_ip=server.dial_ip))

    def _expire(self, server: Server, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if isinstance(server.link, Dialling) and server.link.limit_at <= now:
            effects.append(RELAY_LINKS.send(packet.CloseLink(link=server.link.link)))
            effects += self._fail(server, f"no answer within {server.dial_s:g} s", now)
        for peer, opening in list(server.waiting.items()):
            if opening.limit_at > now:
                break  # the oldest come first
            del server.waiting[peer], self._where[peer]
            effects.append(self._refuse(peer, opening.generation, server.trouble() or f"no link to {server.url}"))
        return effects

    # --- who is told ---

    def _is_home(self, server: Server) -> bool:
        return isinstance(self.state, Homed) and self.state.server == server.url

    def _knows(self, peer: PublicKey) -> bool:
        return self._known is None or peer in self._known

    def _refuse(self, peer: PublicKey, generation: int, reason: str) -> Effect:
        failed = packet.RelayedFailed(peer=peer, generation=generation, reason=reason)
        return peer_addresses(peer, self._controls).relay_worker.send(failed)

    def _tell_home(self, server: Server) -> list[Effect]:
        assert isinstance(server.link, Up)
        return [PEERS.send(HomeRelayChanged(url=server.instance_url, server_ip=server.link.server_ip))]

    def _tell_trouble(self, server: Server, peers: Iterable[PublicKey]) -> list[Effect]:
        told = [PathHindered(peer=peer, by="server", reason=server.trouble()) for peer in peers]
        return [peer_addresses(each.peer, self._controls).conn.send(each) for each in told]

    def _tell_status(self) -> list[Effect]:
        status = self._servers.status(self.state.server if isinstance(self.state, Homed) else None)
        if status == self._told:
            return []
        self._told = status
        return [STATUS.send(status)]
