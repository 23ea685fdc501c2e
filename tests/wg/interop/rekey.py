"""Two tunnels that live past REKEY_AFTER_TIME, in the background of the other tests."""

import subprocess
from contextlib import ExitStack

from tests.wg.interop.net import Host, Ours, Pair, Theirs, peer_of
from tests.wg.interop.node import Status
from wg.constants import REKEY_AFTER_TIME

PINGS = round((REKEY_AFTER_TIME + 6) / 0.2)  # one each 0.2 s


class LongTunnel:
    """Ours and wireguard-go, with a ping from the initiator to the other all the time."""

    def __init__(self, stack: ExitStack, *, we_initiate: bool) -> None:
        pair = stack.enter_context(Pair())
        self.role = "initiator" if we_initiate else "responder"
        self.ours = Ours(pair.a, peer_of(pair.b, endpoint=pair.b.endpoint if we_initiate else None))
        self.theirs = Theirs(pair.b, peer_of(pair.a, endpoint=None if we_initiate else pair.a.endpoint))
        pinging, pinged = (pair.a, pair.b) if we_initiate else (pair.b, pair.a)
        assert pinging.ping(pinged.inner)
        self.first_handshake_at = self._status().peers[0].handshake_at
        self._ping = _start_ping(pinging, pinged)

    def wait(self) -> str:
        """Wait for the last ping; return what it says."""
        said, _ = self._ping.communicate(timeout=REKEY_AFTER_TIME + 60)
        return said.decode()

    def between_handshakes_s(self) -> float:
        """Return the time from the first session to the present one."""
        last_at = self._status().peers[0].handshake_at
        assert self.first_handshake_at is not None
        assert last_at is not None
        return last_at - self.first_handshake_at

    def roles(self) -> list[str]:
        """Return our role in each handshake."""
        self._status()  # all reports before it have been read
        return [report["role"] for report in self.ours.reports if report["type"] == "handshake_completed"]

    def _status(self) -> Status:
        return self.ours.status()


class RekeyRun:
    """Both roles at once; started when the session starts, looked at when it ends."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        try:
            self.tunnels = [LongTunnel(self.stack, we_initiate=first) for first in (True, False)]
        except BaseException:
            self.stack.close()
            raise


def _start_ping(host: Host, other: Host) -> subprocess.Popen[bytes]:
    return host.start("ping", "-q", "-c", str(PINGS), "-i", "0.2", other.inner, stdout=subprocess.PIPE)
