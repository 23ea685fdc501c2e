from hypothesis import given
from hypothesis import strategies as st

from config.keys import PublicKey
from tests.transport.signal.vectors import A, B, description
from transport.signal.messages import HomingFields, PostCandidate, PostDescription, SignalPost
from transport.signal.outbox import MAX_PEERS, MAX_UNDER_WAY, MAX_WAITING, Outbox


def offer(peer: PublicKey, number: int = 0) -> PostDescription:
    return PostDescription(peer=peer, kind="offer", description=description(HomingFields(offer_id=number)))


def answer(peer: PublicKey, number: int = 0) -> PostDescription:
    return PostDescription(peer=peer, kind="answer", description=description(HomingFields(offer_id=number)))


def candidate(peer: PublicKey, number: int = 0) -> PostCandidate:
    return PostCandidate(peer=peer, candidate=str(number))


def test_posts_of_a_peer_leave_one_after_the_other_in_order() -> None:
    outbox = Outbox()
    for post in (answer(A), candidate(A, 1), candidate(A, 2)):
        outbox.put(post)
    assert outbox.take() == answer(A)
    assert outbox.take() is None  # until the first has arrived
    outbox.done(A)
    assert outbox.take() == candidate(A, 1)


def test_a_peer_that_takes_long_delays_nobody_else() -> None:
    outbox = Outbox()
    for number in range(MAX_WAITING):
        outbox.put(candidate(A, number))
    assert outbox.take() == candidate(A, 0)
    outbox.put(offer(B))
    assert outbox.take() == offer(B)


def test_peers_take_turns() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.put(candidate(A, number))
    outbox.put(candidate(B, 0))
    taken = []
    while (post := outbox.take()) is not None:
        taken.append(post.peer)
        outbox.done(post.peer)
    assert taken == [A, B, A, A]


def test_a_newer_description_takes_the_place_of_its_kind() -> None:
    outbox = Outbox()
    for post in (offer(A, 1), answer(A, 2), candidate(A, 3), offer(A, 4)):
        outbox.put(post)
    assert _drain(outbox) == [offer(A, 4), answer(A, 2), candidate(A, 3)]
    assert outbox.counters == {"replaced": 1}


def test_a_description_under_way_is_not_replaced() -> None:
    outbox = Outbox()
    outbox.put(offer(A, 1))
    assert outbox.take() == offer(A, 1)
    outbox.put(offer(A, 2))
    outbox.done(A)
    assert outbox.take() == offer(A, 2)


def test_candidates_over_the_bound_push_out_the_oldest_and_never_a_description() -> None:
    outbox = Outbox()
    outbox.put(offer(A))
    for number in range(MAX_WAITING + 5):
        outbox.put(candidate(A, number))
    left = _drain(outbox)
    assert left[0] == offer(A)
    assert left[1:] == [candidate(A, number) for number in range(6, MAX_WAITING + 5)]
    assert outbox.counters == {"overflow": 6}


def test_there_is_a_bound_on_what_is_under_way_and_on_peers() -> None:
    outbox = Outbox()
    peers = [PublicKey(f"{number:044}") for number in range(MAX_PEERS + 1)]
    for peer in peers:
        outbox.put(candidate(peer))
    assert outbox.counters == {"too_many_peers": 1}
    taken = [outbox.take() for _ in range(MAX_UNDER_WAY + 1)]
    assert taken[-1] is None
    assert None not in taken[:-1]


def test_clearing_returns_what_waited_and_frees_everybody() -> None:
    outbox = Outbox()
    for post in (offer(A), candidate(A), offer(B)):
        outbox.put(post)
    assert outbox.take() == offer(A)
    assert outbox.clear() == [offer(B), candidate(A)]
    assert len(outbox) == 0
    outbox.put(candidate(A, 7))
    assert outbox.take() == candidate(A, 7)


posts = st.builds(lambda make, peer, number: make(peer, number), st.sampled_from([offer, answer, candidate]),
                  st.sampled_from([A, B]), st.integers(0, 9))  # fmt: skip


@given(st.lists(posts | st.none(), max_size=60))
def test_whatever_happens_a_peer_has_one_post_under_way_and_none_is_lost_silently(
    story: list[SignalPost | None],
) -> None:
    outbox, under_way, taken = Outbox(), set[PublicKey](), 0
    put = [post for post in story if post is not None]
    for step in story:
        if step is not None:
            outbox.put(step)
        elif (post := outbox.take()) is not None:
            assert post.peer not in under_way
            under_way.add(post.peer)
            taken += 1
        else:
            for peer in under_way:
                outbox.done(peer)
            under_way.clear()
    assert len(put) == taken + len(outbox) + outbox.counters.total()


def _drain(outbox: Outbox) -> list[SignalPost]:
    taken = []
    while (post := outbox.take()) is not None:
        taken.append(post)
        outbox.done(post.peer)
    return taken
