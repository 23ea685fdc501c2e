"""At which relay server the two meet: the controller's home, or another that both reach (relay spec 1, recovery R11).

The controller decides, and its offers and answers name the place; the other goes where the newest of them says.  It is
the controller's home until the remote says that it cannot be there, or does not come, or nothing comes over it: then
the controller goes to a server that the remote has named as reached (its home, and between ours what it reaches
besides), names that one as its own, and stays there for as long as it works.
"""

from actors.messages.peer import RelayTurn

NOT_HOME = "not connected to our relay"


class Meeting:
    """Chooses the server for one peer.  `url` is where the pair met before we began."""

    def __init__(self, *, controller: bool, home_url: str | None, url: str | None = None) -> None:
        self._controller, self.home_url = controller, home_url
        self._latest: RelayTurn | None = None
        self.elsewhere = url if controller and url != home_url else None  # not at our home; None: there
        self.unreached: str | None = None  # where we would meet, and cannot be

    def learn(self, turn: RelayTurn | None) -> None:
        """Take note of the remote's newest offer; None: what it said before counts no more."""
        self._latest = turn
        if turn is None or (turn.relay_url is not None and self.elsewhere not in _named(turn)):
            self.elsewhere = None
        if turn is not None and turn.relay_unreached is not None and turn.relay_unreached == self.url():
            self.move_on()

    def settle(self, home_url: str | None) -> None:
        """Take note of our home.  Where we cannot be we do not stay for it."""
        self.home_url = home_url
        if home_url is not None and self.elsewhere == self.unreached:
            self.elsewhere = None

    def lack(self) -> str:
        """Return why there is no place, while there is none."""
        if self._latest is None:
            return "no offer or answer from the remote yet"
        return NOT_HOME if self._at_home(self._latest) else "no relay in the remote's offer"

    def url(self) -> str | None:
        """Return where to meet by the newest offer; None if there seems to be no place."""
        turn = self._latest
        if turn is None:
            return None
        if not self._controller:
            return turn.relay_url
        return self.elsewhere or (self.home_url if self._at_home(turn) else None)

    def is_out_of_reach(self, url: str) -> bool:
        """Return whether we cannot be there, and the remote chooses: it has not heard that yet."""
        return not self._controller and url == self.unreached

    def move_on(self) -> bool:
        """Choose the next place.  Returns whether there is another than before."""
        before = self.url()
        if not self._controller or self._latest is None:
            return False  # the remote chooses; or nobody is to be met
        places = [url for url in (self.home_url, *_named(self._latest)) if url is not None]
        following = places.index(before) + 1 if before in places else 0
        chosen = next((url for url in (*places[following:], *places[:following]) if url != before), None)
        if chosen is None:
            return False
        self.elsewhere = chosen if chosen != self.home_url else None
        return True

    def _at_home(self, turn: RelayTurn) -> bool:
        """Return whether the two meet at our home, where nothing speaks against it."""
        return self._controller and (turn.ours or turn.relay_url is not None)


def _named(turn: RelayTurn) -> tuple[str, ...]:
    """Return the servers that the remote reaches, each once."""
    return tuple(dict.fromkeys(url for url in (turn.relay_url, *turn.relay_urls) if url is not None))
