from typing import cast

from config.keys import PublicKey, encode_key
from wg.sessions import SessionIndices
from wg.tunnel import Tunnel


class Remote:
    """As much of a tunnel as an index needs."""

    remote = bytes(range(32))


TUNNEL = cast(Tunnel, Remote())
OWNER = PublicKey(encode_key(Remote.remote))


def test_an_index_belongs_to_its_tunnel_until_it_is_given_back() -> None:
    indices = SessionIndices(lambda length: b"\x01" * length)
    index = indices.take(TUNNEL)
    assert (index, indices.owner(index)) == (0x01010101, OWNER)
    indices.release(index)
    assert indices.owner(index) is None


def test_an_index_in_use_is_not_given_out_again() -> None:
    drawn = iter([b"\x01\0\0\0", b"\x01\0\0\0", b"\x02\0\0\0"])
    indices = SessionIndices(lambda length: next(drawn))
    assert [indices.take(TUNNEL), indices.take(TUNNEL)] == [1, 2]


def test_a_stranger_owns_nothing() -> None:
    assert SessionIndices(bytes).owner(7) is None
