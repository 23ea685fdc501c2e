"""What an agent leaves in its run directory for others to read, without an agent."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from actors.cli.running import LOCK_NAME, boot_now
from actors.messages.status import (
    AgentStatus,
    ChildStatus,
    ControlStatus,
    IceStatus,
    PacketStatus,
    PeerStatus,
    RelayLinkStatus,
    RelaysStatus,
    RuntimeStatus,
    SignalStatus,
    Snapshot,
    TunnelStatus,
)
from config.keys import PublicKey
from tests.config.samples import BOB

RELAY = "rel://203.0.113.1:8080"


class FakeAgent:
    """A run directory whose lock this process holds."""

    def __init__(self, run_directory: Path, node: str = "alice") -> None:
        self.node, self.directory = node, run_directory / node
        self.directory.mkdir(parents=True, mode=0o700)
        self.lock = os.open(self.directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()

    def die(self) -> None:
        """Let go of the lock, as the end of the supervisor does; the files stay."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def write(self, snapshots: Sequence[Snapshot]) -> None:
        """Write these snapshots."""
        for snapshot in snapshots:
            (self.directory / f"status-{snapshot.process}.json").write_bytes(msgspec.json.encode(snapshot))

    def write_usual(self) -> None:
        """Write the snapshots of an agent that is well."""
        self.write(usual(boot_now()))


def snapshot(process: str, now: float, *, incarnation: int = 7, age_s: float = 0.5, **parts: Any) -> Snapshot:
    """Return a snapshot that was written `age_s` ago."""
    return Snapshot(
        process=process,
        incarnation=incarnation,
        pid=100 + len(process),
        written_at=now - age_s,
        started_at=now - 3600,
        **{"runtime": RuntimeStatus(), **parts},
    )


def child(process: str, **changes: Any) -> ChildStatus:
    """Return what the supervisor says of a child that is well."""
    return ChildStatus(**{"process": process, "incarnation": 7, "state": "up", "since_at": 0.0, **changes})


def peer(now: float, key: PublicKey = BOB, **changes: Any) -> PeerStatus:
    """Return what control says of a peer that is reached."""
    usual_fields: dict[str, Any] = {
        "peer": key,
        "name": "bob",
        "state": "connected",
        "path": "relayed",
        "relay_url": RELAY,
        "ours": True,
        "since_at": now - 60,
        "reason": "not direct: no ICE yet",
    }
    return PeerStatus(**{**usual_fields, **changes})


def tunnel(now: float, key: PublicKey = BOB, **changes: Any) -> TunnelStatus:
    """Return what packet says of a peer that was heard 2 s ago."""
    usual_fields: dict[str, Any] = {
        "peer": key,
        "path": f"relayed {RELAY}",
        "heard_direct_at": None,
        "heard_relayed_at": now - 2,
        "handshake_at": now - 30,
        "rtt_s": 0.0123,
        "rx_bytes": 1_234_567,
        "tx_bytes": 89,
        "drops": {},
    }
    return TunnelStatus(**{**usual_fields, **changes})


def control(now: float, *peers: PeerStatus, connected: bool = True, **changes: Any) -> Snapshot:
    """Return control-0's snapshot."""
    part = ControlStatus(
        peers=peers or (peer(now),),
        signal=SignalStatus(url="http://203.0.113.1:10000", connected=connected, since_at=now - 90),
        relays=RelaysStatus(links=(RelayLinkStatus(url=RELAY, role="home", state="connected", since_at=now - 80),)),
    )
    return snapshot("control-0", now, control=part, **changes)


def packet(
    now: float,
    *tunnels: TunnelStatus,
    ice: tuple[IceStatus, ...] = (),
    stun: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
    **changes: Any,
) -> Snapshot:
    """Return the packet process's snapshot."""
    part = PacketStatus(tunnels=tunnels or (tunnel(now),), ice=ice, stun=stun, addresses=addresses)
    return snapshot("packet", now, packet=part, **changes)


def supervisor(now: float, *children: ChildStatus, draining: bool = False, **changes: Any) -> Snapshot:
    """Return the supervisor's snapshot."""
    part = AgentStatus(children=children or (child("control-0"), child("packet")), draining=draining)
    return snapshot("supervisor", now, agent=part, **changes)


def usual(now: float) -> list[Snapshot]:
    """Return the snapshots of an agent that is well."""
    return [supervisor(now), control(now), packet(now)]
