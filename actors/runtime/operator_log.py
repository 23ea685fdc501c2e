"""STATUS with a log: what is told to it goes to the operator as well, where it is news (actors/node/news.py)."""

from loguru import logger

from actors.effects import Effect
from actors.messages.node import PeerForgotten, StatusInbox
from actors.messages.status import PeerStatus, RelaysStatus
from actors.node.news import News
from actors.node.status import Status


class LoggedStatus(Status):
    """Status whose news are logged, a line an event."""

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self._news = News()

    def handle(self, message: StatusInbox, now: float) -> list[Effect]:
        """Work on one message, and log what is new in it."""
        match message:
            case PeerStatus() | PeerForgotten():
                for line in self._news.of(message):
                    logger.bind(**line.fields).log(line.level, line.words)
            case RelaysStatus():  # limited on its own: peers that flap do not keep it out of the log
                for line in self._news.of(message):
                    logger.bind(**line.fields).log(line.level, line.words)
            case _:
                pass
        return super().handle(message, now)
