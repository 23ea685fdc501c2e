from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.envelope import Envelope
from actors.messages.overflow import coalescing_key, rule_for
from actors.messages.peer import ProveNow, RelayEvidence, SendOffer
from actors.runtime.mailbox import Entry, Mailbox
from config.keys import PublicKey
from transport.signal.messages import CandidateReceived
from wg.reports import PathHeard

BOB, CAROL = PublicKey("bob"), PublicKey("carol")


class Hint(msgspec.Struct, frozen=True, tag="hint"):
    """Not in the table, so it is kept."""


def entry(number: int, message: msgspec.Struct) -> Entry:
    envelope: Envelope = ("to", "from", number, number, 0, number, 0.0, 0, b"")
    return (envelope, message, "control-0")


def fill(mailbox: Mailbox, *messages: msgspec.Struct) -> list[tuple[str, int]]:
    """Put these in; return what was taken away, by id."""
    taken = [mailbox.put(entry(number, message)) for number, message in enumerate(messages, 1)]
    return [(kind, gone[0][3]) for each in taken for kind, gone in each]


def drain(mailbox: Mailbox) -> list[Any]:
    found = []
    while (taken := mailbox.take()) is not None:
        found.append(taken[0][3])
    return found


def heard(peer: PublicKey, at: float) -> PathHeard:
    return PathHeard(peer=peer, path="relayed", heard_at=at)


def evidence(reason: str = "") -> RelayEvidence:
    return RelayEvidence(peer=BOB, generation=1, reason=reason)


def test_below_the_bound_everything_is_kept_in_order() -> None:
    mailbox = Mailbox(soft=10)
    assert fill(mailbox, heard(BOB, 1), heard(BOB, 2), evidence(), heard(BOB, 3)) == []
    assert drain(mailbox) == [1, 2, 3, 4]


def test_over_the_bound_the_newest_of_a_kind_replaces_the_older_at_its_own_place() -> None:
    mailbox = Mailbox(soft=2)
    assert fill(mailbox, heard(BOB, 1), evidence(), heard(BOB, 2)) == [("coalesced", 1)]
    assert len(mailbox) == 2
    assert drain(mailbox) == [2, 3]


def test_subjects_do_not_replace_each_other() -> None:
    mailbox = Mailbox(soft=1)
    assert fill(mailbox, heard(BOB, 1), heard(CAROL, 1), heard(CAROL, 2)) == [("coalesced", 2)]
    assert drain(mailbox) == [1, 3]


def test_over_the_bound_evidence_is_kept() -> None:
    mailbox = Mailbox(soft=1)
    assert fill(mailbox, *[evidence(str(number)) for number in range(50)]) == []
    assert drain(mailbox) == list(range(1, 51))


def test_over_the_bound_what_the_remote_repeats_is_refused() -> None:
    mailbox = Mailbox(soft=1)
    candidate = CandidateReceived(peer=BOB, candidate="c", nonce=bytes(24))
    assert fill(mailbox, evidence(), candidate) == [("refused", 2)]


def test_mail_that_was_taken_out_is_not_coalesced() -> None:
    mailbox = Mailbox(soft=2)
    fill(mailbox, evidence(), evidence(), heard(BOB, 1))
    assert [mailbox.take() is not None for _ in range(3)] == [True] * 3
    assert fill(mailbox, evidence(), evidence(), heard(BOB, 2)) == []


def test_a_crowded_mailbox_says_so() -> None:
    mailbox = Mailbox(soft=2, hard=4)
    fill(mailbox, *[evidence()] * 3)
    assert not mailbox.crowded
    fill(mailbox, evidence())
    assert mailbox.crowded


def test_a_flood_of_one_kind_does_not_grow_the_queue() -> None:
    mailbox = Mailbox(soft=10)
    for number in range(10_000):
        mailbox.put(entry(number, heard(BOB, number)))
    assert len(mailbox.entries) <= 3 * mailbox.soft
    assert drain(mailbox)[-1] == 9_999


def test_clear_returns_what_still_counts() -> None:
    mailbox = Mailbox(soft=1)
    fill(mailbox, heard(BOB, 1), heard(BOB, 2), evidence())
    assert [left[0][3] for left in mailbox.clear()] == [2, 3]
    assert len(mailbox) == 0
    assert mailbox.take() is None


MESSAGES = st.sampled_from(
    [
        heard(BOB, 1.0),
        heard(CAROL, 1.0),
        evidence(),
        ProveNow(peer=BOB, reason=""),
        SendOffer(peer=BOB, reason=""),
        CandidateReceived(peer=BOB, candidate="c", nonce=b""),
        Hint(),
    ]
)


@given(st.lists(MESSAGES | st.none(), max_size=60), st.integers(1, 6))
def test_whatever_comes_order_holds_and_every_message_is_accounted_for(
    steps: list[msgspec.Struct | None], soft: int
) -> None:
    mailbox, out, gone, put = Mailbox(soft=soft), [], {}, {}
    for number, step in enumerate(steps):
        if step is None:
            taken = mailbox.take()
            if taken is not None:
                out.append(taken[0][3])
        else:
            put[number] = step
            gone.update({lost[0][3]: kind for kind, lost in mailbox.put(entry(number, step))})
    out += drain(mailbox)
    assert out == sorted(out)
    assert sorted([*out, *gone]) == sorted(put)
    for number, kind in gone.items():
        assert rule_for(put[number]).action != "keep"
        if kind == "coalesced":  # then a newer one of its kind came out
            key = coalescing_key(put[number])
            assert any(coalescing_key(put[later]) == key for later in [*out, *gone] if later > number)
