import random
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages.peer import Distress, IceTurn, IceTurnDone, LocalIceChanged
from actors.peer.ice_worker import LETTERS, PWD_LEN, UFRAG_LEN, IceWorker, NoAgent, Waiting
from config.keys import Secret
from tests.actors.peer.names import BOB, TO
from tests.kit.bench import Bench
from transport.signal.messages import IceCredentials

ICE = IceCredentials(ufrag="u" * 16, pwd=Secret(b"p" * 32))
DISTRESS = Distress(peer=BOB, path="relayed", reason="no answer")


def bench_of(*, enabled: bool = True, entropy: Callable[[int], bytes] | None = None) -> Bench:
    return Bench(
        IceWorker(BOB, offers=TO.offer_listener, entropy=entropy or random.Random(1).randbytes, enabled=enabled)
    )


def take(bench: Bench, turn: int, session: bytes | None, ice: IceCredentials | None = ICE) -> str:
    bench.tell(IceTurn(peer=BOB, turn=turn, ice=ice, session=session))
    [done] = bench.mail(TO.offer_listener)
    assert isinstance(done, IceTurnDone)
    assert done.turn == turn
    return done.outcome


def told(bench: Bench) -> LocalIceChanged:
    [changed] = bench.mail(TO.offer_listener)
    assert isinstance(changed, LocalIceChanged)
    return changed


def test_the_session_is_told_at_the_start() -> None:
    changed = told(bench_of())
    assert changed.ice is not None
    assert len(changed.ice.ufrag) == UFRAG_LEN
    assert len(changed.ice.pwd.value) == PWD_LEN
    assert set(changed.ice.ufrag) | set(changed.ice.pwd.value.decode()) <= set(LETTERS)
    assert changed.session is not None
    assert len(changed.session) == 5


def test_each_distress_changes_everything_that_the_remote_can_see() -> None:  # recovery R6
    bench = bench_of()
    seen = [told(bench)]
    for _ in range(5):
        bench.tell(DISTRESS)
        seen.append(told(bench))
    for before, after in pairwise(seen):
        assert before.session != after.session
        assert before.ice is not None
        assert after.ice is not None
        assert before.ice.ufrag != after.ice.ufrag
        assert before.ice.pwd != after.ice.pwd


def test_after_a_distress_the_remotes_session_counts_as_new() -> None:
    bench = bench_of()
    told(bench)
    assert take(bench, 1, b"aaaaa") == "taken"
    assert take(bench, 2, b"aaaaa") == "kept"
    bench.tell(DISTRESS)
    told(bench)
    assert bench.state == NoAgent(bench.state.session)
    assert take(bench, 3, b"aaaaa") == "taken"


def test_another_session_of_the_remote_does_not_change_ours() -> None:  # recovery R6, R7
    bench = bench_of()
    session = told(bench).session
    assert session is not None
    assert take(bench, 1, b"aaaaa") == "taken"
    assert take(bench, 2, b"bbbbb") == "taken"
    assert bench.state == Waiting(session, b"bbbbb")
    assert take(bench, 3, b"bbbbb") == "kept"


def test_an_old_peer_without_session_keeps_its_agent() -> None:
    bench = bench_of()
    told(bench)
    assert take(bench, 1, None) == "taken"
    assert take(bench, 2, None) == "kept"


def test_a_remote_that_turns_ice_off_is_forgotten() -> None:
    bench = bench_of()
    told(bench)
    take(bench, 1, b"aaaaa")
    assert take(bench, 2, None, ice=None) == "no_ice"
    assert take(bench, 3, b"aaaaa") == "taken"


def test_without_ice_offers_say_so_and_the_session_still_turns_over() -> None:
    bench = bench_of(enabled=False)
    assert told(bench) == LocalIceChanged(peer=BOB, ice=None, session=None)
    before = bench.state.session
    bench.tell(DISTRESS)
    assert bench.mail(TO.offer_listener) == []
    assert bench.state.session != before


def test_letters_are_drawn_without_bias() -> None:
    everything = iter([bytes(range(256))] * 100)  # each byte equally often: so must each letter come
    bench = bench_of(entropy=lambda length: next(everything)[-length:] if length == 5 else next(everything))
    ice = told(bench).ice
    assert ice is not None
    assert ice.ufrag == LETTERS[:UFRAG_LEN]
    worker = bench_of(entropy=lambda length: bytes([255] * (length - 1) + [1]) if length > 5 else bytes(5))
    ice = told(worker).ice
    assert ice is not None
    assert ice.ufrag == LETTERS[1] * UFRAG_LEN  # 208 and above are drawn anew


@settings(deadline=None)
@given(st.lists(st.one_of(st.just(DISTRESS), st.sampled_from([b"aaaaa", b"bbbbb", None]))))
def test_every_turn_ends_and_rotations_are_as_many_as_distresses(mail: list[Distress | bytes | None]) -> None:
    bench = bench_of()
    sessions = [told(bench).session]
    for turn, item in enumerate(mail):
        if isinstance(item, Distress):
            bench.tell(item)
            sessions.append(told(bench).session)
        else:
            take(bench, turn, item)
            assert bench.state.session == sessions[-1]
    assert len(set(sessions)) == 1 + sum(isinstance(item, Distress) for item in mail)
