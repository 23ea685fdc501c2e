"""A configuration that is right, to be made wrong in one place at a time."""

import base64
from pathlib import Path

from config.keypairs import derive_public_key
from config.keys import PublicKey, Secret, encode_key

OWN = Secret(bytes(range(1, 33)))
BOB = derive_public_key(Secret(b"\x22" * 32))
CAROL = derive_public_key(Secret(b"\x33" * 32))

TEXT = f"""\
[node]
name = "alice"
private_key_file = "alice.key"
addresses = ["10.77.0.1/24"]

[signal]
url = "http://203.0.113.1:10000"

[relay]
urls = ["rel://203.0.113.1:8080"]
secret_file = "relay.secret"

[[peer]]
name = "bob"
public_key = "{BOB}"
allowed_ips = ["10.77.0.2/32"]

[[peer]]
name = "carol"
public_key = "{CAROL}"
allowed_ips = ["10.77.0.3/32", "192.168.3.0/24"]
"""


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.touch(0o600)
    path.write_text(text)
    return path


def write_sample(directory: Path, text: str = TEXT) -> Path:
    """Write a configuration and the files that the sample names, and return its path."""
    write_private(directory / "alice.key", encode_key(OWN.value) + "\n")
    write_private(directory / "relay.secret", "relay-demo-secret\n")
    path = directory / "alice.toml"
    path.write_text(text)
    return path


def own_key() -> PublicKey:
    """Return the public key of the sample's node."""
    return derive_public_key(OWN)


def token_text() -> str:
    """Return a relay token as its issuer hands it out."""
    return f"4102444800 {base64.b64encode(b's' * 32).decode()}\n"
