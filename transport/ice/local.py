"""Our own candidates in one session: host by host, and how STUN servers see us (RFC 8445 section 5.1)."""

import base64
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from transport.ice.candidates import Candidate, encode_candidate, make_candidate
from transport.ice.events import LocalCandidateFound
from transport.ice.pairs import Base
from wg.datagrams import Endpoint

MAX_BASES: Final = 16  # addresses of ours that take part
MAX_MAPPED: Final = 16  # addresses that STUN servers told
CID_BYTES: Final = 24  # random ones: 32 characters of base64 (signal spec 5.5)


class Mapped(NamedTuple):
    """What a STUN server says that one of our addresses looks like from outside."""

    base: Base
    endpoint: Endpoint


class LocalCandidates:
    """What we have told the remote, or will."""

    def __init__(self, ufrag: str, *, entropy: Callable[[int], bytes], drops: Counter[str]) -> None:
        self._ufrag, self._entropy, self._drops = ufrag, entropy, drops
        self._candidates: dict[tuple[Base, Endpoint], Candidate] = {}

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates as they are now."""
        return tuple(self._candidates.values())

    def cids(self) -> dict[Base, str]:
        """Return the cid of each host candidate."""
        return {base: each.cid for (base, _), each in self._candidates.items() if each.kind == "host" and each.cid}

    def update(self, bases: Iterable[Base], mapped: Iterable[Mapped]) -> tuple[list[Base], list[LocalCandidateFound]]:
        """Be reachable here from now on.  Returns the bases that take part, and what the remote has not been told."""
        kept = list(dict.fromkeys(bases))
        self._drops["too_many_addresses"] += len(kept[MAX_BASES:])
        del kept[MAX_BASES:]
        wanted = dict.fromkeys((base, base.endpoint) for base in kept)
        seen = dict.fromkeys((each.base, each.endpoint) for each in mapped if each.base in kept)
        wanted |= dict.fromkeys(list(seen)[:MAX_MAPPED])  # a base that looks from outside as it is, is there already
        before, found = self._candidates, list[LocalCandidateFound]()
        self._candidates = {}
        for base, endpoint in wanted:
            candidate = before.get((base, endpoint))
            if candidate is None:
                candidate = self._make(base, endpoint)
                found.append(LocalCandidateFound(candidate, encode_candidate(candidate)))
            self._candidates[base, endpoint] = candidate
        return kept, found

    def _make(self, base: Base, endpoint: Endpoint) -> Candidate:
        return make_candidate(
            "host" if endpoint == base.endpoint else "srflx",
            endpoint,
            ufrag=self._ufrag,
            cid=base64.b64encode(self._entropy(CID_BYTES)).decode("ascii"),
            related=None if endpoint == base.endpoint else base.endpoint,
        )
