"""One peer: its tunnel between its two paths, and what the control side should hear of them.

Which path carries packets is said by the control side alone.  Answers (handshake responses, cookie replies, echo
answers) go back by what the question came by.
"""

from collections.abc import Callable
from typing import NamedTuple

from config.keys import PublicKey
from wg.constants import TRANSPORT_OVERHEAD
from wg.datagrams import DirectVia, Endpoint, RelayedVia, Via
from wg.echo import EchoKind, decode_echo, encode_echo
from wg.ecn import NOT_ECT, decapsulated
from wg.inner import checked
from wg.messages import Initiation, MessageType
from wg.noise import ReadInitiation
from wg.outbox import Outbox
from wg.paths import Path, PathKind
from wg.peer_path import PeerPath
from wg.reports import EchoAnswered, GivenUp, HandshakeCompleted, LocalTraffic, RekeyUnanswered
from wg.tunnel import Tunnel
from wg.tunnel_records import HandshakeGivenUp, InitiationUnanswered, SessionProven

LOCAL_TRAFFIC_INTERVAL_S = 1.0  # between two reports
COPY_S = 1.0  # from an initiation to its copy by the other path
MAX_ECHOES = 16  # asked and not answered; the oldest is forgotten


class PeerSnapshot(NamedTuple):
    """One peer as it is now; times are CLOCK_BOOTTIME seconds, None: never."""

    peer: PublicKey
    path: Path | None  # in use
    heard_direct_at: float | None
    heard_relayed_at: float | None
    handshake_at: float | None
    rtt_s: float | None  # of the last echo or handshake
    rx_bytes: int
    tx_bytes: int
    drops: dict[str, int]  # reason -> packets
    standby: Path | None = None  # what its packets are sent on besides
    rtt_at: float | None = None  # when rtt_s was measured


class Answered(NamedTuple):
    """The last initiation that was answered."""

    initiation: Initiation
    by: PathKind
    response: bytes
    at: float


class Early(NamedTuple):
    """An initiation that came while none could be taken."""

    timestamp: bytes
    read: ReadInitiation
    via: Via


