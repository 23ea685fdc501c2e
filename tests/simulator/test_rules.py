"""Each rule that shows in the mail is seen to be broken by the mail that breaks it."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from actors.messages.node import CloseRelayed
from actors.messages.packet import IceAgentEnded, RelayedCloseDone, RelayedOpened, SetPath
from actors.messages.peer import (
    Distress,
    IceTurn,
    OpenDue,
    PathLost,
    RelayEvidence,
    RelayTurn,
    RelayTurnDone,
    ReopenDue,
    WatchPath,
)
from config.keys import PublicKey, Secret
from tests.kit.world import Handled
from tests.simulator.rules import broken_rules
from tests.simulator.simulation import Record
from transport.signal.messages import Description, IceCredentials, OfferReceived, PostDescription
from wg.paths import DirectPath

BOB = PublicKey("b" * 43 + "=")
SESSION, OTHER = b"sess1", b"sess2"
ICE = IceCredentials(ufrag="ufrag", pwd=Secret(b"p" * 32))
SAID = Description(ice=None, session=None, listen_port=0, version="", relay_url=None, relay_ip=None, homing=None)


@dataclass(frozen=True)
class Closed:
    reason: str = "it failed"


@dataclass(frozen=True)
class Opening:
    generation: int = 2


@dataclass(frozen=True)
class Open:
    generation: int = 1


@dataclass(frozen=True)
class Closing:
    generation: int = 1
    lost: str | None = "silence"


@dataclass(frozen=True)
class Connected:
    session: bytes = SESSION
    doubtful: bool = False


@dataclass(frozen=True)
class Resting:
    session: bytes = SESSION


@dataclass(frozen=True)
class Proven:
    tries: int = 3


@dataclass(frozen=True)
class Retrying:
    tries: int = 3


def at(role: str, message: msgspec.Struct, before: Any = None, after: Any = None, now: float = 1.0) -> Record:
    actor = role if role in ("signal", "relays", "process") else f"peer/{BOB}/{role}"
    return Record("node0", Handled(now, f"{actor}@control-0", "", message, before, after))


def offer(nonce: bytes) -> Record:
    return at("offer_listener", OfferReceived(peer=BOB, description=SAID, nonce=nonce))


ANSWER = at("signal", PostDescription(peer=BOB, kind="answer", description=SAID))
EVIDENCE = RelayEvidence(peer=BOB, generation=1, reason="silence")
ANY_ENTRY = RelayEvidence(peer=BOB, generation=0, reason="reset")
REUSED = at("offer_listener", RelayTurnDone(peer=BOB, turn=1, outcome="reused"))
TURN = RelayTurn(peer=BOB, turn=1, relay_url="rel://x", relay_ip=None)
OPENED = RelayedOpened(peer=BOB, generation=1, link=1)
CLOSE_DONE = RelayedCloseDone(peer=BOB, generation=1)
DISTRESS = Distress(peer=BOB, path="relayed", reason="silence")
ENDED = IceAgentEnded(peer=BOB, session=SESSION, reason="no pair", tried=())
ICE_TURN = IceTurn(peer=BOB, turn=1, ice=ICE, session=OTHER)
LOST = PathLost(peer=BOB, reason="silence")

BROKEN = {
    "R1": [offer(b"1"), ANSWER, offer(b"1"), ANSWER],
    "evidence against it (R3": [at("relay_worker", EVIDENCE, Open(), Closing()), REUSED],
    "had cleared (R3": [
        at("relay_worker", ANY_ENTRY, Closed(), Closed()),
        at("relay_worker", OPENED, Opening(), Open()),
        at("relay_worker", ReopenDue(), Closed(), Closing(generation=0)),
    ],
    "had succeeded (R3": [
        at("relay_worker", ANY_ENTRY, Closed(), Closed()),
        at("relay_worker", TURN, Closed(), Closing(generation=0)),
        at("relay_worker", CLOSE_DONE, Closing(generation=0), Opening()),
        at("relay_worker", OpenDue(), Opening(), Closed()),
        at("relay_worker", ReopenDue(), Closed(), Opening()),
    ],
    "R4": [at("relay_worker", CLOSE_DONE, Closing(), Closed())],
    "R5": [
        at("relay_worker", OPENED, Opening(1), Open()),
        at("relays", CloseRelayed(peer=BOB, generation=1)),
        at("relay_worker", CLOSE_DONE, Closing(), Opening()),
    ],
    "after Distress (R6": [at("ice_worker", DISTRESS, Resting(), Resting())],
    "after IceAgentEnded (R6": [at("ice_worker", ENDED, Connected(), Resting())],
    "the remote's did (R6": [at("ice_worker", ICE_TURN, Connected(), Connected(OTHER))],
    "beyond our own (R6": [at("ice_worker", ICE_TURN, Resting(), Resting())],
    "R8": [
        at("tunnels", SetPath(peer=BOB, path=DirectPath(ip="192.0.2.1", port=1))),
        at("wg_watcher", WatchPath(peer=BOB, path=None)),
        at("guard", OpenDue(), now=12.0),
    ],
    "R10": [
        at("guard", LOST, Retrying(), Proven(), now=1.0),
        at("guard", LOST, Proven(), Retrying(0), now=2.0),
    ],
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_rule_is_seen(words: str) -> None:
    (breach,) = broken_rules(BROKEN[words], 0.0)
    assert f"{words})" in breach


def test_what_keeps_the_rules_is_let_pass() -> None:
    kept = [
        offer(b"1"),
        ANSWER,
        offer(b"2"),
        ANSWER,
        REUSED,
        at("relay_worker", EVIDENCE, Open(), Closing()),
        at("relay_worker", CLOSE_DONE, Closing(), Opening()),
        at("relay_worker", RelayedOpened(peer=BOB, generation=2, link=1), Opening(), Open(2)),
        REUSED,
        at("ice_worker", DISTRESS, Connected(), Connected()),  # the direct path goes on
        at("ice_worker", ENDED, Connected(), Resting(OTHER)),
        at("guard", LOST, Proven(3), Retrying(3)),
        at("guard", LOST, Retrying(3), Proven(3), now=2.0),
        at("guard", LOST, Proven(3), Retrying(0), now=70.0),  # proven for long enough
    ]
    assert broken_rules(kept, 0.0) == []
