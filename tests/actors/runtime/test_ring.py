from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.ring import RoundBuffer

pieces = st.lists(st.binary(max_size=30), max_size=40)


def test_pieces_come_back_oldest_first() -> None:
    buffer = RoundBuffer(10)
    for piece in (b"abc", b"de", b"f"):
        buffer.put(piece)
    assert buffer.read() == [b"abc", b"de", b"f"]


def test_new_pieces_overwrite_the_oldest() -> None:
    buffer = RoundBuffer(10)
    for piece in (b"aaaa", b"bbbb", b"cccc"):
        buffer.put(piece)
    assert buffer.read() == [b"bbbb", b"cccc"]


def test_a_piece_that_is_larger_than_everything_is_left_out() -> None:
    buffer = RoundBuffer(4)
    buffer.put(b"ab")
    buffer.put(b"abcde")
    assert buffer.read() == [b"ab"]


def test_no_room_at_all_keeps_nothing() -> None:
    buffer = RoundBuffer(0)
    buffer.put(b"a")
    assert buffer.read() == []


@given(pieces, st.integers(1, 64))
def test_what_is_read_are_the_newest_pieces_whole_and_in_order(put: list[bytes], size: int) -> None:
    buffer, fitting = RoundBuffer(size), []
    for piece in put:
        buffer.put(piece)
        if 0 < len(piece) <= size:
            fitting.append(piece)
        found = [each for each in buffer.read() if each]
        assert found == fitting[len(fitting) - len(found) :]
        assert not fitting or found  # the newest is always there
