"""`homing signal`: runs a signal server until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
from pathlib import Path

from loguru import logger

from actors.cli.errors import HINTS, CommandFailed
from actors.cli.serving import check_level, check_port, parse_listen, tls_files
from config.files import UnusableFile, read_certificates
from config.logs import setup
from config.schema import LogSection
from transport.signal.server import SignalServer

MAX_REQUEST_LEN = 4096  # bytes of an HTTP request for the metrics
REQUEST_S = 5.0
NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # what binding to every address says where IPv6 is off


def run(
    *,
    listen: str,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    log_level: str = "info",
    metrics_port: int | None = None,
) -> int:
    """Serve on `listen` (HOST:PORT; without HOST every address), and return the exit code.  Raises CommandFailed.

    The metrics, as Prometheus text, are for this machine only: http://127.0.0.1:PORT/metrics.
    """
    host, port = parse_listen(listen)
    check_level(log_level)
    check_port("--metrics-port", metrics_port)
    key_and_chain = _read_tls(tls_cert, tls_key)
    _try_bind("--listen", host, port)
    if metrics_port is not None:
        _try_bind("--metrics-port", "127.0.0.1", metrics_port)
    setup(LogSection(level=log_level), "signal")
    asyncio.run(_serve(host, port, key_and_chain, metrics_port))
    return 0


async def _serve(
    host: str | None, port: int, key_and_chain: tuple[bytes, bytes] | None, metrics_port: int | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = SignalServer()
    address = f"[{host or '::'}]:{port}" if host is None or ":" in host else f"{host}:{port}"
    try:
        port = await server.start(address, key_and_chain)
    except RuntimeError:  # the core does not say why; what _try_bind finds is not it
        raise CommandFailed(f"--listen {address}: the address cannot be had") from None
    metrics = await _serve_metrics(server, metrics_port) if metrics_port is not None else contextlib.nullcontext()
    async with metrics:
        logger.info("signal server listens", address=f"{host or '*'}:{port}", tls=key_and_chain is not None)
        await stop.wait()
        logger.info("signal server stops", peers=server.active_peers)
        await server.stop()


async def _serve_metrics(server: SignalServer, port: int) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_S):
                request = await reader.readuntil(b"\r\n\r\n")
                known = request.startswith((b"GET /metrics ", b"GET /metrics?"))
                status, body = ("200 OK", metrics_text(server)) if known else ("404 Not Found", "try /metrics\n")
                head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port, limit=MAX_REQUEST_LEN)


def metrics_text(server: SignalServer) -> str:
    """Return the counters as Prometheus text; what follows a dot in a counter's name is a label (signal spec 7.5)."""
    lines = [f"active_peers {server.active_peers}"]
    for name, count in sorted(server.counters.items()):
        family, _, kind = name.partition(".")
        label = "error" if family == "registration_failures_total" else "type"
        lines.append(f'{family}{{{label}="{kind}"}} {count}' if kind else f"{family} {count}")
    return "\n".join(lines) + "\n"


def _read_tls(cert: Path | None, key: Path | None) -> tuple[bytes, bytes] | None:
    """Return private key and certificate chain, if they are given and fit together."""
    files = tls_files(cert, key)
    if files is None:
        return None
    cert, key = files
    try:
        chain = read_certificates(cert)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
        return key.read_bytes(), chain
    except UnusableFile as error:
        raise CommandFailed(f"--tls-cert: {error}") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CommandFailed(f"--tls-key {key}: it is not the key of the certificate in {cert}") from None
        raise CommandFailed(
            f"--tls-cert {cert}, --tls-key {key}: not a certificate chain and its key in PEM, without a password"
        ) from None
    except OSError as error:
        raise CommandFailed(f"--tls-key {key}: {error.strerror}") from None


def _try_bind(option: str, host: str | None, port: int) -> None:
    """Raise CommandFailed with the reason if the port cannot be had: the servers' own libraries would not tell it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise CommandFailed(f"{option} {host}: {error.strerror}; an address of this machine would do") from None
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as error:
            if not host and error.errno in NO_SUCH_FAMILY:
                continue
            hint = HINTS.get(error.errno or 0)
            where = f"{host or '*'}:{port}"
            raise CommandFailed(f"{option} {where}: {error.strerror}" + (f"; {hint}" if hint else "")) from None
