"""Two agents that meet over a relay server by QUIC, behind strict NATs, and what becomes of the link when those change.

alice -- symmetric NAT (draws a port) -- hub (relay, signal) -- masquerading NAT (keeps the port) -- bob
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from actors.demo.ends import End
from actors.demo.network import Network
from actors.demo.pair import Homes, Pair
from actors.demo.traffic import boot_time
from tests.kit.nats import MASQUERADE, SYMMETRIC, Router, Site
from tests.lab.faults import flush_conntrack, redial
from tests.lab.topology import HUB, UPLINK, Gate, Ground, Setting
from transport.drivers.self_made import self_made

NATS = Setting("quic", Site((Router("left", SYMMETRIC),)), Site((Router("right", MASQUERADE),)))

SETTINGS = """\
transport = "{transport}"
fingerprints = ["sha256:{fingerprint}"]

[ice]
enabled = false
"""

Change = Literal["address", "port", "both"]

# Mail that would mean that a link, or a relayed connection, was opened or closed.
REOPENING = frozenset(
    {
        *("open_link", "link_opened", "link_closed", "close_link"),
        *("open_on_link", "close_on_link", "relayed_opened", "relayed_closed", "relayed_failed"),
    }
)


class QuicPair(Pair):
    """The pair: `with QuicPair() as pair:`.  The relay's certificate is its own, and both agents know it."""

    def __init__(self, transport: str = "quic", build: Callable[[Network], Homes] | None = None) -> None:
        self._certificates = tempfile.TemporaryDirectory(prefix="homing-lab-quic-")
        directory = Path(self._certificates.name)
        made = self_made(directory, [HUB[0]])
        settings = SETTINGS.format(transport=transport, fingerprint=made.fingerprint.hex())
        super().__init__(
            "quic", build or self._lay_out, settings=settings, relay_options=("--quic-dir", str(directory))
        )
        self.transport = transport

    def close(self) -> None:
        """End everything and leave nothing behind."""
        super().close()
        self._certificates.cleanup()

    def _lay_out(self, network: Network) -> Homes:
        self.ground = Ground(network, NATS)
        left, right = self.ground.places
        for place in (left, right):
            # Several datagrams that leave as one piece for the card to cut would share its fate at a router.
            place.host.ip("link", "set", "dev", UPLINK, "gso_max_segs", "1")
        return Homes(self.ground.hub, (left.host, right.host))

    def gate(self, end: End) -> Gate:
        """Return the router before an end."""
        return self.ground.places[self.ends.index(end)].gates[0]

    def change(self, what: Change) -> float:
        """Have a NAT give a new address, a new port, or both, with everything before forgotten; return when."""
        at = boot_time()
        match what:
            case "address":
                redial(self.ground, self.gate(self.bob))
            case "port":
                flush_conntrack(self.gate(self.alice))
            case "both":
                redial(self.ground, self.gate(self.alice))
        return at

    def source(self, end: End) -> str:
        """Return the address and port under which the relay server sees an end's QUIC packets now."""
        seen = self.gate(end).host.exec("conntrack", "-L", "-p", "udp", "--dport", "8080")
        # Each entry has the original direction, then the reply's, whose destination is the external endpoint.
        replies = [line.split("src=")[2] for line in seen.splitlines() if line.count("src=") == 2]
        found = [
            dict(word.split("=", 1) for word in reply.split() if "=" in word and not word.startswith("mark"))
            for reply in replies
        ]
        return ", ".join(f"{one['dst']}:{one['dport']}" for one in found)

    def reopened(self, since: float) -> list[str]:
        """Return what was opened or closed since then, at either end."""
        return [
            f"{end.name}: {record['type']}"
            for end in self.ends
            for record in self.trace_records(end, since_s=boot_time() - since)
            if record["type"] in REOPENING and record["at"] >= since
        ]

    def wait_carried(self, carriers: list[str], limit_s: float = 30.0) -> None:
        """Wait until status says that the relay links are carried so.  Raises PairFailed."""
        self.wait_until(lambda: self.carriers() == carriers, limit_s, f"not carried by {carriers}", "alice")

    def carriers(self) -> list[Any]:
        """Return what carries each end's relay link."""
        return [
            link["transport"]
            for end in self.ends
            for link in self.status(end)["links"]
            if link["role"] in {"home", "foreign"}
        ]

    def status(self, end: End) -> dict[str, Any]:
        """Return what `homing status --json` says."""
        found: dict[str, Any] = json.loads(self.command(end, "status", "--json", *self._of(end)))
        return found
