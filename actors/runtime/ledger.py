"""What became of mail that was not simply delivered: counted, traced, and told to whoever waits for it."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pykka
from loguru import logger

from actors.addresses import process_actor
from actors.messages.envelope import FLAGS, ID, TO, Envelope
from actors.messages.overflow import tag_of
from actors.messages.process import GapFound
from actors.runtime.mailbox import Entry
from actors.runtime.supervision import ActorsFailing
from actors.runtime.tap import Subject
from actors.trace.record import FLAG_ASK, Kind

if TYPE_CHECKING:
    from actors.runtime.post_office import PostOffice

SLOW_LOG_S = 10.0  # a slow handler is logged once in this time


class Ledger:
    """The counters of one post office."""

    def __init__(self, office: "PostOffice") -> None:
        self.dead_letters: Counter[str] = Counter()  # reason -> messages
        self.overflow: Counter[str] = Counter()  # type and rule -> messages
        self.gaps = 0
        self.missing = 0  # messages in all gaps
        self.slow = 0  # handlers that took too long
        self._office = office
        self._slow_logged_at = float("-inf")
        self._asked: dict[int, pykka.Future[Any]] = {}

    def dead(self, reason: str, subject: Subject, detail: str = "") -> None:
        """No actor takes this mail."""
        envelope = subject[0]
        self.dead_letters[reason] += 1
        self._note("dead_letter", subject, detail or reason)
        if envelope[FLAGS] & FLAG_ASK:
            self.answer(envelope[ID], pykka.ActorDeadError(f"{envelope[TO]}: {detail or reason}"))

    def discarded(self, reason: str, envelope: Envelope, origin: str, detail: str) -> None:
        """Mail, or a whole frame, that does not count here."""
        self.dead_letters[reason] += 1
        self._note("discarded", (envelope, None, origin), detail)

    def overflowed(self, kind: Kind, entry: Entry) -> None:
        """A rule took this mail away, because too much of it waited."""
        envelope, message, _ = entry
        self.overflow[f"{tag_of(message)} {kind}"] += 1
        self._note(kind, entry, "over the bound")
        if envelope[FLAGS] & FLAG_ASK:
            self.answer(envelope[ID], pykka.ActorDeadError(f"{envelope[TO]}: over the bound"))

    def gap(self, process: str, incarnation: int, missing: int, envelope: Envelope) -> None:
        """Mail is missing before this: both ends must resync.  Our own mail cannot be told anew: the process ends."""
        self.gaps += 1
        self.missing += missing
        self._note("gap", (envelope, None, process), f"{missing} messages of {process} are missing")
        office = self._office
        if process == office.process:
            office.wards.give_up(ActorsFailing(f"{missing} messages among our own actors were lost"))
        else:
            office.post(
                process_actor(office.process), GapFound(process=process, incarnation=incarnation, missing=missing)
            )

    def took_long(self, actor: str, message: msgspec.Struct, seconds: float) -> None:
        """A handler held everybody up."""
        self.slow += 1
        now = self._office.clock()
        if now - self._slow_logged_at >= SLOW_LOG_S:
            self._slow_logged_at = now
            text = "{} took {:.0f} ms over {}; everybody waited ({} such so far)"
            logger.warning(text, actor, 1000 * seconds, tag_of(message), self.slow)

    def ask(self, number: int, future: pykka.Future[Any]) -> None:
        """Remember who waits for the mail with this id."""
        self._asked[number] = future

    def answer(self, number: int, error: BaseException | None) -> None:
        """Tell who waits for this mail that it has been handled, or why not."""
        future = self._asked.pop(number, None)
        if future is None:
            return
        if error is None:
            future.set(None)
        else:
            future.set_exception((type(error), error, error.__traceback__))

    def answer_all(self, error: BaseException) -> None:
        """Tell everybody who still waits."""
        for number in list(self._asked):
            self.answer(number, error)

    def _note(self, kind: Kind, subject: Subject, reason: str) -> None:
        self._office.tap.lost(self._office.clock(), kind, subject, reason)
