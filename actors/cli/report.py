"""What `homing status` says: the snapshots of all processes, put together and held to what was proven.

Two processes say how a peer is: control what it decided, packet what it heard.  "connected" is said only when packet
heard an authenticated packet on the path in use within PROVEN_S; a process whose snapshot is old is called silent, and
what it said last counts for no more than that.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from actors.messages.recoveries import Cause, Recovered, Rung
from actors.messages.status import (
    ChildStatus,
    IceStatus,
    PeerStatus,
    RelayLinkStatus,
    RuntimeStatus,
    SignalStatus,
    Snapshot,
    TunnelStatus,
)
from config.keys import PublicKey, short
from wg.paths import PathKind

PROVEN_S = 55.0  # longer silence is evidence even on an idle path (recovery.md, proof and doubt)
STALE_S = 5.0  # a snapshot is written every second
HUNG_S = 10.0  # the watchdogs of the supervisor act before this

State = Literal["connecting", "connected", "doubtful", "idle", "parked"]
Check = Literal["live", "ready", "startup"]


class DirectReport(msgspec.Struct, frozen=True, kw_only=True):
    """The search for a direct path to a peer (ICE)."""

    state: Literal["checking", "connected", "doubtful", "ended"]
    age_s: float  # of the state
    pair: str  # the one that was proven: "10.0.0.1 -> srflx 192.0.2.7:51820"
    reason: str  # why it is doubtful, or ended
    tried: tuple[str, ...]  # a line for each pair while there is none


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outages of a peer that are over, and what was done about those and the present one (recovery R10, R11)."""

    by_cause: dict[Cause, Recovered]  # those that there were
    rungs: dict[Rung, int]  # how often each was climbed
    disruptive_actions: int  # that closed or replaced what had carried packets
    budget_left: int | None  # of those that no proof follows; None: not told
    quarantined_s: float | None  # for so long; None: it is not
    quarantined_for: str
    resets: int  # by hand


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One peer."""

    name: str
    public_key: PublicKey
    state: State
    path: PathKind | None  # in use
    endpoint: str  # of the path: ip:port of the peer, or URL of the relay server
    proof_age_s: float | None  # since an authenticated packet came on the path in use; None: none did
    rtt_s: float | None
    handshake_age_s: float | None
    rx_bytes: int
    tx_bytes: int
    drops: dict[str, int]
    state_age_s: float | None
    recoveries: int
    last_recovery_s: float | None
    last_recovery_cause: str
    ours: bool | None
    reason: str  # why it is not up, or not direct
    direct: DirectReport | None = None  # None: none is looked for
    rtt_age_s: float | None = None  # since it was measured
    recovery: RecoveryReport | None = None  # None: control has not told of the peer


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the agent."""

    process: str
    pid: int | None
    incarnation: int | None
    snapshot_age_s: float | None  # None: none was written
    silent: bool  # the snapshot is older than it should be
    uptime_s: float | None
    state: str  # as the supervisor sees it; "" of the supervisor itself
    restarts: int
    reason: str  # of the last restart
    unhealthy: bool
    actor_restarts: int
    mailbox_depth: int
    dead_letters: int
    counters: dict[str, int]  # what its actors, mailboxes and links counted, by name; those that are not 0


class LinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """The link to a signal or relay server."""

    url: str
    state: str
    role: str  # "signal", "home" or "foreign"
    age_s: float  # of the state
    reason: str
    transport: Literal["ws", "quic"] | None = None  # of a relay link that is connected
    quic_fault: str = ""  # why QUIC is wanted there and not used


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    node: str
    running: bool
    pid: int | None
    draining: bool
    links: tuple[LinkReport, ...]
    peers: tuple[PeerReport, ...]
    processes: tuple[ProcessReport, ...]
    problems: tuple[str, ...]  # what keeps this report from being whole
    stun: tuple[str, ...] = ()  # what STUN servers say of our addresses, a line each
    addresses: tuple[str, ...] = ()  # of this machine, a line each: whether peers are told of it, or why not
    drops: dict[str, int] = {}  # reason -> packets that belonged to no peer
    udp_port: int = 0  # that carries WireGuard and STUN
    rebinds: int = 0  # times that another was taken, because no peer was proven
    interface_repairs: int = 0  # times that somebody set our interface down, or took its addresses or routes


