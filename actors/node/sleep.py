"""Has the machine slept?  The boot time goes on in suspend, the monotonic clock does not (recovery R12)."""

LEAST_S = 0.2  # of sleep that counts: a NAT may have forgotten us, or a timer of ours is late


class SleepWatch:
    """Compares the two clocks, which are to be read in this order: `boot`, then `awake`.

    Whoever is held up between the two sees less sleep than there was, never more; so the most that was seen is true.
    """

    def __init__(self, boot: float, awake: float) -> None:
        self._seen_s = boot - awake  # since boot

    def slept_s(self, boot: float, awake: float) -> float:
        """Return for how long the machine has slept since the last call; 0: not long enough to matter."""
        new_s = max(boot - awake - self._seen_s, 0.0)
        self._seen_s += new_s
        return new_s if new_s >= LEAST_S else 0.0
