"""`homing key`: private keys and their public keys, as `wg` reads and writes them; fingerprints of certificates."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from actors.cli.errors import CommandFailed
from actors.cli.serving import fingerprint_of
from config.files import UnusableFile, read_private_key
from config.keypairs import derive_public_key, new_private_key
from config.keys import InvalidKey, Secret, decode_key, encode_key

MAX_INPUT_LEN = 4096  # characters


def new(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to keep it; without: shown only.")] = None,
) -> None:
    """Make a private key.

    With FILE it is written there, readable by you alone (mode 0600), and the public key is shown; a file that exists
    is left as it is.  Without FILE the private key itself is shown, as by `wg genkey`.

    Example: homing key new home.key
    """
    key = new_private_key(os.urandom)
    if file is None:
        print(encode_key(key.value))
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandFailed(f"{file} exists and is left as it is; choose another name, or move it away") from None
    except FileNotFoundError:
        raise CommandFailed(f"{file.parent}: no such directory; make it first: mkdir -p {file.parent}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        os.fchmod(descriptor, 0o600)
        out.write(f"{encode_key(key.value)}\n")
        out.flush()
        os.fsync(descriptor)
    print(derive_public_key(key))


def public(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A private key's file; -: standard input.")] = "-",
) -> None:
    """Show the public key of a private key.

    \b
    Example: homing key public home.key
    Example: wg genkey | homing key public
    """
    try:
        key = _from_input() if file == "-" else read_private_key(Path(file))
    except (UnusableFile, InvalidKey) as error:
        raise CommandFailed(str(error)) from None
    print(derive_public_key(key))


def fingerprint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate (PEM), the first of a chain.")],
) -> None:
    """Show the fingerprint of a relay server's certificate, as agents name it in [relay] fingerprints.

    Example: homing key fingerprint /var/lib/homing/relay/relay.pem
    """
    print(fingerprint_of(file))


def _from_input() -> Secret:
    if sys.stdin.isatty():
        print("homing: reading a private key from the terminal", file=sys.stderr)
    try:
        return Secret(decode_key(sys.stdin.readline(MAX_INPUT_LEN)))
    except (InvalidKey, UnicodeDecodeError) as error:
        what = error if isinstance(error, InvalidKey) else "not text"
        raise InvalidKey(f"standard input: {what}") from None
