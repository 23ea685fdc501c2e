"""Session indices: the 32-bit numbers by which the messages of a tunnel find it (whitepaper section 5.4)."""

from collections.abc import Callable

from config.keys import PublicKey, encode_key
from wg.tunnel import Tunnel


class SessionIndices:
    """The indices in use on one node, and whose they are."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._owners: dict[int, PublicKey] = {}

    def take(self, tunnel: Tunnel) -> int:
        """Return an index that is not in use, unpredictable from outside."""
        while (index := int.from_bytes(self._entropy(4), "little")) in self._owners:
            pass
        self._owners[index] = PublicKey(encode_key(tunnel.remote))
        return index

    def release(self, index: int) -> None:
        """Take an index back."""
        self._owners.pop(index, None)

    def owner(self, index: int) -> PublicKey | None:
        """Return whose session this is; None: nobody's."""
        return self._owners.get(index)
