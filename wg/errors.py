"""What a remote sends in error.  Nothing of it raises past the packet path, which counts it and drops the message."""


class InvalidMessage(Exception):
    """The bytes are no valid WireGuard message, or not one for us; the message says what was seen."""


class HandshakeRejected(InvalidMessage):
    """A handshake message of the right shape did not authenticate, or is a replay."""
