"""The part of grpc.aio that the signal client and server use, with types: grpcio ships none."""

import importlib
import os
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any, NoReturn, Protocol

# The core reads this once, while it is loaded.  Without it every refused connection and failed TLS handshake writes
# lines of its own to standard error; the drivers report each as one.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
grpc = importlib.import_module("grpc")

SERVICE = "signalexchange.SignalExchange"  # signal spec 2.1
SEND = f"/{SERVICE}/Send"
CONNECT_STREAM = f"/{SERVICE}/ConnectStream"
PEER_ID = "x-wiretrustee-peer-id"  # signal spec 2.3
REGISTERED = "x-wiretrustee-peer-registered"

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INTERNAL = grpc.StatusCode.INTERNAL
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
UNKNOWN = grpc.StatusCode.UNKNOWN
RpcError: type[Exception] = grpc.aio.AioRpcError
InternalError: type[Exception] = grpc.aio.InternalError

Metadata = Sequence[tuple[str, str]]
Options = Sequence[tuple[str, int]]


class Call(Awaitable[bytes], Protocol):
    """A unary call under way; awaiting it raises RpcError."""

    async def code(self) -> Any:
        """Return the final status code."""
        ...

    async def details(self) -> str | None:
        """Return the text of the final status."""
        ...


class Stream(Protocol):
    """The client's end of a bidirectional stream; requests and responses are bytes."""

    async def initial_metadata(self) -> Container[str]:
        """Return the response headers; empty if the call has failed."""
        ...

    async def read(self) -> object:
        """Return the next message (bytes), or EOF.  Raises RpcError when the stream ends with an error."""
        ...

    async def code(self) -> Any:
        """Return the final status code."""
        ...

    async def details(self) -> str | None:
        """Return the text of the final status."""
        ...

    def cancel(self) -> bool:
        """End the stream."""
        ...


class Channel(Protocol):
    """A connection to a server, made when it is first used."""

    def stream_stream(self, method: str) -> Callable[..., Stream]:
        """Return what opens a bidirectional stream."""
        ...

    def unary_unary(self, method: str) -> Callable[..., Call]:
        """Return what makes a unary call."""
        ...

    async def close(self) -> None:
        """Cancel all calls and close the connection."""
        ...


class ServerContext(Protocol):
    """The server's end of a call."""

    def invocation_metadata(self) -> Metadata | None:
        """Return the request headers."""
        ...

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send the response headers now."""
        ...

    async def write(self, message: bytes) -> None:
        """Send one message; waits for flow control.  One at a time."""
        ...

    async def abort(self, code: Any, details: str) -> NoReturn:
        """End the call with an error status."""
        ...


class Server(Protocol):
    """A gRPC server."""

    async def start(self) -> None:
        """Take calls from now on."""
        ...

    async def stop(self, grace: float | None) -> None:
        """Take no more calls, and cancel those that are there after `grace` seconds."""
        ...


def open_channel(host: str, port: int, *, tls: bool, ca: bytes | None, options: Options) -> Channel:
    """Return a channel to host:port; `ca` is PEM, None with TLS: the core's own roots."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    channel: Channel
    if tls:
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca), options=options)
    else:
        channel = grpc.aio.insecure_channel(target, options=options)
    return channel


def make_server(
    send: Callable[[bytes, ServerContext], Awaitable[bytes]],
    connect_stream: Callable[[object, ServerContext], Awaitable[None]],
    *,
    address: str,
    key_and_chain: tuple[bytes, bytes] | None,
    options: Options,
) -> tuple[Server, int]:
    """Return a server of the signal service with these two methods, bound to host:port, and the port.

    With `key_and_chain` (PEM) it speaks TLS.  Raises RuntimeError if it cannot have the address.
    """
    server = grpc.aio.server(options=options)
    handlers = {
        "Send": grpc.unary_unary_rpc_method_handler(send),
        "ConnectStream": grpc.stream_stream_rpc_method_handler(connect_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if key_and_chain is None:
        return server, server.add_insecure_port(address)
    return server, server.add_secure_port(address, grpc.ssl_server_credentials([key_and_chain]))
