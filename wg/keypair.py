"""Transport keys: seal and open whole batches, within the limits that the whitepaper sets (sections 5.4.6 and 6.2).

One AEAD call a packet is what the work costs; what is round it is done by `map` over the batch, without Python code
for each packet.  Replay is not judged here: the tunnel asks the window, after authentication.
"""

import struct
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wg.constants import (
    KEEPALIVE_TIMEOUT,
    PADDING,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_TIMEOUT,
    TRANSPORT_HEADER_LEN,
)
from wg.messages import Buffer, MessageType
from wg.noise import TransportKeys
from wg.replay import PathCredits, ReplayWindow

Role = Literal["initiator", "responder"]

NEVER = float("-inf")
CROSSING_S = 2.0  # two initiations that crossed make their keypairs within a round trip
REKEY_AFTER_RECEIVE = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT  # s, age (section 6.2)

_TYPE_AND_RECEIVER = struct.Struct("<II")
_COUNTER = struct.Struct("<Q")
_COUNTER_IN_HEADER = struct.Struct("<8xQ")
_NONCE = struct.Struct("<4xQ")  # 4 zero bytes, then the counter (section 5.4.6)
_BODY = itemgetter(slice(TRANSPORT_HEADER_LEN, None))
_ZEROS = tuple(bytes(length) for length in range(PADDING))


class Keypair:
    """One session's two keys, with its counter, its window and its age."""

    def __init__(self, role: Role, keys: TransportKeys, local_index: int, remote_index: int, now: float) -> None:
        self.role = role
        self.local_index, self.remote_index = local_index, remote_index
        self.created_at = now
        self.heard_at = NEVER  # when it last opened something; NEVER: the peer has not used it
        self.counter = 0  # of the next packet that is sealed
        self.window = ReplayWindow()
        self.credits = PathCredits()
        self._encrypt = ChaCha20Poly1305(keys.send).encrypt
        self._decrypt = ChaCha20Poly1305(keys.receive).decrypt
        self._header = _TYPE_AND_RECEIVER.pack(MessageType.TRANSPORT, remote_index)

    def seal(self, packets: Sequence[Buffer], mtu: int) -> list[bytes]:
        """Return transport messages, one a packet, padded to 16 bytes but not beyond `mtu`; empty packets keep alive.

        The caller has asked `may_send`.
        """
        counters = range(self.counter, self.counter + len(packets))
        self.counter = counters.stop
        bodies = map(self._encrypt, map(_NONCE.pack, counters), _padded(packets, mtu), repeat(None))
        return list(map(b"".join, zip(repeat(self._header), map(_COUNTER.pack, counters), bodies, strict=False)))

    def open(self, datagrams: Sequence[Buffer]) -> tuple[list[int], list[bytes | None]]:
        """Return the counters and the plaintexts with their padding, None where authentication failed.

        Each datagram is transport data for `local_index` of at least 32 bytes; the lists run parallel to it.
        """
        counters = [counter for (counter,) in map(_COUNTER_IN_HEADER.unpack_from, datagrams)]
        opened = map(self._decrypt, map(_NONCE.pack, counters), map(_BODY, datagrams), repeat(None))
        plaintexts: list[bytes | None] = []
        while len(plaintexts) < len(counters):
            try:
                plaintexts.extend(opened)
            except InvalidTag:  # what came before it is in the list, and the map goes on behind it
                plaintexts.append(None)
        return counters, plaintexts

    def may_send(self, count: int, now: float) -> bool:
        """Return whether `count` more packets stay within REJECT_AFTER_TIME and REJECT_AFTER_MESSAGES."""
        return now - self.created_at < REJECT_AFTER_TIME and self.counter + count <= REJECT_AFTER_MESSAGES

    def may_receive(self, now: float) -> bool:
        """Return whether the keypair is younger than REJECT_AFTER_TIME; its counters are the window's business."""
        return now - self.created_at < REJECT_AFTER_TIME

    def rekey_after_send(self, now: float) -> bool:
        """Return whether what was just sent asks for a new keypair (section 6.2).

        By age the initiator alone renews, so that the two ends do not both; by messages whoever sent them.
        """
        aged = self.role == "initiator" and now - self.created_at >= REKEY_AFTER_TIME
        return aged or self.counter >= REKEY_AFTER_MESSAGES

    def rekey_after_receive(self, now: float) -> bool:
        """Return whether what was just received asks for a new keypair: the initiator may have nothing to send."""
        return self.role == "initiator" and now - self.created_at >= REKEY_AFTER_RECEIVE


