"""The mail that waits for one actor, in the order it came, and what happens when too much of it waits.

Up to `soft` messages everything is kept.  Above it the rules of actors/messages/overflow.py apply to what comes in.
What must be kept is kept above it too; from `hard` on the mailbox is crowded, and the post office takes nothing more
from its links until the actors have worked some off, so that the senders' own bounds apply.
"""

from collections import deque

import msgspec

from actors.messages.envelope import ID, Envelope
from actors.messages.overflow import coalescing_key, rule_for
from actors.trace.record import Kind

SOFT_LIMIT = 1_000
HARD_LIMIT = 10_000

Entry = tuple[Envelope, msgspec.Struct, str]
"""Envelope, decoded message, and the process it came from."""

Taken = tuple[Kind, Entry]
"""What an overflow rule took away, and how."""


class Mailbox:
    """One actor's mail."""

    def __init__(self, soft: int = SOFT_LIMIT, hard: int = HARD_LIMIT) -> None:
        self.soft, self.hard = soft, hard
        self.entries: deque[Entry] = deque()
        self._gone: set[int] = set()  # ids among `entries` that were coalesced
        self._newest: dict[tuple[object, ...], Entry] | None = None  # kept only while above `soft`

    def __len__(self) -> int:
        return len(self.entries) - len(self._gone)

    @property
    def crowded(self) -> bool:
        """Whether nothing more should be taken in for now."""
        return len(self) >= self.hard

    def put(self, entry: Entry) -> list[Taken]:
        """Put mail in; return what the rules took away for it, which may be the mail itself."""
        if len(self.entries) < self.soft:
            self.entries.append(entry)
            return []
        match rule_for(entry[1]).action:
            case "drop":
                return [("dropped", entry)]
            case "refuse":
                return [("refused", entry)]
            case "keep":
                self.entries.append(entry)
                return []
            case "coalesce":
                return self._coalesce(entry)

    def take(self) -> Entry | None:
        """Return the oldest mail, or None."""
        while self.entries:
            entry = self.entries.popleft()
            if self._newest is not None:
                self._forget(entry, self._newest)
            if not self._gone or entry[0][ID] not in self._gone:
                return entry
            self._gone.discard(entry[0][ID])
        return None

    def clear(self) -> list[Entry]:
        """Take everything out; return it, oldest first."""
        left = [entry for entry in self.entries if entry[0][ID] not in self._gone]
        self.entries.clear()
        self._gone.clear()
        self._newest = None
        return left

    def _coalesce(self, entry: Entry) -> list[Taken]:
        if self._newest is None:
            self._newest = {key: old for old in self.entries if (key := coalescing_key(old[1])) is not None}
        key = coalescing_key(entry[1])
        assert key is not None, entry[1]
        older = self._newest.get(key)
        self._newest[key] = entry
        self.entries.append(entry)
        if older is None:
            return []
        self._gone.add(older[0][ID])
        if len(self._gone) > self.soft:
            self._compact()
        return [("coalesced", older)]

    def _forget(self, entry: Entry, newest: dict[tuple[object, ...], Entry]) -> None:
        if len(self.entries) < self.soft // 2:
            self._newest = None
            return
        key = coalescing_key(entry[1])
        if key is not None and newest.get(key) is entry:
            del newest[key]

    def _compact(self) -> None:
        left = [entry for entry in self.entries if entry[0][ID] not in self._gone]
        self.entries.clear()
        self.entries.extend(left)
        self._gone.clear()
