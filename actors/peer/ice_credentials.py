"""What an ICE session of ours is known by: its id, its ufrag and its password, drawn together."""

import string
from collections.abc import Callable
from dataclasses import dataclass

from config.keys import Secret
from transport.signal.messages import IceCredentials, SessionId

SESSION_LEN = 5  # bytes
UFRAG_LEN = 16  # letters (signal spec 4.1)
PWD_LEN = 32  # letters
LETTERS = string.ascii_letters


@dataclass(frozen=True, slots=True)
class Session:
    """One ICE session of ours with one peer."""

    id: SessionId
    credentials: IceCredentials


def draw_session(entropy: Callable[[int], bytes]) -> Session:
    """Return a session that no remote has seen."""
    ufrag, pwd = _letters(UFRAG_LEN, entropy), _letters(PWD_LEN, entropy)
    return Session(entropy(SESSION_LEN), IceCredentials(ufrag=ufrag, pwd=Secret(pwd.encode("ascii"))))


def _letters(length: int, entropy: Callable[[int], bytes]) -> str:
    """Return random letters, each equally likely: bytes past the last whole alphabet are drawn anew."""
    limit = 256 - 256 % len(LETTERS)
    letters = ""
    while len(letters) < length:
        letters += "".join(LETTERS[byte % len(LETTERS)] for byte in entropy(length) if byte < limit)
    return letters[:length]
