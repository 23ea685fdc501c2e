"""What to send again of the frames that a link lost, where it may lose them (relay spec 2.3).

QUIC tells which packets were lost.  Packets for peers are not sent again; every other frame is, because somebody
waits for it.  All of them may come twice.  Presence and subscriptions must not come late, after their opposite: of
those only what nothing newer has replaced is sent again.
"""

from itertools import count
from typing import Final

from transport.errors import RemoteProtocolError
from transport.relay.codec import decode_from_client, decode_from_server, encode
from transport.relay.frames import (
    Close,
    PeerId,
    PeersOnline,
    PeersWentOffline,
    SubscribePeerState,
    UnsubscribePeerState,
)

MAX_TRACKED: Final = 1024  # frames under way; more are sent once

_PeerList = SubscribePeerState | UnsubscribePeerState | PeersOnline | PeersWentOffline


class Resend:
    """The frames under way in one direction of one link, but Transport."""

    def __init__(self, *, client: bool) -> None:
        self._decode = decode_from_client if client else decode_from_server
        self._numbers = count(1)
        self._under_way: dict[int, bytes] = {}
        self._newest: dict[PeerId, int] = {}  # the last frame under way that says something of this peer

    def __len__(self) -> int:
        return len(self._under_way)

    def sent(self, message: bytes) -> int:
        """Take note of a frame that leaves; return its number, 0 if it is not followed."""
        if len(self._under_way) >= MAX_TRACKED:
            return 0
        number = next(self._numbers)
        self._under_way[number] = message
        for peer in self._peers(message):
            self._newest[peer] = number
        return number

    def arrived(self, number: int) -> None:
        """Take note that the other end has it."""
        message = self._under_way.pop(number, None)
        if message is not None:
            self._forget(number, self._peers(message))

    def lost(self, number: int) -> bytes | None:
        """Take note that it was lost; return what to send in its place."""
        message = self._under_way.pop(number, None)
        if message is None:
            return None
        frame = self._frame(message)
        if isinstance(frame, _PeerList):
            current = tuple(peer for peer in dict.fromkeys(frame.peers) if self._newest.get(peer) == number)
            self._forget(number, current)
            return encode(type(frame)(current)) if current else None
        return None if isinstance(frame, Close) else message

    def _peers(self, message: bytes) -> tuple[PeerId, ...]:
        frame = self._frame(message)
        return frame.peers if isinstance(frame, _PeerList) else ()

    def _frame(self, message: bytes) -> object:
        try:
            return self._decode(message)
        except RemoteProtocolError:  # a frame of another version of us: repeated as it is
            return None

    def _forget(self, number: int, peers: tuple[PeerId, ...]) -> None:
        for peer in peers:
            if self._newest.get(peer) == number:
                del self._newest[peer]
