"""Whose fault it was: ours, or the remote's.  Nothing a remote sends raises past its driver."""


class ProtocolError(Exception):
    """A protocol was violated; the message says what was seen and what would do."""


class LocalProtocolError(ProtocolError):
    """We did what the protocol forbids: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The remote did what the protocol forbids: its link closes, and a fact says why."""