def make_report(
    node: str, pid: int | None, snapshots: Sequence[Snapshot], problems: Sequence[str], now: float
) -> Report:
    """Put the snapshots together at `now` (CLOCK_BOOTTIME seconds); `pid` is the running supervisor's, or None."""
    processes = tuple(_processes(snapshots, now))
    silent = [
        f"{one.process} has been silent for {_ago(one.snapshot_age_s)}: what it said is that old"
        for one in processes
        if one.silent and one.snapshot_age_s is not None
    ]
    return Report(
        node=node,
        running=pid is not None,
        pid=pid,
        draining=any(snapshot.agent.draining for snapshot in snapshots if snapshot.agent is not None),
        links=tuple(_links(snapshots, now)),
        peers=tuple(sorted(_peers(snapshots, now), key=lambda peer: peer.name)),
        processes=processes,
        problems=(*problems, *silent),
        stun=tuple(line for snapshot in snapshots if snapshot.packet is not None for line in snapshot.packet.stun),
        addresses=tuple(
            line for snapshot in snapshots if snapshot.packet is not None for line in snapshot.packet.addresses
        ),
        drops={
            reason: count
            for snapshot in snapshots
            if snapshot.packet is not None
            for reason, count in sorted(snapshot.packet.drops.items())
        },
        udp_port=max((snapshot.agent.udp_port for snapshot in snapshots if snapshot.agent is not None), default=0),
        rebinds=sum(snapshot.agent.rebinds for snapshot in snapshots if snapshot.agent is not None),
        interface_repairs=sum(snapshot.agent.interface_repairs for snapshot in snapshots if snapshot.agent is not None),
    )


def names_of(snapshots: Sequence[Snapshot]) -> dict[PublicKey, str]:
    """Return the names that the configuration gives to peers."""
    return {
        peer.peer: peer.name
        for snapshot in snapshots
        if snapshot.control is not None
        for peer in snapshot.control.peers
    }


def find_peer(names: dict[PublicKey, str], wanted: str) -> list[PublicKey]:
    """Return the peers of that name, or else those whose key begins so."""
    named = [key for key, name in names.items() if name == wanted]
    return named or [key for key in names if len(wanted) >= 4 and key.startswith(wanted)]


def failure_of(check: Check, report: Report) -> str:
    """Return why the agent does not pass a check; "" when it does.

    startup: every process has come up.  live: every process makes progress, or the supervisor is at work on it.
    ready: all of them do, and the agent can be reached or reaches a peer.
    """
    if not report.running:
        return "the agent is not running"
    if len(report.processes) < 2:
        return "its processes have not started yet"
    for one in report.processes:
        if failure := _process_failure(check, one):
            return failure
    if check == "ready":
        if report.draining:
            return "the agent is stopping"
        reached = any(link.role == "signal" and link.state == "connected" for link in report.links)
        if not reached and not any(peer.state == "connected" for peer in report.peers):
            return "no connection to the signal server, and none to any peer"
    return ""


def _process_failure(check: Check, one: ProcessReport) -> str:
    age = one.snapshot_age_s
    if check == "live" and one.state in {"starting", "hung", "waiting"}:
        return ""  # the supervisor knows, and restarts it
    if age is None or one.state not in {"", "up"}:
        return f"{one.process} is not up" + (f" ({one.state})" if one.state else "")
    if check != "startup" and age > (HUNG_S if check == "live" else STALE_S):
        return f"{one.process} has been silent for {_ago(age)}"
    return ""


