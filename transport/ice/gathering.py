"""How we look from outside: each of our addresses asks each STUN server, now and again (RFC 8489 section 6.2.1).

The agents of a node share one socket, so they share its mappings: one question serves them all.  Asking every 20 s
keeps a mapping alive and notices when it changed, with agents or without; while packets are missing on some path it is
asked sooner.  A server is believed as far as it cannot hurt: its answer must come from where the question went, name
the right family and an address that may be used, and say the same twice before a change counts; and a change is news
only if most of the servers that answer see it.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

import msgspec

from transport.ice.candidates import AddressRules
from transport.ice.events import MappingChanged, Outgoing
from transport.ice.local import Mapped
from transport.ice.pairs import Base
from transport.ice.stun import TRANSACTION_LEN, BadStun, BindingRequest, BindingSuccess, decode, encode
from wg.datagrams import Endpoint

MAX_SERVERS: Final = 4  # of each family
RETRY_AFTER_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # without an answer: RTO, doubled (RFC 8489 section 6.2.1)
ASK_EVERY_S: Final = 20.0  # NATs forget after 30 s and more
DOUBT_EVERY_S: Final = 2.0  # while packets are missing on some path, however many peers say so
JITTER: Final = (0.9, 1.1)
CHANGE_WINDOW_S: Final = 10.0  # in which most servers must see a change


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one STUN server says of one of our addresses."""

    server: Endpoint
    local: str
    mapped: Endpoint | None  # None: it never answered
    answer_age_s: float | None
    unanswered: int  # requests since the last answer


@dataclass(slots=True, eq=False)
class _Question:
    base: Base
    server: Endpoint
    ask_at: float
    transaction: bytes = b""  # of the request under way; empty: none
    unanswered: int = 0
    mapped: Endpoint | None = None
    doubted: Endpoint | None = None  # another answer, given once
    answered_at: float = -inf
    changed_at: float = -inf
    before: Endpoint | None = None  # the answer before the change


@dataclass(slots=True)
class Gatherer:
    """Asks the STUN servers.  `mapped` is what they say; it has changed when `changed` is set."""

    rules: AddressRules
    entropy: Callable[[int], bytes]
    rng: random.Random
    drops: Counter[str]
    changed: bool = False
    outbox: list[Outgoing] = field(default_factory=list)
    news: list[MappingChanged] = field(default_factory=list)
    _questions: dict[tuple[Base, Endpoint], _Question] = field(default_factory=dict)
    _by_transaction: dict[bytes, _Question] = field(default_factory=dict)

    def mapped(self) -> tuple[Mapped, ...]:
        """Return what our addresses look like from outside."""
        return tuple(Mapped(each.base, each.mapped) for each in self._questions.values() if each.mapped is not None)

    def configure(self, bases: Iterable[Base], servers: Iterable[Endpoint], now: float) -> None:
        """Ask these servers about these addresses; what stays is not asked anew."""
        asked = tuple(dict.fromkeys(servers))
        wanted = [
            (base, server)
            for base in bases
            for server in [each for each in asked if _same_family(base, each)][:MAX_SERVERS]
        ]
        for key in [key for key in self._questions if key not in wanted]:
            gone = self._questions.pop(key)
            self._by_transaction.pop(gone.transaction, None)
            self.changed = True
        for key in wanted:
            if key not in self._questions:
                self._questions[key] = _Question(*key, ask_at=now)

    def ask_now(self, now: float) -> None:
        """Ask all: something changed outside (recovery R12)."""
        for question in self._questions.values():
            question.ask_at, question.unanswered = now, 0

    def doubt(self, now: float) -> None:
        """Ask soon all that owe no answer: packets are missing on some path."""
        for question in self._questions.values():
            if question.unanswered == 0:
                question.ask_at = min(question.ask_at, max(now, question.answered_at + DOUBT_EVERY_S))

    def handle_timeout(self, now: float) -> None:
        """Ask what is due."""
        for question in self._questions.values():
            if now >= question.ask_at:
                self._ask(question, now)

    def next_timeout(self) -> float:
        """Return when to call `handle_timeout`; inf: never."""
        return min((question.ask_at for question in self._questions.values()), default=inf)

    def receive(self, datagram: bytes, transaction: bytes, source: Endpoint, now: float) -> str | None:
        """Take an answer.  Returns why it was not taken; None: it was."""
        question = self._by_transaction.get(transaction)
        if question is None:
            return "unknown_transaction"
        if source != question.server:
            return "answer_from_elsewhere"
        try:
            answer = decode(datagram)
        except BadStun as error:
            return error.reason
        mapped = answer.mapped if isinstance(answer, BindingSuccess) else None
        if mapped is None:
            return "stun_server_refused"
        if mapped.port == 0 or not _same_family(question.base, mapped) or self.rules.refusal(mapped.ip) is not None:
            return "stun_server_lied"
        del self._by_transaction[transaction]
        question.transaction, question.unanswered, question.answered_at = b"", 0, now
        question.ask_at = now + ASK_EVERY_S * self.rng.uniform(*JITTER)
        self._learn(question, mapped, now)
        return None

    def describe(self, now: float) -> tuple[ServerReport, ...]:
        """Return what each server says."""
        return tuple(
            ServerReport(
                server=each.server,
                local=each.base.ip,
                mapped=each.mapped,
                answer_age_s=None if each.mapped is None else now - each.answered_at,
                unanswered=each.unanswered,
            )
            for each in self._questions.values()
        )

    def _ask(self, question: _Question, now: float) -> None:
        if question.unanswered % len(RETRY_AFTER_S) == 0:  # a question anew
            self._by_transaction.pop(question.transaction, None)
            question.transaction = self.entropy(TRANSACTION_LEN)
            self._by_transaction[question.transaction] = question
        wait_s = RETRY_AFTER_S[question.unanswered % len(RETRY_AFTER_S)]
        question.unanswered += 1
        given_up = question.unanswered % len(RETRY_AFTER_S) == 0
        question.ask_at = now + (ASK_EVERY_S if given_up else wait_s) * self.rng.uniform(*JITTER)
        request = encode(BindingRequest(transaction=question.transaction), fingerprint=False)  # signal spec 5.2
        self.outbox.append(Outgoing(question.base.packed, question.server, request))

    def _learn(self, question: _Question, mapped: Endpoint, now: float) -> None:
        if mapped == question.mapped:
            question.doubted = None
        elif question.mapped is not None and mapped != question.doubted:
            question.doubted, question.ask_at = mapped, now  # once more, to be sure
        else:
            question.doubted, question.before, question.mapped = None, question.mapped, mapped
            self.changed = True
            if question.before is not None:
                question.changed_at = now
                self._see_change(question, now)

    def _see_change(self, question: _Question, now: float) -> None:
        """Tell that we moved, if most of the servers that answer say so; and ask the others."""
        same_base = [each for each in self._questions.values() if each.base == question.base]
        answering = [each for each in same_base if now - each.answered_at <= 2 * ASK_EVERY_S]
        agreeing = [each for each in answering if now - each.changed_at <= CHANGE_WINDOW_S]
        if 2 * len(agreeing) > len(answering):
            assert question.before is not None
            assert question.mapped is not None
            self.news.append(MappingChanged(question.base.ip, question.before, question.mapped))
            for each in agreeing:
                each.changed_at = -inf
        for each in answering:
            if each not in agreeing:
                each.ask_at = now


def _same_family(base: Base, endpoint: Endpoint) -> bool:
    return (len(base.packed) == 4) == (":" not in endpoint.ip)
