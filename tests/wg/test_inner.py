import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wg.network import ipv4, ipv6
from wg.inner import checked, destination_of

FOUR = ipv4("10.77.0.1", "10.77.0.2")
SIX = ipv6("fd77::1", "fd77::2")


@pytest.mark.parametrize("packet", [FOUR, SIX])
def test_padding_is_cut_off_and_the_rest_stays(packet: bytes) -> None:
    assert checked([packet + bytes(13), packet], lambda source: True).packets == [packet, packet]


def test_a_source_is_asked_for_once_a_run() -> None:
    asked: list[bytes] = []

    def is_allowed(source: bytes) -> bool:
        asked.append(source)
        return True

    other = ipv4("10.77.0.3", "10.77.0.2")
    checked([FOUR, FOUR, other, other, FOUR], is_allowed)
    assert [source[-1] for source in asked] == [1, 3, 1]


def test_a_source_that_is_refused_is_asked_for_each_time_and_lets_nothing_through() -> None:
    result = checked([FOUR, FOUR, SIX], lambda source: len(source) == 16)
    assert (result.packets, result.not_allowed) == ([SIX], 2)


def test_keepalives_and_what_was_dropped_before_are_passed_over() -> None:
    assert checked([None, b"", FOUR], lambda source: True) == ([FOUR], [], 0, 0)


def test_what_is_no_packet_is_sorted_out() -> None:
    echo, nonsense, cut = b"\0\1" + bytes(14), b"\x50" * 32, FOUR[:-1]
    result = checked([echo, nonsense, cut, FOUR[:19], SIX[:39]], lambda source: True)
    assert (result.packets, result.others, result.malformed) == ([], [echo], 4)


def test_a_destination_is_four_or_sixteen_bytes_or_none() -> None:
    assert destination_of(FOUR) == bytes([10, 77, 0, 2])
    assert destination_of(SIX) == b"\xfd\x77" + bytes(13) + b"\x02"
    assert destination_of(FOUR[:19]) is None
    assert destination_of(SIX[:39]) is None
    assert destination_of(b"") is None


@given(st.lists(st.binary(max_size=80) | st.none(), max_size=8), st.booleans())
def test_every_plaintext_is_accounted_for(plaintexts: list[bytes | None], allowed: bool) -> None:
    result = checked(plaintexts, lambda source: allowed)
    judged = len(result.packets) + len(result.others) + result.malformed + result.not_allowed
    assert judged == sum(1 for plaintext in plaintexts if plaintext)
