"""The receive window: no counter twice, none too old (RFC 6479; whitepaper section 5.4.6)."""


class ReplayWindow:
    """Remembers which of the last WINDOW_LEN counters were accepted."""
