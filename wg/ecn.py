"""Congestion marks between the inner and the outer header (RFC 6040).

ECN is the lower two bits of the IPv4 TOS byte or the IPv6 traffic class.  On the way out the inner mark is copied; on
the way in a mark that the network put on the outer header is carried into the inner one.  The other six bits, DSCP,
never cross: a tunnel does not tell the world what its packets are about.
"""

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3

ECN_MASK = 0x03


def ecn_of(packet: bytes) -> int:
    """Return the mark of an inner packet of at least 2 bytes, IPv4 or IPv6."""
    return packet[1] & ECN_MASK if packet[0] >> 4 == 4 else packet[1] >> 4 & ECN_MASK


def decapsulated(packet: bytes, outer: int) -> bytes:
    """Return the packet with the mark it must have after a tunnel whose outer header arrived with `outer`.

    RFC 6040 section 4.2, but as in every WireGuard a packet whose ends know no ECN passes a CE mark unharmed instead
    of being dropped: the sender would learn of the loss no earlier than by the queue that is about to overflow.
    """
    inner = ecn_of(packet)
    if inner in (NOT_ECT, CE) or outer in (NOT_ECT, ECT_0) or outer == inner:
        return packet
    return _marked(packet, outer)


def _marked(packet: bytes, mark: int) -> bytes:
    if packet[0] >> 4 != 4:
        return packet[:1] + bytes([packet[1] & 0xCF | mark << 4]) + packet[2:]
    tos = packet[1] & 0xFC | mark
    # The header checksum, incrementally (RFC 1624, equation 3): HC' = ~(~HC + ~m + m') with m the first 16-bit word.
    checksum = (~int.from_bytes(packet[10:12], "big") & 0xFFFF) + (~packet[1] & 0xFFFF) + tos
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    checksum = ~((checksum & 0xFFFF) + (checksum >> 16)) & 0xFFFF
    return packet[:1] + bytes([tos]) + packet[2:10] + checksum.to_bytes(2, "big") + packet[12:]
