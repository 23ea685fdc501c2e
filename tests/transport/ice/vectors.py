"""The STUN vectors of tests/data, the passwords that they are signed with, and messages built by hand."""

import hashlib
import hmac
import struct
from functools import cache
from pathlib import Path

from config.keys import Secret
from transport.ice.attributes import COOKIE
from transport.ice.stun import HEADER_LEN

DATA = Path(__file__).parents[2] / "data"

RFC5769_PWD = Secret(b"VOkJxbRl1RmTxUk/WvJxBt")
LONG_TERM_KEY = Secret(hashlib.md5("マトリックス:example.org:TheMatrIX".encode()).digest())
TRANSACTION = bytes.fromhex("101112131415161718191a1b")
NETBIRD_PWD = Secret(b"RemotePwdRemotePwdRemotePwd12345")


@cache
def vectors() -> dict[str, bytes]:
    """Return the messages by name."""
    lines = (DATA / "stun_vectors.txt").read_text().splitlines()
    named = [line.split(maxsplit=1) for line in lines if not line.startswith("#")]
    return {name: bytes.fromhex(text) for name, text in named}


def attribute_head(kind: int, length: int) -> bytes:
    """Return what precedes a value."""
    return struct.pack("!HH", kind, length)


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded."""
    return attribute_head(kind, len(value)) + value + bytes(-len(value) % 4)


def message_of(*attributes: bytes, kind: int = 0x0001) -> bytes:
    """Return a message of these attributes."""
    body = b"".join(attributes)
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", kind, len(body)) + COOKIE + TRANSACTION + body


def lengthened(datagram: bytes, more: bytes) -> bytes:
    """Return the message with more bytes at its end, in its length too."""
    return datagram[:2] + (len(datagram) + len(more) - HEADER_LEN).to_bytes(2) + datagram[4:] + more


def signature_of(datagram: bytes, key: Secret) -> bytes:
    """Return a right signature of the whole message, as an attribute."""
    signed = lengthened(datagram, bytes(24))[:-24]
    return attribute(0x0008, hmac.digest(key.value, signed, "sha1"))
