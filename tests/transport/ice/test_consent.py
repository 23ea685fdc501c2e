import random
from dataclasses import replace

import pytest

from transport.ice.consent import Asking, Consent, Dead, Doubting, Resting
from transport.ice.timing import FOREIGN, OURS, Timing

RTT_S = 0.05


def watch(timing: Timing = OURS, *, in_use: bool = True, seed: int = 1, now: float = 100.0) -> Consent:
    return Consent(timing, random.Random(seed), now, rtt_s=RTT_S, in_use=in_use)


def test_a_pair_that_answers_is_checked_at_its_pace() -> None:
    consent, now, gaps = watch(), 100.0, []
    for _ in range(100):
        due_at = consent.next_timeout()
        gaps.append(due_at - now)
        now = due_at
        assert consent.handle_timeout(now - 0.001) == []
        assert consent.handle_timeout(now) == ["check"]
        consent.answered(RTT_S, now)
    assert 0.8 <= min(gaps) < max(gaps) <= 1.2
    assert not consent.doubtful
    assert consent.rtt_s == pytest.approx(RTT_S)


def test_one_that_does_not_is_doubted_then_checked_quickly_then_dead() -> None:
    consent = watch()
    asked_at = consent.next_timeout()
    assert consent.handle_timeout(asked_at) == ["check"]
    assert consent.state == Asking(asked_at, asked_at + OURS.answer_wait_s + RTT_S)
    now, checks = consent.next_timeout(), 1
    assert consent.handle_timeout(now) == ["doubtful", "check"]
    while not isinstance(consent.state, Dead):
        assert isinstance(consent.state, Doubting)
        assert consent.doubted_since == asked_at
        now = consent.next_timeout()
        actions = consent.handle_timeout(now)
        checks += actions == ["check"]
    assert OURS.dead_after_s <= now - asked_at <= OURS.dead_after_s + RTT_S + OURS.recheck_s
    assert checks >= 7
    assert consent.handle_timeout(now + 99.0) == []


def test_an_answer_ends_the_doubt() -> None:
    consent = watch()
    consent.handle_timeout(consent.next_timeout())
    now = consent.next_timeout()
    consent.handle_timeout(now)
    assert consent.doubtful
    consent.answered(0.6, now + 0.1)
    assert not consent.doubtful
    assert isinstance(consent.state, Resting)
    assert consent.rtt_s == pytest.approx(RTT_S + (0.6 - RTT_S) / 8)


@pytest.mark.parametrize("timing", [OURS, FOREIGN], ids=["ours", "foreign"])
def test_signs_of_life_put_the_end_off_but_not_for_ever(timing: Timing) -> None:
    consent = watch(timing)
    asked_at = consent.next_timeout()
    while not isinstance(consent.state, Dead):
        now = consent.next_timeout()
        consent.handle_timeout(now)
        consent.heard(now)
    assert timing.deaf_after_s <= now - asked_at <= timing.deaf_after_s + RTT_S + 2 * timing.recheck_s


def test_a_stall_of_our_own_kills_nothing() -> None:
    consent = watch()
    consent.handle_timeout(consent.next_timeout())
    now = consent.next_timeout() + 3600.0  # asleep, with a check under way
    assert consent.handle_timeout(now) == ["doubtful", "check"]
    for _ in range(3):
        now = consent.next_timeout()
        assert consent.handle_timeout(now) == ["check"]
    consent.answered(RTT_S, now)
    assert isinstance(consent.state, Resting)


def test_idle_pairs_are_checked_less_often_and_use_checks_them_at_once() -> None:
    consent = watch(in_use=False)
    assert consent.next_timeout() >= 100.0 + 0.8 * OURS.check_idle_s - OURS.beat_s
    consent.set_in_use(True, 103.0)
    assert consent.next_timeout() == 103.0
    consent.set_in_use(False, 103.0)
    assert consent.next_timeout() > 103.0


def test_idle_pairs_of_a_process_are_checked_on_one_beat_and_in_use_each_at_its_own_time() -> None:
    timing = replace(OURS, beat_phase_s=0.2)
    idle = [watch(timing, in_use=False, seed=seed).next_timeout() for seed in range(50)]
    assert {round((at - 0.2) % timing.beat_s, 6) % timing.beat_s for at in idle} == {0.0}
    assert len(set(idle)) > 5
    assert len({watch(timing, seed=seed).next_timeout() for seed in range(50)}) == 50


def test_a_hint_has_a_resting_pair_checked_and_disturbs_no_other() -> None:
    consent = watch()
    consent.ask_at(100.1)
    assert consent.next_timeout() == 100.1
    consent.handle_timeout(100.1)
    state = consent.state
    consent.ask_at(100.2)
    assert consent.state == state


@pytest.mark.parametrize(("loss", "hours"), [(0.05, 24), (0.2, 1)])
def test_loss_kills_no_pair(loss: float, hours: float) -> None:
    """Even with nothing heard but answers: no checks of the remote's, no packets."""
    rng, now, consent = random.Random(5), 0.0, watch(now=0.0)
    while now < hours * 3600.0:
        now = consent.next_timeout()
        for action in consent.handle_timeout(now):
            if action == "check" and rng.random() < (1 - loss) ** 2:
                consent.answered(RTT_S, now + RTT_S)
            assert action != "dead"