def _processes(snapshots: Sequence[Snapshot], now: float) -> Iterator[ProcessReport]:
    written = {snapshot.process: snapshot for snapshot in snapshots}
    children: dict[str, ChildStatus] = {}
    for snapshot in snapshots:
        if snapshot.agent is not None:
            children |= {child.process: child for child in snapshot.agent.children}
    for name in sorted({*written, *children}, key=lambda process: (process != "supervisor", process)):
        yield _process(name, written.get(name), children.get(name), now)


def _process(name: str, snapshot: Snapshot | None, child: ChildStatus | None, now: float) -> ProcessReport:
    # A snapshot of an incarnation before the present one says nothing of it.
    if snapshot is not None and child is not None and snapshot.incarnation != child.incarnation:
        snapshot = None
    age = None if snapshot is None else max(now - snapshot.written_at, 0.0)
    runtime = RuntimeStatus() if snapshot is None else snapshot.runtime
    return ProcessReport(
        process=name,
        pid=None if snapshot is None else snapshot.pid,
        incarnation=None if snapshot is None else snapshot.incarnation,
        snapshot_age_s=age,
        silent=age is None or age > STALE_S,
        uptime_s=None if snapshot is None else max(now - snapshot.started_at, 0.0),
        state="" if child is None else child.state,
        restarts=0 if child is None else child.restarts,
        reason="" if child is None else child.reason,
        unhealthy=child is not None and child.unhealthy,
        actor_restarts=runtime.restarts,
        mailbox_depth=runtime.mailbox_depth,
        dead_letters=sum(runtime.dead_letters.values()),
        counters=_counters(runtime),
    )


def _counters(runtime: RuntimeStatus) -> dict[str, int]:
    kinds = (("", runtime.counters), ("dead_letters.", runtime.dead_letters), ("overflow.", runtime.overflow))
    found = {f"{kind}{name}": count for kind, counts in kinds for name, count in counts.items()}
    return {name: count for name, count in sorted(found.items()) if count}


def _links(snapshots: Sequence[Snapshot], now: float) -> Iterator[LinkReport]:
    for snapshot in snapshots:
        if snapshot.control is None:
            continue
        if snapshot.control.signal is not None:
            yield _signal_link(snapshot.control.signal, now)
        if snapshot.control.relays is not None:
            yield from (_relay_link(link, now) for link in snapshot.control.relays.links)


def _signal_link(signal: SignalStatus, now: float) -> LinkReport:
    state = "connected" if signal.connected else "connecting"
    return LinkReport(url=signal.url, state=state, role="signal", age_s=now - signal.since_at, reason=signal.reason)


def _relay_link(link: RelayLinkStatus, now: float) -> LinkReport:
    return LinkReport(
        url=link.url,
        state=link.state,
        role=link.role,
        age_s=now - link.since_at,
        reason=link.reason,
        transport=link.transport,
        quic_fault=link.quic_fault,
    )


def _peers(snapshots: Sequence[Snapshot], now: float) -> Iterator[PeerReport]:
    decided: dict[PublicKey, tuple[PeerStatus, bool]] = {}
    tunnels: dict[PublicKey, TunnelStatus] = {}
    searches: dict[PublicKey, IceStatus] = {}
    for snapshot in snapshots:
        fresh = now - snapshot.written_at <= STALE_S
        if snapshot.control is not None:
            decided |= {peer.peer: (peer, fresh) for peer in snapshot.control.peers}
        if snapshot.packet is not None:
            tunnels |= {tunnel.peer: tunnel for tunnel in snapshot.packet.tunnels}
            searches |= {search.peer: search for search in snapshot.packet.ice}
    unsignalled = any(link.role == "signal" and link.state != "connected" for link in _links(snapshots, now))
    for key in {*decided, *tunnels}:
        peer, fresh = decided.get(key, (None, False))
        found = _peer(key, peer, fresh, tunnels.get(key), now)
        if unsignalled and found.state == "connecting":  # what follows may be the remote's, or only ours
            reason = "; ".join(filter(None, ("the signal server is not connected", found.reason)))
            found = msgspec.structs.replace(found, reason=reason)
        yield msgspec.structs.replace(found, direct=_direct(searches.get(key), now))


