"""Two agents, each with its machines for the other, and what the world between them may do next (exhaustive.py)."""

import hashlib
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from actors.addresses import CONTROL_0, RELAY_LINKS
from actors.effects import Cancel, Effect, Later, Send, Starting
from actors.messages.node import CloseRelayed, HomeRelayChanged, OpenRelayed, SearchGranted, SearchWanted
from actors.messages.packet import (
    CloseIceAgent,
    CloseOnLink,
    IceAgentClosed,
    IceAgentEnded,
    IcePairProven,
    OpenIceAgent,
    RelayedClosed,
    RelayedCloseDone,
    RelayedFailed,
    RelayedOpened,
)
from actors.messages.peer import Distress, OfferDue, PathDead, PathProven, RelayEvidence, ReopenDue, UpgradeDue
from actors.messages.process import PeerSettings, StartPeer
from actors.peer.wiring import make_peer
from config.keys import PublicKey, encode_key
from tests.kit.world import Handled
from tests.simulator.canonical import canonical
from tests.simulator.simulation import Record
from transport.signal.messages import AnswerReceived, OfferReceived, PostDescription
from wg.paths import DirectPath

URL = "rel://relay.test:80"
LINK = 1
SETTLE_STEPS = 400

Event = tuple[int, str]  # side, what


class Middle(Random):
    """Draws nothing: always the middle."""

    def random(self) -> float:
        """Return a half."""
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        """Return the middle."""
        return (a + b) / 2

    def __reduce__(self) -> tuple[Any, ...]:
        return Middle, ()


class Counting:
    """Entropy that counts."""

    def __init__(self, side: int) -> None:
        self.side, self.drawn = side, 0

    def draw(self, length: int) -> bytes:
        """Return bytes that were never drawn."""
        self.drawn += 1
        return hashlib.blake2b(f"{self.side} {self.drawn}".encode(), digest_size=min(length, 64)).digest().ljust(length)


class Side:
    """One agent's machines for the other, and what is asked of the packet process."""

    def __init__(self, number: int, own: PublicKey, peer: PublicKey) -> None:
        self.number, self.peer = number, peer
        start = StartPeer(settings=PeerSettings(peer=peer, name="x", allowed_ips=()), home_relay_url=URL)
        machines = make_peer(
            start,
            own,
            (CONTROL_0,),
            rng=Middle(),
            entropy=Counting(number).draw,
            first_generation=1000 * (number + 1),
            ice=True,
        )
        self.machines = {name.rpartition("/")[2]: machine for name, machine in machines.items()}
        self.timers: dict[str, msgspec.Struct] = {}  # of those that are events here, by tag
        self.came: deque[msgspec.Struct] = deque()  # descriptions
        self.posted: list[PostDescription] = []
        self.nonce = 0
        self.opening: OpenRelayed | None = None
        self.open: int | None = None
        self.closes: deque[int] = deque()
        self.agent: OpenIceAgent | None = None
        self.paired = False
        self.agent_closes: deque[bytes] = deque()

    def start(self, now: float) -> list[Record]:
        """Have the machines say what they want first."""
        log: list[Record] = []
        for role, machine in self.machines.items():
            if isinstance(machine, Starting):
                self._perform(role, machine.start(now), now, log)
        return log

    def tell(self, role: str, message: Any, now: float) -> list[Record]:
        """Give a machine mail, and all what follows inside this agent."""
        log: list[Record] = []
        self._handle(role, message, now, log)
        return log

    def _handle(self, role: str, message: Any, now: float, log: list[Record]) -> None:
        waiting: deque[tuple[str, Any]] = deque([(role, message)])
        while waiting:
            role, message = waiting.popleft()
            machine = self.machines[role]
            before = machine.state
            effects = machine.handle(message, now)
            handled = Handled(now, f"peer/{self.peer}/{role}@{CONTROL_0}", "", message, before, machine.state)
            log.append(Record(f"node{self.number}", handled))
            waiting.extend(self._sorted_out(role, effects, now, log))

    def _perform(self, role: str, effects: list[Effect], now: float, log: list[Record]) -> None:
        for to, message in self._sorted_out(role, effects, now, log):
            self._handle(to, message, now, log)

    def _sorted_out(self, role: str, effects: list[Effect], now: float, log: list[Record]) -> Iterator[tuple[str, Any]]:
        for effect in effects:
            match effect:
                case Send(to=to, message=message) if to.actor.startswith("peer/"):
                    yield to.actor.rpartition("/")[2], message
                case Send(message=SearchWanted(peer=peer)):
                    yield "guard", SearchGranted(peer=peer)
                case Send(to=to, message=message):
                    log.append(Record(f"node{self.number}", Handled(now, str(to), "", message, None, None)))
                    if isinstance(message, CloseRelayed) and message.generation == self.open:
                        on_link = CloseOnLink(peer=self.peer, generation=self.open, link=LINK)  # as RELAYS would
                        log.append(
                            Record(f"node{self.number}", Handled(now, str(RELAY_LINKS), "", on_link, None, None))
                        )
                    self._ask(message)
                case Later(message=OfferDue() | UpgradeDue() | ReopenDue() as due):
                    self.timers[str(due.__struct_config__.tag)] = due
                case Cancel(timer=timer):
                    self.timers.pop(str(timer.__struct_config__.tag), None)
                case _:
                    pass  # of timers that only bound what others owe, and here they pay

    def _ask(self, message: Any) -> None:
        match message:
            case PostDescription():
                self.posted.append(message)
            case OpenRelayed():
                self.opening, self.open = message, None
            case CloseRelayed(generation=generation):
                if generation in (0, self.open):
                    self.open = None
                if self.opening is not None and generation in (0, self.opening.generation):
                    self.opening = None
                self.closes.append(generation)
            case OpenIceAgent():
                self.agent, self.paired = message, False
            case CloseIceAgent(session=session):
                if self.agent is not None and self.agent.session == session:
                    self.agent, self.paired = None, False
                self.agent_closes.append(session)
            case _:
                pass  # candidates, status, paths


