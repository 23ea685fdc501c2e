from random import Random

from transport.signal.timing import Backoff, Step, Timing, Watchdog

TIMING = Timing()


def test_a_silent_link_is_probed_and_then_given_up() -> None:
    watchdog = Watchdog(100.0, TIMING)
    assert watchdog.next_timeout() == 130.0
    assert watchdog.handle_timeout(129.9) is Step.NOTHING
    assert watchdog.handle_timeout(130.0) is Step.PROBE
    assert watchdog.next_timeout() == 140.0
    assert watchdog.handle_timeout(139.9) is Step.NOTHING
    assert watchdog.handle_timeout(140.0) is Step.GIVE_UP
    assert watchdog.silent_s(140.0) == 40.0


def test_whatever_comes_ends_the_doubt() -> None:
    watchdog = Watchdog(100.0, TIMING)
    assert watchdog.handle_timeout(130.0) is Step.PROBE
    watchdog.heard(130.1)
    assert watchdog.handle_timeout(140.0) is Step.NOTHING
    assert watchdog.next_timeout() == 160.1


def test_a_post_without_reply_has_the_link_probed_at_once() -> None:
    watchdog = Watchdog(100.0, TIMING)
    assert watchdog.suspect(103.0) is Step.PROBE
    assert watchdog.suspect(103.5) is Step.NOTHING  # one probe is enough
    assert watchdog.handle_timeout(108.0) is Step.GIVE_UP


def test_a_suspicion_hastens_the_end_of_a_probe_and_never_delays_it() -> None:
    watchdog = Watchdog(100.0, TIMING)
    assert watchdog.handle_timeout(130.0) is Step.PROBE
    assert watchdog.suspect(131.0) is Step.NOTHING
    assert watchdog.next_timeout() == 136.0
    assert watchdog.suspect(135.0) is Step.NOTHING
    assert watchdog.next_timeout() == 136.0


def test_a_link_that_slept_is_probed_when_it_wakes() -> None:
    watchdog = Watchdog(100.0, TIMING)
    assert watchdog.handle_timeout(100.0 + 8 * 3600) is Step.PROBE


def test_the_first_waits_are_short_so_that_a_restarted_server_is_found_within_a_second() -> None:
    backoff = Backoff(Random(1), TIMING)
    waits = [backoff.after_failure(lived_s=0.0) for _ in range(TIMING.quick_tries)]
    assert all(0.25 <= wait <= 0.75 for wait in waits)
    assert sum(waits) >= 2.5


def test_later_waits_grow_and_stay_within_twice_the_largest_interval() -> None:
    means = []
    for tries in (1, 2, 4, 40):
        backoffs = [Backoff(Random(seed), TIMING) for seed in range(200)]
        waits = [[b.after_failure(0.0) for _ in range(TIMING.quick_tries + tries)][-1] for b in backoffs]
        assert all(0 <= wait <= 2 * TIMING.max_interval_s for wait in waits)
        means.append(sum(waits) / len(waits))
    assert means == sorted(means)
    assert 0.6 < means[0] < 1.0  # 0.8 s, signal spec 6.2
    assert 8.0 < means[-1] < 12.0


def test_only_a_link_that_stood_starts_the_waits_anew() -> None:
    backoff = Backoff(Random(1), TIMING)
    for _ in range(60):
        backoff.after_failure(lived_s=1.0)  # registered, and ended again at once
    slow = [backoff.after_failure(lived_s=1.0) for _ in range(20)]
    assert max(slow) > 1.0
    assert backoff.after_failure(lived_s=TIMING.steady_s) <= 0.75


def test_two_clients_with_one_key_displace_each_other_at_most_six_times_an_hour() -> None:
    for seed in range(200):
        rng = Random(seed)
        backoffs = {"one": Backoff(rng, TIMING), "two": Backoff(rng, TIMING)}
        displaced_at = [0.0]  # "two" arrives and displaces "one"
        now, loser, winner = 0.0, "one", "two"
        while now < 4 * 3600:
            now += backoffs[loser].after_displacement(now)
            displaced_at.append(now)
            loser, winner = winner, loser
        worst = max(sum(at <= other < at + 3600 for other in displaced_at) for at in displaced_at)
        assert worst <= 6, (seed, displaced_at)


def test_one_displacement_is_no_pattern() -> None:
    backoff = Backoff(Random(1), TIMING)
    assert backoff.after_displacement(0.0) < 1.0
    assert backoff.after_displacement(4000.0) < 1.0
    assert backoff.after_displacement(4100.0) >= TIMING.displaced_s
