"""The files that a configuration names: keys, the relay's secret or token, certificates.

Whatever is wrong raises UnusableFile, whose message says what to do and never repeats what the file holds.
"""

import base64
import binascii
import os
import stat
from pathlib import Path

from config.keys import InvalidKey, Secret, decode_key

MAX_SECRET_LEN = 4096  # bytes
MAX_CERTIFICATES_LEN = 1 << 20  # bytes
TOKEN_ALGORITHM = b"\x01"  # HMAC-SHA256, relay spec 4.2
SIGNATURE_LEN = 32
EXPIRY_LEN = range(10, 20)  # digits: a signed 64-bit number, relay spec 4.5


class UnusableFile(Exception):
    """The file cannot be used; the message says why."""


def read_private_key(path: Path) -> Secret:
    """Return the private or preshared key in a file: 44 characters of base64, as `wg` writes them."""
    try:
        raw = decode_key(_text(path))
    except InvalidKey as error:
        raise UnusableFile(f"{path}: {error}; make one with: homing key new FILE") from None
    if not any(raw):
        raise UnusableFile(f"{path}: 32 zero bytes; make a key with: homing key new FILE")
    return Secret(raw)


def read_relay_secret(path: Path) -> Secret:
    """Return the text that is shared with the relay servers (relay spec 4.1), as UTF-8: one line, not empty."""
    return Secret(_text(path).encode())


def read_relay_token(path: Path) -> Secret:
    """Return the Auth payload (relay spec 4.2) from "<expiry digits> <base64 signature>" as the issuer hands it out."""
    words = _text(path).split()
    would_do = "one line: <expiry digits> <base64 signature>"
    if len(words) != 2:
        raise UnusableFile(f"{path}: {len(words)} words; {would_do}")
    expiry, signature_text = words
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) in EXPIRY_LEN):
        raise UnusableFile(f"{path}: the first word is no expiry in Unix seconds; {would_do}")
    try:
        signature = base64.b64decode(signature_text, validate=True)
    except (binascii.Error, ValueError):
        raise UnusableFile(f"{path}: the second word is not base64; {would_do}") from None
    if len(signature) != SIGNATURE_LEN:
        raise UnusableFile(f"{path}: a signature of {len(signature)} bytes; it has {SIGNATURE_LEN}")
    return Secret(TOKEN_ALGORITHM + signature + expiry.encode())


def token_expiry_unix_s(token: Secret) -> int:
    """Return when a token from `read_relay_token` ends, in Unix seconds."""
    return int(token.value[1 + SIGNATURE_LEN :])


def read_certificates(path: Path) -> bytes:
    """Return the PEM text of a file of certificates."""
    data = _read(path, MAX_CERTIFICATES_LEN, private=False)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise UnusableFile(f"{path}: no certificate in it; a PEM file, which begins -----BEGIN CERTIFICATE-----")
    return data


def read_config_text(path: Path, limit: int) -> bytes:
    """Return the bytes of a configuration file of at most `limit` bytes."""
    return _read(path, limit, private=False)


def _text(path: Path) -> str:
    """Return the one line of text that a secret file holds."""
    try:
        text = _read(path, MAX_SECRET_LEN, private=True).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnusableFile(f"{path}: not text; one line of it") from None
    if not text.strip():
        raise UnusableFile(f"{path}: empty; one line of text")
    if "\n" in text:
        raise UnusableFile(f"{path}: more than one line; exactly one")
    return text


def _read(path: Path, limit: int, *, private: bool) -> bytes:
    try:
        # Not blocking: a FIFO without a writer must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UnusableFile(f"{path}: no such file") from None
    except PermissionError:
        raise UnusableFile(f"{path}: not readable by this user; run as its owner or root") from None
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableFile(f"{path}: not a regular file")
        if private and found.st_mode & 0o077:
            raise UnusableFile(f"{path}: readable by others: chmod 600 {path}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise UnusableFile(f"{path}: more than {limit} bytes")
    return data
