"""Two machines' tapes as one."""

from typing import Any

import pytest

from actors.messages.peer import SendOffer
from actors.trace.merge import merge
from actors.trace.record import FLAG_EXTERNAL, Record
from actors.trace.render import render
from actors.trace.sequence import ends
from actors.trace.tape import Header
from actors.trace.tree import tree_of
from config.keys import PublicKey
from tests.actors.trace.records import record
from tests.config.samples import BOB, CAROL
from transport.signal.messages import AnswerReceived, Description, HomingFields, OfferReceived, PostDescription

ALICE_HEAD = Header(node="alice", wall_offset_s=1_000.0, names={BOB: "bob"})
BOB_HEAD = Header(node="bob", wall_offset_s=500.0, names={CAROL: "carol"})
APART_S = 500.3  # that bob's clock is ahead of alice's


def description(cause: int = 0) -> Description:
    return Description(
        ice=None, session=None, listen_port=0, version="", relay_url=None, relay_ip=None,
        homing=HomingFields(offer_id=1, cause=cause),
    )  # fmt: skip


def posted(number: int, at: float, **changes: Any) -> Record:
    message = PostDescription(peer=BOB, kind="offer", description=description())
    return record(message, **{"id": number, "at": at, "to": "signal_link", "sender": "signal@control-0", **changes})


def received(number: int, at: float, by: int, peer: PublicKey = CAROL, kind: Any = OfferReceived) -> Record:
    message = kind(peer=peer, description=description(by), nonce=bytes(24))
    return record(
        message, id=number, at=at, sent_at=at, to="signal", sender="signal@control-0", flags=FLAG_EXTERNAL,
        cause=0, trace=number,
    )  # fmt: skip


def pair() -> tuple[list[Record], list[Record]]:
    """Alice's offer takes 20 ms to bob, his answer 40 ms back."""
    ours = [
        record(SendOffer(peer=BOB, reason="x"), id=1, at=9.9, to=f"peer/{BOB}/offer_listener", cause=0, trace=1),
        posted(2, 10.0, cause=1, trace=1),
        received(3, 10.1, by=103, peer=BOB, kind=AnswerReceived),
    ]
    theirs = [
        received(101, 10.02 + APART_S, by=2),
        posted(103, 10.06 + APART_S, cause=101, trace=101),
    ]
    return ours, theirs


def test_what_an_offer_caused_on_the_other_machine_hangs_below_it() -> None:
    ours, theirs = pair()
    merged = merge((ALICE_HEAD, ours), (BOB_HEAD, theirs))
    assert merged.crossings == 2
    assert [one.id for one in merged.records] == [1, 2, 101, 103, 3]
    assert [one.cause for one in merged.records] == [0, 1, 2, 101, 103]
    assert {one.trace for one in merged.records} == {1}
    tree = tree_of(merged.records, merged.records[-1])
    assert tree.whole
    assert [branch.depth for branch in tree.branches] == [0, 1, 2, 3, 4]


def test_the_clocks_are_set_by_the_exchange() -> None:
    ours, theirs = pair()
    merged = merge((ALICE_HEAD, ours), (BOB_HEAD, theirs))
    assert merged.offset_s == pytest.approx(APART_S - 0.01)
    assert merged.uncertain_s == pytest.approx(0.03)
    assert abs(merged.offset_s - APART_S) <= 0.03
    assert (merged.header.nodes, merged.header.uncertain_s) == (("alice", "bob"), merged.uncertain_s)
    assert merged.header.names == {BOB: "bob", CAROL: "carol"}


def test_offers_one_way_bound_what_the_wall_clocks_say() -> None:
    ours, theirs = pair()
    merged = merge((ALICE_HEAD, ours[:2]), (BOB_HEAD, theirs[:1]))
    assert (merged.crossings, merged.uncertain_s) == (1, None)
    assert merged.offset_s == pytest.approx(500.0)  # believed: 500.0, less than the bound of 500.32
    late = merge((Header(node="alice", wall_offset_s=2_000.0), ours[:2]), (BOB_HEAD, theirs[:1]))
    assert late.offset_s == pytest.approx(APART_S + 0.02)  # nothing comes before it is sent
    none = merge((ALICE_HEAD, ours[:1]), (BOB_HEAD, theirs[1:]))
    assert (none.crossings, none.offset_s, none.uncertain_s) == (0, 500.0, None)


def test_lanes_and_lines_name_the_machine() -> None:
    ours, theirs = pair()
    merged = merge((ALICE_HEAD, ours), (BOB_HEAD, theirs))
    names = merged.header.names
    assert ends(merged.records[0], names)[1] == "alice:bob/offer_listener"
    assert ends(merged.records[2], names) == ("alice:signal_link", "bob:signal")
    assert "alice:signal_link -> bob:signal  offer_received" in render(merged.records[2], names, 0.0)


def test_machines_of_one_name_are_told_apart() -> None:
    ours, theirs = pair()
    merged = merge((ALICE_HEAD, ours), (Header(node="alice"), theirs))
    assert merged.header.nodes == ("first", "second")
