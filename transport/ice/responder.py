"""What a STUN server answers: each Binding request learns the address that it came from (RFC 8489 section 7).

It asks for no password, signs nothing and keeps no state but rates.  An answer is longer than its request by the mapped
address at most, so nobody is flooded through us harder than by hand.
"""

from collections import Counter, OrderedDict
from typing import Final

from transport.ice.attributes import packed_ip
from transport.ice.stun import (
    UNKNOWN_ATTRIBUTE,
    BadStun,
    BindingError,
    BindingRequest,
    BindingSuccess,
    decode,
    encode,
    peek,
)
from wg.cookie import TokenBucket
from wg.datagrams import Endpoint

# An agent asks a few times when its network changes and every 20 s at rest; a source may be a NAT before hundreds.
SOURCE_PER_S: Final = 100.0
SOURCE_BURST: Final = 200.0
TOTAL_PER_S: Final = 5000.0  # about a tenth of a core
TOTAL_BURST: Final = 5000.0
MAX_SOURCES: Final = 4096
NETWORK_LEN_6: Final = 8  # bytes: an IPv6 /64 is one source

FINGERPRINT_HEAD: Final = b"\x80\x28\x00\x04"


class StunResponder:
    """Answers requests, at a limited rate for each source and in total."""

    def __init__(self, now: float) -> None:
        self.answered = 0
        self.sources_forgotten = 0  # pushed out of the full table of rates; their next request finds a full bucket
        self.drops: Counter[str] = Counter()
        """Datagrams that got no answer, by reason."""
        self._total = TokenBucket(TOTAL_PER_S, TOTAL_BURST, now)
        self._sources: OrderedDict[bytes, TokenBucket] = OrderedDict()  # the one heard last at the end

    def respond(self, datagram: bytes, source: Endpoint, now: float) -> bytes | None:
        """Return the answer to a datagram from `source`, None if it gets none."""
        looked = peek(datagram)
        if looked is None or looked.kind != "request":
            self.drops["no_request"] += 1
            return None
        if not self._bucket_of(source, now).take(now):
            self.drops["source_rate"] += 1
            return None
        if not self._total.take(now):
            self.drops["total_rate"] += 1
            return None
        try:
            request = decode(datagram)
        except BadStun as error:
            self.drops[error.reason] += 1
            return None
        assert isinstance(request, BindingRequest), request
        self.answered += 1
        answer: BindingSuccess | BindingError
        if request.unknown:
            answer = BindingError(
                transaction=request.transaction, code=UNKNOWN_ATTRIBUTE, not_understood=request.unknown
            )
        else:
            answer = BindingSuccess(transaction=request.transaction, mapped=source)
        # Who sends a fingerprint may tell STUN by it from what else comes to its port (RFC 8489 section 7).
        return encode(answer, fingerprint=datagram[-8:-4] == FINGERPRINT_HEAD)

    def _bucket_of(self, source: Endpoint, now: float) -> TokenBucket:
        address = packed_ip(source.ip)
        network = address if len(address) == 4 else address[:NETWORK_LEN_6]
        bucket = self._sources.get(network)
        if bucket is None:
            bucket = self._sources[network] = TokenBucket(SOURCE_PER_S, SOURCE_BURST, now)
        self._sources.move_to_end(network)
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
            self.sources_forgotten += 1
        return bucket
