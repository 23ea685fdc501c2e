"""An ICE agent of ours as a program, on the real sockets that WireGuard has.

Says who it is, reads who the remote is, then a command a line; all JSON.  Tells each event and each datagram that is no
STUN, and answers the latter.
"""

import os
import random
import select
import sys
import time
from ipaddress import ip_address

import msgspec

from config.keys import PublicKey, Secret
from tests.transport.ice.interop.words import Greeting, Order, Told
from transport.ice.agents import IceAgents
from transport.ice.candidates import AddressRules
from transport.ice.events import AgentId, AgentTold, LocalCandidateFound, Outgoing, PairSelected
from transport.ice.stun import is_stun
from transport.signal.messages import IceCredentials
from wg.datagrams import Endpoint, UdpBatch
from wg.drivers.udp import UdpDriver, open_udp
from wg.ecn import NOT_ECT

PORT = 51820
PEER = PublicKey("aioice")
AGENT = AgentId(peer=PEER, session=b"ours1", remote_session=None)


def say(message: Greeting | Told) -> None:
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


def hear() -> bytes:
    return sys.stdin.buffer.readline()


class Program:
    """One agent, its sockets, its standard streams."""

    def __init__(self, controlling: bool, ours: bool, addresses: list[str]) -> None:
        self.drivers = {driver.family: driver for driver in (UdpDriver(sock) for sock in open_udp(PORT))}
        self.agents = IceAgents(port=PORT, rules=AddressRules(), entropy=os.urandom, rng=random.Random())
        self.agents.local_addresses_changed(addresses, time.monotonic())
        self.local = IceCredentials(ufrag="oursUfragoursUfr", pwd=Secret(b"oursPwd" * 4))
        self.controlling, self.ours = controlling, ours
        self.candidates: list[str] = []
        self.selected: tuple[str, Endpoint] | None = None

    def run(self) -> None:
        self._open(None)
        self._settle()
        say(Greeting(ufrag=self.local.ufrag, pwd=self.local.pwd.value.decode(), candidates=self.candidates))
        remote = msgspec.json.decode(hear(), type=Greeting)
        self._open(IceCredentials(ufrag=remote.ufrag, pwd=Secret(remote.pwd.encode())))
        self.agents.set_in_use(PEER, True, time.monotonic())
        for candidate in remote.candidates:
            self.agents.add_remote_candidate(AGENT, candidate, time.monotonic())
        readable = [0, *(driver.fd for driver in self.drivers.values())]
        while True:
            self._settle()
            at = self.agents.next_timeout()
            wait_s = 1.0 if at is None else max(0.0, min(1.0, at - time.monotonic()))
            ready, _, _ = select.select(readable, [], [], wait_s)
            if 0 in ready:
                line = hear()
                if not line:
                    return
                self._obey(msgspec.json.decode(line, type=Order))
            for driver in self.drivers.values():
                for batch in driver.receive():
                    self._receive(batch)
            self.agents.handle_timeout(time.monotonic())

    def _open(self, remote: IceCredentials | None) -> None:
        now = time.monotonic()
        self.agents.open(AGENT, self.local, remote, now, controlling=self.controlling, ours=self.ours)

    def _obey(self, order: Order) -> None:
        if order.send is not None and self.selected is not None:
            local, endpoint = self.selected
            self._send(Outgoing(ip_address(local).packed, endpoint, order.send.encode()))
        report = self.agents.describe(PEER)
        assert report is not None
        say(Told(kind="report", report=report))

    def _receive(self, batch: UdpBatch) -> None:
        for datagram in batch.datagrams:
            if is_stun(datagram):
                self.agents.receive(datagram, batch.endpoint, batch.local, time.monotonic())
            else:
                say(Told(kind="data", text=datagram.decode(), endpoint=str(batch.endpoint)))

    def _settle(self) -> None:
        while (told := self.agents.next_event()) is not None:
            assert isinstance(told, AgentTold)
            if isinstance(told.event, LocalCandidateFound):
                self.candidates.append(told.event.text)
                continue
            if isinstance(told.event, PairSelected):
                self.selected = told.event.local, told.event.remote
            endpoint = "" if self.selected is None else str(self.selected[1])
            say(Told(kind=type(told.event).__name__, endpoint=endpoint))
        for out in self.agents.datagrams_to_send():
            self._send(out)

    def _send(self, out: Outgoing) -> None:
        six = ":" in out.destination.ip
        for family, driver in self.drivers.items():
            if six == (family.name == "AF_INET6"):
                driver.send(UdpBatch(out.destination, out.local, NOT_ECT, [out.datagram]))


if __name__ == "__main__":
    Program(sys.argv[1] == "controlling", sys.argv[2] == "ours", sys.argv[3:]).run()