class Two:
    """Both sides, and what is between them."""

    def __init__(self) -> None:
        keys = [PublicKey(encode_key(bytes([number]) * 32)) for number in (2, 1)]  # the first controls
        self.keys = keys
        self.sides = [Side(0, keys[0], keys[1]), Side(1, keys[1], keys[0])]
        self.log: list[Record] = []
        self.now = 1000.0  # it stands still: what commutes leads to one state
        for side in self.sides:
            self.log += side.start(self.now)
            for role in ("offer_listener", "relay_worker"):
                self.log += side.tell(role, HomeRelayChanged(url=URL, server_ip=None), self.now)
        self._carry()

    # --- what may come ---

    def events(self) -> list[Event]:
        """Return what may happen next."""
        return [(side.number, what) for side in self.sides for what in self._of(side)]

    def _of(self, side: Side) -> Iterator[str]:
        other = self.sides[1 - side.number]
        if side.came:
            yield "description"
        if side.opening is not None:
            yield "failed"
            if other.open is not None or other.opening is not None:
                yield "opened"
        if side.closes:
            yield "close done"
        if side.open is not None:
            yield from ("relay says gone", "relayed path dead")
        if side.agent is not None:
            yield "agent ended"
            if not side.paired and self._matched():
                yield "pair"
            if side.paired:
                yield "direct path dead"
        if side.agent_closes:
            yield "agent closed"
        yield from side.timers.keys() & {"offer_due", "reopen_due"}

    def _matched(self) -> bool:
        one, other = (side.agent for side in self.sides)
        if one is None or other is None:
            return False
        return one.remote_session == other.session and other.remote_session == one.session

    def happen(self, event: Event) -> None:
        """Let this happen, and all that follows at once."""
        number, what = event
        side = self.sides[number]
        for role, message in self._mail(side, what):
            self.log += side.tell(role, message, self.now)
        self._carry()
        self._prove()

    def _mail(self, side: Side, what: str) -> Iterator[tuple[str, Any]]:
        peer = side.peer
        match what:
            case "description":
                yield "offer_listener", side.came.popleft()
            case "opened" | "failed":
                assert side.opening is not None
                generation, side.opening = side.opening.generation, None
                if what == "failed":
                    yield "relay_worker", RelayedFailed(peer=peer, generation=generation, reason="no")
                else:
                    side.open = generation
                    yield "relay_worker", RelayedOpened(peer=peer, generation=generation, link=LINK)
            case "close done":
                yield "relay_worker", RelayedCloseDone(peer=peer, generation=side.closes.popleft())
            case "relay says gone":
                assert side.open is not None
                generation, side.open = side.open, None
                gone = RelayedClosed(peer=peer, generation=generation, cause="peer_gone", reason="gone")
                yield "relay_worker", gone
            case "relayed path dead":
                assert side.open is not None
                dead = PathDead(peer=peer, path="relayed", generation=side.open, reason="dead")
                yield "relay_worker", RelayEvidence(peer=peer, generation=side.open, reason="dead")
                yield "conn", dead
            case "direct path dead":
                generation = getattr(side.machines["ice_worker"], "_generation", 0)
                yield "ice_worker", Distress(peer=peer, path="direct", generation=generation, reason="dead")
                yield "conn", PathDead(peer=peer, path="direct", generation=generation, reason="dead")
            case "agent ended":
                assert side.agent is not None
                ended, side.agent, side.paired = side.agent, None, False
                yield "ice_worker", IceAgentEnded(peer=peer, session=ended.session, reason="no pair", tried=())
            case "agent closed":
                yield "ice_worker", IceAgentClosed(peer=peer, session=side.agent_closes.popleft())
            case "pair":
                assert side.agent is not None
                side.paired = True
                yield "ice_worker", self._pair_of(side.agent)
            case _:
                due = side.timers.pop(what)
                yield ("relay_worker" if what == "reopen_due" else "guard"), due

    def _pair_of(self, agent: OpenIceAgent) -> IcePairProven:
        return IcePairProven(
            peer=agent.peer,
            session=agent.session,
            remote_session=agent.remote_session,
            path=DirectPath(ip="192.0.2.1", port=51820, local="192.0.2.2"),
            local="192.0.2.2",
            remote_kind="host",
            rtt_s=0.03,
        )

    def _carry(self) -> None:
        for side in self.sides:
            for post in side.posted:
                side.nonce += 1
                received = OfferReceived if post.kind == "offer" else AnswerReceived
                nonce = side.nonce.to_bytes(24, "big")
                mail = received(peer=self.keys[side.number], description=post.description, nonce=nonce)
                self.sides[1 - side.number].came.append(mail)
            side.posted.clear()

    def _prove(self) -> None:
        """WireGuard proves at once whatever leads to the other."""
        both_open = all(side.open is not None for side in self.sides)
        both_paired = all(side.paired for side in self.sides)
        for side in self.sides:
            ways = getattr(side.machines["conn"].state, "ways", None)
            for kind, leads in (("relayed", both_open), ("direct", both_paired)):
                way = None if ways is None else (ways.relay if kind == "relayed" else ways.direct)
                if leads and way is not None and way.standing in ("unproven", "resumed", "doubtful"):
                    path: Any = kind
                    proven = PathProven(peer=side.peer, path=path, generation=way.generation, heard_at=self.now)
                    self.log += side.tell("conn", proven, self.now)

    # --- does it find back? ---

    def settle(self) -> str | None:
        """Let everything come to its end, and nothing more go wrong; return what is not well then."""
        for _ in range(SETTLE_STEPS):
            events = [event for event in self.events() if event[1] in CALM]
            if not events and self._is_well():
                return None
            if not events:
                events = [(side.number, tag) for side in self.sides for tag in sorted(side.timers)]
            if not events:
                break
            self.happen(events[0])
        return f"it does not find back: {[{role: m.state for role, m in s.machines.items()} for s in self.sides]}"

    def _is_well(self) -> bool:
        return self._matched() and all(
            side.paired
            and side.open is not None
            and type(side.machines["conn"].state).__name__ == "Proven"
            and type(side.machines["relay_worker"].state).__name__ == "Open"
            for side in self.sides
        )

    def digest(self) -> bytes:
        """Return what tells this state from others; the past is no part of it."""
        return canonical(self.sides)


CALM = ("description", "opened", "close done", "agent closed", "pair", "reopen_due")
