"""What the options of both servers mean: where to listen, the two TLS files, the log level."""

from pathlib import Path

from actors.cli.errors import WRONG_USE, CommandFailed

LEVELS = ("debug", "info", "warning", "error")


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


def check_level(level: str) -> None:
    """Raise CommandFailed unless this is a log level."""
    if level not in LEVELS:
        raise CommandFailed(f"--log-level {level}: one of {', '.join(LEVELS)} would do", code=WRONG_USE)
