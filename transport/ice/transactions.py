"""Whose request an answer belongs to, for the few seconds that answers are taken."""

from typing import Final, Generic, TypeVar

KEEP_S: Final = 5.0  # at least; twice that at most
MAX_GENERATION: Final = 65536  # requests in 5 s: far above what the pacer lets through

Owner = TypeVar("Owner")


class Transactions(Generic[Owner]):
    """Transaction id -> owner, in two generations: the older is forgotten as a whole, so none needs a timer."""

    def __init__(self) -> None:
        self._young: dict[bytes, Owner] = {}
        self._old: dict[bytes, Owner] = {}
        self._turned_at = 0.0

    def add(self, transaction: bytes, owner: Owner, now: float) -> None:
        """Remember a request."""
        if now - self._turned_at > KEEP_S or len(self._young) >= MAX_GENERATION:
            self._young, self._old, self._turned_at = {}, self._young, now
        self._young[transaction] = owner

    def find(self, transaction: bytes) -> Owner | None:
        """Return whose request this was; None: nobody's, or too long ago."""
        found = self._young.get(transaction)
        return self._old.get(transaction) if found is None else found

    def forget(self, owner: Owner) -> None:
        """Forget the requests of an owner that is gone."""
        for generation in (self._young, self._old):
            for transaction in [each for each, whose in generation.items() if whose is owner]:
                del generation[transaction]
