"""Each timer: what arms it, what disarms it, when it fires."""

import random

import pytest

from wg.constants import (
    KEEPALIVE_TIMEOUT,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER_MAX,
    ZERO_KEYS_AFTER,
)
from wg.timers import Reminder, Timers


def make_timers(persistent_keepalive_s: float = 0.0) -> Timers:
    return Timers(random.Random(1), persistent_keepalive_s)


def next_timeout(timers: Timers) -> float:
    at = timers.next_timeout()
    assert at is not None
    return at


def test_nothing_is_due_before_anything_happened() -> None:
    timers = make_timers()
    assert timers.next_timeout() is None
    assert timers.due(1e9) == []


def test_an_initiation_is_repeated_after_the_timeout_and_a_random_bit() -> None:
    timers, seen = make_timers(), set()
    for _ in range(20):
        timers.on_initiation_sent(0.0)
        seen.add(next_timeout(timers))
    assert len(seen) == 20
    assert all(REKEY_TIMEOUT <= at <= REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX for at in seen)


def test_a_row_of_initiations_ends_after_90_s() -> None:
    timers, now = make_timers(), 0.0
    timers.on_initiation_sent(now)
    while (due := timers.due(now := next_timeout(timers))) == [Reminder.RETRANSMIT]:
        timers.on_initiation_sent(now)
    assert due == [Reminder.GIVE_UP]
    assert REKEY_ATTEMPT_TIME <= now < REKEY_ATTEMPT_TIME + REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX
    assert timers.due(now + ZERO_KEYS_AFTER) == [Reminder.FORGET_KEYS]


def test_a_packet_that_waits_gives_the_row_its_time_anew() -> None:
    timers = make_timers()
    timers.on_initiation_sent(0.0)
    timers.on_session_wanted(80.0)
    assert timers.due(100.0) == [Reminder.RETRANSMIT]


def test_a_proven_session_ends_the_row() -> None:
    timers = make_timers()
    timers.on_initiation_sent(0.0)
    timers.on_session_proven()
    assert timers.next_timeout() is None


def test_an_initiation_that_came_too_early_is_sent_when_it_may() -> None:
    timers = make_timers()
    timers.on_initiation_deferred(until=7.0, now=3.0)
    assert timers.due(6.9) == []
    assert timers.due(7.0) == [Reminder.RETRANSMIT]


def test_a_deferred_initiation_does_not_hasten_one_that_is_coming() -> None:
    timers = make_timers()
    timers.on_initiation_sent(0.0)
    at = next_timeout(timers)
    timers.on_initiation_deferred(until=4.0, now=1.0)
    assert next_timeout(timers) == at


def test_data_received_is_owed_a_keepalive_counted_from_the_first() -> None:
    timers = make_timers()
    timers.on_data_received(0.0)
    timers.on_data_received(5.0)
    assert timers.due(KEEPALIVE_TIMEOUT) == [Reminder.KEEPALIVE]
    assert timers.next_timeout() is None


def test_anything_sent_pays_that_debt() -> None:
    timers = make_timers()
    timers.on_data_received(0.0)
    timers.on_authenticated_sent(5.0)
    assert timers.next_timeout() is None


def test_data_sent_wants_to_hear_something_counted_from_the_first() -> None:
    timers = make_timers()
    timers.on_data_sent(0.0)
    timers.on_data_sent(5.0)
    earliest = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
    assert earliest <= next_timeout(timers) <= earliest + REKEY_TIMEOUT_JITTER_MAX
    assert timers.due(earliest + REKEY_TIMEOUT_JITTER_MAX) == [Reminder.NEW_HANDSHAKE]


def test_anything_received_satisfies_it() -> None:
    timers = make_timers()
    timers.on_data_sent(0.0)
    timers.on_authenticated_received(5.0)
    assert timers.next_timeout() is None


@pytest.mark.parametrize("hook", [Timers.on_authenticated_sent, Timers.on_authenticated_received])
def test_persistent_keepalives_count_from_the_last_message_either_way(hook: object) -> None:
    timers = make_timers(persistent_keepalive_s=25.0)
    assert callable(hook)
    hook(timers, 0.0)
    hook(timers, 20.0)
    assert timers.due(44.9) == []
    assert timers.due(45.0) == [Reminder.PERSISTENT_KEEPALIVE]


def test_persistent_keepalives_follow_their_setting() -> None:
    timers = make_timers(persistent_keepalive_s=25.0)
    timers.on_authenticated_sent(0.0)
    timers.set_persistent_keepalive(10.0, 1.0)
    assert timers.next_timeout() == 11.0
    timers.set_persistent_keepalive(0.0, 2.0)
    assert timers.next_timeout() is None


def test_keys_are_forgotten_9_minutes_after_the_last_were_made() -> None:
    timers = make_timers()
    timers.on_keypair_made(0.0)
    timers.on_keypair_made(100.0)
    assert timers.due(100.0 + ZERO_KEYS_AFTER - 0.1) == []
    assert timers.due(100.0 + ZERO_KEYS_AFTER) == [Reminder.FORGET_KEYS]


def test_without_a_path_only_forgetting_goes_on() -> None:
    timers = make_timers(persistent_keepalive_s=25.0)
    timers.on_keypair_made(0.0)
    timers.on_initiation_sent(0.0)
    timers.on_data_sent(0.0)
    timers.on_data_received(0.0)
    timers.on_authenticated_received(0.0)
    timers.on_path_lost()
    assert timers.due(1e9) == [Reminder.FORGET_KEYS]


def test_what_is_due_together_comes_once_each() -> None:
    timers = make_timers(persistent_keepalive_s=5.0)
    timers.on_authenticated_received(0.0)
    timers.on_data_received(0.0)
    timers.on_data_sent(0.0)
    assert timers.due(100.0) == [Reminder.NEW_HANDSHAKE, Reminder.KEEPALIVE, Reminder.PERSISTENT_KEEPALIVE]
    assert timers.due(100.0) == []
