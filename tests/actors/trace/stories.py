"""Records of one peer's troubles, as the mail of a real one leaves them, a line each."""

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from actors.messages import node, packet, peer, process
from actors.trace.explain import Explanation, Standing, explain
from actors.trace.record import Record
from config.keys import PublicKey
from tests.config.samples import BOB
from transport.signal.messages import (
    CandidateReceived,
    Description,
    HomingFields,
    OfferReceived,
    SignalConnected,
    SignalDisconnected,
)
from wg import reports
from wg.paths import DirectPath, PathKind

BEGAN = 1000.0  # the peer's actors
FAULT = 1100.0
NOW = 1200.0
RELAY, OTHER_RELAY = "rel://203.0.113.1:8080", "rel://203.0.113.2:8081"
SIGNAL_URL = "http://203.0.113.1:10000"
SILENT = "half-open: nothing heard for 3.0 s, pings unanswered"
REFUSED = "connection refused; no server listens there"
CLOSED = "the other end closed the connection"


def candidate(ip: str, kind: str = "srflx") -> str:
    return f"1243746974 1 udp 1694498815 {ip} 51820 typ {kind} raddr 192.168.1.2 rport 51820"


@dataclass
class Story:
    """What one end's processes remember; times are seconds after the fault."""

    records: list[Record] = field(default_factory=list)
    links: dict[str, int] = field(default_factory=dict)

    def mail(
        self, at: float, to: str, message: msgspec.Struct, *, before: str = "", process: str = "control-0"
    ) -> "Story":
        tag = type(message).__struct_config__.tag
        assert isinstance(tag, str)
        self.records.append(
            Record(
                at=FAULT + at,
                process=process,
                kind="delivered",
                to=to if "/" not in to else to.replace("bob/", f"peer/{BOB}/"),
                id=len(self.records) + 1,
                tag=tag,
                body=msgspec.msgpack.encode(message),
                before=before,
                after=before,
            )
        )
        return self

    # --- the peer ---

    def up(self) -> "Story":
        """The peer is reached, long before the fault."""
        self.mail(-100.0, "peers", node.PeerStarted(peer=BOB))
        self.link(-100.0, "opened").signal(-100.0).ready("packet", -101.0).ready("control-0", -101.0)
        self.offer(-99.9)
        return self.proven(-99.8, "relayed")

    def proven(self, at: float, path: PathKind) -> "Story":
        return self.mail(at, "bob/conn", peer.PathProven(peer=BOB, path=path, generation=1, heard_at=FAULT + at))

    def doubtful(self, at: float, path: PathKind) -> "Story":
        return self.mail(at, "bob/conn", peer.PathDoubtful(peer=BOB, path=path, generation=1, reason="no answer"))

    def dead(self, at: float, path: PathKind) -> "Story":
        return self.mail(at, "bob/conn", peer.PathDead(peer=BOB, path=path, generation=1, reason="3 unanswered"))

    def relay_lost(self, at: float, reason: str = "3 unanswered") -> "Story":
        return self.mail(at, "bob/conn", peer.RelayLost(peer=BOB, generation=1, reason=reason))

    def stun_doubtful(self, at: float, reason: str = "no answer from 198.51.100.2:51820 for 0.4 s") -> "Story":
        return self.mail(at, "bob/conn", peer.IceDoubtful(peer=BOB, generation=1, reason=reason))

    def stun_dead(self, at: float) -> "Story":
        return self.mail(at, "bob/conn", peer.IceLost(peer=BOB, generation=1, reason="not answered for 2.0 s"))

    def heard(self, at: float, path: PathKind) -> "Story":
        return self.mail(at, "bob/wg_watcher", reports.PathHeard(peer=BOB, path=path, heard_at=FAULT + at))

    def echoed(self, at: float, path: PathKind) -> "Story":
        return self.mail(at, "bob/wg_watcher", reports.EchoAnswered(peer=BOB, path=path, token=1, rtt_s=0.01))

    def pair(self, at: float, ip: str) -> "Story":
        found = packet.IcePairProven(
            peer=BOB, session=b"12345", remote_session=None, path=DirectPath(ip=ip, port=51820), local="192.168.1.2",
            remote_kind="srflx", rtt_s=0.01,
        )  # fmt: skip
        return self.mail(at, "bob/ice_worker", found)

    def offer(
        self, at: float, relay: str | None = RELAY, of: PublicKey = BOB, homing: HomingFields | None = None
    ) -> "Story":
        told = Description(
            ice=None,
            session=None,
            listen_port=51820,
            version="",
            relay_url=relay,
            relay_ip=None,
            homing=homing,
        )
        return self.mail(at, "signal", OfferReceived(peer=of, description=told, nonce=bytes(24)))

    def theirs(self, at: float, ip: str) -> "Story":
        return self.mail(at, "signal", CandidateReceived(peer=BOB, candidate=candidate(ip), nonce=bytes(24)))

    def ours(self, at: float, ip: str) -> "Story":
        found = packet.LocalCandidateFound(peer=BOB, session=b"12345", candidate=candidate(ip))
        return self.mail(at, "bob/ice_worker", found)

    # --- the node ---

    def link(
        self, at: float, how: Literal["opened", "broke", "failed"], reason: str = "", relay: str = RELAY
    ) -> "Story":
        if how == "opened" or (how == "failed" and relay not in self.links):
            self.links[relay] = len(self.links) * 100 + len(self.records)
            self.mail(at, "relay_links", packet.OpenLink(link=self.links[relay], url=relay), process="packet")
        number = self.links[relay]
        if how == "opened":
            return self.mail(at, "relays", packet.LinkOpened(link=number, instance_url=relay, server_ip=None))
        return self.mail(at, "relays", packet.LinkClosed(link=number, reason=reason, was_open=how == "broke"))

    def signal(self, at: float, reason: str = "", *, before: str = "Connected") -> "Story":
        if not reason:
            return self.mail(at, "signal", SignalConnected(url=SIGNAL_URL), before="Disconnected")
        return self.mail(at, "signal", SignalDisconnected(url=SIGNAL_URL, reason=reason, retry_s=1.0), before=before)

    def outside(self, at: float, kind: Any, detail: str = "") -> "Story":
        return self.mail(at, "peers", node.OutsideEvent(kind=kind, detail=detail))

    def ready(self, name: str, at: float) -> "Story":
        return self.mail(at, "agent", process.ProcessReady(process=name, incarnation=1), process="supervisor")

    def exited(self, at: float, name: str, status: str, *, hung: bool = False) -> "Story":
        if hung:
            self.mail(at - 0.1, "host", process.KillProcess(process=name, incarnation=1), process="supervisor")
        return self.mail(
            at, "agent", process.ProcessExited(process=name, incarnation=1, status=status), process="supervisor"
        )

    def told(self, asked_at: float = NOW - FAULT, **changes: Any) -> Explanation:
        """Return the explanation that is given so long after the fault."""
        usual: dict[str, Any] = {
            "peer": BOB, "name": "bob", "state": "connected", "path": "relayed", "endpoint": RELAY,
            "proof_age_s": 1.0, "reason": "",
        }  # fmt: skip
        return explain(Standing(**{**usual, **changes}), self.records, FAULT + asked_at)
