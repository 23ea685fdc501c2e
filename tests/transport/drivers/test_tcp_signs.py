"""What the kernel shows of a TCP connection that lives, and of one whose packets vanish."""

import ctypes
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from transport.drivers.tcp_signs import tcp_signs
from transport.relay.signs import Signs

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
PATIENCE_S = 10.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            yield near, far


def lose_all(far: socket.socket) -> None:
    """Have every segment that comes to a socket vanish, as a NAT that forgot does."""
    nothing = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # return 0
    far.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(nothing)))


def until(near: socket.socket, wanted: Callable[[Signs], bool]) -> Signs:
    give_up_at = time.monotonic() + PATIENCE_S
    while (signs := tcp_signs(near)) is None or not wanted(signs):
        assert time.monotonic() < give_up_at, signs
        time.sleep(0.01)
    return signs


def test_a_connection_that_lives_waits_for_nothing_and_has_no_trouble(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, _far = pair
    before = tcp_signs(near)
    assert before is not None
    near.sendall(b"hello")
    after = until(near, lambda signs: not signs.waiting)
    assert after.segments >= before.segments + 2  # the data, and its acknowledgement
    assert after.troubled == before.troubled == 0


def test_a_connection_whose_packets_vanish_waits_repeats_and_hears_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    lose_all(far)
    sent_at = time.monotonic()
    near.sendall(b"hello")
    signs = until(near, lambda signs: signs.troubled >= 2)
    assert signs.waiting
    assert 0.2 < signs.heard_s <= time.monotonic() - sent_at + PATIENCE_S
    far.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    back = until(near, lambda signs: not signs.waiting)
    assert back.heard_s < signs.heard_s


def test_the_way_there_is_cut_and_the_other_end_is_heard(pair: tuple[socket.socket, socket.socket]) -> None:  # S23
    near, far = pair
    near.sendall(b"hello")
    arrived = until(near, lambda signs: not signs.waiting).acknowledged_len
    lose_all(far)
    near.sendall(b"hello")
    silent = until(near, lambda signs: signs.troubled >= 2)
    far.sendall(b"hello")
    heard = until(near, lambda signs: signs.heard_s < silent.heard_s)
    assert heard.in_flight
    assert heard.acknowledged_len == arrived


def test_an_other_end_that_takes_no_more_leaves_nothing_in_flight(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _far = pair
    near.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            near.send(bytes(65536))
    full = until(near, lambda signs: signs.waiting and not signs.in_flight)
    assert full.acknowledged_len > 0


def test_an_answer_is_heard(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    silent = until(near, lambda signs: signs.heard_s > 0.1)
    far.sendall(b"hello")
    assert until(near, lambda signs: signs.heard_s < silent.heard_s).segments > silent.segments


def test_what_is_over_shows_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _far = pair
    near.close()
    assert tcp_signs(near) is None
