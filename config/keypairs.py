"""Make a private key, and derive its public key (Curve25519, as `wg genkey` and `wg pubkey` do)."""

from collections.abc import Callable

from nacl.bindings import crypto_scalarmult_base

from config.keys import KEY_LEN, PublicKey, Secret, encode_key


def new_private_key(entropy: Callable[[int], bytes]) -> Secret:
    """Return a private key from 32 bytes of entropy, clamped (RFC 7748 section 5), so that `wg` shows the same text."""
    raw = bytearray(entropy(KEY_LEN))
    raw[0] &= 0b1111_1000
    raw[31] = raw[31] & 0b0111_1111 | 0b0100_0000
    return Secret(bytes(raw))


def derive_public_key(private: Secret) -> PublicKey:
    """Return the public key that belongs to a private key of 32 bytes."""
    return PublicKey(encode_key(crypto_scalarmult_base(private.value)))
