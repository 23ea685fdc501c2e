"""mac1, mac2, cookie replies, and who may make us work under load (whitepaper sections 5.3, 5.4.4 and 5.4.7)."""

from collections.abc import Callable
from typing import Literal

from wg.messages import Buffer


class HandshakeGate:
    """Stands before the handshake of one local static key: cheap checks first, cookies and rates under load."""

    def __init__(self, local_public: bytes, entropy: Callable[[int], bytes]) -> None:
        raise NotImplementedError

    def admit(self, datagram: Buffer, source: bytes, now: float) -> Literal["admitted", "dropped"] | bytes:
        """Judge an initiation or response of the right length; bytes are a cookie reply to send back instead.

        `source` is what a cookie binds to: the packed IP address and 2 bytes of port, or for a relayed message
        whatever names its sender there.
        """
        raise NotImplementedError
