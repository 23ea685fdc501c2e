"""Repeat or forge a datagram: catches transport data that leaves an interface, and sends it there once more.

    python -m tests.wg.interop.inject INTERFACE replay|forge COUNT

Says "ready" when it listens; ends when the copies are sent.
"""

import socket
import sys

_ETH_P_ALL, _ETHERNET_LEN, _UDP_LEN = 3, 14, 8
_PACKET_OUTGOING = 4
_TRANSPORT = b"\x04\0\0\0"


def main(interface: str, what: str, count: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as wire:
        wire.bind((interface, _ETH_P_ALL))
        wire.settimeout(20.0)
        print("ready", flush=True)
        frame = bytearray(_next_transport_data(wire))
        if what == "forge":
            frame[-1] ^= 1
        udp = _ETHERNET_LEN + 4 * (frame[_ETHERNET_LEN] & 0x0F)
        frame[udp + 6 : udp + 8] = b"\0\0"  # no UDP checksum: the one caught is unfinished, and a forgery's is wrong
        for _ in range(count):
            wire.send(frame)


def _next_transport_data(wire: socket.socket) -> bytes:
    while True:
        frame, address = wire.recvfrom(65535)
        ip = frame[_ETHERNET_LEN:]
        if address[2] == _PACKET_OUTGOING and len(ip) > 20 and ip[0] >> 4 == 4 and ip[9] == socket.IPPROTO_UDP:
            payload = ip[4 * (ip[0] & 0x0F) + _UDP_LEN :]
            if payload[:4] == _TRANSPORT:
                return frame


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