class Peer:
    """A configured peer.  `is_mine` says whether an inner source address is allowed for it."""

    def __init__(self, key: PublicKey, tunnel: Tunnel, outbox: Outbox, is_mine: Callable[[bytes], bool]) -> None:
        self.key = key
        self.tunnel = tunnel
        self.drops: dict[str, int] = {}
        self._outbox = outbox
        self._is_mine = is_mine
        self._paths: dict[PathKind, PeerPath] = {"direct": PeerPath(key, "direct"), "relayed": PeerPath(key, "relayed")}
        self._in_use: list[PeerPath] = []  # the path that carries packets, then the standby
        self._answered: Answered | None = None  # None: there is none, or its copy was answered too
        self._early: dict[PathKind, Early] = {}  # the newest that came by each path
        self._echoes: dict[int, float] = {}  # token -> sent at
        self._rtt_s: float | None = None
        self._rtt_at: float | None = None
        self._handshake_due_at: float | None = None  # unless there is a session by then
        self._local_traffic_at = float("-inf")  # last reported

    # --- what the control side asks for ---

    def set_path(self, path: Path | None, standby: Path | None, handshake_after_s: float | None, now: float) -> None:
        """Send by `path` from now on, and by `standby` too, which is of the other kind."""
        wanted = {each.kind: each for each in (path, standby) if each is not None}
        moved = False
        for kind, each in wanted.items():
            moved |= self._paths[kind].lead_to(each) or self._paths[kind] not in self._in_use
        if moved:
            self.tunnel.take_other_path(now)
        self._in_use = [self._paths[kind] for kind in wanted]
        for idle in self._paths.values():
            if idle not in self._in_use:
                idle.rest()
        self._handshake_due_at = None if handshake_after_s is None or not wanted else now + handshake_after_s
        self.send(self.tunnel.set_reachable(bool(wanted), now), now)
        self.handle_timeout(now)

    def probe(self, kind: PathKind, token: int, now: float) -> None:
        """Ask for an echo on this path; without a session, for a handshake."""
        via = self._paths[kind].via
        if via is None:  # the control side asked about a path that it has not told yet, or that we lost in a restart
            self.count("probe_without_path")
        elif not self.tunnel.has_session(now):
            initiation = self.tunnel.initiate(now)
            self._send_back(via, [] if initiation is None else [initiation])
        else:
            self._echoes[token] = now
            if len(self._echoes) > MAX_ECHOES:
                del self._echoes[next(iter(self._echoes))]
                self.count("echo_forgotten")
            self._send_back(via, self.tunnel.encapsulate([encode_echo(EchoKind.REQUEST, token)], now))

    def initiate_handshake(self, now: float) -> None:
        """Send an initiation by the path in use, if the last one is REKEY_TIMEOUT ago."""
        initiation = self.tunnel.initiate(now)
        if initiation is not None:
            self.send([initiation], now)

    def renew_handshake(self, now: float) -> None:
        """Forget the peer's sessions, and what could keep the next one from being made; send an initiation."""
        self._echoes.clear()
        self.send(self.tunnel.renew(now), now)

    # --- packets out ---

    def send_packets(self, packets: list[bytes], ecn: int, now: float) -> None:
        """Take packets of the host for this peer; without a path or a session they wait."""
        if not self._in_use and now - self._local_traffic_at >= LOCAL_TRAFFIC_INTERVAL_S:
            self._local_traffic_at = now
            self._outbox.reports.append(LocalTraffic(peer=self.key))
        self.send(self.tunnel.encapsulate(packets, now), now, ecn)

    def send(self, datagrams: list[bytes], now: float, ecn: int = NOT_ECT) -> None:
        """Send these by the path in use, and by the standby."""
        if not datagrams:
            return
        carries_packets = _carries_packet(datagrams[0]) or _carries_packet(datagrams[-1])
        for path in self._in_use:
            assert path.via is not None, "a path in use leads somewhere"
            self._outbox.send(path.via, datagrams, ecn)
            if carries_packets:
                path.sent(now)

    # --- packets in ---

    def came_by(self, link: int, generation: int) -> RelayedVia:
        """Return what something came by: the relayed connection that its link carries, open or not."""
        return self._paths["relayed"].came_by(link, generation)

    def receive_transport(self, receiver: int, datagrams: list[bytes], via: Via, ecn: int, now: float) -> None:
        """Open transport data for one of our session indices."""
        opened = self.tunnel.decapsulate(receiver, datagrams, (via.kind, via.generation), now)
        if opened.heard:
            self.roam(via)
        if opened.credited:
            self._heard(via, now)
        inner = checked(opened.plaintexts, self._is_mine)
        if inner.malformed:
            self.count("malformed", inner.malformed)
        if inner.not_allowed:
            self.count("source_not_allowed", inner.not_allowed)
        packets = inner.packets
        if ecn != NOT_ECT:
            packets = [decapsulated(packet, ecn) for packet in packets]
        self._outbox.packets += packets
        for message in inner.others:
            self._handle_echo(message, via, now)
        self.send(opened.send, now)

    def answer_to(self, read: ReadInitiation, via: Via, now: float) -> bytes | None:
        """Return the response to an initiation; None: refused, or it has to wait.

        Of a burst (what piled up while a process stood still) the first is answered, and the initiator has forgotten
        it; the newest waits for as long as no other may be taken, and is answered then.

        A copy that comes by the other path gets the same response, once: the way back may be cut where the first came.
        """
        newer = self.tunnel.check_initiation(read) if now < self.tunnel.initiations_from else None
        if newer is not None:
            self._keep_early(Early(newer.timestamp, read, via))
            return None
        response = self.tunnel.consume_initiation(read, now)
        if response is not None:
            self._answered = Answered(read.initiation, via.kind, response, now)
            return response
        answered = self._answered
        if answered is None or answered.by == via.kind or answered.initiation != read.initiation:
            return None
        self._answered = None
        return answered.response if now - answered.at <= COPY_S else None

    def roam(self, via: Via) -> None:
        """Follow the peer: something new and authenticated came by `via`.  Which path carries packets stays."""
        if isinstance(via, DirectVia):
            self._paths["direct"].roam(via)

    def answered(self, via: Via, datagrams: list[bytes], now: float) -> None:
        """The response to our initiation came by `via`: the session is proven, and what waited goes out."""
        self.roam(via)
        self._heard(via, now)
        if self._in_use:
            self.send(datagrams, now)
        else:  # what proves the session to the peer must not wait for a path
            self._send_back(via, datagrams)

    def report_events(self, via: Via | None, now: float) -> None:
        """Tell the control side what the tunnel has to say; `via` is what the message came by that it speaks of."""
        while (event := self.tunnel.next_event()) is not None:
            match event:
                case SessionProven():
                    assert via is not None, "only a message proves a session"
                    if event.rtt_s is not None:
                        self._rtt_s, self._rtt_at = event.rtt_s, now
                    report = HandshakeCompleted(
                        peer=self.key, path=via.kind, role=event.role, rtt_s=event.rtt_s, generation=via.generation
                    )
                    self._outbox.reports.append(report)
                case InitiationUnanswered():
                    self._outbox.reports.append(RekeyUnanswered(peer=self.key, attempts=event.attempts))
                case HandshakeGivenUp():
                    self._outbox.reports.append(GivenUp(peer=self.key))

    # --- time ---

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None: not before another call."""
        early_at = self.tunnel.initiations_from if self._early else None
        due = [
            self.tunnel.next_timeout(),
            self._handshake_due_at,
            early_at,
            *(path.silent_at() for path in self._in_use),
        ]
        return min((at for at in due if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self.send(self.tunnel.handle_timeout(now), now)
        if self._handshake_due_at is not None and now >= self._handshake_due_at:
            self._handshake_due_at = None
            if not self.tunnel.has_session(now):
                self.initiate_handshake(now)
        if self._early and now >= self.tunnel.initiations_from:
            self._answer_early(now)
        for path in self._in_use:
            silence = path.silence(now)
            if silence is not None:
                self._outbox.reports.append(silence)

    # --- accounts ---

    def count(self, reason: str, packets: int = 1) -> None:
        """Count packets that were dropped."""
        self.drops[reason] = self.drops.get(reason, 0) + packets

    def direct_endpoint(self) -> Endpoint | None:
        """Return where the direct path leads, roaming included; None: nowhere yet."""
        via = self._paths["direct"].via
        return via.endpoint if isinstance(via, DirectVia) else None

    def snapshot(self) -> PeerSnapshot:
        """Return what is known now."""
        counters = self.tunnel.counters
        of_tunnel = {
            "queue_full": counters.queued_dropped,
            "forged": counters.forged,
            "replayed": counters.replayed,
            "expired": counters.expired,
            "initiation_refused": counters.initiations_refused,
            "response_refused": counters.responses_refused,
            "cookie_refused": counters.cookies_refused,
        }
        return PeerSnapshot(
            peer=self.key,
            path=self._in_use[0].current() if self._in_use else None,
            standby=self._in_use[1].current() if len(self._in_use) > 1 else None,
            heard_direct_at=self._paths["direct"].heard_at,
            heard_relayed_at=self._paths["relayed"].heard_at,
            handshake_at=self.tunnel.proven_at,
            rtt_s=self._rtt_s,
            rtt_at=self._rtt_at,
            rx_bytes=counters.rx_bytes,
            tx_bytes=counters.tx_bytes,
            drops={**self.drops, **{reason: count for reason, count in of_tunnel.items() if count}},
        )

    def _keep_early(self, early: Early) -> None:
        kept = self._early.get(early.via.kind)
        if kept is None or kept.timestamp < early.timestamp:
            self._early[early.via.kind] = early
        if kept is not None:
            self.count("initiation_overtaken")

    def _answer_early(self, now: float) -> None:
        """Answer the newest initiation that waits, and what came of it by the other path; the rest is too old."""
        waiting, self._early = sorted(self._early.values(), key=lambda each: each.timestamp, reverse=True), {}
        for _, read, via in waiting:
            response = self.answer_to(read, via, now)
            self._send_back(via, [] if response is None else [response])

    def _send_back(self, via: Via, datagrams: list[bytes]) -> None:
        if datagrams:
            self._outbox.send(via, datagrams)

    def _heard(self, via: Via, now: float) -> None:
        report = self._paths[via.kind].heard(via, now)
        if report is not None:
            self._outbox.reports.append(report)

    def _handle_echo(self, message: bytes, via: Via, now: float) -> None:
        match decode_echo(message):
            case (EchoKind.REQUEST, token):
                self._send_back(via, self.tunnel.answer(encode_echo(EchoKind.ANSWER, token), now))
            case (EchoKind.ANSWER, token) if token in self._echoes:
                self._rtt_s, self._rtt_at = now - self._echoes.pop(token), now
                report = EchoAnswered(
                    peer=self.key, path=via.kind, token=token, rtt_s=self._rtt_s, generation=via.generation
                )
                self._outbox.reports.append(report)
            case (EchoKind.ANSWER, _):
                self.count("echo_unasked")
            case None:
                self.count("malformed")


def _carries_packet(datagram: bytes) -> bool:
    return datagram[0] == MessageType.TRANSPORT and len(datagram) > TRANSPORT_OVERHEAD
