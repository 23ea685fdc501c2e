"""QUIC links to relay servers, the client's end (relay spec 2.3): one relay message is one DATAGRAM frame.

A link is up when a padded packet of full size was acknowledged, which proves the way to the server.  The way back is
proven once we are logged in, by messages to ourselves, which any relay server passes back (relay spec 5.4): of full
size, and if they stay away, small ones beside them to compare.  Those go on every 10 s, which also keeps the
connection and the NAT's mapping alive.  The address we send from may change under the connection: the server follows.
"""

import asyncio
import errno
import os
import socket
from typing import Final

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import PingAcknowledged

from transport.drivers.certificates import Trust, not_pinned
from transport.drivers.quic_connection import HIGH_WATER_LEN, LOW_WATER_LEN, RelayQuic
from transport.drivers.quic_settings import ALPN, SMALL_LEN
from transport.drivers.quic_udp import QuicUdp, Train, open_quic_socket
from transport.drivers.relay_server import boot_time
from transport.drivers.websocket import DialFailed, LinkOwner
from transport.relay.codec import transport_prefix
from transport.relay.frames import AUTH_HEADER_LEN, PEER_ID_LEN, TRANSPORT_HEADER_LEN, PeerId
from transport.relay.size_watch import LEAST_LOST, Narrow, Silent, Size, SizeWatch, Wide
from wg.datagrams import Endpoint

MAX_WAIT_S: Final = 1.0  # the loop's clock stops during suspend, deadlines do not
REOPEN_S: Final = 1.0  # between two tries to replace an unusable socket
MAX_SAID_LEN: Final = 200  # of what the other end gives as its reason
MAX_ECHOES: Final = 64
ECHO_LEN: Final = 8  # random bytes that tell our own messages from anything else's
AUTH: Final = 6  # the type of a frame that names us (relay spec 3.3)

CRYPTO_ERROR: Final = 0x100  # and a TLS alert (RFC 9001 section 4.8)


class TooNarrow(DialFailed):
    """The server was reached, but messages of full size do not pass."""


