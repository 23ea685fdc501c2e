"""Has faults happen in a simulation, and ends them."""

from collections import Counter
from collections.abc import Callable
from typing import assert_never

from actors.addresses import CONTROL_0
from actors.effects import Address
from actors.messages.peer import SendOffer
from actors.messages.process import ResetPeer
from tests.simulator.agent import Agent
from tests.simulator.faults import (
    ActorFailed,
    AddressChanged,
    AnyFault,
    ClockStepped,
    DirectCut,
    Hung,
    Killed,
    LinkAway,
    Lossy,
    MailLost,
    NatChanged,
    OffersForced,
    PeerReset,
    RelayRestarted,
    ServerApart,
    SignalMangled,
    SignalRestarted,
    Slept,
    words,
)
from tests.simulator.servers import Mangling
from tests.simulator.simulation import Simulation

Act = Callable[[], None]


class Acts:
    """The faults of one run.  Where two of a kind overlap, it is over when both are."""

    def __init__(self, sim: Simulation, faults: tuple[AnyFault, ...]) -> None:
        self._sim = sim
        self._held: Counter[tuple[object, ...]] = Counter()
        for fault in faults:
            self._plan(fault)

    def _plan(self, fault: AnyFault) -> None:
        begin, end = self._acts_of(fault)
        agenda, begun = self._sim.agenda, self._sim.now

        def begins() -> None:
            self._sim.note(getattr(fault, "agent", ""), words(fault))
            begin()

        agenda.at(begun + fault.at_s, begins)
        if fault.for_s:

            def ends() -> None:
                self._sim.note(getattr(fault, "agent", ""), f"{type(fault).__name__} is over")
                end()

            agenda.at(begun + fault.over_s, ends)

    def _acts_of(self, fault: AnyFault) -> tuple[Act, Act]:
        sim, none = self._sim, _nothing
        match fault:
            case LinkAway():
                return self._hold(("away", fault.agent), *self._away(fault))
            case NatChanged():
                return lambda: self._change_nat(fault), none
            case AddressChanged():
                return sim.by_name[fault.agent].readdress, none
            case ServerApart():
                server = "signal" if fault.server == "signal" else sim.relays[fault.server].url
                way = (fault.agent, server)
                return self._hold(
                    ("apart", *way), lambda: sim.wires.apart.add(way), lambda: sim.wires.apart.discard(way)
                )
            case RelayRestarted():
                relay = sim.relays[fault.relay]
                return self._hold(("relay", fault.relay), relay.stop, relay.start)
            case SignalRestarted():
                return self._hold(("signal",), sim.signal.stop, sim.signal.start)
            case SignalMangled():
                return lambda: self._mangle(fault), lambda: setattr(sim.signal, "mangling", Mangling())
            case DirectCut():
                cut = sim.cut_packets if fault.packets_only else sim.cut
                pair = (fault.sender, fault.receiver)
                return self._hold(("cut", fault.packets_only, *pair), lambda: cut.add(pair), lambda: cut.discard(pair))
            case Lossy():
                return lambda: self._spoil(fault), lambda: self._spoil(Lossy(at_s=0.0))
            case Slept():
                return self._hold(("asleep", fault.agent), *self._sleep(fault))
            case Killed():
                agent = sim.by_name[fault.agent]
                return lambda: self._kill(agent, fault), none
            case Hung():
                agent = sim.by_name[fault.agent]
                return lambda: agent.freeze(fault.process), lambda: agent.thaw(fault.process)
            case MailLost():
                return sim.by_name[fault.agent].lose_mail, none
            case ActorFailed():
                return lambda: sim.by_name[fault.agent].fail_peer(sim.by_name[fault.peer].key), none
            case PeerReset():
                return lambda: self._reset(fault), none
            case OffersForced():
                return lambda: self._offer(fault, sim.now + fault.for_s), none
            case ClockStepped():
                return lambda: setattr(sim.by_name[fault.agent], "wall_step_s", fault.by_s), none
            case _:
                assert_never(fault)

    def _hold(self, name: tuple[object, ...], begin: Act, end: Act) -> tuple[Act, Act]:
        def begins() -> None:
            self._held[name] += 1
            if self._held[name] == 1:
                begin()

        def ends() -> None:
            self._held[name] -= 1
            if self._held[name] == 0:
                end()

        return begins, ends

    # --- the network ---

    def _site_of(self, agent: str) -> set[str]:
        """Return who shares the agent's outermost router; itself without one."""
        hosts = self._sim.net.hosts
        routers = hosts[agent].site.routers
        if not routers:
            return {agent}
        return {other.name for other in self._sim.agents if hosts[other.name].site.routers[-1:] == routers[-1:]}

    def _away(self, fault: LinkAway) -> tuple[Act, Act]:
        sim, site = self._sim, self._site_of(fault.agent)
        has_router = bool(sim.net.hosts[fault.agent].site.routers)

        def begin() -> None:
            for name in site:
                self._unplug(name)

        def end() -> None:
            for name in site:
                self._plug(name)
            if fault.back != "same":
                self._new_nat(fault.agent, site, new=fault.back == "new address", lax=fault.lax, tell=not has_router)
            if not has_router:
                sim.by_name[fault.agent].kernel_tells()

        return begin, end

    def _unplug(self, name: str) -> None:
        self._hold(("link", name), lambda: self._sim.wires.away.add(name), _nothing)[0]()

    def _plug(self, name: str) -> None:
        self._hold(("link", name), _nothing, lambda: self._sim.wires.away.discard(name))[1]()

    def _change_nat(self, fault: NatChanged) -> None:
        new = fault.change == "new address"
        self._new_nat(fault.agent, self._site_of(fault.agent), new=new, lax=fault.lax, tell=False)

    def _new_nat(self, agent: str, site: set[str], *, new: bool, lax: bool, tell: bool) -> None:
        sim = self._sim
        routers = sim.net.hosts[agent].site.routers
        if routers:
            (sim.net.readdress if new else sim.net.flush)(routers[-1].name)
            sim.wires.sever(site, lax=lax)
        elif new and tell:
            sim.by_name[agent].readdress()

    def _spoil(self, fault: Lossy) -> None:
        conditions = self._sim.conditions
        conditions.loss, conditions.jitter_s, conditions.duplication = fault.loss, fault.jitter_s, fault.duplication

    def _mangle(self, fault: SignalMangled) -> None:
        self._sim.signal.mangling = Mangling(twice=fault.twice, late=fault.late, again=fault.again)

    # --- agents ---

    def _sleep(self, fault: Slept) -> tuple[Act, Act]:
        agent = self._sim.by_name[fault.agent]

        def sleeps() -> None:
            self._unplug(fault.agent)
            agent.sleep()

        def wakes() -> None:
            self._plug(fault.agent)
            self._sim.wires.woke(fault.agent)
            agent.wake()

        return sleeps, wakes

    def _kill(self, agent: Agent, fault: Killed) -> None:
        def kill() -> None:
            agent.crash(fault.process)

        if fault.after:
            agent.world.after(fault.after, kill)
        else:
            kill()
            agent.run()

    def _reset(self, fault: PeerReset) -> None:
        agent, peer = self._sim.by_name[fault.agent], self._sim.by_name[fault.peer].key
        agent.post(Address(f"peer/{peer}/conn", CONTROL_0), ResetPeer(peer=peer))

    def _offer(self, fault: OffersForced, until: float) -> None:
        sim = self._sim
        for agent, other in sim.pairs():
            offer = SendOffer(peer=other.key, reason="a fault of the scenario")
            agent.post(Address(f"peer/{other.key}/offer_listener", CONTROL_0), offer)
        if fault.every_s and sim.now + fault.every_s < until:
            sim.agenda.at(sim.now + fault.every_s, lambda: self._offer(fault, until))


def _nothing() -> None:
    pass
