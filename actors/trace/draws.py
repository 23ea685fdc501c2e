"""Random numbers that a tape can hold: a key, and how many were drawn.

For jitter alone, since who has the tape knows the numbers to come.  Keys, passwords and ids come from `entropy`.
"""

import hashlib
from random import Random

BITS = 53  # of a float


class Draws(Random):
    """A Random whose whole state is two values."""

    def __new__(cls, key: bytes, count: int = 0) -> "Draws":
        """Make one; `random.Random` would want to hash what it is given."""
        return super().__new__(cls)

    def __init__(self, key: bytes, count: int = 0) -> None:
        self.key, self.count = key, count
        super().__init__(0)

    def random(self) -> float:
        """Return the next number, 0 <= number < 1."""
        return self.getrandbits(BITS) / (1 << BITS)

    def getrandbits(self, bits: int, /) -> int:
        """Return the next number of so many bits, 512 at the most."""
        self.count += 1
        drawn = hashlib.blake2b(self.count.to_bytes(8, "big"), key=self.key).digest()
        return int.from_bytes(drawn, "big") >> (8 * len(drawn) - bits)