def _direct(search: IceStatus | None, now: float) -> DirectReport | None:
    if search is None:
        return None
    age_s = max(now - search.since_at, 0.0)
    return DirectReport(state=search.state, age_s=age_s, pair=search.pair, reason=search.reason, tried=search.tried)


def _peer(key: PublicKey, peer: PeerStatus | None, fresh: bool, tunnel: TunnelStatus | None, now: float) -> PeerReport:
    path, endpoint, heard_at = _path_of(tunnel)
    proof_age_s = None if heard_at is None else max(now - heard_at, 0.0)
    proven = proof_age_s is not None and proof_age_s <= PROVEN_S
    state, reason = _state_of(peer, fresh, proven, proof_age_s)
    recovery = None if peer is None else _recovery(peer, now)
    if recovery is not None and recovery.quarantined_s is not None and state != "connected":
        reason = "; ".join(filter(None, (f"quarantined, and tried slowly: {recovery.quarantined_for}", reason)))
    return PeerReport(
        name=short(key) if peer is None else peer.name,
        public_key=key,
        state=state,
        path=path,
        endpoint=endpoint,
        proof_age_s=proof_age_s,
        rtt_s=None if tunnel is None else tunnel.rtt_s,
        handshake_age_s=None if tunnel is None or tunnel.handshake_at is None else now - tunnel.handshake_at,
        rx_bytes=0 if tunnel is None else tunnel.rx_bytes,
        tx_bytes=0 if tunnel is None else tunnel.tx_bytes,
        drops={} if tunnel is None else tunnel.drops,
        state_age_s=None if peer is None or state != peer.state else max(now - peer.since_at, 0.0),
        recoveries=0 if peer is None else peer.recoveries,
        last_recovery_s=None if peer is None else peer.last_recovery_s,
        last_recovery_cause="" if peer is None else peer.last_recovery_cause,
        ours=None if peer is None else peer.ours,
        reason=reason,
        rtt_age_s=None if tunnel is None or tunnel.rtt_at is None else max(now - tunnel.rtt_at, 0.0),
        recovery=recovery,
    )


def _recovery(peer: PeerStatus, now: float) -> RecoveryReport:
    quarantined = peer.quarantined_at is not None and now < (peer.quarantined_until or 0.0)
    return RecoveryReport(
        by_cause={recovered.cause: recovered for recovered in peer.recovered},
        rungs=peer.rungs,
        disruptive_actions=peer.disruptions,
        budget_left=peer.budget_left,
        quarantined_s=now - peer.quarantined_at if quarantined and peer.quarantined_at is not None else None,
        quarantined_for=peer.quarantined_for if quarantined else "",
        resets=peer.resets,
    )


def _path_of(tunnel: TunnelStatus | None) -> tuple[PathKind | None, str, float | None]:
    """Return the path in use, where it leads, and when a packet was last heard on it."""
    kind, _, endpoint = ("" if tunnel is None else tunnel.path).partition(" ")
    if tunnel is not None and kind == "direct":
        return "direct", endpoint, tunnel.heard_direct_at
    if tunnel is not None and kind == "relayed":
        return "relayed", endpoint, tunnel.heard_relayed_at
    return None, "", None


def _state_of(peer: PeerStatus | None, fresh: bool, proven: bool, proof_age_s: float | None) -> tuple[State, str]:
    """Return what may be said of the peer, and why it is no more than that."""
    if peer is None or not fresh:
        # Packets go on while control is away: then what was heard is all there is to say.
        said = "" if peer is None else peer.reason
        return ("connected" if proven else "connecting"), said
    if peer.state != "connected" or proven:
        return peer.state, peer.reason
    heard = "nothing heard yet" if proof_age_s is None else f"nothing heard for {_ago(proof_age_s)}"
    return "doubtful", f"{heard}; {peer.reason}" if peer.reason else heard


def _ago(age_s: float | None) -> str:
    return "?" if age_s is None else f"{age_s:.0f} s"
