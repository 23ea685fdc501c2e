"""What both ends of a relay's QUIC connection agree on: parameters, congestion control, no log (relay spec 2.3)."""

import logging
from collections.abc import Iterable
from typing import Final

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import register_congestion_control
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer

ALPN: Final = "nb-quic"  # relay spec 2.3
CLIENT_IDLE_S: Final = 240.0
SERVER_IDLE_S: Final = 30.0
MAX_DATAGRAM_FRAME_LEN: Final = 16383
NORMAL_CLOSURE: Final = "normal closure"

SMALL_LEN: Final = 1200  # a UDP payload that every path of QUIC carries (RFC 9000 section 14)
MAX_PACKET_LEN: Final = 1472  # of an Ethernet frame
CID_LEN: Final = 8

FLOOR_LEN: Final = 64 * 1380  # of the congestion window
CEILING_LEN: Final = 4 * 1024 * 1024

for _name in ("quic", "aioquic"):  # the library's log would say what our facts say, as often as a stranger likes
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
    logging.getLogger(_name).propagate = False


class TunnelCongestion(RenoCongestionControl):
    """Reno between a floor and a ceiling.

    What flows inside has a congestion control of its own, which reacts to the same losses; without a floor the two
    would multiply on a path that loses packets for another reason.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.congestion_window = FLOOR_LEN
        self.large_lost = 0
        """Packets above SMALL_LEN that were lost since one arrived."""

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Grow."""
        super().on_packet_acked(now=now, packet=packet)
        if packet.sent_bytes > SMALL_LEN:
            self.large_lost = 0
        self.congestion_window = min(self.congestion_window, CEILING_LEN)

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Shrink."""
        lost = list(packets)
        super().on_packets_lost(now=now, packets=lost)
        self.large_lost += sum(packet.sent_bytes > SMALL_LEN for packet in lost)
        self.congestion_window = max(self.congestion_window, FLOOR_LEN)

    def on_persistent_congestion(self) -> None:
        """Begin anew."""
        super().on_persistent_congestion()
        self.congestion_window = FLOOR_LEN


register_congestion_control("tunnel", TunnelCongestion)


class Unpaced(QuicPacketPacer):
    """No pacing: what flows inside is paced where it comes from, and a timer costs more than its packets."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Keep out of it."""


def configuration(*, client: bool) -> QuicConfiguration:
    """Return what both ends agree on (relay spec 2.3); certificates and trust are the caller's."""
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        congestion_control_algorithm="tunnel",
        connection_id_length=CID_LEN,
        idle_timeout=CLIENT_IDLE_S if client else SERVER_IDLE_S,
        is_client=client,
        max_datagram_size=SMALL_LEN,
        max_datagram_frame_size=MAX_DATAGRAM_FRAME_LEN,
        cipher_suites=[
            tls.CipherSuite.AES_128_GCM_SHA256,
            tls.CipherSuite.AES_256_GCM_SHA384,
            tls.CipherSuite.CHACHA20_POLY1305_SHA256,
        ],
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )
