"""What a relay server tells its operator over HTTP: `GET /health` and `GET /metrics` (relay spec 5.9, 5.11)."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from transport.drivers.relay_server import Service

HOST: Final = "127.0.0.1"  # for this machine only
MAX_REQUEST_LEN: Final = 4096
REQUEST_TIMEOUT_S: Final = 5.0


class Health:
    """Answers health checks and metrics of one relay server."""

    def __init__(
        self, service: Service, certificate_file: Path | None, quic_drops: Mapping[str, int] | None = None
    ) -> None:
        """`quic_drops`: what QUIC does not serve, by reason, as it grows; None: there is no QUIC."""
        self._service, self._quic_drops = service, {} if quic_drops is None else quic_drops
        self._transports = ("ws",) if quic_drops is None else ("ws", "quic")
        self._certificate = (
            x509.load_pem_x509_certificate(certificate_file.read_bytes()) if certificate_file is not None else None
        )

    async def listen(self, port: int) -> asyncio.Server:
        """Take requests at this port of the loopback address.  Raises OSError."""
        return await asyncio.start_server(self._answer, HOST, port, limit=MAX_REQUEST_LEN)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._response(request.split(b"\r\n", 1)[0])
                head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
                writer.write(f"{head}\r\n\r\n{body}".encode())
                await writer.drain()
        writer.close()

    def _response(self, request_line: bytes) -> tuple[str, str, str]:
        match request_line.split(b" ")[:2]:
            case [b"GET", b"/health"]:
                healthy = self._service.listening
                return "200 OK" if healthy else "503 Service Unavailable", "application/json", self._health(healthy)
            case [b"GET", b"/metrics"]:
                return "200 OK", "text/plain; version=0.0.4", "".join(f"{line}\n" for line in self._metrics())
            case [b"GET", _]:
                return "404 Not Found", "text/plain", "try /health or /metrics\n"
            case _:
                return "405 Method Not Allowed", "text/plain", "GET would do\n"

    def _health(self, healthy: bool) -> str:
        certificate, now = self._certificate, datetime.fromtimestamp(time.time(), UTC)
        valid = certificate is not None and certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        return json.dumps(
            {
                "status": "healthy" if healthy else "unhealthy",
                "timestamp": now.isoformat(timespec="seconds"),
                "listeners": self._transports if healthy else None,
                "certificate_valid": valid,
            }
        )

    def _metrics(self) -> Iterator[str]:
        server = self._service.server
        active = server.active_peers(self._service.now())
        yield f"relay_transfer_received_bytes_total {server.received_len}"
        yield f"relay_transfer_sent_bytes_total {server.sent_len}"
        for transport in self._transports:
            yield f'relay_peers{{transport="{transport}"}} {self._service.peers(transport)}'
        yield f"relay_peers_active {active}"
        yield f"relay_peers_idle {server.peers - active}"
        yield f"relay_peer_reconnections_total {server.replaced}"
        of_quic = {f"quic_{reason}": count for reason, count in self._quic_drops.items()}
        for reason, count in sorted({**server.drops, **of_quic}.items()):
            yield f'relay_drops_total{{reason="{reason}"}} {count}'