class QuicLink:
    """One link to a relay server."""

    transport = "quic"

    def __init__(self, owner: LinkOwner, endpoint: Endpoint, config: QuicConfiguration, trust: Trust, message_len: int):
        """Begin.  Raises DialFailed if the kernel lets nothing out."""
        self.too_narrow = False
        """Why it ended: full-size messages ceased to pass.  Set before the owner is told."""
        self.migrations = 0
        """How often the socket was replaced under the connection."""
        self._owner: LinkOwner | None = owner
        self._endpoint, self._trust, self._message_len = endpoint, trust, message_len
        self._loop = asyncio.get_running_loop()
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._up.add_done_callback(lambda up: up.cancelled() or up.exception())
        self._watch: SizeWatch | None = None  # None: the handshake is not done
        self._own_id: PeerId | None = None  # None: not logged in, so nothing can be sent to ourselves
        self._logged_in = False
        self._echoes: dict[bytes, Size] = {}
        self._pings = 0
        self._reason = ""  # why we end it; empty: the other end does
        self._full = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._reopened_at = -REOPEN_S
        self._udp = self._open()
        self._quic = RelayQuic(config)
        self._quic.connect(endpoint, boot_time())
        self._flush()
        if self._udp.drops:
            self.abort()
            code = getattr(errno, next(iter(self._udp.drops)), 0)
            raise DialFailed(f"UDP cannot be sent there: {os.strerror(code).lower()}")

    @property
    def server_ip(self) -> str | None:
        """The address of the server; None: the link is over."""
        return self._endpoint.ip if self._owner is not None else None

    @property
    def drops(self) -> dict[str, int]:
        """Messages that were not sent and datagrams that the kernel refused, by reason."""
        return dict(self._quic.drops + self._udp.drops)

    @property
    def up(self) -> asyncio.Future[None]:
        """Done when messages may be sent, or by DialFailed."""
        return self._up

    @property
    def answered(self) -> bool:
        """Whether the server completed the handshake."""
        return self._watch is not None

    def send(self, messages: list[bytes]) -> None:
        """Send messages; one that does not fit a datagram of this path is dropped and counted."""
        if self._owner is None:
            return
        if self._own_id is None and messages and len(messages[0]) >= AUTH_HEADER_LEN and messages[0][1] == AUTH:
            self._own_id = PeerId(messages[0][AUTH_HEADER_LEN - PEER_ID_LEN : AUTH_HEADER_LEN])
        self._quic.send_messages(messages)
        self._flush()

    def ping(self) -> None:
        """Send a PING; the owner hears of its acknowledgement."""
        if self._owner is not None:
            self._quic.ping(0)
            self._flush()

    def signs(self) -> None:
        """Show nothing: QUIC's pings are not held back by packets that were lost before them."""

    def abort(self) -> None:
        """End the link without another word to the owner; what was sent before leaves first."""
        self._owner = None
        if self._quic.end is None:
            self._flush()
            self._quic.finish()
        self._end()

    # --- inputs ---

    def _receive(self, _udp: QuicUdp, trains: list[Train]) -> None:
        now = boot_time()
        for _endpoint, _local, datagrams in trains:
            for datagram in datagrams:
                # What another address sends is dropped by the connection, which knows one.
                self._quic.take(datagram, self._address(_endpoint), now)
        self._work_off(now)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = boot_time()
        due_at = self._quic.get_timer()
        if due_at is not None and now >= due_at:
            self._quic.handle_timer(now)
        self._work_off(now)

    def _on_refused(self) -> None:
        """The host there says that nobody listens: while dialling that is the end, later a hint."""
        if self._watch is None and not self._up.done():
            self._fail(f"connection refused; no server listens on UDP port {self._endpoint.port}")
            self._work_off(boot_time())
        elif self._owner is not None:
            self._owner.doubted()

    def _address(self, endpoint: Endpoint) -> Endpoint:
        return endpoint if self._endpoint.zone else endpoint._replace(zone=0)

    # --- what follows ---

    def _work_off(self, now: float) -> None:
        quic = self._quic
        for event in quic.events():
            if isinstance(event, PingAcknowledged):
                self._on_answer(event.uid)
        if self._watch is None and quic.established and quic.end is None:
            self._on_handshake(now)
        if self._watch is not None and quic.end is None:
            self._check_size(now)
        messages, quic.inbox = quic.inbox, []
        if self._echoes:
            messages = [message for message in messages if not self._is_echo(message, now)]
        if messages and self._owner is not None:
            if not self._logged_in:
                self._logged_in = True
                self._ask_anew(now)
            self._owner.received(messages)
        if quic.end is not None:
            self._on_end()
        else:
            self._flush()

    def _on_handshake(self, now: float) -> None:
        if self._trust.fingerprints and not self._trust.pins(self._quic.peer_certificate):
            self._fail(not_pinned(self._quic.peer_certificate, self._trust.fingerprints))
        elif not self._quic.takes_datagrams or self._quic.tls.alpn_negotiated != ALPN:
            self._fail(f"the server there speaks QUIC, but not {ALPN}: no relay server's port")
        else:
            self._watch = SizeWatch(now)

    def _check_size(self, now: float) -> None:
        watch = self._watch
        assert watch is not None, "asked for only after the handshake"
        if self._quic.large_lost >= LEAST_LOST:
            watch.doubt(now)
        for size in watch.handle_timeout(now):
            self._probe(size, now)
        full_len = self._message_len + self._quic.overhead_len
        match watch.state:
            case Wide() if not self._up.done():
                self._quic.max_packet_len = max(full_len, SMALL_LEN)
                self._up.set_result(None)
            case Narrow():
                self.too_narrow = True
                self._fail(
                    f"datagrams of up to {SMALL_LEN} bytes pass, of {full_len} bytes, which a message of "
                    f"{self._message_len} needs, do not{' both ways' if self._logged_in else ''}"
                )
            case Silent() if not self._up.done():
                self._fail("the server answered the handshake, and then no more")

    def _probe(self, size: Size, now: float) -> None:
        if self._own_id is not None and self._logged_in:
            token = os.urandom(ECHO_LEN)
            if len(self._echoes) >= MAX_ECHOES:
                del self._echoes[next(iter(self._echoes))]
            self._echoes[token] = size
            padding = bytes(max(0, self._message_len - TRANSPORT_HEADER_LEN - ECHO_LEN) if size == "full" else 0)
            self._quic.send_messages([transport_prefix(self._own_id) + token + padding])
        elif size == "full":
            packet_len = max(self._message_len + self._quic.overhead_len, SMALL_LEN)
            self._transmit(self._quic.flush(now))  # the end of the handshake first: the server needs it to read on
            self._transmit(self._quic.probe(packet_len, lambda: self._answered("full"), now))
        else:
            self._pings += 1
            self._quic.ping(self._pings)

    def _on_answer(self, uid: int) -> None:
        if self._owner is not None and uid == 0:
            self._owner.pong()
        elif uid:
            self._answered("small")

    def _answered(self, size: Size) -> None:
        if self._watch is not None and not self._logged_in:  # a late one says nothing of the way back
            self._watch.answered(size, boot_time())

    def _is_echo(self, message: bytes, now: float) -> bool:
        size = self._echoes.pop(message[TRANSPORT_HEADER_LEN : TRANSPORT_HEADER_LEN + ECHO_LEN], None)
        if size is not None and self._watch is not None:
            self._watch.answered(size, now)
        return size is not None

    def _ask_anew(self, now: float) -> None:
        """Prove the way back, now that we can be sent to."""
        if self._watch is not None and self._own_id is not None:
            self._watch.doubt(now)

    def _fail(self, reason: str) -> None:
        self._quic.finish()
        self._reason = reason

    # --- the end ---

    def _on_end(self) -> None:
        owner, self._owner = self._owner, None
        reason = self._reason or self._end_reason()
        self._end()
        if not self._up.done():
            self._up.set_exception(TooNarrow(reason) if self.too_narrow else DialFailed(reason))
        elif owner is not None:
            owner.lost(reason)

    def _end_reason(self) -> str:
        end = self._quic.end
        assert end is not None, "asked for at the end"
        if end.reason_phrase == "Idle timeout":
            return "nothing was heard until the idle timeout"
        alert = end.error_code - CRYPTO_ERROR
        if end.frame_type is None:
            said = end.reason_phrase[:MAX_SAID_LEN]
            return f"the relay server closed the QUIC connection (code {end.error_code}, {said!r})"
        if alert == tls.AlertDescription.no_application_protocol:
            return f"the server there speaks QUIC, but not {ALPN}: no relay server's port"
        if 0 <= alert <= 0xFF:
            return f"TLS failed: {_alert_name(alert)} ({end.reason_phrase[:MAX_SAID_LEN]})"
        return f"QUIC failed: error {end.error_code:#x} {end.reason_phrase[:MAX_SAID_LEN]}".rstrip()

    def _end(self) -> None:
        self._flush()
        self._udp.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the socket ---

    def _open(self) -> QuicUdp:
        family = socket.AF_INET6 if ":" in self._endpoint.ip else socket.AF_INET
        # Bound to no address: the kernel chooses by the route of the moment, so ours may change.
        try:
            return QuicUdp(open_quic_socket(family, "", 0), self._receive, self._on_refused)
        except OSError as error:
            raise DialFailed(f"no UDP socket: {os.strerror(error.errno or 0).lower()}") from None

    def _flush(self) -> None:
        now = boot_time()
        self._transmit(self._quic.flush(now))
        if self._owner is not None:
            if not self._full and self._quic.waiting_len > HIGH_WATER_LEN:
                self._full = True
                self._owner.writable(False)
            elif self._full and self._quic.waiting_len < LOW_WATER_LEN:
                self._full = False
                self._owner.writable(True)
        self._arm(now)

    def _transmit(self, datagrams: list[tuple[bytes, Endpoint]]) -> None:
        if datagrams:
            self._udp.send(Train(self._endpoint, None, [datagram for datagram, _ in datagrams]))
            if self._udp.broken:
                self._reopen()

    def _reopen(self) -> None:
        """Replace a socket that the kernel no longer sends from; the server follows to the new port."""
        now = boot_time()
        if now - self._reopened_at < REOPEN_S or self._owner is None:
            return
        self._reopened_at = now
        try:
            fresh = self._open()
        except DialFailed:
            return  # as long as the host has no address; the link's own timers decide
        fresh.drops.update(self._udp.drops)
        self._udp.close()
        self._udp = fresh
        self.migrations += 1

    def _arm(self, now: float) -> None:
        due_at = self._quic.get_timer()
        at = min(due_at if due_at is not None else now + MAX_WAIT_S, now + MAX_WAIT_S)
        if self._watch is not None:
            at = min(at, self._watch.due_at)
        if at < self._timer_at and self._quic.end is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0.0, at - now), self._on_timer)


def _alert_name(alert: int) -> str:
    try:
        return tls.AlertDescription(alert).name.replace("_", " ")
    except ValueError:
        return f"alert {alert}"
