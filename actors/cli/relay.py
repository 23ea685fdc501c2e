"""`homing relay`: runs a relay server until SIGTERM or Ctrl-C."""

import asyncio
import os
import resource
import signal
import ssl
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from loguru import logger

from actors.cli.errors import HINTS, WRONG_USE, CommandFailed
from actors.cli.serving import check_level, check_port, check_quic, fingerprint_of, parse_listen, tls_files
from config.files import UnusableFile, read_relay_secret
from config.keys import Secret
from config.logs import setup
from config.schema import LogSection
from transport.drivers.certificates import UnusableCertificate, server_context
from transport.drivers.relay_server import Service, on_loop_fault
from transport.relay.auth import key_of
from transport.relay.server import RelayServer
from transport.relay.urls import InvalidRelayUrl, instance_url, parse_relay_url

VARIABLE = "HOMING_RELAY_SECRET"


def run(
    *,
    listen: str,
    exposed_url: str,
    secret_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    quic_dir: Path | None = None,
    no_quic: bool = False,
    health_port: int | None = None,
    stun_port: int = 0,
    log_level: str = "info",
) -> int:
    """Serve on `listen` (HOST:PORT; without HOST every address) until SIGTERM, and return the exit code.

    With a certificate QUIC is served as well, at the same port of UDP: with that of TLS, or with one of its own that
    is kept in `quic_dir`.  With a `stun_port` (UDP, every address; 0: none) it answers STUN requests too.

    The secret is the one line of `secret_file`, or of the variable HOMING_RELAY_SECRET.  Raises CommandFailed.
    """
    host, port = parse_listen(listen)
    check_level(log_level)
    check_port("--health-port", health_port)
    check_port("--stun-port", stun_port)
    tls = _tls(tls_cert, tls_key)
    check_quic(quic_dir, no_quic=no_quic, tls=tls is not None)
    quic_port = port if quic_dir is not None or (tls is not None and not no_quic) else 0
    if stun_port == quic_port != 0:
        raise CommandFailed(f"--stun-port {stun_port}: QUIC has that port of UDP; 3478 is usual", code=WRONG_USE)
    try:
        url = instance_url(exposed_url, tls=tls is not None)
    except InvalidRelayUrl as error:
        raise CommandFailed(f"--exposed-url: {error}", code=WRONG_USE) from None
    server = RelayServer(url, key_of(_secret(secret_file)), time.time)
    service = Service(server)
    certificate = None
    if tls_cert is not None and tls_key is not None and not no_quic:
        certificate = (tls_cert, tls_key)
    elif quic_dir is not None:
        certificate = _own_certificate(quic_dir, url)
    quic = None if certificate is None else Quic(service, *certificate)
    setup(LogSection(level=log_level), "relay")
    _raise_descriptor_limit()
    asyncio.run(_serve(service, url, (host, port), tls, (health_port, tls_cert), quic=quic, stun_port=stun_port))
    return 0


class Quic:
    """The QUIC side of the server."""

    def __init__(self, service: Service, certificate: Path, key: Path) -> None:
        """Raises CommandFailed if the two files are of no use."""
        # Imported only where it is served: it costs memory, and time at the start.
        module = import_module("transport.drivers.quic_server")
        try:
            self._listener = module.QuicListener(service, certificate, key)
        except UnusableCertificate as error:
            raise CommandFailed(f"QUIC: {error}") from None
        self.certificate, self.fingerprint = certificate, fingerprint_of(certificate)
        self.drops: Mapping[str, int] = self._listener.drops

    async def listen(self, host: str | None, port: int) -> int:
        """Listen at this port of UDP and return it.  Raises CommandFailed."""
        listening = self._listener.listen(host, port)
        number: int = await _listen(
            "--listen",
            host,
            port,
            listening,
            over="UDP, for QUIC",
            or_="or leave QUIC out (no --quic-dir, or --no-quic)",
        )
        return number

    def close(self) -> None:
        """End all QUIC connections."""
        self._listener.close()


