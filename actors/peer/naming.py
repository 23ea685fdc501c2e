"""What offers say of our relayed connection: where the two meet, where we cannot be, which opening is the newest."""

from actors.addresses import PeerAddresses
from actors.allowance import Allowance
from actors.effects import Effect
from actors.messages.peer import LocalRelayChanged, RelayTurn, SendOffer
from actors.peer.meeting import Meeting
from config.keys import PublicKey

MOVES = 8  # at once
MOVE_EVERY_S = 30.0  # and in the long run


class Naming:
    """Has the offer listener told what is news; `generation` is what offers name first (0: not known)."""

    def __init__(self, peer: PublicKey, addresses: PeerAddresses, meeting: Meeting, generation: int) -> None:
        self._peer, self._to, self._meeting = peer, addresses, meeting
        self.generation = generation
        self.moves = 0  # to another relay server
        self._may_move = Allowance(MOVES, MOVE_EVERY_S)

    def tell(self) -> Effect:
        """Have offers say what is so now."""
        meeting, generation = self._meeting, self.generation
        url, unreached = meeting.elsewhere, meeting.unreached
        told = LocalRelayChanged(peer=self._peer, generation=generation, url=url, unreached=unreached)
        return self._to.offer_listener.send(told)

    def learn(self, turn: RelayTurn | None) -> list[Effect]:
        """Take the remote's newest offer.  If that moves the pair, our answer to it named the wrong place."""
        before = self._meeting.elsewhere
        self._meeting.learn(turn)
        return self._moved(offer=turn is not None) if self._meeting.elsewhere != before else []

    def settle(self, home_url: str | None) -> list[Effect]:
        """Take note of our home, which may be a better place."""
        before = self._meeting.elsewhere
        self._meeting.settle(home_url)
        return self._moved(offer=True) if self._meeting.elsewhere != before else []

    def move_on(self, now: float, *, offer: bool = True) -> list[Effect]:
        """Choose another server, and have the remote told, at once or by the guard's next offer.

        [] where there is none, or all were tried again and again.
        """
        if self._may_move.next_at(now) > now or not self._meeting.move_on():
            return []
        self._may_move.take(now)
        return self._moved(offer=offer)

    def unreached(self, url: str | None) -> list[Effect]:
        """Take note of where we cannot be; None: nowhere."""
        before, self._meeting.unreached = self._meeting.unreached, url
        return [self.tell()] if url != before else []

    def _moved(self, *, offer: bool) -> list[Effect]:
        self.moves += 1
        why = f"we meet at relay {self._meeting.url()}"
        owed = [self._to.offer_listener.send(SendOffer(peer=self._peer, reason=why))] if offer else []
        return [self.tell(), *owed]
