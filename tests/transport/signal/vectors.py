"""The vectors of signal spec 3.4, and the two peers in them."""

from pathlib import Path

from nacl.public import PrivateKey

from config.keys import PublicKey, Secret, encode_key
from transport.signal.messages import Description, HomingFields, IceCredentials

A_KEY, B_KEY = Secret(bytes(range(32))), Secret(bytes(range(32, 64)))


def public_key_of(key: Secret) -> PublicKey:
    return PublicKey(encode_key(bytes(PrivateKey(key.value).public_key)))


A, B = public_key_of(A_KEY), public_key_of(B_KEY)


def vectors() -> dict[str, bytes]:
    """Return the vectors by name."""
    lines = (Path(__file__).parents[2] / "data" / "signal_vectors.txt").read_text().splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {name: bytes.fromhex(digits) for name, digits in pairs}


def description(homing: HomingFields | None = None) -> Description:
    """Return what the offer of vector 1 says."""
    return Description(
        ice=IceCredentials(ufrag="abcdefghijklmnop", pwd=Secret(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef")),
        session=bytes.fromhex("0102030405"),
        listen_port=51820,
        version="0.77.1",
        relay_url="rels://relay.example.com:443",
        relay_ip="192.0.2.10",
        homing=homing,
    )
