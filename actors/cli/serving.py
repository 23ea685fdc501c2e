"""What the options of both servers mean: where to listen, the two TLS files, the log level."""

import base64
import hashlib
import re
from pathlib import Path

from actors.cli.errors import WRONG_USE, CommandFailed

LEVELS = ("debug", "info", "warning", "error")
PEM_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\\s]+)-----END CERTIFICATE-----")


def parse_listen(listen: str) -> tuple[str | None, int]:
    """Return host and port of `HOST:PORT`; no host is None: every address.  Raises CommandFailed."""
    host, colon, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 0xFFFF) or (":" in host and not bracketed):
        would_do = "HOST:PORT, [IPV6]:PORT or :PORT would do, with a port of 0 to 65535"
        raise CommandFailed(f"--listen {listen}: {would_do}", code=WRONG_USE)
    return (host[1:-1] if bracketed else host) or None, int(port)


def tls_files(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Return certificate chain and key; None: no TLS.  Raises CommandFailed if only one of them is given."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, missing = ("--tls-key", "--tls-cert") if certificate is None else ("--tls-cert", "--tls-key")
        raise CommandFailed(f"{given} without {missing}: TLS needs both", code=WRONG_USE)
    return certificate, key


def check_port(option: str, port: int | None) -> None:
    """Raise CommandFailed unless a port can have this number; None: the option was not given."""
    if port is not None and not 0 <= port <= 0xFFFF:
        raise CommandFailed(f"{option} {port}: 0 to 65535 would do", code=WRONG_USE)


def check_quic(directory: Path | None, *, no_quic: bool, tls: bool) -> None:
    """Raise CommandFailed unless the options about QUIC go together."""
    if directory is not None and no_quic:
        raise CommandFailed("--quic-dir with --no-quic; one of the two", code=WRONG_USE)
    if directory is not None and tls:
        raise CommandFailed("--quic-dir with --tls-cert; QUIC uses the certificate of --tls-cert", code=WRONG_USE)


def fingerprint_of(certificate: Path) -> str:
    """Return what `[relay] fingerprints` takes for this certificate, the first of a chain.  Raises CommandFailed."""
    try:
        text = certificate.read_text("ascii", "replace")
    except OSError as error:
        raise CommandFailed(f"{certificate}: {error.strerror}") from None
    found = PEM_CERTIFICATE.search(text)
    try:
        der = base64.b64decode(found[1]) if found is not None else b""
    except ValueError:
        der = b""
    if not der:
        raise CommandFailed(f"{certificate}: no certificate (PEM)")
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def check_level(level: str) -> None:
    """Raise CommandFailed unless this is a log level."""
    if level not in LEVELS:
        raise CommandFailed(f"--log-level {level}: one of {', '.join(LEVELS)} would do", code=WRONG_USE)
