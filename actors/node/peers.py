"""Knows which peers should run, and keeps them running.

    Unconfigured --PeersConfigured--> Asking --all snapshots, StartPeersDue--> Running
                                        ^---peers to start again, a reload---------/

    each peer:  Waiting --its time, snapshots at hand--> Started --PeerFailed--> Waiting | Parked
                                                            ^----PARK_S-------------------/

Peers are started with what the packet process still holds of them, so that the actors of a peer whose tunnel works
begin from that.  Many are started a few at a time.  What all peers must hear (the home relay, outside events,
a restarted packet process) goes through here.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import ClassVar, assert_never

import msgspec

from actors.addresses import (
    ICE_AGENTS,
    PACKET,
    RELAY_LINKS,
    RELAYS,
    SIGNAL,
    STATUS,
    TUNNELS,
    home_of,
    peer_addresses,
    process_actor,
)
from actors.effects import Address, Cancel, Effect, Later
from actors.messages.node import (
    HomeRelayChanged,
    KnownPeers,
    OutsideEvent,
    PeerForgotten,
    PeersInbox,
    PeerStarted,
    StartPeersDue,
    TellEventsDue,
)
from actors.messages.packet import (
    CloseIceAgent,
    ConfigurePeer,
    IceAgentsSnapshot,
    IceAgentsSnapshotWanted,
    RelayLinksSnapshot,
    RelayLinksSnapshotWanted,
    RemovePeer,
    TunnelsSnapshot,
    TunnelsSnapshotWanted,
)
from actors.messages.process import (
    PeerFailed,
    PeersConfigured,
    PeerSettings,
    ProcessInbox,
    ProcessRestarted,
    Resumed,
    StartPeer,
    StopPeer,
)
from actors.messages.status import PeerStatus
from actors.node.outlived import what_outlived
from actors.node.outside import OutsideEvents, doubt_links, spread_s
from config.keys import PublicKey

SNAPSHOT_S = 1.0  # that the packet process may take to tell what it holds
STARTS_AT_ONCE = 50
START_PAUSE_S = 0.05  # between so many
FIRST_RESTART_S = 0.2  # after a failure; doubles
LONGEST_RESTART_S = 30.0
JITTER = (0.5, 1.0)
FAILURES = 5  # more of them in WINDOW_S: parked
WINDOW_S = 60.0
PARK_S = 300.0


@dataclass(frozen=True, slots=True)
class Unconfigured:
    """Nobody has said which peers there are."""


@dataclass(frozen=True, slots=True)
class Asking:
    """The packet process is asked what it holds; StartPeersDue bounds it."""

    until: float
    tunnels: TunnelsSnapshot | None = None
    relays: RelayLinksSnapshot | None = None
    agents: IceAgentsSnapshot | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """Every peer is started, or has its time; StartPeersDue is set if one waits."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """To be started."""

    at: float


@dataclass(frozen=True, slots=True)
class Started:
    """StartPeer was sent."""

    home: HomeRelayChanged  # as it said
    packet: int  # incarnation of the packet process then; 0: the first that we knew


@dataclass(slots=True)
class Entry:
    """One configured peer."""

    settings: PeerSettings
    run: Waiting | Started
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES + 1))


class Peers:
    """Keeps the configured peers running.

    `packet_incarnation` tells a packet process that restarted from one that is there and whose mail went missing; 0:
    not known.  `configured` is what a Peers knew that is made anew after a failure; None: to be told.
    """

    inbox: ClassVar[object] = PeersInbox

    def __init__(
        self,
        controls: tuple[str, ...],
        *,
        rng: Random,
        packet_incarnation: int = 0,
        configured: PeersConfigured | None = None,
    ) -> None:
        self._controls, self._rng, self._configured = controls, rng, configured
        self._entries: dict[PublicKey, Entry] = {}
        self._home = HomeRelayChanged(url=None, server_ip=None)
        self._packet = packet_incarnation
        self._events = OutsideEvents()
        self.state: Unconfigured | Asking | Running = Unconfigured()

    @property
    def counters(self) -> dict[str, int]:
        """How many outside events there were."""
        return dict(self._events.counters)

    def start(self, now: float) -> list[Effect]:
        """Go on with the peers that are known."""
        return self._on_configured(self._configured, now) if self._configured is not None else []

    def handle(self, message: PeersInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case PeersConfigured():
                return self._on_configured(message, now)
            case TunnelsSnapshot() | RelayLinksSnapshot() | IceAgentsSnapshot():
                return self._on_snapshot(message, now)
            case StartPeersDue():
                return self._on_due(now)
            case PeerStarted():
                return self._on_started(message.peer)
            case PeerFailed():
                return self._on_failed(message, now)
            case ProcessRestarted():
                return self._on_restarted(message, now)
            case HomeRelayChanged():
                self._home = msgspec.structs.replace(message, spread_s=spread_s(len(self._entries)))
                return [effect for peer in self._started() for effect in self._tell_home(peer)]
            case OutsideEvent():
                return self._tell_all(self._events.happened(message, now), now)
            case TellEventsDue():
                return self._tell_all(self._events.due(now), now)
            case _:
                assert_never(message)

    # --- configuration ---

    def _on_configured(self, configured: PeersConfigured, now: float) -> list[Effect]:
        wanted = {settings.peer: settings for settings in configured.peers}
        known = KnownPeers(peers=frozenset(wanted))
        effects: list[Effect] = [SIGNAL.send(known), RELAYS.send(known)]
        for peer in [peer for peer in self._entries if peer not in wanted]:
            effects += self._forget(peer)
        for peer, settings in wanted.items():
            entry = self._entries.get(peer)
            if entry is not None and entry.settings == settings:
                continue
            self._entries[peer] = Entry(settings, Waiting(now))
            effects.append(self._configure(settings))
        return [*effects, *self._look(now)]

    def _forget(self, peer: PublicKey) -> list[Effect]:
        del self._entries[peer]
        return [
            self._process_of(peer).send(StopPeer(peer=peer)),
            TUNNELS.send(RemovePeer(peer=peer)),
            STATUS.send(PeerForgotten(peer=peer)),
        ]

    def _configure(self, settings: PeerSettings) -> Effect:
        return TUNNELS.send(
            ConfigurePeer(
                peer=settings.peer,
                allowed_ips=settings.allowed_ips,
                persistent_keepalive_s=settings.persistent_keepalive_s,
                preshared_key=settings.preshared_key,
            )
        )

    # --- starting ---

    def _look(self, now: float) -> list[Effect]:
        """Ask what the packet process holds if a peer is to be started; else wake when the next one is."""
        if isinstance(self.state, Asking):
            return []  # the answer will serve
        times = [entry.run.at for entry in self._entries.values() if isinstance(entry.run, Waiting)]
        self.state = Running()
        if not times:
            return [Cancel(StartPeersDue)]
        if min(times) > now:
            return [Later(min(times), StartPeersDue())]
        self.state = Asking(now + SNAPSHOT_S)
        return [
            TUNNELS.send(TunnelsSnapshotWanted()),
            RELAY_LINKS.send(RelayLinksSnapshotWanted()),
            ICE_AGENTS.send(IceAgentsSnapshotWanted()),
            Later(self.state.until, StartPeersDue()),
        ]

    def _on_snapshot(
        self, snapshot: TunnelsSnapshot | RelayLinksSnapshot | IceAgentsSnapshot, now: float
    ) -> list[Effect]:
        asked = self.state
        if not isinstance(asked, Asking):
            return []  # somebody else asked, or it came too late
        effects: list[Effect] = []
        match snapshot:
            case TunnelsSnapshot(tunnels=tunnels):
                self.state = replace(asked, tunnels=snapshot)
                # Taken out of the configuration while nobody here could say so.
                gone = [tunnel.peer for tunnel in tunnels if tunnel.peer not in self._entries]
                effects = [TUNNELS.send(RemovePeer(peer=peer)) for peer in gone]
            case RelayLinksSnapshot():
                self.state = replace(asked, relays=snapshot)
            case IceAgentsSnapshot(agents=agents):
                self.state = replace(asked, agents=snapshot)
                forgotten = [agent for agent in agents if agent.peer not in self._entries]
                effects = [
                    ICE_AGENTS.send(CloseIceAgent(peer=agent.peer, session=agent.session)) for agent in forgotten
                ]
            case _:
                assert_never(snapshot)
        if self.state.tunnels is None or self.state.relays is None or self.state.agents is None:
            return effects
        return [*effects, *self._start_due(now)]

    def _on_due(self, now: float) -> list[Effect]:
        if isinstance(self.state, Asking):
            return self._start_due(now)
        return self._look(now)

    def _start_due(self, now: float) -> list[Effect]:
        """Start peers whose time has come, some at a time: for the next ones the snapshots would be old."""
        assert isinstance(self.state, Asking), self.state
        due = [entry for entry in self._entries.values() if isinstance(entry.run, Waiting) and entry.run.at <= now]
        resumable = what_outlived(self.state.tunnels, self.state.relays, self.state.agents)
        effects = [self._start(entry, resumable) for entry in due[:STARTS_AT_ONCE]]
        self.state = Running()
        if len(due) > STARTS_AT_ONCE:
            return [*effects, Later(now + START_PAUSE_S, StartPeersDue())]
        return [*effects, *self._look(now)]

    def _start(self, entry: Entry, resumable: dict[PublicKey, Resumed]) -> Effect:
        peer = entry.settings.peer
        entry.run = Started(self._home, self._packet)
        start = StartPeer(
            settings=entry.settings,
            resumed=resumable.get(peer),
            home_relay_url=self._home.url,
            home_relay_ip=self._home.server_ip,
        )
        return self._process_of(peer).send(start)

    def _on_started(self, peer: PublicKey) -> list[Effect]:
        """Make up for what changed between StartPeer and the first mail that the peer's actors could get."""
        entry = self._entries.get(peer)
        if entry is None or not isinstance(entry.run, Started):
            return []  # stopped, or failed again, meanwhile
        effects: list[Effect] = []
        if entry.run.packet != self._packet:
            restarted = ProcessRestarted(process=PACKET, incarnation=self._packet)
            effects += [*self._tell_watchers(peer, restarted), *self._tell_worker(peer, restarted)]
        if entry.run.home != self._home:
            effects += self._tell_home(peer)
            if self._home.url is not None:
                effects += self._tell_event(peer, OutsideEvent(kind="relay_connected", detail=self._home.url))
        entry.run = Started(self._home, self._packet)
        return effects

    # --- failing ---

    def _on_failed(self, failed: PeerFailed, now: float) -> list[Effect]:
        entry = self._entries.get(failed.peer)
        if entry is None:
            return []  # it is not configured any more
        entry.failures.append(now)
        recent = sum(now - at <= WINDOW_S for at in entry.failures)
        if recent > FAILURES:
            entry.run = Waiting(now + PARK_S)
            return [self._park(entry, failed, now), *self._look(now)]
        wait_s = min(FIRST_RESTART_S * 2.0 ** (recent - 1), LONGEST_RESTART_S)
        entry.run = Waiting(now + wait_s * self._rng.uniform(*JITTER))
        return self._look(now)

    def _park(self, entry: Entry, failed: PeerFailed, now: float) -> Effect:
        reason = (
            f"its actors failed {len(entry.failures)} times in {WINDOW_S:.0f} s, the last time {failed.actor}: "
            f"{failed.error}; tried again in {PARK_S:.0f} s"
        )
        entry.failures.clear()
        settings = entry.settings
        return STATUS.send(
            PeerStatus(peer=settings.peer, name=settings.name, state="parked", path=None, reason=reason, since_at=now)
        )

    def _on_restarted(self, restarted: ProcessRestarted, now: float) -> list[Effect]:
        if restarted.process != PACKET:
            return self._start_again(restarted.process, now)
        if restarted.incarnation != self._packet:
            return self._on_packet_restarted(restarted, now)
        # It is the same one, and mail to or from it went missing: everybody begins from what it says it holds.
        effects = [self._configure(entry.settings) for entry in self._entries.values()]
        effects.append(RELAYS.send(restarted))
        return [*effects, *(effect for control in self._controls for effect in self._start_again(control, now))]

    def _start_again(self, control: str, now: float) -> list[Effect]:
        """Start the peers of this process anew."""
        for peer, entry in self._entries.items():
            if home_of(peer, self._controls) == control:
                entry.run = Waiting(now)
        return self._look(now)

    def _on_packet_restarted(self, restarted: ProcessRestarted, now: float) -> list[Effect]:
        """Configure its tunnels again, then tell who must forget a path, then who dials and opens, in this order."""
        self._packet = restarted.incarnation
        started = list(self._started())
        effects = [
            *(self._configure(entry.settings) for entry in self._entries.values()),
            *(effect for peer in started for effect in self._tell_watchers(peer, restarted)),
            RELAYS.send(restarted),
            *(effect for peer in started for effect in self._tell_worker(peer, restarted)),
        ]
        if isinstance(self.state, Asking):
            self.state = Asking(self.state.until)  # what the old one held is gone
            effects += self._start_due(now)
        return effects

    # --- who is told ---

    def _started(self) -> Iterable[PublicKey]:
        return (peer for peer, entry in self._entries.items() if isinstance(entry.run, Started))

    def _process_of(self, peer: PublicKey) -> Address[ProcessInbox]:
        return process_actor(home_of(peer, self._controls))

    def _tell_home(self, peer: PublicKey) -> list[Effect]:
        to = peer_addresses(peer, self._controls)
        return [to.relay_worker.send(self._home), to.offer_listener.send(self._home)]

    def _tell_all(self, events: list[OutsideEvent], now: float) -> list[Effect]:
        """Tell of these, and go on with those that not all peers have been told of yet (recovery R12)."""
        effects = [effect for event in events for effect in doubt_links(event)]
        for event in events:
            self._events.tell(event, self._started(), now)
        for peer, event in self._events.next_turn(now):
            effects += self._tell_event(peer, event)
        at = self._events.next_at()
        return effects if at is None else [*effects, Later(at, TellEventsDue())]

    def _tell_event(self, peer: PublicKey, event: OutsideEvent) -> list[Effect]:
        to = peer_addresses(peer, self._controls)
        told: list[Effect] = [to.wg_watcher.send(event), to.guard.send(event)]
        return [*told, to.offer_listener.send(event)] if event.kind == "signal_connected" else told

    def _tell_watchers(self, peer: PublicKey, restarted: ProcessRestarted) -> list[Effect]:
        """Have the session rotated before the path is lost (recovery R6)."""
        to = peer_addresses(peer, self._controls)
        return [to.ice_worker.send(restarted), to.conn.send(restarted), to.wg_watcher.send(restarted)]

    def _tell_worker(self, peer: PublicKey, restarted: ProcessRestarted) -> list[Effect]:
        return [peer_addresses(peer, self._controls).relay_worker.send(restarted)]
