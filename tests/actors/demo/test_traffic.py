"""The arithmetic of an outage."""

import pytest

from actors.demo.traffic import PERIOD_S, longest_gap, lost


def every(period_s: float, start: float, end: float) -> list[float]:
    return [start + period_s * index for index in range(int((end - start) / period_s) + 1)]


def test_an_undisturbed_flow_has_no_outage() -> None:
    assert longest_gap(every(PERIOD_S, 0.0, 10.0), 0.0, 10.0) == 0.0


def test_a_gap_counts_less_the_sending_period() -> None:
    arrivals = [at for at in every(PERIOD_S, 0.0, 10.0) if not 4.0 < at < 6.0]
    assert longest_gap(arrivals, 0.0, 10.0) == pytest.approx(2.0 - PERIOD_S, abs=PERIOD_S)


def test_a_gap_of_a_tenth_of_a_second_is_noise() -> None:
    arrivals = [at for at in every(PERIOD_S, 0.0, 10.0) if not 4.0 < at < 4.1]
    assert longest_gap(arrivals, 0.0, 10.0) == 0.0


def test_silence_at_the_end_and_no_arrival_at_all_count() -> None:
    assert longest_gap(every(PERIOD_S, 0.0, 3.0), 0.0, 10.0) == pytest.approx(7.0, abs=2 * PERIOD_S)
    assert longest_gap([], 0.0, 10.0) == pytest.approx(10.0 - PERIOD_S)


def test_what_came_before_the_window_does_not_hide_a_gap() -> None:
    assert longest_gap([0.0, 1.0], 5.0, 10.0) == pytest.approx(5.0 - PERIOD_S)


def test_what_never_came_is_lost_whatever_the_order() -> None:
    assert lost([(1.0, 7), (1.1, 9), (1.2, 8), (1.3, 8), (1.4, 12)], 0.0) == 2
    assert lost([(1.0, 7), (1.1, 9)], 1.05) == 0
    assert lost([], 0.0) == 0


def test_what_waited_for_the_tunnel_can_be_left_out() -> None:
    late = [(1.0, 3), (1.1, 100), (1.2, 102)]
    assert lost(late, 0.0) == 97
    assert lost(late, 0.0, after=90) == 1