class Keypairs:
    """The three keypairs of a peer and how they move (section 6.3).

    `current` seals.  All three open: `previous` for packets that a rekey overtook, `next` as responder until the first
    packet on it proves that the initiator has it too.  An index goes back when its keypair leaves.

        our initiation is answered       new -> current -> previous -> gone; next goes, unless the initiations crossed
        the peer's initiation is taken   new -> next -> gone
        first packet on next             next -> current -> previous -> gone
    """

    def __init__(self, release: Callable[[int], None]) -> None:
        self.previous: Keypair | None = None
        self.current: Keypair | None = None
        self.next: Keypair | None = None
        self._release = release

    def by_index(self, index: int) -> Keypair | None:
        """Return the keypair with this local index."""
        for keypair in (self.current, self.next, self.previous):
            if keypair is not None and keypair.local_index == index:
                return keypair
        return None

    def add_initiated(self, keypair: Keypair) -> None:
        """Take the keypair of our own answered initiation."""
        theirs, kept = self.next, self.current
        if theirs is not None and _crossed(theirs, keypair):
            self._become(previous=kept, current=keypair, following=theirs)  # the peer seals with that one by now
            return
        if theirs is not None and (kept is None or kept.heard_at < theirs.created_at):
            kept = theirs  # the peer may have sealed with it until now, and all of that was lost
        self._become(previous=kept, current=keypair, following=None)

    def add_answered(self, keypair: Keypair) -> None:
        """Take the keypair of the peer's initiation; it must not seal before it opened a packet."""
        self._become(previous=self.previous, current=self.current, following=keypair)

    def on_opened(self, keypair: Keypair, *, peer_wins: bool) -> bool:
        """Take note that the peer uses a keypair.  Returns whether `current` is another one now.

        Where both ends initiated at once and both were answered, each holds two sessions.  The one initiated by the end
        that wins (`peer_wins` is opposite at the two) is current at both, or both would renew theirs for ever.
        """
        crossed = self.current is not None and _crossed(keypair, self.current)
        if keypair is self.next and crossed and not peer_wins:
            self._become(previous=keypair, current=self.current, following=None)
            return False
        if keypair is self.next or (keypair is self.previous and crossed and peer_wins):
            self._become(previous=self.current, current=keypair, following=None if keypair is self.next else self.next)
            return True
        return False

    def clear(self) -> None:
        """Forget all three."""
        self._become(previous=None, current=None, following=None)

    def _become(self, *, previous: Keypair | None, current: Keypair | None, following: Keypair | None) -> None:
        kept = (previous, current, following)
        for keypair in (self.previous, self.current, self.next):
            if keypair is not None and keypair not in kept:
                self._release(keypair.local_index)
        self.previous, self.current, self.next = kept


def _crossed(theirs: Keypair, ours: Keypair) -> bool:
    """Return whether these two come from initiations that met on their way."""
    roles = theirs.role == "responder" and ours.role == "initiator"
    return roles and abs(theirs.created_at - ours.created_at) <= CROSSING_S


def _padded(packets: Sequence[Buffer], mtu: int) -> Sequence[Buffer]:
    """Return the packets, filled with zeros up to a multiple of PADDING or to `mtu`, whichever comes first."""
    lens = list(map(len, packets))
    fill = {length: _ZEROS[max(0, min(-length % PADDING, mtu - length))] for length in set(lens)}
    if not any(fill.values()):
        return packets
    return list(map(b"".join, zip(packets, map(fill.__getitem__, lens), strict=True)))
