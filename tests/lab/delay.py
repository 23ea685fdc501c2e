"""A pair whose packets take their time: every packet between a host and the hub is held, for 20 ms if not for longer.

    alice --\\
             wan: each packet goes through a device that holds it -- hub (relay, signal)
    bob ----/

The forwarder is a program in the middle: `python -m tests.lab.delay DEVICE SECONDS`.
"""

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from actors.demo.ends import End
from actors.demo.network import Host, Network
from actors.demo.pair import HUB, RELAY_PORT, Homes
from actors.demo.traffic import boot_time
from tests.lab.quic import QuicPair
from tests.transport.drivers import certificates

DELAY_S = 0.02  # each way
DEVICE = "delay0"
TABLE = "100"
MAX_PACKET_LEN = 65536

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


class DelayedPair(QuicPair):
    """The pair, with TLS everywhere but for `ws`; `wss` is WebSocket over TLS."""

    def __init__(self, transport: str, delay_s: float = DELAY_S) -> None:
        self._delay_s = delay_s
        super().__init__({"wss": "ws"}.get(transport, transport), self._with_wan)
        self._secure = transport != "ws"

    def _with_wan(self, network: Network) -> Homes:
        hub, wan = network.host("hub"), network.host("wan")
        hosts = [network.host(name) for name in ("alice", "bob")]
        for number, host in enumerate((hub, *hosts), start=1):
            near, far = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
            _, at_wan = network.link(host, f"{far}/30", wan, f"{near}/30")
            host.route(via=near)
            wan.ip("rule", "add", "iif", at_wan, "lookup", TABLE)
        hub.ip("address", "add", f"{HUB}/32", "dev", "lo")
        wan.route(via="198.51.100.6", to=f"{HUB}/32")
        wan.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        wan.exec("sysctl", "-qw", "net.ipv4.conf.default.rp_filter=0")
        self._hold(wan)
        return Homes(hub, (hosts[0], hosts[1]))

    def _hold(self, wan: Host) -> None:
        wan.ip("tuntap", "add", "dev", DEVICE, "mode", "tun")
        wan.ip("link", "set", "dev", DEVICE, "txqueuelen", "10000", "up")
        wan.ip("route", "add", "default", "dev", DEVICE, "table", TABLE)
        program = [sys.executable, "-m", "tests.lab.delay", DEVICE, str(self._delay_s)]
        started = wan.spawn(*program, stdout=subprocess.PIPE)
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"

    def _move_in(self, homes: Homes) -> None:
        super()._move_in(homes)
        if self._secure:
            tls = certificates.make(self.directory, HUB)
            ca = self.directory / "ca.pem"
            ca.write_bytes(tls.ca)
            ca.chmod(0o644)
            self._relay_options: Sequence[str] = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
            for end in self.ends:
                self._use_tls(self.config(end), ca)

    def _use_tls(self, config: Path, ca: Path) -> None:
        lines = [
            f'ca_file = "{ca}"' if line.startswith("fingerprints") else line.replace("rel://", "rels://")
            for line in config.read_text().splitlines()
        ]
        config.write_text("\n".join(lines) + "\n")

    def start_relay(self) -> None:
        """Start the relay server."""
        url = f"{'rels' if self._secure else 'rel'}://{HUB}:{RELAY_PORT}"
        listen = ("--listen", f":{RELAY_PORT}", "--exposed-url", url)
        secret = ("--secret-file", str(self.directory / "relay.secret"))
        self.relay = self._spawn(self.hub, "relay", "relay", *listen, *secret, *self._relay_options)

    def first_times(self) -> tuple[float, float]:
        """Start everything; return how long the relay link took, and the first reply from the same moment on."""
        self.start_servers()
        self.start_flows()
        started_at = self.start_agents()
        reply_at = self.first_reply_at()
        times = [self._link_times(end, started_at) for end in self.ends]
        return max(opened - dialled for dialled, opened in times), reply_at - max(dialled for dialled, _ in times)

    def _link_times(self, end: End, started_at: float) -> tuple[float, float]:
        records = self.trace_records(end, since_s=boot_time() - started_at)
        dialled, opened = (
            min(record["at"] for record in records if record["type"] == kind) for kind in ("open_link", "link_opened")
        )
        return dialled, opened


def hold(device: str, delay_s: float) -> None:
    """Read packets from a TUN device and write each back after so long, in order, until the device goes."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    print("ready", flush=True)
    held: deque[tuple[float, bytes]] = deque()
    while True:
        wait_s = max(held[0][0] - time.monotonic(), 0.0) if held else None
        ready, _, _ = select.select([tun], [], [], wait_s)
        now = time.monotonic()
        while ready:
            try:
                held.append((now + delay_s, os.read(tun, MAX_PACKET_LEN)))
            except BlockingIOError:
                break
        while held and held[0][0] <= time.monotonic():
            os.write(tun, held.popleft()[1])


if __name__ == "__main__":
    hold(sys.argv[1], float(sys.argv[2]))
