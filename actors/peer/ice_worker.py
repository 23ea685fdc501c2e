"""Which ICE session this peer has, and when it changes.

    NoAgent --IceTurn--> Waiting --IceTurn(another session)--> Waiting
       ^ \\                  | \\--IceTurn(same session)--> kept
       |  +--Distress-------+---IceTurn(no ICE)--> NoAgent
       +-----Distress-------/

Our session id, ufrag and pwd change on every distress of our own, once each, in one step with forgetting the remote's
id (recovery R6): the remote sees it in our next offer and makes a new agent.  That the *remote's* id changed does not
change ours, else two peers would replace each other's healthy agents for ever.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, assert_never

from actors.effects import Address, Effect
from actors.messages.peer import (
    Distress,
    IceTurn,
    IceTurnDone,
    IceWorkerInbox,
    LocalIceChanged,
    OfferListenerInbox,
)
from config.keys import PublicKey, Secret
from transport.signal.messages import IceCredentials, SessionId

SESSION_LEN = 5  # bytes
UFRAG_LEN = 16  # letters (signal spec 4.1)
PWD_LEN = 32  # letters
LETTERS = string.ascii_letters

IceOutcome = Literal["taken", "kept", "no_ice"]


@dataclass(frozen=True, slots=True)
class NoAgent:
    """No session of the remote is known: its next one counts."""

    session: SessionId  # ours


@dataclass(frozen=True, slots=True)
class Waiting:
    """The remote's session is known."""

    session: SessionId  # ours
    remote_session: SessionId | None  # None: an old peer that has none (signal spec 5.8)


class IceWorker:
    """Keeps our ICE session for one peer.

    Not `enabled`, offers say that we have no ICE; everything else goes on, so that a session never outlives a distress.
    """

    inbox: ClassVar[object] = IceWorkerInbox

    def __init__(
        self,
        peer: PublicKey,
        *,
        offers: Address[OfferListenerInbox],
        entropy: Callable[[int], bytes],
        enabled: bool,
    ) -> None:
        self._peer, self._offers, self._entropy, self._enabled = peer, offers, entropy, enabled
        self._credentials, session = self._fresh_session()
        self.state: NoAgent | Waiting = NoAgent(session)

    def start(self, now: float) -> list[Effect]:
        """Tell what our first offer says."""
        return self._tell()

    def handle(self, message: IceWorkerInbox, now: float) -> list[Effect]:
        """Work on one message."""
        match message:
            case IceTurn():
                return self._on_turn(message)
            case Distress():
                self._credentials, session = self._fresh_session()
                self.state = NoAgent(session)
                return self._tell() if self._enabled else []  # without ICE there is nothing that the remote could see
            case _:
                assert_never(message)

    def _on_turn(self, turn: IceTurn) -> list[Effect]:
        state = self.state
        if turn.ice is None:
            self.state = NoAgent(state.session)
            return [self._done(turn, "no_ice")]
        if isinstance(state, Waiting) and turn.session in (None, state.remote_session):
            return [self._done(turn, "kept")]  # the agent of that session is there; old peers name none (recovery R7)
        self.state = Waiting(state.session, turn.session)
        return [self._done(turn, "taken")]

    def _done(self, turn: IceTurn, outcome: IceOutcome) -> Effect:
        return self._offers.send(IceTurnDone(peer=self._peer, turn=turn.turn, outcome=outcome))

    def _tell(self) -> list[Effect]:
        ice, session = (self._credentials, self.state.session) if self._enabled else (None, None)
        return [self._offers.send(LocalIceChanged(peer=self._peer, ice=ice, session=session))]

    def _fresh_session(self) -> tuple[IceCredentials, SessionId]:
        ufrag, pwd = _letters(UFRAG_LEN, self._entropy), _letters(PWD_LEN, self._entropy)
        return IceCredentials(ufrag=ufrag, pwd=Secret(pwd.encode("ascii"))), self._entropy(SESSION_LEN)


def _letters(length: int, entropy: Callable[[int], bytes]) -> str:
    """Return random letters, each equally likely: bytes past the last whole alphabet are drawn anew."""
    limit = 256 - 256 % len(LETTERS)
    letters = ""
    while len(letters) < length:
        letters += "".join(LETTERS[byte % len(LETTERS)] for byte in entropy(length) if byte < limit)
    return letters[:length]
