"""Keeps the agent's processes running: starts them, asks them for progress, restarts them, drains them.

    agent:  Launching --all ready--> Running --ShutdownWanted--> Draining --all ended--> Stopped
               \\-------------------------ShutdownWanted-----------/

    child:  Starting --ProcessReady--> Up --no progress--> Dumping --DUMP_S--> Killed
               |                        |                                        |
               |------ProcessExited-----+-----------------ProcessExited---------/
               v
            Waiting --backoff--> Starting                (while draining: Ended)

Silence is counted in steps of our own looks, so that a machine that slept, or a supervisor that was itself starved,
does not take its children for hung.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Literal, assert_never

from actors.addresses import CONTROL_0, HOST, PACKET, PEERS, process_actor
from actors.effects import Effect, Later
from actors.messages.process import (
    AgentDue,
    AgentInbox,
    AgentStopped,
    Announce,
    Drain,
    Drained,
    DumpProcess,
    EndProcess,
    InspectProcess,
    KillProcess,
    PeersConfigured,
    Ping,
    Pong,
    ProcessExited,
    ProcessInspected,
    ProcessReady,
    ProcessRestarted,
    RebindSockets,
    RebindWanted,
    ShutdownWanted,
    StartProcess,
)
from actors.messages.status import AgentStatus
from actors.node.child import (
    CONTROL_PATIENCE,
    PACKET_PATIENCE,
    Activity,
    Child,
    Dumping,
    Ended,
    Killed,
    Starting,
    Up,
    Waiting,
)

READY_S = 15.0  # from start to ProcessReady
SUSPICIOUS_S = 0.1  # of silence: the kernel is asked
LOOK_S = 0.1  # between two looks at a silent child
MAX_STEP_S = 0.25  # silence counted at one look
DUMP_S = 0.1  # for the stacks of a hung process to be written
REKILL_S = 1.0
ALIVE_S = 1.0  # between two Announce(alive)
IDLE_S = 60.0  # until the next look when nothing is due

# A drain must end within 5 s; each step has its share.
DRAIN_CONTROL_S = 2.0
DRAIN_PACKET_S = 1.0
END_S = 1.0


@dataclass(frozen=True, slots=True)
class Launching:
    """Not every child has been ready yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """Every child has been ready once."""