async def _serve(
    service: Service,
    url: str,
    address: tuple[str | None, int],
    tls: ssl.SSLContext | None,
    health: tuple[int | None, Path | None],
    *,
    quic: Quic | None,
    stun_port: int,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_fault)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    health_port, certificate_file = health
    if health_port is not None:
        answers = _health(service, certificate_file, None if quic is None else quic.drops)
        await _listen("--health-port", "127.0.0.1", health_port, answers.listen(health_port))
    stun = None
    if stun_port != 0:
        stun = _stun()
        await _listen("--stun-port", None, stun_port, stun.listen(stun_port))
    host, port = address
    if quic is not None:  # first, so that who finds the one also finds the other
        port = await quic.listen(host, port)
    port = await _listen("--listen", host, port, service.listen(host, port, tls))
    bound = logger.bind(address=f"{host or '*'}:{port}", url=url, tls=tls is not None, quic=quic is not None)
    bound.info("relay server listens")
    if tls is None and parse_relay_url(url).secure:
        hint = "agents speak TLS to it: give --tls-cert and --tls-key, or have a proxy in front do so"
        logger.bind(url=url, hint=hint).warning("the exposed URL is rels://, and this server has no certificate")
    if quic is not None:
        told = logger.bind(certificate=str(quic.certificate), fingerprint=quic.fingerprint)
        told.info("QUIC is served too; agents trust it by [relay] fingerprints")
    if stun is not None:
        logger.bind(port=stun_port).info("STUN service listens")
    await stop.wait()
    if stun is not None:
        logger.bind(answered=stun.responder.answered, **stun.drops).info("STUN service stops")
        stun.close()
    logger.bind(peers=service.server.peers).info("relay server stops")
    await service.drain()
    if quic is not None:
        quic.close()


async def _listen(option: str, host: str | None, port: int, listening: Any, *, over: str = "", or_: str = "") -> Any:
    try:
        return await listening
    except OSError as error:
        text = os.strerror(error.errno) if error.errno else str(error)
        hints = ", ".join(filter(None, (HINTS.get(error.errno or 0), or_)))
        where = f"{host or '*'}:{port}" + (f" ({over})" if over else "")
        raise CommandFailed(f"{option} {where}: {text}" + (f"; {hints}" if hints else "")) from None


def _health(service: Service, certificate_file: Path | None, quic_drops: Mapping[str, int] | None) -> Any:
    # Imported only when it is asked for: reading certificates costs 45 ms of the start.
    return import_module("transport.drivers.relay_health").Health(service, certificate_file, quic_drops)


def _stun() -> Any:
    # Imported only when it is asked for, as above.
    return import_module("transport.drivers.stun_server").StunService()


def _secret(file: Path | None) -> Secret:
    if file is not None:
        try:
            return read_relay_secret(file)
        except UnusableFile as error:
            raise CommandFailed(f"--secret-file: {error}") from None
    text = os.environ.get(VARIABLE, "")
    if not text:
        would_do = f"give --secret-file FILE, or the variable {VARIABLE}"
        raise CommandFailed(f"no secret to tell our peers from strangers by; {would_do}", code=WRONG_USE)
    return Secret(text.encode())


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    files = tls_files(certificate, key)
    if files is None:
        return None
    try:
        return server_context(*map(str, files))
    except UnusableCertificate as error:
        raise CommandFailed(f"--tls-cert, --tls-key: {error}") from None


def _own_certificate(directory: Path, url: str) -> tuple[Path, Path]:
    try:
        made = import_module("transport.drivers.self_made").self_made(directory, [parse_relay_url(url).host])
    except UnusableCertificate as error:
        raise CommandFailed(f"--quic-dir: {error}") from None
    return made.certificate, made.key


def _raise_descriptor_limit() -> None:
    """Let as many connections in as the system allows: each is a descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
