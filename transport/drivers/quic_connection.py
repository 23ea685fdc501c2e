"""One end of a QUIC connection that carries relay messages: aioquic's, with a lane of its own for what is frequent.

The library keeps the handshake, keys, acknowledgements, loss, migration and closing.  The lane takes and makes the
packets that carry nothing but DATAGRAM frames, on the established path; whatever else a packet is goes the library's
way, untouched.  So the library never sees a message to send, and what is too long cannot stand in its queue for ever.

The private names used here are those of the release that the lock file names; tests hold both ways against each other.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from aioquic import tls
from aioquic._crypto import CryptoError
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    END_STATES,
    NetworkAddress,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicFrameType, QuicPacketType, decode_packet_number
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicSentPacket
from aioquic.quic.recovery import QuicPacketSpace
from cryptography.hazmat.primitives.serialization import Encoding

from transport.drivers.quic_frames import FRAME_HEADER_LEN, datagram_frame, messages_of
from transport.drivers.quic_settings import CID_LEN, NORMAL_CLOSURE, SMALL_LEN, TunnelCongestion, Unpaced
from transport.relay.codec import TRANSPORT_HEAD
from transport.relay.frames import HEADER_LEN
from transport.relay.resend import Resend

TAG_LEN: Final = 16
NUMBER_LEN: Final = 2

HIGH_WATER_LEN: Final = 64 * 1024  # bytes that wait for the congestion window
LOW_WATER_LEN: Final = 48 * 1024
MAX_WAITING_LEN: Final = 512 * 1024  # beyond, messages are dropped: the owner was told to hold back
MAX_UNDER_WAY: Final = 16384  # packets; two bytes of packet number tell twice as many apart
ACK_AFTER_S: Final = 0.02  # we announce 25 ms
ACK_AFTER: Final = 24  # packets
KEY_PACKETS: Final = 1 << 22  # with one key; AES-GCM allows twice as many (RFC 9001 section 6.6)
LIBRARY_S: Final = 0.05  # how late the library may learn that it has something to repeat

_ONE_RTT: Final = tls.Epoch.ONE_RTT


class RelayQuic(QuicConnection):
    """A connection; its driver feeds `take` and `handle_timer`, then works off `inbox` and `events`, then `flush`."""

    def __init__(
        self,
        config: QuicConfiguration,
        *,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=config,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = 0  # no streams are ever opened
        self._loss._pacer = Unpaced(max_datagram_size=SMALL_LEN)
        self.inbox: list[bytes] = []
        """Messages that came in, in order; the driver takes them."""
        self.drops: Counter[str] = Counter()
        """Messages that were not sent, by reason."""
        self.max_packet_len = SMALL_LEN
        """What the path carries, as far as the driver knows."""
        self._resend = Resend(client=config.is_client)
        self._news: list[QuicEvent] = []
        self._lane: tuple[CryptoPair, QuicPacketSpace] | None = None  # None: not looked up yet
        self._waiting: deque[bytes] = deque()
        self._waiting_len = 0
        self._unacknowledged = 0  # packets taken since the last ACK
        self._rekey_at = KEY_PACKETS  # packet number from which on a new key is due
        self._library_due = True
        self._library_at = 0.0
        self._idle_at = 0.0  # when the idle timeout was put off last

    # --- what it is ---

    @property
    def end(self) -> ConnectionTerminated | None:
        """How the connection ended, or is about to; None: it lives."""
        return self._close_event

    @property
    def established(self) -> bool:
        """Whether the handshake is done at this end."""
        return self._handshake_complete and self._state is QuicConnectionState.CONNECTED

    @property
    def takes_datagrams(self) -> bool:
        """Whether the other end takes DATAGRAM frames at all."""
        return bool(self._remote_max_datagram_frame_size)

    @property
    def overhead_len(self) -> int:
        """What a packet adds to a message."""
        return 1 + len(self._peer_cid.cid) + NUMBER_LEN + FRAME_HEADER_LEN + TAG_LEN

    @property
    def max_message_len(self) -> int:
        """The longest message that may be sent."""
        frame_len = self._remote_max_datagram_frame_size or 0
        return min(self.max_packet_len - self.overhead_len, frame_len - FRAME_HEADER_LEN)

    @property
    def waiting_len(self) -> int:
        """Bytes of messages that wait for the congestion window."""
        return self._waiting_len

    @property
    def large_lost(self) -> int:
        """Large packets that were lost since one arrived."""
        control = self._loss._cc
        assert isinstance(control, TunnelCongestion)
        return control.large_lost

    @property
    def peer_certificate(self) -> bytes | None:
        """The other end's certificate (DER)."""
        certificate = self.tls._peer_certificate
        return certificate.public_bytes(Encoding.DER) if certificate is not None else None

    # --- what is to be sent ---

    def send_messages(self, messages: list[bytes]) -> None:
        """Queue messages for `flush`.  What cannot be sent is counted in `drops`, and never queued."""
        if self._close_event is not None or not self._handshake_complete:
            self.drops["not_open"] += len(messages)
            return
        limit = self.max_message_len
        for message in messages:
            message_len = len(message)
            if message_len > limit:
                self.drops["too_long"] += 1
            elif self._waiting_len + message_len > MAX_WAITING_LEN:
                self.drops["queue_full"] += 1
            else:
                self._waiting.append(message)
                self._waiting_len += message_len

    def ping(self, uid: int) -> None:
        """Ask for a PingAcknowledged with this number."""
        self.send_ping(uid)
        self._library_due = True

    def probe(self, packet_len: int, answered: Callable[[], None], now: float) -> list[tuple[bytes, NetworkAddress]]:
        """Return a PING padded to `packet_len` bytes of UDP payload; `answered` is called if it is acknowledged.

        Its loss says nothing about congestion, so it is not counted as in flight (RFC 9000 section 14.4).
        """

        def delivered(state: QuicDeliveryState) -> None:
            if state is QuicDeliveryState.ACKED:
                answered()

        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=packet_len,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version or 0,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[_ONE_RTT])
        buffer = builder.start_frame(QuicFrameType.PING, handler=delivered)
        buffer.push_bytes(bytes(builder.remaining_buffer_space))
        if builder._packet is not None:
            builder._packet.in_flight = False
        path = self._network_paths[0]
        self._loss._time_of_last_sent_ack_eliciting_packet = now  # else it counts as overdue when it leaves
        return self._flush_builder(builder=builder, network_path=path, peer_cid=self._peer_cid.cid, now=now)

    def finish(self, code: int = 0, reason: str = NORMAL_CLOSURE) -> None:
        """End the connection with the next `flush`."""
        self.close(error_code=code, reason_phrase=reason)
        self._library_due = True

    def handle_timer(self, now: float) -> None:
        """Do what is due.  Whatever came in before, this does not raise."""
        self._library_due = True
        try:
            super().handle_timer(now)
        except Exception as error:
            self._on_fault(error)

    def flush(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """Return the datagrams to send now, with their addresses.  Whatever came in before, this does not raise."""
        try:
            return self._due_packets(now) if self._network_paths else []
        except Exception as error:
            self._on_fault(error)
            return []

    def _due_packets(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        sent = self._lane_packets(now) if self._waiting else []
        space = self._spaces[_ONE_RTT] if self._spaces else None
        ack_due = space is not None and space.ack_at is not None and space.ack_at <= now
        if self._library_due or ack_due or now - self._library_at >= LIBRARY_S:
            if space is not None and ack_due:
                self._unacknowledged = 0
            self._library_due, self._library_at = False, now
            sent += super().datagrams_to_send(now)
        return sent

    def _lane_packets(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        if not self._handshake_complete or self._close_event is not None or self._state in END_STATES:
            return []
        path, (pair, space) = self._network_paths[0], self._lane or self._open_lane()
        control, on_sent = self._loss._cc, self._loss.on_packet_sent
        cid, waiting, seal = self._peer_cid.cid, self._waiting, pair.encrypt_packet
        overhead_len = self.overhead_len
        packets: list[tuple[bytes, NetworkAddress]] = []
        while waiting and space.ack_eliciting_in_flight < MAX_UNDER_WAY:
            packet_len = overhead_len + len(waiting[0])
            if control.bytes_in_flight + packet_len > control.congestion_window:
                break
            if not path.is_validated and not path.can_send(packet_len):
                break
            number = self._packet_number
            payload, handlers = self._frames(path, packet_len)
            first = 0x40 | pair.key_phase << 2 | NUMBER_LEN - 1
            datagram = seal(first.to_bytes() + cid + (number & 0xFFFF).to_bytes(2), payload, number)
            record = QuicSentPacket(
                _ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, now, len(datagram), handlers, _NO_LOG
            )
            on_sent(packet=record, space=space)
            path.bytes_sent += len(datagram)
            packets.append((datagram, path.addr))
            self._packet_number = number + 1
            if number >= self._rekey_at:
                self._rekey_at = number + KEY_PACKETS
                self.request_key_update()
        if packets:
            self._put_off_idling(now)
        return packets

    def _frames(self, path: QuicNetworkPath, packet_len: int) -> tuple[bytes, list[tuple[Callable[..., None], object]]]:
        """Return the next message as a frame, and the small ones behind it that fit in."""
        waiting = self._waiting
        parts: list[bytes] = []
        handlers: list[tuple[Callable[..., None], object]] = _NO_HANDLERS
        while True:
            message = waiting.popleft()
            self._waiting_len -= len(message)
            if message[:HEADER_LEN] != TRANSPORT_HEAD and (followed := self._resend.sent(message)):
                handlers = [*handlers, (self._on_control_delivery, (followed,))]
            parts += datagram_frame(message)
            if not waiting or packet_len > SMALL_LEN or not path.is_validated:
                break
            packet_len += FRAME_HEADER_LEN + len(waiting[0])
            if packet_len > SMALL_LEN:
                break
        return b"".join(parts), handlers

    def _on_control_delivery(self, state: QuicDeliveryState, number: int) -> None:
        if state is QuicDeliveryState.ACKED:
            self._resend.arrived(number)
        elif (again := self._resend.lost(number)) is not None:
            self.send_messages([again])

    # --- what comes in ---

    def take(self, datagram: bytes, address: NetworkAddress, now: float) -> None:
        """Take one UDP datagram.  Whatever it holds, this does not raise."""
        if (
            self._handshake_confirmed
            and len(datagram) > 1 + CID_LEN + 4 + TAG_LEN
            and datagram[0] & 0xC0 == 0x40
            and datagram[1 : 1 + CID_LEN] == self.host_cid
            and self._state is QuicConnectionState.CONNECTED
            and self._close_event is None
        ):
            path = self._network_paths[0]
            if path.is_validated and path.addr == address and self._lane_takes(datagram, path, now):
                return
        self._library_due = True
        try:
            super().receive_datagram(datagram, address, now)
        except Exception as error:
            self._on_fault(error)
        self._sort_events()

    def _on_fault(self, error: Exception) -> None:
        """What the library did not foresee ends the connection that it came on, and nothing else."""
        self.drops["library_fault"] += 1
        self.close(error_code=1, reason_phrase=type(error).__name__)

    def events(self) -> list[QuicEvent]:
        """Return what happened, oldest first, but messages."""
        self._sort_events()
        news, self._news = self._news, []
        return news

    def _sort_events(self) -> None:
        while self._events:
            event = self._events.popleft()
            if isinstance(event, DatagramFrameReceived):
                self.inbox.append(event.data)
            elif isinstance(event, StreamDataReceived | StreamReset):
                self.close(error_code=1, reason_phrase="a relay link has no streams")
            else:
                self._news.append(event)

    def _lane_takes(self, datagram: bytes, path: QuicNetworkPath, now: float) -> bool:
        """Take a packet of the established path; False, with nothing changed, if it is the library's."""
        pair, space = self._lane or self._open_lane()
        crypto = pair.recv
        if crypto.hp is None or crypto.aead is None:
            return False
        try:
            header, truncated = crypto.hp.remove(datagram, 1 + CID_LEN)
        except CryptoError:
            return False
        first = header[0]
        if first & 0x18 or (first & 4) >> 2 != crypto.key_phase:
            return False
        number = decode_packet_number(truncated, 8 * ((first & 3) + 1), space.expected_packet_number)
        try:
            payload = crypto.aead.decrypt(datagram[len(header) :], header, number)
        except CryptoError:
            return True  # forged, or of a key that is gone
        if number in space.received_packets:
            return True
        eliciting = True
        if (messages := messages_of(payload)) is not None:
            self.inbox += messages
        else:
            context = QuicReceiveContext(_ONE_RTT, self.host_cid, path, None, now, None)
            try:
                eliciting, _probing = self._payload_received(context, payload)
            except QuicConnectionError as error:
                self.close(error.error_code, error.frame_type, error.reason_phrase)
            self._library_due = self._library_due or eliciting or self._close_event is not None
            self._sort_events()
            if self._close_event is not None:
                return True
        if number >= space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > space.largest_received_packet:
            space.largest_received_packet, space.largest_received_time = number, now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > _MAX_RANGES:
            space.ack_queue.shift()
        if eliciting:
            self._unacknowledged += 1
            if self._unacknowledged >= ACK_AFTER:
                space.ack_at = now
            elif space.ack_at is None:
                space.ack_at = now + ACK_AFTER_S
        self._put_off_idling(now)
        return True

    def _open_lane(self) -> tuple[CryptoPair, QuicPacketSpace]:
        """Look the keys and the packet numbers up once: their names hash slowly."""
        self._lane = self._cryptos[_ONE_RTT], self._spaces[_ONE_RTT]
        return self._lane

    def _put_off_idling(self, now: float) -> None:
        if now - self._idle_at > _IDLE_STEP_S:
            self._idle_at = now
            self._close_at = now + self._idle_timeout()


_NO_HANDLERS: Final[list[tuple[Callable[..., None], object]]] = []
_NO_LOG: Final[list[dict[str, object]]] = []
_MAX_RANGES: Final = 64
_IDLE_STEP_S: Final = 0.25
