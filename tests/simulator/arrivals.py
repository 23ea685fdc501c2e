"""What arrived of a stream of packets, and the gaps in it."""

GAP_S = 0.1  # shorter ones are no outage


class Arrivals:
    """Packets of one sender at one receiver."""

    def __init__(self, begun_at: float) -> None:
        self.last_at = begun_at
        self.count = 0
        self.gaps: list[tuple[float, float]] = []  # from, to

    def add(self, now: float) -> None:
        """Take note of a packet."""
        if now - self.last_at > GAP_S:
            self.gaps.append((self.last_at, now))
        self.last_at = now
        self.count += 1

    def outage_s(self, since: float, until: float, interval_s: float) -> float:
        """Return the longest time without a packet within these times, less the senders' interval."""
        longest_s = 0.0
        for begun, ended in [*self.gaps, (self.last_at, until)]:
            longest_s = max(longest_s, min(ended, until) - max(begun, since) - interval_s)
        return longest_s if longest_s > GAP_S else 0.0
