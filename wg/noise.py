"""The handshake, Noise_IKpsk2, in both roles (whitepaper sections 5.4.1 to 5.4.5).  The names are the whitepaper's."""

from typing import NamedTuple


class LocalStatic:
    """Our static key pair.  `public` is 32 bytes."""

    def __init__(self, private: bytes) -> None:
        self.public = b""


class ReadInitiation(NamedTuple):
    """An initiation read as far as who sent it."""

    remote: bytes  # the static public key, 32 bytes; it picks the tunnel
    sender: int


def read_initiation(local: LocalStatic, initiation: object) -> ReadInitiation:
    """Open the static key of an `Initiation`.  Raises HandshakeRejected.

    It proves only that the sender knows our public key: the tunnel that consumes it checks the rest.
    """
    raise NotImplementedError
