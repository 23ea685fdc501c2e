"""ICE_AGENTS of one agent: the real one, its datagrams carried by the stories' network."""

from random import Random
from typing import Any

from actors.addresses import CONTROL_0
from actors.effects import Effect
from actors.packet.ice_agents import IceAgents
from config.keys import PublicKey
from tests.actors.stories.network import PORT, Network
from transport.ice import agents
from transport.ice.candidates import AddressRules
from transport.ice.interfaces import InterfaceAddress, InterfaceRules
from wg.datagrams import Endpoint, UdpBatch
from wg.ecn import NOT_ECT


class IceSide:
    """Feeds the agents, and wakes them."""

    def __init__(self, key: PublicKey, network: Network, rng: Random) -> None:
        self.key, self.network = key, network
        rules = AddressRules()
        core = agents.IceAgents(port=PORT, rules=rules, entropy=rng.randbytes, rng=rng)
        self.agents = IceAgents(core, rules, InterfaceRules("homing0", rules), (CONTROL_0,))
        self._wake_at: float | None = None
        self.agents.addresses_read(self._addresses(), network.clock())

    @property
    def state(self) -> Any:
        return self.agents.state

    def handle(self, message: Any, now: float) -> list[Effect]:
        effects = self.agents.handle(message, now)
        if self.agents.addresses_wanted():
            effects += self.agents.addresses_read(self._addresses(), now)
        self._settle()
        return effects

    def readdressed(self) -> None:
        """The kernel says that our address changed."""
        self._perform(self.agents.addresses_read(self._addresses(), self.network.clock()))

    def receive(self, source: Endpoint, datagram: bytes) -> None:
        local = bytes(map(int, self.network.addresses[self.key].split(".")))
        self._perform(self.agents.receive([UdpBatch(source, local, NOT_ECT, [datagram])], self.network.clock()))

    def _addresses(self) -> list[InterfaceAddress]:
        ip = self.network.addresses[self.key]
        return [InterfaceAddress(interface="eth0", index=2, ip=ip, prefix_len=24)]

    def _perform(self, effects: list[Effect]) -> None:
        self.network.perform(self.key, effects)
        self._settle()

    def _settle(self) -> None:
        for batch in self.agents.datagrams():
            for datagram in batch.datagrams:
                self.network.send_stun(self.key, batch.endpoint, datagram)
        wake_at = self.agents.next_timeout()
        if wake_at is not None and (self._wake_at is None or wake_at < self._wake_at):
            self._wake_at = wake_at
            self.network.call_at(wake_at, lambda: self._wake(wake_at))

    def _wake(self, at: float) -> None:
        if self._wake_at != at or self.network.ice.get(self.key) is not self:
            return
        self._wake_at = None
        self._perform(self.agents.handle_timeout(self.network.clock()))
