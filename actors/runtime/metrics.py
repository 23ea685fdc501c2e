"""Answers Prometheus at `[metrics] listen`, from the snapshot files, on a thread of its own in control-0.

Why there: the supervisor parses nothing from the network, and nothing may hold the packet process up.  No actor is ever
asked.  While control-0 hangs nobody answers, which Prometheus tells by itself (`up`), and the supervisor replaces it.
The snapshots are read once a second at the most, however often somebody asks.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from importlib import metadata
from pathlib import Path

from loguru import logger

from actors.cli.report import make_report
from actors.runtime import clock
from actors.runtime.metrics_text import metrics_text
from actors.runtime.snapshot import read_pid, read_snapshots

VERSION = metadata.version("homing")  # read now: what lies on disk is out of reach once privileges are dropped
MAX_CONNECTIONS = 8
MAX_REQUEST_LEN = 8192  # bytes
REQUEST_S = 5.0  # from the connection to the last byte of the answer
RETRY_S = 5.0  # until a port that another program has is tried again
FRESH_S = 1.0
KIND = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The text, and how a request is answered; `counts` is what came of requests."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._text, self._made_at = b"", float("-inf")
        self._open = 0
        self.counts: Counter[str] = Counter(answered=0, refused=0, bad=0, too_slow=0)

    def text(self, now: float) -> bytes:
        """Return the metrics, as they were at most FRESH_S ago.  Raises PermissionError."""
        if now - self._made_at >= FRESH_S:
            snapshots, problems = read_snapshots(self._run_dir)
            pid = read_pid(self._run_dir, "supervisor")
            report = make_report(self._run_dir.name, pid, snapshots, problems, now)
            self._text, self._made_at = metrics_text(report, VERSION, self.counts).encode(), now
        return self._text

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        if self._open >= MAX_CONNECTIONS:
            self.counts["refused"] += 1
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                status, kind, body = self._response(await _request_line(reader))
                head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
                writer.write(f"{head}\r\n\r\n".encode() + body)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except TimeoutError:
            self.counts["too_slow"] += 1
        except OSError:
            self.counts["bad"] += 1
        finally:
            self._open -= 1
            writer.transport.abort()

    def _response(self, line: bytes | None) -> tuple[str, str, bytes]:
        match None if line is None else line.split(b" "):
            case [b"GET", target, version] if version.startswith(b"HTTP/1."):
                if target.partition(b"?")[0] == b"/metrics":
                    return self._metrics()
                status, hint = "404 Not Found", b"try /metrics\n"
            case [_, _, version] if version.startswith(b"HTTP/1."):
                status, hint = "405 Method Not Allowed", b"GET would do\n"
            case _:
                status, hint = "400 Bad Request", b"GET /metrics HTTP/1.1 would do\n"
        self.counts["bad"] += 1
        return status, "text/plain; charset=utf-8", hint

    def _metrics(self) -> tuple[str, str, bytes]:
        try:
            body = self.text(clock.now())
        except Exception as error:  # a bug of ours, or a directory that is gone: the agent goes on, and says so
            logger.opt(exception=error).error("the metrics cannot be told")
            self.counts["bad"] += 1
            return "500 Internal Server Error", "text/plain; charset=utf-8", b"the agent's log says why\n"
        self.counts["answered"] += 1
        return "200 OK", KIND, body


class MetricsThread:
    """Serves the metrics until stopped; a port that cannot be had is tried again and again."""

    def __init__(self, run_dir: Path, host: str, port: int) -> None:
        self._metrics = Metrics(run_dir)
        self._host, self._port = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._serving: asyncio.Task[None] | None = None
        self._started = threading.Event()

    def start(self) -> None:
        """Start the thread; it listens soon."""
        self._thread.start()
        self._started.wait()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread, and whatever it was telling."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(timeout_s)

    # From here on: on the thread.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._serving = asyncio.create_task(self._serve())
        self._started.set()
        await asyncio.wait((self._serving,))

    def _cancel(self) -> None:
        if self._serving is not None:
            self._serving.cancel()

    async def _serve(self) -> None:
        told = False
        while True:
            try:
                server = await asyncio.start_server(self._metrics.answer, self._host, self._port, limit=MAX_REQUEST_LEN)
            except OSError as error:
                if not told:
                    where = f"{self._host}:{self._port}"
                    logger.warning("metrics cannot be served: {}", error.strerror or error, address=where)
                told = True
                await asyncio.sleep(RETRY_S)
                continue
            logger.info("metrics are served", address=":".join(map(str, server.sockets[0].getsockname()[:2])))
            async with server:
                await server.serve_forever()


async def _request_line(reader: asyncio.StreamReader) -> bytes | None:
    """Return the first line of a request, of which the whole head has come; None: it is no request."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    return head.split(b"\r\n", 1)[0]
