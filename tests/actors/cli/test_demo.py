"""How the demo is stopped."""

import signal

import pytest

from actors.cli.demo import STOPPING, Stopped, stoppable


@pytest.mark.parametrize("number", STOPPING)
def test_a_second_signal_does_not_disturb_the_tidying_up(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    tidied: list[bool] = []
    with pytest.raises(Stopped):
        stop_and_tidy_up(number, tidied)
    assert tidied == [True]
    assert signal.getsignal(number) is before


def test_a_signal_after_the_show_is_over_changes_nothing() -> None:
    with stoppable() as tidying:
        tidying()
        for number in STOPPING:
            signal.raise_signal(number)


def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def stop_and_tidy_up(number: signal.Signals, tidied: list[bool]) -> None:
    with stoppable():
        try:
            signal.raise_signal(number)
        finally:
            for one in STOPPING:
                signal.raise_signal(one)
            tidied.append(True)
