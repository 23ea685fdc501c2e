from types import ModuleType

import msgspec
import pytest

from actors.messages import node, overflow, packet, peer, process, status
from actors.messages.overflow import RULES, TYPE_OF, MessageType, coalescing_key, rule_for, tag_of
from config.keys import PublicKey
from transport.signal import messages as signal
from wg import reports

MODULES = (node, packet, peer, process, status, signal, reports)
BOB, CAROL = PublicKey("bob"), PublicKey("carol")

NEVER_TAKEN_AWAY: tuple[MessageType, ...] = (
    peer.RelayEvidence,
    peer.Distress,
    peer.PathDead,
    peer.PathDoubtful,
    peer.PathProven,
    peer.LocalIceChanged,
    peer.LocalRelayChanged,
    peer.RelayTurn,
    peer.RelayTurnDone,
    peer.IceTurn,
    peer.IceTurnDone,
    packet.RelayedOpened,
    packet.RelayedFailed,
    packet.RelayedClosed,
    packet.RelayedCloseDone,
    packet.LinkOpened,
    packet.LinkClosed,
    packet.OpenOnLink,
    packet.CloseOnLink,
    node.OpenRelayed,
    node.CloseRelayed,
    process.ProcessRestarted,
    process.StartPeer,
    process.StopPeer,
    process.PeerFailed,
    process.Drain,
    process.Drained,
    process.Ping,
    process.Pong,
)


def messages_of(module: ModuleType) -> list[MessageType]:
    """Return the message types that a module defines: tagged records."""
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
    return [value for value in found if value.__module__ == module.__name__ and tag_of(value)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.__name__))
def test_every_message_type_has_a_rule(module: ModuleType) -> None:
    assert [value.__name__ for value in messages_of(module) if value not in RULES] == []


def test_no_tag_is_used_twice() -> None:
    assert len(TYPE_OF) == len(RULES)


@pytest.mark.parametrize("message_type", NEVER_TAKEN_AWAY, ids=lambda value: str(value.__name__))
def test_evidence_results_and_lifecycle_are_kept(message_type: MessageType) -> None:
    assert RULES[message_type].action == "keep"


def test_timers_are_kept() -> None:
    timers = [value for value in RULES if value.__name__.endswith("Due")]
    assert timers
    assert {RULES[value].action for value in timers} == {"keep"}


@pytest.mark.parametrize("message_type", RULES, ids=lambda value: str(value.__name__))
def test_what_tells_subjects_apart_are_fields_of_the_message(message_type: MessageType) -> None:
    names = {field.name for field in msgspec.structs.fields(message_type)}
    assert set(RULES[message_type].by) <= names


def test_messages_of_one_kind_have_one_key_for_each_subject() -> None:
    bob, again = peer.ProveNow(peer=BOB, reason="a"), peer.ProveNow(peer=BOB, reason="b")
    assert coalescing_key(bob) == coalescing_key(again)
    assert coalescing_key(bob) != coalescing_key(peer.ProveNow(peer=CAROL, reason="a"))
    assert coalescing_key(bob) != coalescing_key(peer.RemoteIdle(peer=BOB))


def test_what_is_kept_has_no_key() -> None:
    assert coalescing_key(peer.RelayEvidence(peer=BOB, generation=1, reason="a")) is None


def test_a_type_that_nobody_listed_is_kept() -> None:
    class Unlisted(msgspec.Struct, tag="unlisted"):
        pass

    assert rule_for(Unlisted()) is overflow.KEEP
