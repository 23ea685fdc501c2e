"""What the figures of many peers are made of."""

import pytest

from tests.bench.many import spread
from tests.bench.pinger import checksum
from tests.bench.scale import histogram, longest_gap


def test_a_spread_says_the_middle_the_late_and_the_last() -> None:
    assert spread(n / 1000 for n in range(1000, 0, -1)) == {"p50": 0.501, "p99": 0.991, "max": 1.0}
    assert spread([]) == {}


def test_an_outage_is_the_longest_gap_less_the_wait_for_the_next_ping() -> None:
    assert longest_gap([(1.05, 0.0), (1.1, 0.0), (3.15, 0.0)], since=1.0) == pytest.approx(2.0)
    assert longest_gap([(1.04, 0.0)], since=1.0) == 0.0


def test_offers_are_counted_by_when_they_came() -> None:
    assert histogram([10.1, 10.2, 11.6], since=10.0, width_s=0.5) == [2, 0, 0, 1]


def test_the_internet_checksum() -> None:
    assert checksum(bytes.fromhex("4500003044224000800600008c7c19acae241e2b")) == bytes.fromhex("442e")
