"""The NaCl box round a signal body (signal spec 3): X25519 of the two WireGuard keys, XSalsa20 and Poly1305.

The box names neither time nor order: a recorded message opens again, so receivers compare nonces.
"""

from collections import OrderedDict
from collections.abc import Callable

from nacl.exceptions import CryptoError
from nacl.public import Box
from nacl.public import PrivateKey as BoxPrivateKey
from nacl.public import PublicKey as BoxPublicKey

from config.keys import InvalidKey, PublicKey, Secret, decode_key, encode_key
from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.signal.body import MAX_BODY_LEN

NONCE_LEN = 24
TAG_LEN = 16
OVERHEAD_LEN = NONCE_LEN + TAG_LEN
MAX_BOXES = 2048  # peers whose precomputed box key is kept; one more costs an X25519 (60 us) each time


class Sealer:
    """Seals bodies for peers and opens theirs, with one private key."""

    def __init__(self, key: Secret, entropy: Callable[[int], bytes], *, max_boxes: int = MAX_BOXES) -> None:
        self._key = BoxPrivateKey(key.value)
        self._entropy = entropy
        self._max_boxes = max_boxes
        self._boxes: OrderedDict[str, Box] = OrderedDict()  # least recently used first

    def seal(self, body: bytes, to: PublicKey) -> bytes:
        """Encrypt a body for `to`.  Returns nonce, then box: len(body) + OVERHEAD_LEN bytes.

        Raises LocalProtocolError if the body is longer than MAX_BODY_LEN, or `to` is no key.
        """
        if len(body) > MAX_BODY_LEN:
            raise LocalProtocolError(f"body of {len(body)} bytes; the limit is {MAX_BODY_LEN}")
        try:
            return bytes(self._box(to).encrypt(body, self._entropy(NONCE_LEN)))
        except (InvalidKey, CryptoError) as error:
            raise LocalProtocolError(f"receiver's key: {error}") from None

    def open(self, sealed: bytes, sender: str) -> tuple[bytes, bytes]:
        """Return the body that `sender` sealed for us, and its nonce.  Raises RemoteProtocolError."""
        if not OVERHEAD_LEN <= len(sealed) <= OVERHEAD_LEN + MAX_BODY_LEN:
            raise RemoteProtocolError(
                f"sealed body of {len(sealed)} bytes; {OVERHEAD_LEN} to {OVERHEAD_LEN + MAX_BODY_LEN} would do"
            )
        try:
            return self._box(sender).decrypt(sealed), sealed[:NONCE_LEN]
        except InvalidKey as error:
            raise RemoteProtocolError(f"sender's key: {error}") from None
        except CryptoError:
            raise RemoteProtocolError("the box does not open with the sender's key") from None

    def _box(self, text: str) -> Box:
        box = self._boxes.pop(text, None)
        if box is None:
            box = Box(self._key, BoxPublicKey(_canonical_key(text)))
        self._boxes[text] = box
        if len(self._boxes) > self._max_boxes:
            self._boxes.popitem(last=False)
        return box


def _canonical_key(text: str) -> bytes:
    # Peers are told apart by this text (signal spec 3.1), so a second spelling of a key would be a second peer.
    if len(text) > 44:
        raise InvalidKey(f"{len(text)} characters; a key is 44")
    raw = decode_key(text)
    if encode_key(raw) != text:
        raise InvalidKey("not the canonical base64 of its 32 bytes")
    return raw
