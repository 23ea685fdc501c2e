"""The messages of one agent's checks: requests, their answers, and which answer belongs to which request.

Every check is a transaction of its own, also when a pair is checked again: an answer then tells the round trip for
certain, and answers to all of the last few seconds count (signal spec 5.7).
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from transport.ice.attributes import MAX_USERNAME_LEN, CandidateIds
from transport.ice.candidates import priority
from transport.ice.pairs import Base, Pair
from transport.ice.stun import (
    TRANSACTION_LEN,
    BadStun,
    BindingError,
    BindingRequest,
    BindingSuccess,
    Role,
    decode,
    encode,
)
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint

LIFETIME_S: Final = 4.0  # of a request: an answer after that is not taken (signal spec 5.1)
MAX_UNDER_WAY: Final = 256  # requests of one agent without an answer
MAX_CID_LEN: Final = 256  # characters of a remote's cid that we repeat to it

_PRFLX_PRIORITY: Final = priority("prflx")

Purpose = Literal["check", "nominate", "consent"]


class Check(NamedTuple):
    """A request under way."""

    pair: Pair
    purpose: Purpose
    role: Role  # ours, as the request said
    sent_at: float


class Checks:
    """Makes and reads an agent's messages, in its present role, and knows its requests."""

    def __init__(self, local: IceCredentials, *, controlling: bool, entropy: Callable[[int], bytes]) -> None:
        self.local, self.controlling, self._entropy = local, controlling, entropy
        self.remote: IceCredentials | None = None  # None: not known yet
        self.cids: dict[Base, str] = {}  # of our host candidates
        self._tie_breaker = int.from_bytes(entropy(8))
        self._under_way: dict[bytes, Check] = {}  # oldest first

    @property
    def role(self) -> Role:
        """Ours, now."""
        return "controlling" if self.controlling else "controlled"

    def keeps_role(self, request: BindingRequest) -> bool:
        """Tell which end keeps the role that both have (RFC 8445 section 7.3.1.1)."""
        return (self._tie_breaker >= request.tie_breaker) == self.controlling

    def refusal_of(self, remote: IceCredentials) -> str | None:
        """Return why a remote of these credentials cannot be checked; None: it can."""
        if not remote.ufrag or not remote.pwd.value:
            return "the remote has no ICE credentials"
        if ":" in remote.ufrag or len(f"{remote.ufrag}:{self.local.ufrag}".encode()) > MAX_USERNAME_LEN:
            return f"the remote's ufrag has {len(remote.ufrag)} characters; up to 256 without colon would do"
        return None

    # --- requests of ours ---

    def request(self, pair: Pair, purpose: Purpose, now: float, *, nominate: bool) -> bytes:
        """Return a request on this pair, and remember it."""
        assert self.remote is not None, "nobody to check"
        while self._under_way:
            oldest = next(iter(self._under_way))
            if len(self._under_way) < MAX_UNDER_WAY and now - self._under_way[oldest].sent_at <= LIFETIME_S:
                break
            del self._under_way[oldest]
        transaction = self._entropy(TRANSACTION_LEN)
        self._under_way[transaction] = Check(pair, purpose, self.role, now)
        request = BindingRequest(
            transaction=transaction,
            username=f"{self.remote.ufrag}:{self.local.ufrag}",
            role=self.role,
            tie_breaker=self._tie_breaker,
            priority=_PRFLX_PRIORITY,
            use_candidate=nominate,
            ids=self._ids(pair),
        )
        return encode(request, self.remote.pwd)

    def read_answer(
        self, datagram: bytes, transaction: bytes, source: Endpoint, now: float
    ) -> tuple[Check, BindingSuccess | BindingError] | str:
        """Return an answer and what it answers, or why it is not taken."""
        check = self._under_way.get(transaction)
        if check is None or self.remote is None or now - check.sent_at > LIFETIME_S:
            return "unknown_transaction"
        try:
            answer = decode(datagram, self.remote.pwd)
        except BadStun as error:
            return error.reason
        assert isinstance(answer, BindingSuccess | BindingError), answer
        if answer.unknown:
            return "unknown_attribute"
        if source != check.pair.remote.endpoint:
            return "answer_from_elsewhere"  # RFC 8445 section 7.2.5.2.1
        del self._under_way[transaction]
        return check, answer

    # --- requests of the remote's ---

    def read_request(self, datagram: bytes) -> BindingRequest | str:
        """Return a request of this session's remote, or why it is not taken."""
        try:
            request = decode(datagram, self.local.pwd)
        except BadStun as error:
            return error.reason
        assert isinstance(request, BindingRequest), request
        return request if self._admits(request.username) else "username"

    def success(self, request: BindingRequest, source: Endpoint, pair: Pair | None) -> bytes:
        """Return the answer to a request that came from `source`."""
        ids = None if pair is None else self._ids(pair)
        return encode(BindingSuccess(transaction=request.transaction, mapped=source, ids=ids), self.local.pwd)

    def error(self, request: BindingRequest, code: int, text: str) -> bytes:
        """Return a refusal of this request."""
        refusal = BindingError(transaction=request.transaction, code=code, text=text, not_understood=request.unknown)
        return encode(refusal, self.local.pwd)

    def _admits(self, username: str | None) -> bool:
        """Tell whether a USERNAME is of our session; of any remote's while we know none."""
        if username is None or self.remote is None:
            return username is not None and username.startswith(f"{self.local.ufrag}:")
        return username == f"{self.local.ufrag}:{self.remote.ufrag}"

    def _ids(self, pair: Pair) -> CandidateIds | None:
        """Return attribute 0x8100, for a remote that has named its candidates (signal spec 5.7)."""
        theirs, own = pair.remote.candidate.cid, self.cids.get(pair.base)
        if (
            own is None
            or theirs is None
            or not (theirs.isascii() and theirs.isprintable() and len(theirs) <= MAX_CID_LEN)
        ):
            return None
        return CandidateIds(own, theirs)
