"""Transport keys: seal and open whole batches, within the limits that the whitepaper sets (sections 5.4.6 and 6.2).

One AEAD call a packet is what the work costs; everything round it is done once a batch.  Replay is not judged here:
`replay` does so, after authentication.
"""

from collections.abc import Sequence
from typing import Literal

from wg.messages import Buffer
from wg.replay import ReplayWindow

Role = Literal["initiator", "responder"]


class Keypair:
    """One session's two keys, its counter, its window and its age."""

    def __init__(
        self, *, role: Role, send_key: bytes, receive_key: bytes, local_index: int, remote_index: int, now: float
    ) -> None:
        self.role = role
        self.local_index, self.remote_index = local_index, remote_index
        self.created_at = now
        self.heard_at = float("-inf")  # when it last opened something; -inf: it is not proven
        self.counter = 0  # of the next packet that is sealed
        self.window = ReplayWindow()

    def seal(self, packets: Sequence[Buffer], mtu: int) -> list[bytes]:
        """Return transport messages, one a packet, padded to 16 bytes but not beyond `mtu`; an empty one keeps alive."""
        raise NotImplementedError

    def open(self, datagrams: Sequence[Buffer]) -> tuple[list[int], list[bytes | None]]:
        """Return the counters and the plaintexts with their padding, None where authentication failed.

        Each datagram is transport data for `local_index` of at least 32 bytes; the lists run parallel to it.
        """
        raise NotImplementedError

    def may_send(self, count: int, now: float) -> bool:
        """Return whether `count` more packets stay within REJECT_AFTER_TIME and REJECT_AFTER_MESSAGES."""
        raise NotImplementedError

    def may_receive(self, now: float) -> bool:
        """Return whether the keypair is younger than REJECT_AFTER_TIME."""
        raise NotImplementedError