@dataclass(frozen=True, slots=True)
class Draining:
    """Control drains first, since its last mail goes to packet; then packet; then all are ended."""

    step: Literal["control", "packet", "ending", "killing"]
    until: float  # of this step
    drained: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is left."""


class Agent:
    """Decides which child process runs."""

    inbox: ClassVar[object] = AgentInbox

    def __init__(self, controls: tuple[str, ...], peers: PeersConfigured, rng: Random) -> None:
        self._controls, self._peers, self._rng = controls, peers, rng
        self._children: dict[str, Child] = {}
        self._last_incarnation = 0
        self._last_look_at = 0.0
        self._last_alive_at = float("-inf")
        self.state: Launching | Running | Draining | Stopped = Launching()

    def start(self, now: float) -> list[Effect]:
        """Start every child."""
        for name in (PACKET, *self._controls):
            patience = PACKET_PATIENCE if name == PACKET else CONTROL_PATIENCE
            self._children[name] = Child(name, patience, self._mint(now), Starting(now + READY_S), now)
        self._last_look_at = now
        return [*[self._start_process(child) for child in self._children.values()], self._next_look(now)]

    def status(self, now: float) -> AgentStatus:
        """Return what the snapshot file says of the children."""
        children = tuple(child.status(now) for child in self._children.values())
        return AgentStatus(children=children, draining=isinstance(self.state, Draining | Stopped))

    def handle(self, message: AgentInbox, now: float) -> list[Effect]:
        """Work on one message."""
        return [*self._on(message, now), *self._drain_further(now), self._next_look(now)]

    def _on(self, message: AgentInbox, now: float) -> list[Effect]:
        match message:
            case ProcessReady(process=name, incarnation=incarnation):
                return self._on_ready(self._present(name, incarnation), now)
            case Pong(process=name, incarnation=incarnation, token=token):
                return self._on_pong(self._present(name, incarnation), token, now)
            case ProcessInspected(process=name, incarnation=incarnation, activity=activity):
                return self._on_inspected(self._present(name, incarnation), activity, now)
            case ProcessExited(process=name, incarnation=incarnation, status=status):
                return self._on_exited(self._present(name, incarnation), status, now)
            case Drained(process=name):
                if isinstance(self.state, Draining):
                    self.state = replace(self.state, drained=self.state.drained | {name})
                return []
            case PeersConfigured():
                self._peers = message
                return [PEERS.send(message)] if isinstance(self._children[CONTROL_0].state, Up) else []
            case RebindWanted():
                return self._on_rebind_wanted(message)
            case ShutdownWanted(reason=reason):
                return self._on_shutdown_wanted(reason, now)
            case AgentDue():
                return self._look(now)
            case _:
                assert_never(message)

    def _present(self, name: str, incarnation: int) -> Child | None:
        """Return that child, or None if the mail is about an incarnation that has been replaced."""
        child = self._children.get(name)
        return child if child is not None and child.incarnation == incarnation else None

    # --- progress ---

    def _on_ready(self, child: Child | None, now: float) -> list[Effect]:
        if child is None or not isinstance(child.state, Starting):
            return []  # killed meanwhile
        child.enter(Up(ping_at=now), now)
        effects: list[Effect] = [PEERS.send(self._peers)] if child.name == CONTROL_0 else []
        if isinstance(self.state, Launching) and all(isinstance(one.state, Up) for one in self._children.values()):
            self.state = Running()
            effects.append(HOST.send(Announce(kind="ready", text=self._summary(now))))
        elif isinstance(self.state, Running):
            effects.append(self._announce_status(now))
        return [*effects, *self._ping(child, now)]

    def _on_pong(self, child: Child | None, token: int, now: float) -> list[Effect]:
        if child is None or not isinstance(child.state, Up) or child.state.token != token:
            return []  # of a ping that has been given up
        child.state = Up(ping_at=child.state.ping_at)
        child.note_health(now)
        if now - self._last_alive_at < ALIVE_S:
            return []
        self._last_alive_at = now
        return [HOST.send(Announce(kind="alive"))]

    def _look(self, now: float) -> list[Effect]:
        step_s = min(now - self._last_look_at, MAX_STEP_S)
        self._last_look_at = now
        return [effect for child in self._children.values() for effect in self._look_at(child, step_s, now)]

    def _look_at(self, child: Child, step_s: float, now: float) -> list[Effect]:
        match child.state:
            case Up(token=None):
                return self._ping(child, now)
            case Up(silent_s=silent_s):
                child.state = replace(child.state, silent_s=silent_s + step_s)
                if child.state.silent_s < SUSPICIOUS_S:
                    return []
                return [HOST.send(InspectProcess(process=child.name, incarnation=child.incarnation))]
            case Starting(limit_at=limit_at) if now >= limit_at:
                return self._kill(child, f"not ready {READY_S:g} s after its start", now)
            case Dumping(until=until) if now >= until:
                return self._kill(child, child.reason, now)
            case Killed(again_at=again_at) if now >= again_at:
                return self._kill(child, child.reason, now)
            case Waiting(until=until) if now >= until:
                return self._restart(child, now)
            case _:
                return []

    def _ping(self, child: Child, now: float) -> list[Effect]:
        assert isinstance(child.state, Up), child.state
        if now < child.state.ping_at:
            return []
        token = self._rng.getrandbits(62)
        child.state = Up(ping_at=now + child.patience.ping_s, token=token)
        return [process_actor(child.name).send(Ping(token=token))]

    def _on_inspected(self, child: Child | None, activity: Activity, now: float) -> list[Effect]:
        if child is None or not isinstance(child.state, Up) or child.state.token is None:
            return []  # it has answered meanwhile
        verdict = child.judge(activity)
        if verdict is None:
            return []
        if activity == "stopped":  # it cannot run a signal handler either
            return self._kill(child, verdict, now)
        child.reason = verdict
        child.enter(Dumping(now + DUMP_S), now)
        return [HOST.send(DumpProcess(process=child.name, incarnation=child.incarnation))]

    # --- end and restart ---

    def _kill(self, child: Child, reason: str, now: float) -> list[Effect]:
        child.reason = reason
        child.enter(Killed(now + REKILL_S), now)
        return [HOST.send(KillProcess(process=child.name, incarnation=child.incarnation))]

    def _on_exited(self, child: Child | None, status: str, now: float) -> list[Effect]:
        if child is None or isinstance(child.state, Waiting | Ended):
            return []
        if isinstance(self.state, Draining):
            child.enter(Ended(), now)
            return []
        wait_s = child.failed(status, self._rng, now)
        if wait_s == 0.0:
            return [*self._restart(child, now), self._announce_status(now)]
        child.enter(Waiting(now + wait_s), now)
        return [self._announce_status(now)]

    def _restart(self, child: Child, now: float) -> list[Effect]:
        child.incarnation = self._mint(now)
        child.enter(Starting(now + READY_S), now)
        news = ProcessRestarted(process=child.name, incarnation=child.incarnation)
        # One that is hung or gone is told by its own StartProcess.
        listening = [
            one for one in self._children.values() if one is not child and isinstance(one.state, Starting | Up)
        ]
        return [self._start_process(child), *[process_actor(one.name).send(news) for one in listening]]

    def _start_process(self, child: Child) -> Effect:
        others = {other.name: other.incarnation for other in self._children.values() if other is not child}
        return HOST.send(StartProcess(process=child.name, incarnation=child.incarnation, others=others))

    def _mint(self, now: float) -> int:
        """Return a number that no process of this boot has had: later agents have later clocks."""
        self._last_incarnation = max(self._last_incarnation + 1, int(now * 1000))
        return self._last_incarnation

    def _on_rebind_wanted(self, wanted: RebindWanted) -> list[Effect]:
        """Have the packet process given other sockets, while it is there to take them."""
        if not isinstance(self.state, Running) or not isinstance(self._children[PACKET].state, Up):
            return []  # it is asked again
        return [HOST.send(RebindSockets(reason=wanted.reason, elsewhere=wanted.elsewhere))]

    # --- drain ---

    def _on_shutdown_wanted(self, reason: str, now: float) -> list[Effect]:
        if isinstance(self.state, Stopped):
            return []
        if isinstance(self.state, Draining):
            return self._kill_all("told to stop a second time", now)
        self.state = Draining("control", now + DRAIN_CONTROL_S)
        effects: list[Effect] = [HOST.send(Announce(kind="stopping", text=reason))]
        for child in self._children.values():
            match child.state:
                case Up() if child.name != PACKET:
                    effects.append(process_actor(child.name).send(Drain(reason=reason)))
                case Up() | Ended():
                    pass
                case Waiting():
                    child.enter(Ended(), now)
                case _:  # it has nothing yet that could be drained, or will never answer
                    effects += self._kill(child, child.reason, now)
        return effects

    def _drain_further(self, now: float) -> list[Effect]:
        """Take every step of the drain that is due, after any message."""
        effects: list[Effect] = []
        while isinstance(self.state, Draining):
            left = [child for child in self._children.values() if not isinstance(child.state, Ended)]
            over = now >= self.state.until
            if not left:
                self.state = Stopped()
                return [*effects, HOST.send(AgentStopped())]
            match self.state.step:
                case "control" if over or self._drained([one for one in left if one.name != PACKET]):
                    self.state = replace(self.state, step="packet", until=now + DRAIN_PACKET_S)
                    effects += [
                        process_actor(one.name).send(Drain(reason="the control processes have drained"))
                        for one in left
                        if one.name == PACKET and isinstance(one.state, Up)
                    ]
                case "packet" if over or self._drained([one for one in left if one.name == PACKET]):
                    self.state = replace(self.state, step="ending", until=now + END_S)
                    effects += [
                        HOST.send(EndProcess(process=one.name, incarnation=one.incarnation))
                        for one in left
                        if isinstance(one.state, Up)
                    ]
                case "ending" if over:
                    effects += self._kill_all("did not exit", now)
                case _:
                    return effects
        return effects

    def _drained(self, children: list[Child]) -> bool:
        assert isinstance(self.state, Draining), self.state
        return all(child.name in self.state.drained or not isinstance(child.state, Up) for child in children)

    def _kill_all(self, reason: str, now: float) -> list[Effect]:
        self.state = Draining("killing", float("inf"))
        left = [child for child in self._children.values() if not isinstance(child.state, Ended | Waiting)]
        return [effect for child in left for effect in self._kill(child, reason, now)]

    # --- time and words ---

    def _next_look(self, now: float) -> Effect:
        """Return the timer of whatever is due first."""
        due = [now + IDLE_S]
        if isinstance(self.state, Draining):
            due.append(self.state.until)
        for child in self._children.values():
            match child.state:
                case Up(token=None, ping_at=at) | Starting(limit_at=at) | Dumping(until=at):
                    due.append(at)
                case Killed(again_at=at) | Waiting(until=at):
                    due.append(at)
                case Up():
                    due.append(self._last_look_at + LOOK_S)
                case Ended():
                    pass
        return Later(max(min(due), now), AgentDue())

    def _announce_status(self, now: float) -> Effect:
        healthy = not any(child.unhealthy(now) for child in self._children.values())
        return HOST.send(Announce(kind="status", text=self._summary(now), healthy=healthy))

    def _summary(self, now: float) -> str:
        """Return one line about all children."""
        return "; ".join(child.words(now) for child in self._children.values())
