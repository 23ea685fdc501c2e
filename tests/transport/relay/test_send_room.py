"""How much may wait on a relay link."""

from hypothesis import given
from hypothesis import strategies as st

from transport.relay.send_room import LEAST_LEN, MEASURE_S, MOST_LEN, WAIT_S, SendRoom


def carry(room: SendRoom, rate: float, full_s: float, pieces: int = 1) -> list[bool]:
    """Have the link be full for so long while it carries this many bytes a second, in so many pieces."""
    return [
        _piece(room, int(10_000 + piece * rate), int(rate * full_s / pieces), piece * 7.0, full_s / pieces)
        for piece in range(pieces)
    ]


def _piece(room: SendRoom, acknowledged_len: int, more_len: int, at: float, full_s: float) -> bool:
    room.filled(acknowledged_len, at)
    return room.emptied(acknowledged_len + more_len, at + full_s)


def test_a_link_that_was_never_full_has_all_there_is() -> None:
    assert SendRoom().room_len == MOST_LEN


def test_what_waits_has_left_in_half_a_second() -> None:
    room = SendRoom()
    assert carry(room, 200_000.0, 1.0) == [True]
    assert abs(room.room_len - WAIT_S * 200_000.0) <= 1


def test_a_fast_link_keeps_its_room() -> None:
    room = SendRoom()
    assert carry(room, 10_000_000.0, 1.0) == [False]
    assert room.room_len == MOST_LEN


def test_a_burst_always_has_room() -> None:
    room = SendRoom()
    carry(room, 0.0, 3.0)
    assert room.room_len == LEAST_LEN


def test_a_moment_of_being_full_says_nothing_and_many_do() -> None:
    room = SendRoom()
    assert carry(room, 200_000.0, 0.9 * MEASURE_S) == [False]
    assert room.room_len == MOST_LEN
    room = SendRoom()
    assert carry(room, 200_000.0, 1.01 * MEASURE_S, pieces=10) == [False] * 9 + [True]


def test_a_link_that_is_well_again_gets_its_room_back() -> None:
    room = SendRoom()
    carry(room, 60_000.0, 1.0)
    assert carry(room, 10_000_000.0, 1.0) == [True]
    assert room.room_len == MOST_LEN


def test_the_time_between_two_pieces_does_not_count() -> None:
    room = SendRoom()
    _piece(room, 0, 100_000, 0.0, 0.5 * MEASURE_S)
    _piece(room, 100_000, 100_000, 1000.0, 0.5 * MEASURE_S)
    assert room.room_len == min(round(200_000 * WAIT_S / MEASURE_S), MOST_LEN)


def test_room_that_nobody_took_changes_nothing() -> None:
    assert not SendRoom().emptied(1_000_000, 5.0)


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.floats(0.0, 1e6)), max_size=30))
def test_the_room_stays_within_its_bounds(pieces: list[tuple[int, float]]) -> None:
    room, acknowledged_len, now = SendRoom(), 0, 0.0
    for more_len, full_s in pieces:
        before = room.room_len
        told = _piece(room, acknowledged_len, more_len, now, full_s)
        acknowledged_len, now = acknowledged_len + more_len, now + full_s
        assert LEAST_LEN <= room.room_len <= MOST_LEN
        assert told == (room.room_len != before)
