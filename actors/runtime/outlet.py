"""The way for one other thread to mail the actors of its own process: a DEALER of its own.

What one outlet sends arrives in the order sent.  It is outside the causal order of the actors' own mail.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from actors.effects import Address
from actors.messages.envelope import FramePacker
from actors.trace.record import FLAG_EXTERNAL
from transport.drivers.zmq import Sender

OUTLET_FRAMES = 1_000  # messages that may wait in an outlet


class Outlet:
    """Belongs to the one thread that sends on it."""

    def __init__(
        self,
        sender: Sender,
        packer: FramePacker,
        *,
        process: str,
        name: str,
        first_id: int,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.refused = 0  # messages that were not taken
        self.next_id = first_id
        self._process, self._clock = process, clock
        self._sender, self._packer = sender, packer
        self._count = 0  # envelopes on this link
        self._numbers: dict[str, int] = {}
        self._closed = False

    def send(
        self, to: Address[Any], message: msgspec.Struct, *, trace: int = 0, cause: int = 0, flags: int = FLAG_EXTERNAL
    ) -> bool:
        """Mail an actor of this process.  False: the post office is too far behind, and it was not sent.

        `cause` and `trace` are those of the mail that asked for this, where there is one.
        """
        assert to.process == self._process, f"an outlet of {self._process} cannot mail {to}"
        number, self.next_id = self.next_id, self.next_id + 1
        seq = self._numbers.get(to.actor, 0) + 1
        body = msgspec.msgpack.encode(message)
        envelope = (to.actor, self.name, seq, number, cause, trace or number, self._clock(), flags, body)
        if self._closed or not self._sender.send(self._packer.pack(self._count + 1, (envelope,))):
            self.refused += 1
            return False
        self._count += 1
        self._numbers[to.actor] = seq
        return True

    def close(self) -> None:
        """Close; only after its thread has sent its last mail."""
        if not self._closed:
            self._closed = True
            self._sender.close()
