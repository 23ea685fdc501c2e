"""What the packet path wants done: datagrams, packets and reports, collected until its driver drains them."""

from typing import NamedTuple

from wg.datagrams import DirectVia, RelayedBatch, UdpBatch, Via
from wg.ecn import NOT_ECT
from wg.reports import Report


class Output(NamedTuple):
    """What is to be carried now, each kind in its order."""

    udp: list[UdpBatch]
    relayed: list[RelayedBatch]
    packets: list[bytes]  # for the TUN device
    stun: list[UdpBatch]  # received on our port, not ours to answer


class Outbox:
    """Collects output; as much as comes of the inputs between two drains."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.reports: list[Report] = []  # for the control side
        self.stun: list[UdpBatch] = []
        self._udp: list[UdpBatch] = []
        self._relayed: list[RelayedBatch] = []

    def send(self, via: Via, datagrams: list[bytes], ecn: int = NOT_ECT) -> None:
        """Send these by that path.  A relayed path has no outer header of its own, so the mark ends here."""
        if isinstance(via, DirectVia):
            self._udp.append(UdpBatch(via.endpoint, via.local, ecn, datagrams))
        else:
            self._relayed.append(RelayedBatch(via.peer, via.link, datagrams))

    def drain(self) -> Output:
        """Return everything but the reports, and begin anew."""
        output = Output(self._udp, self._relayed, self.packets, self.stun)
        self._udp, self._relayed, self.packets, self.stun = [], [], [], []
        return output

    def drain_reports(self) -> list[Report]:
        """Return the reports, which go another way than packets, and begin anew."""
        reports, self.reports = self.reports, []
        return reports
