"""The post office's ZeroMQ sockets: one to receive on, one per destination to send on, a tap and a ring to read.

All sends and receives return at once.  A socket belongs to one thread.  Three habits of ZeroMQ that matter here:

- A second bind on a live ipc path succeeds silently and takes over new connections, so a lock per process name
  (`claim`) comes first.
- The descriptor of a socket tells of a change once ("edge triggered"): after it was readable, read until nothing
  is left.
- A send that was refused stays refused until the socket has looked at its commands: ask `writable` before the next try.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import zmq

FRAMES = 64  # frames that ZeroMQ itself may hold per direction; the true bounds count messages and lie above it
MAX_FRAME_LEN = 64 * 1024 * 1024  # bytes; a frame beyond it closes its connection
RECONNECT_MS, RECONNECT_MAX_MS = 10, 20
LINGER_MS = 200  # how long a closing process waits for its last mail to leave
ENDPOINT_MAX_LEN = 107  # bytes of a Unix socket's path


class NameTaken(Exception):
    """Another process runs under this name in the run directory."""


class EndpointTooLong(ValueError):
    """The run directory's path leaves no room for the socket names."""


def claim(run_dir: Path, process: str) -> int:
    """Take the lock of this process name; it is held until the returned descriptor is closed.  Raises NameTaken.

    Socket files that an earlier incarnation left behind are removed.
    """
    descriptor = os.open(run_dir / f"{process}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise NameTaken(f"another process {process!r} runs in {run_dir}; stop it first") from None
    for prefix in ("", "tap-", "ring-"):
        for stale in run_dir.glob(f"{prefix}{process}-*.sock"):
            if stale.stem.removeprefix(f"{prefix}{process}-").isdigit():
                stale.unlink(missing_ok=True)
    return descriptor


def release(descriptor: int) -> None:
    """Give a claimed name back."""
    os.close(descriptor)


def mail_name(process: str, incarnation: int) -> str:
    """Return the file name under which an incarnation receives mail."""
    return f"{process}-{incarnation}.sock"


def ipc(path: Path) -> str:
    """Return the endpoint of this socket file.  Raises EndpointTooLong."""
    if len(os.fsencode(path)) > ENDPOINT_MAX_LEN:
        raise EndpointTooLong(f"{path} has more than {ENDPOINT_MAX_LEN} bytes; choose a shorter run directory")
    return f"ipc://{path}"


class Receiver:
    """The one ROUTER of a process: other processes reach it by ipc, its own threads by inproc."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoints: list[str]) -> None:
        self.socket = _open(context, zmq.ROUTER)
        for endpoint in endpoints:
            _bind(self.socket, endpoint)
        self.fd = _number(self.socket, zmq.FD)

    def receive(self) -> bytes | None:
        """Return the oldest frame, or None when there is none."""
        try:
            parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return parts[-1]  # before it: the connection's identity, which a frame does not need

    def close(self) -> None:
        """Stop receiving."""
        self.socket.close(linger=0)


class Sender:
    """A DEALER to one receiver."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, frames: int = FRAMES) -> None:
        self.socket = _open(context, zmq.DEALER, frames)
        self.socket.connect(endpoint)
        self.fd = _number(self.socket, zmq.FD)

    def send(self, frame: bytes) -> bool:
        """Hand over a frame; False: not now, try again once `writable`."""
        try:
            self.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def writable(self) -> bool:
        """Whether the next send will be taken."""
        return bool(_number(self.socket, zmq.EVENTS) & zmq.POLLOUT)

    def close(self, linger_ms: int = 0) -> None:
        """Close; what has not left within `linger_ms` is lost."""
        self.socket.close(linger=linger_ms)


class Publisher:
    """An XPUB that knows what its readers asked for, and says so when one of them is too slow."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, frames: int) -> None:
        self.socket = _open(context, zmq.XPUB, frames)
        self.socket.set(zmq.XPUB_NODROP, 1)
        _bind(self.socket, endpoint)
        self.fd = _number(self.socket, zmq.FD)
        self._prefixes: set[bytes] = set()

    def prefixes(self) -> tuple[bytes, ...]:
        """Return the topic prefixes that somebody wants now."""
        while True:
            try:
                change = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return tuple(self._prefixes)
            if change[:1] == b"\x01":
                self._prefixes.add(change[1:])
            elif change[:1] == b"\x00":
                self._prefixes.discard(change[1:])

    def publish(self, topic: bytes, data: bytes) -> bool:
        """Send to whoever wants this topic; False: a reader was found too slow, and only the others got it.

        One that was found so is passed over, without another word, until it has read what waits for it.
        """
        try:
            self.socket.send_multipart((topic, data), zmq.NOBLOCK)
        except zmq.Again:
            self.socket.set(zmq.XPUB_NODROP, 0)
            self.socket.send_multipart((topic, data), zmq.NOBLOCK)
            self.socket.set(zmq.XPUB_NODROP, 1)
            return False
        return True

    def close(self) -> None:
        """Stop publishing."""
        self.socket.close(linger=0)


class Answerer:
    """A REP: one request, one answer."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = _open(context, zmq.REP)
        _bind(self.socket, endpoint)
        self.fd = _number(self.socket, zmq.FD)

    def request(self) -> bytes | None:
        """Return the request that waits, or None.  It must be answered before the next."""
        try:
            return self.socket.recv_multipart(zmq.NOBLOCK)[-1]
        except zmq.Again:
            return None

    def answer(self, data: bytes) -> None:
        """Answer the request; the asker may be gone."""
        with contextlib.suppress(zmq.Again):
            self.socket.send(data, zmq.NOBLOCK)

    def close(self) -> None:
        """Stop answering."""
        self.socket.close(linger=LINGER_MS)


def _open(context: zmq.Context[zmq.Socket[bytes]], kind: int, frames: int = FRAMES) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.set(zmq.SNDHWM, frames)
    socket.set(zmq.RCVHWM, frames)
    socket.set(zmq.MAXMSGSIZE, MAX_FRAME_LEN)
    socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    return socket


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind; a socket file is open to all who may enter its directory, which is closed to others."""
    socket.bind(endpoint)
    if endpoint.startswith("ipc://"):
        Path(endpoint.removeprefix("ipc://")).chmod(0o666)


def _number(socket: zmq.Socket[bytes], option: int) -> int:
    value = socket.get(option)
    assert isinstance(value, int)
    return value
